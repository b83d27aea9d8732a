/* SPDX-License-Identifier: MIT */
/*
 * Matrix products by cuBLASLt, whose matrices are column-major: C [m x n] is its D = C^T [n x m], with C's stride as
 * the leading dimension, and C^T = op(B)^T op(A)^T. So B is its first operand, A its second, and a row of C, to which
 * the bias is added, is a column of D. No product is computed with TF32.
 */
#include "cuda/cuda_product.h"

#include <string.h>

#include "base/memory.h"
#include "cuda/cublaslt.h"
#include "cuda/cuda_rows.h"

enum { WORKSPACE_BYTES = 32 << 20, KNOWN = 128, MOST_ALIGNED = 256 };

/* All that the choice of an algorithm depends on. There is no padding: keys are compared as bytes. */
typedef struct product_shape {
    int64_t m, n, k, a_stride, b_stride, c_stride, with_bias;
    int32_t a_transposed, b_transposed, inputs, outputs; /* the last two are mep_dtype */
    uint32_t a_alignment, b_alignment, c_alignment, addend_alignment;
} product_shape;

/* A product as cuBLASLt needs it described, and the algorithm that it has chosen. */
typedef struct product {
    product_shape shape;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t first, second, result;
    cublasLtMatmulAlgo_t algorithm;
    int adds_bias; /* cuBLASLt adds the bias */
} product;

struct mep_cuda_products {
    const mep_cublaslt *lt;
    cublasLtHandle_t handle;
    void *workspace, *bias; /* bias [width]: that of a call, aligned, in the type of its C */
    int64_t width;
    int count, next; /* number of products in `known`; index that a new one replaces when it is full */
    product known[KNOWN];
};

static mep_status check(const mep_cublaslt *lt, cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS) return MEP_OK;
    return mep_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? MEP_ERROR_MEMORY : MEP_ERROR_UNSUPPORTED, "cuBLASLt: %s: %s",
                    what, lt->status_string(status));
}

static mep_status start(mep_cuda_products *all, int64_t width)
{
    all->lt = mep_cublaslt_load();
    if (all->lt == NULL) return MEP_ERROR_UNSUPPORTED;
    MEP_TRY(mep_cuda_alloc(&all->workspace, WORKSPACE_BYTES, 1));
    MEP_TRY(mep_cuda_alloc(&all->bias, width, sizeof(float)));
    all->width = width;
    return check(all->lt, all->lt->create(&all->handle), "the library does not start");
}

mep_status mep_cuda_products_create(mep_cuda_products **products, int64_t width)
{
    MEP_TRY(MEP_ALLOC(products, 1));
    mep_status status = start(*products, width);
    if (status != MEP_OK) mep_cuda_products_destroy(products);
    return status;
}

static void forget(const mep_cublaslt *lt, product *p)
{
    if (p->operation != NULL) lt->operation_destroy(p->operation);
    cublasLtMatrixLayout_t layouts[] = {p->first, p->second, p->result};
    for (int i = 0; i < 3; i++)
        if (layouts[i] != NULL) lt->layout_destroy(layouts[i]);
}

void mep_cuda_products_destroy(mep_cuda_products **products)
{
    mep_cuda_products *all = *products;
    if (all == NULL) return;
    for (int i = 0; i < all->count; i++) forget(all->lt, &all->known[i]);
    cudaFree(all->workspace);
    cudaFree(all->bias);
    if (all->handle != NULL) all->lt->destroy(all->handle);
    mep_free(products);
}

static uint32_t alignment(const void *p)
{
    uintptr_t bits = (uintptr_t)p | MOST_ALIGNED;
    return (uint32_t)(bits & -bits);
}

/* cuBLASLt adds a factor times one matrix of C's type: the values of C, or a residual where C is float32 too, or, where
 * these are the same matrix, twice that. */
static int adds_residual(const mep_gemm *g)
{
    return g->residual != NULL && g->c.dtype == MEP_FLOAT32 && (!g->accumulate || g->residual == g->c.data);
}

static const void *addend(const mep_gemm *g)
{
    return adds_residual(g) ? g->residual : g->c.data;
}

static product_shape shape_of(const mep_gemm *g)
{
    return (product_shape){.m = g->m,
                           .n = g->n,
                           .k = g->k,
                           .a_stride = g->a.stride,
                           .b_stride = g->b.stride,
                           .c_stride = g->c.stride,
                           .a_transposed = g->a.transposed != 0,
                           .b_transposed = g->b.transposed != 0,
                           .inputs = (int32_t)g->a.dtype,
                           .outputs = (int32_t)g->c.dtype,
                           .a_alignment = alignment(g->a.data),
                           .b_alignment = alignment(g->b.data),
                           .c_alignment = alignment(g->c.data),
                           .addend_alignment = alignment(addend(g)),
                           .with_bias = g->bias != NULL};
}

static cudaDataType_t type_of(int32_t dtype)
{
    return dtype == MEP_FLOAT32 ? CUDA_R_32F : CUDA_R_16BF;
}

/* Describe a matrix, rows x columns as it is stored, for cuBLASLt. */
static mep_status describe(const mep_cublaslt *lt, cublasLtMatrixLayout_t *layout, int32_t dtype, int64_t rows,
                           int64_t columns, int64_t stride)
{
    return check(lt, lt->layout_create(layout, type_of(dtype), (uint64_t)columns, (uint64_t)rows, stride), "layout");
}

static mep_status set(const mep_cublaslt *lt, product *p, cublasLtMatmulDescAttributes_t attribute, const void *value,
                      size_t bytes)
{
    return check(lt, lt->operation_set(p->operation, attribute, value, bytes), "description");
}

