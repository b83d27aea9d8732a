/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing run folders.
 */
#include "train/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/safetensors.h"

enum { TOKENIZER_LIMIT = 1 << 28 };
static const char TOKENIZER[] = "tokenizer.json";

/* jansson has no other reasons to make no object. */
static mep_status no_object(void)
{
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "cannot write the settings as JSON: a path is not UTF-8, a number not finite, or memory is short");
}

/* Save `root` as folder/name and release it; NULL is out of memory. */
static mep_status save_json(const char *folder, const char *name, json_t *root)
{
    char *path = NULL;
    mep_status status = root == NULL ? no_object() : mep_path_join(&path, folder, name);
    if (status == MEP_OK) status = mep_json_save(path, root);
    json_decref(root);
    mep_free(&path);
    return status;
}

mep_status mep_run_write_settings(const char *run, const mep_train_settings *s, const mep_run_checksums *checksums)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, s->seed);
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
                  "s:f, s:s, s:s, s:b, "
                  "s:I, s:I, s:I, s:I, s:o}",
                  "mep_version", mep_version(), "cpu_level", mep_cpu_level_name(), "data", s->data, "data_checksum",
                  checksums->data, "split", s->split, "valid", s->valid, "valid_checksum", checksums->valid, "init",
                  s->init, "length", (json_int_t)s->length, "batch_size", (json_int_t)s->batch_size, "micro_batch_size",
                  (json_int_t)s->micro_batch_size, "steps", (json_int_t)s->steps, "learning_rate", s->learning_rate,
                  "min_learning_rate", s->min_learning_rate, "warmup", s->warmup, "beta1", s->beta1, "beta2", s->beta2,
                  "eps", s->eps, "weight_decay", s->weight_decay, "max_grad_norm", s->max_grad_norm, "seed", seed,
                  "dtype", mep_dtype_name(s->dtype), "recompute", s->recompute, "save_every", (json_int_t)s->save_every,
                  "keep", (json_int_t)s->keep, "valid_every", (json_int_t)s->valid_every, "valid_tokens",
                  (json_int_t)s->valid_tokens, "model", mep_model_config_to_json(&s->model));
    return save_json(run, "train.json", root);
}

/* A text that fits out[size]; `fallback` where it is missing, unless that is NULL. */
static mep_status read_text(const json_t *root, const char *file, const char *key, const char *fallback, char *out,
                            size_t size)
{
    const char *text = NULL;
    if (fallback == NULL)
        MEP_TRY(mep_json_get_string(root, file, key, &text));
    else
        MEP_TRY(mep_json_get_string_or(root, file, key, fallback, &text));
    if (strlen(text) >= size) return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" is too long", file, key);
    snprintf(out, size, "%s", text);
    return MEP_OK;
}

/* A 64-bit number that is kept as text, since JSON's numbers are not that wide everywhere. */
static mep_status read_u64(const json_t *root, const char *file, const char *key, int base, uint64_t *out)
{
    const char *text = NULL;
    char *end = NULL;
    MEP_TRY(mep_json_get_string(root, file, key, &text));
    *out = strtoull(text, &end, base);
    if (end == text || *end != '\0') return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" is not a number", file, key);
    return MEP_OK;
}

