/* SPDX-License-Identifier: MIT */
/*
 * mep bench decode: options and columns.
 */
#include <stdio.h>

#include "cli/bench_job.h"

static const mep_bench_column DECODE_COLUMNS[] = {
    MEP_BENCH_TEXT_COLUMN(mep_bench_decode_case, "keys in", keys_in),
    MEP_BENCH_TEXT_COLUMN(mep_bench_decode_case, "dtype", dtype),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_decode_case, "keys", length),
    MEP_BENCH_TEXT_COLUMN(mep_bench_decode_case, "encoding", encoding),
    {.heading = "tokens/s",
     .key = "tokens_per_second",
     .kind = MEP_BENCH_PAIR,
     .offset = offsetof(mep_bench_decode_case, tokens),
     .factor = 1},
    MEP_BENCH_FIGURE_COLUMNS(mep_bench_decode_case, "GB/s", "gigabytes_per_second"),
    MEP_BENCH_TIME_COLUMNS(mep_bench_decode_case, "ms", 1e3),
};

static int run_decode(mep_bench_job *job, mep_bench_decode_settings *s)
{
    static const mep_bench_report page = {.name = "decode",
                                          .columns = DECODE_COLUMNS,
                                          .column_count = sizeof DECODE_COLUMNS / sizeof *DECODE_COLUMNS,
                                          .case_size = sizeof(mep_bench_decode_case)};
    mep_status status = mep_bench_job_open(job, &page);
    if (status == MEP_OK) status = mep_bench_job_note(job, "batch_size", json_integer((json_int_t)s->batch_size));
    if (status == MEP_OK) status = mep_bench_job_note(job, "heads", json_integer((json_int_t)s->heads));
    if (status == MEP_OK)
        status =
            mep_bench_job_note(job, "kv_heads", json_integer((json_int_t)(s->kv_heads > 0 ? s->kv_heads : s->heads)));
    if (status == MEP_OK) status = mep_bench_job_note(job, "head_dim", json_integer((json_int_t)s->head_dim));
    if (status == MEP_OK) status = mep_bench_decode(s, &job->common);
    return mep_bench_job_close(job, status);
}

static const char DECODE_NOTES[] =
    "Tokens/s are those of one attention layer. \"tensors\" are keys and values of the caller, read directly;\n"
    "\"cache\" is the key/value cache of generation, which keeps the keys within the reach of the bias (the distance\n"
    "at which it has fallen by 124 nats: 104, at which a float32 weight is 0, and 20 for the scores) and reads only\n"
    "the blocks that can have a weight. GB/s counts all keys and values. The ceiling reads the same memory with all\n"
    "threads and adds the values. If they fit into a CPU cache, both read it from there. Blocks that are not read\n"
    "because their weights are zero are counted too, so a bias with a short reach can exceed the ceiling.\n\n";

int mep_cli_bench_decode(int argc, char **argv)
{
    mep_bench_job job;
    mep_texts encodings = {2, {"none", "mep"}};
    mep_lengths lengths = {4, {1024, 4096, 16384, 65536}};
    mep_bench_decode_settings s = {.batch_size = 1, .heads = 12, .head_dim = 64};
    int count;
    char notes[2048];
    mep_bench_job_begin(&job, "bench decode");
    mep_option options[] = {
        MEP_OPT_GROUP("Cases"),
        MEP_OPT_TEXTS("--positions", 'p', "SPEC,..", &encodings,
                      "distance biases, and none for no bias; may be repeated, or separated by ';'"),
        MEP_OPT_LENGTHS("--lengths", 'l', "L,..", &lengths, 1, MEP_BENCH_LONGEST, "number of keys before the query"),
        MEP_OPT_INT("--batch-size", 'b', "N", &s.batch_size, 1, 1 << 20, "sequences, each with its own keys"),
        MEP_OPT_INT("--heads", 0, "N", &s.heads, 1, 65536, "attention heads"),
        MEP_OPT_INT("--num-key-value-heads", 0, "N", &s.kv_heads, 0, 65536,
                    "heads of keys and values, a divisor of --heads; 0: as many as heads"),
        MEP_OPT_INT("--head-dim", 0, "N", &s.head_dim, 1, 65536, "channels per head"),
        MEP_BENCH_COMMON_ROWS(&job),
        MEP_OPT_END,
    };
    snprintf(notes, sizeof notes, "%s%s", DECODE_NOTES, mep_bench_timing_note);
    mep_usage usage = {.command = job.command,
                       .arguments = "",
                       .summary =
                           "Measure the attention of one query after many keys, which generation computes for each "
                           "token, and the reading of these keys and values.",
                       .notes = notes,
                       .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code == MEP_ARGS_GO) code = mep_bench_job_check(&job, options);
    if (code == MEP_ARGS_GO) code = mep_bench_check_positions(job.command, &encodings, 0);
    s.encodings = encodings.values, s.encoding_count = encodings.count;
    s.lengths = lengths.values, s.length_count = lengths.count;
    return code == MEP_ARGS_GO ? run_decode(&job, &s) : code;
}
