/* SPDX-License-Identifier: MIT */
/*
 * The tokenizers of Llama-shaped models: ids, decoded texts and the tokens around a text equal those of Hugging Face's
 * tokenizers, from golden/llama_tokenizers.json, which scripts/fixtures/tokenizer_families.py makes; long texts that
 * are split into slices have the ids of the complete text; invalid UTF-8, sections that are refused, and folders with a
 * SentencePiece model only or with flags that change the tokens around a text.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "golden.h"
#include "mep/data.h"
#include "scratch.h"
#include "tokenizer/bpe.h"

static json_t *golden, *bytes, *texts;

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
    golden = load(GOLDEN_OWN("llama_tokenizers.json"));
    bytes = load(GOLDEN_OWN("tokenizer_gpt2.json"));
    texts = json_copy(json_object_get(cases, "texts"));
    json_array_extend(texts, json_object_get(golden, "texts"));
    json_decref(cases);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(golden);
    json_decref(bytes);
    json_decref(texts);
    return 0;
}

/* ---- Families ---- */

/* Remove a token and the merges that use it; its id gets another name. */
static void remove_token(json_t *model, const char *name)
{
    json_t *merges = json_object_get(model, "merges"), *vocab = json_object_get(model, "vocab");
    char gone[64];
    for (size_t i = json_array_size(merges); i-- > 0;) {
        const json_t *merge = json_array_get(merges, i);
        for (size_t k = 0; k < 2; k++) {
            if (strcmp(json_string_value(json_array_get(merge, k)), name) != 0) continue;
            json_array_remove(merges, i);
            break;
        }
    }
    snprintf(gone, sizeof gone, "%s is gone", name);
    json_object_set(vocab, gone, json_object_get(vocab, name));
    json_object_del(vocab, name);
}

/* Add a token with a merge of its first character and the rest, or of what is before its last character and that. */
static void add_token(json_t *model, const char *name)
{
    json_t *vocab = json_object_get(model, "vocab");
    const char *middle = name + 1;
    json_object_set_new(vocab, name, json_integer((json_int_t)json_object_size(vocab)));
    if (json_object_get(vocab, middle) == NULL) middle = name + strlen(name) - 1;
    json_array_append_new(json_object_get(model, "merges"), json_pack("[s%, s]", name, middle - name, middle));
}

/* The tokenizer.json of a family. */
static json_t *compose(const json_t *family)
{
    int is_bytes = strcmp(json_string_value(json_object_get(family, "kind")), "bytes") == 0;
    const json_t *changes = json_object_get(family, "changes");
    json_t *root = json_copy(json_object_get(family, "sections")), *change;
    json_t *model = json_deep_copy(is_bytes ? json_object_get(bytes, "model") : json_object_get(golden, "characters"));
    const char *key;
    size_t i;
    json_object_foreach((json_t *)changes, key, change)
    {
        json_t *name;
        if (!json_is_array(change)) {
            json_object_set(model, key, change);
            continue;
        }
        json_array_foreach(change, i, name)
        {
            if (strcmp(key, "with") == 0)
                add_token(model, json_string_value(name));
            else
                remove_token(model, json_string_value(name));
        }
    }
    json_object_set_new(root, "model", model);
    return root;
}

static mep_tokenizer *open_json(const char *name, const json_t *root)
{
    mep_tokenizer *tokenizer = NULL;
    char *text = json_dumps(root, JSON_COMPACT);
    if (mep_bpe_from_json(&tokenizer, name, text, (int64_t)strlen(text)) != MEP_OK) fail_msg("%s", mep_error_message());
    free(text);
    return tokenizer;
}

static const json_t *find_family(const char *name)
{
    size_t i;
    json_t *family;
    json_array_foreach(json_object_get(golden, "families"), i,
                       family) if (strcmp(json_string_value(json_object_get(family, "name")), name) == 0) return family;
    fail_msg("there is no family %s", name);
    return NULL;
}

static mep_tokenizer *open_family(const json_t *family)
{
    json_t *root = compose(family);
    mep_tokenizer *tokenizer = open_json(json_string_value(json_object_get(family, "name")), root);
    json_decref(root);
    return tokenizer;
}

/* ---- Hashes ---- */

static const uint64_t EMPTY = UINT64_C(0xcbf29ce484222325);

