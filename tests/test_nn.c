/* SPDX-License-Identifier: MIT */
/*
 * The row kernels under every CPU level, compared with float64; derivatives by finite differences.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/random.h"
#include "mep/types.h"
#include "nn/layers.h"
#include "nn/rows.h"

static int64_t checks;

static float random_value(const char *name, int64_t i)
{
    return (float)mep_random_normal(3, mep_random_stream(name), (uint64_t)i);
}

static void near(const char *what, int64_t i, double found, double expected, double bound)
{
    if (!(fabs(found - expected) <= bound))
        fail_msg("%s[%lld]: %.9g, expected %.9g (bound %.2g)", what, (long long)i, found, expected, bound);
    checks++;
}

/* ---- Rows ---- */

static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2.0)));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static const int64_t SIZES[] = {1, 2, 3, 15, 16, 17, 31, 64, 100, 1023};
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES, MOST = 1100 };

/* n random values. */
static void fill(float *x, int64_t n, double size, const char *name)
{
    for (int64_t i = 0; i < n; i++) x[i] = (float)size * random_value(name, i);
}

static void layer_norm_rows(const mep_row_kernels *kernels, int64_t n)
{
    float x[MOST] = {0}, w[MOST] = {0}, b[MOST] = {0}, y[MOST + 1], dy[MOST] = {0}, dx[MOST + 1], mean, rstd;
    fill(x, n, 2, "x"), fill(w, n, 1, "w"), fill(b, n, 1, "b"), fill(dy, n, 1, "dy");
    for (int64_t i = 0; i < n; i++) x[i] += 5, dx[i] = 0.25f;
    y[n] = dx[n] = 77;
    kernels->layer_norm(n, x, w, b, 1e-5f, y, &mean, &rstd);
    double m = 0, v = 0, g = 0, gx = 0;
    for (int64_t i = 0; i < n; i++) m += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) v += ((double)x[i] - m) * ((double)x[i] - m) / (double)n;
    double r = 1 / sqrt(v + 1e-5);
    near("mean", 0, (double)mean, m, 1e-5);
    near("rstd", 0, (double)rstd, r, 1e-5 * r);
    kernels->layer_norm_backward(n, x, w, (float)m, (float)r, dy, dx);
    for (int64_t i = 0; i < n; i++) {
        g += (double)dy[i] * (double)w[i] / (double)n;
        gx += (double)dy[i] * (double)w[i] * ((double)x[i] - m) * r / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        double xhat = ((double)x[i] - m) * r;
        near("layer norm", i, (double)y[i], xhat * (double)w[i] + (double)b[i], 2e-5 * (1 + r * 1e-2));
        near("layer norm dx", i, (double)dx[i], 0.25 + r * ((double)dy[i] * (double)w[i] - g - xhat * gx),
             3e-5 * (1 + r));
    }
    float plain[MOST + 1];
    kernels->layer_norm(n, x, w, NULL, 1e-5f, plain, &mean, &rstd);
    for (int64_t i = 0; i < n; i++)
        near("layer norm without bias", i, (double)plain[i], (double)y[i] - (double)b[i],
             1e-6 * (1 + fabs((double)y[i])));
    float dweight[MOST] = {0}, dbias[MOST] = {0};
    kernels->layer_norm_weights(n, x, (float)m, (float)r, dy, dweight, dbias);
    for (int64_t i = 0; i < n; i++) {
        near("layer norm dweight", i, (double)dweight[i], (double)dy[i] * ((double)x[i] - m) * r, 3e-5 * (1 + r));
        near("layer norm dbias", i, (double)dbias[i], (double)dy[i], 0);
    }
    assert_true(y[n] == 77 && dx[n] == 77);
}

