/* SPDX-License-Identifier: MIT */
/*
 * Reads a tokenizer from files: tokenizer.json, or GPT-2's vocab.json and merges.txt (also NAME-vocab.json and
 * NAME-merges.txt). The path is that of the file or of its folder. added_tokens.json and tokenizer_config.json in the
 * folder change the tokenizer.
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer_bytes.h"

enum { FILE_LIMIT = 1 << 28 };

static const char VOCAB[] = "vocab.json", MERGES[] = "merges.txt", JSON[] = "tokenizer.json",
                  MODEL[] = "tokenizer.model";

/* Read a complete file; *text ends with a 0 byte that *size does not count. */
static mep_status read_file(const char *path, char **text, int64_t *size)
{
    struct stat info;
    int fd = mep_fd_open(path, O_RDONLY);
    *text = NULL;
    if (fd < 0) return mep_fail_errno("open", path);
    *size = 0;
    mep_status status = fstat(fd, &info) == 0 ? MEP_OK : mep_fail_errno("read", path);
    if (status != MEP_OK) goto done;
    if (!S_ISREG(info.st_mode) || info.st_size > FILE_LIMIT) {
        status = mep_fail(MEP_ERROR_FORMAT,
                          "%s is not a regular file, or is larger than a tokenizer may be (%d MiB); name another file",
                          path, FILE_LIMIT >> 20);
        goto done;
    }
    MEP_TRY_OR(status, MEP_ALLOC(text, (int64_t)info.st_size + 1), done);
    *size = (int64_t)info.st_size;
    if (mep_fd_read_all(fd, *text, *size, -1) != *size)
        status = mep_fail(MEP_ERROR_IO, "cannot read %s: the file became shorter, or the disk has an error", path);
done:
    (void)mep_fd_close(fd);
    if (status != MEP_OK) mep_free(text);
    return status;
}

/* ---- vocab.json and merges.txt ---- */

/* Each line is "left right". A first line "#version" and an empty last line are not merges. */
static mep_status parse_merges(const char *text, int64_t size, json_t *merges)
{
    static const char version[] = "#version";
    const char *end = text + size;
    for (int64_t line = 1; text < end; ++line) {
        const char *newline = memchr(text, '\n', (size_t)(end - text)), *stop = newline != NULL ? newline : end;
        int64_t length = stop - text;
        if (length > 0 && stop[-1] == '\r') --length;
        int is_version = length >= (int64_t)sizeof version - 1 && memcmp(text, version, sizeof version - 1) == 0;
        if (!is_version && (length > 0 || newline != NULL)) {
            json_t *merge = json_stringn(text, (size_t)length);
            if (merge == NULL || memchr(text, ' ', (size_t)length) == NULL) {
                json_decref(merge);
                return mep_fail(MEP_ERROR_FORMAT, "line %lld of the merges is not a pair of tokens", (long long)line);
            }
            if (json_array_append_new(merges, merge) != 0)
                return mep_fail(MEP_ERROR_MEMORY, "no memory for the merges");
        }
        text = newline != NULL ? newline + 1 : end;
    }
    return MEP_OK;
}

/* Make a tokenizer from the JSON of a tokenizer.json; NULL if memory ran out while it was composed. */
static mep_status from_root(mep_tokenizer **tokenizer, const char *name, const json_t *root)
{
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (text == NULL) return mep_fail(MEP_ERROR_MEMORY, "%s: out of memory for the tokenizer.json", name);
    mep_status status = mep_bpe_from_json(tokenizer, name, text, (int64_t)strlen(text));
    free(text);
    return status;
}

mep_status mep_bpe_from_tables(mep_tokenizer **tokenizer, const char *name, const char *vocab, int64_t vocab_size,
                               const char *merges, int64_t merges_size)
{
    static const char *const special[] = {"<|endoftext|>"};
    json_error_t error;
    *tokenizer = NULL;
    MEP_NEED(JANSSON, "jansson", "tokenizers other than bytes cannot be used");
    json_t *tokens = json_loadb(vocab, (size_t)vocab_size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(tokens)) {
        json_decref(tokens);
        return mep_fail(MEP_ERROR_FORMAT, "%s: the vocabulary is not a JSON object of tokens and ids", name);
    }
    json_t *list = json_array();
    mep_status status = parse_merges(merges, merges_size, list);
    json_t *root = mep_bpe_compose_json(tokens, list, special, 1);
    status = status == MEP_OK ? from_root(tokenizer, name, root) : mep_fail_in(status, "%s: ", name);
    json_decref(root);
    return status;
}

