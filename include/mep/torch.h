/* SPDX-License-Identifier: MIT */
/*
 * Kernels for PyTorch's operators libmep::attention and libmep::attention_backward, through the stable C interface of
 * its library (LibTorch, 2.10 and later). For the Python package, whose module libmep.torch defines the operators.
 */
#ifndef MEP_TORCH_H
#define MEP_TORCH_H

#include "mep/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The address of the function `name` of the PyTorch library in this process, as dlsym returns it, or NULL. */
typedef void *(*mep_torch_find_fn)(void *context, const char *name);

/* Register the CPU kernels of the two operators, whose schemas the program defines. The kernels remain for the life of
 * the process; later calls do nothing. MEP_ERROR_UNSUPPORTED where PyTorch lacks a function that they need: nothing is
 * registered then. Thread-safe. */
MEP_API mep_status mep_torch_register(mep_torch_find_fn find, void *context);

#ifdef __cplusplus
}
#endif

#endif
