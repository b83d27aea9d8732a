/* SPDX-License-Identifier: MIT */
/*
 * AdamW (arXiv:1711.05101): the constants of a step, and which values decay.
 */
#include "train/adamw.h"

#include <math.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

mep_status mep_adamw_create_ranges(mep_adamw **optimizer, const mep_range *ranges, int64_t range_count,
                                   const mep_adamw_settings *settings, mep_context context)
{
    mep_adamw *o = NULL;
    mep_status status;
    *optimizer = NULL;
    MEP_TRY(MEP_ALLOC(&o, 1));
    *o = (mep_adamw){.settings = *settings, .context = context, .range_count = range_count};
    MEP_TRY_OR(status, MEP_ALLOC(&o->ranges, range_count), failed);
    for (int64_t i = 0; i < range_count; i++) {
        o->ranges[i] = ranges[i];
        o->size += ranges[i].count;
        o->chunks += mep_chunks(ranges[i].count);
    }
    MEP_TRY_OR(status, mep_device_array(context.device, &o->m, o->size, sizeof *o->m), failed);
    MEP_TRY_OR(status, mep_device_array(context.device, &o->v, o->size, sizeof *o->v), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&o->squares, o->chunks), failed);
    *optimizer = o;
    return MEP_OK;
failed:
    mep_adamw_destroy(&o);
    return status;
}

mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings,
                            mep_context context)
{
    const mep_range all = {0, mep_model_parameter_values(model)};
    return mep_adamw_create_ranges(optimizer, &all, 1, settings, context);
}

void mep_adamw_destroy(mep_adamw **optimizer)
{
    if (*optimizer == NULL) return;
    mep_free(&(*optimizer)->ranges);
    mep_device_release((*optimizer)->context.device, &(*optimizer)->m);
    mep_device_release((*optimizer)->context.device, &(*optimizer)->v);
    mep_free(&(*optimizer)->squares);
    mep_free(optimizer);
}

mep_status mep_adamw_squares(mep_adamw *o, const float *gradients)
{
    double *squares = o->squares;
    for (int64_t i = 0; i < o->range_count; i++) {
        mep_range r = o->ranges[i];
        MEP_TRY(o->context.nn->squares(o->context.state, r.count, gradients + r.first, squares));
        squares += mep_chunks(r.count);
    }
    return MEP_OK;
}

mep_status mep_adamw_norm(mep_adamw *o, const float *gradients, double *norm)
{
    double sum = 0;
    MEP_TRY(mep_adamw_squares(o, gradients));
    for (int64_t i = 0; i < o->chunks; i++) sum += o->squares[i];
    *norm = sqrt(sum);
    return MEP_OK;
}

/* The constants of the next step, without weight decay. Clipping is that of torch.nn.utils.clip_grad_norm_. */
static mep_adamw_step step_of(const mep_adamw *o, double norm, double learning_rate)
{
    const mep_adamw_settings *s = &o->settings;
    int clips = s->max_grad_norm > 0 && norm > s->max_grad_norm;
    return (mep_adamw_step){.learning_rate = (float)learning_rate,
                            .beta1 = (float)s->beta1,
                            .beta2 = (float)s->beta2,
                            .rest1 = (float)(1 - s->beta1),
                            .rest2 = (float)(1 - s->beta2),
                            .eps = (float)s->eps,
                            .correction1 = (float)(1 - pow(s->beta1, (double)o->step)),
                            .correction2 = (float)(1 - pow(s->beta2, (double)o->step)),
                            .gradient_scale = clips ? (float)(s->max_grad_norm / (norm + 1e-6)) : 1};
}

void mep_adamw_step_run(mep_adamw *o, const mep_model *model, float *values, const float *gradients, double norm,
                        double learning_rate)
{
    o->step++;
    mep_adamw_step step = step_of(o, norm, learning_rate);
    float *m = o->m, *v = o->v;
    for (int64_t i = 0; i < o->range_count; m += o->ranges[i].count, v += o->ranges[i].count, i++)
        for (int64_t t = 0; t < model->count; t++) {
            int64_t begin = o->ranges[i].first, end = begin + o->ranges[i].count;
            int64_t offset = mep_tensor_offset(model, t);
            int64_t first = max_i64(offset, begin), last = min_i64(offset + model->tensors[t].size, end);
            step.weight_decay = mep_tensor_decays(model, t) ? (float)o->settings.weight_decay : 0.0f;
            if (first < last)
                o->context.nn->adamw(o->context.state, first - begin, last - begin, &step, values + begin,
                                     gradients + begin, m, v);
        }
}
