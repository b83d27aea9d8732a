/* SPDX-License-Identifier: MIT */
/*
 * The files of a study: study.json, which prevents different studies in one folder, and the eval.json of each run.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_keys.h"
#include "base/memory.h"
#include "bias/position.h"
#include "eval/measure_draft.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "mep/device.h"
#include "train/json_fields.h"
#include "train/study_internal.h"

/* ---- study.json ---- */

/* {NAME: {"train": checksum, "valid": checksum}, ...} */
static json_t *corpora_json(const mep_study_settings *s, const mep_study_corpus *corpora)
{
    json_t *root = json_object();
    for (int64_t i = 0; root != NULL && i < s->corpus_count; i++) {
        char name[MEP_DATA_SIZE];
        const mep_run_checksums *c = &corpora[i].checksums;
        json_t *entry = json_pack("{s:s, s:s}", "train", c->data, "valid", c->valid);
        if (mep_study_corpus_name(s, i, name) != MEP_OK || json_object_set_new(root, name, entry) != 0) {
            json_decref(root);
            return NULL;
        }
    }
    return root;
}

/* Both have the same corpora with the same data, in any order. */
static mep_status compare_corpora(const char *file, json_t *found, json_t *wanted)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(wanted, name, value)
    {
        const json_t *other = json_object_get(found, name);
        if (other == NULL)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: this study has no corpus \"%s\"; choose another folder", file,
                            name);
        if (!json_equal(other, value))
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: the data of \"%s\" has changed; bring it back, or choose another folder", file, name);
    }
    json_object_foreach(found, name, value)
    {
        if (json_object_get(wanted, name) == NULL)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: this study also has the corpus \"%s\"; name it too, or choose another folder", file,
                            name);
    }
    return MEP_OK;
}

/* Compare a text that study.json has under `key`. A file without the key was written with the value `missing`. */
static mep_status compare_text(const char *file, const json_t *found, const char *key, const char *missing,
                               const char *wanted)
{
    const char *text = NULL;
    MEP_TRY(mep_json_get_string_or(found, file, key, missing, &text));
    if (strcmp(text, wanted) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "%s: was made with %s \"%s\", now it is \"%s\"; choose another folder, or use the old value", file,
                    key, text, wanted);
}

/* Two encodings must not share a folder. */
static mep_status check_folders(const char *path, const json_t *found, const mep_study_settings *s)
{
    const json_t *value = NULL;
    size_t index = 0;
    json_array_foreach(json_object_get(found, "encodings"), index, value)
    {
        char old[MEP_STUDY_NAME], new[MEP_STUDY_NAME];
        const char *spec = json_string_value(value);
        for (int64_t i = 0; spec != NULL && i < s->encoding_count; i++) {
            mep_study_encoding_name(spec, old);
            mep_study_encoding_name(s->encodings[i], new);
            if (strcmp(old, new) != 0) continue;
            int same = 0;
            MEP_TRY(mep_position_specs_same(spec, s->encodings[i], &same));
            if (!same)
                return mep_fail(MEP_ERROR_ARGUMENT,
                                "%s: the encodings \"%s\" and \"%s\" would share the folder %s; choose another folder",
                                path, spec, s->encodings[i], new);
        }
    }
    return MEP_OK;
}

/* Compare study.json with the settings, and add to its lists. */
static mep_status continue_study(const char *path, const char *folder, const json_t *wanted,
                                 const mep_study_settings *s)
{
    static const char *const keys[] = {"mep_version", "corpora", "init",    "device",   "training",
                                       "encodings",   "seeds",   "lengths", "measures", "measure_settings",
                                       "gaps",        "depths",  NULL};
    json_t *found = NULL;
    int changed = 0;
    MEP_TRY(mep_json_load(path, &found));
    json_t *corpora = json_object_get(wanted, "corpora"), *training = json_object_get(found, "training");
    mep_status status;
    MEP_TRY_OR(status, mep_json_check_keys(found, path, keys), end);
    MEP_TRY_OR(status, compare_corpora(path, json_object_get(found, "corpora"), corpora), end);
    MEP_TRY_OR(status, mep_run_compare_json(path, training, json_object_get(wanted, "training")), end);
    MEP_TRY_OR(status, compare_text(path, found, "init", "", s->train.init), end);
    MEP_TRY_OR(status, compare_text(path, found, "device", "cpu", mep_device_name(s->train.device)), end);
    MEP_TRY_OR(status, check_folders(path, found, s), end);
    MEP_TRY_OR(status, mep_study_lists_add(found, folder, s, &changed), end);
    if (changed) status = mep_json_save(path, found);
end:
    json_decref(found);
    return status;
}

/* A run and a study cannot be in the same folder. */
static mep_status check_no_run(const char *folder)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, "train.json"));
    mep_status status = MEP_OK;
    if (mep_file_exists(path))
        status = mep_fail(MEP_ERROR_ARGUMENT, "%s: is the folder of a run; choose another folder", folder);
    mep_free(&path);
    return status;
}

