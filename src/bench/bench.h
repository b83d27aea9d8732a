/* SPDX-License-Identifier: MIT */
/*
 * The benchmarks of `mep bench`: attention, decoding, matrix products and training steps. Each takes its settings and
 * passes on each case when it is finished, so that the finished cases remain if it fails or is stopped. The command
 * line prints them. A process runs one benchmark at a time.
 */
#ifndef MEP_BENCH_BENCH_H
#define MEP_BENCH_BENCH_H

#include "base/cpu.h"
#include "bench/timer.h"
#include "mep/model.h"

/* Receives a finished case (a mep_bench_attention_case, ...) and copies it. */
typedef mep_status (*mep_bench_case_fn)(void *context, const void *finished);

/* What all benchmarks need. */
typedef struct mep_bench_common {
    mep_bench_control control;
    mep_bench_case_fn add;
    void *context;     /* of add */
    mep_device device; /* that computes; decoding supports the CPU only */
    int64_t ceiling;   /* rows and columns of the square matrix product */
    const mep_dtype *dtypes;
    int64_t dtype_count;
} mep_bench_common;

/* ---- Attention: forward and backward, heads x lengths x encodings ---- */

typedef struct mep_bench_attention_settings {
    const char *const *encodings; /* position specs whose attention has score terms; "none" means no term */
    const int64_t *lengths;
    const mep_cpu_level *levels;
    int64_t encoding_count, length_count, level_count; /* levels are used on the CPU only */
    int64_t batch_size, heads, head_dim;
    int64_t kv_heads; /* heads of keys and values; 0: heads */
    int64_t tokens;   /* not 0: replaces batch_size by tokens / length, at least 1 */
    int dense, exact; /* measure with all blocks; without blocks whose weights are zero. "none" is measured once, with
                         all blocks unless `dense` is 0 */
    double tolerance; /* with `exact`; see mep_attention_settings */
    int forward_only;
} mep_bench_attention_settings;

typedef struct mep_bench_attention_case {
    const char *level, *dtype, *encoding, *skip, *pass; /* level: a CPU level or the device */
    int64_t length, batch_size;
    mep_bench_figures figures; /* useful operations: 2 L^2 D H forward, 2.5 times that backward */
    double of_none;            /* time divided by that of "none" (mep_bench_ratio); NaN if "none" is not measured */
    double computed;           /* fraction of the blocks that the forward pass computes */
    double memory; /* growth of the process in bytes: the plan, and what the call allocates besides its tensors. NaN on
                      a GPU, whose memory is not measured */
} mep_bench_attention_case;

mep_status mep_bench_attention(const mep_bench_attention_settings *settings, mep_bench_common *common);

/* ---- Decoding: one query at the end of many keys ---- */

typedef struct mep_bench_decode_settings {
    const char *const *encodings;
    const int64_t *lengths; /* keys */
    int64_t encoding_count, length_count;
    int64_t batch_size, heads, head_dim;
    int64_t kv_heads; /* 0: heads */
} mep_bench_decode_settings;

typedef struct mep_bench_decode_case {
    const char *keys_in; /* where keys and values are stored: "tensors" of the caller, or the "cache" of generation */
    const char *dtype, *encoding;
    int64_t length;
    /* the work is the bytes of all keys and values, including values that are not read because their weight is zero;
     * the ceiling reads all of them and does nothing else */
    mep_bench_figures figures;
    mep_bench_pair tokens; /* per second, through one attention layer */
} mep_bench_decode_case;

mep_status mep_bench_decode(const mep_bench_decode_settings *settings, mep_bench_common *common);

/* ---- The matrix products of a model ---- */

typedef struct mep_bench_gemm_settings {
    mep_model_config config;
    int64_t rows; /* tokens per product; at most 1024 for the output layer, as in the model */
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
    int evaluate; /* compute the losses of the tokens instead of a training step */
} mep_bench_train_settings;

typedef struct mep_bench_train_case {
    const char *dtype;
    int64_t parameters, batch_size, length;
    mep_bench_figures figures;
    mep_bench_pair tokens; /* per second */
    double memory;         /* bytes of model, gradients, moments and activations; NaN on a GPU */
} mep_bench_train_case;

mep_status mep_bench_train(const mep_bench_train_settings *settings, mep_bench_common *common);

/* The sizes of a preset, or of "gpt2": GPT-2 124M with learned positions and an untied output matrix. The vocabulary is
 * 320 (text as bytes) for nano, micro and mini, and 50304 for the others. */
mep_status mep_bench_preset(const char *name, mep_model_config *config);

/* The number of operations of a step: 6 per token and weight of a matrix product (2 when evaluating), without
 * embeddings, LayerNorm and biases; and for causal attention 2 L^2 D H per layer and sequence (3.5 times that in
 * training). */
double mep_bench_train_work(const mep_bench_train_settings *settings);

#endif
