/* SPDX-License-Identifier: MIT */
/*
 * Layers: threads and types above the row kernels.
 */
#include "nn/layers.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/assertion.h"
#include "base/cpu.h"
#include "base/integer.h"
#include "nn/rows.h"

/* Sums over rows are made in slices of columns, one for each thread and turn: as wide as the threads and COLUMNS allow,
 * because each row of a slice is a piece of memory of its own, and at least NARROW. */
enum { CHUNK = 2048, COLUMNS = 1024, NARROW = 64 };

static const mep_row_kernels *kernels(void)
{
    return mep_row_kernels_for(mep_cpu_level_get());
}

static int64_t slice_width(int64_t width)
{
    return min_i64(round_up(ceil_div(width, omp_get_max_threads()), NARROW), COLUMNS);
}

static void *element(mep_activation x, int64_t i)
{
    return (char *)x.data + i * mep_dtype_size(x.dtype);
}

/* Values i .. i+n as float32: in place, or converted into `copy`. */
static const float *read_values(mep_activation x, int64_t i, int64_t n, float *copy)
{
    if (x.dtype == MEP_FLOAT32) return element(x, i);
    kernels()->from_bf16(n, element(x, i), copy);
    return copy;
}

/* Where float32 results for the values from i are computed; write_values then stores them. */
static float *target(mep_activation y, int64_t i, float *copy)
{
    return y.dtype == MEP_FLOAT32 ? element(y, i) : copy;
}

static void write_values(mep_activation y, int64_t i, int64_t n, const float *copy)
{
    if (y.dtype == MEP_BFLOAT16) kernels()->to_bf16(n, copy, element(y, i));
}

void mep_layer_norm_forward(const mep_layer_norm *c, mep_activation y)
{
    MEP_ASSERT(c->width <= MEP_MAX_WIDTH);
#pragma omp parallel for
    for (int64_t r = 0; r < c->rows; r++) {
        float copy[MEP_MAX_WIDTH];
        if (c->rms)
            kernels()->rms_norm(c->width, c->x + r * c->width, c->weight, c->eps, target(y, r * c->width, copy),
                                c->rstd + r);
        else
            kernels()->layer_norm(c->width, c->x + r * c->width, c->weight, c->bias, c->eps,
                                  target(y, r * c->width, copy), c->mean + r, c->rstd + r);
        write_values(y, r * c->width, c->width, copy);
    }
}

/* dweight[c] += sum_r dy xhat, dbias[c] += sum_r dy for a slice of columns, in the order of the rows. */
static void layer_norm_slice(const mep_layer_norm *c, const mep_layer_norm_gradient *g, int64_t first, int64_t count)
{
    float weight_sum[COLUMNS] = {0}, bias_sum[COLUMNS] = {0}, copy[COLUMNS];
    for (int64_t r = 0; r < c->rows; r++) {
        const float *dy = read_values(g->dy, r * c->width + first, count, copy), *row = c->x + r * c->width + first;
        kernels()->layer_norm_weights(count, row, c->rms ? 0 : c->mean[r], c->rstd[r], dy, weight_sum, bias_sum);
    }
    kernels()->add(count, weight_sum, g->dweight + first);
    if (g->dbias != NULL) kernels()->add(count, bias_sum, g->dbias + first);
}

void mep_layer_norm_backward(const mep_layer_norm *c, const mep_layer_norm_gradient *g)
{
    int64_t slice = slice_width(c->width);
#pragma omp parallel for
    for (int64_t first = 0; first < c->width; first += slice)
        layer_norm_slice(c, g, first, min_i64(c->width - first, slice));
#pragma omp parallel for
    for (int64_t r = 0; r < c->rows; r++) {
        float copy[MEP_MAX_WIDTH];
        const float *x = c->x + r * c->width, *dy = read_values(g->dy, r * c->width, c->width, copy);
        if (c->rms)
            kernels()->rms_norm_backward(c->width, x, c->weight, c->rstd[r], dy, g->dx + r * c->width);
        else
            kernels()->layer_norm_backward(c->width, x, c->weight, c->mean[r], c->rstd[r], dy, g->dx + r * c->width);
    }
}

/* ---- RMSNorm of heads ---- */

static int64_t vector_at(const mep_head_norm *c, int64_t n)
{
    return n / c->heads * c->row_stride + n % c->heads * c->head_stride;
}

void mep_head_norm_forward(const mep_head_norm *c, mep_activation y)
{
#pragma omp parallel for
    for (int64_t n = 0; n < c->rows * c->heads; n++) {
        float x[MEP_MAX_WIDTH], copy[MEP_MAX_WIDTH];
        int64_t at = vector_at(c, n);
        kernels()->rms_norm(c->dim, read_values(c->x, at, c->dim, x), c->weight, c->eps, target(y, at, copy),
                            c->rstd + n);
        write_values(y, at, c->dim, copy);
    }
}

/* dweight[c] += sum of dy xhat over all vectors, in their order, for a slice of channels. */
static void head_norm_slice(const mep_head_norm *c, mep_activation dy, int64_t first, int64_t count, float *dweight)
{
    float sum[COLUMNS] = {0}, unused[COLUMNS] = {0}, x[COLUMNS], y[COLUMNS];
    for (int64_t n = 0; n < c->rows * c->heads; n++) {
        int64_t at = vector_at(c, n) + first;
        kernels()->layer_norm_weights(count, read_values(c->x, at, count, x), 0, c->rstd[n],
                                      read_values(dy, at, count, y), sum, unused);
    }
    kernels()->add(count, sum, dweight + first);
}