static uint64_t add(uint64_t value, uint64_t number)
{
    return (value ^ number) * UINT64_C(0x100000001b3);
}

static uint64_t add_ids(uint64_t value, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++) value = add(value, (uint64_t)ids[i]);
    return value;
}

static int is_hash(uint64_t value, const json_t *expected)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    return strcmp(text, json_string_value(expected)) == 0;
}

/* The hash of the decoded tokens. */
static uint64_t decoded_hash(const mep_tokenizer *tokenizer, const int32_t *ids, int64_t count)
{
    char *text = NULL;
    int64_t size = 0;
    uint64_t value = EMPTY;
    assert_int_equal(mep_tokenizer_decode_text(tokenizer, ids, count, &text, &size), MEP_OK);
    for (int64_t i = 0; i < size; i++) value = add(value, (unsigned char)text[i]);
    assert_int_equal(text[size], 0);
    mep_text_free(&text);
    return value;
}

/* ---- Hugging Face's ids and texts ---- */

static int check_texts(const mep_tokenizer *tokenizer, const json_t *family)
{
    int wrong = 0;
    size_t i;
    json_t *text;
    json_array_foreach(texts, i, text)
    {
        int32_t *ids = NULL;
        int64_t count = 0;
        assert_int_equal(
            mep_tokenizer_encode(tokenizer, json_string_value(text), (int64_t)json_string_length(text), &ids, &count),
            MEP_OK);
        int same_ids = is_hash(add_ids(EMPTY, ids, count), json_array_get(json_object_get(family, "ids"), i));
        int same_text =
            is_hash(decoded_hash(tokenizer, ids, count), json_array_get(json_object_get(family, "decoded"), i));
        if (!same_ids || !same_text)
            fprintf(stderr, "%s: text %zu has other %s: %.60s\n", mep_tokenizer_name(tokenizer), i,
                    same_ids ? "bytes" : "ids", json_string_value(text));
        wrong += !same_ids || !same_text;
        mep_tokens_free(&ids);
    }
    assert_true(json_array_size(texts) > 120);
    return wrong;
}

static int check_long(const mep_tokenizer *tokenizer, const json_t *family)
{
    int wrong = 0;
    size_t i;
    json_t *expected;
    json_array_foreach(json_object_get(family, "long"), i, expected)
    {
        const json_t *source = json_array_get(json_object_get(golden, "long"), i);
        const json_t *part = json_object_get(source, "text");
        size_t size = json_string_length(part), times = (size_t)json_integer_value(json_object_get(source, "times"));
        char *text = malloc(size * times);
        int32_t *ids = NULL;
        int64_t count = 0;
        for (size_t k = 0; k < times; k++) memcpy(text + k * size, json_string_value(part), size);
        assert_int_equal(mep_tokenizer_encode(tokenizer, text, (int64_t)(size * times), &ids, &count), MEP_OK);
        int same = count == json_integer_value(json_object_get(expected, "count")) &&
                   is_hash(add_ids(EMPTY, ids, count), json_object_get(expected, "ids")) &&
                   is_hash(decoded_hash(tokenizer, ids, count), json_object_get(expected, "decoded"));
        if (!same) fprintf(stderr, "%s: long text %zu differs\n", mep_tokenizer_name(tokenizer), i);
        wrong += !same;
        mep_tokens_free(&ids);
        free(text);
    }
    return wrong;
}

static int check_special(const json_t *expected, const int32_t *ids, int64_t count)
{
    int same = (int64_t)json_array_size(expected) == count;
    for (int64_t i = 0; same && i < count; i++)
        same = json_integer_value(json_array_get(expected, (size_t)i)) == ids[i];
    return same;
}

static void test_families(void **state)
{
    (void)state;
    int wrong = 0;
    size_t i, long_texts = 0, around = 0;
    json_t *family;
    json_array_foreach(json_object_get(golden, "families"), i, family)
    {
        mep_tokenizer *tokenizer = open_family(family);
        mep_special_tokens special;
        wrong += check_texts(tokenizer, family) + check_long(tokenizer, family);
        assert_int_equal(mep_tokenizer_special_tokens(tokenizer, &special), MEP_OK);
        if (!check_special(json_object_get(family, "before"), special.before, special.before_count) ||
            !check_special(json_object_get(family, "after"), special.after, special.after_count))
            fail_msg("%s: other tokens around a text", mep_tokenizer_name(tokenizer));
        long_texts += json_array_size(json_object_get(family, "long"));
        around += (size_t)(special.before_count + special.after_count);
        mep_tokenizer_destroy(&tokenizer);
    }
    assert_true(i > 30 && long_texts > 40 && around > 20);
    assert_int_equal(wrong, 0);
}

