/* SPDX-License-Identifier: MIT */
/*
 * One safetensors file or several: opening, looking a tensor up, and writing.
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
    MEP_TRY(mep_grow(&w->files, w->count, w->count + 1, sizeof *w->files));
    w->files[w->count] = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    mep_status status = mep_safetensors_open(&w->files[w->count], path);
    mep_free(&path);
    if (status == MEP_OK) w->count++;
    return status;
}

/* A file of this folder: no path. */
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

/* The files that the index names, each once, and every tensor in the file that the index says. */
static mep_status open_shards(mep_weights *w, const char *folder, const json_t *map)
{
    const char *tensor;
    json_t *value, *seen = json_object(); /* file: its number */
    mep_status status = MEP_OK;
    if (!json_is_object(map)) status = mep_fail(MEP_ERROR_FORMAT, "%s: has no object \"weight_map\"", w->path);
    json_object_foreach((json_t *)map, tensor, value)
    {
        const char *name = json_string_value(value);
        const json_t *number = name != NULL ? json_object_get(seen, name) : NULL;
        if (!is_plain_name(name) || (number == NULL && w->count == MOST_SHARDS))
            status = mep_fail(MEP_ERROR_FORMAT, "%s: \"weight_map\" must name files of its folder, %d at most", w->path,
                              MOST_SHARDS);
        if (status == MEP_OK && number == NULL) {
            status = add_shard(w, folder, name);
            if (status == MEP_OK && json_object_set_new(seen, name, json_integer(w->count - 1)) != 0)
                status = mep_fail(MEP_ERROR_MEMORY, "cannot list the files of %s: memory is out", w->path);
            number = json_object_get(seen, name);
        }
        if (status == MEP_OK && mep_safetensors_find(w->files[json_integer_value(number)], tensor) == NULL)
            status = mep_fail(MEP_ERROR_FORMAT, "%s: names a tensor that %s has not; is the download complete?",
                              w->path, name);
        if (status != MEP_OK) break;
    }
    json_decref(seen);
    if (status == MEP_OK && mep_weights_tensors(w) != (int64_t)json_object_size(map))
        status = mep_fail(MEP_ERROR_FORMAT, "%s: names %lld tensors, its files have %lld", w->path,
                          (long long)json_object_size(map), (long long)mep_weights_tensors(w));
    return status;
}

