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

/* `pointer`, which the compiler checks to be the address of a pointer. */
#define MEP_POINTER_AT(pointer) ((void)sizeof(*(pointer) == NULL), (pointer))

/* Allocate `count` elements of T, zeroed and aligned to 64 bytes, into the T * at `pointer`. With a count of 0 the
 * pointer is valid; on failure it is NULL. The caller frees it with mep_free.
 *
 * The memory is written before this returns. A system that overcommits memory may kill a program that writes more than
 * there is; a large block is therefore refused (MEP_ERROR_MEMORY) where the system reports that less is available. */
#define MEP_ALLOC(pointer, count) mep_alloc(MEP_POINTER_AT(pointer), count, sizeof **(pointer))

/* Change the allocation in the T * at `pointer` from old_count to new_count elements and keep the elements that both
 * have; new elements are zero. On failure it is unchanged. */
#define MEP_GROW(pointer, old_count, new_count)                                                                        \
    mep_grow(MEP_POINTER_AT(pointer), old_count, new_count, sizeof **(pointer))

/* MEP_ALLOC and MEP_GROW for elements whose size is known at run time only. */
mep_status mep_alloc(void *pointer, int64_t count, size_t size);
mep_status mep_grow(void *pointer, int64_t old_count, int64_t new_count, size_t size);

/* Bytes that the system can still provide, including swap; INT64_MAX where it does not report that (Linux does). */
int64_t mep_memory_available(void);

/* Free the memory of the pointer at `pointer`, which becomes NULL. */
void mep_free(void *pointer);
#define mep_free(pointer) mep_free(MEP_POINTER_AT(pointer))

/* A copy of a string, to be freed with mep_free. */
mep_status mep_copy_string(char **copy, const char *text);

/* A new string in printf form, to be freed with mep_free. */
mep_status mep_format(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Test hook: let the allocation number `n` (from 1) on this process fail once; 0 switches it off. Returns how many
 * allocations were made since the last call. */
int64_t mep_fail_allocation(int64_t n);

#endif
