/* SPDX-License-Identifier: MIT */
/*
 * What the measures share: means with their standard errors, the list of numbers that a measure appends to, and checks.
 */
#ifndef MEP_EVAL_MEASURE_DRAFT_H
#define MEP_EVAL_MEASURE_DRAFT_H

#include "dist/dist_group.h"
#include "mep/measure.h"

/* The mean of samples, and its standard error; NaN for fewer than two samples. The sums are made in order. */
typedef struct mep_mean {
    double value, standard_error;
    int64_t samples;
} mep_mean;

mep_mean mep_mean_of(const double *samples, int64_t count);

/* The ratio of the means of two samples, sum a / sum b, with the standard error of the ratio estimator. */
mep_mean mep_ratio_of(const double *a, const double *b, int64_t count);

/* Where the numbers of a call go until the call has succeeded. */
typedef struct mep_measure_draft {
    mep_measure added;
    int64_t length;
} mep_measure_draft;

/* Begin the numbers of a call at a length. Fails if `measure` holds numbers of another measure. */
mep_status mep_measure_begin(mep_measure_draft *draft, const mep_measure *measure, const char *name, const char *axis,
                             int64_t length);

/* Add a number of the whole model with its samples: their mean, or the ratio of two means times `scale`. */
mep_status mep_measure_add_samples(mep_measure_draft *draft, const char *name, double at, const double *samples,
                                   int64_t count);
mep_status mep_measure_add_ratio(mep_measure_draft *draft, const char *name, double at, double scale, const double *a,
                                 const double *b, int64_t count);

/* Add a number without its samples: of the whole model, or of a layer and head. */
mep_status mep_measure_add(mep_measure_draft *draft, const char *name, double at, mep_mean mean);
mep_status mep_measure_add_head(mep_measure_draft *draft, const char *name, int64_t layer, int64_t head, mep_mean mean);

/* End a call: append the numbers to `measure` if `status` is MEP_OK, and free the draft. Returns the status. */
mep_status mep_measure_end(mep_measure_draft *draft, mep_status status, mep_measure *measure);

/* Append a value of any kind to a measure, with its samples [value->samples]; NULL: without them. */
mep_status mep_measure_append(mep_measure *measure, const mep_measure_value *value, const double *samples);

/* The samples of a value; NULL if they are not kept. */
const double *mep_measure_samples(const mep_measure *measure, const mep_measure_value *value);

/* Reduce the samples of a value to at most `most` numbers with the same mean: means of consecutive samples, the last
 * one weighted by its size. The standard error over them is that over groups of segments. Returns their number. */
int64_t mep_measure_group_samples(double *samples, int64_t count, int64_t most);

/* Whether `at` of the axis is a number of tokens up to the length of the segment, so that its end stands for it. */
int mep_measure_is_within_segment(const mep_measure *measure);

/* The tokens of the data that a call may read. */
int64_t mep_measure_tokens(const mep_measure_call *call);

/* What a measure reads of the data. */
typedef enum mep_measure_data { MEP_MEASURE_NOTHING, MEP_MEASURE_TOKENS, MEP_MEASURE_LOSSES } mep_measure_data;

/* Check the pointers of a public call, and copy the call with a group. Fails for losses of data with a mask, in which
 * only some tokens are trained. */
mep_status mep_measure_open(mep_measure_call *own, const mep_measure_call *call, mep_measure_data needs_data);

/* Check what all measures have in common: positive sizes, a device that is available. */
mep_status mep_measure_check(const mep_measure_call *call);

#endif
