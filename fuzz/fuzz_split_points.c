/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a long text that is tokenized in slices. The first byte selects a tokenizer, the
 * second the length of the slices. The concatenated tokens of the slices are those of the complete text.
 */
#include <stdio.h>

#include "byte_vocabulary.h"
#include "fuzz.h"
#include "tokenizer/tokenizer.h"

#define LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
#define OTHERS "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(PATTERN, REST)                                                                                           \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": "     \
    "{\"Regex\": \"" PATTERN "\"}}, " REST "]}"
#define BYTE_LEVEL(PREFIX, REGEX)                                                                                      \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": " PREFIX ", \"use_regex\": " REGEX "}"
#define PREFIX                                                                                                           \
    "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"▁\"}, {\"type\": \"Replace\", " \
    "\"pattern\": {\"String\": \" \"}, \"content\": \"▁\"}]}"
#define METASPACE(SCHEME, SPLITS)                                                                                      \
    "{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"" SCHEME "\", \"split\": " SPLITS "}"
#define NFC "{\"type\": \"NFC\"}"

/* Sections of a tokenizer.json. */
static const struct {
    const char *normalizer, *pre_tokenizer, *added;
} VARIANTS[] = {
    {"null", BYTE_LEVEL("false", "true"), "[]"},                                           /* GPT-2 */
    {NFC, BYTE_LEVEL("false", "true"), "[]"},                                              /* GPT-NeoX */
    {"null", BYTE_LEVEL("true", "true"), "[]"},                                            /* a prefix space */
    {"null", SPLIT(" ?[^(\\\\s|[.,!?…。，、।۔،])]+", BYTE_LEVEL("false", "false")), "[]"}, /* BLOOM */
    {"null", SPLIT(LETTERS "\\\\p{N}{1,3}" OTHERS, BYTE_LEVEL("false", "false")), "[]"},   /* Llama 3 */
    {NFC, SPLIT(LETTERS "\\\\p{N}" OTHERS, BYTE_LEVEL("false", "false")), "[]"},           /* Qwen 2 */
    {"null", BYTE_LEVEL("false", "true"), "[{\"content\": \"1a1\", \"single_word\": true, \"lstrip\": true}]"},
    {NFC, BYTE_LEVEL("false", "true"), "[{\"content\": \"! \", \"rstrip\": true}]"},
    {NFC, BYTE_LEVEL("false", "true"), "[{\"content\": \"  \", \"lstrip\": true, \"normalized\": true}]"},
    {"null", BYTE_LEVEL("false", "false"), "[]"}, /* no split points */
    {PREFIX, "null", "[]"},                       /* of characters from here: Llama 2 */
    {"null", METASPACE("first", "false"), "[{\"content\": \"1a1\", \"normalized\": false}]"}, /* Mistral */
    {"null", METASPACE("always", "true"), "[{\"content\": \"1a1\", \"normalized\": true}]"},
    {PREFIX, "null", "[{\"content\": \"! a\", \"normalized\": true}]"},
    {PREFIX, "null", "[{\"content\": \"a1a\", \"rstrip\": true, \"normalized\": false}]"},
};
enum { VARIANT_COUNT = sizeof VARIANTS / sizeof *VARIANTS, FIRST_OF_CHARACTERS = 10 };

/* A pre-token that is split has other tokens: every two of these bytes merge, and each byte merges with a blank. */
static const char JOINED[] = "a1s'l!.(|", BLANKS[] = " \n\t\r";

static void add_merge(json_t *vocab, json_t *merges, int left, int right)
{
    char a[5] = "", b[5] = "", text[16];
    mep_utf8_encode(mep_bpe_code_of_byte(left), a);
    mep_utf8_encode(mep_bpe_code_of_byte(right), b);
    snprintf(text, sizeof text, "%s%s", a, b);
    if (json_object_get(vocab, text) != NULL) return;
    json_object_set_new(vocab, text, json_integer((json_int_t)json_object_size(vocab)));
    snprintf(text, sizeof text, "%s %s", a, b);
    json_array_append_new(merges, json_string(text));
}

static void add_merges(json_t *vocab, json_t *merges)
{
    for (const char *blank = BLANKS; *blank != '\0'; blank++)
        for (int byte = 0; byte < 256; byte++) {
            add_merge(vocab, merges, byte, *blank);
            add_merge(vocab, merges, *blank, byte);
        }
    for (const char *left = JOINED; *left != '\0'; left++)
        for (const char *right = JOINED; *right != '\0'; right++) add_merge(vocab, merges, *left, *right);
}

static void add_word(json_t *vocab, json_t *merges, const char *left, const char *right)
{
    char text[16];
    snprintf(text, sizeof text, "%s%s", left, right);
    if (json_object_get(vocab, text) != NULL) return;
    json_object_set_new(vocab, text, json_integer((json_int_t)json_object_size(vocab)));
    json_array_append_new(merges, json_pack("[s, s]", left, right));
}

