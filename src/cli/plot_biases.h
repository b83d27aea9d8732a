/* SPDX-License-Identifier: MIT */
/*
 * mep plot --bias, --model: distance biases against the distance, from a spec or from a model that has learned them.
 */
#ifndef MEP_CLI_PLOT_BIASES_H
#define MEP_CLI_PLOT_BIASES_H

#include "cli/args.h"
#include "mep/status.h"

typedef struct mep_plot_biases_options {
    const char *out, *title;            /* NULL: default */
    mep_texts specs, models;            /* at least one of them; models are folders */
    int64_t heads;                      /* of the specs; models have their own number */
    mep_lengths shown;                  /* heads, from 1; empty: default */
    mep_lengths queries;                /* positions of the query, of biases that depend on it; empty: default */
    int64_t max_distance, train_length; /* 0: default; train_length 0 without models: no mark */
    double floor;                       /* the lowest bias that is drawn; 0: no limit */
} mep_plot_biases_options;

/* Draw the biases. The caller frees *png, the name of the picture, with mep_free. */
mep_status mep_plot_biases(char **png, const mep_plot_biases_options *options);

#endif
