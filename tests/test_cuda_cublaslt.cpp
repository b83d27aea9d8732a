/* SPDX-License-Identifier: MIT */
/*
 * The emulator's cuBLASLt: products compared with plain loops over column-major matrices, and every misuse that it
 * reports, each as one change to a correct call.
 */
#include <cublasLt.h>
#include <functional>
#include <stdio.h>

#include "base/bf16.h"
#include "cuda_test.h"

enum { M = 5, N = 7, K = 6, LD = 9, PLACE = 4096 /* bytes of memory per matrix */ };

/* D [M x N] = op(A) op(B) + beta C (+ bias), in device memory one after the other: A, B, C, D, bias, workspace. */
struct call {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t chosen;
    char *memory, *at[6];
    size_t workspace_bytes;
    float alpha, beta;
    int found;
    bool transposed[2], with_bias;
    cudaDataType_t inputs, outputs;

    template <class T> cublasStatus_t set(cublasLtMatmulDescAttributes_t attribute, T value)
    {
        return cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value);
    }

    template <class T> cublasStatus_t prefer(cublasLtMatmulPreferenceAttributes_t attribute, T value)
    {
        return cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
    }

    call(bool a_transposed, bool b_transposed, bool bias, cudaDataType_t in, cudaDataType_t out)
        : workspace_bytes(1 << 20), alpha(1), beta(1), found(0), transposed{a_transposed, b_transposed},
          with_bias(bias), inputs(in), outputs(out)
    {
        std::vector<unsigned char> nothing(5 * PLACE + workspace_bytes);
        assert_int_equal(cudaMalloc((void **)&memory, nothing.size()), cudaSuccess);
        assert_int_equal(cudaMemcpy(memory, nothing.data(), nothing.size(), cudaMemcpyHostToDevice), cudaSuccess);
        for (int i = 0; i < 6; i++) at[i] = memory + i * PLACE;
        assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
        cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
        cublasLtMatrixLayoutCreate(&a, in, transposed[0] ? K : M, transposed[0] ? M : K, LD);
        cublasLtMatrixLayoutCreate(&b, in, transposed[1] ? N : K, transposed[1] ? K : N, LD);
        cublasLtMatrixLayoutCreate(&c, out, M, N, LD);
        cublasLtMatrixLayoutCreate(&d, out, M, N, LD);
        cublasLtMatmulPreferenceCreate(&preference);
        set(CUBLASLT_MATMUL_DESC_TRANSA, transposed[0] ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, transposed[1] ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, with_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
        set<const void *>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, at[4]);
        prefer<uint64_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
        prefer<uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    }
    call(const call &) = delete;
    ~call()
    {
        cublasLtMatrixLayout_t layouts[] = {a, b, c, d};
        for (cublasLtMatrixLayout_t layout : layouts) cublasLtMatrixLayoutDestroy(layout);
        cublasLtMatmulDescDestroy(desc);
        cublasLtMatmulPreferenceDestroy(preference);
        if (handle != NULL) cublasLtDestroy(handle);
        cudaFree(memory);
    }

    cublasStatus_t choose()
    {
        return cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, c, d, preference, 1, &chosen, &found);
    }
    cublasStatus_t run()
    {
        return cublasLtMatmul(handle, desc, &alpha, at[0], a, at[1], b, &beta, at[2], c, at[3], d, &chosen.algo, at[5],
                              workspace_bytes, NULL);
    }
    void relayout(cublasLtMatrixLayout_t *layout, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t ld)
    {
        cublasLtMatrixLayoutDestroy(*layout);
        cublasLtMatrixLayoutCreate(layout, type, rows, columns, ld);
    }
};

