/* SPDX-License-Identifier: MIT */
/*
 * The tables of the CUDA back end, for src/backends/registry.c.
 */
#ifndef MEP_CUDA_BACKEND_H
#define MEP_CUDA_BACKEND_H

#include "attention/attention_backend.h"
#include "base/backend.h"
#include "nn/network.h"

extern const mep_device_memory mep_cuda_memory;
extern const mep_attention_backend mep_cuda_attention;
extern const mep_network mep_cuda_network;

#endif
