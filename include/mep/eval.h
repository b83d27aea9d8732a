/* SPDX-License-Identifier: MIT */
/*
 * Evaluation: the perplexity of a model on a dataset or a data mix, at any length.
 */
#ifndef MEP_EVAL_H
#define MEP_EVAL_H

#include "mep/data.h"
#include "mep/dist.h"
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

/* ---- Several datasets ---- */

enum { MEP_DATA_MIX_MOST = 64 /* corpora of a mix */ };

/* One dataset, "books", or several with weights, "books=0.7,code=0.3". Weights are scaled to a sum of 1. All functions
 * that read a mix are thread-safe. */
typedef struct mep_data_mix mep_data_mix;

/* Open the datasets of `spec`. Of each dataset, take the part that `split` assigns to `part` (mep_dataset_open_split);
 * NULL or "" takes all of it. MEP_ERROR_ARGUMENT for a spec that cannot be read, and if two datasets have different
 * tokenizers. The caller owns *mix. */
MEP_API mep_status mep_data_mix_open(mep_data_mix **mix, const char *spec, const char *split, mep_split part);
/* Close all datasets and set *mix to NULL; NULL is allowed. */
MEP_API void mep_data_mix_close(mep_data_mix **mix);

/* The number of corpora; and of corpus `index` its prefix, its weight and its dataset, which belong to the mix: "", 0
 * and NULL for an index that the mix does not have. */
MEP_API int64_t mep_data_mix_count(const mep_data_mix *mix);
MEP_API const char *mep_data_mix_name(const mep_data_mix *mix, int64_t index);
MEP_API double mep_data_mix_weight(const mep_data_mix *mix, int64_t index);
MEP_API const mep_dataset *mep_data_mix_dataset(const mep_data_mix *mix, int64_t index);

/* Tokens of all corpora together, tokens of the smallest corpus, and the largest vocabulary (mep_dataset_vocab_size).
 */
MEP_API int64_t mep_data_mix_tokens(const mep_data_mix *mix);
MEP_API int64_t mep_data_mix_least_tokens(const mep_data_mix *mix);
MEP_API int64_t mep_data_mix_vocab_size(const mep_data_mix *mix);

/* Call mep_dataset_verify for each dataset. This reads all of the data once and computes its checksum and vocabulary.
 */
MEP_API mep_status mep_data_mix_verify(const mep_data_mix *mix);

/* Append `suffix` to every prefix of a spec: "books=7,code=3" and ".train" give "books.train=7,code.train=3". */
MEP_API mep_status mep_data_mix_append(const char *spec, const char *suffix, char out[MEP_DATA_SIZE]);

/* Remove the folders from every prefix of a spec: "data/books=7,data/code=3" gives "books=7,code=3". */
MEP_API mep_status mep_data_mix_title(const char *spec, char out[MEP_DATA_SIZE]);

/* ---- Several processes ---- */

/* What to evaluate and how. All processes of the group make the same call. */
typedef struct mep_eval_call {
    mep_dist *group;       /* NULL: one process */
    int sequence_parallel; /* divide every segment over the processes; also done if there are fewer segments than
                              processes */
    mep_model *model;
    const mep_eval_settings *settings;
    mep_eval_fn progress; /* called in every process; one that stops or fails stops all. NULL: not called */
    void *context;        /* of progress */
    double **samples;     /* NULL: not asked for. Receives result->segments numbers in the order of the segments: their
                             mean is the loss, and their standard deviation over the root of their number its standard
                             error. They are the segments' losses; with a mask or a mix of datasets they are linearized.
                             NULL if one of several datasets has a single segment. The caller frees them with
                             mep_eval_samples_free */
} mep_eval_call;

/* Free the samples of an evaluation and set *samples to NULL; NULL is allowed. */
MEP_API void mep_eval_samples_free(double **samples);

/* Evaluate a model on every corpus of a mix. The loss is the weighted mean; tokens and segments are added up;
 * settings->max_tokens applies to each corpus. `each`, of mep_data_mix_count(mix) elements or NULL, receives the
 * results of the corpora. The processes divide the segments, and the result is the same in all of them, bit-identical
 * to that of one process (in sequence parallel mode for lengths of 64 or more and tolerance 0). Fails as mep_evaluate
 * does. */
MEP_API mep_status mep_evaluate_mix(const mep_eval_call *call, const mep_data_mix *mix, mep_eval_result *result,
                                    mep_eval_result *each);

#ifdef __cplusplus
}
#endif

#endif
