/* SPDX-License-Identifier: MIT */
/*
 * One or several safetensors files: opening, finding a tensor, and writing.
 */
#include "io/weights.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/json.h"

enum { MOST_SHARDS = 4096 };
static const char ONE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";

/* ---- Reading ---- */

static mep_status exists(const char *folder, const char *name, int *found)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *found = mep_file_exists(path);
    mep_free(&path);
    return MEP_OK;
}

mep_status mep_weights_exist(const char *folder, int *found)
{
    MEP_TRY(exists(folder, ONE, found));
    return *found ? MEP_OK : exists(folder, INDEX, found);
}

/* Open folder/name as one more file. */
static mep_status add_file(mep_weights *w, const char *folder, const char *name)
{
    char *path = NULL;
    MEP_TRY(MEP_GROW(&w->files, w->count, w->count + 1));
    w->files[w->count] = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    mep_status status = mep_safetensors_open(&w->files[w->count], path);
    mep_free(&path);
    if (status == MEP_OK) w->count++;
    return status;
}

/* Whether a name is that of a file in the folder itself, not a path. */
static int is_plain_name(const char *name)
{
    return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) < 256;
}

static mep_status add_shard(mep_weights *w, const char *folder, const char *name)
{
    int found = 0;
    MEP_TRY(exists(folder, name, &found));
    if (found) return add_file(w, folder, name);
    return mep_fail(MEP_ERROR_IO, "%s: %s is missing, which %s names; fetch or write the folder again", folder, name,
                    INDEX);
}

/* Open the file that the index names for a tensor, unless it is open, and check that it has the tensor. seen: {file:
 * its number}. */
static mep_status open_shard_of(mep_weights *w, const char *folder, json_t *seen, const char *tensor,
                                const json_t *value)
{
    const char *name = json_string_value(value);
    const json_t *number = name != NULL ? json_object_get(seen, name) : NULL;
    if (!is_plain_name(name) || (number == NULL && w->count == MOST_SHARDS))
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"weight_map\" must name files of its folder, %d at most", w->path,
                        MOST_SHARDS);
    if (number == NULL) {
        MEP_TRY(add_shard(w, folder, name));
        if (json_object_set_new(seen, name, json_integer(w->count - 1)) != 0)
            return mep_fail(MEP_ERROR_MEMORY, "cannot list the files of %s: memory is out", w->path);
        number = json_object_get(seen, name);
    }
    if (mep_safetensors_find(w->files[json_integer_value(number)], tensor) != NULL) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: names a tensor that %s does not have; is the download complete?", w->path,
                    name);
}

/* Open every file that the index names; each tensor must be in the file that the index names for it. */
static mep_status open_shards(mep_weights *w, const char *folder, const json_t *map)
{
    const char *tensor;
    json_t *value, *seen = json_object();
    mep_status status = MEP_OK;
    if (!json_is_object(map)) status = mep_fail(MEP_ERROR_FORMAT, "%s: has no object \"weight_map\"", w->path);
    json_object_foreach((json_t *)map, tensor, value)
    {
        status = open_shard_of(w, folder, seen, tensor, value);
        if (status != MEP_OK) break;
    }
    json_decref(seen);
    MEP_TRY(status);
    if (mep_weights_tensors(w) == (int64_t)json_object_size(map)) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: names %lld tensors, its files have %lld", w->path,
                    (long long)json_object_size(map), (long long)mep_weights_tensors(w));
}

mep_status mep_weights_open(mep_weights *w, const char *folder)
{
    int one = 0;
    json_t *index = NULL;
    mep_status status = MEP_OK;
    *w = (mep_weights){.path = NULL};
    MEP_TRY(exists(folder, ONE, &one));
    MEP_TRY_OR(status, mep_path_join(&w->path, folder, one ? ONE : INDEX), done);
    if (one) {
        status = add_file(w, folder, ONE);
    } else {
        MEP_TRY_OR(status, mep_json_load(w->path, &index), done);
        status = open_shards(w, folder, json_object_get(index, "weight_map"));
    }
done:
    json_decref(index);
    if (status != MEP_OK) mep_weights_close(w);
    return status;
}

