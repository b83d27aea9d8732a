/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: any bytes as a safetensors file. Opens them in memory and, where that succeeds, reads every tensor
 * as every type. Memory is bounded by the input, because open has checked the shapes against it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_safetensors *file = NULL;
    if (mep_safetensors_open_memory(&file, "input", data, (int64_t)size) != MEP_OK) {
        for (const char *c = mep_error_message(); *c != '\0'; c++)
            if ((unsigned char)*c < 0x20) abort(); /* a message is one printable line */
        return 0;
    }
    for (int64_t i = 0; i < mep_safetensors_count(file); i++) {
        const mep_safetensors_entry *entry = mep_safetensors_get(file, i);
        double *out = NULL;
        if (mep_alloc(&out, entry->size, sizeof *out) != MEP_OK) continue;
        for (mep_dtype wanted = MEP_FLOAT32; wanted <= MEP_INT64; wanted++)
            (void)mep_safetensors_read(file, entry->name, wanted, entry->ndim, entry->shape, out);
        mep_free(&out);
    }
    (void)mep_safetensors_metadata(file, "format");
    mep_safetensors_close(&file);
    return 0;
}
