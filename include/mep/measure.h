/* SPDX-License-Identifier: MIT */
/*
 * How far back a model reads: measures beyond the perplexity of mep/eval.h, and the synthetic tasks that some of them
 * need.
 */
#ifndef MEP_MEASURE_H
#define MEP_MEASURE_H

#include "mep/dist.h"
#include "mep/eval.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bits per byte of text: the loss of the scored tokens in bits, divided by the number of bytes of their text.
 * Unlike the perplexity it can be compared between tokenizers. NaN if the dataset does not name its tokenizer. `data`
 * and `settings` are those of the mep_evaluate call that gave `result`. */
MEP_API mep_status mep_eval_bits_per_byte(const mep_dataset *data, const mep_eval_settings *settings,
                                          const mep_eval_result *result, double *bits);

/* ---- Measures ---- */

enum { MEP_MEASURE_NAME = 32 };

/* One number of a measure. */
typedef struct mep_measure_value {
    char name[MEP_MEASURE_NAME]; /* what it is: "loss", "gain", "exact" */
    int64_t length;              /* tokens per segment */
    double at;                   /* the point on the measure's axis; NaN: it has no axis */
    int64_t layer, head;         /* from 0; -1: not of one layer or head */
    double value;
    double standard_error; /* NaN: unknown */
    int64_t samples;       /* independent samples of the standard error: segments, tokens or trials */
    int64_t first_sample;  /* index in mep_measure.sample_values; -1: the samples are not kept */
} mep_measure_value;

/* The numbers of one measure, at one or several lengths. Begin with {0}: every mep_measure call of the same measure
 * appends its numbers. A call that fails appends nothing. Free with mep_measure_free. */
typedef struct mep_measure {
    char name[MEP_MEASURE_NAME]; /* "by-position" */
    char axis[MEP_MEASURE_NAME]; /* what mep_measure_value.at is: "position"; "" if there is no axis */
    int64_t count, capacity;
    mep_measure_value *values;
    /* The samples of the values, in the order of the segments, tokens or trials: their mean is the value, and their
       standard deviation over the root of their number its standard error. Where a value is a ratio of two means (bits
       per byte), a sample is the linearized ratio, value + (a_i - value b_i) / mean(b). Two models that are measured
       with the same settings have the same segments, tokens and trials, so the differences of their samples are
       paired. */
    int64_t sample_count, sample_capacity;
    double *sample_values;
} mep_measure;

MEP_API void mep_measure_free(mep_measure *measure);

/* Write a measure as CSV, one line per number with all its members but the samples. Every number is read back as the
 * same one. The caller frees *text with mep_text_free. */
MEP_API mep_status mep_measure_print(const mep_measure *measure, char **text);
/* Read what mep_measure_print wrote. *measure, which is overwritten, is unchanged on failure; MEP_ERROR_FORMAT names
 * the line. */
MEP_API mep_status mep_measure_parse(const char *text, mep_measure *measure);

typedef struct mep_measure_settings {
    int64_t length;       /* tokens per segment; not used by mep_measure_copy_gain */
    int64_t max_tokens;   /* use this many tokens from the start of the data; 0: all */
    int64_t batch_tokens; /* tokens per batch, at least one segment */
    mep_dtype dtype;
    double tolerance; /* of attention; see mep_attention_settings */
    mep_device device;
    uint64_t seed;       /* of the random choices */
    int64_t samples;     /* tokens of mep_measure_context_gain; trials of the others */
    int64_t bins;        /* of mep_measure_by_position; 0: each bin ends at twice the position of the one before */
    int64_t copy_tokens; /* of mep_measure_copy_gain: tokens of the repeated text */
    double top;          /* of mep_measure_context_gain: the fraction of the tokens that gain most */
} mep_measure_settings;

/* Set the defaults: length 1024, all data, batches of 16384 tokens, float32, seed 1, 256 samples, copies of 32 tokens,
 * the top 0.05. */
MEP_API void mep_measure_defaults(mep_measure_settings *settings);

/* What to measure. All processes of the group make the same call, and all receive the same numbers. Results do not
 * depend on the number of processes and threads, or on the size of the batches. */
