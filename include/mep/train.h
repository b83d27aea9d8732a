/* SPDX-License-Identifier: MIT */
/*
 * Training a model: settings, runs and their checkpoints.
 */
#ifndef MEP_TRAIN_H
#define MEP_TRAIN_H

#include "mep/eval.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Training ---- */

/* What a run does if a loss or a gradient is not finite. The step is never applied. */
typedef enum mep_on_nan {
    MEP_NAN_STOP, /* end with MEP_ERROR_NUMERIC; the message names the first tensor */
    MEP_NAN_SKIP, /* skip the update and continue with the data of the next step; after MEP_NAN_MOST such steps in a row
                     the run ends as with MEP_NAN_STOP */
    MEP_NAN_DUMP  /* write the step's tokens, losses and first bad tensors to RUN/nan-STEP, then end */
} mep_on_nan;

enum { MEP_NAN_MOST = 10 };

typedef struct mep_train_settings {
    mep_model_config model;     /* max_position_embeddings is raised to `length` if it is smaller */
    char data[MEP_DATA_SIZE];   /* dataset prefix, or a data mix (mep/eval.h): "books=0.7,code=0.3" takes 7 of 10
                                   sequences from books, evenly distributed over the run */
    char split[MEP_SPLIT_SIZE]; /* "949,50,1": train on the first part of the documents of each dataset, and compute the
                                   validation loss on the second part (mep_split_documents); "": use all documents */
    char valid[MEP_DATA_SIZE]; /* dataset prefix or data mix for the validation loss; "": the second part of `split`, or
                                  no validation */
    char init[MEP_PATH_SIZE];  /* folder of a model to start from (mep_model_load); "": random weights. `model` must be
                                  its configuration (mep_model_read_config), except for position_encoding */
    int64_t length;            /* tokens per sequence */
    int64_t batch_size;        /* sequences per optimizer step */
    int64_t micro_batch_size;  /* sequences computed at a time; the gradients of the micro-batches are summed. 0: all */
    /* The gradient of a step is the sum of this many parts, in a fixed order; each part is the gradient of an equal
     * number of consecutive sequences. The bits depend on this number and not on the number of processes, which may be
     * gradient_parts, 1/2, 1/4, ... of it, or 1. 0: the number of processes that start the run. Fewer processes
     * need memory for log2(parts / processes) more gradients. */
    int64_t gradient_parts;
    int64_t steps;
    double learning_rate;     /* maximum */
    double min_learning_rate; /* at the end of the cosine */
    double warmup;            /* fraction of the steps in which the rate rises linearly from 0 */
    double beta1, beta2, eps, weight_decay, max_grad_norm; /* AdamW; norm 0: no clipping */
    uint64_t seed;                                         /* of the initial weights and the order of the data */
    mep_dtype dtype;                                       /* compute type; master weights are float32 */
    int recompute;        /* keep only each layer's input: less memory, a third more work */
    int64_t save_every;   /* steps between checkpoints; 0: only at the end */
    int64_t keep;         /* number of checkpoints to keep; 0: all */
    int64_t valid_every;  /* steps between validation losses; 0: never */
    int64_t valid_tokens; /* tokens of each dataset for the validation loss; 0: all */
    mep_on_nan on_nan;
    mep_device device; /* of training and validation; MEP_DEVICE_CUDA requires bfloat16 and one process */
} mep_train_settings;

/* Set the paper's recipe for a model preset (mep_model_preset): length 512, 32 sequences, 50,000 steps, and so on;
 * "nano" to "mini" have shorter ones for a CPU, and a model.initializer_range of about
 * sqrt(2 / (5 hidden_size)) (arXiv:1910.05895). dtype is mep_dtype_auto(MEP_DEVICE_CPU): a program whose runs must have
 * the same dtype on every machine sets it itself, and so does a program that sets the device to MEP_DEVICE_CUDA, which
 * requires bfloat16. A resumed run keeps its dtype. */
