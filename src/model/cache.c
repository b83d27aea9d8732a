/* SPDX-License-Identifier: MIT */
/*
 * Windows of the key/value cache, from the weights and the bias alone: a key may go when no query of any text could
 * give it a weight.
 *
 * LayerNorm's output is w xhat + b with |xhat|^2 <= hidden, so with W the rows of a head's queries, q = A xhat + a with
 * A = W diag(w) and a = W b + bias, and k = B xhat' + c the same way. Hence
 *
 *     q.(k' - k) = (A xhat + a).B(xhat' - xhat) <= 2 hidden |A^T B| + 2 sqrt(hidden) |B^T a|
 *
 * and what rounding adds. All of it is computed from the Gram matrices A A^T and B B^T.
 */
#include "model/cache.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "attention/cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/device_cache.h"

enum { WIDEST_HEAD = 1024, SQUARINGS = 4, COLUMNS = 32 };

/* The map from xhat to the queries or keys of a head, of n channels. */
typedef struct map {
    double *gram;     /* [n, n]: A A^T */
    double *constant; /* [n]: a */
    double largest;   /* an upper bound of |q|, and of what |q| can be off by for a relative error of 1 in xhat w + b */
} map;

/* A weight as products have it. */
static double weight_as(mep_dtype dtype, float weight)
{
    return (double)(dtype == MEP_BFLOAT16 ? mep_bf16_to_float(mep_bf16_from_float(weight)) : weight);
}

/* c[i][j] += sum of a[i][k] b[k][j] over k < depth, for j < n or, with `lower`, j <= i alone. b and c [.., n]; a[i][k]
 * is at i * row + k * column. Four k at a time, so that c is read and written less. */
static void multiply_add(int64_t n, int64_t depth, const double *a, int64_t row, int64_t column, const double *b,
                         double *c, int lower)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t k = 0, width = lower ? i + 1 : n;
        double *restrict to = c + i * n;
        for (; k + 4 <= depth; k += 4) {
            const double *x = a + i * row + k * column, *y = b + k * n;
            double x0 = x[0], x1 = x[column], x2 = x[2 * column], x3 = x[3 * column];
            for (int64_t j = 0; j < width; j++)
                to[j] += x0 * y[j] + x1 * y[n + j] + x2 * y[2 * n + j] + x3 * y[3 * n + j];
        }
        for (; k < depth; k++)
            for (int64_t j = 0; j < width; j++) to[j] += a[i * row + k * column] * b[k * n + j];
    }
}

/* c = a b, all [n, n]. */
static void multiply(int64_t n, const double *a, const double *b, double *c)
{
    for (int64_t i = 0; i < n * n; i++) c[i] = 0;
    multiply_add(n, n, a, n, 1, b, c, 0);
}

static double frobenius(int64_t n, const double *a)
{
    double sum = 0;
    for (int64_t i = 0; i < n * n; i++) sum += a[i] * a[i];
    return sqrt(sum);
}

/* An upper bound of the spectral radius of m [n, n], which is overwritten: |m^(2^s)|_F ^ (1 / 2^s), of matrices scaled
 * to norm 1 and with what a product of them can lose to rounding. `other` is scratch. */
static double spectral_radius(int64_t n, double *m, double *other)
{
    double power = 1, log_scale = 0; /* m exp(log_scale) is the power of the first m */
    for (int s = 0;; s++) {
        double norm = frobenius(n, m) + (s > 0 ? (double)n * 2.3e-16 : 0);
        if (norm == 0) return 0;
        log_scale += log(norm);
        if (s == SQUARINGS || !isfinite(norm)) return exp(log_scale / power) * (1 + 1e-9);
        for (int64_t i = 0; i < n * n; i++) m[i] /= norm;
        multiply(n, m, m, other);
        double *swap = m;
        m = other, other = swap;
        power *= 2, log_scale *= 2;
    }
}

