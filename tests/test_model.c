/* SPDX-License-Identifier: MIT */
/*
 * Identities of the model: causality, prefixes, micro-batches, chunks of logits, threads, bfloat16, finite differences;
 * what follows a change of weights; initial values; and wrong calls. The golden files are in test_model_golden.c.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_model.h"

#include <pthread.h>

#include "base/memory.h"
#include "io/files.h"
#include "mep/train.h"
#include "quick.h"
#include "scratch.h"
#include "train/adamw.h"

/* A future token changes no earlier loss, and a prefix gives what it gives inside a longer text. */
static void test_causality(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        mep_session *session = small_session(model, 1, LENGTH, MEP_FLOAT32, 0);
        int32_t tokens[LENGTH + 1];
        float whole[LENGTH], changed[LENGTH], prefix[33];
        random_tokens(tokens, LENGTH + 1);
        assert_int_equal(mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, whole), MEP_OK);
        assert_int_equal(mep_session_losses(session, 1, 33, tokens, tokens + 1, prefix), MEP_OK);
        tokens[60] = (tokens[60] + 1) % VOCAB;
        assert_int_equal(mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, changed), MEP_OK);
        assert_memory_equal(whole, changed, 59 * sizeof(float));
        assert_true(whole[61] != changed[61]);
        assert_memory_equal(whole, prefix, sizeof prefix);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* Gradients of the mean of losses, with `split` micro-batches, and logits in chunks of `logit_rows` rows (0: as they
 * come). */
static float *gradients_of(mep_model *model, mep_dtype dtype, int64_t split, int64_t logit_rows, double *loss)
{
    int32_t inputs[BATCH * LENGTH], targets[BATCH * LENGTH], tokens[BATCH * (LENGTH + 1)];
    float losses[BATCH * LENGTH], *gradients = allocate(model->size, sizeof *gradients);
    random_tokens(tokens, BATCH * (LENGTH + 1));
    for (int b = 0; b < BATCH; b++) {
        memcpy(inputs + b * LENGTH, tokens + b * (LENGTH + 1), LENGTH * sizeof *inputs);
        memcpy(targets + b * LENGTH, tokens + b * (LENGTH + 1) + 1, LENGTH * sizeof *targets);
    }
    mep_session *session = small_session(model, BATCH / split, LENGTH, dtype, 1);
    if (logit_rows > 0) session->logit_rows = logit_rows;
    for (int64_t i = 0; i < split; i++) {
        int64_t first = i * BATCH / split * LENGTH;
        assert_int_equal(mep_session_train(session,
                                           &(mep_train_batch){.batch = BATCH / split,
                                                              .length = LENGTH,
                                                              .inputs = inputs + first,
                                                              .targets = targets + first,
                                                              .scale = 1.0f / (BATCH * LENGTH),
                                                              .accumulate = 1},
                                           losses + first, gradients),
                         MEP_OK);
    }
    if (loss != NULL) *loss = mean(losses, BATCH * LENGTH);
    mep_session_destroy(&session);
    return gradients;
}

static void test_micro_batches_and_threads(void **state)
{
    (void)state;
    int threads = mep_set_threads(0);
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        float *whole = gradients_of(model, MEP_FLOAT32, 1, 0, NULL),
              *split = gradients_of(model, MEP_FLOAT32, 2, 0, NULL);
        assert_true(relative_difference(split, whole, model->size) < 1e-5);
        for (int n = 1; n <= 4; n++) {
            mep_set_threads(n);
            float *again = gradients_of(model, MEP_FLOAT32, 1, 0, NULL);
            assert_memory_equal(again, whole, (size_t)model->size * sizeof *again);
            free(again);
        }
        mep_set_threads(threads);
        free(whole);
        free(split);
        mep_model_destroy(&model);
    }
}

