/* SPDX-License-Identifier: MIT */
/*
 * Writes tokenizer.json, tokenizer_config.json and generation_config.json of an exported model.
 */
#include "cli/export_tokenizer.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/model_tokenizer.h"
#include "io/files.h"
#include "io/json.h"

typedef struct tokenizer_job {
    const mep_tokenizer *tokenizer;
    const char *folder;
    int64_t vocab_size; /* of the model */
} tokenizer_job;

static mep_status no_memory(const char *path)
{
    return mep_fail(MEP_ERROR_MEMORY, "cannot allocate %s", path);
}

/* Write tokenizer.json, unless it was copied. */
static mep_status write_json(const tokenizer_job *job, const char *path)
{
    int64_t size = 0;
    char *json = NULL;
    if (mep_file_exists(path)) return MEP_OK;
    MEP_TRY(mep_tokenizer_to_json(job->tokenizer, &json, &size));
    mep_status status = mep_file_write_atomic(path, json, size);
    mep_text_free(&json);
    return status;
}

/* The name of the token that ends a document if it is a special token of tokenizer.json: to name any other token would
 * change ids. NULL if there is none. The text belongs to `root`. */
static const char *end_name(const json_t *root, int32_t token)
{
    size_t i;
    json_t *added;
    json_array_foreach(json_object_get(root, "added_tokens"), i,
                       added) if (json_integer_value(json_object_get(added, "id")) == token &&
                                  json_is_true(json_object_get(
                                      added, "special"))) return json_string_value(json_object_get(added, "content"));
    return NULL;
}

/* 1 if tokenizer_config.json names a class that reads tokenizer.json as it is. The classes of Llama and Gemma replace
 * its normalizer, pre_tokenizer and decoder by their own. */
static int has_class(const json_t *config)
{
    const json_t *name = json_object_get(config, "tokenizer_class");
    const char *text = json_string_value(name);
    if (text == NULL) return name != NULL;
    return strstr(text, "LlamaTokenizer") == NULL && strstr(text, "GemmaTokenizer") == NULL;
}

/* Write tokenizer_config.json. Without a class transformers uses that of the model's type, which replaces the
 * normalizer and the pattern of tokenizer.json by its own. */
static mep_status write_config(const tokenizer_job *job, const char *path, const char *json_path)
{
    json_t *root = NULL, *tokenizer = NULL;
    if (mep_file_exists(path)) MEP_TRY(mep_json_load(path, &root));
    if (root != NULL && (!json_is_object(root) || has_class(root))) {
        json_decref(root);
        return MEP_OK;
    }
    if (root == NULL) root = json_object();
    mep_status status = mep_json_load(json_path, &tokenizer);
    const char *end = end_name(tokenizer, mep_tokenizer_end_of_document(job->tokenizer));
    int failed = root == NULL || json_object_set_new(root, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    if (!failed && json_object_get(root, "clean_up_tokenization_spaces") == NULL)
        failed = json_object_set_new(root, "clean_up_tokenization_spaces", json_false());
    if (!failed && end != NULL && json_object_get(root, "eos_token") == NULL)
        failed = json_object_set_new(root, "eos_token", json_string(end));
    if (status == MEP_OK) status = failed ? no_memory(path) : mep_json_save(path, root);
    json_decref(tokenizer);
    json_decref(root);
    return status;
}

/* Write generation_config.json, unless it was copied: transformers' generate() stops at this token. */
static mep_status write_end(const tokenizer_job *job, const char *path)
{
    int32_t end = mep_tokenizer_end_of_document(job->tokenizer);
    if (mep_file_exists(path) || end >= job->vocab_size) return MEP_OK;
    json_t *root = json_pack("{s:i}", "eos_token_id", (int)end);
    mep_status status = root != NULL ? mep_json_save(path, root) : no_memory(path);
    json_decref(root);
    return status;
}

static mep_status write_files(const tokenizer_job *job)
{
    char *json = NULL, *config = NULL, *end = NULL;
    mep_status status = mep_path_join(&json, job->folder, "tokenizer.json");
    if (status == MEP_OK) status = mep_path_join(&config, job->folder, "tokenizer_config.json");
    if (status == MEP_OK) status = mep_path_join(&end, job->folder, "generation_config.json");
    if (status == MEP_OK) status = write_json(job, json);
    if (status == MEP_OK) status = write_config(job, config, json);
    if (status == MEP_OK) status = write_end(job, end);
    mep_free(&json);
    mep_free(&config);
    mep_free(&end);
    return status;
}

mep_status mep_cli_export_tokenizer(const mep_model *model, const char *from, const char *out)
{
    mep_tokenizer *tokenizer = NULL;
    int64_t vocab_size = mep_model_get_config(model)->vocab_size;
    MEP_TRY(mep_cli_model_tokenizer(from, vocab_size, &tokenizer));
    if (tokenizer == NULL) return MEP_OK;
    tokenizer_job job = {.tokenizer = tokenizer, .folder = out, .vocab_size = vocab_size};
    mep_status status = write_files(&job);
    mep_tokenizer_destroy(&tokenizer);
    return status;
}
