/* SPDX-License-Identifier: MIT */
/*
 * The gradient of the learned parameters from the gradient of the table: the chain rule through the mixture.
 *
 *     d b / d theta = r_m d log K_m / d theta,  r_m = w_m K_m / sum_n w_n K_n     (theta of kernel m)
 *     d b / d x_m = r_m - w_m                                                    (w = softmax x)
 */
#include "base/error.h"
#include "base/memory.h"
#include "bias/bias_internal.h"
#include "bias/table.h"

/* Add the contribution of one distance. values and upstream [terms, heads] are scratch. */
static void add_distance(const mep_bias *bias, double distance, int64_t length, const double *dtable, double *values,
                         double *upstream, double *dparams)
{
    int64_t heads = bias->heads;
    double *dweights = bias->weights_offset < 0 ? NULL : dparams + bias->weights_offset;
    mep_bias_log_values(bias, distance, values);
    for (int64_t h = 0; h < heads; h++) {
        double dbias = dtable[h * length + (int64_t)distance];
        mep_bias_responsibilities(bias, h, values, upstream);
        for (int64_t at = h; at < bias->spec.count * heads; at += heads) {
            if (dweights != NULL) dweights[at] += dbias * (upstream[at] - bias->weights[at]);
            upstream[at] *= dbias;
        }
    }
    for (int m = 0; m < bias->spec.count; m++)
        if (bias->learns[m]) bias->terms[m].kernel->gradient(&bias->terms[m], distance, upstream + m * heads, dparams);
}

mep_status mep_bias_table_backward_with(const mep_bias *bias, int64_t length, const double *dtable, double *dparams,
                                        double *scratch)
{
    MEP_TRY(mep_bias_check_length(length));
    if (bias->value_count == 0) return MEP_OK;
    double *upstream = scratch + bias->spec.count * bias->heads;
    for (int64_t d = 0; d < length; d++) add_distance(bias, (double)d, length, dtable, scratch, upstream, dparams);
    return MEP_OK;
}

mep_status mep_bias_table_backward(const mep_bias *bias, int64_t length, const double *dtable, double *dparams)
{
    MEP_REQUIRE(bias, dtable);
    if (bias->value_count > 0) MEP_REQUIRE(dparams);
    double *scratch;
    MEP_TRY(MEP_ALLOC(&scratch, mep_bias_scratch(bias)));
    mep_status status = mep_bias_table_backward_with(bias, length, dtable, dparams, scratch);
    mep_free(&scratch);
    return status;
}

mep_status mep_bias_kernel_tables_backward(const mep_bias *bias, int64_t length, const double *dtable,
                                           const double *dlog_weights, double *dparams, double *scratch)
{
    int64_t kernels = bias->spec.count, heads = bias->heads;
    MEP_TRY(mep_bias_check_length(length));
    /* log w = x - log sum exp x, and the gradient of log w sums to 0 */
    for (int64_t i = 0; bias->weights_offset >= 0 && i < kernels * heads; i++)
        dparams[bias->weights_offset + i] += dlog_weights[i % heads * kernels + i / heads];
    for (int m = 0; m < kernels; m++)
        for (int64_t d = 0; d < length && bias->learns[m]; d++) {
            for (int64_t h = 0; h < heads; h++) scratch[h] = dtable[(h * kernels + m) * length + d];
            bias->terms[m].kernel->gradient(&bias->terms[m], (double)d, scratch, dparams);
        }
    return MEP_OK;
}
