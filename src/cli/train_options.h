/* SPDX-License-Identifier: MIT */
/*
 * The options that `mep train` and `mep compare` share: sizes of the model and settings of the training. Their other
 * options (data, seeds, encodings, folders) are in command_train.c and command_compare.c.
 *
 *     mep_train_options o;
 *     int code = mep_train_options_begin(&o, "train", argc, argv);        the values of the preset become the defaults
 *     mep_option options[] = {MEP_OPT_TEXT(...), MEP_TRAIN_SIZE_ROWS(&o), MEP_OPT_END};
 *     ... mep_args_parse ...
 *     mep_train_options_finish(&o, rows, "text.train", NULL);    o.settings is complete except for seed and position
 */
#ifndef MEP_CLI_TRAIN_OPTIONS_H
#define MEP_CLI_TRAIN_OPTIONS_H

#include "cli/args.h"
#include "cli/device_option.h"
#include "mep/train.h"

typedef struct mep_train_options {
    mep_train_settings settings;
    const char *preset;
    int dtype;       /* index in mep_cli_dtypes */
    int device;      /* a mep_device */
    int on_nan;      /* a mep_on_nan */
    int block;       /* a mep_block */
    int qk_norm;     /* a mep_qk_norm */
    int64_t threads; /* 0: all cores */
} mep_train_options;

/* The names of mep_on_nan, mep_block and mep_qk_norm, each list with NULL at its end. */
extern const char *const mep_train_on_nan[], *const mep_train_blocks[], *const mep_train_qk_norms[];

/* Fill *options from the preset of the command line (--preset NAME), or from "nano" if it has none. Returns
 * MEP_ARGS_GO, or the exit code after one line on stderr. */
int mep_train_options_begin(mep_train_options *options, const char *command, int argc, char **argv);

/* After the parsing: complete the settings with the data (a prefix or a mixture), its split (or NULL) and the size of
 * its vocabulary (that of its tokenizer, or its largest token + 1, rounded up to a multiple of 64), and set the number
 * of threads. The micro-batch of a preset becomes the largest one up to it that divides the batch. */
mep_status mep_train_options_finish(mep_train_options *options, const mep_option *rows, const char *data,
                                    const char *split);

/* Rows for a table of options, without headings; O is a pointer to mep_train_options. Sizes of the model, which a model
 * that is read from a folder has already: */
#define MEP_TRAIN_SIZE_ROWS(O)                                                                                         \
    MEP_OPT_INT("--num-hidden-layers", 0, "N", &(O)->settings.model.num_hidden_layers, 1, 1000, "number of layers"),   \
        MEP_OPT_INT("--hidden-size", 0, "N", &(O)->settings.model.hidden_size, 1, 1 << 20,                             \
                    "channels of the residual stream"),                                                                \
        MEP_OPT_INT("--num-attention-heads", 0, "N", &(O)->settings.model.num_attention_heads, 1, 65536,               \
                    "attention heads; must divide the hidden size, unless --head-dim is given"),                       \
        MEP_OPT_INT("--num-key-value-heads", 0, "N", &(O)->settings.model.num_key_value_heads, 0, 65536,               \
                    "heads of keys and values, each shared by as many attention heads (grouped-query attention); of "  \
                    "Llama blocks; 0: as many as attention heads"),                                                    \
        MEP_OPT_INT("--head-dim", 0, "N", &(O)->settings.model.head_dim, 0, 65536,                                     \
                    "channels of a head; 0: --hidden-size / --num-attention-heads"),                                   \
        MEP_OPT_INT("--intermediate-size", 0, "N", &(O)->settings.model.intermediate_size, 0, 1 << 20,                 \
                    "channels inside the MLP; 0: 4 --hidden-size, or 8/3 --hidden-size in Llama blocks"),              \
        MEP_OPT_CHOICE("--block", 0, "SHAPE", &(O)->block, mep_train_blocks,                                           \
                       "shape of a block: gpt_neox (LayerNorm, GELU, biases) or llama (RMSNorm, SwiGLU, no biases)"),  \
        MEP_OPT_CHOICE(                                                                                                \
            "--qk-norm", 0, "OVER", &(O)->qk_norm, mep_train_qk_norms,                                                 \
            "RMSNorm of queries and keys in Llama blocks: of each head (Qwen3) or of all together (OLMo2)"),           \
        MEP_OPT_FLAG("--qkv-bias", 0, &(O)->settings.model.qkv_bias,                                                   \
                     "biases of queries, keys and values in Llama blocks (Qwen2)"),                                    \
        MEP_OPT_FLAG("--post-norm", 0, &(O)->settings.model.post_norm,                                                 \
                     "norms after attention and MLP instead of before them, in Llama blocks (OLMo2)"),                 \
        MEP_OPT_REAL("--initializer-range", 0, "R", &(O)->settings.model.initializer_range, 0, 1,                      \
                     "standard deviation of the initial weights; 0: 0.02. Small models learn faster with more, about " \
                     "sqrt(2 / (5 --hidden-size))"),                                                                   \
        MEP_OPT_FLAG("--tie-word-embeddings", 0, &(O)->settings.model.tie_word_embeddings,                             \
                     "use the embedding as the output matrix"),                                                        \
        MEP_OPT_INT("--vocab-size", 0, "N", &(O)->settings.model.vocab_size, 0, 1 << 24,                               \
                    "rows of the embedding; 0: as many as the data needs, rounded up to a multiple of 64")

