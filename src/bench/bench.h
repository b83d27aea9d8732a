/* SPDX-License-Identifier: MIT */
/*
 * What `mep bench` measures: attention, decoding, matrix products and whole training steps. Each takes its settings and
 * hands over its cases as they are finished; when it fails or is stopped, the cases before stay. Printing is the
 * command line's business. One measurement at a time in a process.
 */
#ifndef MEP_BENCH_BENCH_H
#define MEP_BENCH_BENCH_H

#include "base/cpu.h"
#include "bench/timer.h"
#include "mep/model.h"

/* Takes a finished case (a mep_bench_attention_case, ...), which is copied. */
typedef mep_status (*mep_bench_case_fn)(void *context, const void *finished);

/* What all of them need. */
typedef struct mep_bench_common {
    mep_bench_control control;
    mep_bench_case_fn add;
    void *context;     /* of add */
    mep_device device; /* where it computes; what says nothing of devices is for the processor alone */
    int64_t ceiling;   /* rows and columns of the square product */
    const mep_dtype *dtypes;
    int64_t dtype_count;
} mep_bench_common;

/* ---- Attention: forward and backward, heads x lengths x encodings ---- */

typedef struct mep_bench_attention_settings {
    const char *const *encodings; /* bias specs; "none" is no bias */
    const int64_t *lengths;
    const mep_cpu_level *levels;
    int64_t encoding_count, length_count, level_count; /* levels count on the processor alone */
    int64_t batch_size, heads, head_dim;
    int64_t tokens; /* not 0: in the place of batch_size, as many sequences as have so many tokens, at least one */
    int dense,
        exact; /* with all blocks; without those whose weights are zero. "none" is measured once, dense if it can be */
    double tolerance; /* of exact: see mep_attention_settings */
    int forward_only;
} mep_bench_attention_settings;

typedef struct mep_bench_attention_case {
    const char *level, *dtype, *encoding, *skip, *pass; /* level: a CPU level, or the device */
    int64_t length, batch_size;
    mep_bench_figures figures; /* useful operations: 2 L^2 D H forward, 2.5 times that backward */
    double of_none;            /* time over that of "none"; see mep_bench_ratio. NaN where none is not measured */
    double computed;           /* share of the blocks computed forward */
    double memory; /* bytes that the process grew by: the plan and all that the call takes beyond its tensors. NaN on a
                      GPU, whose memory is not seen */
} mep_bench_attention_case;

mep_status mep_bench_attention(const mep_bench_attention_settings *settings, mep_bench_common *common);

/* ---- Decoding: one query at the end of many keys ---- */

typedef struct mep_bench_decode_settings {
    const char *const *encodings;
    const int64_t *lengths; /* keys */
    int64_t encoding_count, length_count;
    int64_t batch_size, heads, head_dim;
} mep_bench_decode_settings;

typedef struct mep_bench_decode_case {
    const char *keys_in; /* where the keys and values lie: "tensors" of the caller, or the "cache" of generation */
    const char *dtype, *encoding;
    int64_t length;
    /* bytes of all keys and values, also of values that are not read because their weight is zero; the ceiling reads
     * all and does nothing else */
    mep_bench_figures figures;
    mep_bench_pair tokens; /* a second, through one attention layer */
} mep_bench_decode_case;

mep_status mep_bench_decode(const mep_bench_decode_settings *settings, mep_bench_common *common);

/* ---- Matrix products: those of a model ---- */

typedef struct mep_bench_gemm_settings {
    mep_model_config config;
    int64_t rows; /* tokens at a time; the output layer takes 1024 at most, as in the model */
} mep_bench_gemm_settings;

typedef struct mep_bench_gemm_case {
    const char *product, *pass, *dtype;
    int64_t m, n, k;
    mep_bench_figures figures;
} mep_bench_gemm_case;

mep_status mep_bench_gemm(const mep_bench_gemm_settings *settings, mep_bench_common *common);

/* ---- Training steps, or the evaluation of segments ---- */

typedef struct mep_bench_train_settings {
    mep_model_config config;
    int64_t batch_size, length;
    int evaluate; /* losses of the tokens instead of a training step */
} mep_bench_train_settings;

typedef struct mep_bench_train_case {
    const char *dtype;
    int64_t parameters, batch_size, length;
    mep_bench_figures figures;
    mep_bench_pair tokens; /* a second */
    double memory;         /* bytes: model, gradients, moments, activations; NaN on a GPU */
} mep_bench_train_case;

mep_status mep_bench_train(const mep_bench_train_settings *settings, mep_bench_common *common);

/* A preset's sizes, or those of "gpt2": GPT-2 124M, learned positions, an output matrix of its own. nano, micro and
 * mini have the vocabulary of text as bytes, 320; the others 50304. */
mep_status mep_bench_preset(const char *name, mep_model_config *config);

/* Operations of a step as they are counted: 6 (2 when evaluating) for every weight that multiplies and every token,
 * that is without embeddings, LayerNorm and biases, and causal attention's 2 L^2 D H, 3.5 times that in training, a
 * layer and sequence. */
double mep_bench_train_work(const mep_bench_train_settings *settings);

#endif
