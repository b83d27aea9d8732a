/* SPDX-License-Identifier: MIT */
/*
 * Values that are not finite: such a step stops the run, is skipped, or is dumped, depending on the settings; a run
 * that skips steps resumes bit-identically. A rare token with an infinite embedding makes some of the steps bad.
 * Settings with sizes beyond any machine are refused.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include <jansson.h>

#include "base/memory.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "train/data_order.h"
#include "train/run_data.h"
#include "train/numeric.h"
#include "train/run.h"

enum { RARE = 63, RARE_PLACES = 120, STEPS = 40 };

static char rare_path[600], poisoned[600];

/* The text of small_data.h with the token RARE in two ranges. */
static void write_rare_data(const char *path)
{
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    mep_dataset *data;
    int32_t *text = calloc(TOKENS, sizeof *text);
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    assert_int_equal(mep_dataset_read(data, 0, TOKENS, text), MEP_OK);
    mep_dataset_close(&data);
    for (int64_t i = 0; i < RARE_PLACES; i++) text[5000 + i] = text[12000 + i] = RARE;
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, text, TOKENS, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
    free(text);
}

/* A model with the sizes of settings_for and one bad value in a tensor. */
static void write_model(const char *path, int64_t tensor, int64_t index, float value)
{
    mep_model *model;
    mep_train_settings s = settings_for("mep_param");
    assert_int_equal(mep_model_create(&model, &s.model, 7), MEP_OK);
    ((float *)model->tensors[tensor < 0 ? model->first[EMBED_OUT] : tensor].data)[index] = value;
    assert_int_equal(mep_make_folder(path, 1), MEP_OK);
    assert_int_equal(mep_model_save(model, path, NULL), MEP_OK);
    mep_model_destroy(&model);
}

static int set_up_all(void **state)
{
    set_up(state);
    snprintf(rare_path, sizeof rare_path, "%s/rare", folder);
    snprintf(poisoned, sizeof poisoned, "%s/poisoned", folder);
    write_rare_data(rare_path);
    write_model(poisoned, 0, RARE * 32 + 3, INFINITY);
    return 0;
}

static mep_train_settings rare_settings(mep_on_nan on_nan)
{
    mep_train_settings s = settings_for("mep_param");
    snprintf(s.data, sizeof s.data, "%s", rare_path);
    snprintf(s.init, sizeof s.init, "%s", poisoned);
    s.steps = STEPS, s.save_every = 5, s.keep = 0, s.on_nan = on_nan, s.seed = 5;
    return s;
}

/* Set bad[step], steps counted from 1, for steps whose inputs have the rare token. Returns their number. */
static int64_t find_bad_steps(const mep_train_settings *s, char bad[STEPS + 1])
{
    mep_data_mix *data;
    mep_data_order order;
    int32_t inputs[16], targets[16];
    int64_t count = 0;
    memset(bad, 0, STEPS + 1);
    assert_int_equal(mep_train_open_data(&data, s), MEP_OK);
    assert_int_equal(mep_data_order_open(&order, data, s->length, s->seed), MEP_OK);
    for (int64_t i = 0; i < STEPS * s->batch_size; i++) {
        assert_int_equal(mep_data_order_read(&order, i, inputs, targets), MEP_OK);
        for (int t = 0; t < 16; t++) bad[i / s->batch_size + 1] |= inputs[t] == RARE;
    }
    for (int64_t i = 1; i <= STEPS; i++) count += bad[i];
    mep_data_order_close(&order);
    mep_data_mix_close(&data);
    return count;
}

typedef struct record {
    int64_t stop_after, steps, skipped;
    char bad[STEPS + 1];
} record;

static int keep_record(void *context, const mep_train_progress *p)
{
    record *r = context;
    r->steps++;
    r->skipped = p->skipped;
    r->bad[p->step] = p->skipped_for != NULL;
    assert_int_equal(p->skipped_for != NULL, !isfinite(p->loss) || !isfinite(p->grad_norm));
    if (p->skipped_for != NULL) assert_string_equal(p->skipped_for, "gpt_neox.embed_in.weight");
    return p->step == r->stop_after;
}

static void assert_same_file(const char *a, const char *b)
{
    char *x, *y;
    int64_t n, m;
    assert_int_equal(mep_file_read(run_path(a), 1 << 24, &x, &n), MEP_OK);
    assert_int_equal(mep_file_read(run_path(b), 1 << 24, &y, &m), MEP_OK);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n);
    mep_free(&x);
    mep_free(&y);
}

/* Exactly the steps with the token are skipped. Stopped at any step and resumed, also between bad steps, the run ends
 * with the same bytes. */
