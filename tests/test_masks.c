/* SPDX-License-Identifier: MIT */
/*
 * Loss masks: PREFIX.mask is written, read and checked; targets that are not trained have no loss and no gradient; a
 * training step and an evaluation average over the others alone.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "mep/measure.h"
#include "thread_group.h"

enum { SEQUENCES = 50, SEQUENCE = 16 };

/* Every k-th token is trained; k = 1: all. Returns the number of tokens, of which the last belongs to no sequence. */
static int64_t write_masked(const char *path, int k)
{
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    for (int64_t s = 0; s < SEQUENCES; s++) {
        int32_t tokens[SEQUENCE + 1];
        uint8_t mask[SEQUENCE + 1];
        for (int i = 0; i < SEQUENCE + 1; i++) {
            uint64_t place = (uint64_t)(s * SEQUENCE + i);
            tokens[i] = (int32_t)(mep_random_bits(1, 2, place) % 60);
            mask[i] = place % (uint64_t)k == 0;
        }
        int64_t count = SEQUENCE + (s + 1 == SEQUENCES);
        assert_int_equal(mep_dataset_writer_add_masked(writer, tokens, mask, count), MEP_OK);
    }
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
    return SEQUENCES * SEQUENCE + 1;
}

static char *file_of(const char *prefix, const char *suffix)
{
    static char path[700];
    snprintf(path, sizeof path, "%s%s", prefix, suffix);
    return path;
}

static void refuse(mep_status status, const char *text, mep_status found)
{
    assert_int_equal(found, status);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("\"%s\" is not in: %s", text, mep_error_message());
}

/* ---- Files ---- */

static void test_files(void **state)
{
    (void)state;
    char *path = run_path("masked");
    mep_dataset *data;
    int32_t tokens[100], targets[100];
    int64_t count = write_masked(path, 3);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    assert_int_equal(mep_dataset_has_mask(data), 1);
    assert_int_equal(mep_dataset_verify(data), MEP_OK);
    assert_int_equal(mep_dataset_tokens(data), count);
    assert_int_equal(mep_dataset_read(data, 40, 100, tokens), MEP_OK);
    assert_int_equal(mep_dataset_read_targets(data, 40, 100, targets), MEP_OK);
    for (int i = 0; i < 100; i++) assert_int_equal(targets[i], (40 + i) % 3 == 0 ? tokens[i] : MEP_TARGET_NONE);
    refuse(MEP_ERROR_ARGUMENT, "cannot read", mep_dataset_read_targets(data, count - 5, 6, targets));
    uint64_t checksum = mep_dataset_checksum(data);
    mep_dataset_close(&data);
    /* a part of it begins elsewhere */
    assert_int_equal(mep_dataset_open_split(&data, path, "3,2", MEP_SPLIT_VALID), MEP_OK);
    int64_t first = 30 * SEQUENCE;
    assert_int_equal(mep_dataset_read_targets(data, 0, 20, targets), MEP_OK);
    for (int i = 0; i < 20; i++) assert_int_equal(targets[i] == MEP_TARGET_NONE, (first + i) % 3 != 0);
    mep_dataset_close(&data);
    /* the checksum depends on the mask */
    write_masked(path, 2);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    assert_true(mep_dataset_checksum(data) != checksum);
    mep_dataset_close(&data);
    /* a dataset without a mask takes the place of one with it */
    write_data(path, 500, 1);
    assert_int_equal(mep_file_exists(file_of(path, ".mask")), 0);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    assert_int_equal(mep_dataset_has_mask(data), 0);
    assert_int_equal(mep_dataset_read(data, 0, 100, tokens), MEP_OK);
    assert_int_equal(mep_dataset_read_targets(data, 0, 100, targets), MEP_OK);
    assert_memory_equal(tokens, targets, sizeof tokens);
    mep_dataset_close(&data);
}

static void change(const char *path, long at, int value)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_equal(fputc(value, file), value);
    assert_int_equal(fclose(file), 0);
}

static void test_damage(void **state)
{
    (void)state;
    char *path = run_path("damaged");
    mep_dataset *data;
    int32_t targets[100];
    write_masked(path, 3);
    change(file_of(path, ".mask"), 5, 1);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    refuse(MEP_ERROR_FORMAT, "checksum", mep_dataset_verify(data));
    mep_dataset_close(&data);
    change(file_of(path, ".mask"), 5, 2);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    refuse(MEP_ERROR_FORMAT, "byte 5 is 2", mep_dataset_read_targets(data, 0, 100, targets));
    mep_dataset_close(&data);
    FILE *file = fopen(file_of(path, ".mask"), "ab");
    fputc(0, file);
    fclose(file);
    refuse(MEP_ERROR_FORMAT, "802 bytes, not one for each of the 801 tokens", mep_dataset_open(&data, path));
    assert_null(data);
    assert_int_equal(remove(file_of(path, ".mask")), 0);
    refuse(MEP_ERROR_IO, ".mask", mep_dataset_open(&data, path));
    assert_null(data);
}

