/* SPDX-License-Identifier: MIT */
/*
 * The list of kernels. A new kernel is a file kernel_NAME.c and a row here.
 */
#include "bias/kernel.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

extern const mep_kernel mep_kernel_exp, mep_kernel_gauss, mep_kernel_tanh, mep_kernel_t5, mep_kernel_kerple_log,
    mep_kernel_kerple_power, mep_kernel_sandwich;

const mep_kernel *const mep_kernels[] = {
    &mep_kernel_exp,        &mep_kernel_gauss,        &mep_kernel_tanh,     &mep_kernel_t5,
    &mep_kernel_kerple_log, &mep_kernel_kerple_power, &mep_kernel_sandwich, NULL,
};

const mep_kernel *mep_kernel_find(const char *name, int64_t length)
{
    for (const mep_kernel *const *kernel = mep_kernels; *kernel != NULL; kernel++)
        if (strlen((*kernel)->name) == (size_t)length && memcmp((*kernel)->name, name, (size_t)length) == 0)
            return *kernel;
    return NULL;
}

int mep_kernel_param_count(const mep_kernel *kernel, int learn_slopes)
{
    int count = 0;
    while (kernel->params[count].name != NULL) count++;
    return kernel->has_slope && !learn_slopes ? 0 : count;
}

double mep_kernel_init_log_c(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t place)
{
    (void)param, (void)seed, (void)stream, (void)place;
    return log(term->options[MEP_OPTION_C]);
}