static void test_skip(void **state)
{
    (void)state;
    record whole = {0}, parts = {0};
    char bad[STEPS + 1], name[32], file[2][64];
    mep_train_settings s = rare_settings(MEP_NAN_SKIP);
    int64_t count = find_bad_steps(&s, bad);
    assert_true(count > 3 && count < STEPS / 2);
    if (mep_train_start(run_path("skip"), &s, keep_record, &whole) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(whole.skipped, count);
    assert_memory_equal(whole.bad, bad, sizeof bad);
    for (int64_t stop = 1; stop < STEPS; stop += bad[stop + 1] ? 1 : 9) {
        snprintf(name, sizeof name, "skip%lld", (long long)stop);
        parts = (record){.stop_after = stop};
        assert_int_equal(mep_train_start(run_path(name), &s, keep_record, &parts), MEP_INTERRUPTED);
        parts.stop_after = 0;
        assert_int_equal(mep_train_resume(run_path(name), keep_record, &parts), MEP_OK);
        assert_int_equal(parts.skipped, count);
        assert_memory_equal(parts.bad, bad, sizeof bad);
        static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
        for (int i = 0; i < 3; i++) {
            snprintf(file[0], sizeof file[0], "skip/checkpoint-%d/%s", STEPS, files[i]);
            snprintf(file[1], sizeof file[1], "%s/checkpoint-%d/%s", name, STEPS, files[i]);
            assert_same_file(file[0], file[1]);
        }
    }
}

/* metrics.jsonl has every step once; a skipped one has no loss and a reason. */
static void test_skip_metrics(void **state)
{
    (void)state;
    char bad[STEPS + 1], *text;
    int64_t size, step = 0;
    mep_train_settings s = rare_settings(MEP_NAN_SKIP);
    find_bad_steps(&s, bad);
    assert_int_equal(mep_train_start(run_path("lines"), &s, NULL, NULL), MEP_OK);
    assert_int_equal(mep_file_read(run_path("lines/metrics.jsonl"), 1 << 24, &text, &size), MEP_OK);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *root;
        assert_int_equal(mep_json_parse("metrics", line, (int64_t)strlen(line), &root), MEP_OK);
        assert_int_equal(json_integer_value(json_object_get(root, "step")), ++step);
        assert_int_equal(json_is_null(json_object_get(root, "loss")), bad[step]);
        assert_int_equal(json_is_string(json_object_get(root, "skipped_for")), bad[step]);
        json_decref(root);
    }
    assert_int_equal(step, STEPS);
    mep_free(&text);
}

/* A bad weight that affects every step ends the run after some skipped steps. */
static void test_skip_limit(void **state)
{
    (void)state;
    record r = {0};
    mep_train_settings s = settings_for("mep_param");
    write_model(run_path("bad"), -1, 5, NAN);
    snprintf(s.init, sizeof s.init, "%s", run_path("bad"));
    s.on_nan = MEP_NAN_SKIP;
    assert_int_equal(mep_train_start(run_path("limit"), &s, NULL, &r), MEP_ERROR_NUMERIC);
    assert_non_null(strstr(mep_error_message(), "step 10: "));
    assert_non_null(strstr(mep_error_message(), "embed_out.weight (the weights), as in the 9 steps before it"));
}

/* The first bad step ends the run, is not applied, and is not in the log; --on-nan can then be changed. */
static void test_stop(void **state)
{
    (void)state;
    char bad[STEPS + 1], wanted[32], *text;
    int64_t first = 1, size = 0, lines = 0;
    mep_train_settings s = rare_settings(MEP_NAN_STOP);
    find_bad_steps(&s, bad);
    while (!bad[first]) first++;
    assert_true(first > 2);
    assert_int_equal(mep_train_start(run_path("stop"), &s, NULL, NULL), MEP_ERROR_NUMERIC);
    snprintf(wanted, sizeof wanted, "step %lld: ", (long long)first);
    assert_non_null(strstr(mep_error_message(), wanted));
    assert_non_null(strstr(mep_error_message(), "embed_in.weight"));
    assert_int_equal(mep_file_read(run_path("stop/metrics.jsonl"), 1 << 24, &text, &size), MEP_OK);
    for (int64_t i = 0; i < size; i++) lines += text[i] == '\n';
    assert_int_equal(lines, first - 1);
    mep_free(&text);
    assert_int_equal(mep_train_set_on_nan(run_path("stop"), (mep_on_nan)3), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_train_set_on_nan(run_path("stop"), MEP_NAN_SKIP), MEP_OK);
    assert_int_equal(mep_train_resume(run_path("stop"), NULL, NULL), MEP_OK);
    assert_same_file("skip/checkpoint-40/model.safetensors", "stop/checkpoint-40/model.safetensors");
}