/* Every two of the joined characters merge, and each merges with the mark before it; two marks merge. */
static void add_characters(json_t *vocab, json_t *merges)
{
    add_fallback(vocab);
    add_word(vocab, merges, MEP_BPE_WORD_MARK, MEP_BPE_WORD_MARK);
    for (const char *left = JOINED; *left != '\0'; left++) {
        const char a[2] = {*left, '\0'};
        json_object_set_new(vocab, a, json_integer((json_int_t)json_object_size(vocab)));
    }
    for (const char *left = JOINED; *left != '\0'; left++) {
        const char a[2] = {*left, '\0'};
        add_word(vocab, merges, MEP_BPE_WORD_MARK, a);
        for (const char *right = JOINED; *right != '\0'; right++) add_word(vocab, merges, a, (char[2]){*right, '\0'});
    }
}

static mep_tokenizer *make(int variant)
{
    mep_tokenizer *tokenizer = NULL;
    json_t *vocab = json_object(), *merges = json_array(), *added = json_loads(VARIANTS[variant].added, 0, NULL);
    if (variant < FIRST_OF_CHARACTERS) {
        add_bytes(vocab);
        add_merges(vocab, merges);
    } else {
        add_characters(vocab, merges);
    }
    json_object_set_new(json_array_get(added, 0), "id", json_integer((json_int_t)json_object_size(vocab)));
    json_t *root = mep_bpe_compose_json(vocab, merges, NULL, 0);
    json_object_set_new(root, "normalizer", json_loads(VARIANTS[variant].normalizer, JSON_DECODE_ANY, NULL));
    json_object_set_new(root, "pre_tokenizer", json_loads(VARIANTS[variant].pre_tokenizer, JSON_DECODE_ANY, NULL));
    json_object_set_new(root, "added_tokens", added);
    if (variant >= FIRST_OF_CHARACTERS) {
        json_object_set_new(root, "decoder", json_null());
        json_object_set_new(json_object_get(root, "model"), "byte_fallback", json_true());
    }
    char *text = json_dumps(root, JSON_COMPACT);
    if (text == NULL || mep_bpe_from_json(&tokenizer, "variant", text, (int64_t)strlen(text)) != MEP_OK) abort();
    free(text);
    json_decref(root);
    return tokenizer;
}

/* Append the tokens of one slice; returns the new count. */
static int64_t append(const mep_tokenizer *tokenizer, const char *text, int64_t size, int is_rest, int32_t *tokens,
                      int64_t count, int64_t capacity)
{
    int32_t *ids = NULL;
    int64_t more = 0;
    mep_status status = is_rest ? mep_tokenizer_encode_rest(tokenizer, text, size, &ids, &more)
                                : mep_tokenizer_encode(tokenizer, text, size, &ids, &more);
    if (status != MEP_OK || more > capacity - count) abort();
    if (more > 0) memcpy(tokens + count, ids, (size_t)more * sizeof *tokens);
    mep_tokens_free(&ids);
    return count + more;
}

static void check_slices(const mep_tokenizer *tokenizer, const char *text, int64_t size, int64_t slice)
{
    int64_t capacity = 4 * size + 16, at = 0, count = 0, length = slice;
    int32_t *parts = malloc((size_t)capacity * sizeof *parts), *complete = malloc((size_t)capacity * sizeof *complete);
    if (parts == NULL || complete == NULL) abort();
    while (size - at > length) {
        char *seen = malloc((size_t)length); /* of this exact size, so that a sanitizer detects reading ahead */
        if (seen == NULL) abort();
        memcpy(seen, text + at, (size_t)length);
        int64_t split = mep_tokenizer_split_point(tokenizer, seen, length);
        free(seen);
        if (split < 0 || split > length) abort();
        if (split > 0) count = append(tokenizer, text + at, split, at > 0, parts, count, capacity);
        at += split;
        length = split > 0 ? slice : 2 * length;
    }
    count = append(tokenizer, text + at, size - at, at > 0, parts, count, capacity);
    if (append(tokenizer, text, size, 0, complete, 0, capacity) != count) abort();
    if (memcmp(parts, complete, (size_t)count * sizeof *parts) != 0) abort();
    free(parts);
    free(complete);
}

static mep_tokenizer *tokenizers[VARIANT_COUNT];

static void destroy_tokenizers(void)
{
    for (int i = 0; i < VARIANT_COUNT; i++) mep_tokenizer_destroy(&tokenizers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int begun;
    if (!begun && atexit(destroy_tokenizers) != 0) abort();
    begun = 1;
    if (size < 2) return 0;
    int variant = data[0] % VARIANT_COUNT;
    if (tokenizers[variant] == NULL) tokenizers[variant] = make(variant);
    check_slices(tokenizers[variant], (const char *)data + 2, (int64_t)size - 2, 1 + data[1] % 64);
    return 0;
}
