/* SPDX-License-Identifier: MIT */
/*
 * Training of byte-level BPE: the same tables as Hugging Face's BpeTrainer from the same text (the golden tokenizer
 * "gpt2"); only the counts matter; invalid settings, interruption, failing allocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "mep/data.h"

static json_t *cases;
static const char *sample; /* the text, which was used twice for training */

static int set_up(void **state)
{
    (void)state;
    cases = json_load_file(MEP_GOLDEN_DEFAULT "/tokenizer_cases.json", JSON_ALLOW_NUL, NULL);
    sample = json_string_value(json_object_get(cases, "training"));
    return sample == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(cases);
    return 0;
}

static void settings_600(mep_tokenizer_train_settings *settings)
{
    mep_tokenizer_train_defaults(settings);
    settings->vocab_size = 600;
}

static mep_status train(const mep_tokenizer_train_settings *settings, int lines, mep_tokenizer **tokenizer)
{
    mep_tokenizer_trainer *trainer = NULL;
    mep_status status = mep_tokenizer_trainer_create(&trainer, settings);
    for (int round = 0; round < 2 && status == MEP_OK; ++round) {
        for (const char *at = sample; *at != '\0' && status == MEP_OK;) {
            size_t size = lines ? strcspn(at, "\n") + 1 : strlen(at);
            status = mep_tokenizer_trainer_add(trainer, at, (int64_t)size);
            at += size;
        }
    }
    if (status == MEP_OK) return mep_tokenizer_trainer_finish(&trainer, NULL, NULL, tokenizer);
    mep_tokenizer_trainer_destroy(&trainer);
    return status;
}

static json_t *model_of(const mep_tokenizer *tokenizer)
{
    int64_t size = 0;
    const char *text = mep_tokenizer_json(tokenizer, &size);
    json_t *root = json_loadb(text, (size_t)size, 0, NULL), *model = json_incref(json_object_get(root, "model"));
    json_decref(root);
    return model;
}

/* A line end and the text after it are split together, so the text must be given in the same portions as there. */
static void test_as_hugging_face(void **state)
{
    (void)state;
    mep_tokenizer_train_settings settings;
    mep_tokenizer *ours = NULL, *golden = NULL;
    settings_600(&settings);
    mep_tokenizer_trainer *trainer = NULL;
    char twice[16384];
    assert_true(2 * strlen(sample) < sizeof twice);
    snprintf(twice, sizeof twice, "%s%s", sample, sample);
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_add(trainer, twice, (int64_t)strlen(twice)), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_finish(&trainer, NULL, NULL, &ours), MEP_OK);
    assert_null(trainer);
    assert_int_equal(mep_tokenizer_open(&golden, MEP_GOLDEN_DEFAULT "/tokenizer_gpt2.json"), MEP_OK);
    json_t *a = model_of(ours), *b = model_of(golden);
    const json_t *merges = json_object_get(b, "merges");
    assert_true(json_array_size(merges) > 200);
    assert_int_equal(json_array_size(json_object_get(a, "merges")), json_array_size(merges));
    assert_true(json_equal(json_object_get(a, "vocab"), json_object_get(b, "vocab")));
    for (size_t i = 0; i < json_array_size(merges); ++i) { /* "a b" here, ["a", "b"] there */
        char text[256];
        const json_t *pair = json_array_get(merges, i);
        snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(pair, 0)),
                 json_string_value(json_array_get(pair, 1)));
        assert_string_equal(json_string_value(json_array_get(json_object_get(a, "merges"), i)), text);
    }
    json_decref(a);
    json_decref(b);
    mep_tokenizer_destroy(&ours);
    mep_tokenizer_destroy(&golden);
}

