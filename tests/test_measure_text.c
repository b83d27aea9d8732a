/* SPDX-License-Identifier: MIT */
/*
 * Measures as numbers: the effective length, and CSV that is read back as the same measure.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_measures.h"

/* ---- Effective length ---- */

static void add_value(mep_measure *m, const char *name, int64_t length, double at, double value)
{
    mep_measure_value *v = &m->values[m->count++];
    *v = (mep_measure_value){.length = length, .at = at, .value = value};
    snprintf(v->name, sizeof v->name, "%s", name);
}

static void assert_effective(const mep_measure *m, const char *name, int64_t training, double within, int64_t wanted)
{
    int64_t length = -1;
    assert_int_equal(mep_measure_effective_length(m, name, training, within, &length), MEP_OK);
    if (length != wanted) fail_msg("%s, %d: %d, not %d", name, (int)training, (int)length, (int)wanted);
}

static void test_effective_length(void **state)
{
    (void)state;
    mep_measure_value values[64];
    mep_measure m = {.name = "a", .values = values};
    static const double losses[] = {4, 3, 3.05, 2.9, 3.2, 3.0};
    for (int i = 5; i >= 0; i--) add_value(&m, "loss", 64 << i, NAN, losses[i]); /* the order does not matter */
    assert_effective(&m, "loss", 128, 0.02, 512); /* 1024 is worse; that 2048 is not does not count */
    assert_effective(&m, "loss", 128, 0.01, 128);
    assert_effective(&m, "loss", 128, 0.1, 2048);
    assert_effective(&m, "loss", 200, 0.02, 512); /* 128 takes the place of 200 */
    assert_effective(&m, "loss", 63, 0.02, 0);
    assert_effective(&m, "loss", 4096, 0, 2048);
    /* of exact, more is better; the mean over the axis counts */
    snprintf(m.axis, sizeof m.axis, "depth");
    for (int i = 0; i < 3; i++)
        add_value(&m, "exact", 64 << i, 0, 1.0 - 0.1 * i), add_value(&m, "exact", 64 << i, 1, 1);
    assert_effective(&m, "exact", 64, 0.06, 128);
    assert_effective(&m, "exact", 64, 0.11, 256);
    for (int i = 0; i < 3; i++) add_value(&m, "gain", 64 << i, 0, 0);
    assert_effective(&m, "gain", 64, 0.02, 0); /* nothing stays nothing */
    for (int i = 0; i < 3; i++) add_value(&m, "d50", 64 << i, 0, 5);
    assert_effective(&m, "d50", 64, 0.02, 0); /* neither better nor worse */
    /* the end of the segment counts where the axis is a position */
    m.count = 0;
    snprintf(m.axis, sizeof m.axis, "position");
    for (int i = 0; i < 3; i++) add_value(&m, "loss", 64 << i, 8, 9 + i), add_value(&m, "loss", 64 << i, 64 << i, 3);
    assert_effective(&m, "loss", 64, 0, 256);
    int64_t length;
    refuse(MEP_ERROR_ARGUMENT, "\"exact\"", mep_measure_effective_length(&m, "exact", 64, 0.02, &length));
    refuse(MEP_ERROR_ARGUMENT, "fraction", mep_measure_effective_length(&m, "loss", 64, NAN, &length));
}

/* ---- Text ---- */

static void test_text(void **state)
{
    (void)state;
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    for (int k = 0; k < MEASURE_COUNT; k++) {
        mep_measure_settings s = small_settings();
        const mep_measure_call call = {.model = model, .data = data, .settings = &s};
        mep_measure m = {0}, again = {0};
        char *text, *second;
        s.samples = k == 3 ? 1 : 40; /* one segment: no standard errors */
        assert_int_equal(MEASURES[k](&call, &m), MEP_OK);
        assert_int_equal(mep_measure_print(&m, &text), MEP_OK);
        assert_int_equal(mep_measure_parse(text, &again), MEP_OK);
        assert_string_equal(again.name, m.name);
        assert_string_equal(again.axis, m.axis);
        assert_same(&again, &m, "text");
        for (int64_t i = 0; i < m.count; i++) {
            const mep_measure_value *a = &m.values[i], *b = &again.values[i];
            assert_true(a->length == b->length && a->layer == b->layer && a->head == b->head);
            assert_true(a->samples == b->samples && (a->at == b->at || (isnan(a->at) && isnan(b->at))));
            assert_true(isnan(a->standard_error) == isnan(b->standard_error));
        }
        assert_int_equal(mep_measure_print(&again, &second), MEP_OK);
        assert_string_equal(text, second);
        mep_measure_free(&again);
        mep_measure_free(&m);
        mep_text_free(&text);
        mep_text_free(&second);
    }
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

static void test_bad_text(void **state)
{
    (void)state;
    static const char heading[] = "measure,axis,length,at,layer,head,name,value,stderr,samples\n";
    static const char good[] = "a,gap,12,3,,,loss,1.5,0.25,7\n";
    static const char *const bad[] = {
        "a,gap,12,3,,,loss,1.5,0.25\n",
        "a,gap,12,3,,,loss,1.5,0.25,7,8\n",
        "a,gap,0,3,,,loss,1.5,0.25,7\n",
        "a,gap,12,3,,,,1.5,0.25,7\n",
        "b,gap,12,3,,,loss,1.5,0.25,7\n",
        "a,depth,12,3,,,loss,1.5,0.25,7\n",
        "a,gap,12,3x,,,loss,1.5,0.25,7\n",
        "a,gap,12,3,-1,,loss,1.5,0.25,7\n",
        "a,gap,12,3,,,loss,1.5,0.25,\n",
        "a,gap,12,3,,,012345678901234567890123456789012,1.5,0.25,7\n",
        "\n",
    };
    char text[512];
    mep_measure m = {0};
    snprintf(text, sizeof text, "%s%s", heading, good);
    assert_int_equal(mep_measure_parse(text, &m), MEP_OK);
    assert_int_equal(m.count, 1);
    assert_true(m.values[0].value == 1.5 && m.values[0].layer == -1 && m.values[0].at == 3);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s%s%s", heading, good, bad[i]);
        refuse(MEP_ERROR_FORMAT, "line 3", mep_measure_parse(text, &m));
        assert_int_equal(m.count, 1); /* unchanged */
    }
    refuse(MEP_ERROR_FORMAT, "line 1", mep_measure_parse("", &m));
    refuse(MEP_ERROR_FORMAT, "line 1", mep_measure_parse("measure,axis\n", &m));
    mep_measure_free(&m);
    assert_int_equal(mep_measure_parse(heading, &m), MEP_OK);
    assert_int_equal(m.count, 0);
    mep_measure_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_effective_length), cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_bad_text)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
