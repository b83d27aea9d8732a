/* SPDX-License-Identifier: MIT */
/*
 * Split points of long texts: at every split point the tokens of the two halves are those of the complete text, for
 * texts made of everything that could matter there. And tokenizers that have no split points.
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

#include "base/random.h"
#include "tokenizer/bpe.h"
#include "base/utf8.h"

#define LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
#define OTHERS "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(PATTERN, REST)                                                                                           \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": "     \
    "{\"Regex\": \"" PATTERN "\"}}, " REST "]}"
#define BYTE_LEVEL(PREFIX, REGEX)                                                                                      \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": " PREFIX ", \"use_regex\": " REGEX "}"

/* Used with NFC. */
#define QWEN SPLIT(LETTERS "\\\\p{N}" OTHERS, BYTE_LEVEL("false", "false"))

/* A golden tokenizer with some of its sections replaced, or NULL. */
typedef struct variant {
    const char *golden, *pre_tokenizer, *added;
} variant;

static const char *const TEXTS[] = {" ",
                                    "\n",
                                    "\t",
                                    "\r\n",
                                    "   ",
                                    "\v\f",
                                    "\u00a0",
                                    "\u3000",
                                    "\u2028",
                                    "a",
                                    "word",
                                    "Left",
                                    "0",
                                    "12345",
                                    "'s",
                                    "'ll",
                                    "'",
                                    "!?",
                                    ".",
                                    "(",
                                    "|",
                                    "。",
                                    "\u0301",
                                    "\u0301\u0323",
                                    "e\u0301",
                                    "\u212b",
                                    "\u212a",
                                    "\u0958",
                                    "\u1100",
                                    "\u1161",
                                    "\u11a8",
                                    "\uac00",
                                    "\u4e2d\u6587",
                                    "\uf900",
                                    "\u00b2",
                                    "\u2163",
                                    "\xff",
                                    "\xe4\xb8",
                                    "\xc3",
                                    "\x80",
                                    "<s>",
                                    "<mask>",
                                    "right",
                                    "both",
                                    "left",
                                    "\u00e9t\u00e9",
                                    "<|endoftext|>",
                                    "word\u00e9",
                                    "\U0001f600",
                                    "\U00010400",
                                    "\u0130",
                                    "\u1e9e",
                                    "\u07fd",
                                    "a b",
                                    "\u0439",
                                    "\u0438\u0306",
                                    "\u2126",
                                    ";",
                                    "\u037e",
                                    "\u0928\u093c",
                                    "\u09c7\u09be"};
enum { ATOMS = sizeof TEXTS / sizeof *TEXTS, LONGEST = 400 };

static mep_tokenizer *make(const variant *v)
{
    char file[1024];
    mep_tokenizer *tokenizer = NULL;
    snprintf(file, sizeof file, "%s/tokenizer_%s.json", MEP_GOLDEN_DEFAULT, v->golden);
    json_t *root = json_load_file(file, 0, NULL);
    assert_non_null(root);
    if (v->pre_tokenizer != NULL)
        assert_int_equal(json_object_set_new(root, "pre_tokenizer", json_loads(v->pre_tokenizer, 0, NULL)), 0);
    if (v->added != NULL) {
        json_t *added = json_loads(v->added, 0, NULL);
        assert_non_null(added);
        json_object_set_new(
            added, "id",
            json_integer((json_int_t)json_object_size(json_object_get(json_object_get(root, "model"), "vocab"))));
        json_t *list = json_array();
        json_array_append_new(list, added);
        json_object_set_new(root, "added_tokens", list);
    }
    char *text = json_dumps(root, JSON_COMPACT);
    mep_status status = mep_bpe_from_json(&tokenizer, v->golden, text, (int64_t)strlen(text));
    if (status != MEP_OK) fail_msg("%s", mep_error_message());
    free(text);
    json_decref(root);
    return tokenizer;
}

/* Ten to fifty of TEXTS, at random. */
static int64_t make_text(uint64_t round, char *text)
{
    int64_t size = 0, count = 10 + (int64_t)(mep_random_bits(1, round, 0) % 40);
    for (int64_t i = 1; i <= count && size + 20 < LONGEST; ++i) {
        uint64_t random = mep_random_bits(1, round, (uint64_t)i);
        const char *atom = TEXTS[random % 3 == 0 ? random / 3 % 12 : random / 3 % ATOMS];
        memcpy(text + size, atom, strlen(atom));
        size += (int64_t)strlen(atom);
    }
    return size;
}

static int32_t *encode(const mep_tokenizer *tokenizer, const char *text, int64_t size, int64_t *count)
{
    int32_t *ids = NULL;
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, size, &ids, count), MEP_OK);
    return ids;
}

/* The two halves have the tokens of the complete text. */
static void check_split(const mep_tokenizer *tokenizer, const char *text, int64_t size, int64_t at)
{
    int64_t counts[3];
    int32_t *complete = encode(tokenizer, text, size, &counts[0]), *left = encode(tokenizer, text, at, &counts[1]),
            *right = encode(tokenizer, text + at, size - at, &counts[2]);
    int same = counts[0] == counts[1] + counts[2] &&
               memcmp(complete, left, (size_t)counts[1] * sizeof *complete) == 0 &&
               memcmp(complete + counts[1], right, (size_t)counts[2] * sizeof *complete) == 0;
    if (!same)
        fail_msg("%s: \"%.*s\" is split after %d bytes", mep_tokenizer_name(tokenizer), (int)size, text, (int)at);
    mep_tokens_free(&complete);
    mep_tokens_free(&left);
    mep_tokens_free(&right);
}

