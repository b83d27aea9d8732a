/* SPDX-License-Identifier: MIT */
/*
 * The device's row kernels compared with the CPU's functions of the same meaning: float32 and bfloat16, odd widths,
 * memory that is not aligned, values that are not finite. Each case is computed several times, by the emulator in
 * different orders of threads and blocks, and has to give the same bits.
 */
#include "cuda_test.h"

#include <algorithm>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "cuda/cuda_rows.h"

enum { TIMES = SEEDS / 2 };
static const mep_dtype TYPES[] = {MEP_FLOAT32, MEP_BFLOAT16};
static int64_t checks;

static std::vector<float> random_values(const char *name, int64_t n, float scale = 1)
{
    std::vector<float> x((size_t)n);
    for (int64_t i = 0; i < n; i++)
        x[(size_t)i] = scale * (float)mep_random_normal(5, mep_random_stream(name), (uint64_t)i);
    return x;
}

static std::vector<int32_t> random_tokens(int64_t n, int64_t vocab)
{
    std::vector<int32_t> tokens((size_t)n);
    for (int64_t i = 0; i < n; i++)
        tokens[(size_t)i] = (int32_t)((double)vocab * pow(mep_random_uniform(6, 0, (uint64_t)i), 3));
    return tokens;
}

/* An activation on the host. */
struct activation {
    mep_dtype dtype;
    std::vector<float> floats;
    std::vector<mep_bf16> halves;

    activation(mep_dtype type, const std::vector<float> &x) : dtype(type)
    {
        if (type == MEP_FLOAT32)
            floats = x;
        else
            for (float v : x) halves.push_back(mep_bf16_from_float(v));
    }
    mep_activation view()
    {
        return mep_activation{dtype == MEP_FLOAT32 ? (void *)floats.data() : (void *)halves.data(), dtype};
    }
    std::vector<double> values() const
    {
        std::vector<double> x(floats.begin(), floats.end());
        for (mep_bf16 v : halves) x.push_back((double)mep_bf16_to_float(v));
        return x;
    }
};

/* Device memory for one computation, and its results. */
struct device {
    std::vector<void *> blocks;
    std::vector<double> found;