/* The map of rows first .. first + n of query_key_value; columns [COLUMNS, n] and scratch [2 n n] are scratch. */
static void read_map(const mep_session *s, int64_t layer, int64_t first, map *x, double *columns, double *scratch)
{
    const mep_model_config *c = &s->model->config;
    int64_t n = mep_head_dim(c), hidden = c->hidden_size;
    const float *w = mep_layer_values(s->model, layer, LN1_WEIGHT);
    const float *b = mep_layer_values(s->model, layer, LN1_BIAS);    /* NULL: 0 */
    const float *bias = mep_layer_values(s->model, layer, QKV_BIAS); /* NULL: 0 */
    const float *weight = mep_layer_values(s->model, layer, QKV_WEIGHT) + first * hidden;
    double shift = 0, bias_square = 0, root = sqrt((double)hidden);
    for (int64_t i = 0; i < n * n; i++) x->gram[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        x->constant[i] = bias != NULL ? (double)bias[first + i] : 0;
        bias_square += x->constant[i] * x->constant[i];
    }
    for (int64_t start = 0; start < hidden; start += COLUMNS) {
        int64_t end = start + COLUMNS < hidden ? start + COLUMNS : hidden;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = start; j < end; j++) {
                double value = weight_as(s->settings.dtype, weight[i * hidden + j]),
                       shifted = b != NULL ? value * (double)b[j] : 0;
                columns[(j - start) * n + i] = value * (double)w[j];
                x->constant[i] += shifted;
                shift += shifted * shifted;
            }
        multiply_add(n, end - start, columns, 1, n, columns, x->gram, 1);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i; k++) x->gram[k * n + i] = x->gram[i * n + k];
    memcpy(scratch, x->gram, (size_t)(n * n) * sizeof *scratch);
    x->largest = root * (sqrt(spectral_radius(n, scratch, scratch + n * n)) + sqrt(shift)) + sqrt(bias_square);
}

/* space [4 n n + 2 n + COLUMNS n] */
static double head_allowance(const mep_session *s, int64_t layer, int64_t head, double *space)
{
    const mep_model_config *c = &s->model->config;
    int64_t n = mep_head_dim(c), square = n * n;
    double hidden = (double)c->hidden_size, product = 0;
    map q = {.gram = space, .constant = space + 4 * square}, k = {.gram = space + square};
    k.constant = q.constant + n;
    double *scratch = space + 2 * square, *columns = k.constant + n;
    read_map(s, layer, (3 * head + 0) * n, &q, columns, scratch);
    read_map(s, layer, (3 * head + 1) * n, &k, columns, scratch);
    for (int64_t i = 0; i < n; i++) /* |B^T a|^2 = a . B B^T a */
        for (int64_t j = 0; j < n; j++) product += q.constant[i] * k.gram[i * n + j] * q.constant[j];
    multiply(n, q.gram, k.gram, scratch);
    double coupled = sqrt(spectral_radius(n, scratch, q.gram)); /* |A^T B| */
    /* relative errors of q and k: normalized and written in the session's type, and a float32 sum over the channels */
    double unit = s->settings.dtype == MEP_BFLOAT16 ? 1.0 / 256 : 0x1p-23;
    double error = 2 * unit + 2 * hidden * 0x1p-23 * sqrt((double)n);
    double bound = 2 * hidden * coupled + 2 * sqrt(hidden * fmax(product, 0)) +
                   2 * (2 * error + error * error) * q.largest * k.largest;
    bound *= (1 + 1e-9) / sqrt((double)n);
    /* up to here attention's own rounding is small; NaN goes the other way */
    return bound < 1e6 && q.largest * k.largest / sqrt((double)n) < 1e6 ? bound : INFINITY;
}

mep_status mep_session_allowances(const mep_session *s, const int *wanted, double *allowance)
{
    const mep_model_config *c = &s->model->config;
    int64_t heads = c->num_attention_heads, count = c->num_hidden_layers * heads, n = mep_head_dim(c);
    int64_t size = 4 * n * n + 2 * n + COLUMNS * n, threads = omp_get_max_threads();
    for (int64_t i = 0; i < count; i++) allowance[i] = INFINITY;
    if (s->rotary_dims > 0 || n > WIDEST_HEAD) return MEP_OK;
    double *space;
    MEP_TRY(mep_alloc(&space, threads * size, sizeof *space));
#pragma omp parallel for schedule(dynamic) num_threads((int)threads)
    for (int64_t i = 0; i < count; i++)
        if (wanted == NULL || wanted[i % heads])
            allowance[i] = head_allowance(s, i / heads, i % heads, space + omp_get_thread_num() * size);
    mep_free(&space);
    return MEP_OK;
}

/* Windows from allowances; at_zero [heads]: the bias at distance 0; reach [heads] is scratch. */
static mep_status find_windows(const mep_session *s, const double *allowance, const double *at_zero, int64_t *reach,
                               int64_t *window)
{
    int64_t heads = s->model->config.num_attention_heads;
    double margin = (double)mep_cache_margin(s->settings.tolerance);
    for (int64_t i = 0; i < s->model->config.num_hidden_layers * heads; i++) {
        double bound = at_zero[i % heads] - margin - allowance[i];
        MEP_TRY(mep_bias_reach(s->model->bias, bound, MEP_MOST_POSITIONS, reach));
        int64_t found = reach[i % heads];
        window[i] = found > MEP_MOST_POSITIONS ? MEP_CACHE_ALL : found < 1 ? 1 : found;
    }
    return MEP_OK;
}

