/* SPDX-License-Identifier: MIT */
/*
 * Decoding: one query at the end of many keys, as generation has it at each token and layer. Its ceiling is reading the
 * same keys and values from the same memory (or cache, where they fit) with all threads and doing nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "attention/cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "bench/parts.h"
#include "mep/attention.h"

enum { CALL = 512 }; /* tokens that the cache takes at a time */

typedef struct group {
    const mep_bench_decode_settings *settings;
    mep_bench_common *common;
    mep_dtype dtype;
    int64_t length;
    void *q, *k, *v, *out; /* k, v [batch, heads, longest, head_dim], of which `length` keys are read */
} group;

typedef struct variant {
    group *g;
    const char *encoding;
    mep_attention *plan;
    mep_cache *cache; /* sequence b is layer b of it */
} variant;

static mep_tensor_view view(const group *g, void *data, int64_t tokens)
{
    int64_t head = tokens * g->settings->head_dim;
    return (mep_tensor_view){data, g->settings->heads * head, head, g->settings->head_dim};
}

/* Keys and values in tensors of the caller. */
static mep_status decode_tensors(void *context)
{
    const variant *v = context;
    const group *g = v->g;
    const mep_attention_call call = {.batch = g->settings->batch_size,
                                     .queries = 1,
                                     .keys = g->length,
                                     .q = view(g, g->q, 1),
                                     .k = view(g, g->k, g->length),
                                     .v = view(g, g->v, g->length),
                                     .out = view(g, g->out, 1)};
    return mep_attention_forward(v->plan, &call);
}

/* One sequence of a tensor of `tokens` tokens, from token `first` on. */
static mep_tensor_view sequence(const group *g, void *data, int64_t tokens, int64_t index, int64_t first)
{
    mep_tensor_view all = view(g, data, tokens);
    int64_t at = index * all.batch_stride + first * all.token_stride;
    return (mep_tensor_view){(char *)data + at * mep_dtype_size(g->dtype), 0, all.head_stride, all.token_stride};
}

/* In the key/value cache; each run puts the newest token in its place again. */
static mep_status decode_cache(void *context)
{
    const variant *v = context;
    const group *g = v->g;
    for (int64_t b = 0; b < g->settings->batch_size; b++) {
        const mep_attention_call call = {.batch = 1,
                                         .queries = 1,
                                         .q = sequence(g, g->q, 1, b, 0),
                                         .k = sequence(g, g->k, g->length, b, g->length - 1),
                                         .v = sequence(g, g->v, g->length, b, g->length - 1),
                                         .out = sequence(g, g->out, 1, b, 0)};
        MEP_TRY(mep_cache_attend(v->cache, b, &call));
    }
    return MEP_OK;
}

/* Where keys and values may lie: a row adds one. */
static const struct {
    const char *name;
    mep_status (*run)(void *context);
} PLACES[] = {{"tensors", decode_tensors}, {"cache", decode_cache}};
enum { PLACE_COUNT = sizeof PLACES / sizeof *PLACES };

static int64_t tensor_bytes(const group *g)
{
    const mep_bench_decode_settings *s = g->settings;
    return s->batch_size * s->heads * g->length * s->head_dim * mep_dtype_size(g->dtype);
}

/* Sum of 64-bit words, with many sums under way. */
static uint64_t read_words(const uint64_t *words, int64_t count)
{
    uint64_t sum[32] = {0}, all = 0;
    int64_t i = 0;
    for (; i + 32 <= count; i += 32)
        for (int j = 0; j < 32; j++) sum[j] += words[i + j];
    for (; i < count; i++) all += words[i];
    for (int j = 0; j < 32; j++) all += sum[j];
    return all;
}

static mep_status read_all(void *context)
{
    static volatile uint64_t kept;
    const group *g = context;
    const int64_t words = tensor_bytes(g) / 8, chunk = 8192;
    uint64_t sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int64_t i = 0; i < words; i += chunk) {
        int64_t count = words - i < chunk ? words - i : chunk;
        sum += read_words((const uint64_t *)g->k + i, count) + read_words((const uint64_t *)g->v + i, count);
    }
    kept = sum;
    (void)kept;
    return MEP_OK;
}