static mep_status set_epilogue(const mep_cublaslt *lt, product *p, int with_bias)
{
    cublasLtEpilogue_t epilogue = with_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    p->adds_bias = with_bias;
    return set(lt, p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
}

static mep_status describe_all(const mep_cublaslt *lt, product *p, const void *bias)
{
    const product_shape *s = &p->shape;
    int a = s->a_transposed, b = s->b_transposed;
    cublasOperation_t first = b ? CUBLAS_OP_T : CUBLAS_OP_N, second = a ? CUBLAS_OP_T : CUBLAS_OP_N;
    MEP_TRY(check(lt, lt->operation_create(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description"));
    MEP_TRY(set(lt, p, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    MEP_TRY(set(lt, p, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    MEP_TRY(set(lt, p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
    MEP_TRY(describe(lt, &p->first, s->inputs, b ? s->n : s->k, b ? s->k : s->n, s->b_stride));
    MEP_TRY(describe(lt, &p->second, s->inputs, a ? s->k : s->m, a ? s->m : s->k, s->a_stride));
    return describe(lt, &p->result, s->outputs, s->m, s->n, s->c_stride);
}

/* Partial sums over k are kept in float32 or not made; in the type of C they could be rounded to bfloat16. */
static mep_status prefer(const mep_cublaslt *lt, cublasLtMatmulPreference_t preference, const product_shape *s)
{
    const uint64_t workspace = WORKSPACE_BYTES;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } wanted[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &s->b_alignment, sizeof s->b_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &s->a_alignment, sizeof s->a_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &s->addend_alignment, sizeof s->addend_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &s->c_alignment, sizeof s->c_alignment},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        MEP_TRY(check(lt, lt->preference_set(preference, wanted[i].attribute, wanted[i].value, wanted[i].bytes),
                      "preferences"));
    return MEP_OK;
}

/* The first algorithm of cuBLASLt's list; where there is none, that for the product without bias, which is then added
 * separately. */
static mep_status choose(mep_cuda_products *all, product *p, cublasLtMatmulPreference_t preference)
{
    const product_shape *s = &p->shape;
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    MEP_TRY(prefer(all->lt, preference, s));
    for (int with_bias = (int)s->with_bias; with_bias >= 0; with_bias--) {
        cublasLtMatmulHeuristicResult_t found = {.state = CUBLAS_STATUS_NOT_SUPPORTED};
        int count = 0;
        MEP_TRY(set_epilogue(all->lt, p, with_bias));
        status = all->lt->heuristic(all->handle, p->operation, p->first, p->second, p->result, p->result, preference, 1,
                                    &found, &count);
        if (status == CUBLAS_STATUS_SUCCESS) status = found.state;
        p->algorithm = found.algo;
        if (status == CUBLAS_STATUS_SUCCESS) return MEP_OK;
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "cuBLASLt has no product of %s matrices %lld x %lld by %lld x %lld for this GPU: %s",
                    mep_dtype_name((mep_dtype)s->inputs), (long long)s->m, (long long)s->k, (long long)s->k,
                    (long long)s->n, all->lt->status_string(status));
}

static mep_status describe_and_choose(mep_cuda_products *all, product *p)
{
    cublasLtMatmulPreference_t preference = NULL;
    MEP_TRY(describe_all(all->lt, p, all->bias));
    MEP_TRY(check(all->lt, all->lt->preference_create(&preference), "preferences"));
    mep_status status = choose(all, p, preference);
    all->lt->preference_destroy(preference);
    return status;
}

/* Find the product of this shape, or describe it and choose its algorithm. */
static mep_status find(mep_cuda_products *all, const mep_gemm *g, product **found)
{
    const product_shape shape = shape_of(g);
    for (int i = 0; i < all->count; i++) {
        *found = &all->known[i];
        if (memcmp(&(*found)->shape, &shape, sizeof shape) == 0) return MEP_OK;
    }
    product made = {.shape = shape};
    mep_status status = describe_and_choose(all, &made);
    if (status != MEP_OK) {
        forget(all->lt, &made);
        return status;
    }
    *found = &all->known[all->next];
    if (all->count == KNOWN) forget(all->lt, *found);
    **found = made;
    all->next = (all->next + 1) % KNOWN;
    all->count += all->count < KNOWN;
    return MEP_OK;
}

mep_status mep_cuda_product(mep_cuda_products *all, const mep_gemm *g, cudaStream_t stream)
{
    const float alpha = 1, beta = (float)(adds_residual(g) + (g->accumulate != 0));
    product *p;
    if (g->b.packed) return mep_fail(MEP_ERROR_UNSUPPORTED, "matrix products on CUDA take no packed matrix");
    if (g->bias != NULL && g->n > all->width)
        return mep_fail(MEP_ERROR_ARGUMENT, "a product on CUDA was made for a bias of %lld values, found %lld",
                        (long long)all->width, (long long)g->n);
    MEP_TRY(find(all, g, &p));
    if (p->adds_bias)
        mep_cuda_convert(g->n, (mep_activation){(void *)g->bias, MEP_FLOAT32}, (mep_activation){all->bias, g->c.dtype},
                         stream);
    MEP_TRY(check(all->lt,
                  all->lt->matmul(all->handle, p->operation, &alpha, g->b.data, p->first, g->a.data, p->second, &beta,
                                  addend(g), p->result, g->c.data, p->result, &p->algorithm, all->workspace,
                                  WORKSPACE_BYTES, stream),
                  "matrix product"));
    mep_gemm rest = *g;
    if (p->adds_bias) rest.bias = NULL;
    if (adds_residual(g)) rest.residual = NULL;
    if (rest.bias != NULL || rest.residual != NULL || rest.slope_input != NULL || rest.activated != NULL)
        mep_cuda_gemm_finish(&rest, stream);
    return MEP_OK;
}
