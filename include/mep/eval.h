/* SPDX-License-Identifier: MIT */
/*
 * Evaluation: the perplexity of a model on a dataset, at any length.
 */
#ifndef MEP_EVAL_H
#define MEP_EVAL_H

#include "mep/data.h"
#include "mep/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mep_eval_settings {
    int64_t length; /* tokens per segment */
    int64_t stride; /* 0: segments do not overlap (the paper's protocol). Otherwise a window of `length` tokens moves by
                       `stride`, and only tokens that were not scored before count; see `last` */
    int64_t last;   /* 0: every position counts. k: only the last k positions of each segment count. To score the same
                       tokens at several lengths, set `stride` to the longest length: at every length the segments then
                       end at tokens stride, 2 stride, ..., and a shorter length only drops the tokens farthest from the
                       end. A stride below the length cannot be combined with `last` */
    int64_t max_tokens;   /* use this many tokens from the start of the data; 0: all */
    int64_t batch_tokens; /* tokens per batch, at least one segment; default 16384 */
    mep_dtype dtype;
    double tolerance;  /* of attention; see mep_attention_settings */
    mep_device device; /* MEP_DEVICE_CUDA requires bfloat16 and one process */
} mep_eval_settings;

typedef struct mep_eval_result {
    int64_t length, segments;
    int64_t tokens;        /* number of scored tokens */
    double loss;           /* mean over the scored tokens, in nats */
    double perplexity;     /* exp(loss) */
    double standard_error; /* of the perplexity, from the variance of the segments' losses; NaN for one segment */
    double seconds;
} mep_eval_result;

/* Set the defaults: length 1024, no overlap, every position, all data, float32. */
MEP_API void mep_eval_defaults(mep_eval_settings *settings);

/* Called after each batch with the number of tokens read so far, and about ten times per second within a batch with an
 * estimate of it. A return value other than 0 ends the evaluation with MEP_INTERRUPTED. loss_so_far is the mean over
 * the finished batches, NaN before the first one. The call is made on the thread that called mep_evaluate while other
 * threads may be computing, so it should return quickly. */
typedef int (*mep_eval_fn)(void *context, int64_t done, int64_t total, double loss_so_far);

/* Compute the perplexity of a model on a dataset. progress may be NULL. Fails if the data is shorter than a segment or
 * has tokens outside the model's vocabulary, or if a loss is not finite (MEP_ERROR_NUMERIC). */
MEP_API mep_status mep_evaluate(mep_model *model, const mep_dataset *data, const mep_eval_settings *settings,
                                mep_eval_fn progress, void *context, mep_eval_result *result);

#ifdef __cplusplus
}
#endif

#endif
