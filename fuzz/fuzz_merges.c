/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a merges.txt, next to a vocabulary with the tokens that its lines name. A tokenizer
 * that opens encodes the input and decodes it to the same bytes.
 */
#include "byte_vocabulary.h"
#include "fuzz.h"
#include "mep/data.h"

static void add_token(json_t *vocab, const char *name, size_t size)
{
    json_t *key = json_stringn(name, size); /* NULL if it is not UTF-8 */
    if (key != NULL && size > 0 && strlen(json_string_value(key)) == size &&
        json_object_get(vocab, json_string_value(key)) == NULL)
        json_object_set_new(vocab, json_string_value(key), json_integer((json_int_t)json_object_size(vocab)));
    json_decref(key);
}

/* The tokens of a line "left right" and their merge. */
static void add_line(json_t *vocab, const char *line, size_t size)
{
    char joined[256];
    const char *blank = memchr(line, ' ', size);
    if (blank == NULL || size > sizeof joined) return;
    size_t left = (size_t)(blank - line), right = size - left - 1;
    memcpy(joined, line, left);
    memcpy(joined + left, blank + 1, right);
    add_token(vocab, line, left);
    add_token(vocab, blank + 1, right);
    add_token(vocab, joined, left + right);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = text + size;
    json_t *vocab = json_object();
    mep_tokenizer *tokenizer = NULL;
    add_bytes(vocab);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline != NULL ? newline : end) - text);
        add_line(vocab, text, length);
        text += length + 1;
    }
    char *json = json_dumps(vocab, 0);
    if (json == NULL) abort();
    mep_status status =
        mep_bpe_from_tables(&tokenizer, "input", json, (int64_t)strlen(json), (const char *)data, (int64_t)size);
    check_message(status);
    if (status == MEP_OK) encode_and_decode(tokenizer, data, (int64_t)size, 1);
    mep_tokenizer_destroy(&tokenizer);
    free(json);
    json_decref(vocab);
    return 0;
}
