/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the model.safetensors.index.json of a folder with two shards of two tensors each;
 * then, if it is an object, its "weight_map". An index that opens has every tensor once, in the file that the index
 * names.
 */
#define _XOPEN_SOURCE 700
#include <jansson.h>

#include "folder.h"
#include "io/weights.h"

static const char INDEX[] = "model.safetensors.index.json";

static void write_shard(const char *name, const char *first, const char *second)
{
    static float values[4] = {1, 2, 3, 4};
    char path[64];
    mep_tensor tensors[2] = {{.dtype = MEP_FLOAT32, .ndim = 1, .shape = {4}, .size = 4, .data = values},
                             {.dtype = MEP_FLOAT32, .ndim = 2, .shape = {1, 2}, .size = 2, .data = values}};
    strcpy(tensors[0].name, first);
    strcpy(tensors[1].name, second);
    file_path(name, path);
    if (mep_safetensors_write(path, tensors, 2, NULL, 0) != MEP_OK) abort();
}

static void check_weights(const mep_weights *weights)
{
    if (mep_weights_tensors(weights) > 4) abort();
    for (int64_t i = 0; i < mep_weights_tensors(weights); i++) {
        const mep_safetensors *file = NULL;
        const mep_safetensors_entry *entry = mep_weights_get(weights, i);
        float values[4];
        if (entry == NULL || mep_weights_find(weights, entry->name, &file) != entry) abort();
        if (mep_safetensors_read(file, entry->name, MEP_FLOAT32, entry->ndim, entry->shape, values) != MEP_OK) abort();
    }
    if (mep_weights_get(weights, mep_weights_tensors(weights)) != NULL) abort();
}

static void open_index(const void *text, size_t size)
{
    mep_weights weights;
    put_file(INDEX, text, size);
    mep_status status = mep_weights_open(&weights, fuzz_folder);
    check_message(status);
    if (status == MEP_OK) check_weights(&weights);
    mep_weights_close(&weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int begun;
    if (!begun) write_shard("a", "wte", "bias"), write_shard("b.safetensors", "ln", "head");
    begun = 1;
    open_index(data, size);
    json_t *map = json_loadb((const char *)data, size, 0, NULL), *root = json_pack("{s:O*}", "weight_map", map);
    char *text = json_is_object(map) ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text != NULL) open_index(text, strlen(text));
    free(text);
    json_decref(root);
    json_decref(map);
    return 0;
}
