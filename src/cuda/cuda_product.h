/* SPDX-License-Identifier: MIT */
/*
 * Matrix products on the GPU: mep_gemm (nn/gemm.h) by cuBLASLt, and by a kernel of ours what that does not do.
 */
#ifndef MEP_CUDA_GEMM_H
#define MEP_CUDA_GEMM_H

#include "cuda/runtime.h"
#include "nn/gemm.h"

/* cuBLASLt, its workspace, and what it has chosen for the products seen so far; used by one thread at a time. */
typedef struct mep_cuda_products mep_cuda_products;

/* For products whose bias has up to `width` values. */
mep_status mep_cuda_products_create(mep_cuda_products **products, int64_t width);
void mep_cuda_products_destroy(mep_cuda_products **products);

/*
 * Queue the product. All pointers are the device's; B is not packed.
 *
 * The same bits for the same shapes, types and alignments on the same kind of GPU; other bits for other shapes, even of
 * rows that both have. Where C is bfloat16, x is rounded to it before the residual, gelu' and GELU, so these may round
 * a second time; bias is then itself rounded to bfloat16. Fails where cuBLASLt has no such product.
 */
mep_status mep_cuda_product(mep_cuda_products *products, const mep_gemm *gemm, cudaStream_t stream);

#endif
