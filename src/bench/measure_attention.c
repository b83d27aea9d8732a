/* SPDX-License-Identifier: MIT */
/*
 * The attention benchmark. For one dtype, CPU level and length the tasks run in turn: the forward pass of every
 * encoding, the backward pass of every encoding, and the ceiling. They use the same inputs; each encoding has its own
 * plan and score terms.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "bench/bench_terms.h"
#include "bench/conditions.h"
#include "bench/operands.h"
#include "mep/attention.h"

/* q, k, v, out, and for the backward pass dout, dq, dk, dv; large enough for the longest length. */
enum { Q, K, V, OUT, DOUT, DQ, DK, DV, TENSORS };

typedef struct measurement {
    const mep_bench_attention_settings *settings;
    mep_bench_common *common;
    mep_device device;
    mep_dtype dtype;
    mep_cpu_level level;
    int64_t length, batch;
    void *data[TENSORS];
    void *lse;
    mep_bench_ceiling ceiling;
} measurement;

/* An encoding with or without skipping. */
typedef struct variant {
    measurement *m;
    const char *encoding;
    int exact;
    mep_attention *plan;
    mep_bench_terms terms;
    double memory[2]; /* after the forward and after the backward pass */
    double computed;
} variant;

static int is_none(const char *encoding)
{
    return strcmp(encoding, "none") == 0;
}

/* A tensor of `heads` heads. */
static mep_tensor_view view(const measurement *m, int which, int64_t heads)
{
    int64_t head = m->length * m->settings->head_dim;
    return (mep_tensor_view){.data = m->data[which],
                             .batch_stride = heads * head,
                             .head_stride = head,
                             .token_stride = m->settings->head_dim};
}

static int64_t kv_heads(const measurement *m)
{
    return m->settings->kv_heads > 0 ? m->settings->kv_heads : m->settings->heads;
}

static mep_attention_call call_of(const variant *v)
{
    const measurement *m = v->m;
    mep_attention_call call = v->terms.call;
    call.batch = m->batch;
    call.queries = call.keys = m->length;
    call.q = view(m, Q, m->settings->heads);
    call.k = view(m, K, kv_heads(m));
    call.v = view(m, V, kv_heads(m));
    call.out = view(m, OUT, m->settings->heads);
    call.lse = m->lse;
    return call;
}

static mep_status forward(void *context)
{
    const variant *v = context;
    const mep_attention_call call = call_of(v);
    return mep_attention_forward(v->plan, &call);
}

static mep_status backward(void *context)
{
    const variant *v = context;
    const measurement *m = v->m;
    const mep_attention_call call = call_of(v);
    mep_attention_gradient gradient = v->terms.gradient;
    gradient.dout = view(m, DOUT, m->settings->heads);
    gradient.dq = view(m, DQ, m->settings->heads);
    gradient.dk = view(m, DK, kv_heads(m));
    gradient.dv = view(m, DV, kv_heads(m));
    return mep_attention_backward(v->plan, &call, &gradient);
}

/* ---- One encoding ---- */

/* Create the plan and make the first run of each pass, and measure their memory. */
static mep_status first_runs(variant *v, mep_bench_task *pass[2])
{
    const mep_bench_attention_settings *s = v->m->settings;
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = s->heads;
    a.kv_heads = s->kv_heads;
    a.head_dim = s->head_dim;
    a.max_length = v->m->length;
    a.dtype = v->m->dtype;
    a.device = v->m->device;
    a.skip_far = v->exact;
    a.tolerance = v->exact ? s->tolerance : 0;
    double begin = mep_bench_memory_begin();
    MEP_TRY(mep_attention_create(&v->plan, &a));
    MEP_TRY(mep_attention_set_terms(v->plan, &v->terms.terms));
    if (v->terms.fire.pieces > 0) MEP_TRY(mep_attention_set_fire(v->plan, &v->terms.fire, v->terms.dfire));
    for (int i = 0; i < 2 - s->forward_only; i++) {
        MEP_TRY(mep_bench_first(pass[i], &v->m->common->control));
        v->memory[i] = mep_device_is_host(v->m->device) ? mep_bench_memory_growth(begin) : (double)NAN;
        v->computed = mep_attention_computed_fraction(v->plan);
    }
    return MEP_OK;
}