/* RUN/nan-STEP contains the tokens of the step, its losses, and the bad tensors. */
static void test_dump(void **state)
{
    (void)state;
    char bad[STEPS + 1], path[800];
    int64_t first = 1, inputs[8 * 16];
    float losses[8 * 16], weight[VOCAB * 32];
    mep_safetensors *file;
    json_t *root;
    mep_train_settings s = rare_settings(MEP_NAN_DUMP);
    find_bad_steps(&s, bad);
    while (!bad[first]) first++;
    assert_true(first > 2);
    assert_int_equal(mep_train_start(run_path("dump"), &s, NULL, NULL), MEP_ERROR_NUMERIC);
    snprintf(path, sizeof path, "nan-%lld has its tokens and tensors", (long long)first);
    assert_non_null(strstr(mep_error_message(), path));
    snprintf(path, sizeof path, "%s/nan-%lld/tensors.safetensors", run_path("dump"), (long long)first);
    assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
    const int64_t tokens[] = {8, 16}, shape[] = {VOCAB, 32};
    assert_int_equal(mep_safetensors_read(file, "inputs", MEP_INT64, 2, tokens, inputs), MEP_OK);
    assert_int_equal(mep_safetensors_read(file, "losses", MEP_FLOAT32, 2, tokens, losses), MEP_OK);
    assert_int_equal(mep_safetensors_read(file, "parameter", MEP_FLOAT32, 2, shape, weight), MEP_OK);
    int met = 0, sequences = 0;
    for (int b = 0; b < 8; b++, sequences += met, met = 0)
        for (int t = 0; t < 16; t++) {
            met |= inputs[b * 16 + t] == RARE;
            assert_int_equal(isfinite(losses[b * 16 + t]) != 0,
                             !met); /* a token and the later tokens of its sequence */
        }
    assert_true(sequences > 0);
    for (int i = 0; i < VOCAB * 32; i++) assert_int_equal(isfinite(weight[i]) != 0, i != RARE * 32 + 3);
    assert_non_null(mep_safetensors_find(file, "gradient"));
    mep_safetensors_close(&file);
    snprintf(path, sizeof path, "%s/nan-%lld/step.json", run_path("dump"), (long long)first);
    assert_int_equal(mep_json_load(path, &root), MEP_OK);
    assert_string_equal(json_string_value(json_object_get(root, "parameter")), "gpt_neox.embed_in.weight");
    assert_true(json_is_null(json_object_get(root, "loss")));
    json_t *counts = json_object_get(json_object_get(root, "not_finite"), "gpt_neox.embed_in.weight");
    assert_int_equal(json_integer_value(json_array_get(counts, 0)), 1);
    json_decref(root);
}

/* The order of the search: parameters in forward order, gradients in backward order, the position bias last. */
static void test_find(void **state)
{
    (void)state;
    mep_model *m;
    mep_train_settings s = settings_for("mep_param");
    assert_int_equal(mep_model_create(&m, &s.model, 7), MEP_OK);
    float *gradients = calloc((size_t)m->size, sizeof *gradients);
    mep_bad_tensors bad = mep_find_bad_tensors(m, gradients);
    assert_true(bad.parameter == -1 && bad.gradient == -1);
    assert_true(m->first[POSITION_BIAS] > 0 && m->first[POSITION_BIAS] < m->count);
    int64_t order[] = {m->first[POSITION_BIAS], 0, m->section[SECTION_LAYERS], m->first[EMBED_OUT]};
    for (int i = 0; i < 4; i++) {
        gradients[mep_tensor_offset(m, order[i]) + m->tensors[order[i]].size - 1] = i % 2 ? NAN : -INFINITY;
        assert_int_equal(mep_find_bad_tensors(m, gradients).gradient, order[i]);
    }
    ((float *)m->tensors[m->count - 1].data)[0] = NAN;
    assert_int_equal(mep_find_bad_tensors(m, gradients).parameter, m->count - 1);
    ((float *)m->tensors[2].data)[0] = INFINITY;
    assert_int_equal(mep_find_bad_tensors(m, gradients).parameter, 2);
    free(gradients);
    mep_model_destroy(&m);
}

/* A learning rate at which everything overflows: the run ends, and its checkpoints are finite. */
static void test_overflow(void **state)
{
    (void)state;
    mep_model *model;
    mep_train_settings s = settings_for("mep_param");
    s.learning_rate = 100, s.min_learning_rate = 100, s.warmup = 0, s.steps = 400, s.save_every = 1,
    s.max_grad_norm = 0;
    mep_status status = mep_train_start(run_path("overflow"), &s, NULL, NULL);
    assert_true(status == MEP_OK || status == MEP_ERROR_NUMERIC);
    assert_int_equal(mep_model_load(&model, run_path("overflow")), MEP_OK);
    for (int64_t i = 0; i < model->size; i++) assert_true(isfinite(model->values[i]));
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skip),     cmocka_unit_test(test_skip_metrics), cmocka_unit_test(test_skip_limit),
        cmocka_unit_test(test_stop),     cmocka_unit_test(test_dump),         cmocka_unit_test(test_find),
        cmocka_unit_test(test_overflow),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down);
}