static void test_bfloat16(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        double loss32, loss16;
        float *exact = gradients_of(model, MEP_FLOAT32, 1, 0, &loss32),
              *half = gradients_of(model, MEP_BFLOAT16, 1, 0, &loss16);
        assert_true(fabs(loss16 / loss32 - 1) < 5e-3);
        double difference = relative_difference(half, exact, model->size);
        if (!(difference < 0.05)) fail_msg("%s: bfloat16 gradients are off by %g", ENCODINGS[e], difference);
        free(exact);
        free(half);
        mep_model_destroy(&model);
    }
}

/* A direction of length 1: that of the gradient, or a random one where the gradient is too flat for float32; returns
 * the slope that the gradient gives it. */
static double direction_of(const mep_tensor *t, const float *gradient, double *direction)
{
    double norm = 0, length = 0, slope = 0;
    for (int64_t i = 0; i < t->size; i++) norm += (double)gradient[i] * (double)gradient[i];
    for (int64_t i = 0; i < t->size; i++) {
        direction[i] =
            norm >= 1e-6 ? (double)gradient[i] : mep_random_normal(5, mep_random_stream(t->name), (uint64_t)i);
        length += direction[i] * direction[i];
    }
    for (int64_t i = 0; i < t->size; i++) {
        direction[i] /= sqrt(length);
        slope += direction[i] * (double)gradient[i];
    }
    return slope;
}

/* Central differences of the loss along a direction of each tensor. */
static void test_finite_differences(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        float *gradient = gradients_of(model, MEP_FLOAT32, 1, 0, NULL);
        for (int64_t t = 0; t < model->count; t += quick(1, 4)) {
            float *values = model->tensors[t].data;
            int64_t size = model->tensors[t].size, offset = mep_tensor_offset(model, t);
            double *direction = allocate(size, sizeof *direction);
            double expected = direction_of(&model->tensors[t], gradient + offset, direction);
            double loss[2], h = fmin(1e-3 / fmax(fabs(expected), 1e-3), 0.05), length = 0;
            for (int64_t i = 0; i < size; i++) length += (double)values[i] * (double)values[i];
            if (length > 0) h = fmin(h, 0.2 * sqrt(length)); /* fire.c is a single number of 0.1 */
            float *kept = allocate(size, sizeof *kept);
            memcpy(kept, values, (size_t)size * sizeof *kept);
            for (int side = 0; side < 2; side++) {
                for (int64_t i = 0; i < size; i++) values[i] = kept[i] + (float)((side == 0 ? -h : h) * direction[i]);
                free(gradients_of(model, MEP_FLOAT32, 1, 0, &loss[side]));
            }
            memcpy(values, kept, (size_t)size * sizeof *kept);
            double slope = (loss[1] - loss[0]) / (2 * h);
            if (!(fabs(slope - expected) < 0.05 * fabs(expected) + 3e-5))
                fail_msg("%s: %s: slope %g, gradient %g", ENCODINGS[e], model->tensors[t].name, slope, expected);
            free(kept);
            free(direction);
        }
        free(gradient);
        mep_model_destroy(&model);
    }
}

/* The output layer works in chunks of rows, which only a large vocabulary needs: three of them give what one gives. */
static void test_chunks_of_logits(void **state)
{
    (void)state;
    enum { ROWS = 100, N = BATCH * LENGTH };
    for (int dtype = 0; dtype < 2; dtype++) {
        mep_model *model = small_model("mep_param");
        double loss_one, loss_three;
        float *one = gradients_of(model, (mep_dtype)dtype, 1, 0, &loss_one);
        float *three = gradients_of(model, (mep_dtype)dtype, 1, ROWS, &loss_three);
        assert_true(fabs(loss_three / loss_one - 1) < 1e-6);
        for (int64_t t = 0; t < model->count; t++) {
            int64_t at = mep_tensor_offset(model, t);
            double difference = relative_difference(three + at, one + at, model->tensors[t].size);
            double bound = dtype == MEP_FLOAT32 ? 1e-4 : 1e-2; /* keys' biases have no gradient but rounding */
            if (strstr(model->tensors[t].name, "query_key_value.bias") == NULL && !(difference < bound))
                fail_msg("%s: the gradient is off by %g", model->tensors[t].name, difference);
        }
        mep_session *session = small_session(model, BATCH, LENGTH, (mep_dtype)dtype, 0);
        int32_t tokens[N + 1];
        float whole[N], chunks[N];
        random_tokens(tokens, N + 1);
        assert_int_equal(mep_session_losses(session, BATCH, LENGTH, tokens, tokens + 1, whole), MEP_OK);
        session->logit_rows = ROWS;
        assert_int_equal(mep_session_losses(session, BATCH, LENGTH, tokens, tokens + 1, chunks), MEP_OK);
        assert_memory_equal(whole, chunks, sizeof whole);
        mep_session_destroy(&session);
        free(one);
        free(three);
        mep_model_destroy(&model);
    }
}