/* ---- Slices ---- */

/* All texts concatenated, encoded at once and in slices between split points. Returns the number of slices. */
static int64_t check_slices(const mep_tokenizer *tokenizer, const char *text, int64_t size)
{
    enum { SLICE = 200 };
    int32_t *ids = NULL;
    int64_t count = 0, slices = 0;
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, size, &ids, &count), MEP_OK);
    uint64_t complete = add_ids(EMPTY, ids, count), sliced = EMPTY;
    mep_tokens_free(&ids);
    for (int64_t at = 0, length = SLICE; at < size;) {
        int64_t left = size - at,
                split = left > length ? mep_tokenizer_split_point(tokenizer, text + at, length) : left;
        length = split > 0 ? SLICE : 2 * length;
        if (split == 0) continue;
        assert_int_equal(at > 0 ? mep_tokenizer_encode_rest(tokenizer, text + at, split, &ids, &count)
                                : mep_tokenizer_encode(tokenizer, text + at, split, &ids, &count),
                         MEP_OK);
        sliced = add_ids(sliced, ids, count);
        mep_tokens_free(&ids);
        at += split;
        slices++;
    }
    if (sliced != complete) fail_msg("%s: slices differ", mep_tokenizer_name(tokenizer));
    return slices;
}

static void test_slices(void **state)
{
    (void)state;
    static const char *const split[] = {"llama 2",      "mistral 0.3",    "mistral eos",     "metaspace split",
                                        "llama 1",      "tinyllama chat", "llama 3",         "qwen 2",
                                        "qwen 3.5",     "smollm",         "metaspace never", "olmo 2",
                                        "mistral nemo", "o200k",          "code llama",      "no emoji bytes"};
    enum { SPLIT = sizeof split / sizeof *split, ROOM = 100000 };
    char *text = malloc(ROOM);
    size_t used = 0, i;
    int found = 0;
    json_t *one, *family;
    json_array_foreach(texts, i, one)
    {
        assert_true(used + json_string_length(one) + 2 < ROOM);
        memcpy(text + used, json_string_value(one), json_string_length(one));
        used += json_string_length(one);
        if (i % 5 == 0) text[used++] = (char)0xff;
        text[used++] = ' ';
    }
    json_array_foreach(json_object_get(golden, "families"), i, family)
    {
        mep_tokenizer *tokenizer = open_family(family);
        int64_t slices = check_slices(tokenizer, text, (int64_t)used);
        for (int k = 0; k < SPLIT; k++) {
            if (strcmp(split[k], mep_tokenizer_name(tokenizer)) != 0) continue;
            if (slices < 10) fail_msg("%s has only %d slices", split[k], (int)slices);
            found++;
        }
        mep_tokenizer_destroy(&tokenizer);
    }
    assert_int_equal(found, SPLIT);
    free(text);
}

/* ---- Long words, invalid bytes ---- */

/* 4 MB without a blank are one word, which merges in O(n log n). */
static void test_long_word(void **state)
{
    (void)state;
    enum { SIZE = 1 << 22 };
    char *text = malloc(SIZE);
    int32_t *ids = NULL;
    int64_t count = 0;
    mep_tokenizer *tokenizer = open_family(find_family("llama 2"));
    for (int64_t i = 0; i < SIZE; i++) text[i] = "thequick"[i * 7 % 8];
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, SIZE, &ids, &count), MEP_OK);
    assert_true(count > SIZE / 16 && count <= SIZE + 1);
    mep_tokens_free(&ids);
    mep_tokenizer_destroy(&tokenizer);
    free(text);
}

