/* SPDX-License-Identifier: MIT */
/*
 * Score terms for the attention benchmark.
 */
#include "bench/bench_terms.h"

#include <string.h>

#include "base/assertion.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/operands.h"
#include "bias/position.h"
#include "bias/table.h"

/* `count` values of `size` bytes, set to 0, that live as long as the terms. */
static mep_status allocate(mep_bench_terms *t, void **data, int64_t count, int64_t size)
{
    MEP_ASSERT(t->count < (int)(sizeof t->memory / sizeof *t->memory));
    MEP_TRY(mep_alloc(data, count, (size_t)size));
    t->memory[t->count++] = *data;
    return MEP_OK;
}

/* [batch, heads, length, width] of random float32, or of zeros. */
static mep_status allocate_rows(mep_bench_terms *t, const mep_bench_terms_settings *s, int64_t width, int random,
                                mep_tensor_view *view)
{
    int64_t count = 0;
    MEP_TRY(mep_multiply(s->batch * s->heads, s->length, width, &count));
    *view = (mep_tensor_view){
        .batch_stride = s->heads * s->length * width, .head_stride = s->length * width, .token_stride = width};
    if (!random) return allocate(t, &view->data, count, sizeof(float));
    MEP_TRY(mep_bench_random(MEP_DEVICE_CPU, &view->data, MEP_FLOAT32, count));
    t->memory[t->count++] = view->data;
    return MEP_OK;
}

static mep_status make_gate(mep_bench_terms *t, const mep_bench_terms_settings *s)
{
    double *gate = NULL;
    void *dgate = NULL;
    int64_t count = s->batch * s->heads * s->length;
    MEP_TRY(allocate(t, (void **)&gate, count, sizeof *gate));
    for (int64_t i = 0; i < count; i++)
        gate[i] = (i % s->length == 0 ? 0 : gate[i - 1]) - 0.02 * mep_random_uniform(1, 0, (uint64_t)i);
    t->call.gate = gate;
    if (!s->gradients) return MEP_OK;
    MEP_TRY(allocate(t, &dgate, count, sizeof(double)));
    t->gradient.dgate = dgate;
    return MEP_OK;
}

static mep_status make_profiles(mep_bench_terms *t, const mep_bench_terms_settings *s, const mep_position_entry *e)
{
    float *bank = NULL;
    void *dbank = NULL;
    int64_t extent = e->extent > 0 ? e->extent : s->length;
    MEP_TRY(allocate_rows(t, s, e->rank, 1, &t->call.profiles));
    MEP_TRY(allocate(t, (void **)&bank, e->rank * extent, sizeof *bank));
    for (int64_t i = 0; i < e->rank * extent; i++) bank[i] = (float)(0.1 * mep_random_normal(2, 0, (uint64_t)i));
    t->terms.bank = bank, t->terms.rank = e->rank, t->terms.extent = extent;
    if (!s->gradients) return MEP_OK;
    MEP_TRY(allocate_rows(t, s, e->rank, 0, &t->gradient.dprofiles));
    MEP_TRY(allocate(t, &dbank, e->rank * extent, sizeof(double)));
    t->gradient.dbank = dbank;
    return MEP_OK;
}

static mep_status make_mixture(mep_bench_terms *t, const mep_bench_terms_settings *s, const mep_bias *bias,
                               double *scratch)
{
    float *kernels = NULL;
    void *dkernels = NULL;
    int64_t count = mep_bias_kernels(bias), size = 0;
    MEP_TRY(mep_multiply(s->heads, count, s->length, &size));
    MEP_TRY(allocate(t, (void **)&kernels, size, sizeof *kernels));
    MEP_TRY(mep_bias_kernel_tables(bias, s->length, kernels, scratch));
    MEP_TRY(allocate_rows(t, s, count, 1, &t->call.mixture));
    t->terms.log_kernels = kernels, t->terms.kernels = count, t->terms.log_kernels_length = s->length;
    if (!s->gradients) return MEP_OK;
    MEP_TRY(allocate_rows(t, s, count, 0, &t->gradient.dmixture));
    if (mep_bias_param_count(bias) == 0) return MEP_OK;
    MEP_TRY(allocate(t, &dkernels, size, sizeof(double)));
    t->gradient.dlog_kernels = dkernels;
    return MEP_OK;
}

