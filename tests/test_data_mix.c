/* SPDX-License-Identifier: MIT */
/*
 * Data mixes: names and weights, the turns compared with GPT-NeoX's loop, proportions after every sequence, reading,
 * training that resumes bit-identically, splits, and evaluation.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "eval/evaluate.h"
#include "train/data_order.h"
#include "train/run_data.h"

static char second[600], third[600];

static int set_up_three(void **state)
{
    if (set_up(state) != 0) return 1;
    snprintf(second, sizeof second, "%s/second", folder);
    snprintf(third, sizeof third, "%s/lang=en,x", folder);
    write_data(second, TOKENS / 4, 2);
    write_data(third, TOKENS / 8, 3);
    return 0;
}

static void expect(mep_status status, mep_status expected)
{
    if (status != expected)
        fail_msg("%s, not %s: %s", mep_status_name(status), mep_status_name(expected), mep_error_message());
}

/* ---- Names ---- */

static void expect_names(const char *spec, int64_t count, const char *const names[], const double weights[])
{
    mep_data_mix *m;
    expect(mep_data_mix_parse(&m, spec), MEP_OK);
    assert_int_equal(m->count, count);
    for (int64_t i = 0; i < count; i++) {
        assert_string_equal(m->names[i], names[i]);
        assert_true(fabs(m->weights[i] - weights[i]) < 1e-12);
    }
    mep_data_mix_close(&m);
}

static void test_names(void **state)
{
    (void)state;
    expect_names("a", 1, (const char *const[]){"a"}, (const double[]){1});
    expect_names("a,b=c/d", 1, (const char *const[]){"a,b=c/d"}, (const double[]){1});
    expect_names("a=5", 1, (const char *const[]){"a"}, (const double[]){1});
    expect_names("d/a=0.75,b=0.25", 2, (const char *const[]){"d/a", "b"}, (const double[]){0.75, 0.25});
    expect_names("lang=en,x=3,b=1e0", 2, (const char *const[]){"lang=en,x", "b"}, (const double[]){0.75, 0.25});
    static const char *const wrong[] = {"a=0", "a=1,b=-1", "a=1,=2", "a=1,b=inf", "a=nan", "a=1,b=0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mep_data_mix *m;
        expect(mep_data_mix_parse(&m, wrong[i]), MEP_ERROR_ARGUMENT);
        assert_null(m);
    }
    char out[MEP_DATA_SIZE];
    expect(mep_data_mix_append("d/a=0.70,b=1e0", ".train", out), MEP_OK);
    assert_string_equal(out, "d/a.train=0.70,b.train=1e0");
    expect(mep_data_mix_append("x/y,z", ".valid", out), MEP_OK);
    assert_string_equal(out, "x/y,z.valid");
    expect(mep_data_mix_title("d/a=0.70,e/f/b=1", out), MEP_OK);
    assert_string_equal(out, "a=0.70,b=1");
    expect(mep_data_mix_title("d/a", out), MEP_OK);
    assert_string_equal(out, "a");
    char many[MEP_DATA_SIZE] = "";
    for (int i = 0; i < MEP_DATA_MIX_MOST + 1; i++) strcat(many, i == 0 ? "a=1" : ",a=1");
    mep_data_mix *m;
    expect(mep_data_mix_parse(&m, many), MEP_ERROR_ARGUMENT);
}

/* ---- Turns ---- */

/* A mix and the order of its sequences of 16 tokens. */
typedef struct ordered_mix {
    mep_data_mix *mix;
    mep_data_order order;
} ordered_mix;

static void open_ordered(ordered_mix *m, const char *spec, uint64_t seed)
{
    expect(mep_data_mix_open(&m->mix, spec, NULL, MEP_SPLIT_TRAIN), MEP_OK);
    expect(mep_data_order_open(&m->order, m->mix, 16, seed), MEP_OK);
}

static void close_ordered(ordered_mix *m)
{
    mep_data_order_close(&m->order);
    mep_data_mix_close(&m->mix);
}

