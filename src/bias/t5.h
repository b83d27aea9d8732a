/* SPDX-License-Identifier: MIT */
/*
 * T5's buckets of distances, for the kernel t5 and its test.
 */
#ifndef MEP_BIAS_T5_H
#define MEP_BIAS_T5_H

#include <stdint.h>

/* The bucket, 0 .. buckets-1, of a distance >= 0; buckets >= 2, max > buckets/2. */
int64_t mep_t5_bucket(double distance, int64_t buckets, double max);

#endif
