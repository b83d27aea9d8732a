/* SPDX-License-Identifier: MIT */
/*
 * Windows of the key/value cache, from the weights and the bias alone: a key may be dropped when no query of any text
 * can give it a weight.
 *
 * LayerNorm's output is w xhat + b with |xhat|^2 <= hidden, so with W the rows of a head's queries, q = A xhat + a with
 * A = W diag(w) and a = W b + bias, and k = B xhat' + c the same way. Hence
 *
 *     q.(k' - k) = (A xhat + a).B(xhat' - xhat) <= 2 hidden |A^T B| + 2 sqrt(hidden) |B^T a|
 *
 * plus what rounding adds. All of it is computed from the Gram matrices A A^T and B B^T. RMSNorm is the same without b.
 * Where queries and keys have a norm of their own, its weights bound |q| and |k|, and q.(k' - k) <= 2 |q| |k|. Where
 * the input of attention has no norm and keys have none either (post_norm), keys have no bound.
 *
 * Queries that are scaled by the logarithm of their position multiply the bound by the factor of the last position that
 * the text can have. A mixture with weights per query is at most its largest kernel, whose reach replaces that of the
 * bias. Gates and sinks change no window: a gate only lowers the scores of earlier keys, and a sink is no key. The
 * values of fire at a distance depend on the position too; its reach is that for all positions that the text can have.
 */
#include "model/kv_windows.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "attention/cache.h"
#include "attention/fire.h"
#include "base/bf16.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "bias/table.h"
#include "model/content_terms.h"

enum { WIDEST_HEAD = 1024, SQUARINGS = 4, COLUMNS = 32 };

/* The map from xhat to the queries or keys of a head, of n channels. */
typedef struct map {
    double *gram;     /* [n, n]: A A^T */
    double *constant; /* [n]: a */
    double largest;   /* an upper bound of |q|, and of the error of |q| for a relative error of 1 in xhat w + b */
} map;

/* A weight as products read it. */
static double weight_as(mep_dtype dtype, float weight)
{
    return (double)(dtype == MEP_BFLOAT16 ? mep_bf16_to_float(mep_bf16_from_float(weight)) : weight);
}

/* c[i][j] += sum of a[i][k] b[k][j] over k < depth, for j < n or, with `lower`, j <= i alone. b and c [.., n]; a[i][k]
 * is at i * row + k * column. Four k at a time, so that c is read and written less often. */
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

/* An upper bound of the spectral radius of m [n, n], which is overwritten: |m^(2^s)|_F ^ (1 / 2^s), for matrices that
 * are scaled to norm 1, plus what a product of them can lose to rounding. `other` is scratch. */
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

/* The map of rows first .. first + n - 1 of the fused queries, keys and values; columns [COLUMNS, n] and scratch [2 n
 * n] are scratch. */
static void read_map(const mep_model *m, mep_dtype dtype, int64_t layer, int64_t first, map *x, double *columns,
                     double *scratch)
{
    const mep_model_config *c = &m->config;
    int64_t n = mep_head_dim(c), hidden = c->hidden_size;
    const float *w = mep_tensor_values(m, NORM1_WEIGHT, layer);
    const float *b = mep_tensor_values(m, NORM1_BIAS, layer);                        /* NULL: 0 */
    const float *bias = mep_tensor_values(m, mep_kind_in_block(m, QKV_BIAS), layer); /* NULL: 0 */
    const float *weight = mep_tensor_values(m, mep_kind_in_block(m, QKV_WEIGHT), layer) + first * hidden;
    double shift = 0, bias_square = 0, root = sqrt((double)hidden);
    for (int64_t i = 0; i < n * n; i++) x->gram[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        x->constant[i] = bias != NULL ? (double)bias[first + i] : 0;
        bias_square += x->constant[i] * x->constant[i];
    }
    for (int64_t start = 0; start < hidden; start += COLUMNS) {
        int64_t end = min_i64(start + COLUMNS, hidden);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = start; j < end; j++) {
                double value = weight_as(dtype, weight[i * hidden + j]), shifted = b != NULL ? value * (double)b[j] : 0;
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

/* An upper bound of |q| (which 0) or |k| (which 1) of a head after its norm. One head has at most all of the norm. */
static double normed_size(const mep_model *m, int64_t layer, int64_t head, int which)
{
    const mep_model_config *c = &m->config;
    int64_t index = mep_tensor_index(m, which == 0 ? Q_NORM : K_NORM, layer), n = mep_head_dim(c);
    const float *weight = m->tensors[index].data;
    double largest = 0;
    if (c->qk_norm == MEP_QK_NORM_ALL) weight += head * n;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)weight[i]));
    return sqrt((double)m->tensors[index].size) * largest;
}