/* A matrix of 32-bit values transposed, and rows interleaved: exact. */
static void moving_rows(const mep_row_kernels *kernels, int64_t n)
{
    enum { ROWS = 37 };
    static uint32_t in[ROWS * MOST], out[MOST * (ROWS + 1)];
    for (int64_t i = 0; i < ROWS * n; i++) in[i] = (uint32_t)i * 2654435761u;
    for (int64_t i = 0; i < n; i++) out[i * (ROWS + 1) + ROWS] = 7;
    kernels->transpose(ROWS, n, in, n * 4, out, (ROWS + 1) * 4);
    for (int64_t r = 0; r <= ROWS; r++)
        for (int64_t c = 0; c < n; c++) assert_true(out[c * (ROWS + 1) + r] == (r < ROWS ? in[r * n + c] : 7));
    mep_bf16 a[MOST], b[MOST], pairs[2 * MOST + 1];
    for (int64_t i = 0; i < n; i++) a[i] = (mep_bf16)i, b[i] = (mep_bf16)(i + 9000);
    pairs[2 * n] = 7;
    kernels->interleave(n, a, b, pairs);
    for (int64_t i = 0; i < n; i++) assert_true(pairs[2 * i] == a[i] && pairs[2 * i + 1] == b[i]);
    assert_true(pairs[2 * n] == 7);
}

static void gelu_rows(const mep_row_kernels *kernels, int64_t n)
{
    float x[MOST] = {0}, y[MOST + 1], dy[MOST] = {0}, dx[MOST + 1];
    fill(x, n, 3, "gelu"), fill(dy, n, 1, "dy");
    y[n] = dx[n] = 77;
    if (n > 2) x[0] = 40, x[1] = -40, x[2] = 0;
    kernels->gelu(n, x, y);
    kernels->gelu_backward(n, x, dy, dx);
    for (int64_t i = 0; i < n; i++) {
        double h = 1e-5, v = (double)x[i];
        near("gelu", i, (double)y[i], gelu(v), 5e-7 * (1 + fabs(v)));
        near("gelu dx", i, (double)dx[i], (double)dy[i] * (gelu(v + h) - gelu(v - h)) / (2 * h), 3e-6);
    }
    x[0] = -30, x[n - 1] = 1e20f; /* outside the range that it is computed in: 0 and x, slopes 0 and 1 */
    kernels->gelu_tanh(n, x, y);
    kernels->gelu_tanh_backward(n, x, dy, dx);
    for (int64_t i = 1; i < n - 1; i++) {
        double v = (double)x[i], h = 1e-5;
        near("gelu by tanh", i, (double)y[i], gelu_tanh(v), 5e-7 * (1 + fabs(v)));
        near("gelu by tanh dx", i, (double)dx[i], (double)dy[i] * (gelu_tanh(v + h) - gelu_tanh(v - h)) / (2 * h),
             3e-6 * (1 + fabs((double)dy[i])));
    }
    near("gelu by tanh", n - 1, (double)y[n - 1] / 1e20, 1, 1e-6);
    near("gelu by tanh dx", n - 1, (double)dx[n - 1], (double)dy[n - 1], 1e-6 * (1 + fabs((double)dy[n - 1])));
    if (n > 1) near("gelu by tanh", 0, (double)y[0], 0, 1e-30);
    if (n > 1) near("gelu by tanh dx", 0, (double)dx[0], 0, 1e-30);
    assert_true(y[n] == 77 && dx[n] == 77);
}