static mep_status parse_settings(const json_t *root, const char *file, mep_train_settings *s,
                                 mep_run_checksums *checksums)
{
    const int64_t most = INT64_MAX;
    const char *dtype = NULL;
    MEP_TRY(read_text(root, file, "data", NULL, s->data, sizeof s->data));
    MEP_TRY(read_text(root, file, "split", "", s->split, sizeof s->split)); /* runs before version 0.2 have none */
    MEP_TRY(read_text(root, file, "valid", NULL, s->valid, sizeof s->valid));
    MEP_TRY(read_text(root, file, "init", "", s->init, sizeof s->init)); /* neither */
    MEP_TRY(read_text(root, file, "data_checksum", NULL, checksums->data, sizeof checksums->data));
    MEP_TRY(read_text(root, file, "valid_checksum", NULL, checksums->valid, sizeof checksums->valid));
    MEP_TRY(read_u64(root, file, "seed", 10, &s->seed));
    const struct {
        const char *key;
        int64_t *to;
    } integers[] = {{"length", &s->length},
                    {"batch_size", &s->batch_size},
                    {"micro_batch_size", &s->micro_batch_size},
                    {"steps", &s->steps},
                    {"save_every", &s->save_every},
                    {"keep", &s->keep},
                    {"valid_every", &s->valid_every},
                    {"valid_tokens", &s->valid_tokens}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        MEP_TRY(mep_json_get_int(root, file, integers[i].key, 0, most, integers[i].to));
    const struct {
        const char *key;
        double *to;
    } numbers[] = {{"learning_rate", &s->learning_rate},
                   {"min_learning_rate", &s->min_learning_rate},
                   {"warmup", &s->warmup},
                   {"beta1", &s->beta1},
                   {"beta2", &s->beta2},
                   {"eps", &s->eps},
                   {"weight_decay", &s->weight_decay},
                   {"max_grad_norm", &s->max_grad_norm}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        MEP_TRY(mep_json_get_number(root, file, numbers[i].key, 0, 1e300, numbers[i].to));
    MEP_TRY(mep_json_get_bool(root, file, "recompute", &s->recompute));
    MEP_TRY(mep_json_get_string(root, file, "dtype", &dtype));
    if (strcmp(dtype, "float32") != 0 && strcmp(dtype, "bfloat16") != 0)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"dtype\" must be float32 or bfloat16, found \"%s\"", file, dtype);
    s->dtype = strcmp(dtype, "float32") == 0 ? MEP_FLOAT32 : MEP_BFLOAT16;
    MEP_TRY(mep_model_config_from_json(json_object_get(root, "model"), file, &s->model));
    mep_status status = mep_train_check(s);
    return status == MEP_OK ? MEP_OK : mep_fail_in(MEP_ERROR_FORMAT, "%s: ", file);
}

mep_status mep_run_read_settings(const char *run, mep_train_settings *settings, mep_run_checksums *checksums)
{
    char *path = NULL;
    json_t *root = NULL;
    MEP_TRY(mep_path_join(&path, run, "train.json"));
    mep_status status = mep_json_load(path, &root);
    if (status == MEP_OK && !json_is_object(root))
        status = mep_fail(MEP_ERROR_FORMAT, "%s: must hold a JSON object", path);
    if (status == MEP_OK) status = parse_settings(root, path, settings, checksums);
    json_decref(root);
    mep_free(&path);
    return status;
}

mep_status mep_train_read_settings(const char *run, mep_train_settings *settings)
{
    mep_run_checksums unused;
    return mep_run_read_settings(run, settings, &unused);
}

mep_status mep_train_steps_done(const char *run, int64_t *steps)
{
    char *path = NULL;
    MEP_TRY(mep_checkpoint_latest(run, &path, steps));
    if (path == NULL) *steps = 0;
    mep_free(&path);
    return MEP_OK;
}

/* ---- The tokenizer ---- */

static mep_status copy_file(const char *from, const char *folder, const char *name)
{
    char *path = NULL, *data = NULL;
    int64_t size = 0;
    mep_status status = mep_file_read(from, TOKENIZER_LIMIT, &data, &size);
    if (status == MEP_OK) status = mep_path_join(&path, folder, name);
    if (status == MEP_OK) status = mep_file_write_atomic(path, data, size);
    mep_free(&data);
    mep_free(&path);
    return status;
}

mep_status mep_run_write_tokenizer(const char *run, const mep_dataset *data)
{
    mep_tokenizer *tokenizer = NULL;
    char *path = NULL;
    int64_t size = 0;
    if (mep_dataset_tokenizer(data)[0] == '\0') return MEP_OK;
    MEP_TRY(mep_tokenizer_open(&tokenizer, mep_dataset_tokenizer(data)));
    const char *json = mep_tokenizer_json(tokenizer, &size);
    mep_status status = json == NULL ? MEP_OK : mep_path_join(&path, run, TOKENIZER);
    if (json != NULL && status == MEP_OK) status = mep_file_write_atomic(path, json, size);
    mep_tokenizer_destroy(&tokenizer);
    mep_free(&path);
    return status;
}

/* The run's tokenizer, where it has one, into a checkpoint. */
static mep_status save_tokenizer(const char *run, const char *folder)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, run, TOKENIZER));
    mep_status status = mep_file_exists(path) ? copy_file(path, folder, TOKENIZER) : MEP_OK;
    mep_free(&path);
    return status;
}

/* ---- Checkpoints ---- */

/* The optimizer's moments as two tensors, "m" and "v". */
static void moment_tensors(const mep_adamw *o, mep_tensor tensors[2])
{
    for (int i = 0; i < 2; i++) {
        tensors[i] = (mep_tensor){.dtype = MEP_FLOAT32, .ndim = 1, .shape = {o->size}, .size = o->size};
        tensors[i].name[0] = i == 0 ? 'm' : 'v';
        tensors[i].data = i == 0 ? o->m : o->v;
    }
}

