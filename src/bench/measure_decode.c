/* SPDX-License-Identifier: MIT */
/*
 * The decoding benchmark: one query at the end of many keys, as in every layer for every generated token. The ceiling
 * reads the same keys and values from the same memory (or CPU cache, if they fit) with all threads and does nothing
 * else.
 */
#include <stdio.h>
#include <string.h>

#include "attention/cache.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "bench/operands.h"
#include "mep/attention.h"

enum { CALL = 512 }; /* tokens that are appended to the cache at a time */

typedef struct measurement {
    const mep_bench_decode_settings *settings;
    mep_bench_common *common;
    mep_dtype dtype;
    int64_t length;
    void *q, *k, *v, *out; /* k, v have room for the longest length; used as [batch, kv heads, length, head_dim] */
} measurement;

typedef struct variant {
    measurement *m;
    const char *encoding;
    mep_attention *plan;
    mep_cache *cache; /* sequence b is stored as layer b */
} variant;

static int64_t kv_heads(const mep_bench_decode_settings *s)
{
    return s->kv_heads > 0 ? s->kv_heads : s->heads;
}

static mep_tensor_view view(const measurement *m, void *data, int64_t heads, int64_t tokens)
{
    int64_t head = tokens * m->settings->head_dim;
    return (mep_tensor_view){
        .data = data, .batch_stride = heads * head, .head_stride = head, .token_stride = m->settings->head_dim};
}

/* Decode with keys and values in tensors of the caller. */
static mep_status decode_tensors(void *context)
{
    const variant *v = context;
    const measurement *m = v->m;
    const mep_attention_call call = {.batch = m->settings->batch_size,
                                     .queries = 1,
                                     .keys = m->length,
                                     .q = view(m, m->q, m->settings->heads, 1),
                                     .k = view(m, m->k, kv_heads(m->settings), m->length),
                                     .v = view(m, m->v, kv_heads(m->settings), m->length),
                                     .out = view(m, m->out, m->settings->heads, 1)};
    return mep_attention_forward(v->plan, &call);
}

/* Sequence `index` of a tensor, starting at token `first`. */
static mep_tensor_view sequence(const measurement *m, mep_tensor_view all, int64_t index, int64_t first)
{
    int64_t at = index * all.batch_stride + first * all.token_stride;
    return (mep_tensor_view){.data = (char *)all.data + at * mep_dtype_size(m->dtype),
                             .head_stride = all.head_stride,
                             .token_stride = all.token_stride};
}

/* Sequence `index` of a tensor of keys or values, starting at token `first`. */
static mep_tensor_view stored(const measurement *m, void *data, int64_t index, int64_t first)
{
    return sequence(m, view(m, data, kv_heads(m->settings), m->length), index, first);
}

/* Decode with the key/value cache. Each run writes the newest token to the same position again. */
static mep_status decode_cache(void *context)
{
    const variant *v = context;
    const measurement *m = v->m;
    int64_t heads = m->settings->heads;
    for (int64_t b = 0; b < m->settings->batch_size; b++) {
        const mep_attention_call call = {.batch = 1,
                                         .queries = 1,
                                         .q = sequence(m, view(m, m->q, heads, 1), b, 0),
                                         .k = stored(m, m->k, b, m->length - 1),
                                         .v = stored(m, m->v, b, m->length - 1),
                                         .out = sequence(m, view(m, m->out, heads, 1), b, 0)};
        MEP_TRY(mep_cache_attend(v->cache, b, &call));
    }
    return MEP_OK;
}

/* Where keys and values are stored. */
static const struct {
    const char *name;
    mep_status (*run)(void *context);
} STORAGES[] = {{"tensors", decode_tensors}, {"cache", decode_cache}};
enum { STORAGE_COUNT = sizeof STORAGES / sizeof *STORAGES };

static int64_t tensor_bytes(const measurement *m)
{
    const mep_bench_decode_settings *s = m->settings;
    return s->batch_size * kv_heads(s) * m->length * s->head_dim * mep_dtype_size(m->dtype);
}

/* The sum of 64-bit words, in many independent sums. */
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
    const measurement *m = context;
    const int64_t words = tensor_bytes(m) / 8, chunk = 8192;
    uint64_t sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int64_t i = 0; i < words; i += chunk) {
        int64_t count = min_i64(words - i, chunk);
        sum += read_words((const uint64_t *)m->k + i, count) + read_words((const uint64_t *)m->v + i, count);
    }
    kept = sum;
    (void)kept;
    return MEP_OK;
}