/* The bound, or INFINITY where it or the largest |q| |k| / sqrt(n) is so large that attention's own rounding matters:
 * a sum of n products has an error of up to n 2^-24 of `score`, and the margin of 104 is 16 more than exp() needs. NaN
 * gives INFINITY. */
static double limited(double bound, double score, double n)
{
    double most = 1e6 / fmax(1, n / 128);
    return bound < 1e6 && score < most ? bound : INFINITY;
}

/* The allowance of a head where queries and keys have a norm; queries are multiplied by up to `scale`. */
static double normed_allowance(const mep_model *m, mep_dtype dtype, int64_t layer, int64_t head, int64_t kv,
                               double scale)
{
    double n = (double)mep_head_dim(&m->config), unit = dtype == MEP_BFLOAT16 ? 1.0 / 256 : 0x1p-23;
    double score = scale * normed_size(m, layer, head, 0) * normed_size(m, layer, kv, 1) / sqrt(n);
    return limited(2 * score * (1 + 6 * unit + 4 * n * 0x1p-23), score, n);
}

/* The allowance of a head (glossary) in texts of up to `tokens` tokens, INFINITY where it is not known; space [4 n n +
 * 2 n + COLUMNS n] is scratch. */
static double head_allowance(const mep_model *m, mep_dtype dtype, int64_t tokens, int64_t layer, int64_t head,
                             double *space)
{
    const mep_model_config *c = &m->config;
    int64_t n = mep_head_dim(c), square = n * n, kv = head / (c->num_attention_heads / mep_key_value_heads(c));
    double hidden = (double)c->hidden_size, product = 0, scale = mep_content_largest_scale(m, layer, head, tokens);
    if (c->qk_norm != MEP_QK_NORM_NONE) return normed_allowance(m, dtype, layer, head, kv, scale);
    if (c->post_norm) return INFINITY;
    map q = {.gram = space, .constant = space + 4 * square}, k = {.gram = space + square};
    k.constant = q.constant + n;
    double *scratch = space + 2 * square, *columns = k.constant + n;
    read_map(m, dtype, layer, mep_qkv_row(c, head, 0), &q, columns, scratch);
    read_map(m, dtype, layer, mep_qkv_row(c, kv, 1), &k, columns, scratch);
    for (int64_t i = 0; i < n; i++) /* |B^T a|^2 = a . B B^T a */
        for (int64_t j = 0; j < n; j++) product += q.constant[i] * k.gram[i * n + j] * q.constant[j];
    multiply(n, q.gram, k.gram, scratch);
    double coupled = sqrt(spectral_radius(n, scratch, q.gram)); /* |A^T B| */
    /* relative errors of q and k: normalized and written in the session's type, and a float32 sum over the channels */
    double unit = dtype == MEP_BFLOAT16 ? 1.0 / 256 : 0x1p-23;
    double error = 2 * unit + 2 * hidden * 0x1p-23 * sqrt((double)n);
    double q_error = mep_layer_position(m, layer)->scale != MEP_SCALE_NONE ? error + unit * (1 + error) : error;
    double bound = 2 * hidden * coupled + 2 * sqrt(hidden * fmax(product, 0)) +
                   2 * (q_error + error + q_error * error) * q.largest * k.largest;
    scale *= (1 + 1e-9) / sqrt((double)n);
    return limited(scale * bound, scale * q.largest * k.largest, (double)n);
}

/* What profiles can take from the score of a query's own key: a key at the extent or beyond has no profile, and that of
 * the own key is r.v with v = P(0), r = W (w xhat + b), so it is at least -sqrt(hidden) |diag(w) W^T v| + v.W b. 0
 * where the layer has no profiles, INFINITY where their input has no norm. */
