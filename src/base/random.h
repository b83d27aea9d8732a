/* SPDX-License-Identifier: MIT */
/*
 * Counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011). A value depends on (seed, stream, index) only,
 * so any thread can compute any value in any order.
 */
#ifndef MEP_BASE_RANDOM_H
#define MEP_BASE_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 64 random bits. */
uint64_t mep_random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* Uniform in [0, 1), 53 bits. */
double mep_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);

/* Standard normal (Box-Muller). */
double mep_random_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* A stream number for a name (FNV-1a), so that a parameter's numbers depend on its name and not on its position. */
uint64_t mep_random_stream(const char *name);

#ifdef __cplusplus
}
#endif

#endif
