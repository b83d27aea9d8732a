/* SPDX-License-Identifier: MIT */
/*
 * The decoder beyond its bits (test_chunks.c): greedy texts are those of mep_generate, wrong calls change nothing, and
 * after a failure a sequence can be cleared.
 */
#include "small_model.h"

#include "base/memory.h"
#include "mep/decoder.h"

enum { SEQUENCES = 3, NEW = 40 };

static mep_decoder *small_decoder(mep_model *model)
{
    mep_decoder_settings settings;
    mep_decoder *decoder;
    mep_decoder_defaults(&settings);
    settings.sequences = SEQUENCES, settings.max_tokens = 100, settings.chunk = 16;
    assert_int_equal(mep_decoder_create(&decoder, model, &settings), MEP_OK);
    return decoder;
}

static int32_t likeliest(const float *logits)
{
    int32_t best = 0;
    for (int32_t t = 1; t < VOCAB; t++)
        if (logits[t] > logits[best]) best = t;
    return best;
}

typedef struct text {
    int32_t tokens[NEW];
    int count;
} text;

static int keep(void *context, int32_t token)
{
    text *t = context;
    t->tokens[t->count++] = token;
    return 0;
}

static void test_greedy(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep", "qwen3 rotary|nope/sink", "nope/forget", "fire:max=30"};
    for (int p = 0; p < 4; p++) {
        mep_model *model = small_model(positions[p]);
        mep_decoder *decoder = small_decoder(model);
        int32_t prompt[60], next[SEQUENCES];
        int64_t all[SEQUENCES] = {0, 1, 2};
        float *logits = allocate(SEQUENCES * VOCAB, sizeof *logits);
        text expected[SEQUENCES] = {{.count = 0}};
        random_tokens(prompt, 60);
        mep_generate_settings settings;
        mep_generate_defaults(&settings);
        settings.max_tokens = NEW, settings.temperature = 0;
        for (int i = 0; i < SEQUENCES; i++) {
            assert_int_equal(mep_generate(model, prompt + i, 20 * (i + 1) - i, &settings, keep, &expected[i]), MEP_OK);
            assert_int_equal(mep_decoder_append(decoder, i, 20 * (i + 1) - i, prompt + i, 1, logits + i * VOCAB),
                             MEP_OK);
        }
        for (int n = 0; n < NEW; n++) {
            for (int i = 0; i < SEQUENCES; i++) {
                next[i] = likeliest(logits + i * VOCAB);
                assert_int_equal(next[i], expected[i].tokens[n]);
            }
            if (n + 1 < NEW) assert_int_equal(mep_decoder_step(decoder, SEQUENCES, all, next, logits), MEP_OK);
        }
        assert_int_equal(mep_decoder_length(decoder, 2), 58 + NEW - 1);
        free(logits);
        mep_decoder_destroy(&decoder);
        mep_model_destroy(&model);
    }
}

static void refuse(mep_status status, const char *message)
{
    assert_int_equal(status, MEP_ERROR_ARGUMENT);
    if (strstr(mep_error_message(), message) == NULL) fail_msg("%s", mep_error_message());
}

