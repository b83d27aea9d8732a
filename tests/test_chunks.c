/* SPDX-License-Identifier: MIT */
/*
 * Bit-identical results for every division of the work: a prompt in one call, alone or inside a longer text, and token
 * by token or in chunks through a cache; a sequence alone and in a batch; the output layer in chunks of any size. For
 * every kind of encoding, in both types.
 */
#include "small_model.h"

#include "attention/kernels.h"
#include "mep/decoder.h"
#include "quick.h"

enum { COUNT = 271 };

static const char *const KINDS[] = {"mep",
                                    "mep_param",
                                    "alibi",
                                    "rotary",
                                    "t5",
                                    "nope",
                                    "sinusoidal",
                                    "learned",
                                    "mep + uniform/weights=query",
                                    "nope/forget",
                                    "alibi/profiles:rank=3,extent=90",
                                    "bam/scale=ssmax/sink",
                                    "alibi/window=70/sink|rotary/scale=logn:100",
                                    "mep/weights=query/forget/profiles:rank=2/scale=ssmax/sink/window=90|nope/forget",
                                    "fire:max=100",
                                    "qwen2 fire:max=20/forget/profiles:rank=2|nope",
                                    "llama rotary",
                                    "qwen2 mep/forget",
                                    "qwen3 rotary|alibi/window=70/sink",
                                    "olmo2 nope/profiles:rank=2",
                                    "rotary:base=500,fraction=0.6,scaling=yarn,factor=8,original=64",
                                    "llama rotary:scaling=llama3,factor=8,original=64|rotary:scaling=ntk,factor=3"};

/* The default, 16, and heads that are narrower and wider than hidden_size / heads. */
static const int64_t HEAD_DIMS[] = {0, 10, 24, 0, 10, 24, 0, 10, 0, 24, 10, 0, 24, 10, 0, 24, 0, 10, 24, 0, 10, 24};

typedef struct setting {
    const char *position;
    mep_dtype dtype;
    mep_model *model;
    int32_t tokens[COUNT + 1];
    float logits[COUNT * VOCAB]; /* of all tokens in one call */
} setting;

static void compute_logits(mep_session *session, int64_t batch, int64_t length, const int32_t *tokens, float *logits)
{
    if (mep_session_logits(session, batch, length, tokens, logits) != MEP_OK) fail_msg("%s", mep_error_message());
}

/* Logits of the token at `position`, computed in another way, are those of the complete call. */
static void assert_row(const setting *s, const char *way, int64_t size, int64_t position, const float *logits)
{
    if (memcmp(logits, s->logits + position * VOCAB, VOCAB * sizeof *logits) != 0)
        fail_msg("%s, %s: %s of %d: token %d has other logits", s->position, mep_dtype_name(s->dtype), way, (int)size,
                 (int)position);
}

/* Run `test` for every kind of encoding and both types. */
static void for_all(void (*test)(const setting *s))
{
    setting *s = allocate(1, sizeof *s);
    for (size_t k = 0; k < 2 * sizeof KINDS / sizeof *KINDS; k++) {
        s->position = KINDS[k / 2], s->dtype = k % 2 == 0 ? MEP_FLOAT32 : MEP_BFLOAT16;
        s->model = small_model_with(s->position, HEAD_DIMS[k / 2]);
        random_tokens(s->tokens, COUNT + 1);
        mep_session *session = small_session(s->model, 1, COUNT, s->dtype, 0);
        compute_logits(session, 1, COUNT, s->tokens, s->logits);
        for (int64_t i = 0; i < COUNT * VOCAB; i++) assert_true(isfinite(s->logits[i]));
        mep_session_destroy(&session);
        test(s);
        mep_model_destroy(&s->model);
    }
    free(s);
}

/* Prefixes by themselves. */
static void compare_prefixes(const setting *s)
{
    mep_session *session = small_session(s->model, 1, COUNT, s->dtype, 0);
    float *logits = allocate(COUNT * VOCAB, sizeof *logits);
    for (int64_t length = 1; length <= 2 * TILE_ROWS + 2; length += quick(1, 7)) {
        compute_logits(session, 1, length, s->tokens, logits);
        if (memcmp(logits, s->logits, (size_t)(length * VOCAB) * sizeof *logits) != 0)
            fail_msg("%s, %s: a prefix of %d tokens differs", s->position, mep_dtype_name(s->dtype), (int)length);
    }
    free(logits);
    mep_session_destroy(&session);
}

static void test_prefixes(void **state)
{
    (void)state;
    for_all(compare_prefixes);
}

/* The prompt through a cache: `first` tokens, then chunks of `size` and the rest. */
static void compare_chunks(const setting *s, int64_t first, int64_t size)
{
    mep_session_settings settings;
    mep_session *session;
    float logits[VOCAB];
    mep_session_defaults(&settings);
    settings.length = COUNT, settings.dtype = s->dtype;
    if (mep_session_create_cached(&session, s->model, &settings, COUNT, 0) != MEP_OK)
        fail_msg("%s", mep_error_message());
    for (int64_t done = 0, step = first; done < COUNT; done += step, step = size) {
        if (step > COUNT - done) step = COUNT - done;
        if (mep_session_next(session, step, s->tokens + done, logits) != MEP_OK) fail_msg("%s", mep_error_message());
        assert_row(s, "chunks", size, done + step - 1, logits);
    }
    mep_session_destroy(&session);
}