typedef struct mep_measure_call {
    mep_dist *group; /* NULL: one process */
    mep_model *model;
    const mep_dataset *data; /* may be NULL for a synthetic task. Data with a mask is refused where losses are read */
    const mep_measure_settings *settings;
    mep_eval_fn progress; /* as of mep_evaluate; total is an estimate, loss_so_far is NaN. NULL: not called */
    void *context;        /* of progress */
    int check_only;       /* 1: check the settings and the data, and measure nothing; the model may then be NULL */
} mep_measure_call;

/* The loss by the number of tokens before the predicted one (1 to length), in logarithmic bins: `at` is the last
 * position of a bin, which begins after the one before. Values "loss" (nats per token) and, if the dataset names its
 * tokenizer, "bits_per_byte". Standard errors are over the segments, which do not overlap. */
MEP_API mep_status mep_measure_by_position(const mep_measure_call *call, mep_measure *measure);

/* What a longer context is worth: `samples` tokens, evenly spaced over the data, are each predicted from exactly
 * length/8, length/4, length/2 and length tokens before them; `at` is the number of tokens. Values "loss", and beyond
 * length/8 the mean "gain" (loss at length/8 minus loss here) and "top_gain": the same over the fraction `top` of the
 * tokens whose gain at the full length is largest; it is biased upward there, since the same losses choose the tokens.
 * The length must be a multiple of 8. */
MEP_API mep_status mep_measure_context_gain(const mep_measure_call *call, mep_measure *measure);

/* What a copy of a text is worth: a random range of copy_tokens tokens is read twice, with `gap` other tokens of the
 * data between the two. Before the first copy the model reads copy_tokens other tokens. `at` is the gap, `length` the
 * sum of all four: 3 copy_tokens + gap. Values "first" and "second" (the loss on each copy without its first token) and
 * "gain": first minus second. */
MEP_API mep_status mep_measure_copy_gain(const mep_measure_call *call, int64_t gap, mep_measure *measure);

/* Finding a passkey: five digits hidden in text of the data at a fraction `depth` (0 to 1) of it, and asked for at the
 * end, in segments of `length` tokens. Values "exact" (the fraction of the trials in which greedy decoding writes the
 * key) and "saved" (nats that the key is likelier than one with other digits); `at` is the depth. */
MEP_API mep_status mep_measure_passkey(const mep_measure_call *call, double depth, mep_measure *measure);

/* A synthetic task on new sequences of `length` tokens, which data of mep_synthetic_write with the same seed does not
 * contain. Values "exact" (the fraction of the answers that are the likeliest token) and "loss" (nats per answer). The
 * model needs the tokens of the tokenizer "bytes". */
MEP_API mep_status mep_measure_synthetic(const mep_measure_call *call, const char *task, mep_measure *measure);

/* How far layers and heads look: attention weights of queries in the last quarter of segments, `samples` of them in
 * all. Values of each layer and head: "zero" (the fraction of the keys with a weight of exactly 0), and "d50", "d90"
 * and "d99" (how many of the nearest keys hold 50, 90 and 99 % of the weight), means over the queries; standard errors
 * are over the segments. Slow, on the CPU alone. */
MEP_API mep_status mep_measure_blindness(const mep_measure_call *call, mep_measure *measure);

/* How far a bias by itself lets a head look. */
typedef struct mep_bias_sight {
    int64_t reach; /* exp(b(d) - b(0)) is exactly 0 in float32 at this distance and beyond; -1: at none up to 2^31 */
    int converges; /* whether the sum of exp b(d) over all distances is finite, judged by how fast b falls between
                      2^20 and 2^31: for a power of d the answer is exact */
    double mass;   /* the sum of exp(b(d) - b(0)) over the distances below `length` */
} mep_bias_sight;

/* The sight of every head, sight[mep_bias_heads(bias)]. */
MEP_API mep_status mep_bias_sights(const mep_bias *bias, int64_t length, mep_bias_sight *sight);

