/* SPDX-License-Identifier: MIT */
/*
 * The progress and the final line of mep prepare --synthetic.
 */
#include "cli/prepare_synthetic.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/progress.h"

static int show_progress(void *context, int64_t done, int64_t total)
{
    mep_progress *progress = context;
    progress->total = total;
    mep_progress_update(progress, done, "%s", "");
    return mep_interrupt_flag;
}

mep_status mep_cli_prepare_synthetic(mep_prepare_synthetic *job)
{
    const mep_synthetic_settings *s = &job->settings;
    mep_progress progress = {0};
    if (!job->quiet) mep_progress_start(&progress, "sequences", 0, s->sequences);
    mep_status status = mep_synthetic_write(job->task, job->prefix, s, show_progress, &progress);
    mep_progress_finish(&progress);
    if (status != MEP_OK) return status;
    mep_cli_print(stdout,
                  "%s: %" PRId64 " sequences of %" PRId64 " tokens of the task %s; train with --length %" PRId64
                  ", test with mep eval --task %s\n",
                  job->prefix, s->sequences, s->length, job->task, s->length, job->task);
    return MEP_OK;
}