static void compare_all_chunks(const setting *s)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 31, 63, 64, 65, 100, 128, 135};
    compare_chunks(s, COUNT, COUNT);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) compare_chunks(s, sizes[i], sizes[i]);
    for (int64_t first = 1; first <= TILE_ROWS + 5; first += quick(1, 7)) compare_chunks(s, first, COUNT);
}

static void test_prompt(void **state)
{
    (void)state;
    for_all(compare_all_chunks);
}

/* The sequence at each index of a batch of others. */
static void compare_batches(const setting *s)
{
    enum { MOST = 5 };
    int32_t *tokens = allocate(MOST * COUNT, sizeof *tokens);
    float *logits = allocate(MOST * COUNT * VOCAB, sizeof *logits);
    for (int64_t batch = 2; batch <= MOST; batch++) {
        mep_session *session = small_session(s->model, batch, COUNT, s->dtype, 0);
        int64_t place = batch * 7 % 5 % batch;
        for (int64_t i = 0; i < batch * COUNT; i++) tokens[i] = (int32_t)(i * i % VOCAB);
        memcpy(tokens + place * COUNT, s->tokens, COUNT * sizeof *tokens);
        compute_logits(session, batch, COUNT, tokens, logits);
        for (int64_t t = 0; t < COUNT; t++) assert_row(s, "a batch", batch, t, logits + (place * COUNT + t) * VOCAB);
        mep_session_destroy(&session);
    }
    free(tokens);
    free(logits);
}

static void test_batches(void **state)
{
    (void)state;
    for_all(compare_batches);
}

/* Losses with the output layer in chunks. */
static void compare_pieces(const setting *s)
{
    static const int64_t rows[] = {1, 2, 3, 17, 63, 64, 65, 130, 270};
    mep_session *session = small_session(s->model, 1, COUNT, s->dtype, 0);
    float whole[COUNT], losses[COUNT];
    assert_int_equal(mep_session_losses(session, 1, COUNT, s->tokens, s->tokens + 1, whole), MEP_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        session->logit_rows = rows[i];
        assert_int_equal(mep_session_losses(session, 1, COUNT, s->tokens, s->tokens + 1, losses), MEP_OK);
        if (memcmp(losses, whole, sizeof whole) != 0)
            fail_msg("%s, %s: other losses with %d rows of logits at a time", s->position, mep_dtype_name(s->dtype),
                     (int)rows[i]);
    }
    mep_session_destroy(&session);
}

static void test_pieces(void **state)
{
    (void)state;
    for_all(compare_pieces);
}

/* Sequences of a decoder, at positions of their own: a prompt in any chunks, steps of some of them, after a sequence
 * has become a copy of another, which goes on independently, and after a clear. */
static void compare_decoder(const setting *s)
{
    enum { SEQUENCES = 3 };
    static const int64_t prompts[SEQUENCES] = {130, 1, 66};
    mep_decoder_settings settings;
    mep_decoder *decoder;
    mep_decoder_defaults(&settings);
    settings.sequences = SEQUENCES, settings.max_tokens = COUNT, settings.chunk = 48, settings.dtype = s->dtype;
    if (mep_decoder_create(&decoder, s->model, &settings) != MEP_OK) fail_msg("%s", mep_error_message());
    float *logits = allocate(COUNT * VOCAB, sizeof *logits);
    for (int64_t i = 0; i < SEQUENCES; i++) {
        int64_t rows = i == 0 ? prompts[0] : i;
        if (rows > prompts[i]) rows = prompts[i];
        if (mep_decoder_append(decoder, i, prompts[i], s->tokens, rows, logits) != MEP_OK)
            fail_msg("%s", mep_error_message());
        for (int64_t r = 0; r < rows; r++)
            assert_row(s, "a prompt of a decoder", i, prompts[i] - rows + r, logits + r * VOCAB);
    }
    for (int step = 0; step < 60; step++) {
        int64_t chosen[SEQUENCES], count = 0;
        int32_t next[SEQUENCES];
        for (int64_t i = SEQUENCES - 1; i >= 0; i--) /* in another order than their numbers, and not always all */
            if ((step + i) % 4 != 0) chosen[count++] = i;
        for (int64_t b = 0; b < count; b++) next[b] = s->tokens[mep_decoder_length(decoder, chosen[b])];
        if (mep_decoder_step(decoder, count, chosen, next, logits) != MEP_OK) fail_msg("%s", mep_error_message());
        for (int64_t b = 0; b < count; b++)
            assert_row(s, "a step of a decoder", count, mep_decoder_length(decoder, chosen[b]) - 1, logits + b * VOCAB);
        if (step == 20) assert_int_equal(mep_decoder_copy(decoder, 2, 0), MEP_OK);
        if (step == 30) assert_int_equal(mep_decoder_clear(decoder, 1), MEP_OK);
    }
    free(logits);
    mep_decoder_destroy(&decoder);
}

static void test_decoder(void **state)
{
    (void)state;
    for_all(compare_decoder);
}

int main(void)
{
    mep_set_threads(1); /* faster for small models; other tests compare numbers of threads */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefixes), cmocka_unit_test(test_prompt),
                                       cmocka_unit_test(test_batches), cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_decoder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