static mep_status make_table(mep_bench_terms *t, const mep_bench_terms_settings *s, const mep_bias *bias)
{
    float *table = NULL;
    int64_t size = 0;
    MEP_TRY(mep_multiply(s->heads, s->length, 1, &size));
    MEP_TRY(allocate(t, (void **)&table, size, sizeof *table));
    MEP_TRY(mep_bias_table(bias, s->length, table));
    t->terms.table = table, t->terms.table_length = s->length;
    if (!s->gradients || mep_bias_param_count(bias) == 0) return MEP_OK;
    MEP_TRY(mep_device_array(s->device, &t->dtable, size, sizeof(double)));
    t->gradient.dtable = t->dtable;
    return MEP_OK;
}

/* What queries beyond the threshold of fire compute. */
static mep_status make_fire(mep_bench_terms *t, const mep_bench_terms_settings *s, const mep_bias *bias)
{
    mep_bias_pieces p;
    if (!mep_bias_get_pieces(bias, &p)) return MEP_OK;
    t->fire = (mep_fire){.c = p.c,
                         .threshold = p.threshold,
                         .pieces = p.count,
                         .row = MEP_BIAS_PIECES,
                         .knots = p.knots,
                         .slope = p.slope,
                         .offset = p.offset};
    return s->gradients ? allocate(t, (void **)&t->dfire, 3 * s->heads * MEP_BIAS_PIECES, sizeof *t->dfire) : MEP_OK;
}

static mep_status make_bias(mep_bench_terms *t, const mep_bench_terms_settings *s, const mep_position *position)
{
    double *scratch = NULL;
    mep_status status;
    MEP_TRY(mep_bias_create_from(&t->bias, position, s->heads, s->head_dim));
    mep_bias *bias = t->bias;
    MEP_TRY(mep_bias_set_train_length(bias, s->length));
    MEP_TRY(make_fire(t, s, bias));
    if (position->entries->weights_query) {
        MEP_TRY_OR(status, MEP_ALLOC(&scratch, mep_bias_scratch(bias)), end);
        status = make_mixture(t, s, bias, scratch);
    } else {
        status = make_table(t, s, bias);
    }
end:
    mep_free(&scratch);
    return status;
}

static mep_status make_sink(mep_bench_terms *t, const mep_bench_terms_settings *s)
{
    float *sink = NULL;
    void *dsink = NULL;
    MEP_TRY(allocate(t, (void **)&sink, s->heads, sizeof *sink));
    t->terms.sink = sink;
    if (!s->gradients) return MEP_OK;
    MEP_TRY(allocate(t, &dsink, s->heads, sizeof(double)));
    t->gradient.dsink = dsink;
    return MEP_OK;
}

mep_status mep_bench_terms_create(mep_bench_terms *t, const mep_bench_terms_settings *s)
{
    mep_position *position = NULL;
    mep_status status = MEP_OK;
    *t = (mep_bench_terms){.device = s->device};
    if (strcmp(s->spec, "none") == 0) return MEP_OK;
    MEP_TRY(mep_position_create(&position, s->spec));
    const mep_position_entry *e = position->entries;
    t->terms.window = e->window;
    if (e->kind == MEP_POSITION_BIAS) MEP_TRY_OR(status, make_bias(t, s, position), end);
    if (e->forget) MEP_TRY_OR(status, make_gate(t, s), end);
    if (e->rank > 0) MEP_TRY_OR(status, make_profiles(t, s, e), end);
    if (e->sink) MEP_TRY_OR(status, make_sink(t, s), end);
end:
    mep_position_destroy(&position);
    if (status != MEP_OK) mep_bench_terms_destroy(t);
    return status;
}

void mep_bench_terms_destroy(mep_bench_terms *t)
{
    for (int i = 0; i < t->count; i++) mep_free(&t->memory[i]);
    mep_device_release(t->device, &t->dtable);
    mep_bias_destroy(&t->bias);
    *t = (mep_bench_terms){.count = 0};
}