static double profile_allowance(const mep_model *m, mep_dtype dtype, int64_t layer, int64_t head)
{
    const mep_model_config *c = &m->config;
    int64_t rank = mep_layer_position(m, layer)->rank, hidden = c->hidden_size;
    if (rank == 0) return 0;
    if (c->post_norm) return INFINITY;
    const mep_tensor *bank = &m->tensors[mep_tensor_index(m, PROFILES_BANK, layer)];
    const float *own = bank->data, *weight = mep_tensor_values(m, PROFILES_WEIGHT, layer) + head * rank * hidden;
    const float *w = mep_tensor_values(m, NORM1_WEIGHT, layer), *b = mep_tensor_values(m, NORM1_BIAS, layer);
    double square = 0, constant = 0, size = 0, root = sqrt((double)hidden);
    for (int64_t j = 0; j < hidden; j++) {
        double sum = 0, all = 0, shift = b != NULL ? (double)b[j] : 0;
        for (int64_t r = 0; r < rank; r++) {
            double x = weight_as(dtype, weight[r * hidden + j]) * (double)own[r * bank->shape[1]];
            sum += x;
            all += fabs(x);
        }
        square += sum * sum * (double)w[j] * (double)w[j];
        constant += sum * shift;
        size += all * (root * fabs((double)w[j]) + fabs(shift)); /* of what is summed */
    }
    double unit = dtype == MEP_BFLOAT16 ? 1.0 / 256 : 0x1p-23;
    return root * sqrt(square) + fabs(constant) + (2 * unit + 2 * (double)hidden * 0x1p-23) * size;
}

mep_status mep_model_allowances(const mep_model *m, mep_dtype dtype, int64_t tokens, const int *wanted,
                                double *allowance)
{
    const mep_model_config *c = &m->config;
    int64_t heads = c->num_attention_heads, count = c->num_hidden_layers * heads, n = mep_head_dim(c);
    int64_t size = 4 * n * n + 2 * n + COLUMNS * n, threads = omp_get_max_threads();
    for (int64_t i = 0; i < count; i++) allowance[i] = INFINITY;
    if (n > WIDEST_HEAD) return MEP_OK;
    double *space;
    MEP_TRY(MEP_ALLOC(&space, threads * size));
#pragma omp parallel for schedule(dynamic) num_threads((int)threads)
    for (int64_t i = 0; i < count; i++)
        if ((wanted == NULL || wanted[i]) && mep_layer_position(m, i / heads)->kind != MEP_POSITION_ROTARY)
            allowance[i] = head_allowance(m, dtype, tokens, i / heads, i % heads, space + omp_get_thread_num() * size) +
                           profile_allowance(m, dtype, i / heads, i % heads);
    mep_free(&space);
    return MEP_OK;
}

/* What the search for windows needs. Arrays [2, heads] are for layers with the plain bias and with weights per query.
 */
typedef struct search {
    const mep_model *model;
    double margin;     /* of attention, in nats */
    int64_t farthest;  /* the largest distance that the search takes into account */
    double *at_zero;   /* [2, heads]: a lower bound of the bias at distance 0 */
    double *lowest;    /* [heads]: scratch */
    double *allowance; /* [layers, heads] */
    int64_t *reach;    /* [heads]: scratch */
    int64_t *shortest; /* [2, heads]: the reach with an allowance of 0 */
    int *wanted;       /* [layers, heads] */
} search;

/* Exact results compare scores without the factor of a mixture (attention/terms_body.h), so that the largest kernel
 * stands for it at all distances. With a tolerance the weight of the own key counts, which is at least the smallest
 * kernel. */
static mep_status find_at_zero(const search *s, double tolerance)
{
    int64_t heads = s->model->config.num_attention_heads, zero = 0;
    double *query = s->at_zero + heads;
    mep_bias_pieces p;
    MEP_TRY(mep_bias_at(s->model->bias, &zero, 1, s->at_zero));
    if (mep_bias_get_pieces(s->model->bias, &p)) /* of either key's value */
        for (int64_t h = 0; h < heads; h++)
            s->at_zero[h] -=
                2 * mep_fire_rounding(p.count, p.slope + h * MEP_BIAS_PIECES, p.offset + h * MEP_BIAS_PIECES);
    MEP_TRY(mep_bias_kernels_at_zero(s->model->bias, s->lowest, query));
    for (int64_t h = 0; h < heads && tolerance > 0; h++) query[h] = s->lowest[h];
    return MEP_OK;
}

/* The distance from which the bias of a head is certainly at or below `bound`, in layers with weights per query or
 * without. */