/* Describe the tasks of an encoding, create its plan, and make the first runs. */
static mep_status open_variant(variant *v, mep_bench_task *pass[2])
{
    const mep_bench_attention_settings *s = v->m->settings;
    double length = (double)v->m->length;
    double work = 2 * length * length * (double)(s->head_dim * s->heads * v->m->batch);
    for (int i = 0; i < 2 - s->forward_only; i++) {
        *pass[i] = (mep_bench_task){.run = i == 0 ? forward : backward,
                                    .context = v,
                                    .device = v->m->device,
                                    .work = i == 0 ? work : 2.5 * work};
        snprintf(pass[i]->name, sizeof pass[i]->name, "%.80s %s at %lld, %s", v->encoding,
                 i == 0 ? "forward" : "backward", (long long)v->m->length, mep_dtype_name(v->m->dtype));
    }
    MEP_TRY(mep_bench_terms_create(&v->terms, &(mep_bench_terms_settings){.spec = v->encoding,
                                                                          .device = v->m->device,
                                                                          .batch = v->m->batch,
                                                                          .length = v->m->length,
                                                                          .heads = s->heads,
                                                                          .head_dim = s->head_dim,
                                                                          .gradients = !s->forward_only}));
    return first_runs(v, pass);
}

/* ---- One measurement ---- */

static int64_t variant_count(const mep_bench_attention_settings *s)
{
    int64_t count = 0;
    for (int64_t e = 0; e < s->encoding_count; e++) count += is_none(s->encodings[e]) ? 1 : s->dense + s->exact;
    return count;
}

static void list_variants(measurement *m, variant *variants)
{
    const mep_bench_attention_settings *s = m->settings;
    for (int64_t e = 0; e < s->encoding_count; e++)
        for (int exact = !s->dense; exact <= (s->exact && !(s->dense && is_none(s->encodings[e]))); exact++)
            *variants++ = (variant){.m = m, .encoding = s->encodings[e], .exact = exact};
}

/* Report the cases: task pass * count + i is a pass of variant i; the last task is the ceiling. */
static mep_status report(const measurement *m, const variant *variants, int64_t count, int passes,
                         const mep_bench_task *tasks)
{
    const mep_bench_task *top = &tasks[passes * count];
    for (int pass = 0; pass < passes; pass++) {
        const mep_bench_task *none = NULL;
        for (int64_t i = 0; i < count; i++)
            if (is_none(variants[i].encoding)) none = &tasks[pass * count + i];
        for (int64_t i = 0; i < count; i++) {
            mep_bench_attention_case c = {.level = mep_device_is_host(m->device) ? mep_cpu_level_text(m->level)
                                                                                 : mep_device_name(m->device),
                                          .dtype = mep_dtype_name(m->dtype),
                                          .encoding = variants[i].encoding,
                                          .skip = variants[i].exact ? "exact" : "off",
                                          .pass = pass == 0 ? "forward" : "backward",
                                          .length = m->length,
                                          .batch_size = m->batch,
                                          .figures = mep_bench_figures_of(&tasks[pass * count + i], top),
                                          .computed = variants[i].computed,
                                          .memory = variants[i].memory[pass]};
            c.of_none = none != NULL ? mep_bench_ratio(&tasks[pass * count + i], none) : (double)NAN;
            MEP_TRY(m->common->add(m->common->context, &c));
        }
    }
    return MEP_OK;
}

static mep_status measure_variants(measurement *m, variant *variants, int64_t count, mep_bench_task *tasks)
{
    int passes = 2 - m->settings->forward_only;
    list_variants(m, variants);
    mep_bench_task *ceiling = &tasks[passes * count];
    mep_bench_ceiling_task(&m->ceiling, ceiling);
    MEP_TRY(mep_bench_first(ceiling, &m->common->control));
    for (int64_t i = 0; i < count; i++) {
        mep_bench_task *pass[2] = {&tasks[i], passes == 2 ? &tasks[count + i] : NULL};
        MEP_TRY(mep_bench_sample(ceiling, &m->common->control));
        MEP_TRY(open_variant(&variants[i], pass));
    }
    MEP_TRY(mep_bench_measure(tasks, passes * count + 1, &m->common->control));
    m->common->control.done += passes * count;
    return report(m, variants, count, passes, tasks);
}

