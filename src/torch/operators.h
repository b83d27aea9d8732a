/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the PyTorch operators, in the form of its stable ABI.
 */
#ifndef MEP_TORCH_OPERATORS_H
#define MEP_TORCH_OPERATORS_H

#include "torch/stable_abi.h"

void mep_torch_attention(stable_value *stack, uint64_t arguments, uint64_t results);
void mep_torch_attention_backward(stable_value *stack, uint64_t arguments, uint64_t results);

#endif