/* A session sees weights that were changed after its creation: it computes what a new one does. */
static void test_changed_weights(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        mep_model *model = small_model("mep_param");
        mep_session *old = small_session(model, 1, LENGTH, (mep_dtype)dtype, 0);
        int32_t tokens[LENGTH + 1];
        float before[LENGTH], after[LENGTH], fresh[LENGTH];
        random_tokens(tokens, LENGTH + 1);
        for (int64_t t = 0; t < model->count; t++) {
            if (strstr(model->tensors[t].name, "layers.0") != NULL) continue; /* layer 1 stands for it */
            assert_int_equal(mep_session_losses(old, 1, LENGTH, tokens, tokens + 1, before), MEP_OK);
            for (int64_t i = 0; i < model->tensors[t].size; i++)
                ((float *)model->tensors[t].data)[i] += 0.3f * (float)mep_random_normal(1, (uint64_t)t, (uint64_t)i);
            mep_session *new = small_session(model, 1, LENGTH, (mep_dtype)dtype, 0);
            assert_int_equal(mep_session_losses(old, 1, LENGTH, tokens, tokens + 1, after), MEP_OK);
            assert_int_equal(mep_session_losses(new, 1, LENGTH, tokens, tokens + 1, fresh), MEP_OK);
            if (memcmp(before, after, sizeof after) == 0) fail_msg("%s: no loss follows it", model->tensors[t].name);
            assert_memory_equal(after, fresh, sizeof after);
            mep_session_destroy(&new);
        }
        mep_session_destroy(&old);
        mep_model_destroy(&model);
    }
}

/* Position parameters that a step takes out of their ranges are moved back, in the model's own block, by the next
 * refresh. */
