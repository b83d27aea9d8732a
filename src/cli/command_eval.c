/* SPDX-License-Identifier: MIT */
/*
 * mep eval: perplexity of one model at several lengths on the same tokens. The library evaluates a length (mep/eval.h).
 * This file chooses the tokens and prints the table or the JSON.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/device_option.h"
#include "cli/eval_measures.h"
#include "cli/interrupt.h"
#include "cli/model_tokenizer.h"
#include "cli/processes.h"
#include "cli/progress.h"
#include "cli/size_text.h"
#include "cli/text_table.h"
#include "cli/train_options.h"
#include "cli/untrained.h"
#include "io/json.h"
#include "mep/measure.h"

enum { LONGEST = 1 << 26 };

typedef struct eval_job {
    const char *model_path, *data_path, *split, *position;
    mep_lengths lengths;
    mep_eval_settings settings;
    int64_t threads;
    int dtype, device, part, json, quiet, split_sequence; /* part: a mep_split */

    mep_model *model;
    mep_data_mix *data;
    mep_progress progress;
    char label[64];
    mep_eval_result results[MEP_ARGS_LIST];
    double *bits;          /* like `each`: bits per byte; NaN if the data does not name its tokenizer */
    mep_eval_result *each; /* [lengths.count][corpora]: of each length, of the corpora of a mixture */
    int64_t done;          /* results */
} eval_job;

/* ---- Lengths and tokens ---- */

/* 1, 2, 4, 8 and 16 times the training length, up to the limits of the data and the encoding. */
static mep_status choose_lengths(eval_job *job, int64_t tokens)
{
    const mep_model_config *config = mep_model_get_config(job->model);
    mep_position_kind kind = mep_position_get_kind(mep_model_get_position(job->model));
    int64_t most = kind == MEP_POSITION_LEARNED ? 1 : 16;
    for (int64_t factor = 1; factor <= most; factor *= 2) {
        int64_t length = factor * config->max_position_embeddings;
        if (job->lengths.count == 0 || length <= tokens) job->lengths.values[job->lengths.count++] = length;
    }
    return MEP_OK;
}

/* Check all lengths before the first one is evaluated. */
static mep_status check_lengths(const eval_job *job)
{
    const mep_eval_settings *s = &job->settings;
    const mep_model_config *config = mep_model_get_config(job->model);
    mep_position_kind kind = mep_position_get_kind(mep_model_get_position(job->model));
    for (int64_t i = 0; i < job->lengths.count; i++) {
        long long length = job->lengths.values[i];
        for (int64_t j = 0; j < i; j++)
            if (job->lengths.values[j] == length)
                return mep_fail(MEP_ERROR_ARGUMENT, "--lengths: %lld is given twice", length);
        if (s->last > length)
            return mep_fail(MEP_ERROR_ARGUMENT, "--last %lld is more than the length %lld; use longer --lengths",
                            (long long)s->last, length);
        if (s->stride > length)
            return mep_fail(MEP_ERROR_ARGUMENT, "--stride %lld is more than the length %lld; use longer --lengths",
                            (long long)s->stride, length);
        if (kind == MEP_POSITION_LEARNED && length > config->max_position_embeddings)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: \"learned\" has %lld positions and cannot read %lld tokens",
                            job->model_path, (long long)config->max_position_embeddings, length);
    }
    return MEP_OK;
}

/* With the default of --tokens every length that divides the longest one scores the same tokens. */
static mep_status choose_tokens(eval_job *job)
{
    int64_t tokens = mep_data_mix_least_tokens(job->data) - 1, longest = 0; /* the first token is never scored */
    int is_limited = job->settings.max_tokens > 0 && job->settings.max_tokens < tokens;
    if (is_limited) tokens = job->settings.max_tokens;
    if (job->lengths.count == 0) MEP_TRY(choose_lengths(job, tokens));
    MEP_TRY(check_lengths(job));
    for (int64_t i = 0; i < job->lengths.count; i++)
        if (job->lengths.values[i] > longest) longest = job->lengths.values[i];
    if (tokens < longest)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%s: has %lld tokens to score%s, too few for the length %lld; use shorter --lengths or %s",
                        job->data_path, (long long)tokens, is_limited ? " with these --tokens" : "", (long long)longest,
                        is_limited ? "more --tokens" : "more text");
    if (job->settings.max_tokens == 0) job->settings.max_tokens = tokens / longest * longest;
    if (job->settings.last > 0) job->settings.stride = longest; /* segments end at the same tokens at every length */
    return MEP_OK;
}

