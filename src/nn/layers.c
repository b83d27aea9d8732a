/* SPDX-License-Identifier: MIT */
/*
 * Layers: threads and types around the row kernels.
 */
#include "nn/layers.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "nn/rows.h"

enum { CHUNK = 2048, COLUMNS = 64 };

static const mep_row_kernels *kernels(void)
{
    return mep_row_kernels_for(mep_cpu_level_get());
}

static void *at(mep_activation x, int64_t i)
{
    return (char *)x.data + i * mep_dtype_size(x.dtype);
}

/* Values i .. i+n as float32: in place, or converted into `copy`. */
static const float *read_values(mep_activation x, int64_t i, int64_t n, float *copy)
{
    if (x.dtype == MEP_FLOAT32) return at(x, i);
    kernels()->from_bf16(n, at(x, i), copy);
    return copy;
}

/* Where to put float32 results for values from i on; `write_values` then brings them into place. */
static float *target(mep_activation y, int64_t i, float *copy)
{
    return y.dtype == MEP_FLOAT32 ? at(y, i) : copy;
}

static void write_values(mep_activation y, int64_t i, int64_t n, const float *copy)
{
    if (y.dtype == MEP_BFLOAT16) kernels()->to_bf16(n, copy, at(y, i));
}

void mep_layer_norm_forward(int64_t rows, int64_t width, const float *x, const float *weight, const float *bias,
                            float eps, mep_activation y, float *mean, float *rstd)
{
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++) {
        float copy[MEP_MAX_WIDTH];
        kernels()->layer_norm(width, x + r * width, weight, bias, eps, target(y, r * width, copy), mean + r, rstd + r);
        write_values(y, r * width, width, copy);
    }
}

/* dweight[c] += sum_r dy xhat, dbias[c] += sum_r dy for a slice of columns, in the order of the rows. */
static void layer_norm_slice(int64_t rows, int64_t width, int64_t first, int64_t count, const float *x,
                             const float *mean, const float *rstd, mep_activation dy, float *dweight, float *dbias)
{
    float weight_sum[COLUMNS] = {0}, bias_sum[COLUMNS] = {0}, copy[COLUMNS];
    for (int64_t r = 0; r < rows; r++) {
        const float *g = read_values(dy, r * width + first, count, copy), *row = x + r * width + first;
        kernels()->layer_norm_weights(count, row, mean[r], rstd[r], g, weight_sum, bias_sum);
    }
    kernels()->add(count, weight_sum, dweight + first);
    if (dbias != NULL) kernels()->add(count, bias_sum, dbias + first);
}

void mep_layer_norm_backward(int64_t rows, int64_t width, const float *x, const float *weight, const float *mean,
                             const float *rstd, mep_activation dy, float *dx, float *dweight, float *dbias)
{
#pragma omp parallel for
    for (int64_t first = 0; first < width; first += COLUMNS)
        layer_norm_slice(rows, width, first, width - first < COLUMNS ? width - first : COLUMNS, x, mean, rstd, dy,
                         dweight, dbias);
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++) {
        float copy[MEP_MAX_WIDTH];
        kernels()->layer_norm_backward(width, x + r * width, weight, mean[r], rstd[r],
                                       read_values(dy, r * width, width, copy), dx + r * width);
    }
}

void mep_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum)
{
#pragma omp parallel for
    for (int64_t first = 0; first < width; first += COLUMNS) {
        int64_t count = width - first < COLUMNS ? width - first : COLUMNS;
        float total[COLUMNS] = {0}, copy[COLUMNS];
        for (int64_t r = 0; r < rows; r++) kernels()->add(count, read_values(x, r * width + first, count, copy), total);
        kernels()->add(count, total, sum + first);
    }
}

void mep_embedding_forward(int64_t tokens_count, int64_t length, int64_t width, const int32_t *tokens,
                           const float *table, const float *position, float *x)
{
#pragma omp parallel for
    for (int64_t t = 0; t < tokens_count; t++) {
        memcpy(x + t * width, table + tokens[t] * width, (size_t)width * sizeof *x);
        if (position != NULL) kernels()->add(width, position + t % length * width, x + t * width);
    }
}

void mep_embedding_backward(int64_t tokens_count, int64_t length, int64_t width, const int32_t *tokens, const float *dx,
                            float *dtable, float *dposition)
{
#pragma omp parallel for
    for (int64_t first = 0; first < width; first += COLUMNS) {
        int64_t count = width - first < COLUMNS ? width - first : COLUMNS;
        for (int64_t t = 0; t < tokens_count; t++) {
            const float *row = dx + t * width + first;
            kernels()->add(count, row, dtable + tokens[t] * width + first);
            if (dposition != NULL) kernels()->add(count, row, dposition + t % length * width + first);
        }
    }
}

void mep_cross_entropy(int64_t rows, int64_t vocab, float *logits, const int32_t *targets, float scale, float *losses)
{
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++) {
        if (targets[r] >= 0) {
            losses[r] = kernels()->cross_entropy(vocab, logits + r * vocab, targets[r], scale);
        } else {
            losses[r] = 0;
            if (scale != 0) memset(logits + r * vocab, 0, (size_t)vocab * sizeof *logits);
        }
    }
}

void mep_clear(int64_t n, float *x)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += CHUNK) memset(x + i, 0, (size_t)(n - i < CHUNK ? n - i : CHUNK) * sizeof *x);
}

void mep_convert(int64_t n, mep_activation from, mep_activation to)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += CHUNK) {
        float copy[CHUNK];
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
        if (from.dtype == to.dtype)
            memcpy(at(to, i), at(from, i), (size_t)(count * mep_dtype_size(from.dtype)));
        else if (to.dtype == MEP_FLOAT32)
            read_values(from, i, count, at(to, i));
        else
            write_values(to, i, count, read_values(from, i, count, copy));
    }
}

void mep_sinusoidal_table(int64_t length, int64_t width, double base, float *table)
{
    int64_t half = width / 2;
    for (int64_t p = 0; p < length; p++)
        for (int64_t c = 0; c < half; c++) {
            double angle = (double)p * pow(base, -2.0 * (double)c / (double)width);
            table[p * width + c] = (float)sin(angle);
            table[p * width + half + c] = (float)cos(angle);
        }
}

void mep_rotary_tables(int64_t length, int64_t dims, double base, float *cosine, float *sine)
{
    int64_t half = dims / 2;
    for (int64_t p = 0; p < length; p++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * pow(base, -2.0 * (double)i / (double)dims);
            cosine[p * half + i] = (float)cos(angle);
            sine[p * half + i] = (float)sin(angle);
        }
}

void mep_rotary_apply(int64_t rows, int64_t length, int64_t first, int64_t heads, int64_t dims, const float *cosine,
                      const float *sine, int inverse, mep_activation x, int64_t row_stride, int64_t head_stride)
{
    int64_t half = dims / 2;
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++) {
            float copy[MEP_MAX_WIDTH];
            int64_t place = r * row_stride + h * head_stride, angle = (first + r % length) * half;
            float *vector = target(x, place, copy);
            if (vector == copy) read_values(x, place, dims, copy);
            kernels()->rotate(half, cosine + angle, sine + angle, inverse ? -1.0f : 1.0f, vector, vector + half);
            write_values(x, place, dims, vector);
        }
}
