/* SPDX-License-Identifier: MIT */
/*
 * Whether this process can use AMX, the tile registers of x86-64. Kernels: base/amx_product.h.
 */
#ifndef MEP_BASE_AMX_H
#define MEP_BASE_AMX_H

/* NULL where the CPU has AMX-TILE and AMX-BF16 and the operating system lets this process use tile registers; otherwise
 * what is missing, as a sentence without its end. Linux gives tile registers to processes that request them: the first
 * call does, for all threads and children of the process, and later calls are harmless. Thread-safe. */
const char *mep_amx_missing(void);

#endif
