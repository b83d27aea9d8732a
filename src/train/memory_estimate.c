/* SPDX-License-Identifier: MIT */
/*
 * An estimate of the memory of a run: its largest parts, as layers compute them.
 */
#include <math.h>

#include "base/error.h"
#include "mep/train.h"
#include "train/gradient_tree.h"

/* Bytes of what the backward pass needs, and of the logits, for `rows` tokens computed at a time. */
static double activations(const mep_train_settings *s, double rows)
{
    const mep_model_config *m = &s->model;
    double width = (double)mep_dtype_size(s->dtype), hidden = (double)m->hidden_size,
           layers = (double)m->num_hidden_layers;
    double layer = 4 * hidden + width * (6 * hidden + 2 * (double)m->intermediate_size);
    double gradient = 4 * hidden + width * (2 * hidden + (double)m->intermediate_size);
    double logits = fmin(rows * (double)m->vocab_size, (double)(1 << 26));
    return rows * (4 * hidden * (layers + 1) + layer * (s->recompute ? 1 : layers) + gradient) +
           logits * (4 + (width < 4 ? 2 : 0));
}

mep_status mep_train_memory(const mep_train_settings *s, int64_t processes, int64_t *bytes)
{
    MEP_REQUIRE_AS("settings, bytes", s, bytes);
    if (processes < 1) return mep_fail(MEP_ERROR_ARGUMENT, "processes must be 1 or more");
    int64_t values = 0, parts = mep_train_gradient_parts(s, processes);
    MEP_TRY(mep_model_config_values(&s->model, &values));
    double part = (double)s->batch_size / (double)parts, sums = (double)mep_gradient_tree_levels(parts / processes);
    double rows = (s->micro_batch_size > 0 ? fmin((double)s->micro_batch_size, part) : part) * (double)s->length;
    /* weights, gradients, partial sums of gradients, moments, weights in bfloat16 */
    double per_value = 8 + 4 * sums + 8 / (double)processes + (s->dtype == MEP_BFLOAT16 ? 2 : 0);
    *bytes = (int64_t)fmin((double)values * per_value + activations(s, rows), 9e18);
    return MEP_OK;
}