static void cross_entropy_rows(const mep_row_kernels *kernels, int64_t n)
{
    for (int big = 0; big < 2; big++) {
        float x[MOST + 1] = {0}, kept[MOST];
        fill(x, n, big ? 300 : 2, "logits");
        memcpy(kept, x, (size_t)n * sizeof *x);
        x[n] = 77;
        int64_t target = n / 2;
        double highest = -INFINITY, sum = 0;
        for (int64_t i = 0; i < n; i++) /* fmax here: an internal error of gcc 12 on Arm */
            if ((double)x[i] > highest) highest = (double)x[i];
        for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - highest);
        double loss = log(sum) + highest - (double)x[target];
        near("loss", n, (double)kernels->cross_entropy(n, x, target, 0), loss, 2e-6 * (1 + fabs(highest)));
        assert_memory_equal(x, kept, (size_t)n * sizeof *x);
        near("loss", n, (double)kernels->cross_entropy(n, x, target, 0.5f), loss, 2e-6 * (1 + fabs(highest)));
        for (int64_t i = 0; i < n; i++)
            near("dlogits", i, (double)x[i], 0.5 * (exp((double)kept[i] - highest) / sum - (i == target)), 1e-6);
        assert_true(x[n] == 77);
    }
}

static void adamw_rows(const mep_row_kernels *kernels, int64_t n)
{
    float p[MOST] = {0}, g[MOST] = {0}, m[MOST] = {0}, v[MOST] = {0};
    fill(p, n, 1, "p"), fill(g, n, 0.1, "g"), fill(m, n, 0.1, "m"), fill(v, n, 0.1, "v");
    mep_adamw_step s = {.learning_rate = 1e-3f,
                        .beta1 = 0.9f,
                        .beta2 = 0.999f,
                        .eps = 1e-8f,
                        .weight_decay = 0.1f,
                        .rest1 = 0.1f,
                        .rest2 = 0.001f,
                        .correction1 = 0.19f,
                        .correction2 = 0.002f,
                        .gradient_scale = 0.5f};
    for (int64_t i = 0; i < n; i++) v[i] *= v[i];
    for (int64_t i = 0; i < n; i++) {
        double gi = 0.5 * (double)g[i], mi = 0.9 * (double)m[i] + 0.1 * gi, vi = 0.999 * (double)v[i] + 0.001 * gi * gi;
        double pi = (double)p[i] * (1 - 1e-3 * 0.1) - 1e-3 * (mi / 0.19) / (sqrt(vi / 0.002) + 1e-8);
        float one_p = p[i], one_g = g[i], one_m = m[i], one_v = v[i];
        kernels->adamw(1, &s, &one_p, &one_g, &one_m, &one_v);
        near("adamw p", i, (double)one_p, pi, 2e-6);
        near("adamw m", i, (double)one_m, mi, 1e-7);
        near("adamw v", i, (double)one_v, vi, 1e-8);
    }
    double expected[MOST];
    for (int64_t i = 0; i < n; i++) {
        float one_p = p[i], one_m = m[i], one_v = v[i];
        kernels->adamw(1, &s, &one_p, &g[i], &one_m, &one_v);
        expected[i] = (double)one_p;
    }
    kernels->adamw(n, &s, p, g, m, v);
    for (int64_t i = 0; i < n; i++) near("adamw row", i, (double)p[i], expected[i], 1e-6);
}

static void other_rows(const mep_row_kernels *kernels, int64_t n)
{
    float x[MOST] = {0}, y[MOST] = {0}, back[MOST];
    mep_bf16 half[MOST];
    fill(x, n, 1, "x"), fill(y, n, 1, "y");
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    near("sum of squares", n, kernels->sum_of_squares(n, x), squares, 1e-12 * squares);
    if (n > 3) x[0] = INFINITY, x[1] = -INFINITY, x[2] = NAN, x[3] = 1e-40f;
    kernels->to_bf16(n, x, half);
    kernels->from_bf16(n, half, back);
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            assert_true(isnan(back[i]));
        else if (isinf(x[i]))
            assert_true(back[i] == x[i]);
        else
            near("bfloat16", i, (double)back[i], (double)x[i], fabs((double)x[i]) / 256 + 1e-38);
    }
    if (n > 3) x[0] = x[1] = x[2] = x[3] = 1;
    memcpy(back, y, sizeof back);
    kernels->add(n, x, y);
    for (int64_t i = 0; i < n; i++) near("add", i, (double)y[i], (double)x[i] + (double)back[i], 1e-6);
}