void mep_weights_close(mep_weights *w)
{
    for (int64_t i = 0; i < w->count; i++) mep_safetensors_close(&w->files[i]);
    mep_free(&w->files);
    mep_free(&w->path);
    w->count = 0;
}

int64_t mep_weights_tensors(const mep_weights *w)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < w->count; i++) sum += mep_safetensors_count(w->files[i]);
    return sum;
}

const mep_safetensors_entry *mep_weights_find(const mep_weights *w, const char *name, const mep_safetensors **file)
{
    for (int64_t i = 0; i < w->count; i++) {
        const mep_safetensors_entry *entry = mep_safetensors_find(w->files[i], name);
        if (entry == NULL) continue;
        *file = w->files[i];
        return entry;
    }
    return NULL;
}

const mep_safetensors_entry *mep_weights_get(const mep_weights *w, int64_t index)
{
    for (int64_t i = 0; i < w->count; i++) {
        int64_t count = mep_safetensors_count(w->files[i]);
        if (index < count) return mep_safetensors_get(w->files[i], index);
        index -= count;
    }
    return NULL;
}

/* ---- Writing ---- */

static const char *const METADATA[] = {"format", "pt"};

/* Tensors to be written, and their shards: shard i has the tensors first[i] .. first[i + 1] - 1. */
typedef struct writer {
    const char *folder;
    const mep_tensor *tensors;
    int64_t count, shards;
    int64_t *first; /* [count + 1] */
    mep_tensor_data_fn data;
    void *context;
    int64_t current; /* the shard that is being written */
} writer;

static int64_t tensor_bytes(const mep_tensor *tensor)
{
    return tensor->size * mep_dtype_size(tensor->dtype);
}

static mep_status plan_shards(writer *w, int64_t shard_size)
{
    int64_t bytes = 0;
    if (shard_size < 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "a shard has %lld bytes; specify 1 or more", (long long)shard_size);
    MEP_TRY(MEP_ALLOC(&w->first, w->count + 1));
    for (int64_t i = 0; i < w->count; i++) {
        int64_t more = tensor_bytes(&w->tensors[i]);
        if (i == 0 || more > shard_size - bytes) {
            w->first[w->shards++] = i;
            bytes = 0;
        }
        bytes += more;
    }
    w->first[w->shards] = w->count;
    if (w->shards <= MOST_SHARDS) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s: %lld shards; at most %d are possible: make them larger", w->folder,
                    (long long)w->shards, MOST_SHARDS);
}

enum { NAME = 64 };

static void shard_name(const writer *w, int64_t shard, char name[NAME])
{
    snprintf(name, NAME, "model-%05lld-of-%05lld.safetensors", (long long)shard + 1, (long long)w->shards);
}

/* mep_tensor_data_fn: a tensor of the current shard. */
static mep_status shard_data(void *context, int64_t index, const void **data)
{
    const writer *w = context;
    return w->data(w->context, w->first[w->current] + index, data);
}

static mep_status write_file(writer *w, int64_t shard, const char *name)
{
    char *path = NULL;
    int64_t first = w->first[shard];
    w->current = shard;
    MEP_TRY(mep_path_join(&path, w->folder, name));
    mep_status status =
        mep_safetensors_write_from(path, w->tensors + first, w->first[shard + 1] - first, METADATA, 1, shard_data, w);
    mep_free(&path);
    return status;
}

