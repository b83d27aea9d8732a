/* SPDX-License-Identifier: MIT */
/*
 * The kernels as Python source for exported models, from the rows of the C kernels.
 */
#ifndef MEP_BIAS_PYTHON_KERNELS_H
#define MEP_BIAS_PYTHON_KERNELS_H

#include "mep/status.h"

/* *text = the definitions that src/io/python/modeling_mep.py needs: KERNELS, NAMED and OTHERS. The caller frees it with
 * mep_free. */
mep_status mep_python_kernels(char **text);

#endif
