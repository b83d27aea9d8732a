/* SPDX-License-Identifier: MIT */
/*
 * Segments in random order: a permutation computed by a Feistel network over the next power of four, which is applied
 * again until the result is in the range.
 */
#include "train/sampler.h"

#include <string.h>

#include "base/error.h"
#include "base/random.h"

mep_status mep_sampler_init(mep_sampler *sampler, const mep_dataset *data, const char *name, int64_t length,
                            uint64_t seed)
{
    int64_t tokens = mep_dataset_tokens(data);
    if (tokens < length + 1)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "%s: has %lld tokens, but a sequence of length %lld needs %lld; use a shorter --length or more text", name,
            (long long)tokens, (long long)length, (long long)length + 1);
    int64_t segments = (tokens - 1) / length;
    *sampler = (mep_sampler){.data = data, .length = length, .segments = segments, .seed = seed};
    if (!mep_dataset_has_mask(data)) sampler->slack = tokens - 1 - segments * length;
    return MEP_OK;
}

/* Element number `index` of the permutation of 0 .. n - 1 that seed and epoch determine. */
static int64_t permute(uint64_t index, uint64_t n, uint64_t seed, uint64_t epoch)
{
    int half = 1;
    while (n > (uint64_t)1 << (2 * half)) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t next =
                left ^ (mep_random_bits(seed, mep_random_stream("order") + epoch, round << 32 | right) & mask);
            left = right;
            right = next;
        }
        index = left << half | right;
    } while (index >= n);
    return (int64_t)index;
}

int64_t mep_sampler_start(const mep_sampler *s, int64_t index)
{
    uint64_t epoch = (uint64_t)(index / s->segments);
    int64_t shift = (int64_t)(mep_random_bits(s->seed, mep_random_stream("shift"), epoch) % (uint64_t)(s->slack + 1));
    return shift + s->length * permute((uint64_t)(index % s->segments), (uint64_t)s->segments, s->seed, epoch);
}

mep_status mep_sampler_read(const mep_sampler *s, int64_t index, int32_t *inputs, int32_t *targets)
{
    int64_t start = mep_sampler_start(s, index);
    MEP_TRY(mep_dataset_read(s->data, start, s->length, inputs));
    return mep_dataset_read_targets(s->data, start + 1, s->length, targets);
}