/* LD x 9 small integers in the type. */
static std::vector<unsigned char> numbers(cudaDataType_t type, unsigned seed, std::vector<float> *values)
{
    std::vector<unsigned char> bytes;
    for (int i = 0; i < LD * 9; i++) {
        seed = seed * 1664525u + 1013904223u;
        float x = (float)((int)(seed >> 29) - 4);
        mep_bf16 half = mep_bf16_from_float(x);
        const unsigned char *from = type == CUDA_R_32F ? (unsigned char *)&x : (unsigned char *)&half;
        bytes.insert(bytes.end(), from, from + (type == CUDA_R_32F ? sizeof x : sizeof half));
        values->push_back(x);
    }
    return bytes;
}

static void check_product(bool a_transposed, bool b_transposed, bool bias, float beta, cudaDataType_t in,
                          cudaDataType_t out)
{
    call x(a_transposed, b_transposed, bias, in, out);
    x.beta = beta;
    std::vector<float> v[5];
    for (int i = 0; i < 5; i++) {
        std::vector<unsigned char> bytes = numbers(i < 2 ? in : out, (unsigned)i + 1, &v[i]);
        assert_int_equal(cudaMemcpy(x.at[i], bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
    }
    assert_int_equal(x.choose(), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(x.found, 1);
    assert_int_equal(x.run(), CUBLAS_STATUS_SUCCESS);
    std::vector<unsigned char> expected = numbers(out, 4, &v[3]), found(expected.size());
    for (int n = 0; n < N; n++)
        for (int m = 0; m < M; m++) {
            float sum = beta * v[2][(size_t)(n * LD + m)] + (bias ? v[4][(size_t)m] : 0);
            for (int k = 0; k < K; k++)
                sum += v[0][(size_t)(a_transposed ? m * LD + k : k * LD + m)] *
                       v[1][(size_t)(b_transposed ? k * LD + n : n * LD + k)];
            mep_bf16 half = mep_bf16_from_float(sum);
            if (out == CUDA_R_32F)
                memcpy(&expected[(size_t)(n * LD + m) * 4], &sum, sizeof sum);
            else
                memcpy(&expected[(size_t)(n * LD + m) * 2], &half, sizeof half);
        }
    assert_int_equal(cudaMemcpy(found.data(), x.at[3], found.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    assert_memory_equal(found.data(), expected.data(), found.size());
}

static void test_products(void **)
{
    for (int what = 0; what < 16; what++) {
        check_product(what & 1, what & 2, what & 4, what & 8 ? 2 : 0, CUDA_R_32F, CUDA_R_32F);
        check_product(what & 1, what & 2, what & 4, what & 8 ? 2 : 0, CUDA_R_16BF, CUDA_R_32F);
        check_product(what & 1, what & 2, what & 4, what & 8 ? 2 : 0, CUDA_R_16BF, CUDA_R_16BF);
    }
}

/* A correct call except for what `before` changes before an algorithm is chosen, and `after` afterwards: the choice, or
 * with `after` the product, has to fail. */
static void expect_misuse(const char *what, const std::function<void(call &)> &before,
                          const std::function<void(call &)> &after)
{
    call x(false, true, true, CUDA_R_16BF, CUDA_R_32F);
    if (before) before(x);
    cublasStatus_t status = x.choose();
    if (after) {
        assert_int_equal(status, CUBLAS_STATUS_SUCCESS);
        after(x);
        status = x.run();
    }
    if (status == CUBLAS_STATUS_SUCCESS) fail_msg("%s was not found", what);
}

static void test_misuse(void **)
{
    static float host[PLACE];
    expect_misuse(
        "another K", [](call &x) { x.relayout(&x.a, CUDA_R_16BF, M, K + 1, LD); }, NULL);
    expect_misuse(
        "another M", [](call &x) { x.relayout(&x.d, CUDA_R_32F, M + 1, N, LD); }, NULL);
    expect_misuse(
        "another C", [](call &x) { x.relayout(&x.c, CUDA_R_32F, M, N - 1, LD); }, NULL);
    expect_misuse(
        "a short column", [](call &x) { x.relayout(&x.a, CUDA_R_16BF, M, K, M - 1); }, NULL);
    expect_misuse(
        "mixed inputs", [](call &x) { x.relayout(&x.a, CUDA_R_32F, M, K, LD); }, NULL);
    expect_misuse(
        "mixed outputs", [](call &x) { x.relayout(&x.c, CUDA_R_16BF, M, N, LD); }, NULL);
    expect_misuse(
        "sums in D's type",
        [](call &x) { x.prefer<uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_MASK); },
        NULL);
    expect_misuse(
        "no power of 2", [](call &x) { x.prefer<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 3); }, NULL);

    expect_misuse("another algorithm", NULL, [](call &x) { x.relayout(&x.a, CUDA_R_16BF, M, K, LD + 1); });
    expect_misuse("another epilogue", NULL,
                  [](call &x) { x.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT); });
    expect_misuse("A in host memory", NULL, [](call &x) { x.at[0] = (char *)host; });
    expect_misuse("bias in host memory", NULL,
                  [](call &x) { x.set<const void *>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, host); });
    expect_misuse("the end of memory", NULL, [](call &x) { x.at[2] = x.memory + 5 * PLACE + (1 << 20) - 16; });
    expect_misuse("B less aligned", NULL, [](call &x) { x.at[1] += 128; });
    expect_misuse("bias less aligned", NULL,
                  [](call &x) { x.set<const void *>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, x.at[4] + 4); });
    expect_misuse("D over A", NULL, [](call &x) { x.at[3] = x.at[0]; });
    expect_misuse(
        "D over a part of C", [](call &x) { x.prefer<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 4); },
        [](call &x) { x.at[3] = x.at[2] + 4; });
    expect_misuse(
        "D over C with another stride", [](call &x) { x.relayout(&x.d, CUDA_R_32F, M, N, LD + 1); },
        [](call &x) { x.at[3] = x.at[2]; });
    expect_misuse("a small workspace", NULL, [](call &x) { x.workspace_bytes = 100; });
    expect_misuse("a workspace that is not aligned", NULL, [](call &x) { x.at[5] += 16, x.workspace_bytes -= 16; });

    call x(false, false, false, CUDA_R_32F, CUDA_R_32F);
    int16_t small = 0;
    assert_int_equal(cublasLtMatmulDescSetAttribute(x.desc, CUBLASLT_MATMUL_DESC_TRANSA, &small, sizeof small),
                     CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(x.set(CUBLASLT_MATMUL_DESC_EPILOGUE, 32), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(
        cublasLtMatmulAlgoGetHeuristic(NULL, x.desc, x.a, x.b, x.c, x.d, x.preference, 1, &x.chosen, &x.found),
        CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(cublasLtDestroy(NULL), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(x.choose(), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatmul(x.handle, x.desc, &x.alpha, x.at[0], x.a, x.at[1], x.b, x.at[2], x.at[2], x.c,
                                    x.at[3], x.d, &x.chosen.algo, x.at[5], x.workspace_bytes, NULL),
                     CUBLAS_STATUS_INVALID_VALUE); /* beta on the device */
    assert_int_equal(x.run(), CUBLAS_STATUS_SUCCESS);
}

/* What callers do without a bias epilogue, and without a product. */
static void test_not_supported(void **)
{
    call x(false, true, true, CUDA_R_16BF, CUDA_R_32F);
    x.relayout(&x.a, CUDA_R_16BF, 1, K, LD);
    x.relayout(&x.c, CUDA_R_32F, 1, N, LD);
    x.relayout(&x.d, CUDA_R_32F, 1, N, LD);
    assert_int_equal(x.choose(), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(x.found, 0);
    x.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
    assert_int_equal(x.choose(), CUBLAS_STATUS_SUCCESS);
    call y(false, false, false, CUDA_R_32F, CUDA_R_16BF);
    assert_int_equal(y.choose(), CUBLAS_STATUS_NOT_SUPPORTED);
}

int main()
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_misuse),
                                       cmocka_unit_test(test_not_supported)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
