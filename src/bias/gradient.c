/* SPDX-License-Identifier: MIT */
/*
 * The gradient of the learned parameters from the gradient of the table: the chain rule through the mixture.
 *
 *     d b / d theta = r_m d log K_m / d theta,  r_m = w_m K_m / sum_n w_n K_n     (theta of kernel m)
 *     d b / d x_m = r_m - w_m                                                    (w = softmax x)
 */
#include "base/error.h"
#include "base/memory.h"
#include "bias/bias.h"
#include "bias/table.h"

/* What one distance adds. share [terms, heads] is scratch. */
static void add_distance(const mep_bias *bias, double distance, int64_t length, const double *dtable, double *values,
                         double *share, double *dparams)
{
    int64_t heads = bias->heads;
    double *dweights = bias->spec.learn_weights ? dparams + bias->entries[bias->entry_count - 1].info.offset : NULL;
    mep_bias_log_values(bias, distance, values);
    for (int64_t h = 0; h < heads; h++) {
        double upstream = dtable[h * length + (int64_t)distance];
        mep_bias_share(bias, h, values, share);
        for (int64_t at = h; at < bias->spec.count * heads; at += heads) {
            if (dweights != NULL) dweights[at] += upstream * (share[at] - bias->weights[at]);
            share[at] *= upstream;
        }
    }
    for (int m = 0; m < bias->spec.count; m++) {
        double *grad[MEP_KERNEL_PARAMS] = {NULL};
        for (int i = 0; i < bias->entry_count; i++)
            if (bias->entries[i].term == m) grad[bias->entries[i].param] = dparams + bias->entries[i].info.offset;
        if (grad[0] != NULL) bias->terms[m].kernel->gradient(&bias->terms[m], distance, share + m * heads, grad);
    }
}

mep_status mep_bias_table_backward_with(const mep_bias *bias, int64_t length, const double *dtable, double *dparams,
                                        double *scratch)
{
    MEP_TRY(mep_bias_check_length(length));
    if (bias->value_count == 0) return MEP_OK;
    double *share = scratch + bias->spec.count * bias->heads;
    for (int64_t d = 0; d < length; d++) add_distance(bias, (double)d, length, dtable, scratch, share, dparams);
    return MEP_OK;
}

mep_status mep_bias_table_backward(const mep_bias *bias, int64_t length, const double *dtable, double *dparams)
{
    MEP_REQUIRE(bias, dtable);
    if (bias->value_count > 0) MEP_REQUIRE(dparams);
    double *scratch;
    MEP_TRY(mep_alloc(&scratch, mep_bias_scratch(bias), sizeof *scratch));
    mep_status status = mep_bias_table_backward_with(bias, length, dtable, dparams, scratch);
    mep_free(&scratch);
    return status;
}
