/* SPDX-License-Identifier: MIT */
/*
 * What `mep import` and `mep export` share: load a model, write it in another form with its tokenizer beside it, and
 * say what was written.
 */
#ifndef MEP_CLI_CONVERT_MODEL_H
#define MEP_CLI_CONVERT_MODEL_H

#include "cli/args.h"
#include "mep/model.h"

typedef struct mep_convert_job {
    const char *command;
    /* Write the model into an existing folder; *form is the model_type that it has there. */
    mep_status (*save)(const mep_model *model, const char *folder, const mep_save_settings *settings,
                       const char **form);
    int for_transformers; /* the tokenizer gets the files that transformers reads */
    const char *position; /* NULL: the model's own */
    int64_t seed;
    int dtype; /* 0: float32, 1: bfloat16 */
    mep_save_settings settings;
    int quiet;
} mep_convert_job;

/* Parse the arguments MODEL OUT and the options, which are the same for both, and do it; returns the exit code. `usage`
 * is without options. OUT must not hold a model yet. */
int mep_cli_convert(mep_convert_job *job, mep_usage usage, int argc, char **argv);

#endif
