/* SPDX-License-Identifier: MIT */
/*
 * Checked, 64-byte aligned allocation. All memory of the library comes from here.
 */
#ifndef MEP_BASE_MEMORY_H
#define MEP_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "mep/status.h"

/* *product = a*b*c; MEP_ERROR_MEMORY when a factor is negative or the product does not fit int64_t. */
mep_status mep_multiply(int64_t a, int64_t b, int64_t c, int64_t *product);

/* Allocate count elements of `size` bytes, zeroed, 64-byte aligned, into the pointer at `pointer` (a T **). count 0
 * gives a valid pointer. On failure the pointer is NULL. Freed with mep_free. The memory is in use when this returns,
 * and a system that has promised more than it has ends the program without a word: a large block is therefore refused
 * (MEP_ERROR_MEMORY) where the system says that it has less. */
mep_status mep_alloc(void *pointer, int64_t count, size_t size);

/* Bytes that the system can still give, swap included; INT64_MAX where it does not tell (Linux does). */
int64_t mep_memory_available(void);

/* Grow the allocation in the pointer at `pointer` from old_count to new_count elements, keeping what is there. On
 * failure it is unchanged. */
mep_status mep_grow(void *pointer, int64_t old_count, int64_t new_count, size_t size);

/* Free the pointer at `pointer` (a T **) and set it to NULL. */
void mep_free(void *pointer);

/* A copy of a string, to be freed with mep_free. */
mep_status mep_copy_string(char **copy, const char *text);

/* A new string in printf form, to be freed with mep_free. */
mep_status mep_format(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Test hook: let the allocation number `n` (from 1) on this process fail once; 0 switches it off. Returns how many
 * allocations were made since the last call. */
int64_t mep_fail_allocation(int64_t n);

#endif