/* windows [batch, heads]: how far the bias reaches until it is 124 nats below its value at distance 0: 104 until a
 * weight is 0, and 20 by which scores may differ, as those of these tensors do. */
static mep_status find_windows(const variant *v, const mep_bias *bias, int64_t *windows)
{
    const mep_bench_decode_settings *s = v->g->settings;
    double *at_zero;
    int64_t zero = 0, *reach = NULL;
    for (int64_t i = 0; i < s->batch_size * s->heads; i++) windows[i] = MEP_CACHE_ALL;
    if (bias == NULL) return MEP_OK;
    MEP_TRY(mep_alloc(&at_zero, s->heads, sizeof *at_zero));
    mep_status status = mep_alloc(&reach, s->heads, sizeof *reach);
    if (status == MEP_OK) status = mep_bias_at(bias, &zero, 1, at_zero);
    for (int64_t h = 0; h < s->heads && status == MEP_OK; h++) {
        status = mep_bias_reach(bias, at_zero[h] - 124, v->g->length, reach);
        for (int64_t b = 0; b < s->batch_size; b++)
            if (reach[h] <= v->g->length) windows[b * s->heads + h] = reach[h] > 0 ? reach[h] : 1;
    }
    mep_free(&at_zero);
    mep_free(&reach);
    return status;
}

/* All keys but the last, which the runs append. */
static mep_status fill_cache(variant *v)
{
    const group *g = v->g;
    for (int64_t first = 0, count; first < g->length - 1; first += count) {
        count = g->length - 1 - first < CALL ? g->length - 1 - first : CALL;
        MEP_TRY(mep_cache_reserve(v->cache, count));
        for (int64_t b = 0; b < g->settings->batch_size; b++)
            mep_cache_append(v->cache, b, count, sequence(g, g->k, g->length, b, first),
                             sequence(g, g->v, g->length, b, first));
        mep_cache_advance(v->cache, count);
    }
    return mep_cache_reserve(v->cache, 1);
}

static mep_status open_cache(variant *v, const mep_bias *bias, const float *table)
{
    const mep_bench_decode_settings *s = v->g->settings;
    int64_t *windows, count = 0;
    MEP_TRY(mep_multiply(s->batch_size, s->heads, 1, &count));
    MEP_TRY(mep_alloc(&windows, count, sizeof *windows));
    const mep_cache_settings settings = {.layers = s->batch_size,
                                         .heads = s->heads,
                                         .head_dim = s->head_dim,
                                         .call = CALL,
                                         .dtype = v->g->dtype,
                                         .window = windows};
    mep_status status = find_windows(v, bias, windows);
    if (status == MEP_OK) status = mep_cache_create(&v->cache, &settings);
    if (status == MEP_OK) status = fill_cache(v);
    const mep_attention_terms terms = {.table = table, .table_length = v->g->length};
    if (status == MEP_OK) status = mep_cache_set_terms(v->cache, 0, &terms, v->g->length);
    mep_free(&windows);
    return status;
}

static mep_status open_variant(variant *v)
{
    const mep_bench_decode_settings *s = v->g->settings;
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = s->heads, a.head_dim = s->head_dim, a.max_length = v->g->length, a.dtype = v->g->dtype;
    MEP_TRY(mep_attention_create(&v->plan, &a));
    if (strcmp(v->encoding, "none") == 0) return open_cache(v, NULL, NULL);
    mep_bias *bias = NULL;
    float *table = NULL;
    MEP_TRY(mep_bias_create(&bias, v->encoding, s->heads, s->head_dim));
    mep_status status = mep_alloc(&table, s->heads * v->g->length, sizeof *table);
    if (status == MEP_OK) status = mep_bias_table(bias, v->g->length, table);
    const mep_attention_terms terms = {.table = table, .table_length = v->g->length};
    if (status == MEP_OK) status = mep_attention_set_terms(v->plan, &terms);
    if (status == MEP_OK) status = open_cache(v, bias, table);
    mep_free(&table);
    mep_bias_destroy(&bias);
    return status;
}