/* What all runs have in common; NULL if memory is short. */
static json_t *study_json(const mep_study_settings *s, const mep_study_corpus *corpora, const mep_train_settings *run)
{
    return json_pack("{s:s, s:o, s:s, s:s, s:o}", "mep_version", mep_version(), "corpora", corpora_json(s, corpora),
                     "init", s->train.init, "device", mep_device_name(s->train.device), "training",
                     mep_run_training_json(run));
}

/* Write study.json, or continue with the existing one. The folder is locked. */
static mep_status write_or_continue(const char *folder, const mep_study_settings *s, const mep_study_corpus *corpora)
{
    char *path = NULL;
    int changed = 0;
    mep_train_settings run;
    MEP_TRY(mep_study_run_settings(s, 0, 0, 0, &run));
    json_t *root = study_json(s, corpora, &run);
    mep_status status = root == NULL ? mep_json_out_of_memory() : mep_path_join(&path, folder, "study.json");
    if (status == MEP_OK && mep_file_exists(path)) {
        status = continue_study(path, folder, root, s);
    } else if (status == MEP_OK) {
        status = mep_study_lists_add(root, folder, s, &changed);
        if (status == MEP_OK) status = mep_json_save(path, root);
    }
    mep_free(&path);
    json_decref(root);
    return status;
}

mep_status mep_study_open_folder(const char *folder, const mep_study_settings *s, const mep_study_corpus *corpora,
                                 mep_run_folder *opened)
{
    MEP_TRY(check_no_run(folder));
    MEP_TRY(mep_make_folder(folder, 1));
    MEP_TRY(mep_run_folder_open(opened, folder, 1));
    mep_status status = write_or_continue(folder, s, corpora);
    if (status != MEP_OK) mep_run_folder_close(opened);
    return status;
}

mep_status mep_study_dtype(const char *folder, mep_dtype *dtype)
{
    MEP_REQUIRE(folder, dtype);
    char *path = NULL;
    json_t *root = NULL;
    const char *name = NULL;
    MEP_TRY(mep_path_join(&path, folder, "study.json"));
    mep_status status = mep_file_exists(path) ? mep_json_load(path, &root) : MEP_OK;
    if (status == MEP_OK && root != NULL)
        status = mep_json_get_string(json_object_get(root, "training"), path, "dtype", &name);
    if (name != NULL) *dtype = strcmp(name, mep_dtype_name(MEP_BFLOAT16)) == 0 ? MEP_BFLOAT16 : MEP_FLOAT32;
    json_decref(root);
    mep_free(&path);
    return status;
}

/* ---- eval.json ---- */

/* An evaluation without results. The CPU is not named, as in files of versions without devices. */
static json_t *empty_eval(const mep_eval_settings *e, int64_t steps)
{
    mep_json_fields settings = mep_json_fields_begin(), f = mep_json_fields_begin();
    mep_json_add_integer(&settings, "steps", steps);
    mep_json_add_integer(&settings, "stride", e->stride);
    mep_json_add_integer(&settings, "last", e->last);
    mep_json_add_integer(&settings, "max_tokens", e->max_tokens);
    mep_json_add_text(&settings, "dtype", mep_dtype_name(e->dtype));
    mep_json_add_number(&settings, "tolerance", e->tolerance);
    if (e->device != MEP_DEVICE_CPU) mep_json_add_text(&settings, "device", mep_device_name(e->device));
    mep_json_add(&f, "settings", mep_json_fields_end(&settings));
    mep_json_add_text(&f, "mep_version", mep_version());
    mep_json_add_text(&f, "cpu_level", mep_cpu_level_name());
    mep_json_add(&f, "results", json_array());
    return mep_json_fields_end(&f);
}

/* Refuse unknown keys: with a damaged key, its value would be missing in silence. */
static mep_status check_eval_keys(json_t *eval, const char *path)
{
    static const char *const keys[] = {"settings", "mep_version", "cpu_level", "results", NULL},
                             *const settings[] = {"steps", "stride",    "last",   "max_tokens",
                                                  "dtype", "tolerance", "device", NULL},
                             *const results[] = {"length",         "segments", "tokens",  "loss", "perplexity",
                                                 "standard_error", "seconds",  "samples", NULL};
    json_t *row = NULL;
    size_t index = 0;
    json_t *found = json_object_get(eval, "settings");
    MEP_TRY(mep_json_check_keys(eval, path, keys));
    MEP_TRY(mep_json_check_keys(found, path, settings));
    if (found != NULL && !json_is_array(json_object_get(eval, "results")))
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"results\" must be an array; remove the file to evaluate again", path);
    json_array_foreach(json_object_get(eval, "results"), index, row) MEP_TRY(mep_json_check_keys(row, path, results));
    return MEP_OK;
}

/* Load eval.json; *found is NULL if there is none. */
static mep_status load_eval(const char *run, json_t **found)
{
    char *path = NULL;
    *found = NULL;
    MEP_TRY(mep_path_join(&path, run, "eval.json"));
    mep_status status = mep_file_exists(path) ? mep_json_load(path, found) : MEP_OK;
    if (status == MEP_OK && *found != NULL) status = check_eval_keys(*found, path);
    mep_free(&path);
    return status;
}