static mep_status find_reach(const search *s, int query, int64_t head, double bound, int64_t *reach)
{
    MEP_TRY((query ? mep_bias_kernels_reach : mep_bias_reach)(s->model->bias, bound, s->farthest, s->reach));
    *reach = s->reach[head];
    return MEP_OK;
}

static mep_status find_windows(const search *s, int64_t *window)
{
    int64_t heads = s->model->config.num_attention_heads;
    for (int64_t i = 0; i < s->model->config.num_hidden_layers * heads; i++) {
        const mep_position_entry *e = mep_layer_position(s->model, i / heads);
        double bound = s->at_zero[e->weights_query * heads + i % heads] - s->margin - s->allowance[i];
        int64_t found;
        if (!s->wanted[i]) continue;
        MEP_TRY(find_reach(s, e->weights_query, i % heads, bound, &found));
        window[i] = found > s->farthest ? MEP_CACHE_ALL : max_i64(found, 1);
        if (e->rank > 0) window[i] = max_i64(window[i], mep_layer_dimension(&s->model->config, e, DIM_EXTENT));
    }
    return MEP_OK;
}

/* Find the heads whose window would be shorter than the text with an allowance of 0, the least there is. For the others
 * the allowance is not computed, which takes seconds for a large model. */
static mep_status find_wanted(const search *s, int64_t tokens, int *count)
{
    int64_t heads = s->model->config.num_attention_heads;
    for (int64_t n = 0; n < 2 * heads; n++)
        MEP_TRY(find_reach(s, n >= heads, n % heads, s->at_zero[n] - s->margin, &s->shortest[n]));
    *count = 0;
    for (int64_t i = 0; i < s->model->config.num_hidden_layers * heads; i++) {
        const mep_position_entry *e = mep_layer_position(s->model, i / heads);
        int64_t found = s->shortest[e->weights_query * heads + i % heads];
        s->wanted[i] = e->kind == MEP_POSITION_BIAS && found <= s->farthest && found < tokens;
        *count += s->wanted[i];
    }
    return MEP_OK;
}

mep_status mep_model_windows(const mep_model *m, mep_dtype dtype, double tolerance, int64_t tokens, int64_t *window)
{
    int64_t heads = m->config.num_attention_heads, count = m->config.num_hidden_layers * heads;
    search s = {.model = m, .margin = (double)mep_cache_margin(tolerance), .farthest = MEP_MOST_POSITIONS};
    int wanted = 0;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < count; i++) window[i] = MEP_CACHE_ALL;
    if (m->bias == NULL) return MEP_OK;
    if (mep_bias_threshold(m->bias) < INT64_MAX) { /* fire: the bounds of mep_bias_reach are for positions up to it */
        if (tokens > MEP_MOST_POSITIONS) return MEP_OK;
        s.farthest = max_i64(tokens, 1) - 1;
    }
    MEP_TRY_OR(status, MEP_ALLOC(&s.at_zero, 2 * heads), done);
    MEP_TRY_OR(status, MEP_ALLOC(&s.lowest, heads), done);
    MEP_TRY_OR(status, MEP_ALLOC(&s.allowance, count), done);
    MEP_TRY_OR(status, MEP_ALLOC(&s.reach, heads), done);
    MEP_TRY_OR(status, MEP_ALLOC(&s.shortest, 2 * heads), done);
    MEP_TRY_OR(status, MEP_ALLOC(&s.wanted, count), done);
    MEP_TRY_OR(status, find_at_zero(&s, tolerance), done);
    MEP_TRY_OR(status, find_wanted(&s, tokens, &wanted), done);
    if (wanted == 0) goto done;
    MEP_TRY_OR(status, mep_model_allowances(m, dtype, tokens, s.wanted, s.allowance), done);
    status = find_windows(&s, window);
done:
    mep_free(&s.at_zero);
    mep_free(&s.lowest);
    mep_free(&s.allowance);
    mep_free(&s.reach);
    mep_free(&s.shortest);
    mep_free(&s.wanted);
    return status;
}

mep_status mep_model_fail_no_reach(const mep_model *model)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    model->all_bias
                        ? "the encoding \"%s\" has no reach: every token must be kept, 2^31 at most, and text without "
                          "end cannot be generated; ask for fewer tokens, or add /window=W"
                        : "a layer of the encoding \"%s\" has no distance bias: it reads 2^31 tokens at most, and text "
                          "without end cannot be generated; ask for fewer tokens",
                    model->config.position_encoding);
}