/* The longest measured length at which, as at every measured length from the training length up to it, the value `name`
 * is within the fraction `within` of its value at the training length, or better. The value of a length is the mean
 * over the axis; where the axis is a position in the segment it is the value at the end of the segment. If the training
 * length was not measured, the longest shorter length takes its place. *length is 0 if there is none, if a gain is not
 * positive there, or if the value is neither a cost nor a gain. Fails for a value that the measure does not have. */
MEP_API mep_status mep_measure_effective_length(const mep_measure *measure, const char *name, int64_t training_length,
                                                double within, int64_t *length);

/* ---- Several models ---- */

/* 1: a larger value of this name is better; -1: a smaller one; 0: neither, as of the distances of the blindness report.
 */
MEP_API int mep_measure_direction(const char *name);

/* Reduce a measure to one number for each length and name: the mean over layers, heads and the axis, with its samples
 * where all points have the same; where the axis is a position or a context in the segment, the number at the end of
 * the segment. The copy gain keeps its axis, since each of its lengths has one gap. *reduced, which is overwritten, is
 * freed by the caller. */
MEP_API mep_status mep_measure_by_length(const mep_measure *measure, mep_measure *reduced);

/* The mean of several runs of the same measure, such as those of several seeds: the values that at least one of them
 * has. In *mean, which is overwritten and which the caller frees, standard_error is the standard deviation over the
 * runs (n - 1; NaN for one), and samples is their number. */
MEP_API mep_status mep_measure_mean(const mep_measure *runs, int64_t count, mep_measure *mean);

/* A paired difference: a model minus the baseline, at one point of a measure. */
typedef struct mep_measure_difference {
    char name[MEP_MEASURE_NAME];
    int64_t length;
    double at;
    int64_t pairs;        /* runs of both, with the same seed */
    double value;         /* mean over the pairs of the difference of their values */
    double error_runs;    /* standard deviation of these differences over the root of their number; NaN for one pair */
    int64_t samples;      /* of the standard error below; 0: none are kept */
    double error_samples; /* the same over the samples, each the mean over the pairs of its differences; NaN: unknown */
    double standard_error; /* one pair: error_samples. Several pairs: sqrt(error_runs^2 + error_samples^2), an upper
                              bound where both the runs and the samples are random, or error_runs alone if
                              error_samples is unknown */
    int verdict;           /* 1: better than the baseline by more than two standard errors; -1: worse; 0: neither */
} mep_measure_difference;

/* Compute the differences between runs[count] and baselines[count]: pair i has the same seed and was measured with the
 * same settings. Points that one of a pair does not have are left out of the pair, and numbers of layers and heads are
 * left out. The caller frees *differences with mep_measure_differences_free. */
MEP_API mep_status mep_measure_compare(const mep_measure *runs, const mep_measure *baselines, int64_t count,
                                       mep_measure_difference **differences, int64_t *difference_count);
MEP_API void mep_measure_differences_free(mep_measure_difference **differences);

/* ---- Synthetic tasks ---- */

typedef struct mep_synthetic_settings {
    int64_t length; /* tokens per sequence */
    int64_t sequences;
    uint64_t seed;
} mep_synthetic_settings;

/* Set the defaults: 20000 sequences of 64 tokens, seed 1. */
MEP_API void mep_synthetic_defaults(mep_synthetic_settings *settings);

/* Called after every 256 sequences and the last one. A return value other than 0 ends the call with MEP_INTERRUPTED. */
typedef int (*mep_synthetic_fn)(void *context, int64_t done, int64_t total);

/* Write the training data of a synthetic task as a dataset of the tokenizer "bytes", in which only the answers are
 * trained (mep_dataset_writer_add_masked). Train with the same length, so that every training sequence is one of these.
 * `task` is one of
 *     "mqar"       pairs of a key and a value, then queries among other tokens: a key, whose value is the answer.
 *                  "mqar:pairs=8,queries=4" are the defaults; up to 32 pairs
 *     "induction"  random letters, one of them after a mark; at the end the mark again, and that letter is the answer
 * progress may be NULL. On failure no files remain. */
MEP_API mep_status mep_synthetic_write(const char *task, const char *prefix, const mep_synthetic_settings *settings,
                                       mep_synthetic_fn progress, void *context);

#ifdef __cplusplus
}
#endif

#endif