static void test_writer(void **state)
{
    (void)state;
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    static const int32_t tokens[4] = {1, 2, 3, 4};
    static const uint8_t mask[4] = {0, 1, 0, 1}, wrong[4] = {0, 1, 2, 0};
    char *path = run_path("writer");
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "is 2, not 0 or 1", mep_dataset_writer_add_masked(writer, tokens, wrong, 4));
    assert_int_equal(mep_dataset_writer_add_masked(writer, tokens, mask, 4), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "has a mask", mep_dataset_writer_add(writer, tokens, 4, 1));
    refuse(MEP_ERROR_ARGUMENT, "has a mask", mep_dataset_writer_append(writer, tokens, 4));
    mep_dataset_writer_abandon(&writer);
    assert_int_equal(mep_file_exists(file_of(path, ".mask.tmp")), 0);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, tokens, 4, 1), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "without a mask", mep_dataset_writer_add_masked(writer, tokens, mask, 4));
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK); /* what was refused did no harm */
    mep_tokenizer_destroy(&bytes);
}

/* ---- Gradients ---- */

/* The gradients of two masks that complete each other add up to those of all targets; masked rows have loss 0. */
static void test_gradients(void **state)
{
    (void)state;
    enum { BATCH = 2, LENGTH = 24, ROWS = BATCH * LENGTH };
    for (int dtype = 0; dtype < 2; dtype++) {
        mep_train_settings s = settings_for("mep_param");
        mep_model *model;
        mep_session *session;
        mep_session_settings settings;
        float losses[3][ROWS], *gradients[3];
        int32_t inputs[ROWS], targets[3][ROWS];
        assert_int_equal(mep_model_create(&model, &s.model, 5), MEP_OK);
        for (int i = 0; i < ROWS; i++) {
            inputs[i] = (int32_t)(mep_random_bits(1, 1, (uint64_t)i) % VOCAB);
            targets[0][i] = (int32_t)(mep_random_bits(1, 2, (uint64_t)i) % VOCAB);
            targets[1][i] = i % 3 == 0 ? targets[0][i] : MEP_TARGET_NONE;
            targets[2][i] = i % 3 != 0 ? targets[0][i] : MEP_TARGET_NONE;
        }
        mep_session_defaults(&settings);
        settings.batch = BATCH, settings.length = LENGTH, settings.training = 1;
        settings.dtype = dtype ? MEP_BFLOAT16 : MEP_FLOAT32;
        assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
        for (int k = 0; k < 3; k++) {
            gradients[k] = calloc((size_t)model->size, sizeof(float));
            assert_int_equal(mep_session_refresh(session), MEP_OK);
            assert_int_equal(mep_session_train(session,
                                               &(mep_train_batch){.batch = BATCH,
                                                                  .length = LENGTH,
                                                                  .inputs = inputs,
                                                                  .targets = targets[k],
                                                                  .scale = 1.0f / ROWS},
                                               losses[k], gradients[k]),
                             MEP_OK);
        }
        for (int i = 0; i < ROWS; i++) {
            assert_true(losses[1][i] == (i % 3 == 0 ? losses[0][i] : 0));
            assert_true(losses[2][i] == (i % 3 != 0 ? losses[0][i] : 0));
        }
        double difference = 0, size = 0, part = 0;
        for (int64_t i = 0; i < model->size; i++) {
            double all = (double)gradients[0][i], sum = (double)gradients[1][i] + (double)gradients[2][i];
            difference += (all - sum) * (all - sum), size += all * all;
            part += (double)gradients[1][i] * (double)gradients[1][i];
        }
        if (!(sqrt(difference / size) < (dtype ? 2e-2 : 1e-5)) || !(part > 0.01 * size))
            fail_msg("type %d: the parts differ from the whole by %g", dtype, sqrt(difference / size));
        for (int k = 0; k < 3; k++) free(gradients[k]);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* ---- Training and evaluation ---- */

typedef struct curve {
    double loss[64], valid;
} curve;

static int keep(void *context, const mep_train_progress *p)
{
    curve *c = context;
    c->loss[p->step] = p->loss;
    if (!isnan(p->valid_loss)) c->valid = p->valid_loss;
    return 0;
}

static curve train(const char *data, const char *run, int64_t micro)
{
    mep_train_settings s = settings_for("alibi");
    curve c = {.valid = NAN};
    s.steps = 6, s.micro_batch_size = micro, s.valid_every = 6;
    snprintf(s.data, sizeof s.data, "%s", data);
    snprintf(s.valid, sizeof s.valid, "%s", data);
    assert_int_equal(mep_train_start(run_path(run), &s, keep, &c), MEP_OK);
    return c;
}

/* A mask that leaves out nothing trains as no mask does. One that leaves out much has another loss, the mean over the
 * trained tokens, whatever the micro-batch. */
static void test_training(void **state)
{
    (void)state;
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    mep_dataset *data;
    int32_t tokens[SEQUENCES * SEQUENCE + 1];
    char *all = run_path("all"), *plain = run_path("plain"), *some = run_path("some");
    int64_t count = write_masked(all, 1);
    write_masked(some, 5);
    assert_int_equal(mep_dataset_open(&data, all), MEP_OK);
    assert_int_equal(mep_dataset_read(data, 0, count, tokens), MEP_OK);
    mep_dataset_close(&data);
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, plain, bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, tokens, count, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
    curve a = train(all, "run_all", 4), b = train(plain, "run_plain", 4);
    for (int step = 1; step <= 6; step++) assert_true(a.loss[step] == b.loss[step]);
    assert_true(a.valid == b.valid);
    curve c = train(some, "run_some", 8), d = train(some, "run_some_2", 2);
    for (int step = 1; step <= 6; step++) {
        if (!(fabs(c.loss[step] / d.loss[step] - 1) < 1e-5)) fail_msg("step %d: micro-batches matter", step);
        if (!(c.loss[step] > 2 && c.loss[step] < 6)) fail_msg("step %d: a loss of %g", step, c.loss[step]);
    }
    assert_true(c.loss[1] != a.loss[1]);
    assert_true(c.valid > 2 && c.valid < 6);
}

typedef struct group_run {
    const char *data, *run;
    curve curves[MOST_THREADS];
    mep_status status[MOST_THREADS];
} group_run;

static void work(mep_dist *group, void *context)
{
    group_run *g = context;
    mep_train_settings s = settings_for("alibi");
    curve *c = &g->curves[group->rank];
    s.steps = 6, s.valid_every = 6, s.gradient_parts = 4;
    snprintf(s.data, sizeof s.data, "%s", g->data);
    snprintf(s.valid, sizeof s.valid, "%s", g->data);
    g->status[group->rank] = mep_train_start_in(group, g->run, &s, NULL, keep, c);
}

/* Processes divide by the trained targets of all of them: the same bits as one process. */
static void test_processes(void **state)
{
    (void)state;
    char *data = run_path("divided");
    group_run runs[3];
    write_masked(data, 7);
    for (int i = 0; i < 3; i++) {
        runs[i] = (group_run){.data = data, .run = run_path(i == 0 ? "run_1" : i == 1 ? "run_2" : "run_4")};
        run_group((int64_t)1 << i, work, &runs[i]);
        for (int r = 0; r < 1 << i; r++) {
            assert_int_equal(runs[i].status[r], MEP_OK);
            for (int step = 1; step <= 6; step++)
                assert_true(runs[i].curves[r].loss[step] == runs[0].curves[0].loss[step]);
            assert_true(runs[i].curves[r].valid == runs[0].curves[0].valid);
        }
    }
}

/* An evaluation of masked data scores the trained tokens alone; in windows too. */
static void test_evaluation(void **state)
{
    (void)state;
    enum { L = 32, STRIDE = 8 };
    char *path = run_path("evaluated");
    int64_t count = write_masked(path, 5);
    mep_train_settings s = settings_for("mep");
    mep_model *model;
    mep_dataset *data;
    mep_session *session;
    mep_session_settings settings;
    assert_int_equal(mep_model_create(&model, &s.model, 5), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    mep_session_defaults(&settings);
    settings.length = L;
    assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
    for (int windows = 0; windows < 2; windows++) {
        mep_eval_settings e;
        mep_eval_result r;
        int64_t scored = 0, segments = 0, step = windows ? STRIDE : L;
        double sum = 0, bits = 0;
        for (int64_t start = 0; start + L + 1 <= count; start += step, segments++) {
            int32_t tokens[L + 1];
            float losses[L];
            assert_int_equal(mep_dataset_read(data, start, L + 1, tokens), MEP_OK);
            assert_int_equal(mep_session_losses(session, 1, L, tokens, tokens + 1, losses), MEP_OK);
            for (int64_t i = start > 0 ? L - step : 0; i < L; i++)
                if ((start + i + 1) % 5 == 0) sum += (double)losses[i], scored++;
        }
        mep_eval_defaults(&e);
        e.length = L, e.stride = windows ? STRIDE : 0, e.batch_tokens = 3 * L;
        assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &r), MEP_OK);
        assert_int_equal(r.tokens, scored);
        assert_int_equal(r.segments, segments);
        assert_true(fabs(r.loss - sum / (double)scored) < 1e-6);
        assert_true(r.standard_error > 0);
        assert_int_equal(mep_eval_bits_per_byte(data, &e, &r, &bits), MEP_OK);
        assert_true(fabs(bits - r.loss / log(2)) < 1e-12); /* a token is a byte */
    }
    mep_session_destroy(&session);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files),     cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_writer),    cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_training),  cmocka_unit_test(test_processes),
                                       cmocka_unit_test(test_evaluation)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
