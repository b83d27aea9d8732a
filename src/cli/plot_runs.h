/* SPDX-License-Identifier: MIT */
/*
 * mep plot RUN ...: what a run's metrics.jsonl has, over its steps; one run in full, or several side by side.
 */
#ifndef MEP_CLI_PLOT_RUNS_H
#define MEP_CLI_PLOT_RUNS_H

#include <stdint.h>

#include "cli/args.h"
#include "mep/status.h"

/* What can be shown, by its key in metrics.jsonl, ended by NULL. */
extern const char *const mep_plot_metrics[];

typedef struct mep_plot_runs_options {
    const char *out, *title;      /* NULL: chosen here */
    int64_t shown_count;          /* 0: chosen here */
    int64_t shown[MEP_ARGS_LIST]; /* indices of mep_plot_metrics, each at most once */
    int by_tokens;                /* the x axis */
    int64_t smooth;               /* steps a point of a curve; 0: chosen here */
    double max_loss;              /* end of the losses' axes; 0: chosen here */
} mep_plot_runs_options;

/* 1 where `path` is meant as a run: a folder, or a metrics.jsonl. */
int mep_plot_is_run(const char *path);

/* Draw the runs in `paths`; *png, the picture's name, is the caller's (mep_free). */
mep_status mep_plot_runs(char **png, const mep_plot_runs_options *options, char *const *paths, int64_t count);

#endif