static mep_status open_files(eval_job *job)
{
    MEP_TRY(mep_data_mix_open(&job->data, job->data_path, job->split, (mep_split)job->part));
    MEP_TRY(mep_data_mix_verify(job->data));
    MEP_TRY(mep_model_load_as(&job->model, job->model_path, job->position, 0));
    if (!job->quiet) mep_cli_note_untrained("eval", job->model_path, job->model);
    MEP_TRY(
        mep_cli_check_tokenizers(job->model_path, mep_data_mix_name(job->data, 0), mep_data_mix_dataset(job->data, 0)));
    MEP_TRY(choose_tokens(job));
    int64_t count = 0;
    MEP_TRY(mep_multiply(job->lengths.count, mep_data_mix_count(job->data), 1, &count));
    MEP_TRY(MEP_ALLOC(&job->bits, count));
    return MEP_ALLOC(&job->each, count);
}

/* The checksum of the tokens that are used. */
static mep_status data_checksum(const eval_job *job, uint64_t *sum)
{
    enum { PART = 1 << 12 };
    int32_t tokens[PART];
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    for (int64_t i = 0; i < mep_data_mix_count(job->data); i++) {
        const mep_dataset *data = mep_data_mix_dataset(job->data, i);
        int64_t used = mep_dataset_tokens(data);
        if (job->settings.max_tokens < used) used = job->settings.max_tokens + 1; /* and the last target */
        for (int64_t at = 0; at < used; at += PART) {
            int64_t count = used - at < PART ? used - at : PART;
            MEP_TRY(mep_dataset_read(data, at, count, tokens));
            mep_checksum_add(&checksum, tokens, count * (int64_t)sizeof *tokens);
        }
    }
    *sum = mep_checksum_end(&checksum);
    return MEP_OK;
}

/* Check that all processes have the same model and data: another machine may have old copies. */
static mep_status check_same_files(const eval_job *job)
{
    mep_checksum model;
    uint64_t data = 0;
    mep_checksum_begin(&model);
    for (int64_t i = 0; i < mep_model_parameter_count(job->model); i++) {
        mep_parameter p;
        MEP_TRY(mep_model_get_parameter(job->model, i, &p));
        mep_checksum_add(&model, p.values, p.size * (int64_t)sizeof *p.values);
    }
    uint64_t weights = mep_checksum_end(&model);
    MEP_TRY(mep_dist_check_same(mep_cli_group(), &weights, sizeof weights, job->model_path));
    MEP_TRY(mep_dist_agree(mep_cli_group(), data_checksum(job, &data)));
    return mep_dist_check_same(mep_cli_group(), &data, sizeof data, job->data_path);
}

/* ---- Running ---- */

static int show_progress(void *context, int64_t done, int64_t total, double loss)
{
    eval_job *job = context;
    mep_interrupt_exit_at_once(0);
    job->progress.total = total;
    if (isnan(loss))
        mep_progress_update(&job->progress, done, "%s", "");
    else
        mep_progress_update(&job->progress, done, "perplexity %.4g", exp(loss));
    return mep_interrupt_flag;
}

/* The results of the corpora at length number `i`. */
static mep_eval_result *each_of(const eval_job *job, int64_t i)
{
    return job->each + i * mep_data_mix_count(job->data);
}

/* Bits per byte of the corpora at length number `i`. */
static double *bits_of(const eval_job *job, int64_t i)
{
    return job->bits + i * mep_data_mix_count(job->data);
}

static mep_status compute_bits(eval_job *job, int64_t i)
{
    for (int64_t k = 0; k < mep_data_mix_count(job->data); k++)
        MEP_TRY(mep_eval_bits_per_byte(mep_data_mix_dataset(job->data, k), &job->settings, &each_of(job, i)[k],
                                       &bits_of(job, i)[k]));
    return MEP_OK;
}

/* The weighted mean over the corpora. */
static double mean_bits(const eval_job *job, int64_t i)
{
    double sum = 0;
    for (int64_t k = 0; k < mep_data_mix_count(job->data); k++)
        sum += mep_data_mix_weight(job->data, k) * bits_of(job, i)[k];
    return sum;
}

