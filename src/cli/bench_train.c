/* SPDX-License-Identifier: MIT */
/*
 * mep bench train: options and columns.
 */
#include <stdio.h>
#include <string.h>

#include "cli/bench_job.h"
#include "cli/cli.h"
#include "mep/train.h"

static const mep_bench_column TRAIN_COLUMNS[] = {
    MEP_BENCH_TEXT_COLUMN(mep_bench_train_case, "dtype", dtype),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_train_case, "parameters", parameters),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_train_case, "batch", batch_size),
    MEP_BENCH_INTEGER_COLUMN(mep_bench_train_case, "length", length),
    {.heading = "tokens/s",
     .key = "tokens_per_second",
     .kind = MEP_BENCH_PAIR,
     .offset = offsetof(mep_bench_train_case, tokens),
     .factor = 1},
    MEP_BENCH_FIGURE_COLUMNS(mep_bench_train_case, "GFLOP/s", "gflops"),
    MEP_BENCH_MEMORY_COLUMN(mep_bench_train_case),
    MEP_BENCH_TIME_COLUMNS(mep_bench_train_case, "seconds", 1),
};

static const char TRAIN_NOTES[] =
    "GFLOP/s counts, per token, 6 operations (2 with --eval) for each weight of a matrix product, that is without\n"
    "embeddings, and, per layer and sequence, 2 L^2 x hidden for causal attention (3.5 times as many in training).\n"
    "LayerNorm, GELU, softmax and the optimizer take time but are not counted. gpt2 is GPT-2 124M (12 layers, hidden\n"
    "768, 50304 tokens, learned positions), by default with 4 sequences of 64 tokens, as in llm.c's train_gpt2.c. Its\n"
    "output matrix is not tied to the embedding, so it has 163M parameters, of which 124M are in products, as in "
    "GPT-2.\n"
    "MB is the increase of the resident memory: weights, gradients, moments and activations.\n\n";

/* Set the defaults of --batch-size and --length. */
static void default_sizes(const char *preset, mep_bench_train_settings *s)
{
    mep_train_settings recipe;
    int known = mep_train_preset(preset, &recipe) == MEP_OK;
    if (s->batch_size == 0) s->batch_size = s->evaluate ? 1 : known ? recipe.micro_batch_size : 4;
    if (s->length == 0) s->length = s->evaluate ? 16384 : known ? recipe.length : 64;
    if (s->config.max_position_embeddings < s->length) s->config.max_position_embeddings = s->length;
}

static int run_train(mep_bench_job *job, const char *preset, mep_bench_train_settings *s)
{
    static const mep_bench_report page = {.name = "train",
                                          .columns = TRAIN_COLUMNS,
                                          .column_count = sizeof TRAIN_COLUMNS / sizeof *TRAIN_COLUMNS,
                                          .case_size = sizeof(mep_bench_train_case)};
    mep_status status = mep_bench_job_open(job, &page);
    if (status == MEP_OK)
        status = mep_bench_job_note(job, "pass", json_string(s->evaluate ? "evaluation" : "training"));
    if (status == MEP_OK) status = mep_bench_job_note(job, "preset", json_string(preset));
    if (status == MEP_OK) status = mep_bench_job_note(job, "position", json_string(s->config.position_encoding));
    if (status == MEP_OK)
        status = mep_bench_job_note(job, "vocab_size", json_integer((json_int_t)s->config.vocab_size));
    if (status == MEP_OK) status = mep_bench_job_note(job, "ceiling", json_integer((json_int_t)job->common.ceiling));
    if (status == MEP_OK) status = mep_bench_train(s, &job->common);
    return mep_bench_job_close(job, status);
}

static int read_position(const char *command, const char *position, mep_model_config *config)
{
    mep_position *parsed = NULL;
    if (position == NULL) return MEP_ARGS_GO;
    if (mep_position_create(&parsed, position) != MEP_OK) return mep_cli_usage(command, "%s", mep_error_message());
    mep_position_destroy(&parsed);
    if (strlen(position) >= MEP_POSITION_SIZE)
        return mep_cli_usage(command, "--position: longer than %d characters", MEP_POSITION_SIZE - 1);
    snprintf(config->position_encoding, sizeof config->position_encoding, "%s", position);
    return MEP_ARGS_GO;
}

int mep_cli_bench_train(int argc, char **argv)
{
    mep_bench_job job;
    const char *preset = "nano", *position = NULL;
    int64_t vocab_size = 0;
    mep_bench_train_settings s = {0};
    int count;
    char notes[2048];
    mep_bench_job_begin(&job, "bench train");
    mep_option options[] = {
        MEP_OPT_GROUP("Cases"),
        MEP_OPT_TEXT("--preset", 0, "NAME", &preset,
                     "sizes of the model: nano, micro, mini, small or medium, each also with -llama, or gpt2"),
        MEP_OPT_TEXT("--position", 'p', "SPEC", &position, "position encoding"),
        MEP_OPT_INT("--batch-size", 'b', "N", &s.batch_size, 0, 1 << 20, "sequences per step"),
        MEP_OPT_LENGTH("--length", 'l', "L", &s.length, 0, MEP_BENCH_LONGEST, "tokens per sequence"),
        MEP_OPT_INT("--vocab-size", 0, "N", &vocab_size, 0, 1 << 24,
                    "tokens of the vocabulary; 0: 320 (text as bytes) for nano to mini, 50304 for the others"),
        MEP_OPT_FLAG("--eval", 0, &s.evaluate,
                     "measure the losses of segments, as mep eval computes them, instead of training steps"),
        MEP_BENCH_DEVICE_ROWS(&job),
        MEP_BENCH_COMMON_ROWS(&job),
        MEP_OPT_END,
    };
    mep_args_default(options, "--ceiling", MEP_BENCH_CEILINGS);
    mep_args_default(options, "--dtype", MEP_BENCH_DTYPES);
    mep_args_default(options, "--position", "mep; learned for gpt2");
    mep_args_default(options, "--batch-size", "micro-batch of the preset; 1 with --eval");
    mep_args_default(options, "--length", "length of the preset; 16K with --eval");
    snprintf(notes, sizeof notes, "%s%s", TRAIN_NOTES, mep_bench_timing_note);
    mep_usage usage = {.command = job.command,
                       .arguments = "",
                       .summary =
                           "Measure complete training steps (forward, backward, clipping, AdamW) on random tokens, "
                           "and a square product.",
                       .notes = notes,
                       .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code == MEP_ARGS_GO) code = mep_bench_job_check(&job, options);
    if (code == MEP_ARGS_GO) code = mep_bench_read_preset(job.command, preset, vocab_size, &s.config);
    if (code == MEP_ARGS_GO) code = read_position(job.command, position, &s.config);
    if (code != MEP_ARGS_GO) return code;
    default_sizes(preset, &s);
    return run_train(&job, preset, &s);
}
