/* SPDX-License-Identifier: MIT */
/*
 * Writing the events of a run.
 */
#include "cli/event_log.h"

#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "io/files.h"

static mep_status write_step(mep_event_file *file, const mep_metrics_step *s)
{
    MEP_TRY(mep_event_file_scalar(file, "train/loss", s->step, s->loss));
    MEP_TRY(mep_event_file_scalar(file, "train/learning_rate", s->step, s->learning_rate));
    MEP_TRY(mep_event_file_scalar(file, "train/grad_norm", s->step, s->grad_norm));
    MEP_TRY(mep_event_file_scalar(file, "train/tokens_per_second", s->step, s->tokens_per_second));
    MEP_TRY(mep_event_file_scalar(file, "valid/loss", s->step, s->valid_loss));
    return mep_event_file_scalar(file, "valid/perplexity", s->step, exp(s->valid_loss));
}

/* Write the steps before step `end` from the log of the run. */
static mep_status write_earlier(mep_event_file *file, const char *run, int64_t end)
{
    char *path = NULL;
    mep_metrics metrics = {0};
    MEP_TRY(mep_path_join(&path, run, "metrics.jsonl"));
    mep_status status = mep_file_exists(path) ? mep_metrics_read(&metrics, path) : MEP_OK;
    for (int64_t i = 0; i < metrics.count && status == MEP_OK; i++)
        if (metrics.steps[i].step < end) status = write_step(file, &metrics.steps[i]);
    mep_metrics_free(&metrics);
    mep_free(&path);
    return status;
}

static mep_status open_file(mep_event_log *log, const mep_train_progress *p)
{
    int exists = mep_event_file_exists(p->run);
    MEP_TRY(mep_event_file_create(&log->file, p->run, exists ? p->step : 0));
    return exists || p->step == 1 ? MEP_OK : write_earlier(log->file, p->run, p->step);
}

static mep_status write_progress(mep_event_log *log, const mep_train_progress *p)
{
    const mep_metrics_step step = {.step = p->step,
                                   .loss = p->loss,
                                   .learning_rate = p->learning_rate,
                                   .grad_norm = p->grad_norm,
                                   .tokens_per_second = p->tokens_per_second,
                                   .valid_loss = p->valid_loss};
    if (log->file == NULL) MEP_TRY(open_file(log, p));
    MEP_TRY(write_step(log->file, &step));
    return mep_event_file_flush(log->file);
}

void mep_event_log_step(mep_event_log *log, const char *command, const mep_train_progress *step)
{
    if (log->has_failed || write_progress(log, step) == MEP_OK) return;
    log->has_failed = 1;
    mep_cli_complain("mep %s: no more TensorBoard events: %s", command, mep_error_message());
    mep_event_log_end(log);
}

void mep_event_log_end(mep_event_log *log)
{
    (void)mep_event_file_close(&log->file); /* every step was flushed */
}
