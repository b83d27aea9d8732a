/* SPDX-License-Identifier: MIT */
/*
 * The contents of a mep_position, and what other rooms of the library need beyond the public functions.
 */
#ifndef MEP_BIAS_POSITION_H
#define MEP_BIAS_POSITION_H

#include "bias/spec.h"
#include "mep/bias.h"

struct mep_position {
    mep_position_kind kind;
    mep_spec mixture; /* of MEP_POSITION_BIAS */
    char *spec;       /* canonical form */
};

/* *same = 1 where two specs are the same encoding. Fails where one of them is wrong. */
mep_status mep_position_specs_same(const char *a, const char *b, int *same);

/* The number of learned values that this position has in a model with `heads` heads. It is a floating-point number
 * because a spec can request more values than an integer can count. */
double mep_position_values(const mep_position *position, int64_t heads);

#endif