static void test_wrong_calls(void **state)
{
    (void)state;
    mep_model *model = small_model("mep");
    mep_decoder *decoder = small_decoder(model);
    int32_t tokens[120] = {0};
    int64_t twice[] = {1, 1}, pair[] = {0, 1};
    float before[VOCAB], after[VOCAB], *logits = allocate(120 * VOCAB, sizeof *logits);
    random_tokens(tokens, 120);
    assert_int_equal(mep_decoder_append(decoder, 0, 30, tokens, 1, before), MEP_OK);
    refuse(mep_decoder_append(decoder, 3, 1, tokens, 0, NULL), "there is no sequence 3; the decoder was made for 3");
    refuse(mep_decoder_append(decoder, -1, 1, tokens, 0, NULL), "there is no sequence -1");
    refuse(mep_decoder_append(decoder, 0, 0, tokens, 0, NULL), "count >= 1");
    refuse(mep_decoder_append(decoder, 0, 2, tokens, 3, logits), "rows from 0 to count, found 2 and 3");
    refuse(mep_decoder_append(decoder, 0, 71, tokens, 0, NULL), "sequence 0 has 30 tokens and cannot have 71 more");
    refuse(mep_decoder_step(decoder, 2, twice, tokens, logits), "sequence 1 is in the step twice");
    refuse(mep_decoder_step(decoder, 4, twice, tokens, logits), "a step of 4 sequences");
    refuse(mep_decoder_clear(decoder, 3), "there is no sequence 3");
    refuse(mep_decoder_copy(decoder, 3, 0), "there is no sequence 3");
    refuse(mep_decoder_copy(decoder, 0, -1), "there is no sequence -1");
    tokens[60] = VOCAB;
    refuse(mep_decoder_append(decoder, 0, 65, tokens, 0, NULL), "token 50 is not in the model's vocabulary");
    tokens[1] = -1;
    refuse(mep_decoder_step(decoder, 2, pair, tokens, logits), "token -1");
    assert_int_equal(mep_decoder_length(decoder, 0), 30);
    assert_int_equal(mep_decoder_length(decoder, 1), 0);
    assert_int_equal(mep_decoder_length(decoder, 3), -1);
    assert_int_equal(mep_decoder_length(NULL, 0), -1);

    /* none of these calls has changed the sequence */
    random_tokens(tokens, 120);
    assert_int_equal(mep_decoder_append(decoder, 1, 30, tokens, 1, after), MEP_OK);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(mep_decoder_step(decoder, 2, pair, (int32_t[]){7, 7}, logits), MEP_OK);
    assert_memory_equal(logits, logits + VOCAB, VOCAB * sizeof *logits);
    free(logits);
    mep_decoder_destroy(&decoder);
    mep_model_destroy(&model);
}

static void test_wrong_settings(void **state)
{
    (void)state;
    mep_model *model = small_model("rotary");
    mep_decoder *decoder;
    const mep_decoder_settings good = {.sequences = 1, .max_tokens = 10, .chunk = 4};
    mep_decoder_settings s[5] = {good, good, good, good, good};
    s[0].sequences = 0, s[1].chunk = 0, s[2].max_tokens = 0, s[3].tolerance = 1, s[4].dtype = (mep_dtype)9;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(mep_decoder_create(&decoder, model, &s[i]), MEP_ERROR_ARGUMENT);
        assert_null(decoder);
    }
    s[0] = good, s[0].max_tokens = MEP_GENERATE_ENDLESS;
    assert_int_equal(mep_decoder_create(&decoder, model, &s[0]), MEP_ERROR_UNSUPPORTED); /* rotary */
    mep_model_destroy(&model);
}

/* The number of sequences is not limited by the positions of an encoding. */
static void test_many_sequences(void **state)
{
    (void)state;
    enum { MANY = 4 * LENGTH + 1 };
    static const char *const positions[] = {"learned", "rotary", "sinusoidal", "rotary|nope/forget"};
    for (int p = 0; p < 4; p++) {
        mep_model *model = small_model(positions[p]);
        const mep_decoder_settings one = {.sequences = 1, .max_tokens = 2, .chunk = 4},
                                   many = {.sequences = MANY, .max_tokens = 2, .chunk = 4};
        mep_decoder *decoder, *alone;
        int32_t tokens[MANY];
        int64_t all[MANY];
        float *logits = malloc(sizeof(float) * MANY * VOCAB), wanted[VOCAB];
        assert_non_null(logits);
        random_tokens(tokens, MANY);
        for (int i = 0; i < MANY; i++) all[i] = i;
        assert_int_equal(mep_decoder_create(&decoder, model, &many), MEP_OK);
        assert_int_equal(mep_decoder_create(&alone, model, &one), MEP_OK);
        for (int step = 0; step < 2; step++) {
            assert_int_equal(mep_decoder_step(decoder, MANY, all, tokens, logits), MEP_OK);
            assert_int_equal(mep_decoder_append(alone, 0, 1, &tokens[MANY - 1], 1, wanted), MEP_OK);
            assert_memory_equal(logits + (MANY - 1) * VOCAB, wanted, sizeof wanted);
        }
        free(logits);
        mep_decoder_destroy(&decoder);
        mep_decoder_destroy(&alone);
        mep_model_destroy(&model);
    }
}