static void test_position_ranges(void **state)
{
    (void)state;
    static const char *const encodings[] = {"kerple_log", "kerple_power"};
    for (int e = 0; e < 2; e++) {
        mep_model *model = small_model(encodings[e]);
        mep_session *session = small_session(model, 1, 8, MEP_FLOAT32, 1);
        mep_adamw_settings settings = {0.9, 0.999, 1e-8, 0, 0};
        mep_adamw *optimizer;
        assert_int_equal(mep_adamw_create(&optimizer, model, &settings, mep_context_cpu), MEP_OK);
        float *gradients = allocate(model->size, sizeof *gradients);
        for (int64_t t = model->first[POSITION_BIAS]; t < model->count; t++)
            for (int64_t i = 0; i < model->tensors[t].size; i++) {
                ((float *)model->tensors[t].data)[i] = i == 0 ? 0.0101f : 1.99f;
                gradients[mep_tensor_offset(model, t) + i] = i == 0 ? 1.0f : -1.0f;
            }
        mep_adamw_step_run(optimizer, model, model->values, gradients, 1, 0.5); /* to -0.49 and 2.49 */
        assert_int_equal(mep_session_refresh(session), MEP_OK);
        for (int64_t t = model->first[POSITION_BIAS]; t < model->count; t++) {
            const float *values = model->tensors[t].data;
            int capped = e == 1 && strcmp(model->tensors[t].name, "position_bias.kerple_power.p") == 0;
            assert_true(values[0] >= 0.01f && values[0] < 0.010001f);
            assert_true(fabs((double)values[1] - (capped ? 2 : 2.49)) < 1e-4);
            const double *loaded =
                mep_bias_params(model->bias) + (values - (float *)model->tensors[model->first[POSITION_BIAS]].data);
            for (int64_t i = 0; i < model->tensors[t].size; i++)
                assert_true(fabs((double)values[i] - loaded[i]) < 1e-8);
        }
        free(gradients);
        mep_adamw_destroy(&optimizer);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* normal(0, 0.02), and 0.02 / sqrt(2 layers) where a matrix writes to the residual stream; LayerNorm 1, biases 0 (SPEC
 * 6). */
static void test_initial_values(void **state)
{
    (void)state;
    mep_model_config c;
    mep_model *model, *same, *other;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = 300, c.num_hidden_layers = 3, c.max_position_embeddings = 50;
    snprintf(c.position_encoding, sizeof c.position_encoding, "learned");
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    assert_int_equal(mep_model_create(&same, &c, 1), MEP_OK);
    assert_int_equal(mep_model_create(&other, &c, 2), MEP_OK);
    assert_memory_equal(model->values, same->values, (size_t)model->size * sizeof(float));
    for (int64_t t = 0; t < model->count; t++) {
        const mep_tensor *x = &model->tensors[t];
        const float *values = x->data;
        double square = 0, sum = 0, n = (double)x->size, one = strstr(x->name, "norm.weight") != NULL;
        for (int64_t i = 0; i < x->size; i++) sum += (double)values[i], square += (double)values[i] * (double)values[i];
        if (x->ndim == 1) {
            for (int64_t i = 0; i < x->size; i++) assert_true((double)values[i] == one);
            continue;
        }
        int residual = strstr(x->name, "attention.dense") != NULL || strstr(x->name, "dense_4h_to_h") != NULL;
        double deviation = residual ? 0.02 / sqrt(6) : 0.02;
        if (!(fabs(sqrt(square / n) / deviation - 1) < 5 / sqrt(2 * n)) || !(fabs(sum / n) < 5 * deviation / sqrt(n)))
            fail_msg("%s: mean %g, deviation %g, expected 0 and %g", x->name, sum / n, sqrt(square / n), deviation);
        assert_memory_not_equal(values, other->tensors[t].data, (size_t)x->size * sizeof *values);
    }
    mep_model_destroy(&model);
    mep_model_destroy(&same);
    mep_model_destroy(&other);
}

/* One session at every length from 1 to 300: a prefix's losses are those of the complete text, bit by bit. */
static void test_many_lengths(void **state)
{
    (void)state;
    enum { LONGEST = 300 };
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = 257, c.num_hidden_layers = 1;
    assert_int_equal(mep_model_create(&model, &c, 3), MEP_OK);
    mep_session *session = small_session(model, 1, LONGEST, MEP_FLOAT32, 0);
    int32_t tokens[LONGEST + 1];
    float whole[LONGEST], losses[LONGEST];
    random_tokens(tokens, LONGEST + 1);
    assert_int_equal(mep_session_losses(session, 1, LONGEST, tokens, tokens + 1, whole), MEP_OK);
    for (int64_t length = 1; length <= LONGEST; length += quick(1, 7)) {
        assert_int_equal(mep_session_losses(session, 1, length, tokens, tokens + 1, losses), MEP_OK);
        assert_memory_equal(losses, whole, (size_t)length * sizeof *losses);
    }
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

/* ---- Threads of the caller ---- */

enum { ROUNDS = 30 };

typedef struct worker {
    const char *encoding;
    mep_dtype dtype;
    int trains; /* or evaluates */
    mep_status status;
    float losses[ROUNDS][LENGTH];
    float *values; /* [size]: of the model at the end, where it trains those that the training made */
    int64_t size;
} worker;

static mep_status do_round(worker *w, mep_model *model, mep_session *session, int round, const int32_t *tokens,
                           float *gradients)
{
    int64_t length = LENGTH - round;
    if (!w->trains) return mep_session_losses(session, 1, length, tokens, tokens + 1, w->losses[round]);
    mep_status status = mep_session_refresh(session);
    if (status == MEP_OK)
        status = mep_session_train(
            session,
            &(mep_train_batch){.batch = 1, .length = length, .inputs = tokens, .targets = tokens + 1, .scale = 0.1f},
            w->losses[round], gradients);
    for (int64_t i = 0; i < model->size && status == MEP_OK; i++) model->values[i] -= 0.01f * gradients[i];
    return status;
}

/* A model and a session of one's own; nothing of cmocka, which belongs to the main thread. */
static void *work(void *context)
{
    worker *w = context;
    mep_model_config c;
    mep_model *model = NULL;
    mep_session *session = NULL;
    mep_session_settings s;
    int32_t tokens[LENGTH + ROUNDS];
    random_tokens(tokens, LENGTH + ROUNDS);
    mep_session_defaults(&s);
    s.length = LENGTH, s.dtype = w->dtype, s.training = w->trains;
    w->status = mep_model_preset("nano", &c);
    c.vocab_size = VOCAB;
    snprintf(c.position_encoding, sizeof c.position_encoding, "%s", w->encoding);
    if (w->status == MEP_OK) w->status = mep_model_create(&model, &c, 7);
    if (w->status == MEP_OK) w->status = mep_session_create(&session, model, &s);
    w->values = model != NULL ? calloc((size_t)model->size, 2 * sizeof *w->values) : NULL;
    if (w->values == NULL) w->status = MEP_ERROR_MEMORY;
    for (int i = 0; i < ROUNDS && w->status == MEP_OK; i++)
        w->status = do_round(w, model, session, i, tokens, w->values + model->size);
    if (w->status == MEP_OK) memcpy(w->values, model->values, (size_t)model->size * sizeof *w->values);
    w->size = w->status == MEP_OK ? model->size : 0;
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    return NULL;
}

/* Two threads that evaluate, or train, or do one of both at the same time get the bits that each gets alone. */
static void two_callers(int first_trains, int second_trains)
{
    static worker alone[2], together[2];
    pthread_t threads[2];
    alone[0] = (worker){.encoding = "mep_param", .dtype = MEP_FLOAT32, .trains = first_trains};
    alone[1] = (worker){.encoding = "rotary", .dtype = MEP_BFLOAT16, .trains = second_trains};
    memcpy(together, alone, sizeof alone);
    for (int i = 0; i < 2; i++) {
        work(&alone[i]);
        assert_int_equal(alone[i].status, MEP_OK);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, &together[i]), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(together[i].status, MEP_OK);
        assert_memory_equal(together[i].losses, alone[i].losses, sizeof alone[i].losses);
        assert_true(together[i].size == alone[i].size && alone[i].size > 0);
        assert_memory_equal(together[i].values, alone[i].values, (size_t)alone[i].size * sizeof *alone[i].values);
        free(alone[i].values);
        free(together[i].values);
    }
}

static void test_two_callers(void **state)
{
    (void)state;
    two_callers(0, 0);
    two_callers(1, 0);
    two_callers(1, 1);
}

/* Nothing is allocated inside a training step or an evaluation, once two have seen the shapes (the first may have
 * filled the list of shapes, which is then begun anew). */
static void test_no_allocation(void **state)
{
    (void)state;
    for (int type = 0; type < 4; type++) {
        mep_model *model = small_model(type < 2 ? "rotary" : "mep_param");
        mep_adamw_settings settings = {0.9, 0.999, 1e-8, 0.1, 1};
        mep_adamw *optimizer;
        mep_session *session = small_session(model, BATCH, LENGTH, type % 2 ? MEP_BFLOAT16 : MEP_FLOAT32, 1);
        assert_int_equal(mep_adamw_create(&optimizer, model, &settings, mep_context_cpu), MEP_OK);
        int32_t tokens[BATCH * LENGTH + 1];
        float losses[BATCH * LENGTH], *gradients = allocate(model->size, sizeof *gradients);
        random_tokens(tokens, BATCH * LENGTH + 1);
        for (int step = 0; step < 4; step++) {
            mep_fail_allocation(0);
            assert_int_equal(mep_session_refresh(session), MEP_OK);
            assert_int_equal(
                mep_session_train(
                    session,
                    &(mep_train_batch){
                        .batch = BATCH, .length = LENGTH, .inputs = tokens, .targets = tokens + 1, .scale = 1},
                    losses, gradients),
                MEP_OK);
            assert_int_equal(mep_session_train(session,
                                               &(mep_train_batch){.batch = BATCH,
                                                                  .length = LENGTH,
                                                                  .inputs = tokens,
                                                                  .targets = tokens + 1,
                                                                  .scale = 1,
                                                                  .accumulate = 1},
                                               losses, gradients),
                             MEP_OK);
            double norm;
            assert_int_equal(mep_adamw_norm(optimizer, gradients, &norm), MEP_OK);
            mep_adamw_step_run(optimizer, model, model->values, gradients, norm, 1e-3);
            assert_int_equal(mep_session_losses(session, BATCH, LENGTH, tokens, tokens + 1, losses), MEP_OK);
            int64_t made = mep_fail_allocation(0);
            if (step > 1 && made != 0) fail_msg("step %d made %lld allocations", step, (long long)made);
        }
        free(gradients);
        mep_adamw_destroy(&optimizer);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* Overwriting gradients full of NaN is the same as adding to zeros, for every encoding. */
static void test_first_part(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        mep_session *session = small_session(model, BATCH, LENGTH, MEP_FLOAT32, 1);
        int32_t tokens[BATCH * LENGTH + 1];
        float losses[BATCH * LENGTH], *added = allocate(model->size, sizeof *added),
                                      *over = allocate(model->size, sizeof *over);
        random_tokens(tokens, BATCH * LENGTH + 1);
        memset(over, 0xFF, (size_t)model->size * sizeof *over);
        assert_int_equal(mep_session_train(session,
                                           &(mep_train_batch){.batch = BATCH,
                                                              .length = LENGTH,
                                                              .inputs = tokens,
                                                              .targets = tokens + 1,
                                                              .scale = 1,
                                                              .accumulate = 1},
                                           losses, added),
                         MEP_OK);
        assert_int_equal(mep_session_train(
                             session,
                             &(mep_train_batch){
                                 .batch = BATCH, .length = LENGTH, .inputs = tokens, .targets = tokens + 1, .scale = 1},
                             losses, over),
                         MEP_OK);
        for (int64_t i = 0; i < model->size; i++) assert_true(over[i] == added[i]);
        free(added), free(over);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* A preset with Llama blocks has the sizes of its twin and about as many parameters. */
static void test_presets(void **state)
{
    (void)state;
    static const char *const names[] = {"nano", "micro", "mini", "small", "medium"};
    for (int i = 0; i < 5; i++) {
        char name[32];
        mep_model_config neox, llama;
        int64_t values[2] = {0};
        snprintf(name, sizeof name, "%s-llama", names[i]);
        assert_int_equal(mep_model_preset(names[i], &neox), MEP_OK);
        assert_int_equal(mep_model_preset(name, &llama), MEP_OK);
        assert_int_equal(mep_model_config_values(&neox, &values[0]), MEP_OK);
        assert_int_equal(mep_model_config_values(&llama, &values[1]), MEP_OK);
        assert_int_equal(neox.block, MEP_BLOCK_GPT_NEOX);
        assert_int_equal(llama.block, MEP_BLOCK_LLAMA);
        assert_int_equal(llama.norm, MEP_NORM_RMS);
        assert_int_equal(llama.mlp, MEP_MLP_SWIGLU);
        assert_int_equal(llama.hidden_size, neox.hidden_size);
        assert_in_range(100 * values[1] / values[0], 97, 103);
        assert_int_equal(mep_model_config_set_block(&llama, MEP_BLOCK_GPT_NEOX), MEP_OK);
        assert_int_equal(llama.intermediate_size, neox.intermediate_size);
        assert_int_equal(llama.mlp, neox.mlp);
        assert_int_equal(llama.norm, neox.norm);
    }
    mep_model_config c;
    static const char *const unknown[] = {"nano-", "nano-lama", "nanollama", "-llama", ""};
    for (int i = 0; i < 5; i++) assert_int_equal(mep_model_preset(unknown[i], &c), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_model_config_set_block(&c, (mep_block)2), MEP_ERROR_ARGUMENT);
    mep_train_settings s;
    assert_int_equal(mep_train_preset("micro-llama", &s), MEP_OK);
    assert_int_equal(s.model.block, MEP_BLOCK_LLAMA);
    assert_int_equal(s.length, 256);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    mep_model_config c;
    mep_model *model;
    mep_session *session;
    assert_int_equal(mep_model_preset("huge", &c), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "small"));
    mep_model_preset("nano", &c);
    c.num_attention_heads = 7;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_ERROR_ARGUMENT);
    assert_null(model);
    mep_model_preset("nano", &c);
    snprintf(c.position_encoding, sizeof c.position_encoding, "mepp");
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_ERROR_ARGUMENT);
    model = small_model("learned");
    mep_session_settings s;
    mep_session_defaults(&s);
    s.length = 4 * LENGTH + 1;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "learned"));
    s.length = 8;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_OK);
    int32_t tokens[9] = {0, 1, VOCAB};
    float losses[9];
    assert_int_equal(mep_session_losses(session, 1, 8, tokens, tokens, losses), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_session_losses(session, 1, 9, tokens, tokens, losses), MEP_ERROR_ARGUMENT);
    tokens[2] = 0;
    static const int64_t batches[] = {(int64_t)1 << 60, (int64_t)1 << 61, (int64_t)1 << 62, INT64_MAX / 2, INT64_MAX};
    for (int i = 0; i < 5; i++) { /* times 8 tokens this is 0 in 64 bits, or negative */
        char expected[64];
        snprintf(expected, sizeof expected, "the call has %lld of 8", (long long)batches[i]);
        assert_int_equal(mep_session_losses(session, batches[i], 8, tokens, tokens, losses), MEP_ERROR_ARGUMENT);
        assert_non_null(strstr(mep_error_message(), expected)); /* and not a token beyond the array */
    }
    assert_int_equal(mep_session_losses(session, 1, 8, tokens, tokens, losses), MEP_OK);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

