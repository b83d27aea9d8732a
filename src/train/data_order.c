/* SPDX-License-Identifier: MIT */
/*
 * The turns of the corpora of a data mix.
 */
#include "train/data_order.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

/* Set the quotas, whose sum is the period: each weight is rounded down, and the remaining sequences go to the corpora
 * that lost most by rounding. */
static mep_status set_quotas(mep_data_order *o, const mep_data_mix *mix)
{
    int32_t given = 0;
    double lost[MEP_DATA_MIX_MOST];
    for (int64_t i = 0; i < mix->count; i++) {
        double exact = mix->weights[i] * MEP_DATA_ORDER_PERIOD;
        o->quota[i] = (int32_t)exact;
        lost[i] = exact - o->quota[i];
        given += o->quota[i];
    }
    for (; given < MEP_DATA_ORDER_PERIOD; given++) {
        int64_t most = 0;
        for (int64_t i = 1; i < mix->count; i++)
            if (lost[i] > lost[most]) most = i;
        o->quota[most]++;
        lost[most] -= 1;
    }
    for (int64_t i = 0; i < mix->count; i++)
        if (o->quota[i] == 0)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: its weight is less than 1/%d of all weights; leave it out",
                            mix->names[i], MEP_DATA_ORDER_PERIOD);
    return MEP_OK;
}

/* The deficit, times the period, of a corpus with `taken` sequences after n sequences of all corpora. */
static int64_t lag(const mep_data_order *o, int64_t corpus, int64_t n, int32_t taken)
{
    return o->quota[corpus] * n - (int64_t)taken * MEP_DATA_ORDER_PERIOD;
}

static void take_turns(mep_data_order *o)
{
    int32_t taken[MEP_DATA_MIX_MOST] = {0};
    for (int64_t n = 0; n < MEP_DATA_ORDER_PERIOD; n++) {
        int64_t next = 0, at = n > 0 ? n : 1; /* the first turn goes to the largest quota */
        for (int64_t i = 1; i < o->count; i++)
            if (lag(o, i, at, taken[i]) > lag(o, next, at, taken[next])) next = i;
        o->turn[n] = (uint8_t)next;
        o->before[n] = taken[next]++;
    }
}

static mep_status open_samplers(mep_data_order *o, const mep_data_mix *mix, int64_t length, uint64_t seed)
{
    for (int64_t i = 0; i < mix->count; i++) {
        uint64_t own = i == 0 ? seed : mep_random_bits(seed, mep_random_stream("corpus"), (uint64_t)i);
        MEP_TRY(mep_sampler_init(&o->samplers[i], mix->data[i], mix->names[i], length, own));
    }
    return MEP_OK;
}

mep_status mep_data_order_open(mep_data_order *o, const mep_data_mix *mix, int64_t length, uint64_t seed)
{
    mep_status status;
    *o = (mep_data_order){.count = mix->count};
    MEP_TRY_OR(status, open_samplers(o, mix, length, seed), failed);
    if (mix->count < 2) return MEP_OK;
    MEP_TRY_OR(status, set_quotas(o, mix), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&o->turn, MEP_DATA_ORDER_PERIOD), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&o->before, MEP_DATA_ORDER_PERIOD), failed);
    take_turns(o);
    return MEP_OK;
failed:
    mep_data_order_close(o);
    return status;
}

void mep_data_order_close(mep_data_order *o)
{
    mep_free(&o->turn);
    mep_free(&o->before);
    *o = (mep_data_order){0};
}

int64_t mep_data_order_find(const mep_data_order *o, int64_t index, int64_t *before)
{
    if (o->count == 1) {
        *before = index;
        return 0;
    }
    int64_t period = index / MEP_DATA_ORDER_PERIOD, n = index % MEP_DATA_ORDER_PERIOD, corpus = o->turn[n];
    *before = period * o->quota[corpus] + o->before[n];
    return corpus;
}

mep_status mep_data_order_read(const mep_data_order *o, int64_t index, int32_t *inputs, int32_t *targets)
{
    int64_t before = 0, corpus = mep_data_order_find(o, index, &before);
    return mep_sampler_read(&o->samplers[corpus], before, inputs, targets);
}

mep_status mep_data_order_trained(const mep_data_order *o, int64_t index, int32_t *targets, int64_t *trained)
{
    int64_t before = 0, corpus = mep_data_order_find(o, index, &before);
    const mep_sampler *s = &o->samplers[corpus];
    *trained = s->length;
    if (!mep_dataset_has_mask(s->data)) return MEP_OK;
    MEP_TRY(mep_dataset_read_targets(s->data, mep_sampler_start(s, before) + 1, s->length, targets));
    for (int64_t i = 0; i < s->length; i++) *trained -= targets[i] == MEP_TARGET_NONE;
    return MEP_OK;
}