/* Bytes that are not UTF-8 have tokens; the text after them gets no prefix, so that the text comes back. */
static void test_invalid_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"llama 2", "llama 1", "mistral 0.3", "metaspace always", "gemma"};
    static const char text[] = "\xff\xfe ab\xc3 the \xe2\x96\x81x\xf0\x9f\x99 \xffquick<s>x\xff";
    const int64_t size = sizeof text - 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        mep_tokenizer *tokenizer = open_family(find_family(names[i]));
        int32_t *ids = NULL;
        int64_t count = 0, length = 0;
        char *back = NULL;
        assert_int_equal(mep_tokenizer_encode(tokenizer, text, size, &ids, &count), MEP_OK);
        assert_int_equal(ids[0], 3 + 0xff);
        assert_int_equal(ids[1], 3 + 0xfe);
        assert_int_equal(ids[count - 1], 3 + 0xff);
        assert_int_equal(mep_tokenizer_decode_text(tokenizer, ids, count, &back, &length), MEP_OK);
        assert_memory_equal(back, "\xff\xfe ab\xc3 the  x\xf0\x9f\x99 \xffquick<s>", 26); /* the mark becomes a blank */
        mep_text_free(&back);
        mep_tokens_free(&ids);
        mep_tokenizer_destroy(&tokenizer);
    }
}

/* A token decodes to the same bytes wherever it is; only the blank before a text is removed. */
static void test_decode(void **state)
{
    (void)state;
    mep_tokenizer *tokenizer = open_family(find_family("llama 2"));
    const char *text = NULL;
    char *all = NULL;
    int64_t size = 0;
    assert_int_equal(mep_tokenizer_decode(tokenizer, 3 + 0x0a, &text, &size), MEP_OK);
    assert_int_equal(size, 1);
    assert_int_equal(text[0], '\n');
    assert_int_equal(mep_tokenizer_decode(tokenizer, 1, &text, &size), MEP_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "<s>", 3);
    assert_int_equal(mep_tokenizer_end_of_document(tokenizer), 2);
    assert_int_equal(mep_tokenizer_decode_text(tokenizer, NULL, 0, &all, &size), MEP_OK);
    assert_int_equal(size, 0);
    mep_text_free(&all);
    const int32_t wrong[] = {1, 1000000};
    assert_int_equal(mep_tokenizer_decode_text(tokenizer, wrong, 2, &all, &size), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_tokenizer_decode_text(tokenizer, wrong, -1, &all, &size), MEP_ERROR_ARGUMENT);
    assert_null(all);
    mep_tokenizer_destroy(&tokenizer);
}

