/* SPDX-License-Identifier: MIT */
/*
 * train.json: the settings of a run as a file, and the comparison of the settings of a run with those of a checkpoint
 * or of a new call.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/json_keys.h"
#include "base/memory.h"
#include "bias/position.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "model/layout.h"
#include "train/json_fields.h"
#include "train/run.h"
#include "train/run_folder.h"

/* jansson fails to create an object for these reasons only. */
static mep_status no_object(void)
{
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "cannot write the settings as JSON: a path is not UTF-8, a number not finite, or memory is short");
}

mep_status mep_run_save_json(const char *folder, const char *name, json_t *root)
{
    char *path = NULL;
    mep_status status;
    MEP_TRY_OR(status, root == NULL ? no_object() : mep_path_join(&path, folder, name), end);
    status = mep_json_save(path, root);
end:
    json_decref(root);
    mep_free(&path);
    return status;
}

/* Add the settings from "length" to "max_grad_norm". */
static void add_recipe(mep_json_fields *f, const mep_train_settings *s)
{
    mep_json_add_integer(f, "length", s->length);
    mep_json_add_integer(f, "batch_size", s->batch_size);
    mep_json_add_integer(f, "micro_batch_size", s->micro_batch_size);
    mep_json_add_integer(f, "steps", s->steps);
    mep_json_add_number(f, "learning_rate", s->learning_rate);
    mep_json_add_number(f, "min_learning_rate", s->min_learning_rate);
    mep_json_add_number(f, "warmup", s->warmup);
    mep_json_add_number(f, "beta1", s->beta1);
    mep_json_add_number(f, "beta2", s->beta2);
    mep_json_add_number(f, "eps", s->eps);
    mep_json_add_number(f, "weight_decay", s->weight_decay);
    mep_json_add_number(f, "max_grad_norm", s->max_grad_norm);
}

/* The content of train.json; NULL for the reasons of no_object(). */
static json_t *settings_json(const mep_train_settings *s, const mep_run_checksums *checksums)
{
    char seed[24];
    mep_json_fields f = mep_json_fields_begin();
    snprintf(seed, sizeof seed, "%" PRIu64, s->seed);
    mep_json_add_text(&f, "mep_version", mep_version());
    mep_json_add_text(&f, "cpu_level", mep_cpu_level_name());
    mep_json_add_text(&f, "data", s->data);
    mep_json_add_text(&f, "data_checksum", checksums->data);
    mep_json_add_text(&f, "split", s->split);
    mep_json_add_text(&f, "valid", s->valid);
    mep_json_add_text(&f, "valid_checksum", checksums->valid);
    mep_json_add_text(&f, "init", s->init);
    add_recipe(&f, s);
    mep_json_add_text(&f, "seed", seed);
    mep_json_add_text(&f, "dtype", mep_dtype_name(s->dtype));
    mep_json_add_text(&f, "device", mep_device_name(s->device));
    mep_json_add(&f, "recompute", json_boolean(s->recompute));
    mep_json_add_integer(&f, "gradient_parts", s->gradient_parts);
    mep_json_add_integer(&f, "save_every", s->save_every);
    mep_json_add_integer(&f, "keep", s->keep);
    mep_json_add_integer(&f, "valid_every", s->valid_every);
    mep_json_add_integer(&f, "valid_tokens", s->valid_tokens);
    mep_json_add_text(&f, "on_nan", mep_on_nan_name(s->on_nan));
    mep_json_add(&f, "model", mep_model_config_to_json(&s->model));
    return mep_json_fields_end(&f);
}

mep_status mep_run_write_settings(const char *run, const mep_train_settings *s, const mep_run_checksums *checksums)
{
    return mep_run_save_json(run, "train.json", settings_json(s, checksums));
}

/* Read a text that fits into out[size]. If it is missing, it is `fallback`, or an error if that is NULL. */
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

/* Read a 64-bit number that is stored as text, since not every JSON reader supports such numbers. */
static mep_status read_u64(const json_t *root, const char *file, const char *key, int base, uint64_t *out)
{
    const char *text = NULL;
    char *end = NULL;
    MEP_TRY(mep_json_get_string(root, file, key, &text));
    *out = strtoull(text, &end, base);
    if (end == text || *end != '\0') return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" is not a number", file, key);
    return MEP_OK;
}

/* Read "on_nan". Files of versions before 0.2 do not have the key; the default is stop. */
static mep_status read_on_nan(const json_t *root, const char *file, mep_on_nan *on_nan)
{
    const char *name = NULL;
    int value = MEP_NAN_STOP;
    MEP_TRY(mep_json_get_string_or(root, file, "on_nan", mep_on_nan_name(MEP_NAN_STOP), &name));
    while (mep_on_nan_name(value) != NULL && strcmp(mep_on_nan_name(value), name) != 0) value++;
    if (mep_on_nan_name(value) == NULL)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"on_nan\" must be stop, skip or dump, found \"%s\"", file, name);
    *on_nan = (mep_on_nan)value;
    return MEP_OK;
}