/* GPT-NeoX's build_blending_indices (megatron/data/helpers.cpp), unchanged except for the types. */
static void neox_turns(const double *weights, int datasets, int64_t size, uint8_t *turn, int64_t *before)
{
    int64_t current[8] = {0};
    for (int64_t n = 0; n < size; n++) {
        double at = n > 1 ? (double)n : 1.0, max_error = weights[0] * at - (double)current[0];
        int next = 0;
        for (int i = 1; i < datasets; i++) {
            double error = weights[i] * at - (double)current[i];
            if (error > max_error) max_error = error, next = i;
        }
        turn[n] = (uint8_t)next;
        before[n] = current[next]++;
    }
}

/* If the weights are multiples of 1/65536, every turn of the first period is NeoX's. */
static void test_turns_of_neox(void **state)
{
    (void)state;
    static const double weights[] = {0.5 + 0x1p-16, 0.125, 0.375 - 0x1p-16};
    char spec[4 * 600];
    snprintf(spec, sizeof spec, "%s=%.17g,%s=%.17g,%s=%.17g", data_path, weights[0], second, weights[1], third,
             weights[2]);
    ordered_mix m;
    open_ordered(&m, spec, 1);
    uint8_t *turn = malloc(MEP_DATA_ORDER_PERIOD);
    int64_t *before = malloc(MEP_DATA_ORDER_PERIOD * sizeof *before);
    neox_turns(weights, 3, MEP_DATA_ORDER_PERIOD, turn, before);
    for (int64_t n = 0; n < MEP_DATA_ORDER_PERIOD; n++) {
        int64_t own = -1, corpus = mep_data_order_find(&m.order, n, &own);
        if (corpus != turn[n] || own != before[n])
            fail_msg("turn %lld is that of corpus %lld", (long long)n, (long long)corpus);
    }
    free(turn);
    free(before);
    close_ordered(&m);
}

/* After every sequence, no corpus is more than one sequence ahead of its weight and none is left out; each is read in
 * its own order, one sequence after the other. */
static void test_proportions(void **state)
{
    (void)state;
    static const char *const weights[][3] = {
        {"0.7", "0.2", "0.1"}, {"1", "1", "1"}, {"1000", "1", "3.3"}, {"0.949", "0.05", "0.001"}};
    for (int w = 0; w < 4; w++) {
        char spec[4 * 600];
        snprintf(spec, sizeof spec, "%s=%s,%s=%s,%s=%s", data_path, weights[w][0], second, weights[w][1], third,
                 weights[w][2]);
        ordered_mix m;
        open_ordered(&m, spec, 1);
        int64_t taken[3] = {0};
        for (int i = 0; i < 3; i++) assert_true(fabs(m.order.quota[i] - m.mix->weights[i] * MEP_DATA_ORDER_PERIOD) < 1);
        for (int64_t n = 0; n < 3 * MEP_DATA_ORDER_PERIOD; n++) {
            int64_t before = -1, corpus = mep_data_order_find(&m.order, n, &before);
            assert_int_equal(before, taken[corpus]);
            taken[corpus]++;
            for (int i = 0; i < 3; i++) {
                double due = m.order.quota[i] * (double)(n + 1) / MEP_DATA_ORDER_PERIOD;
                if (!((double)taken[i] <= due + 1 && (double)taken[i] > due - 2))
                    fail_msg("%lld of %lld sequences are of corpus %d", (long long)taken[i], (long long)n + 1, i);
            }
        }
        close_ordered(&m);
    }
    char spec[4 * 600];
    snprintf(spec, sizeof spec, "%s=1,%s=1e-6", data_path, second);
    mep_data_mix *m;
    mep_data_order order;
    expect(mep_data_mix_open(&m, spec, NULL, MEP_SPLIT_TRAIN), MEP_OK);
    expect(mep_data_order_open(&order, m, 16, 1), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "second: its weight is less than"));
    mep_data_mix_close(&m);
}

