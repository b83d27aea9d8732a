/* SPDX-License-Identifier: MIT */
/*
 * Tables for a training step, which allocates nothing: mep_bias_table and mep_bias_table_backward with the caller's
 * scratch.
 */
#ifndef MEP_BIAS_TABLE_H
#define MEP_BIAS_TABLE_H

#include "mep/bias.h"

/* The number of values of scratch that the functions below need. One call at a time may use the scratch. */
int64_t mep_bias_scratch(const mep_bias *bias);

mep_status mep_bias_table_with(const mep_bias *bias, int64_t length, float *table, double *scratch);
mep_status mep_bias_table_backward_with(const mep_bias *bias, int64_t length, const double *dtable, double *dparams,
                                        double *scratch);

#endif
