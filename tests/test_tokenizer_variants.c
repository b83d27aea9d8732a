/* SPDX-License-Identifier: MIT */
/*
 * The normalizers and pre_tokenizers of real models (StarCoder, Falcon, DeepSeek, Claude) and all behaviours of Split
 * and Punctuation: the ids of Hugging Face's tokenizers, from golden/pre_tokenizers.json, which
 * scripts/fixtures/tokenizer_variants.py makes; and long texts that are split into slices have the ids of the complete
 * text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/utf8.h"
#include "golden.h"
#include "mep/data.h"
#include "tokenizer/bpe.h"

static json_t *golden, *base, *texts;

static json_t *load(const char *path)
{
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    if (root == NULL) fail_msg("cannot read %s", path);
    return root;
}

static int set_up(void **state)
{
    (void)state;
    json_t *cases = load(GOLDEN_OWN("tokenizer_cases.json"));
    golden = load(GOLDEN_OWN("pre_tokenizers.json"));
    base = load(GOLDEN_OWN("tokenizer_gpt2.json"));
    texts = json_copy(json_object_get(cases, "texts"));
    json_array_extend(texts, json_object_get(golden, "texts"));
    json_decref(cases);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(golden);
    json_decref(base);
    json_decref(texts);
    return 0;
}

static mep_tokenizer *open_variant(const json_t *variant)
{
    mep_tokenizer *tokenizer = NULL;
    const char *const keys[] = {"normalizer", "pre_tokenizer"};
    for (int i = 0; i < 2; i++) json_object_set(base, keys[i], json_object_get(variant, keys[i]));
    char *text = json_dumps(base, JSON_COMPACT);
    if (mep_bpe_from_json(&tokenizer, "variant", text, (int64_t)strlen(text)) != MEP_OK)
        fail_msg("%s: %s", json_string_value(json_object_get(variant, "name")), mep_error_message());
    free(text);
    return tokenizer;
}

static uint64_t add_hash(uint64_t value, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++) value = (value ^ (uint64_t)ids[i]) * UINT64_C(0x100000001b3);
    return value;
}

static const uint64_t EMPTY = UINT64_C(0xcbf29ce484222325);

/* 1 if the ids of the text have a different hash. */
static int differs(const mep_tokenizer *tokenizer, const char *text, int64_t size, const json_t *expected)
{
    int32_t *ids = NULL;
    int64_t count = 0;
    char value[17];
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, size, &ids, &count), MEP_OK);
    snprintf(value, sizeof value, "%016llx", (unsigned long long)add_hash(EMPTY, ids, count));
    mep_tokens_free(&ids);
    return strcmp(value, json_string_value(expected)) != 0;
}

/* Each code point of a block of 4096, after a letter, a blank, a digit and itself. */
static int64_t plane_text(uint32_t block, char *text)
{
    int64_t size = 0;
    for (uint32_t code = block << 12; code < (block + 1) << 12; code++) {
        static const char between[] = "a 7";
        for (int k = 0; k < 4 && !(code >= 0xd800 && code < 0xe000); k++) {
            if (k < 3) text[size++] = between[k];
            size += mep_utf8_encode(code, text + size);
        }
    }
    return size;
}

static void test_ids(void **state)
{
    (void)state;
    enum { ROOM = 4096 * 19 + 8 };
    char *text = malloc(ROOM);
    const json_t *blocks = json_object_get(golden, "blocks");
    int wrong = 0;
    size_t v, i;
    json_t *variant, *expected;
    json_array_foreach(json_object_get(golden, "variants"), v, variant)
    {
        const char *name = json_string_value(json_object_get(variant, "name"));
        mep_tokenizer *tokenizer = open_variant(variant);
        json_array_foreach(json_object_get(variant, "texts"), i, expected)
        {
            const json_t *one = json_array_get(texts, i);
            if (!differs(tokenizer, json_string_value(one), (int64_t)json_string_length(one), expected)) continue;
            fprintf(stderr, "%s: text %zu differs: %.60s\n", name, i, json_string_value(one));
            wrong++;
        }
        json_array_foreach(json_object_get(variant, "blocks"), i, expected)
        {
            uint32_t block = (uint32_t)json_integer_value(json_array_get(blocks, i));
            if (!differs(tokenizer, text, plane_text(block, text), expected)) continue;
            fprintf(stderr, "%s: U+%X000 differs\n", name, (unsigned)block);
            wrong++;
        }
        mep_tokenizer_destroy(&tokenizer);
    }
    free(text);
    assert_true(json_array_size(json_object_get(golden, "variants")) > 20);
    assert_int_equal(wrong, 0);
}

/* All texts concatenated, encoded at once and in slices between split points. */
static void test_slices(void **state)
{
    (void)state;
    enum { SLICE = 200 };
    size_t v, i, used = 0;
    json_t *variant, *one;
    char *text = malloc(200000);
    json_array_foreach(texts, i, one)
    {
        memcpy(text + used, json_string_value(one), json_string_length(one));
        used += json_string_length(one);
        text[used++] = ' ';
        assert_true(used < 100000);
    }
    int64_t size = (int64_t)used, splits = 0;
    json_array_foreach(json_object_get(golden, "variants"), v, variant)
    {
        mep_tokenizer *tokenizer = open_variant(variant);
        int32_t *ids = NULL;
        int64_t count = 0;
        assert_int_equal(mep_tokenizer_encode(tokenizer, text, size, &ids, &count), MEP_OK);
        uint64_t complete = add_hash(EMPTY, ids, count), sliced = EMPTY;
        mep_tokens_free(&ids);
        for (int64_t at = 0, length = SLICE; at < size;) {
            int64_t left = size - at,
                    split = left > length ? mep_tokenizer_split_point(tokenizer, text + at, length) : left;
            length = split > 0 ? SLICE : 2 * length;
            if (split == 0) continue;
            assert_int_equal(mep_tokenizer_encode(tokenizer, text + at, split, &ids, &count), MEP_OK);
            sliced = add_hash(sliced, ids, count);
            mep_tokens_free(&ids);
            at += split;
            splits++;
        }
        if (sliced != complete) fail_msg("%s: slices differ", json_string_value(json_object_get(variant, "name")));
        mep_tokenizer_destroy(&tokenizer);
    }
    free(text);
    assert_true(splits > 200); /* some variants have split points */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids), cmocka_unit_test(test_slices)};
    return cmocka_run_group_tests_name("tokenizer variants", tests, set_up, tear_down);
}