static int has_settings(const json_t *found, const json_t *wanted)
{
    return json_equal(json_object_get(found, "settings"), json_object_get(wanted, "settings"));
}

mep_status mep_study_eval_read(const char *run, const mep_eval_settings *settings, int64_t steps, json_t **eval)
{
    json_t *found = NULL;
    *eval = empty_eval(settings, steps);
    mep_status status = *eval == NULL ? mep_json_out_of_memory() : load_eval(run, &found);
    if (status == MEP_OK && found != NULL && has_settings(found, *eval)) {
        json_decref(*eval);
        *eval = json_incref(found);
    }
    if (status != MEP_OK) {
        json_decref(*eval);
        *eval = NULL;
    }
    json_decref(found);
    return status;
}

mep_status mep_study_eval_find(const json_t *eval, const char *run, int64_t length, mep_eval_result *result)
{
    const json_t *row = NULL;
    size_t index = 0;
    *result = (mep_eval_result){0};
    json_array_foreach(json_object_get(eval, "results"), index, row)
    {
        mep_eval_result r = {0};
        char file[MEP_PATH_SIZE + 16];
        snprintf(file, sizeof file, "%s/eval.json", run);
        MEP_TRY(mep_json_get_int(row, file, "length", 1, INT64_MAX, &r.length));
        if (r.length != length) continue;
        MEP_TRY(mep_json_get_int(row, file, "segments", 1, INT64_MAX, &r.segments));
        MEP_TRY(mep_json_get_int(row, file, "tokens", 1, INT64_MAX, &r.tokens));
        MEP_TRY(mep_json_get_number_or(row, file, "loss", 0, 1e300, NAN, &r.loss));
        MEP_TRY(mep_json_get_number_or(row, file, "standard_error", 0, 1e300, NAN, &r.standard_error));
        MEP_TRY(mep_json_get_number(row, file, "seconds", 0, 1e300, &r.seconds));
        r.perplexity = exp(r.loss);
        *result = r;
        return MEP_OK;
    }
    return MEP_OK;
}

mep_status mep_study_eval_samples(const json_t *eval, const char *run, int64_t length, double **samples, int64_t *count)
{
    const json_t *row = NULL, *value = NULL, *array = NULL;
    size_t index = 0;
    json_int_t segments = 0;
    *samples = NULL;
    *count = -1;
    json_array_foreach(json_object_get(eval, "results"), index, row)
    {
        if (json_integer_value(json_object_get(row, "length")) != length) continue;
        array = json_object_get(row, "samples");
        segments = json_integer_value(json_object_get(row, "segments"));
        break;
    }
    if (array == NULL) return MEP_OK;
    json_int_t size = (json_int_t)json_array_size(array);
    *count = 0;
    if (json_is_array(array) && size == 0) return MEP_OK;
    int is_good = json_is_array(array) && size <= segments;
    json_array_foreach(array, index, value) is_good &= json_is_number(value);
    if (!is_good)
        return mep_fail(MEP_ERROR_FORMAT, "%s/eval.json: \"samples\" must be an array of up to %lld numbers", run,
                        (long long)segments);
    MEP_TRY(MEP_ALLOC(samples, size));
    json_array_foreach(array, index, value)(*samples)[index] = json_number_value(value);
    *count = mep_measure_group_samples(*samples, size, MEP_STUDY_SAMPLES); /* older files have more */
    return MEP_OK;
}

/* Remove the result of a length, if there is one. */
static void remove_result(json_t *eval, int64_t length)
{
    json_t *results = json_object_get(eval, "results");
    for (size_t i = json_array_size(results); i-- > 0;)
        if (json_integer_value(json_object_get(json_array_get(results, i), "length")) == length)
            (void)json_array_remove(results, i);
}

static json_t *samples_json(const double *samples, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        if (json_array_append_new(array, json_real(samples[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

mep_status mep_study_eval_add(json_t *eval, const char *run, const mep_eval_result *r, double *samples)
{
    char *path = NULL;
    mep_json_fields f = mep_json_fields_begin();
    mep_json_add_integer(&f, "length", r->length);
    mep_json_add_integer(&f, "segments", r->segments);
    mep_json_add_integer(&f, "tokens", r->tokens);
    mep_json_add_finite(&f, "loss", r->loss);
    mep_json_add_finite(&f, "perplexity", r->perplexity);
    mep_json_add_finite(&f, "standard_error", r->standard_error);
    mep_json_add_number(&f, "seconds", r->seconds);
    int64_t count = samples != NULL ? mep_measure_group_samples(samples, r->segments, MEP_STUDY_SAMPLES) : 0;
    mep_json_add(&f, "samples", samples_json(samples, count));
    json_t *row = mep_json_fields_end(&f);
    remove_result(eval, r->length);
    if (row == NULL || json_array_append_new(json_object_get(eval, "results"), row) != 0)
        return mep_json_out_of_memory();
    MEP_TRY(mep_path_join(&path, run, "eval.json"));
    mep_status status = mep_json_save(path, eval);
    mep_free(&path);
    return status;
}
