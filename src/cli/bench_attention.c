/* SPDX-License-Identifier: MIT */
/*
 * mep bench attention: options and columns.
 */
#include <stdio.h>

#include "base/device_memory.h"
#include "cli/bench_job.h"
#include "cli/cli.h"

typedef struct attention_job {
    mep_bench_job job;
    mep_texts encodings, levels, skips;
    mep_lengths lengths;
    mep_cpu_level level_list[MEP_ARGS_LIST];
    mep_bench_attention_settings s;
} attention_job;

static const mep_bench_column ATTENTION_COLUMNS[] = {
    MEP_BENCH_TEXT_COLUMN(mep_bench_attention_case, "level", level),
    MEP_BENCH_TEXT_COLUMN(mep_bench_attention_case, "dtype", dtype),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_attention_case, "length", length),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_attention_case, NULL, batch_size),
    MEP_BENCH_TEXT_COLUMN(mep_bench_attention_case, "pass", pass),
    MEP_BENCH_TEXT_COLUMN(mep_bench_attention_case, "encoding", encoding),
    MEP_BENCH_TEXT_COLUMN(mep_bench_attention_case, "skip", skip),
    MEP_BENCH_FIGURE_COLUMNS(mep_bench_attention_case, "GFLOP/s", "gflops"),
    {.heading = "/ none",
     .key = "time_of_none",
     .kind = MEP_BENCH_REAL,
     .offset = offsetof(mep_bench_attention_case, of_none),
     .digits = 3,
     .factor = 1},
    {.heading = "computed %",
     .key = "computed",
     .kind = MEP_BENCH_REAL,
     .offset = offsetof(mep_bench_attention_case, computed),
     .digits = 1,
     .factor = 100},
    MEP_BENCH_MEMORY_COLUMN(mep_bench_attention_case),
    MEP_BENCH_TIME_COLUMNS(mep_bench_attention_case, "ms", 1e3),
};

static const char ATTENTION_NOTES[] =
    "GFLOP/s counts the operations of dense causal attention, 2 L^2 D H per sequence forward and 2.5 times as many\n"
    "backward, even if blocks are skipped: it shows the gain in speed. \"/ none\" is the time divided by that of the\n"
    "encoding none, the median of this ratio over the rounds. MB is the increase of the resident memory after the\n"
    "inputs and outputs are allocated: the plan and its workspace (backward: of both passes). The memory of a GPU is\n"
    "not measured. The ceiling is the matrix product of this build in the same type at the highest of the levels (on\n"
    "a GPU, that of the device); below AVX-512 the ceiling of bfloat16 is that of float32. The backward pass includes\n"
    "the gradients of the score terms that a model with the encoding learns. Score terms have random values; a forget\n"
    "gate decays by 1 in 100 tokens.\n\n";

static int check_attention(attention_job *a, const mep_option *options)
{
    static const char *const skip_words[] = {"off", "exact", NULL};
    const char *level_words[MEP_CPU_LEVELS + 1] = {NULL};
    int64_t indices[MEP_ARGS_LIST];
    for (int l = 0; l < MEP_CPU_LEVELS; l++) level_words[l] = mep_cpu_level_text((mep_cpu_level)l);
    if (a->s.tokens > 0 && mep_args_given(options, "--batch-size"))
        return mep_cli_usage(a->job.command, "--tokens and --batch-size exclude each other");
    if (!mep_device_is_host((mep_device)a->job.device) && mep_args_given(options, "--levels"))
        return mep_cli_usage(a->job.command, "--levels are CPU levels; leave it out with --device cuda");
    int code = mep_bench_check_positions(a->job.command, &a->encodings, 1);
    if (code == MEP_ARGS_GO) code = mep_args_words(a->job.command, "--levels", &a->levels, level_words, indices);
    if (code != MEP_ARGS_GO) return code;
    for (int64_t i = 0; i < a->levels.count; i++) a->level_list[i] = (mep_cpu_level)indices[i];
    code = mep_args_words(a->job.command, "--skip", &a->skips, skip_words, indices);
    for (int64_t i = 0; code == MEP_ARGS_GO && i < a->skips.count; i++)
        *(indices[i] == 0 ? &a->s.dense : &a->s.exact) = 1;
    a->s.encodings = a->encodings.values, a->s.encoding_count = a->encodings.count;
    a->s.lengths = a->lengths.values, a->s.length_count = a->lengths.count;
    a->s.levels = a->level_list, a->s.level_count = a->levels.count;
    return code;
}