/* ---- Changes by other files ---- */

/* The tokenizer, the folder of its file ("" or ending in a slash), the tokens to add, and the post_processor. */
typedef struct additions {
    mep_tokenizer **tokenizer;
    const char *folder;
    json_t *list;     /* in the form of "added_tokens" */
    json_t *template; /* NULL: that of tokenizer.json */
} additions;

/* Add a token to the list unless the tokenizer has it. `flags` has the flags of an added token, or is NULL. */
static mep_status take_token(additions *a, const char *file, const char *content, const json_t *id, json_t *flags)
{
    if (content == NULL || !json_is_integer(id) || json_integer_value(id) < 0)
        return mep_fail(MEP_ERROR_FORMAT, "%s%s: a token has no text or no id", a->folder, file);
    if (mep_bpe_added_id(*a->tokenizer, content) == json_integer_value(id)) return MEP_OK;
    json_t *token = flags != NULL ? json_copy(flags) : json_object();
    if (json_object_set_new(token, "content", json_string(content)) != 0 ||
        json_object_set_new(token, "id", json_integer(json_integer_value(id))) != 0 ||
        json_array_append(a->list, token) != 0) {
        json_decref(token);
        return mep_fail(MEP_ERROR_MEMORY, "%s%s: out of memory", a->folder, file);
    }
    json_decref(token);
    return MEP_OK;
}

/* Load the JSON object of a file in the folder; NULL if the file does not exist. */
static mep_status load_object(const additions *a, const char *file, json_t **root)
{
    char *path = NULL, *text = NULL;
    int64_t size = 0;
    struct stat info;
    json_error_t error;
    *root = NULL;
    MEP_TRY(mep_format(&path, "%s%s", a->folder, file));
    mep_status status = stat(path, &info) == 0 ? read_file(path, &text, &size) : MEP_OK;
    if (text != NULL) {
        *root = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(*root)) {
            json_decref(*root);
            *root = NULL;
            status = mep_fail(MEP_ERROR_FORMAT, "%s is not a JSON object", path);
        }
    }
    mep_free(&path);
    mep_free(&text);
    return status;
}

/* Take an entry {TEXT: ID} of added_tokens.json. */
static mep_status take_added_entry(additions *a, const char *file, const char *key, json_t *value)
{
    return take_token(a, file, key, value, NULL);
}

/* Take an entry {ID: {"content": TEXT, flags}} of tokenizer_config.json. */
static mep_status take_config_entry(additions *a, const char *file, const char *key, json_t *value)
{
    char *end = NULL;
    json_t *id = json_integer(strtoll(key, &end, 10));
    const char *content = json_string_value(json_object_get(value, "content"));
    mep_status status = take_token(a, file, content, *end == '\0' ? id : NULL, value);
    json_decref(id);
    return status;
}

/* Take all entries of a file: of its object, or of the object's member `section`. */
static mep_status read_entries(additions *a, const char *file, const char *section,
                               mep_status (*take)(additions *a, const char *file, const char *key, json_t *value))
{
    json_t *root = NULL, *value;
    const char *key;
    mep_status status = MEP_OK;
    MEP_TRY(load_object(a, file, &root));
    json_object_foreach(section != NULL ? json_object_get(root, section) : root, key, value)
        MEP_TRY_OR(status, take(a, file, key, value), done);
done:
    json_decref(root);
    return status;
}

/* The content of a token of tokenizer_config.json: a string, or an added token. */
static const char *token_content(const json_t *config, const char *key)
{
    const json_t *token = json_object_get(config, key);
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* Append a special token to a template. `special` has its id. */
static mep_status add_to_template(const additions *a, const char *content, json_t *single, json_t *special)
{
    int64_t id = mep_bpe_added_id(*a->tokenizer, content);
    if (id < 0)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%stokenizer_config.json: \"%.60s\" is to be added to every text, but it is not an added token",
                        a->folder, content);
    json_t *entry = json_pack("{s:s, s:[I], s:[s]}", "id", content, "ids", (json_int_t)id, "tokens", content);
    json_t *item = json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", content, "type_id", 0);
    int failed = json_object_set_new(special, content, entry) != 0;
    failed |= json_array_append_new(single, item) != 0;
    return failed ? mep_fail(MEP_ERROR_MEMORY, "%stokenizer_config.json: out of memory", a->folder) : MEP_OK;
}

static int is_flag(const json_t *config, const char *key)
{
    return json_is_true(json_object_get(config, key));
}

