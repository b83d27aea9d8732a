/* SPDX-License-Identifier: MIT */
/*
 * The name under which host code in C includes the runtime's API; see cuda_runtime.h.
 */
#include "cuda_runtime.h"