/* The heads whose window with an allowance of 0, the least there is, is shorter than the text; returns how many. For
 * the others the search for allowances, seconds for a large model, is spared. */
static mep_status find_wanted(const mep_session *s, int64_t tokens, const double *at_zero, int64_t *reach, int *wanted,
                              int *count)
{
    double margin = (double)mep_cache_margin(s->settings.tolerance);
    *count = 0;
    for (int64_t h = 0; h < s->model->config.num_attention_heads; h++) {
        MEP_TRY(mep_bias_reach(s->model->bias, at_zero[h] - margin, MEP_MOST_POSITIONS, reach));
        wanted[h] = reach[h] <= MEP_MOST_POSITIONS && reach[h] < tokens;
        *count += wanted[h];
    }
    return MEP_OK;
}

mep_status mep_session_windows(const mep_session *s, int64_t tokens, int64_t *window)
{
    int64_t heads = s->model->config.num_attention_heads, count = s->model->config.num_hidden_layers * heads, zero = 0;
    double *allowance;
    int64_t *reach = NULL;
    int *wanted = NULL, wanted_count = 0;
    for (int64_t i = 0; i < count; i++) window[i] = MEP_CACHE_ALL;
    if (s->model->bias == NULL) return MEP_OK;
    MEP_TRY(mep_alloc(&allowance, count + heads, sizeof *allowance));
    double *at_zero = allowance + count;
    mep_status status = mep_alloc(&reach, heads, sizeof *reach);
    if (status == MEP_OK) status = mep_alloc(&wanted, heads, sizeof *wanted);
    if (status == MEP_OK) status = mep_bias_at(s->model->bias, &zero, 1, at_zero);
    if (status == MEP_OK) status = find_wanted(s, tokens, at_zero, reach, wanted, &wanted_count);
    if (status == MEP_OK && wanted_count > 0) {
        status = mep_session_allowances(s, wanted, allowance);
        if (status == MEP_OK) status = find_windows(s, allowance, at_zero, reach, window);
    }
    mep_free(&allowance);
    mep_free(&reach);
    mep_free(&wanted);
    return status;
}

mep_status mep_session_no_reach(const mep_model *model)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "the encoding \"%s\" has no reach: every token must be kept, 2^31 at most, and text without end "
                    "cannot be generated; ask for fewer tokens",
                    model->config.position_encoding);
}

mep_status mep_session_open_cache(mep_session *s, int64_t tokens, int whole)
{
    const mep_model_config *c = &s->model->config;
    int64_t heads = c->num_attention_heads, count = c->num_hidden_layers * heads, *window;
    MEP_TRY(mep_alloc(&window, count, sizeof *window));
    mep_status status = mep_session_windows(s, tokens, window);
    for (int64_t i = 0; i < count && whole; i++) window[i] = MEP_CACHE_ALL;
    for (int64_t i = 0; i < count && status == MEP_OK; i++)
        if (window[i] == MEP_CACHE_ALL && tokens > MEP_MOST_POSITIONS) status = mep_session_no_reach(s->model);
    mep_cache_settings settings = {.layers = c->num_hidden_layers,
                                   .heads = c->num_attention_heads,
                                   .head_dim = mep_head_dim(c),
                                   .call = s->settings.length,
                                   .dtype = s->settings.dtype,
                                   .tolerance = s->settings.tolerance,
                                   .window = window};
    if (status == MEP_OK && s->settings.device == MEP_DEVICE_CPU) status = mep_cache_create(&s->cache, &settings);
    if (status == MEP_OK && s->settings.device != MEP_DEVICE_CPU) {
        for (int64_t i = 0; i < count; i++) /* of a layer, that of the head that reaches farthest */
            if (i % heads == 0 || window[i] > window[i / heads]) window[i / heads] = window[i];
        status = mep_device_cache_create(s, tokens, window);
    }
    mep_free(&window);
    return status;
}

mep_status mep_session_extend_cache(mep_session *s)
{
    MEP_TRY(mep_cache_reserve(s->cache, s->length));
    int64_t distances = mep_cache_distances(s->cache), values;
    if (distances <= s->cache_distances) return MEP_OK;
    float *table = NULL;
    if (s->model->bias != NULL) {
        MEP_TRY(mep_multiply(distances, s->model->config.num_attention_heads, 1, &values));
        MEP_TRY(mep_alloc(&table, values, sizeof *table));
    }
    s->cache_distances = 0;
    mep_status status = table != NULL ? mep_bias_table(s->model->bias, distances, table) : MEP_OK;
    const mep_attention_terms terms = {.table = table, .table_length = distances};
    if (status == MEP_OK) status = mep_cache_set_terms(s->cache, &terms);
    if (status == MEP_OK) s->cache_distances = distances;
    mep_free(&table);
    return status;
}