/* "add_bos_token" and "add_eos_token" replace the tokens around a text, as in transformers. */
static mep_status make_template(additions *a, const json_t *config)
{
    json_t *single = json_array(), *special = json_object();
    const char *begin = is_flag(config, "add_bos_token") ? token_content(config, "bos_token") : NULL;
    const char *end = is_flag(config, "add_eos_token") ? token_content(config, "eos_token") : NULL;
    mep_status status = begin != NULL ? add_to_template(a, begin, single, special) : MEP_OK;
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    if (status == MEP_OK && end != NULL) status = add_to_template(a, end, single, special);
    a->template = json_pack("{s:s, s:o, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:o}", "type", "TemplateProcessing",
                            "single", single, "pair", "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B",
                            "type_id", 1, "special_tokens", special);
    if (status == MEP_OK && a->template == NULL) return mep_fail(MEP_ERROR_MEMORY, "out of memory for a template");
    return status;
}

static int same_tokens(const mep_bpe_tokens *x, const int32_t *ids, int64_t count)
{
    return x->count == count && (count == 0 || memcmp(x->ids, ids, (size_t)count * sizeof *ids) == 0);
}

/* Make a template if tokenizer_config.json has one of the flags and the tokenizer adds other tokens. */
static mep_status read_flags(additions *a)
{
    json_t *config = NULL;
    mep_bpe_template wanted = {0};
    mep_special_tokens now;
    MEP_TRY(load_object(a, "tokenizer_config.json", &config));
    int has_flags = json_is_boolean(json_object_get(config, "add_bos_token")) ||
                    json_is_boolean(json_object_get(config, "add_eos_token"));
    mep_status status = has_flags ? make_template(a, config) : MEP_OK;
    json_decref(config);
    if (status != MEP_OK || a->template == NULL) return status;
    MEP_TRY(mep_tokenizer_special_tokens(*a->tokenizer, &now));
    status = mep_bpe_template_init(&wanted, a->template, mep_tokenizer_vocab_size(*a->tokenizer));
    if (same_tokens(&wanted.before, now.before, now.before_count) &&
        same_tokens(&wanted.after, now.after, now.after_count)) {
        json_decref(a->template);
        a->template = NULL;
    }
    mep_bpe_template_free(&wanted);
    return status;
}

static int compare_ids(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "id"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "id"));
    return (x > y) - (x < y);
}

/* Append the tokens to "added_tokens" of `root`, sorted by id. */
static mep_status append_tokens(const json_t *list, json_t *root)
{
    json_t **sorted = NULL, *added = json_object_get(root, "added_tokens");
    size_t count = json_array_size(list);
    int failed = !json_is_array(added) && json_object_set_new(root, "added_tokens", json_array()) != 0;
    MEP_TRY(MEP_ALLOC(&sorted, (int64_t)count));
    for (size_t i = 0; i < count; ++i) sorted[i] = json_array_get(list, i);
    qsort(sorted, count, sizeof *sorted, compare_ids);
    for (size_t i = 0; i < count; ++i) failed |= json_array_append(json_object_get(root, "added_tokens"), sorted[i]);
    mep_free(&sorted);
    return failed ? mep_fail(MEP_ERROR_MEMORY, "out of memory for the added tokens") : MEP_OK;
}

/* Replace the tokenizer by one that has the tokens of the list, and the template, too. */
static mep_status rebuild(additions *a, const char *name)
{
    int64_t size = 0;
    const char *json = mep_tokenizer_json(*a->tokenizer, &size);
    json_t *root = json_loadb(json, (size_t)size, 0, NULL);
    mep_tokenizer_destroy(a->tokenizer);
    mep_status status = append_tokens(a->list, root);
    if (a->template != NULL && json_object_set(root, "post_processor", a->template) != 0)
        status = mep_fail(MEP_ERROR_MEMORY, "out of memory for the template");
    if (status == MEP_OK) status = from_root(a->tokenizer, name, root);
    json_decref(root);
    return status;
}

