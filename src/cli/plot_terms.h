/* SPDX-License-Identifier: MIT */
/*
 * mep plot --model --term: what the layers of a model have learned of score terms that are not its distance bias.
 */
#ifndef MEP_CLI_PLOT_TERMS_H
#define MEP_CLI_PLOT_TERMS_H

#include "cli/args.h"
#include "mep/status.h"

typedef enum mep_plot_term { MEP_PLOT_BIAS, MEP_PLOT_PROFILES, MEP_PLOT_FORGET } mep_plot_term;

typedef struct mep_plot_terms_options {
    const char *out, *title;            /* NULL: default */
    const char *model;                  /* folder */
    mep_plot_term term;                 /* PROFILES: P_m(d) of the bank; FORGET: d log sigmoid of the gate's bias */
    mep_lengths layers, shown;          /* layers; profiles or heads; from 1. Empty: default */
    int64_t max_distance, train_length; /* 0: default */
    double floor;                       /* the lowest value that is drawn; 0: no limit */
} mep_plot_terms_options;

/* Draw a term. The caller frees *png, the name of the picture, with mep_free. */
mep_status mep_plot_terms(char **png, const mep_plot_terms_options *options);

#endif
