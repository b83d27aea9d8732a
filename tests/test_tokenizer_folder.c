/* SPDX-License-Identifier: MIT */
/*
 * A folder with vocab.json and merges.txt, or tokenizer.json, and the files in which transformers adds tokens:
 * added_tokens.json and tokenizer_config.json. The tables are in golden/tokenizer_folder; the expected ids are those of
 * transformers.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"
#include "mep/data.h"
#include "expect.h"
#include "text_files.h"

#define golden(name) GOLDEN_OWN("tokenizer_folder/" name)

static void copy(const char *from, const char *to)
{
    size_t size;
    unsigned char *bytes = read_bytes(from, &size);
    write_bytes(to, bytes, size);
    free(bytes);
}

/* Create a folder of this name with the tables. */
static const char *tables(const char *name)
{
    char file[256];
    mkdir(in_folder(name), 0755);
    snprintf(file, sizeof file, "%s/vocab.json", name);
    copy(golden("vocab.json"), file);
    snprintf(file, sizeof file, "%s/merges.txt", name);
    copy(golden("merges.txt"), file);
    return in_folder(name);
}

static void expect_ids(const char *path, const char *text, const char *expected)
{
    mep_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    int64_t count = 0;
    char found[256] = "";
    if (mep_tokenizer_open(&tokenizer, path) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, (int64_t)strlen(text), &ids, &count), MEP_OK);
    for (int64_t i = 0; i < count; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%ld", i == 0 ? "" : " ", (long)ids[i]);
    assert_string_equal(found, expected);
    mep_tokens_free(&ids);
    mep_tokenizer_destroy(&tokenizer);
}

static void expect_refusal(const char *path, const char *message)
{
    mep_tokenizer *tokenizer = NULL;
    assert_int_not_equal(mep_tokenizer_open(&tokenizer, path), MEP_OK);
    assert_null(tokenizer);
    expect_message(message);
}

static void test_added_tokens(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s", golden("."));
    expect_ids(path, "hello <pad> world", "260 33 262 261 112 115 109 101");
    expect_ids(path, "<sep>", "263");
    expect_ids(path, "hello<|endoftext|>", "260 0");
    snprintf(path, sizeof path, "%s", golden("vocab.json"));
    expect_ids(path, "<sep>", "263");
    snprintf(path, sizeof path, "%s", tables("bare"));
    expect_ids(path, "<sep>", "61 116 102 113 63");
}

static void test_decoder(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s", tables("decoder"));
    write_text("decoder/tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"263\": {\"content\": \"<sep>\", \"lstrip\": true, \"special\": true},"
               " \"0\": {\"content\": \"<|endoftext|>\"}, \"262\": {\"content\": \"<pad>\", \"rstrip\": true}}}");
    expect_ids(path, "<pad>  <sep>", "262 263");
    expect_ids(path, "hello  <sep>", "260 263");
    expect_ids(path, "hello  <pad> <|endoftext|>", "260 33 33 262 0");
    write_text("decoder/added_tokens.json", "{\"<more>\": 264, \"<pad>\": 262}"); /* both files */
    expect_ids(path, "<pad>  <sep><more>", "262 263 264");
}

static void test_refused(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s", tables("wrong"));
    write_text("wrong/added_tokens.json", "{\"<pad>\": 300}");
    expect_refusal(path, "\"<pad>\" has the id 300, but Hugging Face's library gives it 262");
    write_text("wrong/added_tokens.json", "{\"<pad>\": \"262\"}");
    expect_refusal(path, "added_tokens.json: a token has no text or no id");
    write_text("wrong/added_tokens.json", "[]");
    expect_refusal(path, "added_tokens.json is not a JSON object");
    write_text("wrong/added_tokens.json", "{\"<pad>\": 262}");
    write_text("wrong/tokenizer_config.json", "{\"added_tokens_decoder\": {\"263\": {\"content\": \"<pad>\"}}}");
    expect_refusal(path, "\"<pad>\" has the id 263, but Hugging Face's library gives it 262");
    write_text("wrong/tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"<pad>\"}}}");
    expect_refusal(path, "tokenizer_config.json: a token has no text or no id");
    write_text("wrong/tokenizer_config.json", "{\"added_tokens_decoder\": {\"262\": {}}}");
    expect_refusal(path, "tokenizer_config.json: a token has no text or no id");
}

/* tokenizer.json: tokens that it already has are not added again; of two entries with the same text the first counts.
 */
static void test_json(void **state)
{
    (void)state;
    char path[1024];
    mep_tokenizer *tokenizer = NULL;
    int64_t size = 0;
    assert_int_equal(mep_tokenizer_open(&tokenizer, golden(".")), MEP_OK);
    const char *json = mep_tokenizer_json(tokenizer, &size), *entry = "\"added_tokens\": [";
    const char *at = strstr(json, entry);
    assert_non_null(at);
    at += strlen(entry);
    char *twice = malloc((size_t)size + 300);
    int used = sprintf(twice, "%.*s{\"id\": 262, \"content\": \"<pad>\"}, {\"id\": 262, \"content\": \"<pad>\"},%s",
                       (int)(at - json), json, at);
    mkdir(in_folder("json"), 0755);
    write_bytes("json/tokenizer.json", twice, (size_t)used);
    free(twice);
    snprintf(path, sizeof path, "%s", in_folder("json"));
    expect_ids(path, "hello <pad><sep>", "260 33 262 263");
    mep_tokenizer *other = NULL;
    assert_int_equal(mep_tokenizer_open(&other, path), MEP_OK);
    assert_int_equal(mep_tokenizer_vocab_size(other), 264);
    mep_tokenizer_destroy(&other);
    write_text("json/tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"262\": {\"content\": \"<pad>\"}, \"264\": {\"content\": \"<new>\"}}}");
    expect_ids(path, "<pad><new>", "262 264");
    mep_tokenizer_destroy(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_decoder),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests_name("tokenizer folder", tests, text_folder_make, text_folder_remove);
}