/* A small file with the configuration of a huge model: the file is checked before memory is allocated. */
static void test_huge_configuration(void **state)
{
    (void)state;
    static const char huge[] =
        "{\"model_type\": \"gpt_neox\", \"vocab_size\": 16777216, \"hidden_size\": 16384, "
        "\"num_hidden_layers\": %d, \"num_attention_heads\": 64, \"intermediate_size\": 1048576, "
        "\"max_position_embeddings\": 512, \"use_parallel_residual\": false, "
        "\"position_encoding\": \"mep\"}";
    char folder[600], path[700];
    mep_model *model = small_model("mep"), *loaded;
    snprintf(folder, sizeof folder, "%s", scratch_path("huge"));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
    assert_int_equal(mep_model_save(model, folder, NULL), MEP_OK);
    assert_int_equal(mep_model_load(&loaded, folder), MEP_OK);
    mep_model_destroy(&loaded);
    for (int layers = 2; layers <= 1000; layers += 998) { /* with the names that the file has, and with more */
        char config[1000];
        int size = snprintf(config, sizeof config, huge, layers);
        assert_int_equal(mep_file_write_atomic(path, config, size), MEP_OK);
        assert_int_equal(mep_model_load(&loaded, folder), MEP_ERROR_FORMAT);
        assert_null(loaded);
        assert_non_null(strstr(mep_error_message(), "model.safetensors"));
    }
    mep_model_destroy(&model);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_causality),
        cmocka_unit_test(test_micro_batches_and_threads),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_chunks_of_logits),
        cmocka_unit_test(test_changed_weights),
        cmocka_unit_test(test_position_ranges),
        cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_many_lengths),
        cmocka_unit_test(test_two_callers),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_first_part),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_huge_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