/* Add the tokens of the other files in the folder, and apply its flags, as Hugging Face's transformers does. */
static mep_status add_tokens(mep_tokenizer **tokenizer, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    char *folder = NULL;
    if (strcmp(name, JSON) != 0 && strcmp(name, VOCAB) != 0) return MEP_OK;
    MEP_TRY(mep_format(&folder, "%.*s", (int)(name - path), path));
    additions a = {.tokenizer = tokenizer, .folder = folder, .list = json_array()};
    mep_status status;
    MEP_TRY_OR(status, read_entries(&a, "tokenizer_config.json", "added_tokens_decoder", take_config_entry), done);
    MEP_TRY_OR(status, read_entries(&a, "added_tokens.json", NULL, take_added_entry), done);
    if (json_array_size(a.list) > 0) MEP_TRY_OR(status, rebuild(&a, path), done);
    json_decref(a.list);
    a.list = json_array();
    MEP_TRY_OR(status, read_flags(&a), done); /* these may name an added token of the other files */
    if (a.template != NULL) status = rebuild(&a, path);
done:
    json_decref(a.list);
    json_decref(a.template);
    mep_free(&folder);
    return status;
}

/* ---- Finding the files ---- */

static int ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), last = strlen(end);
    return size >= last && strcmp(text + size - last, end) == 0;
}

/* Read a file NAMEvocab.json and NAMEmerges.txt in the same folder. */
static mep_status open_tables(mep_tokenizer **tokenizer, const char *path)
{
    char *vocab = NULL, *merges = NULL, *other = NULL;
    int64_t vocab_size = 0, merges_size = 0;
    MEP_TRY(mep_format(&other, "%.*s%s", (int)(strlen(path) - strlen(VOCAB)), path, MERGES));
    mep_status status;
    MEP_TRY_OR(status, read_file(path, &vocab, &vocab_size), done);
    MEP_TRY_OR(status, read_file(other, &merges, &merges_size), done);
    status = mep_bpe_from_tables(tokenizer, path, vocab, vocab_size, merges, merges_size);
done:
    mep_free(&other);
    mep_free(&vocab);
    mep_free(&merges);
    return status;
}

static mep_status open_json(mep_tokenizer **tokenizer, const char *path)
{
    char *text = NULL;
    int64_t size = 0;
    MEP_TRY(read_file(path, &text, &size));
    mep_status status =
        mep_bytes_is_json(text, size) ? mep_tokenizer_bytes(tokenizer) : mep_bpe_from_json(tokenizer, path, text, size);
    mep_free(&text);
    return status;
}

/* Llama's and Mistral's folders have a tokenizer.json next to the SentencePiece model; Baichuan's do not. */
static mep_status refuse_sentencepiece(const char *path)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "%s is a SentencePiece model, which is not supported; write a tokenizer.json with transformers and "
                    "sentencepiece: PreTrainedTokenizerFast.from_pretrained(FOLDER).save_pretrained(FOLDER)",
                    path);
}

static mep_status open_file(mep_tokenizer **tokenizer, const char *path)
{
    if (ends_with(path, MODEL)) return refuse_sentencepiece(path);
    MEP_TRY(ends_with(path, VOCAB) ? open_tables(tokenizer, path) : open_json(tokenizer, path));
    mep_status status = add_tokens(tokenizer, path);
    if (status != MEP_OK) mep_tokenizer_destroy(tokenizer);
    return status;
}

/* Find the main file of a tokenizer in a folder: tokenizer.json, otherwise the only file that ends in vocab.json. */
static mep_status find_in_folder(const char *path, char **found)
{
    struct dirent *entry;
    int vocabs = 0, models = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) return mep_fail_errno("open", path);
    char name[sizeof entry->d_name] = "";
    while ((entry = readdir(folder)) != NULL && strcmp(name, JSON) != 0) {
        int is_vocab = ends_with(entry->d_name, VOCAB);
        if (strcmp(entry->d_name, JSON) == 0 || is_vocab) snprintf(name, sizeof name, "%s", entry->d_name);
        vocabs += is_vocab;
        models += strcmp(entry->d_name, MODEL) == 0;
    }
    closedir(folder);
    if (name[0] == '\0' && models > 0) return mep_format(found, "%s/%s", path, MODEL);
    if (strcmp(name, JSON) != 0 && vocabs != 1)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%s has no tokenizer.json, and not exactly one vocab.json with merges.txt; name the file",
                        path);
    return mep_format(found, "%s/%s", path, name);
}

mep_status mep_bpe_open(mep_tokenizer **tokenizer, const char *path)
{
    struct stat info;
    char *found = NULL;
    *tokenizer = NULL;
    if (stat(path, &info) != 0) return mep_fail_errno("open", path);
    if (!S_ISDIR(info.st_mode)) return open_file(tokenizer, path);
    MEP_TRY(find_in_folder(path, &found));
    mep_status status = open_file(tokenizer, found);
    mep_free(&found);
    return status;
}