/* Compute windows[batch, heads]: the distance at which the bias is 124 nats below its value at distance 0. At 104 nats
 * a weight is 0; the scores of these tensors differ by up to 20. */
static mep_status find_windows(const variant *v, const mep_bias *bias, int64_t *windows)
{
    const mep_bench_decode_settings *s = v->m->settings;
    double *at_zero;
    int64_t zero = 0, *reach = NULL;
    for (int64_t i = 0; i < s->batch_size * s->heads; i++) windows[i] = MEP_CACHE_ALL;
    if (bias == NULL) return MEP_OK;
    mep_status status;
    MEP_TRY(MEP_ALLOC(&at_zero, s->heads));
    MEP_TRY_OR(status, MEP_ALLOC(&reach, s->heads), end);
    MEP_TRY_OR(status, mep_bias_at(bias, &zero, 1, at_zero), end);
    for (int64_t h = 0; h < s->heads; h++) {
        MEP_TRY_OR(status, mep_bias_reach(bias, at_zero[h] - 124, v->m->length, reach), end);
        for (int64_t b = 0; b < s->batch_size; b++)
            if (reach[h] <= v->m->length) windows[b * s->heads + h] = max_i64(reach[h], 1);
    }
end:
    mep_free(&at_zero);
    mep_free(&reach);
    return status;
}

/* Append all keys except the last one, which the runs append. */
static mep_status fill_cache(variant *v)
{
    const measurement *m = v->m;
    for (int64_t first = 0, count; first < m->length - 1; first += count) {
        count = min_i64(m->length - 1 - first, CALL);
        MEP_TRY(mep_cache_reserve(v->cache, count));
        for (int64_t b = 0; b < m->settings->batch_size; b++)
            mep_cache_append(v->cache, b, count, stored(m, m->k, b, first), stored(m, m->v, b, first));
        mep_cache_advance(v->cache, count);
    }
    return mep_cache_reserve(v->cache, 1);
}

/* Create the cache of a variant, which may drop keys beyond the reach of `bias` (NULL: none), and fill it. */
static mep_status open_cache(variant *v, const mep_bias *bias)
{
    const mep_bench_decode_settings *s = v->m->settings;
    int64_t *windows, count = 0;
    MEP_TRY(mep_multiply(s->batch_size, s->heads, 1, &count));
    MEP_TRY(MEP_ALLOC(&windows, count));
    const mep_cache_settings settings = {.layers = s->batch_size,
                                         .heads = s->heads,
                                         .kv_heads = s->kv_heads,
                                         .head_dim = s->head_dim,
                                         .call = CALL,
                                         .dtype = v->m->dtype,
                                         .window = windows};
    mep_status status;
    MEP_TRY_OR(status, find_windows(v, bias, windows), end);
    MEP_TRY_OR(status, mep_cache_create(&v->cache, &settings), end);
    status = fill_cache(v);
end:
    mep_free(&windows);
    return status;
}

/* Create the plan for the tensors, and give it and the cache the bias table (NULL: none). */
static mep_status set_terms(variant *v, const float *table, int64_t distances)
{
    const mep_bench_decode_settings *s = v->m->settings;
    const mep_attention_terms terms = {.table = table, .table_length = distances};
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = s->heads;
    a.kv_heads = s->kv_heads;
    a.head_dim = s->head_dim;
    a.max_length = distances;
    a.dtype = v->m->dtype;
    MEP_TRY(mep_attention_create(&v->plan, &a));
    MEP_TRY(mep_attention_set_terms(v->plan, &terms));
    return mep_cache_set_terms(v->cache, 0, &terms, NULL, distances);
}

/* Create the plan and the filled cache of an encoding. */
static mep_status open_variant(variant *v)
{
    const mep_bench_decode_settings *s = v->m->settings;
    int has_bias = strcmp(v->encoding, "none") != 0;
    mep_bias *bias = NULL;
    float *table = NULL;
    mep_status status;
    if (has_bias) MEP_TRY(mep_bias_create(&bias, v->encoding, s->heads, s->head_dim));
    MEP_TRY_OR(status, open_cache(v, bias), end);
    int64_t distances = max_i64(v->m->length, mep_cache_distances(v->cache)), size = 0;
    if (has_bias) {
        MEP_TRY_OR(status, mep_multiply(s->heads, distances, 1, &size), end);
        MEP_TRY_OR(status, MEP_ALLOC(&table, size), end);
        MEP_TRY_OR(status, mep_bias_table(bias, distances, table), end);
    }
    status = set_terms(v, table, distances);
end:
    mep_free(&table);
    mep_bias_destroy(&bias);
    return status;
}

