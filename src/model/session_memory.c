/* SPDX-License-Identifier: MIT */
/*
 * Memory that a session owns, and how attention reads activations in it.
 */
#include "model/session_memory.h"

#include <string.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"

/* Allocate count * width elements of a device into the pointer at `pointer` and remember it. */
static mep_status take(mep_session *s, mep_device device, void *pointer, int64_t count, int64_t width, int64_t size)
{
    int64_t elements = 0, n = s->allocation_count;
    if (n % 64 == 0) MEP_TRY(MEP_GROW(&s->allocations, n, n + 64));
    MEP_TRY(mep_multiply(count, width, 1, &elements));
    MEP_TRY(mep_device_array(device, pointer, elements, size));
    mep_session_allocation *a = &s->allocations[s->allocation_count++];
    a->device = device;
    a->bytes = elements * size;
    memcpy(&a->data, pointer, sizeof a->data);
    return MEP_OK;
}

mep_status mep_session_host(mep_session *s, void *pointer, int64_t count, int64_t width, int64_t size)
{
    return take(s, MEP_DEVICE_CPU, pointer, count, width, size);
}

mep_status mep_session_device(mep_session *s, void *pointer, int64_t count, int64_t width, int64_t size)
{
    return take(s, s->settings.device, pointer, count, width, size);
}

mep_status mep_session_floats(mep_session *s, float **pointer, int64_t count, int64_t width)
{
    return mep_session_device(s, pointer, count, width, sizeof **pointer);
}

mep_status mep_session_activation(mep_session *s, mep_activation *x, int64_t count, int64_t width)
{
    x->dtype = s->settings.dtype;
    return mep_session_device(s, &x->data, count, width, mep_dtype_size(x->dtype));
}

void mep_session_memory_free(mep_session *s)
{
    for (int64_t i = 0; i < s->allocation_count; i++)
        mep_device_release(s->allocations[i].device, &s->allocations[i].data);
    mep_free(&s->allocations);
    s->allocation_count = 0;
}

mep_tensor_view mep_qkv_view(const mep_session *s, mep_activation qkv, int which)
{
    const mep_model_config *c = &s->model->config;
    int64_t width = mep_dimension_of(c, DIM_QKV);
    return (mep_tensor_view){.data = (char *)qkv.data + mep_qkv_row(c, 0, which) * mep_dtype_size(qkv.dtype),
                             .batch_stride = s->length * width,
                             .head_stride = mep_qkv_row(c, 1, which) - mep_qkv_row(c, 0, which),
                             .token_stride = width};
}

mep_tensor_view mep_heads_view(const mep_session *s, mep_activation x)
{
    const mep_model_config *c = &s->model->config;
    int64_t width = mep_dimension_of(c, DIM_HEADS);
    return (mep_tensor_view){
        .data = x.data, .batch_stride = s->length * width, .head_stride = mep_head_dim(c), .token_stride = width};
}
