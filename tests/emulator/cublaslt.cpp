/* SPDX-License-Identifier: MIT */
/*
 * cuBLASLt on the emulator (cublasLt.h): checks, and plain products.
 */
#include "cublasLt.h"

#include <stdarg.h>
#include <stdio.h>
#include <vector>

#include "inside.h"

struct cublasLtContext {
    uint64_t mark;
};

namespace {

enum : uint64_t { HANDLE = 0x48414e444c45, LAYOUT = 0x4c41594f5554, DESC = 0x44455343, PREFERENCE = 0x50524546 };
enum : size_t { WORKSPACE_NEEDED = 64 * 1024, WORKSPACE_ALIGNMENT = 256 };

unsigned long choices;

/* The contents of the opaque structures. */
struct layout {
    uint64_t mark, rows, columns;
    int64_t ld;
    int32_t type;
};

struct description {
    uint64_t mark;
    int32_t transposed[2], epilogue;
    const void *bias;
};

struct preferences {
    uint64_t mark, workspace;
    uint32_t reductions, alignment[4]; /* of A, B, C, D */
};

struct algorithm {
    uint64_t product, workspace;
    uint32_t alignment[5]; /* of A, B, C, D and bias */
};

template <class T, class Opaque> T open(const Opaque *opaque)
{
    static_assert(sizeof(T) <= sizeof(Opaque), "does not fit");
    T inside = {};
    if (opaque != NULL) memcpy(static_cast<void *>(&inside), opaque, sizeof inside);
    return inside;
}

template <class T, class Opaque> cublasStatus_t close(Opaque *opaque, const T &inside)
{
    memset(opaque, 0, sizeof *opaque);
    memcpy(static_cast<void *>(opaque), static_cast<const void *>(&inside), sizeof inside);
    return CUBLAS_STATUS_SUCCESS;
}

__attribute__((format(printf, 1, 2))) cublasStatus_t misused(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "CUDA emulator: cuBLASLt: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    return CUBLAS_STATUS_INVALID_VALUE;
}

template <class T, class Opaque> cublasStatus_t destroy(Opaque *opaque, uint64_t mark)
{
    if (open<T>(opaque).mark != mark) return misused("what is destroyed was not created, or destroyed before");
    close(opaque, T{});
    delete opaque;
    return CUBLAS_STATUS_SUCCESS;
}

size_t bytes_of(int32_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

/* Bytes from the first to the last element. */
size_t extent(const layout &l)
{
    return ((l.columns - 1) * (size_t)l.ld + l.rows) * bytes_of(l.type);
}

/* Everything that describes a product, except its pointers. */
struct product {
    description desc;
    layout a, b, c, d;
    uint64_t m, n, k;
};

/* A number that differs between products. */
uint64_t number_of(const product &p)
{
    uint64_t number = 14695981039346656037u;
    const uint64_t parts[] = {(uint64_t)p.desc.transposed[0],
                              (uint64_t)p.desc.transposed[1],
                              (uint64_t)p.desc.epilogue,
                              p.m,
                              p.n,
                              p.k,
                              (uint64_t)p.a.ld,
                              (uint64_t)p.b.ld,
                              (uint64_t)p.c.ld,
                              (uint64_t)p.d.ld,
                              (uint64_t)p.a.type,
                              (uint64_t)p.d.type};
    for (uint64_t part : parts) number = (number ^ part) * 1099511628211u;
    return number;
}

/* Collect the product's description from its parts, and check that they fit. */
cublasStatus_t assemble(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                        cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, product *p)
{
    if (handle == NULL || handle->mark != HANDLE) return misused("no handle, or one that was destroyed");
    *p = {open<description>(desc), open<layout>(a), open<layout>(b), open<layout>(c), open<layout>(d), 0, 0, 0};
    const layout *layouts[] = {&p->a, &p->b, &p->c, &p->d};
    if (p->desc.mark != DESC) return misused("a description that was not created");
    for (const layout *l : layouts) {
        if (l->mark != LAYOUT) return misused("a layout that was not created");
        if (l->rows == 0 || l->columns == 0 || l->ld < (int64_t)l->rows)
            return misused("a matrix of %llu x %llu with leading dimension %lld", (unsigned long long)l->rows,
                           (unsigned long long)l->columns, (long long)l->ld);
    }
    uint64_t k = p->desc.transposed[1] ? p->b.columns : p->b.rows;
    p->m = p->desc.transposed[0] ? p->a.columns : p->a.rows;
    p->k = p->desc.transposed[0] ? p->a.rows : p->a.columns;
    p->n = p->desc.transposed[1] ? p->b.rows : p->b.columns;
    if (p->k != k || p->d.rows != p->m || p->d.columns != p->n || p->c.rows != p->m || p->c.columns != p->n)
        return misused("%llu x %llu by %llu x %llu gives no %llu x %llu", (unsigned long long)p->m,
                       (unsigned long long)p->k, (unsigned long long)k, (unsigned long long)p->n,
                       (unsigned long long)p->d.rows, (unsigned long long)p->d.columns);
    if (p->a.type != p->b.type || p->c.type != p->d.type || (p->a.type == CUDA_R_32F && p->d.type != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

bool is_aligned(const void *p, uint32_t alignment)
{
    return (uintptr_t)p % alignment == 0;
}

bool overlap(const void *p, size_t bytes_p, const void *q, size_t bytes_q)
{
    return (uintptr_t)p < (uintptr_t)q + bytes_q && (uintptr_t)q < (uintptr_t)p + bytes_p;
}

/* Check the pointers of a product: in memory, aligned as the algorithm needs it, and D separate from what is read. */
cublasStatus_t check_pointers(const product &p, const algorithm &chosen, const void *a, const void *b, const void *c,
                              const void *d, bool reads_c)
{
    bool has_bias = p.desc.epilogue == CUBLASLT_EPILOGUE_BIAS;
    const struct {
        const char *name;
        const void *start;
        size_t bytes;
        bool used;
    } all[] = {{"A", a, extent(p.a), true},
               {"B", b, extent(p.b), true},
               {"C", c, extent(p.c), true},
               {"D", d, extent(p.d), true},
               {"the bias", p.desc.bias, p.m * bytes_of(p.d.type), has_bias}};
    for (int i = 0; i < 5; i++) {
        if (!all[i].used) continue;
        if (!emulator::in_memory(all[i].start, all[i].bytes))
            return misused("the %zu bytes of %s are not in one piece of device memory", all[i].bytes, all[i].name);
        if (!is_aligned(all[i].start, chosen.alignment[i]))
            return misused("%s is not aligned to %u bytes, for which the algorithm was chosen", all[i].name,
                           chosen.alignment[i]);
        bool apart = !overlap(all[i].start, all[i].bytes, d, extent(p.d));
        if (i == 3 || apart || (i == 2 && (!reads_c || (c == d && p.c.ld == p.d.ld)))) continue;
        return misused("D overlaps %s", all[i].name);
    }
    return CUBLAS_STATUS_SUCCESS;
}

float value_at(const void *data, int32_t type, size_t i)
{
    return type == CUDA_R_32F ? static_cast<const float *>(data)[i] : bf16_low(static_cast<const uint16_t *>(data)[i]);
}

/* op(X), column-major without gaps. */
std::vector<float> unpack(const void *data, const layout &l, bool transposed)
{
    std::vector<float> values(l.rows * l.columns);
    for (uint64_t c = 0; c < l.columns; c++)
        for (uint64_t r = 0; r < l.rows; r++)
            values[transposed ? r * l.columns + c : c * l.rows + r] = value_at(data, l.type, c * (size_t)l.ld + r);
    return values;
}

void multiply(const product &p, float alpha, const void *a, const void *b, float beta, const void *c, void *d)
{
    std::vector<float> left = unpack(a, p.a, p.desc.transposed[0]);
    std::vector<float> right = unpack(b, p.b, p.desc.transposed[1]), sums(p.m);
    for (uint64_t n = 0; n < p.n; n++) {
        sums.assign(p.m, 0);
        for (uint64_t k = 0; k < p.k; k++)
            for (uint64_t m = 0; m < p.m; m++) sums[m] += left[k * p.m + m] * right[n * p.k + k];
        for (uint64_t m = 0; m < p.m; m++) {
            float x = alpha * sums[m];
            if (beta != 0) x += beta * value_at(c, p.c.type, n * (size_t)p.c.ld + m);
            if (p.desc.epilogue == CUBLASLT_EPILOGUE_BIAS) x += value_at(p.desc.bias, p.d.type, m);
            size_t at = n * (size_t)p.d.ld + m;
            if (p.d.type == CUDA_R_32F)
                static_cast<float *>(d)[at] = x;
            else
                static_cast<uint16_t *>(d)[at] = (uint16_t)pack_bf16(x, 0);
        }
    }
}

} // namespace

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the functionality requested is not supported";
    }
    return "unknown status";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new cublasLtContext{HANDLE};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    if (handle == NULL || handle->mark != HANDLE) return misused("no handle, or one that was destroyed");
    handle->mark = 0;
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    *l = new cublasLtMatrixLayoutOpaque_t;
    return close(*l, layout{LAYOUT, rows, cols, ld, type});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    return destroy<layout>(l, LAYOUT);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale)
{
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return misused("a product in another type than float32");
    *desc = new cublasLtMatmulDescOpaque_t;
    return close(*desc, description{DESC, {CUBLAS_OP_N, CUBLAS_OP_N}, CUBLASLT_EPILOGUE_DEFAULT, NULL});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    return destroy<description>(desc, DESC);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    description inside = open<description>(desc);
    if (inside.mark != DESC) return misused("a description that was not created");
    if (value == NULL || bytes != (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof(void *) : 4))
        return misused("attribute %d of a product in %zu bytes", (int)attribute, bytes);
    int32_t number = 0;
    if (bytes == sizeof number) memcpy(&number, value, sizeof number);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
    case CUBLASLT_MATMUL_DESC_TRANSB:
        if (number != CUBLAS_OP_N && number != CUBLAS_OP_T) return misused("operation %d on a matrix", number);
        inside.transposed[attribute - CUBLASLT_MATMUL_DESC_TRANSA] = number == CUBLAS_OP_T;
        break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        if (number != CUBLASLT_EPILOGUE_DEFAULT && number != CUBLASLT_EPILOGUE_BIAS)
            return misused("epilogue %d, which the emulator does not know", number);
        inside.epilogue = number;
        break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        memcpy(static_cast<void *>(&inside.bias), value, sizeof inside.bias);
        break;
    default:
        return misused("attribute %d of a product, which the emulator does not know", (int)attribute);
    }
    return close(desc, inside);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = new cublasLtMatmulPreferenceOpaque_t;
    return close(*preference, preferences{PREFERENCE, 0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}});
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return destroy<preferences>(preference, PREFERENCE);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes)
{
    preferences inside = open<preferences>(preference);
    if (inside.mark != PREFERENCE) return misused("preferences that were not created");
    if (value == NULL || bytes != (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4))
        return misused("preference %d in %zu bytes", (int)attribute, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        memcpy(&inside.workspace, value, bytes);
    else if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        memcpy(&inside.reductions, value, bytes);
    else if (attribute >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES)
        memcpy(&inside.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    return close(preference, inside);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    product p;
    *found = 0;
    choices++;
    cublasStatus_t status = assemble(handle, desc, a, b, c, d, &p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    preferences preferred = open<preferences>(preference);
    if (preferred.mark != PREFERENCE) return misused("preferences that were not created");
    if (wanted < 1) return misused("%d algorithms wanted", wanted);
    if (preferred.reductions & ~(uint32_t)CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)
        return misused("sums over k that are kept in the type of D");
    for (uint32_t alignment : preferred.alignment)
        if (alignment == 0 || (alignment & (alignment - 1)) != 0) return misused("an alignment of %u", alignment);
    if (p.desc.epilogue == CUBLASLT_EPILOGUE_BIAS && p.m == 1) return CUBLAS_STATUS_NOT_SUPPORTED;
    uintptr_t bias = (uintptr_t)p.desc.bias | 256;
    uint64_t workspace = preferred.workspace < WORKSPACE_NEEDED ? preferred.workspace : WORKSPACE_NEEDED;
    algorithm chosen = {number_of(p),
                        workspace,
                        {preferred.alignment[0], preferred.alignment[1], preferred.alignment[2], preferred.alignment[3],
                         (uint32_t)(bias & -bias)}};
    *results = {};
    results->workspaceSize = workspace;
    *found = 1;
    return close(&results->algo, chosen);
}

unsigned long cuda_emulator_choices(void)
{
    return choices;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t)
{
    product p;
    float factors[2];
    cublasStatus_t status = assemble(handle, desc, a_layout, b_layout, c_layout, d_layout, &p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (emulator::keep_kernel_error(cudaSuccess) != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
    algorithm chosen = open<algorithm>(algo);
    if (algo == NULL || chosen.product != number_of(p))
        return misused("an algorithm that was chosen for another product");
    if (workspace_bytes < chosen.workspace || !emulator::in_memory(workspace, workspace_bytes) ||
        !is_aligned(workspace, WORKSPACE_ALIGNMENT))
        return misused("a workspace of %zu bytes at %p, %llu aligned bytes are needed", workspace_bytes, workspace,
                       (unsigned long long)chosen.workspace);
    if (alpha == NULL || beta == NULL || emulator::in_memory(alpha, 4) || emulator::in_memory(beta, 4))
        return misused("alpha and beta are not in host memory");
    memcpy(&factors[0], alpha, sizeof *factors);
    memcpy(&factors[1], beta, sizeof *factors);
    status = check_pointers(p, chosen, a, b, c, d, factors[1] != 0);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    emulator::open_memory(true);
    memset(workspace, 0xff, chosen.workspace);
    multiply(p, factors[0], a, b, factors[1], c, d);
    emulator::open_memory(false);
    return CUBLAS_STATUS_SUCCESS;
}
