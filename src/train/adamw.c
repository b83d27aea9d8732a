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

enum { CHUNK = MEP_ADAMW_CHUNK, SHARED = 4 /* chunks that are worth a team of threads */ };

mep_status mep_adamw_create_part(mep_adamw **optimizer, const mep_range *part, int64_t parts,
                                 const mep_adamw_settings *settings)
{
    mep_adamw *o = NULL;
    *optimizer = NULL;
    MEP_TRY(mep_alloc(&o, 1, sizeof *o));
    o->settings = *settings;
    o->parts = parts;
    mep_status status = mep_alloc(&o->part, parts, sizeof *o->part);
    for (int64_t i = 0; i < parts && status == MEP_OK; i++) {
        o->part[i] = part[i];
        o->size += part[i].count;
        o->chunks += mep_adamw_chunks(part[i].count);
    }
    if (status == MEP_OK) status = mep_alloc(&o->m, o->size, sizeof *o->m);
    if (status == MEP_OK) status = mep_alloc(&o->v, o->size, sizeof *o->v);
    if (status == MEP_OK) status = mep_alloc(&o->squares, o->chunks, sizeof *o->squares);
    if (status != MEP_OK) mep_adamw_destroy(&o);
    *optimizer = o;
    return status;
}

mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings)
{
    const mep_range all = {0, mep_model_parameter_values(model)};
    return mep_adamw_create_part(optimizer, &all, 1, settings);
}

void mep_adamw_destroy(mep_adamw **optimizer)
{
    if (*optimizer == NULL) return;
    mep_free(&(*optimizer)->part);
    mep_free(&(*optimizer)->m);
    mep_free(&(*optimizer)->v);
    mep_free(&(*optimizer)->squares);
    mep_free(optimizer);
}

void mep_adamw_squares(mep_adamw *o, const float *gradients)
{
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    double *squares = o->squares;
    for (int64_t p = 0; p < o->parts; p++) {
        int64_t count = o->part[p].count;
        const float *x = gradients + o->part[p].first;
#pragma omp parallel for
        for (int64_t i = 0; i < count; i += CHUNK)
            squares[i / CHUNK] = kernels->sum_of_squares(count - i < CHUNK ? count - i : CHUNK, x + i);
        squares += mep_adamw_chunks(count);
    }
}

double mep_adamw_norm(mep_adamw *o, const float *gradients)
{
    double sum = 0;
    mep_adamw_squares(o, gradients);
    for (int64_t i = 0; i < o->chunks; i++) sum += o->squares[i];
    return sqrt(sum);
}

/* Values first .. end - 1 of a part, of one tensor. A call of the kernel stays in a chunk: where a vector ends in it
 * does then not depend on the part. */
static void update(const mep_row_kernels *kernels, const mep_adamw_step *step, int64_t first, int64_t end,
                   float *values, const float *gradients, float *m, float *v)
{
    int64_t begin = first / CHUNK, stop = mep_adamw_chunks(end);
#pragma omp parallel for if (stop - begin > SHARED)
    for (int64_t c = begin; c < stop; c++) {
        int64_t i = c == begin ? first : c * CHUNK, next = c + 1 == stop ? end : (c + 1) * CHUNK;
        kernels->adamw(next - i, step, values + i, gradients + i, m + i, v + i);
    }
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
    float *m = o->m, *v = o->v;
    for (int64_t p = 0; p < o->parts; m += o->part[p].count, v += o->part[p].count, p++)
        for (int64_t t = 0; t < model->count; t++) {
            int64_t begin = o->part[p].first, end = begin + o->part[p].count;
            int64_t first = mep_tensor_offset(model, t), last = first + model->tensors[t].size;
            first = first > begin ? first : begin;
            last = last < end ? last : end;
            step.weight_decay = mep_tensor_decays(model, t) ? (float)s->weight_decay : 0.0f;
            if (first < last)
                update(kernels, &step, first - begin, last - begin, model->values + begin, gradients + begin, m, v);
        }
}
