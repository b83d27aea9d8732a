/* SPDX-License-Identifier: MIT */
/*
 * mep bench gemm: options and columns.
 */

#include <stdio.h>

#include "cli/bench_job.h"

static const mep_bench_column GEMM_COLUMNS[] = {
    MEP_BENCH_TEXT_COLUMN(mep_bench_gemm_case, "product", product),
    MEP_BENCH_TEXT_COLUMN(mep_bench_gemm_case, "pass", pass),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_gemm_case, "m", m),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_gemm_case, "n", n),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_gemm_case, "k", k),
    MEP_BENCH_TEXT_COLUMN(mep_bench_gemm_case, "dtype", dtype),
    MEP_BENCH_FIGURE_COLUMNS(mep_bench_gemm_case, "GFLOP/s", "gflops"),
    MEP_BENCH_TIME_COLUMNS(mep_bench_gemm_case, "ms", 1e3),
};

static int run_gemm(mep_bench_job *job, const char *preset, mep_bench_gemm_settings *s)
{
    static const mep_bench_report page = {.name = "gemm",
                                          .columns = GEMM_COLUMNS,
                                          .column_count = sizeof GEMM_COLUMNS / sizeof *GEMM_COLUMNS,
                                          .case_size = sizeof(mep_bench_gemm_case)};
    mep_status status = mep_bench_job_open(job, &page);
    if (status == MEP_OK) status = mep_bench_job_note(job, "preset", json_string(preset));
    if (status == MEP_OK) status = mep_bench_job_note(job, "rows", json_integer((json_int_t)s->rows));
    if (status == MEP_OK) status = mep_bench_job_note(job, "ceiling", json_integer((json_int_t)job->common.ceiling));
    if (status == MEP_OK) status = mep_bench_gemm(s, &job->common);
    return mep_bench_job_close(job, status);
}

static const char GEMM_NOTES[] = "The product of the output layer has at most 1024 rows: the model computes it in "
                                 "chunks of rows.\n\n";

int mep_cli_bench_gemm(int argc, char **argv)
{
    mep_bench_job job;
    const char *preset = "small";
    int64_t batch_size = 8, length = 512, vocab_size = 0;
    mep_bench_gemm_settings s = {0};
    int count;
    char notes[1024];
    mep_bench_job_begin(&job, "bench gemm");
    mep_option options[] = {
        MEP_OPT_GROUP("Cases"),
        MEP_OPT_TEXT("--preset", 0, "NAME", &preset,
                     "sizes of the model: nano, micro, mini, small or medium, each also with -llama, or gpt2"),
        MEP_OPT_INT("--batch-size", 'b', "N", &batch_size, 1, 1 << 20, "sequences"),
        MEP_OPT_LENGTH("--length", 'l', "L", &length, 1, MEP_BENCH_LONGEST,
                       "tokens per sequence; the product of both is the number of rows"),
        MEP_OPT_INT("--vocab-size", 0, "N", &vocab_size, 0, 1 << 24,
                    "rows of the output matrix; 0: 320 for nano to mini, 50304 for the others"),
        MEP_BENCH_DEVICE_ROWS(&job),
        MEP_BENCH_COMMON_ROWS(&job),
        MEP_OPT_END,
    };
    mep_args_default(options, "--ceiling", MEP_BENCH_CEILINGS);
    mep_args_default(options, "--dtype", MEP_BENCH_DTYPES);
    snprintf(notes, sizeof notes, "%s%s", GEMM_NOTES, mep_bench_timing_note);
    mep_usage usage = {.command = job.command,
                       .arguments = "",
                       .summary =
                           "Measure the matrix products of a model (forward, gradient of the input, gradient of the "
                           "weight), and a square product.",
                       .notes = notes,
                       .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code == MEP_ARGS_GO) code = mep_bench_job_check(&job, options);
    if (code == MEP_ARGS_GO) code = mep_bench_read_preset(job.command, preset, vocab_size, &s.config);
    s.rows = batch_size * length;
    return code == MEP_ARGS_GO ? run_gemm(&job, preset, &s) : code;
}
