/* SPDX-License-Identifier: MIT */
/*
 * Safetensors files (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, the data.
 * The reader trusts nothing: opening checks the complete header against the size of the file, and reading checks type
 * and shape. It uses pread and no mapping, so that a file that is truncated meanwhile causes an error instead of a
 * signal. Nothing here knows the names of a model.
 */
#ifndef MEP_IO_SAFETENSORS_H
#define MEP_IO_SAFETENSORS_H

#include "base/tensor.h"

typedef struct mep_safetensors mep_safetensors;

/* One tensor of a file. It belongs to the file. */
typedef struct mep_safetensors_entry {
    char name[MEP_TENSOR_NAME];
    const char *dtype;              /* the format's name: "F32", "BF16", "I64" ... */
    int64_t width;                  /* bytes per element */
    int ndim;                       /* a tensor of more than MEP_TENSOR_DIMS can be listed, but not read */
    int64_t shape[MEP_TENSOR_DIMS]; /* the first four dimensions */
    int64_t size;                   /* number of elements */
    int64_t begin, end;             /* offsets in the data, in bytes */
} mep_safetensors_entry;

/* Open and check a file: MEP_ERROR_FORMAT if anything violates the format (including gaps, overlaps, duplicate keys and
 * bytes after the end), MEP_ERROR_UNSUPPORTED for an unknown element type. The caller owns *file. Thread-safe. */
mep_status mep_safetensors_open(mep_safetensors **file, const char *path);

/* The same for bytes in memory, which must outlive *file; `name` is for messages. */
mep_status mep_safetensors_open_memory(mep_safetensors **file, const char *name, const void *data, int64_t size);

/* Close *file and set it to NULL; NULL is allowed. */
void mep_safetensors_close(mep_safetensors **file);

/* A string of the header's __metadata__; NULL if it does not exist. It belongs to the file. */
const char *mep_safetensors_metadata(const mep_safetensors *file, const char *key);

/* The tensors in the order of their data: their number, a tensor by index (NULL if out of range), and a tensor by name
 * (NULL if it does not exist). */
int64_t mep_safetensors_count(const mep_safetensors *file);
const mep_safetensors_entry *mep_safetensors_get(const mep_safetensors *file, int64_t index);
const mep_safetensors_entry *mep_safetensors_find(const mep_safetensors *file, const char *name);

/* Verify every tensor that has a checksum in the metadata; MEP_ERROR_FORMAT names the first damaged one. Allocates
 * nothing. Thread-safe. */
mep_status mep_safetensors_verify(const mep_safetensors *file);

/* Copy the tensor `name`, which must have this shape, to `out` as type `wanted`: its own type, or MEP_FLOAT32 or
 * MEP_FLOAT64 from F64, F32, BF16, F16 (rounded to nearest; infinity beyond float32's range). Other combinations and
 * more than four dimensions are MEP_ERROR_UNSUPPORTED. A missing tensor, another shape and a wrong checksum are
 * MEP_ERROR_FORMAT. `out` has space for the product of `shape` elements. Thread-safe. */
mep_status mep_safetensors_read(const mep_safetensors *file, const char *name, mep_dtype wanted, int ndim,
                                const int64_t *shape, void *out);

/* Write `count` tensors atomically. The header lists them in the given order; their data is ordered by descending
 * element size, so that everything is aligned. `metadata` has `pairs` pairs of key and value, one after the other; NULL
 * if pairs is 0. A checksum of each tensor's data is added as "mep_checksum.NAME". MEP_ERROR_ARGUMENT for a name that
 * is empty, reserved, not UTF-8 or used twice, or a shape that contradicts the size. */
mep_status mep_safetensors_write(const char *path, const mep_tensor *tensors, int64_t count,
                                 const char *const *metadata, int64_t pairs);

/* Sets *data to the bytes of tensor `index`, which are valid until the next call. */
typedef mep_status (*mep_tensor_data_fn)(void *context, int64_t index, const void **data);

/* The same, but the data comes from the callback instead of the tensors. It is called twice for each tensor: for the
 * checksum and for writing. */
mep_status mep_safetensors_write_from(const char *path, const mep_tensor *tensors, int64_t count,
                                      const char *const *metadata, int64_t pairs, mep_tensor_data_fn data,
                                      void *context);

#endif
