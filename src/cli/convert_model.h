/* SPDX-License-Identifier: MIT */
/*
 * The common part of `mep import` and `mep export`: load a model, write it in another form with its tokenizer, and
 * print what was written.
 */
#ifndef MEP_CLI_CONVERT_MODEL_H
#define MEP_CLI_CONVERT_MODEL_H

#include "cli/args.h"
#include "mep/model.h"

typedef struct mep_convert_job {
    const char *command;
    /* Write the model to an existing folder; *form becomes its model_type there. */
    mep_status (*save)(const mep_model *model, const char *folder, const mep_save_settings *settings,
                       const char **form);
    int for_transformers; /* write the tokenizer files that transformers reads */
    const char *position; /* NULL: the model's own */
    int64_t seed;
    int dtype; /* 0: float32, 1: bfloat16 */
    mep_save_settings settings;
    int quiet;
} mep_convert_job;

/* Parse the arguments MODEL OUT and the options, which are the same for both commands, and convert. Returns the exit
 * code. `usage` has no options. OUT must not contain a model. */
int mep_cli_convert(mep_convert_job *job, mep_usage usage, int argc, char **argv);

#endif
