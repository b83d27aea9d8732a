/* SPDX-License-Identifier: MIT */
/*
 * Safetensors files (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, the data.
 * The reader trusts nothing: open checks the whole header against the size of the file, and data is read with its type
 * and shape checked. It reads with pread rather than through a mapping, so that a file that shrinks meanwhile is an
 * error and no signal. It knows no model: names are the caller's business.
 */
#ifndef MEP_IO_SAFETENSORS_H
#define MEP_IO_SAFETENSORS_H

#include "base/tensor.h"

typedef struct mep_safetensors mep_safetensors;

/* One tensor of a file. It belongs to the file. */
typedef struct mep_safetensors_entry {
    char name[MEP_TENSOR_NAME];
    const char *dtype;              /* the format's name: "F32", "BF16", "I64" ... */
    int64_t width;                  /* bytes an element */
    int ndim;                       /* more than MEP_TENSOR_DIMS can be listed, but not read */
    int64_t shape[MEP_TENSOR_DIMS]; /* the first four dimensions */
    int64_t size;                   /* number of elements */
    int64_t begin, end;             /* bytes from the start of the data */
} mep_safetensors_entry;

/* Open and check a file: MEP_ERROR_FORMAT when anything in it is not as the format demands (holes, overlaps, duplicate
 * keys and bytes after the end included), MEP_ERROR_UNSUPPORTED for element types not known here. The caller owns
 * *file. Thread-safe. */
mep_status mep_safetensors_open(mep_safetensors **file, const char *path);

/* The same for bytes in memory, which must outlive *file; `name` is for messages. */
mep_status mep_safetensors_open_memory(mep_safetensors **file, const char *name, const void *data, int64_t size);

/* Close *file and set it to NULL; NULL is allowed. */
void mep_safetensors_close(mep_safetensors **file);

/* A string of the header's __metadata__, NULL where there is none. It belongs to the file. */
const char *mep_safetensors_metadata(const mep_safetensors *file, const char *key);

/* The tensors, in the order of their data: their number, one by index (NULL out of range), one by name (NULL where
 * missing). */
int64_t mep_safetensors_count(const mep_safetensors *file);
const mep_safetensors_entry *mep_safetensors_get(const mep_safetensors *file, int64_t index);
const mep_safetensors_entry *mep_safetensors_find(const mep_safetensors *file, const char *name);

/* Compare every tensor that has a checksum in the metadata with it; MEP_ERROR_FORMAT names the first that is damaged.
 * Takes no memory. Thread-safe. */
mep_status mep_safetensors_verify(const mep_safetensors *file);

/* Copy the tensor `name`, which must have this shape, to `out` as `wanted`: the type that it has, or MEP_FLOAT32 or
 * MEP_FLOAT64 from F64, F32, BF16, F16 (rounded to nearest; beyond float32's range that is infinity). Other
 * combinations and more than four dimensions are MEP_ERROR_UNSUPPORTED, a missing tensor, another shape, or data that
 * its checksum in the metadata does not fit, MEP_ERROR_FORMAT. `out` holds the product of `shape`. Thread-safe. */
mep_status mep_safetensors_read(const mep_safetensors *file, const char *name, mep_dtype wanted, int ndim,
                                const int64_t *shape, void *out);

/* Write `count` tensors atomically. The header lists them in the given order; their data is ordered by falling element
 * size, so that everything is aligned. `metadata` holds `pairs` pairs of key and value, one after the other; NULL where
 * pairs is 0; a checksum of each tensor's data is added as "mep_checksum.NAME". MEP_ERROR_ARGUMENT for a name that
 * stands twice, is empty, reserved or not UTF-8, or a shape that disagrees with the size. */
mep_status mep_safetensors_write(const char *path, const mep_tensor *tensors, int64_t count,
                                 const char *const *metadata, int64_t pairs);

/* *data: the bytes of tensor `index` of those that are written, good until the next call. */
typedef mep_status (*mep_tensor_data_fn)(void *context, int64_t index, const void **data);

/* The same with data that is made when its turn comes (each tensor twice: for its checksum,
 * then to be written), and not that of the tensors. */
mep_status mep_safetensors_write_from(const char *path, const mep_tensor *tensors, int64_t count,
                                      const char *const *metadata, int64_t pairs, mep_tensor_data_fn data,
                                      void *context);

#endif