/* A sequence of a mix is the sequence of its corpus alone; a mix of one corpus is that corpus. */
static void test_reading(void **state)
{
    (void)state;
    char spec[4 * 600];
    snprintf(spec, sizeof spec, "%s=2,%s=1", data_path, second);
    ordered_mix m, one, named;
    open_ordered(&m, spec, 7);
    open_ordered(&one, data_path, 7);
    snprintf(spec, sizeof spec, "%s=3", data_path);
    open_ordered(&named, spec, 7);
    int differ = 0;
    for (int64_t n = 0; n < 3000; n++) {
        int32_t a[2][16], b[2][16];
        int64_t before = -1, corpus = mep_data_order_find(&m.order, n, &before);
        expect(mep_data_order_read(&m.order, n, a[0], a[1]), MEP_OK);
        expect(mep_sampler_read(&m.order.samplers[corpus], before, b[0], b[1]), MEP_OK);
        assert_memory_equal(a, b, sizeof a);
        if (corpus == 0) {
            expect(mep_data_order_read(&one.order, before, b[0], b[1]), MEP_OK);
            assert_memory_equal(a, b, sizeof a);
        }
        expect(mep_data_order_read(&one.order, n, a[0], a[1]), MEP_OK);
        expect(mep_data_order_read(&named.order, n, b[0], b[1]), MEP_OK);
        assert_memory_equal(a, b, sizeof a);
        differ += mep_sampler_start(&m.order.samplers[1], n % 300) != mep_sampler_start(&m.order.samplers[0], n % 300);
    }
    assert_true(differ > 2900);
    assert_int_equal(mep_data_mix_tokens(m.mix), TOKENS + TOKENS / 4);
    assert_int_equal(mep_data_mix_least_tokens(m.mix), TOKENS / 4);
    close_ordered(&m);
    close_ordered(&one);
    close_ordered(&named);
    expect(mep_data_mix_open(&m.mix, "nothing=1", NULL, MEP_SPLIT_TRAIN), MEP_ERROR_IO);
    assert_null(m.mix);
}

/* ---- Training ---- */

static int count_losses(void *context, const mep_train_progress *p)
{
    double *losses = context; /* [0]: a step to stop after */
    losses[p->step] = p->loss;
    if (isfinite(p->valid_loss)) losses[0] = -p->valid_loss;
    return losses[0] > 0 && p->step == (int64_t)losses[0];
}

static void test_training(void **state)
{
    (void)state;
    const char *whole = run_path("whole"), *parts = run_path("parts");
    double a[64] = {0}, b[64] = {11};
    mep_train_settings s = settings_for("mep");
    snprintf(s.data, sizeof s.data, "%s=0.7,%s=0.3", data_path, second);
    s.steps = 24, s.save_every = 5;
    expect(mep_train_start(whole, &s, count_losses, a), MEP_OK);
    expect(mep_train_start(parts, &s, count_losses, b), MEP_INTERRUPTED);
    b[0] = 0;
    expect(mep_train_resume(parts, count_losses, b), MEP_OK);
    for (int i = 1; i <= 24; i++) assert_true(a[i] == b[i]);
    mep_train_settings found;
    expect(mep_train_read_settings(parts, &found), MEP_OK);
    assert_string_equal(found.data, s.data);
    /* what a run was started with is compared corpus by corpus */
    const char *again = run_path("again");
    b[0] = 5;
    expect(mep_train_start(again, &s, count_losses, b), MEP_INTERRUPTED);
    write_data(second, TOKENS / 4, 99);
    expect(mep_train_resume(again, NULL, NULL), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "is not the data"));
    write_data(second, TOKENS / 4, 2);
    expect(mep_train_resume(again, NULL, NULL), MEP_OK);
}