/* Check all split points of some texts and return their number. A split point is chosen before the following text is
 * known. */
static int64_t check_tokenizer(const mep_tokenizer *tokenizer, uint64_t rounds)
{
    char text[LONGEST];
    int64_t splits = 0;
    for (uint64_t round = 0; round < rounds; ++round) {
        int64_t size = make_text(round, text);
        for (int64_t seen = 1; seen <= size; ++seen) {
            int64_t at = mep_tokenizer_split_point(tokenizer, text, seen);
            assert_in_range(at, 0, seen);
            if (at != seen - 1 || at == 0) continue;
            check_split(tokenizer, text, size, at);
            splits++;
        }
    }
    return splits;
}

static void test_split_points(void **state)
{
    (void)state;
    static const variant variants[] = {
        {"gpt2", NULL, NULL},
        {"neox", NULL, NULL},
        {"bloom", NULL, NULL},
        {"llama", NULL, NULL},
        {"neox", QWEN, NULL},
        {"neox", SPLIT(LETTERS "\\\\p{N}{1,3}" OTHERS, BYTE_LEVEL("true", "true")),
         NULL}, /* with a prefix space, and two stages that split */
        {"odd", NULL, "{\"content\": \"<mask>\", \"lstrip\": true, \"rstrip\": true}"},
        {"gpt2", NULL, "{\"content\": \"word\", \"single_word\": true, \"lstrip\": true}"},
        {"neox", NULL, "{\"content\": \"   \", \"lstrip\": true}"},
        {"gpt2", NULL, "{\"content\": \"! \", \"rstrip\": true}"},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; ++i) {
        mep_tokenizer *tokenizer = make(&variants[i]);
        int64_t splits = check_tokenizer(tokenizer, 1500);
        if (splits < 1000)
            fail_msg("variant %d, %s, has only %d split points", (int)i, variants[i].golden, (int)splits);
        mep_tokenizer_destroy(&tokenizer);
    }
}

/* These tokenizers have no split points, because splitting could change tokens. */
static void test_no_split_points(void **state)
{
    (void)state;
    static const variant variants[] = {
        {"odd", NULL, NULL},
        {"gpt2", BYTE_LEVEL("false", "false"), NULL},
        {"gpt2", SPLIT("\\\\p{L}+\\\\s+", BYTE_LEVEL("false", "false")), NULL},
        {"gpt2", SPLIT("a", BYTE_LEVEL("false", "true")), NULL},
        {"gpt2", NULL, "{\"content\": \"a b\"}"},
        {"gpt2", NULL, "{\"content\": \"right\", \"rstrip\": true}"},
        {"gpt2", NULL, "{\"content\": \"\u4e2d\", \"rstrip\": true}"},
        {"gpt2", NULL, "{\"content\": \" a\", \"single_word\": true}"},
    };
    char text[LONGEST];
    for (size_t i = 0; i < sizeof variants / sizeof *variants; ++i) {
        mep_tokenizer *tokenizer = make(&variants[i]);
        for (uint64_t round = 0; round < 50; ++round)
            assert_int_equal(mep_tokenizer_split_point(tokenizer, text, make_text(round, text)), 0);
        mep_tokenizer_destroy(&tokenizer);
    }
}

/* No letter or number of Unicode leads to a wrong split point. */
static void test_planes(void **state)
{
    (void)state;
    static const variant variants[] = {
        {"gpt2", NULL, NULL}, {"bloom", NULL, NULL}, {"llama", NULL, NULL}, {"neox", QWEN, NULL}};
    int64_t splits = 0;
    for (int which = 0; which < 4; ++which) {
        mep_tokenizer *tokenizer = make(&variants[which]);
        for (uint32_t code = 0x80; code < 0x20000; ++code) {
            if (code >= 0xd800 && code < 0xe000) continue;
            char text[16] = "x.";
            int64_t size = 2 + mep_utf8_encode(code, text + 2);
            memcpy(text + size, code % 2 == 0 ? "\n b" : "  b", 3);
            int64_t at = mep_tokenizer_split_point(tokenizer, text, size + 1);
            if (at != size) continue;
            check_split(tokenizer, text, size + 3, at);
            splits++;
        }
        mep_tokenizer_destroy(&tokenizer);
    }
    assert_true(splits > 250000);
}

static void test_bytes(void **state)
{
    (void)state;
    mep_tokenizer *bytes = NULL;
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    for (int64_t size = 0; size < 5; ++size) assert_int_equal(mep_tokenizer_split_point(bytes, "\xff a\n", size), size);
    mep_tokenizer_destroy(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_points),
        cmocka_unit_test(test_no_split_points),
        cmocka_unit_test(test_planes),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests_name("split_points", tests, NULL, NULL);
}
