/* SPDX-License-Identifier: MIT */
/*
 * The measures of mep eval: its options that ask for one, and what is printed then in place of the perplexities.
 */
#ifndef MEP_CLI_EVAL_MEASURES_H
#define MEP_CLI_EVAL_MEASURES_H

#include "cli/args.h"
#include "cli/text_table.h"
#include "mep/measure.h"

typedef struct mep_eval_measures {
    /* Targets of the options below. */
    int by_position, context_gain, blindness, format;
    mep_lengths gaps;
    const char *task, *depths, *picture;
    double within;
    mep_measure_settings settings;
    /* From the other options of mep eval. */
    const char *model_path, *data_path, *split, *position;
    mep_lengths lengths;
    int64_t threads;
    int part, json, quiet;
} mep_eval_measures;

void mep_eval_measures_defaults(mep_eval_measures *measures);

/* Rows of the options of `M`, a mep_eval_measures. */
#define MEP_EVAL_MEASURE_ROWS(M)                                                                                       \
    MEP_OPT_GROUP("Other measures than the perplexity, one at a time"),                                                \
        MEP_OPT_FLAG("--by-position", 0, &(M).by_position,                                                             \
                     "the loss by the number of tokens before the predicted one"),                                     \
        MEP_OPT_INT("--bins", 0, "N", &(M).settings.bins, 0, 4096,                                                     \
                    "of --by-position: logarithmic bins per length; 0: each ends at twice the position of the one "    \
                    "before"),                                                                                         \
        MEP_OPT_FLAG(                                                                                                  \
            "--context-gain", 0, &(M).context_gain,                                                                    \
            "how much lower the loss is with 1/4, 1/2 and all of a length as context than with 1/8, for the same "     \
            "tokens"),                                                                                                 \
        MEP_OPT_LENGTHS("--copy-gain", 0, "GAP,..", &(M).gaps, 0, 1 << 26,                                             \
                        "how much lower the loss is on a text that is read again after GAP other tokens"),             \
        MEP_OPT_TEXT("--task", 0, "NAME", &(M).task,                                                                   \
                     "retrieval: passkey (digits hidden in the text of --data), or a synthetic task, mqar or "         \
                     "induction, which needs no --data"),                                                              \
        MEP_OPT_FLAG(                                                                                                  \
            "--blindness", 0, &(M).blindness,                                                                          \
            "per layer and head: the fraction of keys with weight 0, and the distances within which half, 90 % "       \
            "and 99 % of the weight are; layers and heads count from 0"),                                              \
        MEP_OPT_TEXT("--depths", 0, "D,..", &(M).depths,                                                               \
                     "of --task passkey: where the digits are hidden, 0 at the beginning, 1 at the end"),              \
        MEP_OPT_INT("--samples", 0, "N", &(M).settings.samples, 1, 1 << 24,                                            \
                    "tokens of --context-gain; trials of --copy-gain and --task, per length and depth; queries of "    \
                    "--blindness"),                                                                                    \
        MEP_OPT_INT("--copy-tokens", 0, "N", &(M).settings.copy_tokens, 2, 1 << 20,                                    \
                    "of --copy-gain: tokens per copy"),                                                                \
        MEP_OPT_INT("--seed", 0, "N", (int64_t *)&(M).settings.seed, 0, INT64_MAX,                                     \
                    "seed of the random texts, keys and positions"),                                                   \
        MEP_OPT_REAL("--within", 0, "FRACTION", &(M).within, 0, 0.99,                                                  \
                     "the effective length is the longest with a value within FRACTION of that at the training "       \
                     "length"),                                                                                        \
        MEP_OPT_TEXT("--picture", 0, "FILE.png", &(M).picture, "also draw the measure with gnuplot"),                  \
        MEP_OPT_CHOICE("--format", 0, "FORMAT", &(M).format, mep_table_formats, "of the table of a measure")

/* Whether a name is that of a synthetic task, perhaps with options: "mqar:pairs=4,queries=2". */
int mep_cli_is_task(const char *name);

/* The number of measures that the options ask for. */
int mep_eval_measures_asked(const mep_eval_measures *measures);

/* Check that each given option of the rows has the measure that it is for. Returns MEP_ARGS_GO or an exit code. */
int mep_eval_measures_check(const mep_eval_measures *measures, const mep_option *options);

/* Compute the measure and print it. Returns the exit code. */
int mep_eval_measures_run(mep_eval_measures *measures);

#endif