/* Documents for splits: write_data makes one alone. */
static void write_documents(const char *path, int count)
{
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    expect(mep_tokenizer_bytes(&bytes), MEP_OK);
    expect(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    for (int d = 0; d < count; d++) {
        int32_t text[100];
        for (int i = 0; i < 100; i++) text[i] = d < 8 * count / 10 ? i % 20 : 20 + i % 20; /* the parts differ */
        expect(mep_dataset_writer_add(writer, text, 100, 0), MEP_OK);
    }
    expect(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
}

/* With a split, training reads only the first part, and the validation loss is that of the second part. */
static void test_split(void **state)
{
    (void)state;
    const char *path = run_path("documents"), *run = run_path("split");
    write_documents(path, 50);
    mep_train_settings s = settings_for("mep");
    snprintf(s.data, sizeof s.data, "%s", path);
    snprintf(s.split, sizeof s.split, "8,1,1");
    mep_data_mix *m;
    mep_data_order order;
    expect(mep_train_open_data(&m, &s), MEP_OK);
    expect(mep_data_order_open(&order, m, s.length, 1), MEP_OK);
    assert_int_equal(mep_dataset_documents(mep_data_mix_dataset(m, 0)), 40);
    for (int64_t n = 0; n < 1000; n++) {
        int32_t inputs[16], targets[16];
        expect(mep_data_order_read(&order, n, inputs, targets), MEP_OK);
        for (int i = 0; i < 16; i++) assert_true(inputs[i] < 20 && targets[i] < 20);
    }
    mep_data_order_close(&order);
    mep_data_mix_close(&m);
    expect(mep_train_open_valid(&m, &s), MEP_OK);
    assert_int_equal(mep_dataset_documents(mep_data_mix_dataset(m, 0)), 5);
    s.steps = 10, s.valid_every = 10, s.valid_tokens = 0;
    double losses[64] = {0};
    expect(mep_train_start(run, &s, count_losses, losses), MEP_OK);
    mep_model *model;
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = s.length, e.batch_tokens = s.micro_batch_size * s.length;
    expect(mep_model_load(&model, run), MEP_OK);
    const mep_eval_call call = {.group = &mep_dist_alone, .model = model, .settings = &e};
    expect(mep_evaluate_mix(&call, m, &result, NULL), MEP_OK);
    if (!(fabs(result.loss + losses[0]) < 1e-6)) fail_msg("validation %g, evaluation %g", -losses[0], result.loss);
    mep_model_destroy(&model);
    mep_data_mix_close(&m);
    /* a split without a second part has no validation; an invalid split is refused */
    snprintf(s.split, sizeof s.split, "1");
    assert_false(mep_train_has_valid(&s));
    snprintf(s.split, sizeof s.split, "x");
    expect(mep_train_check(&s), MEP_ERROR_ARGUMENT);
    mep_train_settings found;
    expect(mep_train_read_settings(run, &found), MEP_OK);
    assert_string_equal(found.split, "8,1,1");
}

/* The loss of a mix is the weighted mean of the losses. */
static void test_evaluation(void **state)
{
    (void)state;
    mep_train_settings s = settings_for("alibi");
    mep_model *model;
    expect(mep_model_create(&model, &s.model, 5), MEP_OK);
    char spec[4 * 600];
    snprintf(spec, sizeof spec, "%s=3,%s=1", data_path, second);
    mep_data_mix *m;
    mep_eval_settings e;
    mep_eval_result mixed, one[2], each[2];
    mep_eval_defaults(&e);
    e.length = 32, e.max_tokens = 640;
    expect(mep_data_mix_open(&m, spec, NULL, MEP_SPLIT_TRAIN), MEP_OK);
    const mep_eval_call call = {.group = &mep_dist_alone, .model = model, .settings = &e};
    expect(mep_evaluate_mix(&call, m, &mixed, each), MEP_OK);
    for (int i = 0; i < 2; i++) expect(mep_evaluate(model, m->data[i], &e, NULL, NULL, &one[i]), MEP_OK);
    for (int i = 0; i < 2; i++)
        assert_true(fabs(each[i].loss - one[i].loss) < 1e-12 && each[i].tokens == one[i].tokens);
    assert_true(fabs(one[0].loss - one[1].loss) > 1e-6);
    double loss = 0.75 * one[0].loss + 0.25 * one[1].loss;
    double a = 0.75 * one[0].standard_error / one[0].perplexity, b = 0.25 * one[1].standard_error / one[1].perplexity;
    assert_true(fabs(mixed.loss - loss) < 1e-12);
    assert_true(fabs(mixed.perplexity - exp(loss)) < 1e-9);
    assert_true(fabs(mixed.standard_error / (exp(loss) * sqrt(a * a + b * b)) - 1) < 1e-9);
    assert_int_equal(mixed.tokens, one[0].tokens + one[1].tokens);
    assert_int_equal(mixed.segments, 40);
    mep_data_mix_close(&m);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_turns_of_neox), cmocka_unit_test(test_proportions),
        cmocka_unit_test(test_reading),    cmocka_unit_test(test_training),      cmocka_unit_test(test_split),
        cmocka_unit_test(test_evaluation),
    };
    return cmocka_run_group_tests_name("mixture", tests, set_up_three, tear_down);
}
