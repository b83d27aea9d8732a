/* SPDX-License-Identifier: MIT */
/*
 * A named, contiguous, row-major tensor, as the model's parameter list and files exchange it.
 */
#ifndef MEP_BASE_TENSOR_H
#define MEP_BASE_TENSOR_H

#include "mep/types.h"

enum { MEP_TENSOR_DIMS = 4, MEP_TENSOR_NAME = 128 };

typedef struct mep_tensor {
    char name[MEP_TENSOR_NAME];
    mep_dtype dtype;
    int ndim; /* 0 .. 4 */
    int64_t shape[MEP_TENSOR_DIMS];
    int64_t size; /* number of elements */
    void *data;   /* not owned */
} mep_tensor;

#endif
