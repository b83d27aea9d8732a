/* SPDX-License-Identifier: MIT */
/*
 * mep plot --bias, --model: distance biases over the distance, as a spec describes them or as a model has learned them.
 */
#ifndef MEP_CLI_PLOT_BIASES_H
#define MEP_CLI_PLOT_BIASES_H

#include "cli/args.h"
#include "mep/status.h"

typedef struct mep_plot_biases_options {
    const char *out, *title;            /* NULL: chosen here */
    mep_texts specs, models;            /* at least one of them; models are folders */
    int64_t heads;                      /* of the specs; with models it is theirs */
    mep_lengths shown;                  /* heads, from 1; none: chosen here */
    int64_t max_distance, train_length; /* 0: chosen here; train_length 0 without models: no mark */
    double floor;                       /* the lowest bias that is shown; 0: all */
} mep_plot_biases_options;

/* Draw them; *png, the picture's name, is the caller's (mep_free). */
mep_status mep_plot_biases(char **png, const mep_plot_biases_options *options);

#endif
