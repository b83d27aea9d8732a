/* SPDX-License-Identifier: MIT */
/*
 * AdamW (arXiv:1711.05101): the constants of a step, and which values decay.
 */
#include "train/adamw.h"

#include <math.h>

#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"

mep_status mep_adamw_create_part(mep_adamw **optimizer, const mep_range *part, int64_t parts,
                                 const mep_adamw_settings *settings, mep_context place)
{
    mep_adamw *o = NULL;
    *optimizer = NULL;
    MEP_TRY(mep_alloc(&o, 1, sizeof *o));
    o->settings = *settings;
    o->place = place;
    o->parts = parts;
    mep_status status = mep_alloc(&o->part, parts, sizeof *o->part);
    for (int64_t i = 0; i < parts && status == MEP_OK; i++) {
        o->part[i] = part[i];
        o->size += part[i].count;
        o->chunks += mep_chunks(part[i].count);
    }
    if (status == MEP_OK) status = mep_device_array(place.device, &o->m, o->size, sizeof *o->m);
    if (status == MEP_OK) status = mep_device_array(place.device, &o->v, o->size, sizeof *o->v);
    if (status == MEP_OK) status = mep_alloc(&o->squares, o->chunks, sizeof *o->squares);
    if (status != MEP_OK) mep_adamw_destroy(&o);
    *optimizer = o;
    return status;
}

mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings,
                            mep_context place)
{
    const mep_range all = {0, mep_model_parameter_values(model)};
    return mep_adamw_create_part(optimizer, &all, 1, settings, place);
}

void mep_adamw_destroy(mep_adamw **optimizer)
{
    if (*optimizer == NULL) return;
    mep_free(&(*optimizer)->part);
    mep_device_release((*optimizer)->place.device, &(*optimizer)->m);
    mep_device_release((*optimizer)->place.device, &(*optimizer)->v);
    mep_free(&(*optimizer)->squares);
    mep_free(optimizer);
}

mep_status mep_adamw_squares(mep_adamw *o, const float *gradients)
{
    double *squares = o->squares;
    for (int64_t p = 0; p < o->parts; squares += mep_chunks(o->part[p].count), p++)
        MEP_TRY(o->place.nn->squares(o->place.state, o->part[p].count, gradients + o->part[p].first, squares));
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

void mep_adamw_step_run(mep_adamw *o, const mep_model *model, float *values, const float *gradients, double norm,
                        double learning_rate)
{
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
                o->place.nn->adamw(o->place.state, first - begin, last - begin, &step, values + begin,
                                   gradients + begin, m, v);
        }
}
