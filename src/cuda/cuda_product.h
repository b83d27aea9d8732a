/* SPDX-License-Identifier: MIT */
/*
 * Matrix products on the GPU: mep_gemm (nn/gemm.h) by cuBLASLt, and by an own kernel where cuBLASLt lacks an operation.
 */
#ifndef MEP_CUDA_GEMM_H
#define MEP_CUDA_GEMM_H

#include "cuda/runtime.h"
#include "nn/gemm.h"

/* cuBLASLt, its workspace, and the algorithms of the products that it has computed; used by one thread at a time. */
typedef struct mep_cuda_products mep_cuda_products;

/* For products whose bias has up to `width` values. */
mep_status mep_cuda_products_create(mep_cuda_products **products, int64_t width);
void mep_cuda_products_destroy(mep_cuda_products **products);

/*
 * Queue the product. All pointers are to device memory; B is not packed.
 *
 * Bits are the same for the same shapes, types and alignments on the same kind of GPU. They differ between shapes, also
 * in rows that two products have in common. Where C is bfloat16, x is rounded to bfloat16 before the residual, f'
 * and f, so these can round a second time; bias is itself rounded to bfloat16 then. Fails where cuBLASLt has no such
 * product.
 */
mep_status mep_cuda_product(mep_cuda_products *products, const mep_gemm *gemm, cudaStream_t stream);

#endif
