/* SPDX-License-Identifier: MIT */
/*
 * One safetensors file or several: opening, and looking a tensor up.
 */
#include "io/weights.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/json.h"

enum { MOST_SHARDS = 4096 };
static const char ONE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";

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
            status = add_file(w, folder, name);
            if (status == MEP_OK) json_object_set_new(seen, name, json_integer(w->count - 1));
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