static mep_status take_measurement(measurement *m)
{
    int64_t count = variant_count(m->settings);
    variant *variants = NULL;
    mep_bench_task *tasks = NULL;
    MEP_TRY(MEP_ALLOC(&variants, count));
    mep_status status = MEP_ALLOC(&tasks, 2 * count + 1);
    if (status == MEP_OK) status = measure_variants(m, variants, count, tasks);
    for (int64_t i = 0; i < count; i++) {
        mep_attention_destroy(&variants[i].plan);
        mep_bench_terms_destroy(&variants[i].terms);
    }
    mep_free(&variants);
    mep_free(&tasks);
    return status;
}

/* ---- All groups ---- */

static int64_t batch_of(const mep_bench_attention_settings *s, int64_t length)
{
    if (s->tokens == 0) return s->batch_size;
    return max_i64(s->tokens / length, 1);
}

static mep_status allocate(measurement *m)
{
    const mep_bench_attention_settings *s = m->settings;
    int64_t rows = 0, size = 0;
    for (int64_t i = 0; i < s->length_count; i++) {
        int64_t these = 0;
        MEP_TRY(mep_multiply(batch_of(s, s->lengths[i]), s->heads, s->lengths[i], &these));
        rows = max_i64(rows, these);
    }
    MEP_TRY(mep_multiply(rows, s->head_dim, 1, &size));
    for (int i = 0; i < (s->forward_only ? DOUT : TENSORS); i++) {
        if (i == OUT || i > DOUT)
            MEP_TRY(mep_device_array(m->device, &m->data[i], size, mep_dtype_size(m->dtype)));
        else
            MEP_TRY(mep_bench_random(m->device, &m->data[i], m->dtype, size));
    }
    MEP_TRY(mep_device_array(m->device, &m->lse, rows, sizeof(float)));
    return mep_bench_ceiling_create(&m->ceiling, m->device, m->common->ceiling, m->dtype);
}

static int64_t level_count(const mep_bench_attention_settings *s, mep_device device)
{
    return mep_device_is_host(device) ? s->level_count : 1;
}

static mep_status measure_dtype(measurement *m)
{
    const mep_bench_attention_settings *s = m->settings;
    MEP_TRY(allocate(m));
    for (int64_t level = 0; level < level_count(s, m->device); level++)
        for (int64_t length = 0; length < s->length_count; length++) {
            if (mep_device_is_host(m->device)) m->level = mep_cpu_level_set(s->levels[level]);
            m->length = s->lengths[length];
            m->batch = batch_of(s, m->length);
            MEP_TRY(take_measurement(m));
        }
    return MEP_OK;
}

static mep_status check_levels(const mep_bench_attention_settings *s)
{
    for (int64_t i = 0; i < s->level_count; i++)
        if (mep_cpu_level_missing(s->levels[i]) != NULL)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "this machine has no %s; its highest level is %s",
                            mep_cpu_level_text(s->levels[i]), mep_cpu_level_text(mep_cpu_level_detected()));
    return MEP_OK;
}

mep_status mep_bench_attention(const mep_bench_attention_settings *settings, mep_bench_common *common)
{
    if (mep_device_is_host(common->device)) MEP_TRY(check_levels(settings));
    common->control.total = variant_count(settings) * (2 - settings->forward_only) *
                            level_count(settings, common->device) * settings->length_count * common->dtype_count;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < common->dtype_count && status == MEP_OK; i++) {
        measurement m = {.settings = settings, .common = common, .device = common->device, .dtype = common->dtypes[i]};
        status = measure_dtype(&m);
        mep_bench_ceiling_destroy(&m.ceiling);
        mep_device_release(m.device, &m.lse);
        for (int t = 0; t < TENSORS; t++) mep_device_release(m.device, &m.data[t]);
    }
    return status;
}
