/* SPDX-License-Identifier: MIT */
/*
 * The losses of many segments of one length, in batches, by one process or several: what every measure is made of. A
 * measure says what the segments are and takes their losses; it does not know batches, processes or progress.
 */
#ifndef MEP_EVAL_SCORER_H
#define MEP_EVAL_SCORER_H

#include "eval/measure_draft.h"

/* Fill the inputs and targets [length] of a segment, and the positions of its answers. */
typedef mep_status (*mep_scorer_read_fn)(void *context, int64_t segment, int32_t *inputs, int32_t *targets,
                                         int64_t *answers);

/* Take the losses of a segment, [length] or, with answers, [answers], and the likeliest tokens [answers]. Called in the
 * order of the segments, in every process. */
typedef void (*mep_scorer_take_fn)(void *context, int64_t segment, const float *losses, const int32_t *likeliest);

typedef struct mep_scorer {
    const mep_measure_call *call;
    const char *what;         /* for messages: "the copy gain" */
    int64_t length, segments; /* tokens per segment, segments */
    int64_t answers;          /* 0: the losses of all positions. Otherwise the number of positions per segment of which
                                 the loss and the likeliest token are wanted; the output layer skips all others */
    int64_t before, after;    /* tokens that the measure scores before and after this call, for the progress */
    mep_scorer_read_fn read;
    mep_scorer_take_fn take;
    void *context; /* of read and take */
} mep_scorer;

/* Score all segments. Fails if a loss is not finite (MEP_ERROR_NUMERIC) or the progress function stops it. */
mep_status mep_scorer_run(const mep_scorer *scorer);

#endif