MEP_API mep_status mep_train_preset(const char *name, mep_train_settings *settings);

/* Check every field, sizes and ranges. The device and the files are checked when the training starts. */
MEP_API mep_status mep_train_check(const mep_train_settings *settings);

/* What a step reports. */
typedef struct mep_train_progress {
    const char *run;     /* the run's folder; its new path if it was moved */
    int64_t step, steps; /* step counts from 1 */
    double loss;         /* mean over the step's tokens, in nats; not finite if the step was skipped */
    double learning_rate, grad_norm;
    double tokens_per_second; /* of this step, without validation */
    double valid_loss;        /* NaN if the step had no validation */
    double valid_seconds;     /* time of the validation; 0 if there was none */
    int64_t skipped;          /* number of skipped updates of the run so far (MEP_NAN_SKIP) */
    const char *skipped_for;  /* if this step was skipped, its first tensor that was not finite; otherwise NULL */
} mep_train_progress;

/* Called after each step. A return value other than 0 saves a checkpoint and ends the training with MEP_INTERRUPTED. */
typedef int (*mep_train_fn)(void *context, const mep_train_progress *progress);

/* Train into the folder `run`, which must not contain a run: train.json (settings, version, checksums of the data),
 * metrics.jsonl (one line per step), and checkpoint-STEP/ (config.json, model.safetensors, optimizer.safetensors,
 * state.json). progress may be NULL here and below. */
MEP_API mep_status mep_train_start(const char *run, const mep_train_settings *settings, mep_train_fn progress,
                                   void *context);

/* Continue a run from its newest checkpoint, or from the start if it has none, to its last step, with the settings that
 * it was started with. On the same CPU level or GPU the result is bit-identical to that of a run without interruption.
 * A finished run returns immediately. Fails if the data or the settings have changed (MEP_ERROR_FORMAT,
 * MEP_ERROR_ARGUMENT), or if the checkpoint is damaged (MEP_ERROR_FORMAT; the message names the tensor or file). */
MEP_API mep_status mep_train_resume(const char *run, mep_train_fn progress, void *context);

/* Called in each process after everything is checked and loaded, and before the first step. `done` is the number of
 * earlier steps. A failure in one process ends the training of all. */
typedef mep_status (*mep_train_begun_fn)(void *context, const mep_train_settings *settings, int64_t done);

/* mep_train_start and mep_train_resume by the processes of a group, which all make the call with the same arguments;
 * NULL: one process. Each process computes its sequences of every step; the number of processes must divide the batch.
 * Each holds the optimizer's moments of its shard of the parameters. Only process 0 reads and writes the run's folder;
 * every process must be able to read the data. The bits depend on settings->gradient_parts, not on the number of
 * processes. A run may be resumed by any number of processes that divides the batch (mep_train_gradient_parts). begun
 * and progress are called in all processes, and one that stops stops all; both may be NULL. */
MEP_API mep_status mep_train_start_in(mep_dist *group, const char *run, const mep_train_settings *settings,
                                      mep_train_begun_fn begun, mep_train_fn progress, void *context);
MEP_API mep_status mep_train_resume_in(mep_dist *group, const char *run, mep_train_begun_fn begun,
                                       mep_train_fn progress, void *context);

/* The number of parts in which this many processes sum the gradient of a step: settings->gradient_parts if they can,
 * otherwise the number of processes. N processes can sum in P parts if P is N times a power of two, or if N is 1; the
 * bits of a run are then the same for all of these N. Thread-safe. */
MEP_API int64_t mep_train_gradient_parts(const mep_train_settings *settings, int64_t processes);

/* Estimate the memory, in bytes, that each of `processes` processes needs for a run: weights, gradients, moments and
 * activations, without the data and the program itself. Checks settings->model. */
MEP_API mep_status mep_train_memory(const mep_train_settings *settings, int64_t processes, int64_t *bytes);

/* ---- The data of a run ---- */