mep_status mep_run_save(const char *run, const mep_model *model, const mep_adamw *o, int64_t keep)
{
    char *folder = NULL, *path = NULL;
    mep_tensor moments[2];
    moment_tensors(o, moments);
    mep_status status = mep_checkpoint_begin(run, o->step, &folder);
    if (status == MEP_OK) status = mep_model_save(model, folder);
    if (status == MEP_OK) status = save_tokenizer(run, folder);
    if (status == MEP_OK) status = mep_path_join(&path, folder, "optimizer.safetensors");
    if (status == MEP_OK) status = mep_safetensors_write(path, moments, 2, NULL, 0);
    if (status == MEP_OK) status = save_json(folder, "state.json", json_pack("{s:I}", "step", (json_int_t)o->step));
    if (status == MEP_OK) status = mep_checkpoint_commit(run, o->step, keep);
    mep_free(&path);
    mep_free(&folder);
    return status;
}

static mep_status load_checkpoint(const char *folder, mep_model *model, mep_adamw *o)
{
    char *path = NULL;
    mep_model *saved = NULL;
    mep_safetensors *file = NULL;
    mep_tensor moments[2];
    moment_tensors(o, moments);
    mep_status status = mep_model_load(&saved, folder);
    if (status == MEP_OK && (saved->size != model->size || saved->count != model->count))
        status = mep_fail(MEP_ERROR_FORMAT, "%s: has another shape than the model of train.json", folder);
    if (status == MEP_OK) memcpy(model->values, saved->values, (size_t)model->size * sizeof *model->values);
    if (status == MEP_OK) status = mep_path_join(&path, folder, "optimizer.safetensors");
    if (status == MEP_OK) status = mep_safetensors_open(&file, path);
    for (int i = 0; i < 2 && status == MEP_OK; i++)
        status = mep_safetensors_read(file, moments[i].name, MEP_FLOAT32, 1, moments[i].shape, moments[i].data);
    mep_safetensors_close(&file);
    mep_model_destroy(&saved);
    mep_free(&path);
    return status;
}

mep_status mep_run_load(const char *run, mep_model *model, mep_adamw *o)
{
    char *folder = NULL;
    int64_t step = 0;
    MEP_TRY(mep_checkpoint_latest(run, &folder, &step));
    mep_status status = folder == NULL ? MEP_OK : load_checkpoint(folder, model, o);
    if (folder != NULL && status == MEP_OK) o->step = step;
    mep_free(&folder);
    return status;
}

mep_status mep_run_log(const char *run, const mep_train_progress *p)
{
    char *path = NULL;
    json_t *root = json_pack("{s:I, s:f, s:f, s:f, s:f}", "step", (json_int_t)p->step, "loss", p->loss, "learning_rate",
                             p->learning_rate, "grad_norm", p->grad_norm, "tokens_per_second", p->tokens_per_second);
    if (root != NULL && isfinite(p->valid_loss)) json_object_set_new(root, "valid_loss", json_real(p->valid_loss));
    char *line = root != NULL ? json_dumps(root, JSON_REAL_PRECISION(9)) : NULL;
    mep_status status = line == NULL ? no_object() : mep_path_join(&path, run, "metrics.jsonl");
    if (status == MEP_OK) status = mep_file_append_line(path, line);
    mep_free(&path);
    free(line);
    json_decref(root);
    return status;
}

mep_status mep_run_trim_log(const char *run, int64_t steps)
{
    const int64_t most = (int64_t)1 << 34;
    char *path = NULL, *text = NULL;
    int64_t size = 0, kept = 0;
    MEP_TRY(mep_path_join(&path, run, "metrics.jsonl"));
    mep_status status = MEP_OK;
    if (mep_file_exists(path)) {
        status = mep_file_read(path, most, &text, &size);
        const char *end = NULL;
        while (status == MEP_OK && kept < size && (end = memchr(text + kept, '\n', (size_t)(size - kept))) != NULL) {
            long long step = 0; /* a line that was torn by a crash has no end or no step */
            if (sscanf(text + kept, "{\"step\": %lld,", &step) != 1 || step > steps) break;
            kept = end - text + 1;
        }
        if (status == MEP_OK && kept < size) status = mep_file_write_atomic(path, text, kept);
    }
    mep_free(&text);
    mep_free(&path);
    return status;
}