/* Wherever memory ends, the call fails, and after a clear the sequence is computed right. */
static void test_memory(void **state)
{
    (void)state;
    mep_model *model = small_model("mep/forget");
    int32_t tokens[90];
    float expected[VOCAB], found[VOCAB];
    random_tokens(tokens, 90);
    mep_decoder *decoder = small_decoder(model);
    assert_int_equal(mep_decoder_append(decoder, 0, 90, tokens, 1, expected), MEP_OK);
    mep_decoder_destroy(&decoder);
    for (int64_t n = 1, failed = 1; failed; n++) {
        decoder = small_decoder(model);
        mep_fail_allocation(n);
        mep_status status = mep_decoder_append(decoder, 0, 90, tokens, 1, found);
        failed = status != MEP_OK;
        mep_fail_allocation(0);
        if (failed) {
            assert_int_equal(status, MEP_ERROR_MEMORY);
            refuse(mep_decoder_append(decoder, 0, 1, tokens, 0, NULL), "clear it with mep_decoder_clear");
            assert_int_equal(mep_decoder_clear(decoder, 0), MEP_OK);
            assert_int_equal(mep_decoder_append(decoder, 0, 90, tokens, 1, found), MEP_OK);
        }
        assert_memory_equal(expected, found, sizeof found);
        mep_decoder_destroy(&decoder);
        assert_true(n < 1000);
    }
    mep_model_destroy(&model);
}

/* A copy of an empty sequence is empty, one of itself changes nothing, and where memory ends the copy is empty and the
 * original is unchanged. */
static void test_copies(void **state)
{
    (void)state;
    mep_model *model = small_model("mep/forget");
    int32_t tokens[90];
    int64_t pair[] = {0, 1};
    float expected[VOCAB], found[2 * VOCAB];
    random_tokens(tokens, 90);
    mep_decoder *decoder = small_decoder(model);
    assert_int_equal(mep_decoder_append(decoder, 0, 90, tokens, 1, expected), MEP_OK);
    for (int64_t n = 1, failed = 1; failed; n++) {
        assert_int_equal(mep_decoder_clear(decoder, 0), MEP_OK);
        assert_int_equal(mep_decoder_append(decoder, 0, 89, tokens, 0, NULL), MEP_OK);
        assert_int_equal(mep_decoder_append(decoder, 1, 3, tokens + 50, 0, NULL), MEP_OK);
        mep_fail_allocation(n);
        mep_status status = mep_decoder_copy(decoder, 1, 0);
        failed = status != MEP_OK;
        mep_fail_allocation(0);
        if (failed) {
            assert_int_equal(status, MEP_ERROR_MEMORY);
            assert_int_equal(mep_decoder_length(decoder, 1), 0);
            assert_int_equal(mep_decoder_append(decoder, 1, 89, tokens, 0, NULL), MEP_OK);
        }
        assert_int_equal(mep_decoder_copy(decoder, 0, 0), MEP_OK);
        int32_t last[] = {tokens[89], tokens[89]};
        assert_int_equal(mep_decoder_step(decoder, 2, pair, last, found), MEP_OK);
        assert_memory_equal(expected, found, sizeof expected);
        assert_memory_equal(expected, found + VOCAB, sizeof expected);
        assert_int_equal(mep_decoder_clear(decoder, 1), MEP_OK);
        assert_true(n < 1000);
    }
    assert_int_equal(mep_decoder_copy(decoder, 0, 1), MEP_OK);
    assert_int_equal(mep_decoder_length(decoder, 0), 0);
    mep_decoder_destroy(&decoder);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),         cmocka_unit_test(test_copies),
        cmocka_unit_test(test_wrong_calls),    cmocka_unit_test(test_wrong_settings),
        cmocka_unit_test(test_many_sequences), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