/* Length of the training, batches, types. */
#define MEP_TRAIN_RECIPE_ROWS(O)                                                                                       \
    MEP_OPT_INT("--steps", 'n', "N", &(O)->settings.steps, 1, (int64_t)1 << 40, "optimizer steps"),                    \
        MEP_OPT_LENGTH("--length", 'l', "L", &(O)->settings.length, 1, 1 << 30, "tokens per sequence"),                \
        MEP_OPT_INT("--batch-size", 'b', "N", &(O)->settings.batch_size, 1, 1 << 30, "sequences per optimizer step"),  \
        MEP_OPT_INT(                                                                                                   \
            "--micro-batch-size", 0, "N", &(O)->settings.micro_batch_size, 0, 1 << 30,                                 \
            "sequences computed at a time, a divisor of --batch-size; fewer need less memory; 0: the complete batch; " \
            "the default is the largest divisor up to this"),                                                          \
        MEP_OPT_CHOICE("--dtype", 0, "TYPE", &(O)->dtype, mep_cli_dtypes,                                              \
                       "type to compute in; weights are kept in float32 " MEP_CLI_DTYPE_AUTO),                         \
        MEP_CLI_DEVICE_ROW(&(O)->device),                                                                              \
        MEP_OPT_FLAG("--recompute", 0, &(O)->settings.recompute,                                                       \
                     "keep only the input of each layer for the backward pass: less memory, one third more work")

#define MEP_TRAIN_OPTIMIZER_GROUP "Optimizer (AdamW; the learning rate rises linearly, then falls as a cosine)"
#define MEP_TRAIN_OPTIMIZER_ROWS(O)                                                                                    \
    MEP_OPT_REAL("--learning-rate", 0, "R", &(O)->settings.learning_rate, 0, 100, "highest learning rate"),            \
        MEP_OPT_REAL("--min-learning-rate", 0, "R", &(O)->settings.min_learning_rate, 0, 100,                          \
                     "learning rate at the end"),                                                                      \
        MEP_OPT_REAL("--warmup", 0, "FRACTION", &(O)->settings.warmup, 0, 1,                                           \
                     "fraction of the steps in which the learning rate rises from 0"),                                 \
        MEP_OPT_REAL("--beta1", 0, "B", &(O)->settings.beta1, 0, 0.9999999,                                            \
                     "decay rate of the mean of the gradients"),                                                       \
        MEP_OPT_REAL("--beta2", 0, "B", &(O)->settings.beta2, 0, 0.9999999,                                            \
                     "decay rate of the mean of their squares"),                                                       \
        MEP_OPT_REAL("--eps", 0, "E", &(O)->settings.eps, 1e-30, 1, "added to the square root of the mean square"),    \
        MEP_OPT_REAL("--weight-decay", 0, "W", &(O)->settings.weight_decay, 0, 1000,                                   \
                     "applied to matrices and embeddings only"),                                                       \
        MEP_OPT_REAL("--max-grad-norm", 0, "NORM", &(O)->settings.max_grad_norm, 0, 1e30,                              \
                     "scale gradients with a larger norm down to this norm; 0: never")

#define MEP_TRAIN_SAVE_ROWS(O)                                                                                         \
    MEP_OPT_INT("--save-every", 0, "N", &(O)->settings.save_every, 0, INT64_MAX,                                       \
                "steps between checkpoints; 0: only at the end"),                                                      \
        MEP_OPT_INT("--keep", 0, "N", &(O)->settings.keep, 0, INT64_MAX,                                               \
                    "number of newest checkpoints to keep; 0: all"),                                                   \
        MEP_OPT_CHOICE("--on-nan", 0, "ACTION", &(O)->on_nan, mep_train_on_nan,                                        \
                       "action if a loss or gradient is not finite: stop; skip the step and continue; or dump the "    \
                       "step's tokens, losses and first bad tensors to RUN/nan-STEP and stop")

#endif
