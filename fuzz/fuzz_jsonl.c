/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a line of JSON lines. The fast scanner and jansson must agree: what the scanner
 * accepts, jansson accepts with the same text, and what jansson rejects, the scanner does not accept.
 */
#include "fuzz.h"
#include "corpus/corpus.h"
#include "corpus/json_line.h"

static void compare(const char *line, size_t size, const char *text, int64_t text_size)
{
    json_error_t error;
    json_t *root = json_loadb(line, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    json_t *string = json_object_get(root, "text");
    if (!json_is_string(string) || (int64_t)json_string_length(string) != text_size ||
        memcmp(json_string_value(string), text, (size_t)text_size) != 0)
        abort();
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size + 1), *copy = malloc(size + 1), *text = NULL;
    if (line == NULL || copy == NULL) abort();
    memcpy(line, data, size);
    memcpy(copy, data, size);
    line[size] = copy[size] = '\0';
    int64_t text_size = 0;
    if (mep_json_line_text(line, (int64_t)size, &text, &text_size))
        compare(copy, size, text, text_size);
    else if (memcmp(line, copy, size) != 0)
        abort();

    mep_corpus_record record = {.name = "input", .line = 1, .bytes = copy, .size = (int64_t)size};
    json_t *json = NULL;
    const char *found = NULL;
    check_message(mep_corpus_record_text(&record, &json, &found, &text_size));
    unsigned sum = 0;
    for (int64_t i = 0; i < text_size; i++) sum += (unsigned char)found[i]; /* every byte is readable */
    if (sum > 0 && size == 0) abort();
    json_decref(json);
    free(line);
    free(copy);
    return 0;
}