static mep_status evaluate(eval_job *job)
{
    char length[24];
    MEP_TRY(mep_dist_agree(mep_cli_group(), open_files(job)));
    if (mep_cli_processes() > 1) MEP_TRY(check_same_files(job));
    for (int64_t i = 0; i < job->lengths.count; i++) {
        job->settings.length = job->lengths.values[i];
        mep_length_text(job->settings.length, length);
        snprintf(job->label, sizeof job->label, "length %s", length);
        if (!job->quiet) mep_progress_start(&job->progress, job->label, 0, 0);
        const mep_eval_call call = {.group = mep_cli_group(),
                                    .sequence_parallel = job->split_sequence,
                                    .model = job->model,
                                    .settings = &job->settings,
                                    .progress = show_progress,
                                    .context = job};
        mep_status status = mep_evaluate_mix(&call, job->data, &job->results[i], each_of(job, i));
        mep_progress_finish(&job->progress);
        if (status == MEP_OK) status = compute_bits(job, i);
        if (status != MEP_OK) return status;
        job->done++;
    }
    return MEP_OK;
}

/* ---- Printing ---- */

/* `data` names the corpus of the row; NULL if there is only one corpus. */
static mep_status fill_row(mep_table *table, const mep_eval_result *r, double bits, const char *data)
{
    MEP_TRY(mep_table_cell(table, "%lld", (long long)r->length));
    MEP_TRY(mep_table_cell(table, "%.4f", r->perplexity));
    MEP_TRY(isnan(r->standard_error) ? mep_table_cell(table, "%s", "")
                                     : mep_table_cell(table, "%.4f", r->standard_error));
    MEP_TRY(mep_table_cell(table, "%.5f", r->loss));
    MEP_TRY(isnan(bits) ? mep_table_cell(table, "%s", "") : mep_table_cell(table, "%.5f", bits));
    MEP_TRY(mep_table_cell(table, "%lld", (long long)r->tokens));
    MEP_TRY(mep_table_cell(table, "%.2f", r->seconds));
    return data != NULL ? mep_table_cell(table, "%s", data) : MEP_OK;
}

/* One row per length; for a mixture the mean, then one row per corpus. */
static mep_status fill_table(const eval_job *job, mep_table *table)
{
    static const char *const heading[] = {"length",    "perplexity", "+-",      "loss",
                                          "bits/byte", "tokens",     "seconds", "data"};
    int64_t corpora = mep_data_mix_count(job->data);
    int is_mixture = corpora > 1;
    for (int i = 0; i < 7 + is_mixture; i++) MEP_TRY(mep_table_cell(table, "%s", heading[i]));
    for (int64_t i = 0; i < job->done; i++) {
        MEP_TRY(fill_row(table, &job->results[i], mean_bits(job, i), is_mixture ? "mean" : NULL));
        for (int64_t k = 0; is_mixture && k < corpora; k++)
            MEP_TRY(fill_row(table, &each_of(job, i)[k], bits_of(job, i)[k], mep_data_mix_name(job->data, k)));
    }
    return MEP_OK;
}

static mep_status print_table(const eval_job *job)
{
    mep_table *table;
    MEP_TRY(mep_table_create(&table, mep_data_mix_count(job->data) > 1 ? 8 : 7));
    mep_status status = fill_table(job, table);
    if (status == MEP_OK) mep_table_print(table, MEP_TABLE_TEXT, stdout);
    mep_table_destroy(&table);
    return status;
}

/* JSON has no NaN and no infinity. */
static json_t *number_or_null(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static json_t *result_json(const mep_eval_result *r, double bits)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "length", (json_int_t)r->length, "perplexity",
                     number_or_null(r->perplexity), "stderr", number_or_null(r->standard_error), "loss",
                     number_or_null(r->loss), "bits_per_byte", number_or_null(bits), "tokens", (json_int_t)r->tokens,
                     "segments", (json_int_t)r->segments, "seconds", number_or_null(r->seconds));
}