static int run_attention(attention_job *a)
{
    static const mep_bench_report page = {.name = "attention",
                                          .columns = ATTENTION_COLUMNS,
                                          .column_count = sizeof ATTENTION_COLUMNS / sizeof *ATTENTION_COLUMNS,
                                          .case_size = sizeof(mep_bench_attention_case)};
    mep_status status = mep_bench_job_open(&a->job, &page);
    if (status == MEP_OK)
        status = a->s.tokens > 0 ? mep_bench_job_note(&a->job, "tokens", json_integer((json_int_t)a->s.tokens))
                                 : mep_bench_job_note(&a->job, "batch_size", json_integer((json_int_t)a->s.batch_size));
    if (status == MEP_OK) status = mep_bench_job_note(&a->job, "heads", json_integer((json_int_t)a->s.heads));
    if (status == MEP_OK)
        status = mep_bench_job_note(&a->job, "kv_heads",
                                    json_integer((json_int_t)(a->s.kv_heads > 0 ? a->s.kv_heads : a->s.heads)));
    if (status == MEP_OK) status = mep_bench_job_note(&a->job, "head_dim", json_integer((json_int_t)a->s.head_dim));
    if (status == MEP_OK) status = mep_bench_job_note(&a->job, "tolerance", json_real(a->s.tolerance));
    if (status == MEP_OK)
        status = mep_bench_job_note(&a->job, "ceiling", json_integer((json_int_t)a->job.common.ceiling));
    if (status == MEP_OK) status = mep_bench_attention(&a->s, &a->job.common);
    return mep_bench_job_close(&a->job, status);
}

int mep_cli_bench_attention(int argc, char **argv)
{
    attention_job a = {.encodings = {3, {"none", "mep", "mep_param"}},
                       .levels = {1, {mep_cpu_level_name()}},
                       .skips = {2, {"off", "exact"}},
                       .lengths = {3, {512, 2048, 8192}},
                       .s = {.batch_size = 1, .heads = 12, .head_dim = 64}};
    int count;
    char notes[2048];
    mep_bench_job_begin(&a.job, "bench attention");
    mep_option options[] = {
        MEP_OPT_GROUP("Cases"),
        MEP_OPT_TEXTS(
            "--positions", 'p', "SPEC,..", &a.encodings,
            "position encodings with their score terms, and none for no term; may be repeated, or separated by ';'"),
        MEP_OPT_LENGTHS("--lengths", 'l', "L,..", &a.lengths, 1, MEP_BENCH_LONGEST, "tokens per sequence"),
        MEP_OPT_INT("--batch-size", 'b', "N", &a.s.batch_size, 1, 1 << 20, "sequences"),
        MEP_OPT_LENGTH("--tokens", 0, "L", &a.s.tokens, 1, (int64_t)1 << 40,
                       "instead of --batch-size: at each length as many sequences as have L tokens, at least one"),
        MEP_OPT_INT("--heads", 0, "N", &a.s.heads, 1, 65536, "attention heads"),
        MEP_OPT_INT("--num-key-value-heads", 0, "N", &a.s.kv_heads, 0, 65536,
                    "heads of keys and values, a divisor of --heads; 0: as many as heads"),
        MEP_OPT_INT("--head-dim", 0, "N", &a.s.head_dim, 1, 65536, "channels per head"),
        MEP_OPT_TEXTS("--levels", 0, "LEVEL,..", &a.levels,
                      "CPU levels: c, avx2, avx512, avx512_bf16, amx_bf16; on 64-bit Arm c, neon"),
        MEP_OPT_TEXTS(
            "--skip", 0, "WHICH,..", &a.skips,
            "off: compute all blocks; exact: skip blocks whose weights are zero; the encoding none is measured once"),
        MEP_OPT_REAL("--tolerance", 0, "T", &a.s.tolerance, 0, 0.5, "with exact, skip weights whose sum is below T"),
        MEP_OPT_FLAG("--forward", 0, &a.s.forward_only,
                     "measure only the forward pass, without memory for the backward pass"),
        MEP_BENCH_DEVICE_ROWS(&a.job),
        MEP_BENCH_COMMON_ROWS(&a.job),
        MEP_OPT_END,
    };
    mep_args_default(options, "--ceiling", MEP_BENCH_CEILINGS);
    mep_args_default(options, "--dtype", MEP_BENCH_DTYPES);
    mep_args_default(options, "--tokens", "");
    snprintf(
        notes, sizeof notes,
        "%s%s\n  mep bench attention --positions none,mep,alibi --lengths 1K,64K --forward\n"
        "  mep bench attention --positions none --positions nope/forget --positions nope/profiles:rank=16,extent=1024\n"
        "  mep bench attention --device cuda --tokens 16K --lengths 2K,4K,8K,16K --heads 16 --head-dim 128\n",
        ATTENTION_NOTES, mep_bench_timing_note);
    mep_usage usage = {.command = a.job.command,
                       .arguments = "",
                       .summary = "Measure fused attention, forward and backward, and a matrix product.",
                       .notes = notes,
                       .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code == MEP_ARGS_GO) code = mep_bench_job_check(&a.job, options);
    if (code == MEP_ARGS_GO) code = check_attention(&a, options);
    return code == MEP_ARGS_GO ? run_attention(&a) : code;
}
