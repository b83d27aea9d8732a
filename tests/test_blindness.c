/* SPDX-License-Identifier: MIT */
/*
 * The blindness report against weights that a bias alone decides, and against the log-sum-exps of models with every
 * score term; the sight of a bias.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_measures.h"

/* With queries and keys of 0 the bias alone decides. */
static mep_model *bias_model(const char *position)
{
    mep_model *model = lively_model(position);
    for (int64_t layer = 0; layer < model->config.num_hidden_layers; layer++) {
        mep_tensor *t = &model->tensors[mep_tensor_index(model, QKV_WEIGHT, layer)];
        memset(t->data, 0, (size_t)t->size * sizeof(float));
    }
    return model;
}

static const mep_measure_value *find_head(const mep_measure *m, const char *name, int64_t layer, int64_t head)
{
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0 && m->values[i].layer == layer && m->values[i].head == head)
            return &m->values[i];
    fail_msg("no %s of layer %d, head %d", name, (int)layer, (int)head);
    return NULL;
}

static void test_blindness_of_bias(void **state)
{
    (void)state;
    enum { L = 256, QUERIES = 32 };
    static const char *const positions[] = {"alibi", "nope", "exp:c=64", "kerple_log"};
    static const double held[] = {0.5, 0.9, 0.99};
    mep_dataset *data = open_data();
    mep_measure_settings s;
    mep_measure_defaults(&s);
    s.length = L, s.samples = 4 * QUERIES;
    for (int p = 0; p < 4; p++) {
        mep_model *model = bias_model(positions[p]);
        mep_measure m = {0};
        float table[4 * L] = {0};
        if (mep_model_get_bias(model) != NULL)
            assert_int_equal(mep_bias_table(mep_model_get_bias(model), L, table), MEP_OK);
        assert_int_equal(measure_with(mep_measure_blindness, model, data, &s, &m), MEP_OK);
        assert_int_equal(m.count, 2 * 4 * 4);
        for (int64_t head = 0; head < 4; head++) {
            double zero = 0, distance[3] = {0};
            for (int q = 0; q < QUERIES; q++) {
                int position = L - 1 - (QUERIES - 1 - q) * (L / 4) / QUERIES;
                double sum = 0, some = 0;
                int k = 0;
                for (int d = 0; d <= position; d++) {
                    double b = (double)table[head * L + d] - (double)table[head * L];
                    sum += exp(b);
                    zero += (b < -87.3) / (position + 1.0) / QUERIES;
                }
                for (int d = 0; d <= position && k < 3; d++) {
                    some += exp((double)table[head * L + d] - (double)table[head * L]);
                    while (k < 3 && some >= held[k] * sum) distance[k++] += (d + 1.0) / QUERIES;
                }
            }
            for (int64_t layer = 0; layer < 2; layer++) {
                const mep_measure_value *v = find_head(&m, "zero", layer, head);
                assert_near(v->value, zero, 1e-9, "zero");
                assert_near(v->standard_error, 0, 1e-9, "its standard error");
                assert_int_equal(v->samples, 4);
                assert_near(find_head(&m, "d50", layer, head)->value, distance[0], 0.02, "d50");
                assert_near(find_head(&m, "d90", layer, head)->value, distance[1], 0.02, "d90");
                assert_near(find_head(&m, "d99", layer, head)->value, distance[2], 0.02, "d99");
            }
        }
        if (p == 2) assert_true(find_head(&m, "zero", 0, 0)->value > 0.9); /* 16 nats per token */
        if (p == 1) assert_true(find_head(&m, "d50", 1, 3)->value > 100 && find_head(&m, "zero", 1, 3)->value == 0);
        mep_measure_free(&m);
        mep_model_destroy(&model);
    }
    mep_dataset_close(&data);
}

/* Queries and keys count: every encoding's log-sum-exps are checked inside (otherwise the call fails), in both types.
 */
static void test_blindness_of_models(void **state)
{
    (void)state;
    static const char *const positions[] = {
        "mep",
        "mep_param",
        "rotary",
        "t5",
        "nope",
        "sinusoidal",
        "mep + uniform/weights=query",
        "fire:max=11/sink",
        "nope/forget",
        "alibi/forget:bias=none",
        "rotary/scale=ssmax",
        "bam/scale=logn:16/sink",
        "alibi/window=16/sink|rotary",
        "mep/weights=query/forget/profiles:rank=2/scale=ssmax/sink/window=40|nope/forget"};
    enum { COUNT = sizeof positions / sizeof *positions };
    mep_dataset *data = open_data();
    for (int i = 0; i < 2 * COUNT; i++) {
        mep_model *model = lively_model(positions[i / 2]);
        mep_measure_settings s = small_settings();
        mep_measure m = {0};
        s.dtype = i % 2 ? MEP_BFLOAT16 : MEP_FLOAT32;
        if (measure_with(mep_measure_blindness, model, data, &s, &m) != MEP_OK)
            fail_msg("%s, %s: %s", positions[i / 2], mep_dtype_name(s.dtype), mep_error_message());
        double before = 0;
        for (int64_t k = 0; k < m.count; k++) {
            const mep_measure_value *v = &m.values[k];
            assert_true(v->value >= 0 && v->value <= (double)s.length);
            if (strcmp(v->name, "d50") == 0) before = 0;
            if (v->name[0] == 'd') assert_true(v->value >= before);
            before = v->value;
        }
        mep_measure_free(&m);
        mep_model_destroy(&model);
    }
    mep_dataset_close(&data);
}