static mep_status print_json(const eval_job *job)
{
    json_t *results = json_array();
    for (int64_t i = 0; i < job->done; i++) {
        json_t *result = result_json(&job->results[i], mean_bits(job, i)), *each = json_array();
        for (int64_t k = 0; k < mep_data_mix_count(job->data); k++) {
            json_t *one = result_json(&each_of(job, i)[k], bits_of(job, i)[k]);
            json_object_set_new(one, "data", json_string(mep_data_mix_name(job->data, k)));
            json_array_append_new(each, one);
        }
        if (mep_data_mix_count(job->data) > 1) json_object_set(result, "corpora", each);
        json_decref(each);
        json_array_append_new(results, result);
    }
    json_t *root = json_pack("{s:s, s:s, s:o}", "model", job->model_path, "data", job->data_path, "results", results);
    if (root == NULL) return mep_json_out_of_memory();
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    return MEP_OK;
}

/* Print the finished lengths even if a later one failed. */
static int run(eval_job *job)
{
    mep_interrupt_install();
    mep_interrupt_exit_at_once(mep_cli_processes() == 1); /* until the first report */
    mep_set_threads((int)job->threads);
    mep_status status = evaluate(job);
    int code = status == MEP_OK ? MEP_EXIT_OK : status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
    if (code != MEP_EXIT_OK) mep_cli_fail("eval");
    if (job->done > 0 && (job->json ? print_json(job) : print_table(job)) != MEP_OK) code = mep_cli_fail("eval");
    mep_model_destroy(&job->model);
    mep_data_mix_close(&job->data);
    mep_free(&job->each);
    mep_free(&job->bits);
    return code;
}

/* Hand the options that a measure shares with the perplexity to it. */
static int run_measure(const eval_job *job, mep_eval_measures *m)
{
    m->model_path = job->model_path, m->data_path = job->data_path, m->split = job->split, m->position = job->position;
    m->lengths = job->lengths, m->threads = job->threads;
    m->part = job->part, m->json = job->json, m->quiet = job->quiet;
    m->settings.max_tokens = job->settings.max_tokens, m->settings.batch_tokens = job->settings.batch_tokens;
    m->settings.dtype = job->settings.dtype, m->settings.tolerance = job->settings.tolerance;
    m->settings.device = job->settings.device;
    return mep_eval_measures_run(m);
}