mep_status mep_weights_open(mep_weights *w, const char *folder)
{
    int one = 0;
    json_t *index = NULL;
    *w = (mep_weights){.path = NULL};
    MEP_TRY(exists(folder, ONE, &one));
    mep_status status = mep_path_join(&w->path, folder, one ? ONE : INDEX);
    if (status == MEP_OK && one) status = add_file(w, folder, ONE);
    if (status == MEP_OK && !one) status = mep_json_load(w->path, &index);
    if (status == MEP_OK && !one) status = open_shards(w, folder, json_object_get(index, "weight_map"));
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

/* Tensors to be written, and their cut into shards: shard i is tensors first[i] .. first[i + 1] - 1. */
typedef struct cut {
    const char *folder;
    const mep_tensor *tensors;
    int64_t count, shards;
    int64_t *first; /* [count + 1] */
    mep_tensor_data_fn data;
    void *context;
    int64_t now; /* the shard that is written */
} cut;

static int64_t tensor_bytes(const mep_tensor *tensor)
{
    return tensor->size * mep_dtype_size(tensor->dtype);
}

static mep_status cut_shards(cut *c, int64_t shard_size)
{
    int64_t bytes = 0;
    if (shard_size < 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "a shard has %lld bytes; give 1 or more", (long long)shard_size);
    MEP_TRY(mep_alloc(&c->first, c->count + 1, sizeof *c->first));
    for (int64_t i = 0; i < c->count; i++) {
        int64_t more = tensor_bytes(&c->tensors[i]);
        if (i == 0 || more > shard_size - bytes) {
            c->first[c->shards++] = i;
            bytes = 0;
        }
        bytes += more;
    }
    c->first[c->shards] = c->count;
    return c->shards <= MOST_SHARDS ? MEP_OK
                                    : mep_fail(MEP_ERROR_ARGUMENT, "%s: %lld shards; %d are possible: make them larger",
                                               c->folder, (long long)c->shards, MOST_SHARDS);
}

enum { NAME = 64 };

static void shard_name(const cut *c, int64_t shard, char name[NAME])
{
    snprintf(name, NAME, "model-%05lld-of-%05lld.safetensors", (long long)shard + 1, (long long)c->shards);
}

/* The data of a tensor of the shard that is written. */
static mep_status shard_data(void *context, int64_t index, const void **data)
{
    const cut *c = context;
    return c->data(c->context, c->first[c->now] + index, data);
}

static mep_status write_file(cut *c, int64_t shard, const char *name)
{
    char *path = NULL;
    int64_t first = c->first[shard];
    c->now = shard;
    MEP_TRY(mep_path_join(&path, c->folder, name));
    mep_status status =
        mep_safetensors_write_from(path, c->tensors + first, c->first[shard + 1] - first, METADATA, 1, shard_data, c);
    mep_free(&path);
    return status;
}

static mep_status write_index(const cut *c)
{
    char *path = NULL, name[NAME];
    int64_t bytes = 0, values = 0;
    json_t *map = json_object();
    int failed = map == NULL;
    for (int64_t s = 0; s < c->shards; s++) {
        shard_name(c, s, name);
        for (int64_t i = c->first[s]; i < c->first[s + 1]; i++) {
            failed |= json_object_set_new(map, c->tensors[i].name, json_string(name)) != 0;
            bytes += tensor_bytes(&c->tensors[i]);
            values += c->tensors[i].size;
        }
    }
    json_t *root = json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_parameters", (json_int_t)values, "total_size",
                             (json_int_t)bytes, "weight_map", map);
    mep_status status =
        failed || root == NULL ? mep_fail(MEP_ERROR_MEMORY, "cannot allocate the index of %s", c->folder) : MEP_OK;
    if (status == MEP_OK) status = mep_path_join(&path, c->folder, INDEX);
    if (status == MEP_OK) status = mep_json_save(path, root);
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

/* Remove all shards, of which none was there before; the message of the failure that led here stays. */
static void remove_shards(const cut *c)
{
    char name[NAME];
    for (int64_t s = 0; s < c->shards; s++) {
        shard_name(c, s, name);
        remove_file(c->folder, name);
    }
}

static mep_status write_shards(cut *c)
{
    char name[NAME];
    int taken = 0;
    mep_status status = MEP_OK;
    for (int64_t s = 0; s < c->shards && status == MEP_OK; s++) {
        shard_name(c, s, name);
        status = exists(c->folder, name, &taken);
        if (status == MEP_OK && taken)
            status = mep_fail(MEP_ERROR_ARGUMENT, "%s: holds %s already; choose another folder", c->folder, name);
    }
    MEP_TRY(status);
    for (int64_t s = 0; s < c->shards && status == MEP_OK; s++) {
        shard_name(c, s, name);
        status = write_file(c, s, name);
    }
    if (status == MEP_OK) status = write_index(c);
    if (status == MEP_OK) return MEP_OK;
    remove_shards(c); /* the one that failed too: it may be there, but not on the disk for certain */
    remove_file(c->folder, INDEX);
    return status;
}

mep_status mep_weights_write(const char *folder, const mep_tensor *tensors, int64_t count, int64_t shard_size,
                             mep_tensor_data_fn data, void *context)
{
    int one = 0, index = 0;
    cut c = {.folder = folder, .tensors = tensors, .count = count, .data = data, .context = context};
    mep_status status = cut_shards(&c, shard_size);
    if (status == MEP_OK) status = exists(folder, ONE, &one);
    if (status == MEP_OK) status = exists(folder, INDEX, &index);
    if (status == MEP_OK && (index || (one && c.shards > 1)))
        status = mep_fail(MEP_ERROR_ARGUMENT,
                          "%s: holds %s, which shards cannot take the place of in one step; choose another folder",
                          folder, index ? INDEX : ONE);
    if (status == MEP_OK) status = c.shards > 1 ? write_shards(&c) : write_file(&c, 0, ONE);
    mep_free(&c.first);
    return status;
}

/* The files of an index; several tensors are in one. */
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