static mep_status write_index(const writer *w)
{
    char *path = NULL, name[NAME];
    int64_t bytes = 0, values = 0;
    json_t *map = json_object();
    int failed = map == NULL;
    for (int64_t s = 0; s < w->shards; s++) {
        shard_name(w, s, name);
        for (int64_t i = w->first[s]; i < w->first[s + 1]; i++) {
            failed |= json_object_set_new(map, w->tensors[i].name, json_string(name)) != 0;
            bytes += tensor_bytes(&w->tensors[i]);
            values += w->tensors[i].size;
        }
    }
    json_t *root = json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_parameters", (json_int_t)values, "total_size",
                             (json_int_t)bytes, "weight_map", map);
    mep_status status = MEP_OK;
    if (failed || root == NULL) {
        status = mep_fail(MEP_ERROR_MEMORY, "cannot allocate the index of %s", w->folder);
        goto done;
    }
    MEP_TRY_OR(status, mep_path_join(&path, w->folder, INDEX), done);
    status = mep_json_save(path, root);
done:
    json_decref(root);
    mep_free(&path);
    return status;
}

static void remove_file(const char *folder, const char *name)
{
    char *path = NULL;
    if (mep_path_join(&path, folder, name) == MEP_OK) unlink(path);
    mep_free(&path);
}

/* Remove all shards; none existed before. */
static void remove_shards(const writer *w)
{
    char name[NAME];
    for (int64_t s = 0; s < w->shards; s++) {
        shard_name(w, s, name);
        remove_file(w->folder, name);
    }
}

/* MEP_ERROR_ARGUMENT where a shard's file exists already. */
static mep_status check_new(const writer *w)
{
    char name[NAME];
    int exists_already = 0;
    for (int64_t s = 0; s < w->shards; s++) {
        shard_name(w, s, name);
        MEP_TRY(exists(w->folder, name, &exists_already));
        if (exists_already)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: already contains %s; choose another folder", w->folder, name);
    }
    return MEP_OK;
}

static mep_status write_shards(writer *w)
{
    char name[NAME];
    mep_status status = MEP_OK;
    MEP_TRY(check_new(w));
    for (int64_t s = 0; s < w->shards; s++) {
        shard_name(w, s, name);
        MEP_TRY_OR(status, write_file(w, s, name), failed);
    }
    MEP_TRY_OR(status, write_index(w), failed);
    return MEP_OK;
failed:
    remove_shards(w); /* also the one that failed: its file may exist */
    remove_file(w->folder, INDEX);
    return status;
}

mep_status mep_weights_write(const char *folder, const mep_tensor *tensors, int64_t count, int64_t shard_size,
                             mep_tensor_data_fn data, void *context)
{
    int one = 0, index = 0;
    writer w = {.folder = folder, .tensors = tensors, .count = count, .data = data, .context = context};
    mep_status status = MEP_OK;
    MEP_TRY_OR(status, plan_shards(&w, shard_size), done);
    MEP_TRY_OR(status, exists(folder, ONE, &one), done);
    MEP_TRY_OR(status, exists(folder, INDEX, &index), done);
    if (index || (one && w.shards > 1))
        status = mep_fail(MEP_ERROR_ARGUMENT,
                          "%s: contains %s, which shards cannot replace in one step; choose another folder", folder,
                          index ? INDEX : ONE);
    else
        status = w.shards > 1 ? write_shards(&w) : write_file(&w, 0, ONE);
done:
    mep_free(&w.first);
    return status;
}

/* The files that an index names, each for several tensors. */
static void remove_listed(const char *folder, const json_t *map)
{
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value) if (is_plain_name(json_string_value(value)))
        remove_file(folder, json_string_value(value));
}

void mep_weights_remove(const char *folder)
{
    char *message = NULL, *path = NULL;
    json_t *index = NULL;
    mep_status kept = mep_copy_string(&message, mep_error_message());
    if (mep_path_join(&path, folder, INDEX) == MEP_OK && mep_file_exists(path) && mep_json_load(path, &index) == MEP_OK)
        remove_listed(folder, json_object_get(index, "weight_map"));
    remove_file(folder, INDEX);
    remove_file(folder, ONE);
    if (kept == MEP_OK) mep_fail(MEP_OK, "%s", message);
    json_decref(index);
    mep_free(&path);
    mep_free(&message);
}