static void test_deterministic(void **state)
{
    (void)state;
    mep_tokenizer_train_settings settings;
    mep_tokenizer *a = NULL, *b = NULL;
    settings_600(&settings);
    assert_int_equal(train(&settings, 1, &a), MEP_OK);
    assert_int_equal(train(&settings, 1, &b), MEP_OK);
    assert_true(mep_tokenizer_equal(a, b));
    mep_tokenizer_destroy(&a);
    mep_tokenizer_destroy(&b);
}

/* A tokenizer with a few merges that were counted manually. */
static void test_by_hand(void **state)
{
    (void)state;
    static const char text[] = "aab aab aab cd cd \xff\xff\xff";
    static const char *const special[] = {"<a>", "<b>"};
    mep_tokenizer_train_settings settings = {
        .vocab_size = 1000, .min_frequency = 2, .special = special, .special_count = 2};
    mep_tokenizer_trainer *trainer = NULL;
    mep_tokenizer *tokenizer = NULL;
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_add(trainer, text, sizeof text - 1), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_finish(&trainer, NULL, NULL, &tokenizer), MEP_OK);
    json_t *model = model_of(tokenizer), *merges = json_object_get(model, "merges");
    /* "aab" once, " aab" twice, " cd" twice. Of (a, a) and (a, b), three times each, the smaller ids come first,
     * then (aa, b); of those that occur twice (c, d) has the smallest, then (blank, aab), then (blank, cd). */
    static const char *const expected[] = {"a a", "aa b", "c d", "\u0120 aab", "\u0120 cd"};
    assert_int_equal(json_array_size(merges), 5);
    for (size_t i = 0; i < 5; ++i) assert_string_equal(json_string_value(json_array_get(merges, i)), expected[i]);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(model, "vocab"), "<b>")), 1);
    assert_int_equal(mep_tokenizer_vocab_size(tokenizer), 258 + 5 + 1); /* and the end-of-document token */
    json_decref(model);
    mep_tokenizer_destroy(&tokenizer);
}

static int stop_at_400(void *context, int64_t tokens, int64_t vocab_size)
{
    int *calls = context;
    assert_int_equal(vocab_size, 600);
    ++*calls;
    return tokens > 400;
}

static void test_refused(void **state)
{
    (void)state;
    mep_tokenizer_train_settings settings;
    mep_tokenizer_trainer *trainer = NULL;
    mep_tokenizer *tokenizer = NULL;
    int calls = 0;
    settings_600(&settings);
    settings.vocab_size = 256;
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_ERROR_ARGUMENT);
    settings.vocab_size = INT64_MAX;
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_ERROR_ARGUMENT);
    settings_600(&settings);
    settings.special = (const char *const[]){""};
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_ERROR_ARGUMENT);
    assert_null(trainer);
    settings_600(&settings);
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_add(trainer, NULL, 1), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_tokenizer_trainer_finish(&trainer, NULL, NULL, &tokenizer), MEP_ERROR_ARGUMENT);
    assert_null(trainer);
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &settings), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_add(trainer, sample, (int64_t)strlen(sample)), MEP_OK);
    settings.min_frequency = 2;
    assert_int_equal(mep_tokenizer_trainer_finish(&trainer, stop_at_400, &calls, &tokenizer), MEP_INTERRUPTED);
    assert_true(calls > 1);
    assert_null(tokenizer);
}

static void test_no_memory(void **state)
{
    (void)state;
    mep_tokenizer_train_settings settings;
    int failures = 0;
    settings_600(&settings);
    settings.vocab_size = 270;
    for (int64_t n = 1;; n += n < 50 ? 1 : n / 20) {
        mep_tokenizer *tokenizer = NULL;
        mep_fail_allocation(n);
        mep_status status = train(&settings, 1, &tokenizer);
        mep_tokenizer_destroy(&tokenizer);
        if (status == MEP_OK) break;
        assert_int_equal(status, MEP_ERROR_MEMORY);
        ++failures;
    }
    mep_fail_allocation(0);
    assert_true(failures > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_hugging_face), cmocka_unit_test(test_deterministic), cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
