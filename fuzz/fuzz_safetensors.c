/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a safetensors file. It is opened in memory; then every tensor is read as every type,
 * and all checksums are compared: a file is valid if each of its tensors is. Memory is bounded by the input, because
 * open has checked the shapes against it.
 */
#include "base/memory.h"
#include "fuzz.h"
#include "io/safetensors.h"

/* The type to read a tensor as: its own if the library has it, so that the type is no obstacle. */
static mep_dtype natural_type(const mep_safetensors_entry *entry)
{
    if (strcmp(entry->dtype, "I64") == 0) return MEP_INT64;
    return strcmp(entry->dtype, "BF16") == 0 ? MEP_BFLOAT16 : MEP_FLOAT64;
}

/* Read a tensor in every way; return the status of the read in its own type. */
static mep_status read_tensor(const mep_safetensors *file, const mep_safetensors_entry *entry)
{
    double *out = NULL;
    mep_status natural = MEP_OK;
    if (mep_alloc(&out, entry->size, sizeof *out) != MEP_OK) abort();
    for (mep_dtype wanted = MEP_FLOAT32; wanted <= MEP_INT64; wanted++) {
        mep_status status = mep_safetensors_read(file, entry->name, wanted, entry->ndim, entry->shape, out);
        check_message(status);
        if (wanted == natural_type(entry)) natural = status;
    }
    mep_free(&out);
    return natural;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_safetensors *file = NULL;
    mep_status status = mep_safetensors_open_memory(&file, "input", data, (int64_t)size), damage = MEP_OK;
    check_message(status);
    if (status != MEP_OK) return 0;
    for (int64_t i = 0; i < mep_safetensors_count(file); i++) {
        status = read_tensor(file, mep_safetensors_get(file, i));
        if (status == MEP_ERROR_FORMAT) damage = status;
    }
    status = mep_safetensors_verify(file);
    check_message(status);
    if (damage != MEP_OK && status == MEP_OK) abort();
    (void)mep_safetensors_metadata(file, "format");
    mep_safetensors_close(&file);
    return 0;
}
