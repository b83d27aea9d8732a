/* SPDX-License-Identifier: MIT */
/*
 * An estimate of the memory of a run: parameters with their sums, and the activations of model/layout.h.
 */
#include <math.h>

#include "base/error.h"
#include "mep/train.h"
#include "model/layout.h"
#include "train/gradient_tree.h"

mep_status mep_train_memory(const mep_train_settings *s, int64_t processes, int64_t *bytes)
{
    MEP_REQUIRE_AS("settings, bytes", s, bytes);
    if (processes < 1) return mep_fail(MEP_ERROR_ARGUMENT, "processes must be 1 or more");
    if (s->batch_size < 1 || s->length < 1 || s->batch_size > (int64_t)1 << 40 || s->length > (int64_t)1 << 30)
        return mep_fail(MEP_ERROR_ARGUMENT, "a batch of %lld sequences of %lld tokens is not possible",
                        (long long)s->batch_size, (long long)s->length);
    int64_t values = 0, parts = mep_train_gradient_parts(s, processes);
    MEP_TRY(mep_model_config_values(&s->model, &values));
    double part = (double)s->batch_size / (double)parts, sums = (double)mep_gradient_tree_levels(parts / processes);
    double rows = (s->micro_batch_size > 0 ? fmin((double)s->micro_batch_size, part) : part) * (double)s->length;
    /* weights, gradients, partial sums of gradients, moments, weights in bfloat16 */
    double per_value = 8 + 4 * sums + 8 / (double)processes + (s->dtype == MEP_BFLOAT16 ? 2 : 0);
    double activations = mep_training_bytes(&s->model, s->dtype, s->recompute, (int64_t)fmin(rows, 1e18));
    *bytes = (int64_t)fmin((double)values * per_value + activations, 9e18);
    return MEP_OK;
}