void mep_head_norm_backward(const mep_head_norm *c, mep_activation dy, float *dweight)
{
    int64_t slice = slice_width(c->dim);
#pragma omp parallel for
    for (int64_t first = 0; first < c->dim; first += slice)
        head_norm_slice(c, dy, first, min_i64(c->dim - first, slice), dweight);
#pragma omp parallel for
    for (int64_t n = 0; n < c->rows * c->heads; n++) {
        float x[MEP_MAX_WIDTH], d[MEP_MAX_WIDTH], dx[MEP_MAX_WIDTH];
        int64_t at = vector_at(c, n);
        memset(dx, 0, (size_t)c->dim * sizeof *dx);
        kernels()->rms_norm_backward(c->dim, read_values(c->x, at, c->dim, x), c->weight, c->rstd[n],
                                     read_values(dy, at, c->dim, d), dx);
        if (dy.dtype == MEP_FLOAT32) memcpy(element(dy, at), dx, (size_t)c->dim * sizeof *dx);
        write_values(dy, at, c->dim, dx);
    }
}

/* ---- SwiGLU ---- */

void mep_swiglu_forward(int64_t rows, int64_t width, mep_activation x, mep_activation y)
{
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c += CHUNK) {
            float gate[CHUNK], up[CHUNK], copy[CHUNK];
            int64_t count = min_i64(width - c, CHUNK), at = 2 * r * width + c;
            kernels()->swiglu(count, read_values(x, at, count, gate), read_values(x, at + width, count, up),
                              target(y, r * width + c, copy));
            write_values(y, r * width + c, count, copy);
        }
}

void mep_swiglu_backward(int64_t rows, int64_t width, mep_activation x, mep_activation dy, mep_activation dx)
{
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c += CHUNK) {
            float gate[CHUNK], up[CHUNK], d[CHUNK], dgate[CHUNK], dup[CHUNK];
            int64_t count = min_i64(width - c, CHUNK), at = 2 * r * width + c;
            kernels()->swiglu_backward(count, read_values(x, at, count, gate), read_values(x, at + width, count, up),
                                       read_values(dy, r * width + c, count, d), target(dx, at, dgate),
                                       target(dx, at + width, dup));
            write_values(dx, at, count, dgate);
            write_values(dx, at + width, count, dup);
        }
}

void mep_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum)
{
    int64_t slice = slice_width(width);
#pragma omp parallel for
    for (int64_t first = 0; first < width; first += slice) {
        int64_t count = min_i64(width - first, slice);
        float total[COLUMNS] = {0}, copy[COLUMNS];
        for (int64_t r = 0; r < rows; r++) kernels()->add(count, read_values(x, r * width + first, count, copy), total);
        kernels()->add(count, total, sum + first);
    }
}

void mep_embedding_forward(const mep_embedding *e, const float *table, const float *position, float *x)
{
    int64_t width = e->width;
#pragma omp parallel for
    for (int64_t t = 0; t < e->count; t++) {
        memcpy(x + t * width, table + e->tokens[t] * width, (size_t)width * sizeof *x);
        if (position != NULL) kernels()->add(width, position + t % e->length * width, x + t * width);
    }
}

void mep_embedding_backward(const mep_embedding *e, const float *dx, float *dtable, float *dposition)
{
    int64_t width = e->width, slice = slice_width(width);
#pragma omp parallel for
    for (int64_t first = 0; first < width; first += slice) {
        int64_t count = min_i64(width - first, slice);
        for (int64_t t = 0; t < e->count; t++) {
            const float *row = dx + t * width + first;
            kernels()->add(count, row, dtable + e->tokens[t] * width + first);
            if (dposition != NULL) kernels()->add(count, row, dposition + t % e->length * width + first);
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
    for (int64_t i = 0; i < n; i += CHUNK) memset(x + i, 0, (size_t)min_i64(n - i, CHUNK) * sizeof *x);
}

void mep_convert(int64_t n, mep_activation from, mep_activation to)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += CHUNK) {
        float copy[CHUNK];
        int64_t count = min_i64(n - i, CHUNK);
        if (from.dtype == to.dtype)
            memcpy(element(to, i), element(from, i), (size_t)(count * mep_dtype_size(from.dtype)));
        else if (to.dtype == MEP_FLOAT32)
            read_values(from, i, count, element(to, i));
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

void mep_rotary_tables(int64_t length, int64_t count, const double *frequency, double factor, float *cosine,
                       float *sine)
{
#pragma omp parallel for
    for (int64_t p = 0; p < length; p++)
        for (int64_t i = 0; i < count; i++) {
            double angle = (double)p * frequency[i];
            cosine[p * count + i] = (float)(factor * cos(angle));
            sine[p * count + i] = (float)(factor * sin(angle));
        }
}

void mep_rotary_apply(const mep_rotary *c)
{
    MEP_ASSERT(c->dims % 2 == 0 && c->dims <= MEP_MAX_WIDTH && c->first >= 0);
    int64_t half = c->dims / 2;
#pragma omp parallel for
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t h = 0; h < c->heads; h++) {
            float copy[MEP_MAX_WIDTH];
            int64_t at = r * c->row_stride + h * c->head_stride, angle = (c->first + r % c->length) * half;
            float *vector = target(c->x, at, copy);
            if (vector == copy) read_values(c->x, at, c->dims, copy);
            kernels()->rotate(half, c->cosine + angle, c->sine + angle, c->inverse ? -1.0f : 1.0f, vector,
                              vector + half);
            write_values(c->x, at, c->dims, vector);
        }
}