static void test_rows(void **state)
{
    (void)state;
    mep_cpu_level highest = mep_cpu_level_detected();
    for (int level = 0; level <= (int)highest; level++)
        for (int s = 0; s < SIZE_COUNT; s++) {
            static const int lanes[] = {[MEP_CPU_C] = 4,       [MEP_CPU_NEON] = 4,         [MEP_CPU_AVX2] = 8,
                                        [MEP_CPU_AVX512] = 16, [MEP_CPU_AVX512_BF16] = 16, [MEP_CPU_AMX_BF16] = 16};
            const mep_row_kernels *kernels = mep_row_kernels_for((mep_cpu_level)level);
            assert_int_equal(kernels->lanes, lanes[level]);
            layer_norm_rows(kernels, SIZES[s]);
            gelu_rows(kernels, SIZES[s]);
            cross_entropy_rows(kernels, SIZES[s]);
            adamw_rows(kernels, SIZES[s]);
            other_rows(kernels, SIZES[s]);
            moving_rows(kernels, SIZES[s]);
        }
}

/* ---- Layers that are not row kernels ---- */

static void test_rotary(void **state)
{
    (void)state;
    enum { ROWS = 6, LENGTH = 3, HEADS = 2, DIMS = 8, DIM = 10 };
    float cosine[(LENGTH + 5) * DIMS / 2], sine[(LENGTH + 5) * DIMS / 2], x[ROWS * HEADS * DIM],
        kept[ROWS * HEADS * DIM];
    double frequency[DIMS / 2];
    for (int i = 0; i < DIMS / 2; i++) frequency[i] = pow(10000, -2.0 * i / DIMS);
    mep_rotary_tables(LENGTH + 5, DIMS / 2, frequency, 1, cosine, sine);
    fill(x, ROWS * HEADS * DIM, 1, "rotary");
    memcpy(kept, x, sizeof x);
    mep_rotary rotary = {.rows = ROWS,
                         .length = LENGTH,
                         .first = 5,
                         .heads = HEADS,
                         .dims = DIMS,
                         .cosine = cosine,
                         .sine = sine,
                         .x = {x, MEP_FLOAT32},
                         .row_stride = HEADS * DIM,
                         .head_stride = DIM};
    mep_rotary_apply(&rotary);
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < HEADS; h++)
            for (int c = 0; c < DIM; c++) {
                int at = (r * HEADS + h) * DIM + c, i = c % (DIMS / 2);
                double angle = (5 + r % LENGTH) * pow(10000, -2.0 * i / DIMS), expected = (double)kept[at];
                if (c < DIMS / 2)
                    expected = expected * cos(angle) - (double)kept[at + DIMS / 2] * sin(angle);
                else if (c < DIMS)
                    expected = expected * cos(angle) + (double)kept[at - DIMS / 2] * sin(angle);
                near("rotary", at, (double)x[at], expected, 1e-6);
            }
    rotary.inverse = 1;
    mep_rotary_apply(&rotary);
    for (int i = 0; i < ROWS * HEADS * DIM; i++) near("rotary back", i, (double)x[i], (double)kept[i], 1e-6);
}