/* Key heads that several query heads share, and norms of queries and keys. */
static void test_blindness_of_llama(void **state)
{
    (void)state;
    static const mep_qk_norm norms[] = {MEP_QK_NORM_NONE, MEP_QK_NORM_HEAD, MEP_QK_NORM_ALL};
    mep_dataset *data = open_data();
    for (int i = 0; i < 6; i++) {
        mep_train_settings t = settings_for(i % 2 ? "rotary" : "mep");
        mep_measure_settings s = small_settings();
        mep_measure m = {0};
        mep_model *model;
        t.model.block = MEP_BLOCK_LLAMA, t.model.norm = MEP_NORM_RMS, t.model.mlp = MEP_MLP_SWIGLU;
        t.model.num_key_value_heads = 2, t.model.qk_norm = norms[i / 2];
        assert_int_equal(mep_model_create(&model, &t.model, 3), MEP_OK);
        for (int64_t k = 0; k < model->count; k++)
            for (int64_t n = 0; model->tensors[k].ndim == 2 && n < model->tensors[k].size; n++)
                ((float *)model->tensors[k].data)[n] *= 8;
        if (measure_with(mep_measure_blindness, model, data, &s, &m) != MEP_OK)
            fail_msg("case %d: %s", i, mep_error_message());
        assert_int_equal(m.count, 2 * 4 * 4);
        mep_measure_free(&m);
        mep_model_destroy(&model);
    }
    mep_dataset_close(&data);
}

static void test_bias_sight(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int converges[2], has_reach;
    } cases[] = {{"exp", {1, 1}, 1}, {"gauss", {1, 1}, 1},        {"alibi", {1, 1}, 1},
                 {"t5", {0, 0}, 0},  {"kerple_power", {1, 1}, 1}, {"kerple_log", {1, 0}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_bias *bias;
        mep_bias_sight sight[2];
        double mass = 0, params[4] = {1.001, 0.999, 1, 1}; /* kerple_log falls as d^-p; the other one is a */
        int64_t distances[2] = {0, 0};
        double at[4];
        assert_int_equal(mep_bias_create(&bias, cases[i].spec, 2, 16), MEP_OK);
        if (strcmp(cases[i].spec, "kerple_log") == 0) assert_int_equal(mep_bias_set_params(bias, params, 4), MEP_OK);
        assert_int_equal(mep_bias_sights(bias, 5000, sight), MEP_OK);
        for (int h = 0; h < 2; h++) {
            if (sight[h].converges != cases[i].converges[h]) fail_msg("%s, head %d", cases[i].spec, h);
            assert_int_equal(sight[h].reach >= 0, cases[i].has_reach);
            mass = 0;
            for (int64_t d = 0; d < 5000; d++) {
                distances[1] = d;
                assert_int_equal(mep_bias_at(bias, distances, 2, at), MEP_OK);
                mass += exp(at[2 * h + 1] - at[2 * h]);
            }
            assert_near(sight[h].mass, mass, 1e-12, "mass");
            if (sight[h].reach < 0) continue;
            distances[0] = sight[h].reach, distances[1] = sight[h].reach - 1;
            assert_int_equal(mep_bias_at(bias, distances, 2, at), MEP_OK);
            double far = at[2 * h], near = at[2 * h + 1];
            distances[0] = 0;
            assert_int_equal(mep_bias_at(bias, distances, 1, at), MEP_OK);
            assert_true(far - at[h] <= -87.3 && near - at[h] > -87.31);
        }
        mep_bias_destroy(&bias);
    }
    mep_bias *bias;
    mep_bias_sight sight[2];
    assert_int_equal(mep_bias_create(&bias, "mep", 2, 16), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "length", mep_bias_sights(bias, 0, sight));
    mep_bias_destroy(&bias);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blindness_of_bias),
                                       cmocka_unit_test(test_blindness_of_models),
                                       cmocka_unit_test(test_blindness_of_llama), cmocka_unit_test(test_bias_sight)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