/* 1 if the settings name validation data, either directly or as a part of the split. Thread-safe. */
MEP_API int mep_train_has_valid(const mep_train_settings *settings);

/* Open the training or the validation data that the settings name; mep_data_mix_count is 0 if there is no validation
 * data. The caller owns *mix. */
MEP_API mep_status mep_train_open_data(mep_data_mix **mix, const mep_train_settings *settings);
MEP_API mep_status mep_train_open_valid(mep_data_mix **mix, const mep_train_settings *settings);

/* ---- Run folders ---- */

/* Find the newest checkpoint of a run whose checksums all match, and rename the later ones to checkpoint-STEP.damaged;
 * *set_aside is their number. mep_train_resume then continues from *step. If no checkpoint is complete, nothing is
 * changed (MEP_ERROR_FORMAT); nor if one cannot be read (MEP_ERROR_IO) or memory is out, since it may be undamaged. */
MEP_API mep_status mep_train_fall_back(const char *run, int64_t *step, int64_t *set_aside);

/* Change what a run does about numbers that are not finite, for its next resume and later. */
MEP_API mep_status mep_train_set_on_nan(const char *run, mep_on_nan on_nan);

/* Move a run to another device, for its next resume and later. The bits then differ, as between CPU levels. If the
 * device does not support the run's dtype, nothing is changed (MEP_ERROR_ARGUMENT). */
MEP_API mep_status mep_train_set_device(const char *run, mep_device device);

/* "stop", "skip" or "dump"; NULL for other values. */
MEP_API const char *mep_on_nan_name(mep_on_nan on_nan);

/* Read the settings of a run folder. */
MEP_API mep_status mep_train_read_settings(const char *run, mep_train_settings *settings);

/* The newest complete checkpoint of a run folder: its path and its step. "" and -1 if there is none. */
MEP_API mep_status mep_train_checkpoint(const char *run, char path[MEP_PATH_SIZE], int64_t *step);

/* The step of the newest checkpoint of a run folder; 0 if there is none. */
MEP_API mep_status mep_train_steps_done(const char *run, int64_t *steps);

/* The learning rate of a step, counted from 0: linear warm-up, then cosine decay. */
MEP_API double mep_train_learning_rate(const mep_train_settings *settings, int64_t step);

/* ---- metrics.jsonl ---- */

/* A line of the log of a run. A number that the line does not have, or that was not finite, is NaN. */
typedef struct mep_metrics_step {
    int64_t step; /* from 1 */
    double loss, learning_rate, grad_norm, tokens_per_second, valid_loss;
    int skipped; /* 1: the update of this step was left out (MEP_NAN_SKIP) */
} mep_metrics_step;

typedef struct mep_metrics {
    int64_t count;
    mep_metrics_step *steps; /* in ascending order */
    int64_t corpus_count;    /* of a data mix for validation; otherwise 0 */
    char **corpora;          /* their names */
    double *valid_losses;    /* [count][corpus_count], NaN if the step had no validation; NULL without corpora */
    int64_t damaged_line;    /* number of the last line if a crash or a full disk has cut it off: it is left out. 0: the
                                file is complete */
} mep_metrics;

/* Read a metrics.jsonl, also of a run that is in progress, was stopped or has crashed. When a step is logged again
 * after a resume, the later line and what follows it count. MEP_ERROR_FORMAT, with the line, if a line before the last
 * cannot be read, and if there is no step. The caller frees *metrics, which is empty on failure, with mep_metrics_free.
 */
MEP_API mep_status mep_metrics_read(mep_metrics *metrics, const char *path);
MEP_API void mep_metrics_free(mep_metrics *metrics);

/* The last line of a metrics.jsonl that is a step, a JSON object with all that was logged; NULL if there is none. A
 * damaged last line is left out. MEP_ERROR_FORMAT if the line before it is damaged too. The caller frees *line with
 * mep_text_free. */
MEP_API mep_status mep_metrics_last(const char *path, char **line);

#ifdef __cplusplus
}
#endif

#endif
