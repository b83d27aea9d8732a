/* SPDX-License-Identifier: MIT */
/*
 * AdamW (arXiv:1711.05101), threaded in fixed chunks.
 */
#include "train/adamw.h"

#include <math.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "nn/rows.h"

enum { CHUNK = 16384 };

mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings)
{
    *optimizer = NULL;
    mep_adamw *o = NULL;
    MEP_TRY(mep_alloc(&o, 1, sizeof *o));
    o->settings = *settings;
    o->size = mep_model_parameter_values(model);
    mep_status status = mep_alloc(&o->m, o->size, sizeof *o->m);
    if (status == MEP_OK) status = mep_alloc(&o->v, o->size, sizeof *o->v);
    if (status == MEP_OK) status = mep_alloc(&o->partial, o->size / CHUNK + 1, sizeof *o->partial);
    if (status != MEP_OK) mep_adamw_destroy(&o);
    *optimizer = o;
    return status;
}

void mep_adamw_destroy(mep_adamw **optimizer)
{
    if (*optimizer == NULL) return;
    mep_free(&(*optimizer)->m);
    mep_free(&(*optimizer)->v);
    mep_free(&(*optimizer)->partial);
    mep_free(optimizer);
}

double mep_adamw_norm(mep_adamw *o, const float *gradients)
{
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    double sum = 0;
#pragma omp parallel for
    for (int64_t i = 0; i < o->size; i += CHUNK)
        o->partial[i / CHUNK] = kernels->sum_of_squares(o->size - i < CHUNK ? o->size - i : CHUNK, gradients + i);
    for (int64_t i = 0; i < o->size; i += CHUNK) sum += o->partial[i / CHUNK];
    return sqrt(sum);
}

void mep_adamw_step_run(mep_adamw *o, mep_model *model, const float *gradients, double norm, double learning_rate)
{
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    const mep_adamw_settings *s = &o->settings;
    o->step++;
    mep_adamw_step step = {.learning_rate = (float)learning_rate,
                           .beta1 = (float)s->beta1,
                           .beta2 = (float)s->beta2,
                           .rest1 = (float)(1 - s->beta1),
                           .rest2 = (float)(1 - s->beta2),
                           .eps = (float)s->eps,
                           .correction1 = (float)(1 - pow(s->beta1, (double)o->step)),
                           .correction2 = (float)(1 - pow(s->beta2, (double)o->step)),
                           .gradient_scale = 1};
    /* as torch.nn.utils.clip_grad_norm_ has it */
    if (s->max_grad_norm > 0 && norm > s->max_grad_norm)
        step.gradient_scale = (float)(s->max_grad_norm / (norm + 1e-6));
    for (int64_t t = 0; t < model->count; t++) {
        int64_t first = mep_tensor_offset(model, t), size = model->tensors[t].size;
        step.weight_decay = mep_tensor_decays(model, t) ? (float)s->weight_decay : 0.0f;
#pragma omp parallel for if (size > CHUNK)
        for (int64_t i = 0; i < size; i += CHUNK)
            kernels->adamw(size - i < CHUNK ? size - i : CHUNK, &step, model->values + first + i, gradients + first + i,
                           o->m + first + i, o->v + first + i);
    }
}
