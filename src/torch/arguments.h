/* SPDX-License-Identifier: MIT */
/*
 * The arguments of the operators: read from PyTorch's stack, checked, and released. The checks are those of
 * python/libmep/_operators.py, which has the messages for users: here a message only names the argument.
 */
#ifndef MEP_TORCH_ARGUMENTS_H
#define MEP_TORCH_ARGUMENTS_H

#include "mep/attention.h"
#include "torch/stable_abi.h"

/* The tensors in the order of attention_backward, whose schema has all of them. attention has Q to V and TABLE to ENDS.
 */
enum {
    DOUT,
    Q,
    K,
    V,
    OUT,
    LSE,
    TABLE,
    GATE,
    PROFILES,
    BANK,
    MIXTURE,
    LOG_KERNELS,
    SINK,
    TABLE_AHEAD,
    STARTS,
    ENDS,
    TENSORS,
    TERMS = STARTS - TABLE /* those with a gradient */
};

enum { MOST_AXES = 4 };

/* A tensor; where `handle` is NULL it is absent. Sizes and strides belong to it. */
typedef struct torch_argument {
    torch_tensor_handle handle;
    int64_t dim;
    const int64_t *sizes, *strides;
    int32_t dtype;
    const void *data;
    char *copy; /* a contiguous copy of its values, or NULL; `data` then points to it */
} torch_argument;

typedef struct torch_arguments {
    torch_argument tensors[TENSORS];
    uint8_t wanted[TERMS]; /* of attention_backward: the terms whose gradients are computed */
    int64_t window;
    int bidirectional;
    double scale, tolerance;
    int64_t batch, heads, queries, kv_heads, keys, head_dim;
    mep_dtype dtype;
} torch_arguments;

/* Take the arguments of attention, or of attention_backward, from the stack, and check them. The caller releases them
 * after a failure too. */
mep_status mep_torch_read(torch_arguments *a, const stable_value *stack, int backward);
void mep_torch_release(torch_arguments *a);

/* "table", ... */
const char *mep_torch_name(int tensor);

static inline int mep_torch_has(const torch_arguments *a, int tensor)
{
    return a->tensors[tensor].handle != NULL;
}

#endif
