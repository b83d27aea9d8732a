/* SPDX-License-Identifier: MIT */
/*
 * The loss by position: segments that do not overlap, and the mean of their losses in logarithmic bins of the number of
 * tokens before the predicted one.
 */
#include <math.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "eval/scorer.h"
#include "eval/token_bytes.h"

enum { MOST_BINS = 4096 };

typedef struct by_position {
    const mep_measure_call *call;
    mep_token_bytes token_bytes;
    int64_t segments;
    int64_t bins, *ends; /* the last position of each bin; positions are from 1 to the length */
    double *losses;      /* [bins, segments] sums, in nats */
    double *bytes;       /* the same, of the predicted tokens */
} by_position;

/* ---- Bins ---- */

/* The last position of bin i of n, over 1 .. length: each bin is wider than the one before by the same factor. */
static int64_t bin_end(int64_t length, int64_t i, int64_t n)
{
    return i == n ? length : (int64_t)(exp(log((double)length) * (double)i / (double)n) + 0.5);
}

/* Without a number of bins they end at length, length / 2, length / 4, ..., which lengths that are powers of two times
 * each other have in common. Otherwise bins that would be empty are left out. */
static mep_status make_bins(by_position *p)
{
    int64_t length = p->call->settings->length, wanted = p->call->settings->bins, last = 0;
    if (wanted < 0 || wanted > MOST_BINS)
        return mep_fail(MEP_ERROR_ARGUMENT, "the number of bins must be from 0 to %d, found %lld", MOST_BINS,
                        (long long)wanted);
    MEP_TRY(MEP_ALLOC(&p->ends, wanted > 0 ? wanted + 1 : 64));
    if (wanted == 0) {
        int64_t end = length, shift = 0;
        while (length >> (shift + 1) > 0) shift++;
        for (; shift >= 0; shift--) {
            end = length >> shift;
            p->ends[p->bins++] = end;
        }
        return MEP_OK;
    }
    for (int64_t i = 1; i <= wanted; i++) {
        int64_t end = bin_end(length, i, wanted);
        if (end > last) p->ends[p->bins++] = last = end;
    }
    return MEP_OK;
}

/* ---- Segments ---- */

static mep_status read(void *context, int64_t segment, int32_t *inputs, int32_t *targets, int64_t *answers)
{
    const by_position *p = context;
    int64_t length = p->call->settings->length;
    (void)answers;
    MEP_TRY(mep_dataset_read(p->call->data, segment * length, length, inputs));
    return mep_dataset_read(p->call->data, segment * length + 1, length, targets);
}

static void take(void *context, int64_t segment, const float *losses, const int32_t *likeliest)
{
    by_position *p = context;
    int64_t position = 0;
    (void)likeliest;
    for (int64_t b = 0; b < p->bins; b++) {
        double *sum = p->losses + b * p->segments + segment;
        for (; position < p->ends[b]; position++) *sum += (double)losses[position];
    }
}

/* Count the bytes of the predicted tokens, which every process does by itself. */
static mep_status count_bytes(by_position *p)
{
    int64_t length = p->call->settings->length;
    int32_t *targets;
    mep_status status = MEP_OK;
    MEP_TRY(MEP_ALLOC(&targets, length));
    for (int64_t s = 0; s < p->segments && status == MEP_OK; s++) {
        int64_t position = 0;
        status = mep_dataset_read(p->call->data, s * length + 1, length, targets);
        for (int64_t b = 0; b < p->bins && status == MEP_OK; b++)
            for (; position < p->ends[b]; position++)
                p->bytes[b * p->segments + s] += (double)mep_token_bytes_of(&p->token_bytes, targets[position]);
    }
    mep_free(&targets);
    return status;
}

/* ---- The measure ---- */

static mep_status open_measure(by_position *p)
{
    int64_t length = p->call->settings->length, size = 0;
    MEP_TRY(mep_measure_check(p->call));
    p->segments = (mep_measure_tokens(p->call) - 1) / length;
    if (p->segments < 1)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens, too few for one segment of length %lld; use a shorter length or "
                        "more text",
                        (long long)mep_measure_tokens(p->call), (long long)length);
    MEP_TRY(make_bins(p));
    MEP_TRY(mep_multiply(p->bins, p->segments, 1, &size));
    MEP_TRY(MEP_ALLOC(&p->losses, size));
    MEP_TRY(mep_token_bytes_open(&p->token_bytes, p->call->data));
    if (p->token_bytes.count == 0) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&p->bytes, size));
    return count_bytes(p);
}

static mep_status add_bin(const by_position *p, int64_t bin, mep_measure_draft *draft)
{
    int64_t first = bin > 0 ? p->ends[bin - 1] : 0;
    double end = (double)p->ends[bin], width = end - (double)first, bytes = 0;
    double *losses = p->losses + bin * p->segments;
    const double *size = p->bytes != NULL ? p->bytes + bin * p->segments : NULL;
    for (int64_t s = 0; size != NULL && s < p->segments; s++) bytes += size[s];
    for (int64_t s = 0; s < p->segments; s++) losses[s] /= width;
    MEP_TRY(mep_measure_add_samples(draft, "loss", end, losses, p->segments));
    if (!(bytes > 0)) return MEP_OK;
    return mep_measure_add_ratio(draft, "bits_per_byte", end, width / log(2), losses, size, p->segments);
}

mep_status mep_measure_by_position(const mep_measure_call *call, mep_measure *measure)
{
    mep_measure_call own;
    MEP_REQUIRE(call, measure);
    MEP_TRY(mep_measure_open(&own, call, MEP_MEASURE_LOSSES));
    by_position p = {.call = &own};
    mep_measure_draft draft;
    MEP_TRY(mep_measure_begin(&draft, measure, "by-position", "position", own.settings->length));
    mep_status status = mep_dist_agree(own.group, open_measure(&p));
    if (status == MEP_OK && !own.check_only) {
        const mep_scorer scorer = {.call = &own,
                                   .what = "the loss by position",
                                   .length = own.settings->length,
                                   .segments = p.segments,
                                   .read = read,
                                   .take = take,
                                   .context = &p};
        status = mep_scorer_run(&scorer);
    }
    for (int64_t b = 0; b < p.bins && status == MEP_OK && !own.check_only; b++) status = add_bin(&p, b, &draft);
    mep_token_bytes_close(&p.token_bytes);
    mep_free(&p.ends);
    mep_free(&p.losses);
    mep_free(&p.bytes);
    return mep_measure_end(&draft, status, measure);
}
