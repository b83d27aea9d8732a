/* SPDX-License-Identifier: MIT */
/*
 * mep plot RUN ...: draws the metrics.jsonl of one run in full, or of several runs to compare them.
 */
#ifndef MEP_CLI_PLOT_RUNS_H
#define MEP_CLI_PLOT_RUNS_H

#include <stdint.h>

#include "cli/args.h"
#include "mep/status.h"

/* The values that can be drawn: keys of metrics.jsonl, terminated by NULL. */
extern const char *const mep_plot_metrics[];

typedef struct mep_plot_runs_options {
    const char *out, *title;      /* NULL: default */
    int64_t shown_count;          /* 0: default */
    int64_t shown[MEP_ARGS_LIST]; /* indices of mep_plot_metrics, each at most once */
    int by_tokens;                /* the x axis */
    int64_t smooth;               /* steps per point of a curve; 0: default */
    double max_loss;              /* upper end of the axes of losses; 0: default */
} mep_plot_runs_options;

/* 1 if `path` names a run: a folder, or a metrics.jsonl. */
int mep_plot_is_run(const char *path);

/* Draw the runs in `paths`. The caller frees *png, the name of the picture, with mep_free. */
mep_status mep_plot_runs(char **png, const mep_plot_runs_options *options, char *const *paths, int64_t count);

#endif