static void test_embedding(void **state)
{
    (void)state;
    enum { TOKENS = 6, LENGTH = 3, WIDTH = 70, VOCAB = 5 };
    const int32_t tokens[TOKENS] = {4, 0, 4, 2, 4, 1};
    float table[VOCAB * WIDTH], positions[LENGTH * WIDTH], x[TOKENS * WIDTH],
        dtable[VOCAB * WIDTH] = {0}, dpositions[LENGTH * WIDTH] = {0};
    fill(table, VOCAB * WIDTH, 1, "table"), fill(positions, LENGTH * WIDTH, 1, "positions");
    const mep_embedding e = {.count = TOKENS, .length = LENGTH, .width = WIDTH, .tokens = tokens};
    mep_embedding_forward(&e, table, positions, x);
    mep_embedding_backward(&e, x, dtable, dpositions);
    for (int c = 0; c < WIDTH; c++) {
        for (int t = 0; t < TOKENS; t++)
            near("embedding", t, (double)x[t * WIDTH + c],
                 (double)table[tokens[t] * WIDTH + c] + (double)positions[t % LENGTH * WIDTH + c], 1e-6);
        near("dtable", c, (double)dtable[4 * WIDTH + c],
             (double)x[c] + (double)x[2 * WIDTH + c] + (double)x[4 * WIDTH + c], 1e-5);
        near("dtable", c, (double)dtable[3 * WIDTH + c], 0, 0);
        near("dpositions", c, (double)dpositions[WIDTH + c], (double)x[WIDTH + c] + (double)x[4 * WIDTH + c], 1e-5);
    }
}

/* Sums over rows are made in slices of columns that depend on the number of threads; their bits do not. */
static void test_sums_over_rows(void **state)
{
    (void)state;
    enum { ROWS = 7, WIDEST = 2500, THREADS = 5 };
    static const int64_t WIDTHS[] = {1, 63, 64, 65, 1023, 1024, 1025, WIDEST};
    static float x[ROWS * WIDEST], weight[WIDEST], dx[ROWS * WIDEST], sums[2][5][WIDEST];
    static mep_bf16 half[ROWS * WIDEST];
    static const int32_t tokens[ROWS] = {0};
    float mean[ROWS] = {0}, rstd[ROWS];
    int most = omp_get_max_threads();
    fill(x, ROWS * WIDEST, 1, "x");
    for (int r = 0; r < ROWS; r++) rstd[r] = 1;
    for (int64_t i = 0; i < ROWS * WIDEST; i++) half[i] = mep_bf16_from_float(x[i]);
    for (size_t w = 0; w < sizeof WIDTHS / sizeof *WIDTHS; w++)
        for (int threads = 1; threads <= THREADS; threads++) {
            int64_t width = WIDTHS[w];
            float(*sum)[WIDEST] = sums[threads > 1];
            memset(sum, 0, sizeof sums[0]);
            omp_set_num_threads(threads);
            mep_column_sum(ROWS, width, (mep_activation){x, MEP_FLOAT32}, sum[0]);
            mep_column_sum(ROWS, width, (mep_activation){half, MEP_BFLOAT16}, sum[1]);
            mep_layer_norm_backward(
                &(mep_layer_norm){.rows = ROWS, .width = width, .x = x, .weight = weight, .mean = mean, .rstd = rstd},
                &(mep_layer_norm_gradient){.dy = {x, MEP_FLOAT32}, .dx = dx, .dweight = sum[2], .dbias = sum[4]});
            mep_embedding_backward(&(mep_embedding){.count = ROWS, .length = ROWS, .width = width, .tokens = tokens}, x,
                                   sum[3], NULL);
            if (threads > 1) assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
            for (int64_t c = 0; c < width; c++) {
                double plain = 0, rounded = 0, square = 0;
                for (int r = 0; r < ROWS; r++) {
                    double value = (double)x[r * width + c];
                    plain += value, square += value * value;
                    rounded += (double)mep_bf16_to_float(half[r * width + c]);
                }
                near("sum of float32", c, (double)sum[0][c], plain, 1e-5);
                near("sum of bfloat16", c, (double)sum[1][c], rounded, 1e-5);
                near("dweight", c, (double)sum[2][c], square, 1e-4);
                near("dtable", c, (double)sum[3][c], plain, 1e-5);
                near("dbias", c, (double)sum[4][c], plain, 1e-5);
            }
        }
    omp_set_num_threads(most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_rotary),
                                       cmocka_unit_test(test_embedding), cmocka_unit_test(test_sums_over_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
