/* SPDX-License-Identifier: MIT */
/*
 * uniform: log K = 0. In a mixture it is a floor, so that no head stops seeing distant keys; the reach is infinite.
 */
#include "bias/kernel.h"

static void log_value(const mep_term *term, double distance, double *out)
{
    (void)distance;
    for (int64_t h = 0; h < term->heads; h++) out[h] = 0.0;
}

const mep_kernel mep_kernel_uniform = {
    .name = "uniform",
    .help = "0: in a sum a floor under the other kernels",
    .formula = "0",
    .python = "return torch.zeros(k.heads, d.shape[0], dtype=d.dtype, device=d.device)",
    .log_value = log_value,
};