int mep_cli_eval(int argc, char **argv)
{
    static const char *const part_names[] = {"train", "valid", "test", NULL};
    eval_job job = {.part = MEP_SPLIT_VALID};
    mep_eval_measures measures;
    int count;
    mep_eval_defaults(&job.settings);
    mep_eval_measures_defaults(&measures);
    mep_option options[] = {
        MEP_OPT_TEXT("--model", 'm', "FOLDER", &job.model_path, "folder of a run, a checkpoint or another model"),
        MEP_OPT_TEXT("--data", 'd', "PREFIX", &job.data_path,
                     "dataset, written by mep prepare; or a data mix, A=0.7,B=0.3: prints the mean and each corpus"),
        MEP_OPT_TEXT("--split", 0, "A,B,C", &job.split,
                     "divide the documents in these proportions, as mep train --split does, and use one part"),
        MEP_OPT_CHOICE("--part", 0, "PART", &job.part, part_names, "part of the split"),
        MEP_OPT_TEXT(
            "--position", 'p', "SPEC", &job.position,
            "use this position encoding instead of that of the model, such as rotary:scaling=yarn,factor=8 for one "
            "trained with rotary; see mep train"),
        MEP_OPT_LENGTHS("--lengths", 'l', "L,..", &job.lengths, 1, LONGEST,
                        "lengths to evaluate, such as 512,1K,2K,4K"),
        MEP_OPT_LENGTH("--tokens", 0, "L", &job.settings.max_tokens, 0, INT64_MAX,
                       "number of tokens to use, from the start of the data; of each corpus of a data mix"),
        MEP_OPT_LENGTH("--stride", 0, "L", &job.settings.stride, 0, LONGEST,
                       "move a window of each length by L and count only tokens that no earlier window has counted; "
                       "0: segments that do not overlap, as in the paper"),
        MEP_OPT_LENGTH(
            "--last", 0, "L", &job.settings.last, 0, LONGEST,
            "count only the last L tokens of each segment of the longest length; a shorter length counts the same "
            "tokens with less context before them; 0: all tokens, as in the paper"),
        MEP_OPT_LENGTH("--batch-tokens", 0, "L", &job.settings.batch_tokens, 1, 1 << 30,
                       "tokens per batch, at least one segment; fewer need less memory"),
        MEP_OPT_CHOICE("--dtype", 0, "TYPE", &job.dtype, mep_cli_dtypes, "type to compute in " MEP_CLI_DTYPE_AUTO),
        MEP_CLI_DEVICE_ROW(&job.device),
        MEP_OPT_REAL(
            "--tolerance", 0, "T", &job.settings.tolerance, 0, 0.5,
            "omit distant tokens whose attention weights have a sum below T, which shows for biases that fall; 0: "
            "exact"),
        MEP_OPT_INT("--threads", 'j', "N", &job.threads, 0, 4096,
                    "threads; 0: one for each core that the process may use"),
        MEP_OPT_FLAG(
            "--split-sequence", 0, &job.split_sequence,
            "under mpirun: divide each segment over the processes instead of the list of segments; this is automatic "
            "if there are fewer segments than processes"),
        MEP_OPT_FLAG("--json", 0, &job.json, "print one JSON object"),
        MEP_OPT_FLAG("--quiet", 'q', &job.quiet, "no progress line, and no note about untrained parameters"),
        MEP_EVAL_MEASURE_ROWS(measures),
        MEP_OPT_END,
    };
    mep_args_default(options, "--lengths", "1, 2, 4, 8, 16 times the training length");
    mep_args_default(options, "--dtype", MEP_CLI_DTYPE_DEFAULT);
    mep_args_default(options, "--tokens", "the largest multiple of the longest length");
    mep_usage usage = {
        .command = "eval",
        .arguments = "--model FOLDER --data PREFIX",
        .summary = "Perplexity of a model on text of several lengths: exp of the mean loss per token.",
        .notes =
            "By default the data is divided into segments, every position counts, and every length that divides the\n"
            "longest one scores the same tokens, so that lengths can be compared. The column +- is the standard\n"
            "error of the perplexity, from the spread of the segments; empty where there is one segment.\n"
            "--last K shows the benefit of a longer context: the same K tokens of each segment are scored at\n"
            "every length, with more or less text before them.\n\n"
            "  mep eval --model runs/mep --data text.valid --lengths 512,1K,2K,4K,8K,16K\n"
            "  mep eval --model runs/mep --data text.valid --lengths 512,1K,2K,4K,8K,16K --last 256\n"
            "  mpirun -np 4 mep eval --model runs/mep --data text.valid --lengths 512,64K\n"
            "  mep eval --model runs/mep --data text.valid --lengths 512,4K --by-position\n"
            "  mep eval --model runs/mep --data text.valid --copy-gain 64,256,1K,4K\n"
            "  mep eval --model runs/mep --data text.valid --lengths 512,2K --task passkey\n",
        .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (job.model_path == NULL) return mep_cli_usage("eval", "--model FOLDER is missing");
    code = mep_eval_measures_check(&measures, options);
    if (code != MEP_ARGS_GO) return code;
    if (mep_eval_measures_asked(&measures) == 0) {
        if (job.data_path == NULL) return mep_cli_usage("eval", "--data PREFIX is missing");
    } else if (job.settings.stride > 0 || job.settings.last > 0 || job.split_sequence) {
        return mep_cli_usage("eval", "--stride, --last and --split-sequence are for the perplexity, not for a measure");
    }
    if (job.json && mep_args_given(options, "--format"))
        return mep_cli_usage("eval", "--json and --format exclude each other");
    if (job.settings.stride > 0 && job.settings.last > 0)
        return mep_cli_usage("eval", "--stride and --last both choose the tokens that count; leave out one of them");
    if (job.split == NULL && mep_args_given(options, "--part"))
        return mep_cli_usage("eval", "--split A,B,C is missing");
    if (!mep_cli_is_first()) job.quiet = 1;
    job.settings.device = (mep_device)job.device;
    code = mep_cli_choose_dtype("eval", options, "--dtype", job.settings.device, job.dtype, &job.settings.dtype);
    if (code == MEP_ARGS_GO) code = mep_cli_check_device("eval", job.settings.device);
    if (code != MEP_ARGS_GO) return code;
    if (mep_eval_measures_asked(&measures) > 0) return run_measure(&job, &measures);
    return run(&job);
}