/* Read "device". Files of older versions do not have the key; the default is the CPU. */
static mep_status read_device(const json_t *root, const char *file, mep_device *device)
{
    const char *name = NULL;
    MEP_TRY(mep_json_get_string_or(root, file, "device", mep_device_name(MEP_DEVICE_CPU), &name));
    int found = mep_device_find(name);
    if (found < 0) return mep_fail(MEP_ERROR_FORMAT, "%s: \"device\" must be cpu or cuda, found \"%s\"", file, name);
    *device = (mep_device)found;
    return MEP_OK;
}

static mep_status parse_settings(const json_t *root, const char *file, mep_train_settings *s,
                                 mep_run_checksums *checksums)
{
    const int64_t most = INT64_MAX;
    const char *dtype = NULL;
    MEP_TRY(read_text(root, file, "data", NULL, s->data, sizeof s->data));
    MEP_TRY(read_text(root, file, "split", "", s->split, sizeof s->split)); /* not in runs before version 0.2 */
    MEP_TRY(read_text(root, file, "valid", NULL, s->valid, sizeof s->valid));
    MEP_TRY(read_text(root, file, "init", "", s->init, sizeof s->init)); /* not in runs before version 0.2 */
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
    /* not in runs before version 0.2 */
    MEP_TRY(mep_json_get_int_or(root, file, "gradient_parts", 0, most, 0, &s->gradient_parts));
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
    MEP_TRY(read_device(root, file, &s->device));
    MEP_TRY(read_on_nan(root, file, &s->on_nan));
    MEP_TRY(mep_model_config_from_json(json_object_get(root, "model"), file, &s->model));
    mep_status status = mep_train_check(s);
    return status == MEP_OK ? MEP_OK : mep_fail_in(MEP_ERROR_FORMAT, "%s: ", file);
}

/* Every key of `found` is a key of `written`. */
static mep_status check_keys(const char *file, json_t *found, json_t *written)
{
    enum { MOST = 64 };
    const char *known[MOST] = {NULL};
    int count = 0;
    for (void *at = json_object_iter(written); at != NULL && count < MOST - 1; at = json_object_iter_next(written, at))
        known[count++] = json_object_iter_key(at);
    return mep_json_check_keys(found, file, known);
}

/* A damaged key must not remove a setting or a checksum that may be missing. */
static mep_status check_all_keys(const char *file, json_t *root)
{
    static const mep_run_checksums checksums;
    mep_train_settings *settings = NULL; /* any settings have the same keys */
    MEP_TRY(MEP_ALLOC(&settings, 1));
    mep_status status = mep_train_preset("nano", settings);
    json_t *written = status == MEP_OK ? settings_json(settings, &checksums) : NULL;
    if (status == MEP_OK && written == NULL) status = no_object();
    if (status == MEP_OK) status = check_keys(file, root, written);
    json_decref(written);
    mep_free(&settings);
    return status;
}

mep_status mep_run_read_settings(const char *run, mep_train_settings *settings, mep_run_checksums *checksums)
{
    char *path = NULL;
    json_t *root = NULL;
    MEP_TRY(mep_path_join(&path, run, "train.json"));
    mep_status status = MEP_OK;
    if (!mep_file_exists(path))
        status = mep_fail(MEP_ERROR_IO, "%s: is not a run: there is no %s, which training writes first", run, path);
    if (status == MEP_OK) status = mep_json_load(path, &root);
    if (status == MEP_OK && !json_is_object(root))
        status = mep_fail(MEP_ERROR_FORMAT, "%s: must be a JSON object", path);
    if (status == MEP_OK) status = check_all_keys(path, root);
    if (status == MEP_OK) status = parse_settings(root, path, settings, checksums);
    json_decref(root);
    mep_free(&path);
    return status;
}

mep_status mep_train_read_settings(const char *run, mep_train_settings *settings)
{
    MEP_REQUIRE(run, settings);
    mep_run_checksums unused;
    return mep_run_read_settings(run, settings, &unused);
}

/* Change a member of a run's train.json. */
static mep_status change_setting(const char *run, const char *key, const char *value)
{
    char *path = NULL;
    json_t *root = NULL;
    mep_run_folder folder;
    MEP_TRY(mep_run_folder_open(&folder, run, 1));
    mep_status status = mep_path_join(&path, run, "train.json");
    if (status == MEP_OK) status = mep_json_load(path, &root);
    if (status == MEP_OK && json_object_set_new(root, key, json_string(value)) != 0) status = no_object();
    if (status == MEP_OK) status = mep_json_save(path, root);
    mep_run_folder_close(&folder);
    json_decref(root);
    mep_free(&path);
    return status;
}

