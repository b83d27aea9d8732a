/* SPDX-License-Identifier: MIT */
/*
 * The list of kernels. A new kernel is a file kernel_NAME.c and a row here.
 */
#include "bias/kernel.h"

#include <string.h>

/* The kernels, in the order in which the terms of a mixture are kept; new ones come last. */
#define KERNELS(row)                                                                                                   \
    row(exp) row(gauss) row(tanh) row(t5) row(kerple_log) row(kerple_power) row(sandwich) row(uniform) row(bam)        \
        row(fire)

#define DECLARE(name) extern const mep_kernel mep_kernel_##name;
#define ADDRESS(name) &mep_kernel_##name,

KERNELS(DECLARE)
const mep_kernel *const mep_kernels[] = {KERNELS(ADDRESS) NULL};

const mep_kernel *mep_kernel_find(const char *name, int64_t length)
{
    for (const mep_kernel *const *kernel = mep_kernels; *kernel != NULL; kernel++)
        if (strlen((*kernel)->name) == (size_t)length && memcmp((*kernel)->name, name, (size_t)length) == 0)
            return *kernel;
    return NULL;
}

int mep_kernel_option_count(const mep_kernel *kernel)
{
    int count = 0;
    while (kernel->options != NULL && kernel->options[count].name != NULL) count++;
    return count;
}

int mep_kernel_param_count(const mep_kernel *kernel)
{
    int count = 0;
    while (kernel->params != NULL && kernel->params[count].name != NULL) count++;
    return count;
}