/* Task j * encodings + i is encoding i in storage j; the last task is the ceiling. */
static mep_status measure_variants(measurement *m, variant *variants, mep_bench_task *tasks)
{
    int64_t count = m->settings->encoding_count;
    mep_bench_task *top = &tasks[STORAGE_COUNT * count];
    double bytes = 2 * (double)tensor_bytes(m);
    *top = (mep_bench_task){.run = read_all, .context = m, .name = "reading", .is_ceiling = 1, .work = bytes};
    for (int64_t i = 0; i < count; i++) {
        variants[i] = (variant){.m = m, .encoding = m->settings->encodings[i]};
        MEP_TRY(open_variant(&variants[i]));
        for (int64_t j = 0; j < STORAGE_COUNT; j++) {
            mep_bench_task *task = &tasks[j * count + i];
            *task = (mep_bench_task){.run = STORAGES[j].run, .context = &variants[i], .work = bytes};
            snprintf(task->name, sizeof task->name, "%.80s at %lld keys, %s", variants[i].encoding,
                     (long long)m->length, mep_dtype_name(m->dtype));
        }
    }
    MEP_TRY(mep_bench_measure(tasks, STORAGE_COUNT * count + 1, &m->common->control));
    m->common->control.done += STORAGE_COUNT * count;
    for (int64_t i = 0; i < STORAGE_COUNT * count; i++) {
        mep_bench_figures f = mep_bench_figures_of(&tasks[i], top);
        double batch = (double)m->settings->batch_size;
        mep_bench_decode_case c = {.keys_in = STORAGES[i / count].name,
                                   .dtype = mep_dtype_name(m->dtype),
                                   .encoding = variants[i % count].encoding,
                                   .length = m->length,
                                   .figures = f,
                                   .tokens = {batch / f.seconds.best, batch / f.seconds.median}};
        MEP_TRY(m->common->add(m->common->context, &c));
    }
    return MEP_OK;
}

static mep_status take_measurement(measurement *m)
{
    int64_t count = m->settings->encoding_count;
    variant *variants = NULL;
    mep_bench_task *tasks = NULL;
    MEP_TRY(MEP_ALLOC(&variants, count));
    mep_status status = MEP_ALLOC(&tasks, STORAGE_COUNT * count + 1);
    if (status == MEP_OK) status = measure_variants(m, variants, tasks);
    for (int64_t i = 0; i < count; i++) {
        mep_attention_destroy(&variants[i].plan);
        mep_cache_destroy(&variants[i].cache);
    }
    mep_free(&variants);
    mep_free(&tasks);
    return status;
}

static mep_status measure_dtype(measurement *m)
{
    const mep_bench_decode_settings *s = m->settings;
    int64_t longest = 0, one = 0, all = 0;
    for (int64_t i = 0; i < s->length_count; i++) longest = max_i64(longest, s->lengths[i]);
    MEP_TRY(mep_multiply(s->batch_size, s->heads, s->head_dim, &one));
    MEP_TRY(mep_multiply(one / s->heads * kv_heads(s), longest, 1, &all));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &m->q, m->dtype, one));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &m->k, m->dtype, all));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &m->v, m->dtype, all));
    MEP_TRY(mep_alloc(&m->out, one, (size_t)mep_dtype_size(m->dtype)));
    for (int64_t i = 0; i < s->length_count; i++) {
        m->length = s->lengths[i];
        MEP_TRY(take_measurement(m));
    }
    return MEP_OK;
}

mep_status mep_bench_decode(const mep_bench_decode_settings *settings, mep_bench_common *common)
{
    common->control.total = STORAGE_COUNT * settings->encoding_count * settings->length_count * common->dtype_count;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < common->dtype_count && status == MEP_OK; i++) {
        measurement m = {.settings = settings, .common = common, .dtype = common->dtypes[i]};
        status = measure_dtype(&m);
        void **tensors[] = {&m.q, &m.k, &m.v, &m.out};
        for (int t = 0; t < 4; t++) mep_free(tensors[t]);
    }
    return status;
}
