/* SPDX-License-Identifier: MIT */
/*
 * Time for progress lines and benchmarks.
 */
#ifndef MEP_BASE_CLOCK_H
#define MEP_BASE_CLOCK_H

/* Seconds of the monotonic clock. */
double mep_now(void);

#endif