/* ---- What is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"normalizer", "{\"type\": \"Lowercase\"}", "the normalizer \"Lowercase\" is not supported"},
        {"normalizer", "{\"type\": \"Prepend\"}", "Prepend has no string \"prepend\""},
        {"normalizer", "{\"type\": \"Replace\", \"content\": \"x\", \"pattern\": {\"String\": \"\"}}", "empty pattern"},
        {"normalizer", "{\"type\": \"Replace\", \"content\": \"x\", \"pattern\": {}}", "no string \"pattern\""},
        {"normalizer", "{\"type\": \"Replace\", \"content\": \"x\", \"pattern\": {\"Regex\": \"x*\"}}", "empty string"},
        {"pre_tokenizer", "{\"type\": \"Whitespace\"}", "the pre_tokenizer \"Whitespace\" is not supported"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"__\"}", "no replacement of one character"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"last\"}",
         "\"last\""},
        {"pre_tokenizer",
         "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Metaspace\", \"replacement\": \"_\"}, {\"type\": "
         "\"ByteLevel\"}]}",
         "Metaspace and ByteLevel together"},
        {"decoder", "{\"type\": \"ByteLevel\"}", "no pre_tokenizer ByteLevel"},
        {"decoder", "{\"type\": \"Metaspace\"}", "no replacement"},
        {"decoder", "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}", "comes before Fuse"},
        {"decoder",
         "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", "
         "\"start\": 1, \"stop\": 1}]}",
         "removes text at the end"},
        {"decoder", "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"ByteFallback\"}]}",
         "ByteFallback comes after Fuse"},
        {"post_processor", "{\"type\": \"Other\"}", "the post_processor \"Other\" is not supported"},
        {"post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}", "which is not supported"},
        {"post_processor",
         "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": "
         "{\"id\": \"A\"}}], \"special_tokens\": {\"<s>\": {\"ids\": [100000]}}}",
         "a token that the vocabulary does not have"},
        {"post_processor",
         "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": "
         "{\"id\": \"A\"}}], \"special_tokens\": {}}",
         "no ids for \"<s>\""},
        {"post_processor", "{\"type\": \"BertProcessing\"}", "a token that the vocabulary does not have"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = compose(find_family("llama 2"));
        mep_tokenizer *tokenizer = NULL;
        json_object_set_new(root, cases[i].key, json_loads(cases[i].value, 0, NULL));
        char *text = json_dumps(root, JSON_COMPACT);
        assert_int_not_equal(mep_bpe_from_json(&tokenizer, "case", text, (int64_t)strlen(text)), MEP_OK);
        if (strstr(mep_error_message(), cases[i].message) == NULL)
            fail_msg("case %d: \"%s\"", (int)i, mep_error_message());
        assert_null(tokenizer);
        free(text);
        json_decref(root);
    }
}

/* ---- Folders ---- */

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* add_bos_token and add_eos_token of tokenizer_config.json replace the tokens of the post_processor. */
static void test_config_flags(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int64_t before, after;
    } cases[] = {
        {"{}", 1, 0},
        {"{\"add_bos_token\": false, \"bos_token\": \"<s>\"}", 0, 0},
        {"{\"add_bos_token\": true, \"add_eos_token\": true, \"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": "
         "\"</s>\"}",
         1, 1},
        {"{\"add_eos_token\": true, \"eos_token\": \"</s>\"}", 0, 1},
        {"{\"add_bos_token\": true, \"bos_token\": null}", 0, 0},
    };
    char folder[512];
    snprintf(folder, sizeof folder, "%s", scratch_path("flags"));
    assert_int_equal(mkdir(folder, 0777), 0);
    json_t *root = compose(find_family("llama 2"));
    char *text = json_dumps(root, JSON_COMPACT);
    write_file(folder, "tokenizer.json", text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_tokenizer *tokenizer = NULL, *copy = NULL;
        mep_special_tokens special;
        int64_t size = 0;
        write_file(folder, "tokenizer_config.json", cases[i].config);
        if (mep_tokenizer_open(&tokenizer, folder) != MEP_OK) fail_msg("%s", mep_error_message());
        assert_int_equal(mep_tokenizer_special_tokens(tokenizer, &special), MEP_OK);
        assert_int_equal(special.before_count, cases[i].before);
        assert_int_equal(special.after_count, cases[i].after);
        if (special.before_count > 0) assert_int_equal(special.before[0], 1);
        if (special.after_count > 0) assert_int_equal(special.after[0], 2);
        const char *json = mep_tokenizer_json(tokenizer, &size); /* the copy in a dataset has them too */
        assert_int_equal(mep_bpe_from_json(&copy, "copy", json, size), MEP_OK);
        assert_int_equal(mep_tokenizer_special_tokens(copy, &special), MEP_OK);
        assert_int_equal(special.before_count, cases[i].before);
        assert_int_equal(special.after_count, cases[i].after);
        mep_tokenizer_destroy(&copy);
        mep_tokenizer_destroy(&tokenizer);
    }
    write_file(folder, "tokenizer_config.json", "{\"add_bos_token\": true, \"bos_token\": \"<nothing>\"}");
    mep_tokenizer *tokenizer = NULL;
    assert_int_not_equal(mep_tokenizer_open(&tokenizer, folder), MEP_OK);
    assert_non_null(strstr(mep_error_message(), "<nothing>"));
    free(text);
    json_decref(root);
}

/* Baichuan's folders have a SentencePiece model only. */
static void test_sentencepiece(void **state)
{
    (void)state;
    char folder[512], path[600];
    mep_tokenizer *tokenizer = NULL;
    snprintf(folder, sizeof folder, "%s", scratch_path("sentencepiece"));
    assert_int_equal(mkdir(folder, 0777), 0);
    write_file(folder, "tokenizer.model", "\n\x0e\n\x05<unk>");
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    assert_int_equal(mep_tokenizer_open(&tokenizer, folder), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "SentencePiece"));
    assert_non_null(strstr(mep_error_message(), "save_pretrained"));
    assert_int_equal(mep_tokenizer_open(&tokenizer, path), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "SentencePiece"));
    assert_null(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),      cmocka_unit_test(test_slices),        cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_invalid_bytes), cmocka_unit_test(test_decode),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_config_flags),  cmocka_unit_test(test_sentencepiece),
    };
    return cmocka_run_group_tests_name("tokenizer families", tests, set_up, tear_down);
}
