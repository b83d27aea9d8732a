/* SPDX-License-Identifier: MIT */
/*
 * Runs a benchmark: from its options to its page.
 */
#include "cli/bench_job.h"

#include <stdio.h>
#include <string.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "bench/operands.h"
#include "cli/cli.h"
#include "cli/interrupt.h"

const char mep_bench_timing_note[] =
    "Cases that are compared run in turn, together with the ceiling. The figures are those of the best sample; the\n"
    "median is in brackets. If the first run of a case takes longer than --seconds, it is the only sample.\n";

/* ---- Values of options ---- */

/* Whether a spec has modifiers beyond what its mixture learns, or differs from layer to layer. */
static int has_modifiers(const char *spec)
{
    if (strchr(spec, '|') != NULL) return 1;
    for (const char *c = strchr(spec, '/'); c != NULL; c = strchr(c + 1, '/'))
        if (strncmp(c, "/learn=", 7) != 0) return 1;
    return 0;
}

/* 1 where the bias of a position depends on the position of the query too. */
static int has_threshold(const mep_position *position)
{
    mep_bias *bias = NULL;
    if (mep_position_get_kind(position) != MEP_POSITION_BIAS) return 0;
    int has = mep_bias_create_from(&bias, position, 1, 1) == MEP_OK && mep_bias_threshold(bias) < INT64_MAX;
    mep_bias_destroy(&bias);
    return has;
}

int mep_bench_check_positions(const char *command, const mep_texts *positions, int terms)
{
    for (int64_t i = 0; i < positions->count; i++) {
        mep_position *position = NULL;
        const char *spec = positions->values[i];
        if (strcmp(spec, "none") == 0) continue;
        if (mep_position_create(&position, spec) != MEP_OK) return mep_cli_refuse_encoding(command, spec);
        mep_position_kind kind = mep_position_get_kind(position);
        int plain = !has_modifiers(mep_position_spec(position)) && (terms || !has_threshold(position));
        mep_position_destroy(&position);
        if (terms ? kind != MEP_POSITION_BIAS && plain : kind != MEP_POSITION_BIAS || !plain)
            return mep_cli_usage(command, "--positions: \"%s\" is not %s", spec,
                                 terms ? "an encoding with score terms; its attention is that of none"
                                       : "a distance bias alone");
    }
    return MEP_ARGS_GO;
}

int mep_bench_read_preset(const char *command, const char *preset, int64_t vocab_size, mep_model_config *config)
{
    if (mep_bench_preset(preset, config) != MEP_OK)
        return mep_cli_usage(command, "--preset: %s; and gpt2", mep_error_message());
    if (vocab_size > 0) config->vocab_size = vocab_size;
    return MEP_ARGS_GO;
}

/* ---- Running ---- */

void mep_bench_job_begin(mep_bench_job *job, const char *command)
{
    *job = (mep_bench_job){.command = command,
                           .common = {.control = {.repeats = 5, .seconds = 10}, .ceiling = 2048},
                           .dtypes = {2, {"float32", "bfloat16"}}};
}

static int show_progress(void *context, int64_t done, int64_t total, const char *name)
{
    mep_bench_job *job = context;
    job->progress.total = total;
    mep_progress_update(&job->progress, done, "%.100s", name);
    return mep_interrupt_flag;
}

/* Adapt the options to a GPU: the type is bfloat16, and the ceiling is a larger product. Returns MEP_ARGS_GO or the
 * exit code. */
static int fit_gpu(mep_bench_job *job, const mep_option *options, int64_t indices[MEP_ARGS_LIST])
{
    job->common.device = (mep_device)job->device;
    for (int64_t i = 0; mep_args_given(options, "--dtype") && i < job->dtypes.count; i++)
        if (indices[i] == 0)
            return mep_cli_usage(job->command, "--device cuda computes in bfloat16; leave out --dtype float32");
    job->dtypes.count = 1;
    indices[0] = 1;
    if (!mep_args_given(options, "--ceiling")) job->common.ceiling = 8192;
    return MEP_ARGS_GO;
}

int mep_bench_job_check(mep_bench_job *job, const mep_option *options)
{
    static const char *const words[] = {"float32", "bfloat16", NULL};
    int64_t indices[MEP_ARGS_LIST];
    if (job->json && mep_args_given(options, "--format"))
        return mep_cli_usage(job->command, "--json and --format exclude each other");
    int code = mep_args_words(job->command, "--dtype", &job->dtypes, words, indices);
    if (code != MEP_ARGS_GO) return code;
    if (!mep_device_is_host((mep_device)job->device)) code = fit_gpu(job, options, indices);
    if (code != MEP_ARGS_GO) return code;
    for (int64_t i = 0; i < job->dtypes.count; i++) job->types[i] = indices[i] == 0 ? MEP_FLOAT32 : MEP_BFLOAT16;
    job->common.dtypes = job->types;
    job->common.dtype_count = job->dtypes.count;
    mep_set_threads((int)job->threads);
    return MEP_ARGS_GO;
}

/* Note the GPU and the speed of its memory. */
static mep_status note_gpu(mep_bench_job *job)
{
    char text[MEP_DEVICE_TEXT];
    double rate = 0;
    MEP_TRY(mep_device_describe(job->common.device, text));
    MEP_TRY(mep_bench_job_note(job, "gpu", json_string(text)));
    MEP_TRY(mep_bench_memory_rate(job->common.device, job->common.ceiling * job->common.ceiling, &rate));
    return mep_bench_job_note(job, "gpu_memory_gigabytes_per_second", json_real(rate));
}

mep_status mep_bench_job_open(mep_bench_job *job, const mep_bench_report *page)
{
    job->report = *page;
    MEP_TRY(mep_device_check(job->common.device));
    job->common.add = mep_bench_report_add;
    job->common.context = &job->report;
    job->common.control.watch = show_progress;
    job->common.control.context = job;
    mep_interrupt_install();
    if (!job->quiet) mep_progress_start(&job->progress, job->command, 0, 0);
    MEP_TRY(mep_bench_report_begin(&job->report, job->common.control.repeats, job->common.control.seconds));
    MEP_TRY(mep_bench_job_note(job, "device", json_string(mep_device_name(job->common.device))));
    return mep_device_is_host(job->common.device) ? MEP_OK : note_gpu(job);
}

mep_status mep_bench_job_note(mep_bench_job *job, const char *key, json_t *value)
{
    return mep_bench_report_condition(&job->report, key, value);
}

int mep_bench_job_close(mep_bench_job *job, mep_status status)
{
    int code = status == MEP_OK ? MEP_EXIT_OK : status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
    mep_progress_update(&job->progress, job->common.control.done, "%s", ""); /* the last line shows no case */
    mep_progress_finish(&job->progress);
    if (status != MEP_OK) mep_cli_fail(job->command);
    if (job->report.count > 0) {
        status = job->json ? mep_bench_report_json(&job->report)
                           : mep_bench_report_table(&job->report, (mep_table_format)job->format);
        if (status != MEP_OK) code = mep_cli_fail(job->command);
    }
    mep_bench_report_free(&job->report);
    return code;
}
