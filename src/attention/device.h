/* SPDX-License-Identifier: MIT */
/*
 * Fused attention on a device other than the processor: the table that a back end fills. Arguments are those of
 * include/mep/attention.h, with sizes and the bias table checked.
 */
#ifndef MEP_ATTENTION_DEVICE_H
#define MEP_ATTENTION_DEVICE_H

#include "mep/attention.h"

typedef struct mep_attention_on_device mep_attention_on_device;

/* Tensors of a call. */
typedef struct mep_attention_tensors {
    mep_tensor_view q, k, v, out;
    float *lse;
    mep_tensor_view dout, dq, dk, dv; /* backward */
    double *dbias;
} mep_attention_tensors;

typedef struct mep_attention_device {
    /* settings->scale is set. */
    mep_status (*create)(mep_attention_on_device **plan, const mep_attention_settings *settings);
    void (*destroy)(mep_attention_on_device **plan);
    mep_status (*set_bias)(mep_attention_on_device *plan, const float *table, int64_t length);
    mep_status (*forward)(mep_attention_on_device *plan, int64_t batch, int64_t queries, int64_t keys,
                          const mep_attention_tensors *tensors);
    mep_status (*backward)(mep_attention_on_device *plan, int64_t batch, int64_t queries, int64_t keys,
                           const mep_attention_tensors *tensors);
    double (*computed_share)(const mep_attention_on_device *plan);
} mep_attention_device;

/* NULL where the build has no CUDA. Tests put the emulated one there. */
extern const mep_attention_device *mep_attention_cuda;

#endif
