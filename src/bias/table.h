/* SPDX-License-Identifier: MIT */
/*
 * The bias of a model: tables for a training step, which allocates nothing (mep_bias_table and mep_bias_table_backward
 * with the caller's scratch), and what the model needs to know of its parameters.
 */
#ifndef MEP_BIAS_TABLE_H
#define MEP_BIAS_TABLE_H

#include "bias/kernel.h"
#include "mep/bias.h"

/* The number of values of scratch that the functions below need. One call at a time may use the scratch. */
int64_t mep_bias_scratch(const mep_bias *bias);

mep_status mep_bias_table_with(const mep_bias *bias, int64_t length, float *table, double *scratch);
mep_status mep_bias_table_backward_with(const mep_bias *bias, int64_t length, const double *dtable, double *dparams,
                                        double *scratch);

/* Whether mep_bias_set_params of these values would change nothing. */
int mep_bias_has_params(const mep_bias *bias, const float *values);

/* The number of kernels of a mixture whose weights depend on the query. Their order is that of the mixture's terms. */
int64_t mep_bias_kernels(const mep_bias *bias);

/* weights[h * kernels + m] = log w_m,h. */
void mep_bias_log_weights(const mep_bias *bias, float *weights);

/* table[(h * kernels + m) * length + d] = log K_m,h(d). */
mep_status mep_bias_kernel_tables(const mep_bias *bias, int64_t length, float *table, double *scratch);

/* Of the same mixture, whatever the weights: its value at distance 0 is from lowest[h] to highest[h], which are min_m
 * and max_m log K_m,h(0). */
mep_status mep_bias_kernels_at_zero(const mep_bias *bias, double *lowest, double *highest);

/* mep_bias_reach of max_m log K_m,h(d), the largest value that the mixture can have at d. */
mep_status mep_bias_kernels_reach(const mep_bias *bias, double bound, int64_t max_distance, int64_t *reach);

/* Chain rule: dparams += the gradient of the learned parameters from that of the tables and, at dlog_weights, laid out
 * as in mep_bias_log_weights, that of the logarithms of the weights, which sums to 0 in each head. */
mep_status mep_bias_kernel_tables_backward(const mep_bias *bias, int64_t length, const double *dtable,
                                           const double *dlog_weights, double *dparams, double *scratch);

/* The bias as a function of x (kernel.h). Returns 0 where it does not depend on the position of the query. The pointers
 * are valid until parameters change. */
int mep_bias_get_pieces(const mep_bias *bias, mep_bias_pieces *pieces);

/* Chain rule: dparams += the gradient from sums [heads, MEP_BIAS_PIECES, 3] (mep_kernel.pieces_gradient). */
void mep_bias_pieces_backward(const mep_bias *bias, const double *sums, double *dparams);

#endif