    ~device()
    {
        for (void *block : blocks) cudaFree(block);
    }
    /* A copy of x, `skip` elements after an aligned address. */
    template <class T> T *put(const std::vector<T> &x, size_t skip = 0)
    {
        T *block = NULL;
        assert_int_equal(cudaMalloc((void **)&block, (x.size() + skip) * sizeof(T)), cudaSuccess);
        blocks.push_back(block);
        assert_int_equal(cudaMemcpy(block + skip, x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
        return block + skip;
    }
    mep_activation put(const activation &x, size_t skip = 0)
    {
        if (x.dtype == MEP_FLOAT32) return mep_activation{put(x.floats, skip), x.dtype};
        return mep_activation{put(x.halves, skip), x.dtype};
    }
    /* Memory that has not been written. */
    template <class T> T *room(int64_t n)
    {
        return put(std::vector<T>((size_t)n, (T)NAN));
    }
    template <class T> std::vector<T> get(const T *from, int64_t n)
    {
        std::vector<T> x((size_t)n);
        assert_int_equal(cudaMemcpy(x.data(), from, x.size() * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
        return x;
    }
    template <class T> void give(const T *from, int64_t n)
    {
        for (T v : get(from, n)) found.push_back((double)v);
    }
    void give(mep_activation from, int64_t n)
    {
        if (from.dtype == MEP_FLOAT32) return give((const float *)from.data, n);
        for (mep_bf16 v : get((const mep_bf16 *)from.data, n)) found.push_back((double)mep_bf16_to_float(v));
    }
};

/* The results of `f` on the device, which must be the same bits every time. */
template <class F> static std::vector<double> compute(const char *what, F f)
{
    std::vector<double> first;
    for (int time = 0; time < TIMES; time++) {
#ifdef MEP_CUDA_EMULATED
        emulator::set_seed((uint64_t)time);
#endif
        device d;
        f(d);
        cudaError_t error = cudaGetLastError();
        if (error != cudaSuccess) fail_msg("%s: %s", what, cudaGetErrorString(error));
        if (time == 0) first = d.found;
        assert_int_equal(d.found.size(), first.size());
        if (memcmp(d.found.data(), first.data(), first.size() * sizeof(double)) != 0)
            fail_msg("%s: other bits in another order", what);
    }
    return first;
}

/* |found - expected| <= bound (|expected| + size), or neither is a number. */
static void near(const char *what, const std::vector<double> &found, const std::vector<double> &expected, double bound,
                 double size = 1)
{
    assert_int_equal(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); i++) {
        if (isnan(expected[i]) ? !isnan(found[i])
                               : !(fabs(found[i] - expected[i]) <= bound * (fabs(expected[i]) + size)))
            fail_msg("%s[%zu of %zu]: %.9g, expected %.9g", what, i, found.size(), found[i], expected[i]);
        checks++;
    }
}

/* A rounding to bfloat16 in the other direction, or float32's last digits. */
static double bound_of(mep_dtype dtype)
{
    return dtype == MEP_FLOAT32 ? 1e-6 : 1.0 / 128;
}

static void append(std::vector<double> *to, const std::vector<float> &x)
{
    to->insert(to->end(), x.begin(), x.end());
}

static void append(std::vector<double> *to, const activation &x)
{
    std::vector<double> values = x.values();
    to->insert(to->end(), values.begin(), values.end());
}

/* ---- Rows ---- */

static mep_layer_norm norm_of(int64_t rows, int64_t width, const float *x, const float *weight, float *mean,
                              float *rstd)
{
    mep_layer_norm c = {};
    c.rows = rows, c.width = width, c.x = x, c.weight = weight, c.eps = 1e-5f, c.mean = mean, c.rstd = rstd;
    return c;
}

static mep_layer_norm_gradient gradient_of(mep_activation dy, float *dx, float *dweight, float *dbias)
{
    mep_layer_norm_gradient g = {};
    g.dy = dy, g.dx = dx, g.dweight = dweight, g.dbias = dbias;
    return g;
}

static void check_layer_norm(int64_t rows, int64_t width, mep_dtype dtype, bool with_bias, bool in_place, size_t skip)
{
    int64_t n = rows * width;
    std::vector<float> x = random_values("x", n, 3), weight = random_values("weight", width),
                       bias = random_values("bias", width), mean((size_t)rows), rstd((size_t)rows);
    for (float &v : x) v += 2;
    activation y(dtype, std::vector<float>((size_t)n));
    mep_layer_norm norm = norm_of(rows, width, x.data(), weight.data(), mean.data(), rstd.data());
    norm.bias = with_bias ? bias.data() : NULL;
    mep_layer_norm_forward(&norm, y.view());
    auto found = compute("layer norm", [&](device &d) {
        float *dx = d.put(x, skip), *dmean = d.room<float>(rows), *drstd = d.room<float>(rows);
        mep_activation dy = in_place ? mep_activation{dx, MEP_FLOAT32} : d.put(y, skip);
        mep_layer_norm there = norm_of(rows, width, dx, d.put(weight), dmean, drstd);
        there.bias = with_bias ? d.put(bias) : NULL;
        mep_cuda_layer_norm_forward(&there, dy, NULL);
        d.give(dy, n), d.give(dmean, rows), d.give(drstd, rows);
    });
    std::vector<double> expected = y.values();
    append(&expected, mean), append(&expected, rstd);
    near("layer norm", found, expected, bound_of(dtype), 4);

    activation dy(dtype, random_values("dy", n));
    std::vector<float> dx = random_values("dx", n), dweight = random_values("dweight", width),
                       dbias = random_values("dbias", width);
    found = compute("layer norm backward", [&](device &d) {
        float *to = d.put(dx, skip), *to_weight = d.put(dweight), *to_bias = with_bias ? d.put(dbias) : NULL;
        mep_layer_norm there = norm_of(rows, width, d.put(x, skip), d.put(weight), d.put(mean), d.put(rstd));
        mep_layer_norm_gradient g = gradient_of(d.put(dy, skip), to, to_weight, to_bias);
        mep_cuda_layer_norm_backward(&there, &g, d.room<float>(mep_cuda_rows_scratch(rows, width)), NULL);
        d.give(to, n), d.give(to_weight, width);
        if (with_bias) d.give(to_bias, width);
    });
    mep_layer_norm_gradient g = gradient_of(dy.view(), dx.data(), dweight.data(), with_bias ? dbias.data() : NULL);
    mep_layer_norm_backward(&norm, &g);
    expected.clear();
    append(&expected, dx), append(&expected, dweight);
    if (with_bias) append(&expected, dbias);
    near("layer norm backward", found, expected, 2e-6,
         2 + sqrt((double)rows) + (double)*std::max_element(rstd.begin(), rstd.end()));
}

static void test_layer_norm(void **)
{
    static const int64_t widths[] = {1, 2, 31, 64, 100, 128, 516, 769};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (mep_dtype dtype : TYPES)
            check_layer_norm(3 + (int64_t)i * 20, widths[i], dtype, i % 2 == 0, i % 2 && dtype == MEP_FLOAT32, i % 3);
    check_layer_norm(2, MEP_MAX_WIDTH, MEP_BFLOAT16, true, false, 0);
    check_layer_norm(2, MEP_MAX_WIDTH - 3, MEP_FLOAT32, true, false, 0);
}

static void check_column_sum(int64_t rows, int64_t width, mep_dtype dtype, size_t skip)
{
    activation x(dtype, random_values("x", rows * width));
    std::vector<float> sum = random_values("sum", width);
    auto found = compute("column sum", [&](device &d) {
        float *to = d.put(sum, skip);
        mep_cuda_column_sum(rows, width, d.put(x, skip), to, d.room<float>(mep_cuda_rows_scratch(rows, width)), NULL);
        d.give(to, width);
    });
    mep_column_sum(rows, width, x.view(), sum.data());
    near("column sum", found, std::vector<double>(sum.begin(), sum.end()), 2e-6, 1 + sqrt((double)rows));
}

static void test_column_sum(void **)
{
    for (mep_dtype dtype : TYPES) {
        check_column_sum(1, 1, dtype, 1);
        check_column_sum(8, 4, dtype, 0);
        check_column_sum(63, 130, dtype, 0);
        check_column_sum(65, 256, dtype, 0);
        check_column_sum(200, 300, dtype, 2);
        check_column_sum(9001, 5, dtype, 0); /* chunks of more than 64 rows */
    }
}

static void check_embedding(int64_t batch, int64_t length, int64_t width, int64_t vocab, bool positions, bool all_equal)
{
    int64_t count = batch * length, n = count * width;
    std::vector<int32_t> tokens = random_tokens(count, vocab), runs((size_t)(2 * count + 2));
    if (all_equal) tokens.assign((size_t)count, (int32_t)vocab - 1);
    std::vector<float> table = random_values("table", vocab * width), position = random_values("position", n),
                       x((size_t)n), dx = random_values("dx", n),
                       dposition = random_values("dposition", length * width);
    mep_embedding e = {count, length, width, tokens.data()};
    mep_embedding_forward(&e, table.data(), positions ? position.data() : NULL, x.data());
    auto found = compute("embedding", [&](device &d) {
        float *to = d.room<float>(n);
        mep_embedding there = {count, length, width, d.put(tokens)};
        mep_cuda_embedding_forward(&there, d.put(table), positions ? d.put(position) : NULL, to, NULL);
        d.give(to, n);
    });
    near("embedding", found, std::vector<double>(x.begin(), x.end()), 0);
    mep_cuda_token_runs(count, tokens.data(), runs.data());
    found = compute("embedding backward", [&](device &d) {
        float *to = d.put(table), *to_position = d.put(dposition);
        mep_embedding there = {count, length, width, d.put(tokens)};
        mep_cuda_embedding_backward(&there, d.put(runs), d.put(dx), to, positions ? to_position : NULL, NULL);
        d.give(to, vocab * width), d.give(to_position, length * width);
    });
    mep_embedding_backward(&e, dx.data(), table.data(), positions ? dposition.data() : NULL);
    std::vector<double> expected(table.begin(), table.end());
    append(&expected, dposition);
    near("embedding backward", found, expected, 2e-6, 1 + sqrt((double)count));
}

static void test_embedding(void **)
{
    check_embedding(1, 1, 1, 1, true, false);
    check_embedding(3, 5, 4, 7, true, false);
    check_embedding(4, 33, 100, 50, true, false);
    check_embedding(2, 40, 131, 1000, false, false);
    check_embedding(3, 50, 8, 3, true, true);
    check_embedding(5, 500, 4, 20000, false, false); /* more runs than blocks */
}

/* Every index once; equal tokens together and in their order. */
static void test_token_runs(void **)
{
    for (int64_t vocab : {1, 7, 300, 70000, INT32_MAX}) {
        int64_t count = 5000;
        std::vector<int32_t> tokens = random_tokens(count, vocab), runs((size_t)(2 * count + 2), -1);
        mep_cuda_token_runs(count, tokens.data(), runs.data());
        const int32_t *order = runs.data() + 1, *begin = order + count;
        assert_int_equal(begin[0], 0);
        assert_int_equal(begin[runs[0]], count);
        for (int32_t run = 0; run < runs[0]; run++) {
            assert_true(begin[run] < begin[run + 1]);
            for (int32_t i = begin[run]; i < begin[run + 1]; i++, checks++) {
                int32_t before = i > 0 ? tokens[(size_t)order[i - 1]] : -1, token = tokens[(size_t)order[i]];
                if (i == begin[run])
                    assert_true(token > before);
                else
                    assert_true(token == before && order[i] > order[i - 1]);
            }
        }
    }
}

/* Rows [stride] of `from` [vocab]: after the vocabulary `padding` up to a multiple of four, then `rest`. */
static std::vector<float> strided(const std::vector<float> &from, int64_t vocab, int64_t stride, float padding,
                                  float rest)
{
    std::vector<float> to(from.size() / (size_t)vocab * (size_t)stride, rest);
    for (size_t i = 0; i < to.size(); i++) {
        int64_t row = (int64_t)i / stride, column = (int64_t)i % stride, fours = (vocab + 3) / 4 * 4;
        if (column < vocab)
            to[i] = from[(size_t)(row * vocab + column)];
        else if (column < fours && fours <= stride)
            to[i] = padding;
    }
    return to;
}

static void check_cross_entropy(int64_t rows, int64_t vocab, int64_t stride, float scale, size_t skip)
{
    int64_t n = rows * vocab;
    std::vector<float> logits = random_values("logits", n, 4), losses((size_t)rows), gradient;
    std::vector<int32_t> targets = random_tokens(rows, vocab);
    targets[0] = (int32_t)vocab - 1;
    if (vocab > 2) logits[1] = -INFINITY, logits[(size_t)(vocab - 1)] += 60;
    if (rows > 3) logits[(size_t)n - 1] = NAN, logits[(size_t)(n - vocab - 1)] = INFINITY;
    gradient = logits;
    mep_cross_entropy(rows, vocab, gradient.data(), targets.data(), scale, losses.data());
    for (float &v : gradient) v /= scale;
    logits = strided(logits, vocab, stride, 99, 7);
    auto found = compute("loss", [&](device &d) {
        float *to = d.room<float>(rows);
        mep_cross_entropy_call c = {
            rows, vocab, d.put(logits, skip), d.put(targets), scale, mep_activation{NULL, MEP_FLOAT32}, to};
        mep_cuda_cross_entropy(&c, stride, NULL);
        d.give(to, rows);
    });
    near("loss", found, std::vector<double>(losses.begin(), losses.end()), 1e-6);
    for (mep_dtype dtype : TYPES) {
        found = compute("cross entropy", [&](device &d) {
            float *from = d.put(logits, skip), *to = d.room<float>(rows);
            mep_activation result = {from, dtype};
            if (dtype == MEP_BFLOAT16) result = d.put(activation(dtype, std::vector<float>(logits.size(), 7)), skip);
            mep_cross_entropy_call c = {rows, vocab, from, d.put(targets), scale, result, to};
            mep_cuda_cross_entropy(&c, stride, NULL);
            d.give(to, rows), d.give(result, rows * stride);
        });
        for (size_t i = (size_t)rows; i < found.size(); i++) found[i] /= (double)scale;
        std::vector<double> expected(losses.begin(), losses.end());
        append(&expected, activation(dtype, strided(gradient, vocab, stride, 0, 7 / scale)));
        near("cross entropy", found, expected, bound_of(dtype));
    }
}

static void test_cross_entropy(void **)
{
    check_cross_entropy(5, 1, 1, 1, 0);
    check_cross_entropy(5, 2, 4, 0.5f, 0);
    check_cross_entropy(6, 257, 257, 1.0f / 6, 0);
    check_cross_entropy(6, 257, 259, 1.0f / 6, 0);
    check_cross_entropy(6, 257, 264, 1.0f / 6, 0);
    check_cross_entropy(6, 512, 512, 1.0f / 6, 1);
    check_cross_entropy(4, 5000, 5000, 1, 0);
    check_cross_entropy(1, 50257, 50264, 1.0f / 16384, 0);
    check_cross_entropy(1, 262144, 262144, 1.0f / 16384, 0);
}

static void test_rotary(void **)
{
    static const int64_t shapes[][3] = {{1, 1, 2}, {7, 3, 20}, {12, 4, 16}, {5, 12, 64}, {3, 5, 30}};
    for (auto &shape : shapes)
        for (mep_dtype dtype : TYPES)
            for (int inverse = 0; inverse < 2; inverse++) {
                int64_t rows = shape[0], heads = shape[1], dims = shape[2], length = 4, first = 3,
                        head_stride = dims + (dims % 4 ? 3 : 4), row_stride = heads * head_stride + 8,
                        n = rows * row_stride;
                std::vector<float> cosine((size_t)((first + length) * dims / 2)), sine = cosine;
                std::vector<double> frequency(dims / 2);
                for (int64_t i = 0; i < dims / 2; i++)
                    frequency[i] = pow(10000.0, -2.0 * (double)i / (double)dims);
                mep_rotary_tables(first + length, dims / 2, frequency.data(), 1, cosine.data(), sine.data());
                activation x(dtype, random_values("x", n));
                mep_rotary c = {};
                c.rows = rows, c.length = length, c.first = first, c.heads = heads, c.dims = dims;
                c.inverse = inverse, c.row_stride = row_stride, c.head_stride = head_stride;
                auto found = compute("rotary", [&](device &d) {
                    mep_rotary there = c;
                    there.cosine = d.put(cosine), there.sine = d.put(sine), there.x = d.put(x);
                    mep_cuda_rotary_apply(&there, NULL);
                    d.give(there.x, n);
                });
                c.cosine = cosine.data(), c.sine = sine.data(), c.x = x.view();
                mep_rotary_apply(&c);
                near("rotary", found, x.values(), bound_of(dtype));
            }
}

/* ---- Values ---- */

/* A product of depth 1 whose sums are bfloat16 numbers, finished by mep_gemm_run and by the device. */
static void check_finish(int64_t m, int64_t n, int64_t stride, mep_dtype dtype, int what)
{
    bool with_bias = what & 1, with_residual = what & 2, with_gelu = what & 4, with_input = what & 8,
         in_place = with_gelu && what & 16;
    int64_t count = m * stride;
    std::vector<float> a((size_t)m), b = random_values("b", n, 2), bias = random_values("bias", n),
                                     residual = random_values("residual", count), sums = random_values("c", count),
                                     inputs = random_values("input", count, 5);
    for (int64_t i = 0; i < m; i++) a[(size_t)i] = ldexpf(i % 2 ? 1 : -1, (int)(i % 5) - 1);
    for (float &v : b) v = mep_bf16_to_float(mep_bf16_from_float(v));
    inputs[0] = NAN;
    activation c(dtype, random_values("c", count)), gelu(dtype, random_values("gelu", count)), input(dtype, inputs);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) sums[(size_t)(i * stride + j)] = a[(size_t)i] * b[(size_t)j];
    mep_gemm g = {};
    g.m = m, g.n = n, g.k = 1, g.epilogue = m % 2 ? MEP_EPILOGUE_GELU_TANH : MEP_EPILOGUE_GELU;
    auto found = compute("finish", [&](device &d) {
        mep_gemm on = g;
        mep_activation to = d.put(activation(dtype, sums)), to_gelu = in_place ? to : d.put(gelu);
        on.c = mep_matrix{to.data, dtype, stride, 0, 0};
        on.bias = with_bias ? d.put(bias) : NULL;
        on.residual = with_residual ? d.put(residual) : NULL;
        on.activated = with_gelu ? to_gelu.data : NULL;
        on.slope_input = with_input ? d.put(input).data : NULL;
        mep_cuda_gemm_finish(&on, NULL);
        d.give(to, count), d.give(to_gelu, count);
    });
    g.a = mep_matrix{a.data(), MEP_FLOAT32, 1, 0, 0};
    g.b = mep_matrix{b.data(), MEP_FLOAT32, n, 0, 0};
    g.c = mep_matrix{c.view().data, dtype, stride, 0, 0};
    g.bias = with_bias ? bias.data() : NULL;
    g.residual = with_residual ? residual.data() : NULL;
    g.activated = with_gelu ? in_place ? c.view().data : gelu.view().data : NULL;
    g.slope_input = with_input ? input.view().data : NULL;
    mep_gemm_workspace *workspace = NULL;
    assert_int_equal(mep_gemm_workspace_create(&workspace), MEP_OK);
    assert_int_equal(mep_gemm_run(workspace, &g), MEP_OK);
    mep_gemm_workspace_destroy(&workspace);
    std::vector<double> expected = c.values();
    append(&expected, in_place ? c : gelu);
    near("finish", found, expected, bound_of(dtype), 2);
}

static void test_finish(void **)
{
    for (mep_dtype dtype : TYPES)
        for (int what = 0; what < 32; what++) {
            check_finish(3, 5, 7, dtype, what);
            check_finish(1, 1100, 1104, dtype, what);
            check_finish(2, 1030, 1032, dtype, what);
        }
}

static void test_convert(void **)
{
    for (int64_t n : {1, 5, 1023, 1024, 1025, 5000})
        for (mep_dtype from : TYPES)
            for (mep_dtype to : TYPES) {
                activation x(from, random_values("x", n)), y(to, random_values("y", n));
                size_t skip = n % 2 ? 1 : 0;
                auto found = compute("convert", [&](device &d) {
                    mep_activation result = d.put(y, skip);
                    mep_cuda_convert(n, d.put(x), result, NULL);
                    d.give(result, n);
                });
                mep_convert(n, x.view(), y.view());
                near("convert", found, y.values(), 0);
            }
}

static void test_add_and_clear(void **)
{
    for (int64_t n : {1, 5, 1024, 3001}) {
        std::vector<float> x = random_values("x", n), y = random_values("y", n);
        auto found = compute("add", [&](device &d) {
            float *to = d.put(y, 1);
            mep_cuda_add(n, d.put(x), to, NULL);
            d.give(to, n);
            mep_cuda_clear(n - 1, to, NULL);
            d.give(to, n);
        });
        std::vector<double> expected((size_t)(2 * n));
        for (size_t i = 0; i < (size_t)n; i++) expected[i] = (double)(x[i] + y[i]);
        expected[(size_t)(2 * n - 1)] = expected[(size_t)(n - 1)];
        near("add, clear", found, expected, 0);
    }
}

/* ---- The optimizer ---- */

static void test_squares(void **)
{
    for (int64_t n : {1, 3, 1024, 4096, 4097, 100003}) {
        int64_t chunks = (n + MEP_CHUNK - 1) / MEP_CHUNK;
        std::vector<float> x = random_values("x", n, 1e-3f);
        for (int bad = 0; bad < 3; bad++) {
            if (bad > 0) x[(size_t)(n - 1) / 2] = bad == 1 ? INFINITY : NAN;
            std::vector<double> expected((size_t)chunks);
            for (int64_t i = 0; i < n; i++)
                expected[(size_t)(i / MEP_CHUNK)] += (double)x[(size_t)i] * (double)x[(size_t)i];
            auto found = compute("squares", [&](device &d) {
                double *sums = d.room<double>(chunks);
                mep_cuda_squares(n, d.put(x, (size_t)n % 2), sums, NULL);
                d.give(sums, chunks);
            });
            for (int64_t i = 0; i < chunks; i++) {
                size_t c = (size_t)i;
                if (isfinite(expected[c])) continue;
                assert_false(isfinite(found[c]));
                found[c] = expected[c] = 0;
            }
            near("squares", found, expected, 1e-12, 0);
        }
    }
}

static void check_adamw(int64_t n, float gradient_scale, size_t skip)
{
    mep_adamw_step step = {1e-3f, 0.9f,    0.95f,         1e-8f, 0.1f, (float)(1 - 0.9), (float)(1 - 0.95),
                           0.19f, 0.0975f, gradient_scale};
    std::vector<float> p = random_values("p", n), gradient = random_values("gradient", n, 0.1f),
                       m = random_values("m", n, 0.1f), v = random_values("v", n, 0.1f);
    for (float &x : v) x *= x;
    auto found = compute("adamw", [&](device &d) {
        float *to = d.put(p, skip), *to_m = d.put(m, skip), *to_v = d.put(v, skip);
        mep_cuda_adamw(n, &step, to, d.put(gradient, skip), to_m, to_v, NULL);
        d.give(to, n), d.give(to_m, n), d.give(to_v, n);
    });
    mep_row_kernels_for(mep_cpu_level_get())->adamw(n, &step, p.data(), gradient.data(), m.data(), v.data());
    std::vector<double> expected;
    append(&expected, p), append(&expected, m), append(&expected, v);
    near("adamw", found, expected, 1e-6, 0.1);
}

static void test_adamw(void **)
{
    for (int64_t n : {1, 6, 1024, 1030, 4099}) {
        check_adamw(n, 0.25f, 0);
        check_adamw(n, 1, n % 2 ? 1 : 0);
    }
}

/* Empty calls are not errors. */
static void test_empty(void **)
{
    mep_activation none = {NULL, MEP_FLOAT32};
    mep_layer_norm no_rows = norm_of(0, 8, NULL, NULL, NULL, NULL);
    mep_cuda_layer_norm_forward(&no_rows, none, NULL);
    mep_cuda_convert(0, none, none, NULL);
    mep_cross_entropy_call no_losses = {0, 8, NULL, NULL, 1, none, NULL};
    mep_cuda_cross_entropy(&no_losses, 8, NULL);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

static void test_count(void **)
{
    assert_true(checks > 1000000);
    printf("%lld values compared\n", (long long)checks);
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_norm), cmocka_unit_test(test_column_sum), cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_token_runs), cmocka_unit_test(test_rotary),     cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_finish),     cmocka_unit_test(test_convert),    cmocka_unit_test(test_add_and_clear),
        cmocka_unit_test(test_squares),    cmocka_unit_test(test_adamw),      cmocka_unit_test(test_empty),
        cmocka_unit_test(test_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