/* Lane [place * encodings + i] is encoding i there; the last lane is the ceiling. */
static mep_status measure_variants(group *g, variant *variants, mep_bench_lane *lanes)
{
    int64_t count = g->settings->encoding_count;
    mep_bench_lane *top = &lanes[PLACE_COUNT * count];
    double bytes = 2 * (double)tensor_bytes(g);
    *top = (mep_bench_lane){.run = read_all, .context = g, .name = "reading", .is_ceiling = 1, .work = bytes};
    for (int64_t i = 0; i < count; i++) {
        variants[i] = (variant){.g = g, .encoding = g->settings->encodings[i]};
        MEP_TRY(open_variant(&variants[i]));
        for (int64_t place = 0; place < PLACE_COUNT; place++) {
            mep_bench_lane *lane = &lanes[place * count + i];
            *lane = (mep_bench_lane){.run = PLACES[place].run, .context = &variants[i], .work = bytes};
            snprintf(lane->name, sizeof lane->name, "%.80s at %lld keys, %s", variants[i].encoding,
                     (long long)g->length, mep_dtype_name(g->dtype));
        }
    }
    MEP_TRY(mep_bench_measure(lanes, PLACE_COUNT * count + 1, &g->common->control));
    g->common->control.done += PLACE_COUNT * count;
    for (int64_t i = 0; i < PLACE_COUNT * count; i++) {
        mep_bench_figures f = mep_bench_figures_of(&lanes[i], top);
        double batch = (double)g->settings->batch_size;
        mep_bench_decode_case c = {.keys_in = PLACES[i / count].name,
                                   .dtype = mep_dtype_name(g->dtype),
                                   .encoding = variants[i % count].encoding,
                                   .length = g->length,
                                   .figures = f,
                                   .tokens = {batch / f.seconds.best, batch / f.seconds.median}};
        MEP_TRY(g->common->add(g->common->context, &c));
    }
    return MEP_OK;
}

static mep_status measure_group(group *g)
{
    int64_t count = g->settings->encoding_count;
    variant *variants = NULL;
    mep_bench_lane *lanes = NULL;
    MEP_TRY(mep_alloc(&variants, count, sizeof *variants));
    mep_status status = mep_alloc(&lanes, PLACE_COUNT * count + 1, sizeof *lanes);
    if (status == MEP_OK) status = measure_variants(g, variants, lanes);
    for (int64_t i = 0; i < count; i++) {
        mep_attention_destroy(&variants[i].plan);
        mep_cache_destroy(&variants[i].cache);
    }
    mep_free(&variants);
    mep_free(&lanes);
    return status;
}

static mep_status measure_dtype(group *g)
{
    const mep_bench_decode_settings *s = g->settings;
    int64_t longest = 0, one = 0, all = 0;
    for (int64_t i = 0; i < s->length_count; i++) longest = s->lengths[i] > longest ? s->lengths[i] : longest;
    MEP_TRY(mep_multiply(s->batch_size, s->heads, s->head_dim, &one));
    MEP_TRY(mep_multiply(one, longest, 1, &all));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &g->q, g->dtype, one));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &g->k, g->dtype, all));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &g->v, g->dtype, all));
    MEP_TRY(mep_alloc(&g->out, one, (size_t)mep_dtype_size(g->dtype)));
    for (int64_t i = 0; i < s->length_count; i++) {
        g->length = s->lengths[i];
        MEP_TRY(measure_group(g));
    }
    return MEP_OK;
}

mep_status mep_bench_decode(const mep_bench_decode_settings *settings, mep_bench_common *common)
{
    common->control.total = PLACE_COUNT * settings->encoding_count * settings->length_count * common->dtype_count;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < common->dtype_count && status == MEP_OK; i++) {
        group g = {.settings = settings, .common = common, .dtype = common->dtypes[i]};
        status = measure_dtype(&g);
        void **tensors[] = {&g.q, &g.k, &g.v, &g.out};
        for (int t = 0; t < 4; t++) mep_free(tensors[t]);
    }
    return status;
}
