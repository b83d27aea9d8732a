/* SPDX-License-Identifier: MIT */
/*
 * The common part of the four benchmarks of `mep bench`: options, columns, and the way from the parsed options to the
 * printed page.
 */
#ifndef MEP_CLI_BENCH_JOB_H
#define MEP_CLI_BENCH_JOB_H

#include "bench/bench.h"
#include "cli/args.h"
#include "cli/bench_report.h"
#include "cli/device_option.h"
#include "cli/progress.h"

enum { MEP_BENCH_LONGEST = 1 << 26, MEP_BENCH_TYPES = 2 };

typedef struct mep_bench_job {
    const char *command; /* "bench attention" */
    mep_bench_common common;
    mep_texts dtypes;
    mep_dtype types[MEP_BENCH_TYPES];
    int64_t threads;
    int json, format, quiet, device;
    mep_progress progress;
    mep_bench_report report;
} mep_bench_job;

#define MEP_BENCH_COMMON_ROWS(J)                                                                                       \
    MEP_OPT_GROUP("Measuring"),                                                                                        \
        MEP_OPT_TEXTS("--dtype", 0, "TYPE,..", &(J)->dtypes, "types to compute in: float32, bfloat16"),                \
        MEP_OPT_INT("--repeats", 'n', "N", &(J)->common.control.repeats, 1, MEP_BENCH_REPEATS, "samples per case"),    \
        MEP_OPT_REAL("--seconds", 0, "S", &(J)->common.control.seconds, 0, 1e6,                                        \
                     "take fewer samples if they need more than S seconds, but at least one"),                         \
        MEP_OPT_INT("--threads", 'j', "N", &(J)->threads, 0, 4096,                                                     \
                    "threads; 0: one for each core that the process may use"),                                         \
        MEP_OPT_GROUP("Output"),                                                                                       \
        MEP_OPT_CHOICE("--format", 'f', "FORMAT", &(J)->format, mep_table_formats, "form of the table"),               \
        MEP_OPT_FLAG("--json", 0, &(J)->json, "print one JSON object"),                                                \
        MEP_OPT_FLAG("--quiet", 'q', &(J)->quiet, "no progress line")

/* Rows of benchmarks that also run on GPUs, and the defaults of --ceiling and --dtype. */
#define MEP_BENCH_CEILINGS "2048; 8192 on cuda"
#define MEP_BENCH_DTYPES "float32,bfloat16; bfloat16 on cuda"
#define MEP_BENCH_DEVICE_ROWS(J)                                                                                       \
    MEP_CLI_DEVICE_ROW(&(J)->device), MEP_OPT_INT("--ceiling", 0, "N", &(J)->common.ceiling, 1, 16384,                 \
                                                  "size of the ceiling, a product of N x N x N")

/* Columns of a case that has a mep_bench_figures; RATE is the heading of its rate, KEY the name in JSON. */
#define MEP_BENCH_FIGURE_COLUMNS(CASE, RATE, KEY)                                                                      \
    {.heading = RATE,                                                                                                  \
     .key = KEY,                                                                                                       \
     .kind = MEP_BENCH_PAIR,                                                                                           \
     .offset = offsetof(CASE, figures.rate),                                                                           \
     .digits = 1,                                                                                                      \
     .factor = 1},                                                                                                     \
        {.heading = "ceiling",                                                                                         \
         .key = KEY "_ceiling",                                                                                        \
         .kind = MEP_BENCH_REAL,                                                                                       \
         .offset = offsetof(CASE, figures.ceiling),                                                                    \
         .digits = 1,                                                                                                  \
         .factor = 1},                                                                                                 \
    {                                                                                                                  \
        .heading = "fraction", .key = "fraction", .kind = MEP_BENCH_REAL, .offset = offsetof(CASE, figures.fraction),  \
        .digits = 3, .factor = 1                                                                                       \
    }
#define MEP_BENCH_TIME_COLUMNS(CASE, HEADING, FACTOR)                                                                  \
    {.heading = HEADING,                                                                                               \
     .key = "seconds",                                                                                                 \
     .kind = MEP_BENCH_PAIR,                                                                                           \
     .offset = offsetof(CASE, figures.seconds),                                                                        \
     .digits = 3,                                                                                                      \
     .factor = FACTOR},                                                                                                \
    {                                                                                                                  \
        .heading = "samples", .key = "samples", .kind = MEP_BENCH_INTEGER, .offset = offsetof(CASE, figures.samples),  \
        .factor = 1                                                                                                    \
    }
#define MEP_BENCH_TEXT_COLUMN(CASE, HEADING, MEMBER)                                                                   \
    {                                                                                                                  \
        .heading = HEADING, .key = #MEMBER, .kind = MEP_BENCH_TEXT, .offset = offsetof(CASE, MEMBER), .factor = 1      \
    }
#define MEP_BENCH_INTEGER_COLUMN(CASE, HEADING, MEMBER)                                                                \
    {                                                                                                                  \
        .heading = HEADING, .key = #MEMBER, .kind = MEP_BENCH_INTEGER, .offset = offsetof(CASE, MEMBER), .factor = 1   \
    }
#define MEP_BENCH_MEMORY_COLUMN(CASE)                                                                                  \
    {                                                                                                                  \
        .heading = "MB", .key = "memory_bytes", .kind = MEP_BENCH_REAL, .offset = offsetof(CASE, memory), .digits = 1, \
        .factor = 1e-6                                                                                                 \
    }

/* For help pages: how times are measured. */
extern const char mep_bench_timing_note[];

/* Set the defaults, before the parsing. */
void mep_bench_job_begin(mep_bench_job *job, const char *command);

/* Check the options. Returns MEP_ARGS_GO, or the exit code after one line on stderr. */
int mep_bench_job_check(mep_bench_job *job, const mep_option *options);

/* Before measuring: start an empty page (with the name, columns and case size of `page`) and the progress line. */
mep_status mep_bench_job_open(mep_bench_job *job, const mep_bench_report *page);

/* Add a condition of this benchmark. */
mep_status mep_bench_job_note(mep_bench_job *job, const char *key, json_t *value);

/* End the progress line, print the error of `status` if there is one, then the finished cases, and free the report.
 * Called after a failed mep_bench_job_open too. Returns the exit code. */
int mep_bench_job_close(mep_bench_job *job, mep_status status);

/* Check that each is "none" or a distance bias or, with `terms`, an encoding with score terms. Returns MEP_ARGS_GO, or
 * the exit code. */
int mep_bench_check_positions(const char *command, const mep_texts *positions, int terms);

/* Read the sizes of a preset; a vocab_size of 0 keeps that of the preset. Returns MEP_ARGS_GO, or the exit code. */
int mep_bench_read_preset(const char *command, const char *preset, int64_t vocab_size, mep_model_config *config);

/* The benchmarks; argv[0] is the name. */
int mep_cli_bench_attention(int argc, char **argv);
int mep_cli_bench_decode(int argc, char **argv);
int mep_cli_bench_gemm(int argc, char **argv);
int mep_cli_bench_train(int argc, char **argv);

#endif