mep_status mep_train_set_on_nan(const char *run, mep_on_nan on_nan)
{
    MEP_REQUIRE(run);
    mep_train_settings unused;
    if (mep_on_nan_name(on_nan) == NULL) return mep_fail(MEP_ERROR_ARGUMENT, "on_nan must be stop, skip or dump");
    MEP_TRY(mep_train_read_settings(run, &unused)); /* check the file */
    return change_setting(run, "on_nan", mep_on_nan_name(on_nan));
}

mep_status mep_train_set_device(const char *run, mep_device device)
{
    MEP_REQUIRE(run);
    mep_train_settings settings;
    MEP_TRY(mep_train_read_settings(run, &settings));
    mep_status status = mep_device_check_dtype(device, settings.dtype);
    return status == MEP_OK ? change_setting(run, "device", mep_device_name(device)) : mep_fail_in(status, "%s: ", run);
}

/* ---- Comparing ---- */

json_t *mep_run_training_json(const mep_train_settings *s)
{
    json_t *model = mep_model_config_to_json(&s->model);
    mep_json_fields f = mep_json_fields_begin();
    add_recipe(&f, s);
    mep_json_add_text(&f, "dtype", mep_dtype_name(s->dtype));
    f.failed |= json_object_update(f.object, model) != 0;
    if (s->split[0] != '\0') mep_json_add_text(&f, "split", s->split);
    if (s->gradient_parts > 1) mep_json_add_integer(&f, "gradient_parts", s->gradient_parts); /* not in older files */
    json_decref(model);
    json_object_del(f.object, "position_encoding");
    return mep_json_fields_end(&f);
}

#define TEXT_OF(x) #x
#define TEXT(macro) TEXT_OF(macro)

/* The value of a key in a message, also of one that a file leaves out. `text` receives the text of one that is set, to
 * be freed with free(). */
static const char *value_text(const char *key, const json_t *value, char **text)
{
    *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
    if (*text != NULL) return *text;
    return strcmp(key, "initializer_range") == 0 ? TEXT(MEP_INITIALIZER_RANGE) : "not set";
}

static mep_status compare_values(const char *file, const char *key, const json_t *found, const json_t *wanted)
{
    if (found != NULL && wanted != NULL && json_equal(found, wanted)) return MEP_OK;
    char *old = NULL, *new = NULL;
    mep_status status = mep_fail(MEP_ERROR_ARGUMENT,
                                 "%s: was made with %s %s, now it is %s; choose another folder, or use the old value",
                                 file, key, value_text(key, found, &old), value_text(key, wanted, &new));
    free(old);
    free(new);
    return status;
}

mep_status mep_run_compare_json(const char *file, const json_t *found, json_t *wanted)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(wanted, key, value) MEP_TRY(compare_values(file, key, json_object_get(found, key), value));
    json_object_foreach((json_t *)found, key, value)
        MEP_TRY(compare_values(file, key, value, json_object_get(wanted, key)));
    return MEP_OK;
}

mep_status mep_run_check_settings(const char *run, const mep_train_settings *wanted)
{
    mep_train_settings found;
    MEP_TRY(mep_train_read_settings(run, &found));
    json_t *a = mep_run_training_json(&found), *b = mep_run_training_json(wanted);
    mep_status status = a == NULL || b == NULL ? mep_json_out_of_memory() : mep_run_compare_json(run, a, b);
    json_decref(a);
    json_decref(b);
    if (status == MEP_OK && found.seed != wanted->seed)
        status = mep_fail(MEP_ERROR_ARGUMENT, "%s: was made with the seed %llu, now it is %llu; choose another folder",
                          run, (unsigned long long)found.seed, (unsigned long long)wanted->seed);
    int same = 0;
    if (status == MEP_OK)
        status = mep_position_specs_same(found.model.position_encoding, wanted->model.position_encoding, &same);
    if (status == MEP_OK && !same)
        status = mep_fail(MEP_ERROR_ARGUMENT,
                          "%s: was made with the encoding \"%s\", not \"%s\"; give that encoding, or move the run away",
                          run, found.model.position_encoding, wanted->model.position_encoding);
    if (status == MEP_OK && found.device != wanted->device)
        status =
            mep_fail(MEP_ERROR_ARGUMENT,
                     "%s: was made with device \"%s\", now it is \"%s\"; choose another folder, or use the old device",
                     run, mep_device_name(found.device), mep_device_name(wanted->device));
    return status;
}
