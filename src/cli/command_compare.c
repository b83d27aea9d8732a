/* SPDX-License-Identifier: MIT */
/*
 * mep compare: train and evaluate a list of position encodings under the same conditions. The library runs the study
 * (mep/study.h); compare_report.c writes tables and pictures. This file has the options and the progress line.
 */
#define _POSIX_C_SOURCE 200809L
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/clock.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/compare_report.h"
#include "cli/eval_measures.h"
#include "cli/event_log.h"
#include "cli/interrupt.h"
#include "cli/processes.h"
#include "cli/progress.h"
#include "cli/train_options.h"

enum { OPTIONS_MAX = 72, LABEL = 256, FIRST_SEED = 1235, MAX_SEED_COUNT = MEP_ARGS_LIST, TEST_LENGTHS = 6 };
enum { VALIDATIONS = 10, VALID_TOKENS = 16384 }; /* of each run; a small part of its work */
static const char DEFAULT_DEPTHS[] = "0,0.25,0.5,0.75,1";
static const double ESTIMATE_SECONDS = 4; /* of work, before the estimate of the total time is printed */

typedef struct compare_job {
    mep_train_options o;
    const char *out, *split;
    mep_texts data, positions, measures;
    mep_lengths seed_list, lengths, gaps;
    const char *depths, *baseline;
    mep_measure_settings measure;
    const mep_option *options;
    double within;
    int64_t eval_tokens;
    int eval_dtype; /* index in mep_cli_dtypes */
    mep_dtype eval_type;
    char dtype_reason[MEP_CLI_DTYPE_REASON];
    int quiet, tensorboard;

    mep_study_settings study;
    uint64_t seeds[MEP_ARGS_LIST];
    double depth_list[MEP_ARGS_LIST];
    int64_t depth_count;
    char *command;
    char *moved; /* the new name of the folder if it was moved; otherwise NULL */

    mep_event_log events; /* of the current run */
    mep_progress progress;
    mep_study_progress last; /* shown by the progress line */
    char label[LABEL];
    int worked;               /* the current run has done some work */
    int is_estimated;         /* the estimate of the total time was printed */
    double started;           /* clock at the first work */
    mep_status report_status; /* of the tables written on the way */
} compare_job;

/* ---- Options ---- */

static void list_options(compare_job *job, mep_option options[OPTIONS_MAX])
{
    const mep_option rows[] = {
        MEP_OPT_GROUP("Study"),
        MEP_OPT_TEXTS(
            "--data", 'd', "PREFIX,..", &job->data,
            "train on PREFIX.train and test on PREFIX.valid, which mep prepare --valid writes; several corpora get "
            "one table each; A=0.7,B=0.3 is one data mix"),
        MEP_OPT_TEXT(
            "--split", 0, "A,B,C", &job->split,
            "divide the documents of PREFIX in these proportions; train on the first part, test on the second; the "
            "paper has 949,50,1"),
        MEP_OPT_TEXT("--out", 'o', "DIR", &job->out, "folder of the study; an interrupted study continues"),
        MEP_OPT_TEXTS("--positions", 'p', "SPEC,..", &job->positions,
                      "position encodings to compare, see below; may be repeated, or separated by ';'"),
        MEP_OPT_LENGTHS(
            "--seeds", 's', "SEED,..", &job->seed_list, 1, INT64_MAX,
            "seeds of the weights and the data order; a single number N up to 64 means N seeds: 1235, 1236, .."),
        MEP_OPT_LENGTHS("--lengths", 0, "L,..", &job->lengths, 1, 1 << 30, "lengths to test at"),
        MEP_OPT_LENGTH("--eval-tokens", 0, "L", &job->eval_tokens, 0, INT64_MAX,
                       "largest number of tokens to test on, the same at every length; 0: all"),
        MEP_OPT_CHOICE("--eval-dtype", 0, "TYPE", &job->eval_dtype, mep_cli_dtypes,
                       "type to compute in during the test"),
        MEP_OPT_GROUP("Measures and comparison"),
        MEP_OPT_TEXTS("--measures", 0, "NAME,..", &job->measures,
                      "also measure how far the models read, as mep eval does: by-position, context, copy, passkey, "
                      "blindness, mqar, induction; perplexity is always measured"),
        MEP_OPT_LENGTHS("--gaps", 0, "GAP,..", &job->gaps, 0, 1 << 26, "of copy: tokens between the two copies"),
        MEP_OPT_TEXT("--depths", 0, "D,..", &job->depths,
                     "of passkey: where the digits are hidden, 0 at the beginning, 1 at the end"),
        MEP_OPT_INT("--samples", 0, "N", &job->measure.samples, 1, 1 << 24,
                    "tokens of context; trials of copy, passkey, mqar and induction; queries of blindness; at each "
                    "length, gap or depth"),
        MEP_OPT_INT("--copy-tokens", 0, "N", &job->measure.copy_tokens, 2, 1 << 20, "of copy: tokens per copy"),
        MEP_OPT_INT(
            "--bins", 0, "N", &job->measure.bins, 0, 4096,
            "of by-position: logarithmic bins per length; 0: each ends at twice the position of the one before"),
        MEP_OPT_INT("--measure-seed", 0, "N", (int64_t *)&job->measure.seed, 0, INT64_MAX,
                    "seed of the random texts, keys and positions of the measures"),
        MEP_OPT_TEXT("--baseline", 'b', "SPEC", &job->baseline,
                     "print paired differences to this encoding with their standard errors"),
        MEP_OPT_REAL("--within", 0, "FRACTION", &job->within, 0, 0.99,
                     "the effective length is the longest with a value within FRACTION of that at the training length"),
        MEP_OPT_GROUP("Model"),
        MEP_OPT_TEXT(
            "--preset", 0, "NAME", &job->o.preset,
            "sizes and recipe: nano, micro, mini, small or medium, or one of them with -llama; see mep train --help"),
        MEP_TRAIN_SIZE_ROWS(&job->o),
        MEP_OPT_GROUP("Training"),
        MEP_TRAIN_RECIPE_ROWS(&job->o),
        MEP_OPT_GROUP(MEP_TRAIN_OPTIMIZER_GROUP),
        MEP_TRAIN_OPTIMIZER_ROWS(&job->o),
        MEP_OPT_GROUP("Checkpoints"),
        MEP_TRAIN_SAVE_ROWS(&job->o),
        MEP_OPT_GROUP("Running"),
        MEP_OPT_INT("--threads", 'j', "N", &job->o.threads, 0, 4096,
                    "threads; 0: one for each core that the process may use"),
        MEP_OPT_FLAG("--tensorboard", 0, &job->tensorboard,
                     "also write losses, learning rate and speed as event files of TensorBoard into the folders of "
                     "runs"),
        MEP_OPT_FLAG("--quiet", 'q', &job->quiet, "no progress line"),
        MEP_OPT_END,
    };
    static_assert(sizeof rows <= OPTIONS_MAX * sizeof *rows, "OPTIONS_MAX is too small");
    memcpy(options, rows, sizeof rows);
    mep_args_default(options, "--eval-dtype", MEP_CLI_DTYPE_DEFAULT);
    mep_args_default(options, "--lengths", "--length times 1, 2, 4, .. 32");
    mep_args_default(options, "--measures", "perplexity alone");
    mep_args_default(options, "--gaps", "those of the study, or those that make segments of --lengths tokens");
    mep_args_default(options, "--depths", "those of the study, or 0,0.25,0.5,0.75,1");
}

/* Write a word as a shell reads it: in quotes if it has special characters. */
static void write_word(FILE *file, const char *word)
{
    int is_plain = word[0] != '\0';
    for (const char *c = word; *c != '\0'; c++)
        is_plain &= isalnum((unsigned char)*c) || strchr("._+=-/,:", *c) != NULL;
    if (!is_plain) fputc('\'', file);
    for (; *word != '\0'; word++) fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, file);
    if (!is_plain) fputc('\'', file);
}

/* Copy the command line, before the parsing divides lists in place. The caller frees it. */
static mep_status copy_command(int argc, char **argv, char **command)
{
    size_t size = 0;
    FILE *file = open_memstream(command, &size);
    if (file == NULL) return mep_fail_errno("copy", "the command line");
    fputs("mep", file);
    for (int i = 0; i < argc; i++) {
        fputc(' ', file);
        write_word(file, argv[i]);
    }
    return fclose(file) == 0 ? MEP_OK : mep_fail_errno("copy", "the command line");
}

/* Set the seeds of the study from --seeds, where a single number up to MAX_SEED_COUNT is their count. */
static void set_seeds(compare_job *job)
{
    const mep_lengths *list = &job->seed_list;
    int is_count = list->count == 1 && list->values[0] <= MAX_SEED_COUNT;
    job->study.seed_count = is_count ? list->values[0] : list->count;
    for (int64_t i = 0; i < job->study.seed_count; i++)
        job->seeds[i] = (uint64_t)(is_count ? FIRST_SEED + i : list->values[i]);
    job->study.seeds = job->seeds;
}

/* Lengths in ascending order; the default is the training length times powers of two. */
static void set_lengths(compare_job *job)
{
    mep_lengths *list = &job->lengths;
    if (list->count == 0) {
        list->count = TEST_LENGTHS;
        for (int64_t i = 0; i < TEST_LENGTHS; i++) list->values[i] = job->o.settings.length << i;
    }
    for (int64_t i = 1; i < list->count; i++)
        for (int64_t j = i; j > 0 && list->values[j - 1] > list->values[j]; j--) {
            int64_t larger = list->values[j - 1];
            list->values[j - 1] = list->values[j];
            list->values[j] = larger;
        }
    job->study.lengths = list->values;
    job->study.length_count = list->count;
}

/* The measures by their names in the study. mep eval calls two of them by longer names. */
static void set_measures(compare_job *job)
{
    mep_texts *list = &job->measures;
    int64_t count = 0;
    for (int64_t i = 0; i < list->count; i++) {
        const char *name = list->values[i];
        if (strcmp(name, "context-gain") == 0) name = "context";
        if (strcmp(name, "copy-gain") == 0) name = "copy";
        if (strcmp(name, "perplexity") != 0) list->values[count++] = name;
    }
    list->count = count;
    job->study.measures = list->values;
    job->study.measure_count = count;
    job->study.measure = job->measure;
}

static mep_status read_depths(compare_job *job, const char *text)
{
    for (const char *at = text;; at++) {
        char *end = NULL;
        double depth = mep_number_parse(at, &end);
        if (end == at || (*end != ',' && *end != '\0') || !(depth >= 0 && depth <= 1))
            return mep_fail(MEP_ERROR_ARGUMENT, "--depths %s: a depth must be a number from 0 to 1", text);
        if (job->depth_count == MEP_ARGS_LIST)
            return mep_fail(MEP_ERROR_ARGUMENT, "--depths: more than %d depths", MEP_ARGS_LIST);
        job->depth_list[job->depth_count++] = depth;
        at = end;
        if (*at == '\0') return MEP_OK;
    }
}

static int has_measure(const compare_job *job, const char *name)
{
    for (int64_t i = 0; i < job->study.measure_count; i++)
        if (strcmp(job->study.measures[i], name) == 0) return 1;
    return 0;
}

/* The gaps of the options, or those of the study, or those that make segments as long as the test lengths. */
static mep_status set_gaps(compare_job *job, const mep_study_settings *all)
{
    mep_lengths *list = &job->gaps;
    int is_given = list->count > 0;
    for (int64_t i = 0; !is_given && i < all->gap_count && list->count < MEP_ARGS_LIST; i++)
        list->values[list->count++] = all->gaps[i];
    is_given |= list->count > 0;
    for (int64_t i = 0; !is_given && i < all->length_count && list->count < MEP_ARGS_LIST; i++) {
        int64_t gap = all->lengths[i] - 3 * job->measure.copy_tokens;
        if (gap >= 0) list->values[list->count++] = gap;
    }
    if (list->count == 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "all test lengths are shorter than 3 copies of %lld tokens; name --gaps or fewer --copy-tokens",
                        (long long)job->measure.copy_tokens);
    job->study.gaps = list->values;
    job->study.gap_count = list->count;
    return MEP_OK;
}

static mep_status set_depths(compare_job *job, const mep_study_settings *all)
{
    if (job->depths != NULL || all->depth_count == 0) {
        MEP_TRY(read_depths(job, job->depths != NULL ? job->depths : DEFAULT_DEPTHS));
    } else {
        for (; job->depth_count < all->depth_count && job->depth_count < MEP_ARGS_LIST; job->depth_count++)
            job->depth_list[job->depth_count] = all->depths[job->depth_count];
    }
    job->study.depths = job->depth_list;
    job->study.depth_count = job->depth_count;
    return MEP_OK;
}

/* The index of --baseline in the encodings of a study; -1 if there is no --baseline. */
static mep_status find_baseline(const compare_job *job, const mep_study_settings *all, int64_t *index)
{
    mep_position *baseline = NULL;
    int64_t found = -1;
    *index = -1;
    if (job->baseline == NULL) return MEP_OK;
    MEP_TRY(mep_position_create(&baseline, job->baseline));
    for (int64_t i = 0; i < all->encoding_count && found < 0; i++) {
        mep_position *other = NULL;
        if (mep_position_create(&other, all->encodings[i]) == MEP_OK && mep_position_same(baseline, other)) found = i;
        mep_position_destroy(&other);
    }
    mep_position_destroy(&baseline);
    if (found < 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "--baseline %s: is no encoding of this study; add it to --positions",
                        job->baseline);
    *index = found;
    return MEP_OK;
}

/* Options about measures that are not given are those of the study in the folder. */
static mep_status keep_measure_settings(compare_job *job)
{
    mep_study_lists *lists = NULL;
    mep_study_settings without = job->study;
    mep_measure_settings *m = &job->study.measure, given = job->measure;
    without.measure_count = 0;
    MEP_TRY(mep_study_lists_read(&lists, job->out, &without));
    *m = mep_study_lists_settings(lists)->measure;
    mep_study_lists_free(&lists);
    if (mep_args_given(job->options, "--samples")) m->samples = given.samples;
    if (mep_args_given(job->options, "--measure-seed")) m->seed = given.seed;
    if (mep_args_given(job->options, "--bins")) m->bins = given.bins;
    if (mep_args_given(job->options, "--copy-tokens")) m->copy_tokens = given.copy_tokens;
    job->measure = *m;
    return MEP_OK;
}

/* Complete what depends on the study in the folder. */
static mep_status complete_measures(compare_job *job)
{
    mep_study_lists *lists = NULL;
    MEP_TRY(keep_measure_settings(job));
    int64_t baseline = 0;
    MEP_TRY(mep_study_lists_read(&lists, job->out, &job->study));
    const mep_study_settings *all = mep_study_lists_settings(lists);
    mep_status status = find_baseline(job, all, &baseline);
    if (status == MEP_OK && has_measure(job, "copy")) status = set_gaps(job, all);
    if (status == MEP_OK && has_measure(job, "passkey")) status = set_depths(job, all);
    job->study.need_samples = baseline >= 0;
    mep_study_lists_free(&lists);
    return status;
}

/* The type of the runs, and the reason; --dtype auto continues a study in its own type. */
static mep_status settle_dtype(compare_job *job)
{
    mep_train_settings *s = &job->o.settings;
    mep_device device = (mep_device)job->o.device;
    mep_dtype chosen = s->dtype;
    int is_auto = job->o.dtype == MEP_CLI_AUTO;
    if (is_auto && mep_device_is_host(device)) MEP_TRY(mep_study_dtype(job->out, &s->dtype));
    mep_cli_dtype_reason(is_auto && s->dtype == chosen, device, s->dtype, job->dtype_reason);
    return MEP_OK;
}

/* Complete the settings of the study from the options. */
static mep_status complete_settings(compare_job *job)
{
    char first[MEP_DATA_SIZE];
    MEP_TRY(settle_dtype(job));
    MEP_TRY(mep_data_mix_append(job->data.values[0], job->split == NULL ? ".train" : "", first));
    mep_status status = mep_train_options_finish(&job->o, job->options, first, job->split);
    if (status == MEP_ERROR_IO && job->split == NULL)
        return mep_fail_in(status, "--data PREFIX takes what mep prepare --out PREFIX --valid 0.1 wrote: ");
    MEP_TRY(status);
    mep_study_settings *s = &job->study;
    s->train = job->o.settings;
    s->train.valid_every = (s->train.steps + VALIDATIONS - 1) / VALIDATIONS;
    s->train.valid_tokens = VALID_TOKENS;
    mep_eval_defaults(&s->eval);
    s->eval.max_tokens = job->eval_tokens;
    s->eval.dtype = job->eval_type;
    s->eval.device = s->train.device;
    s->corpora = job->data.values;
    s->corpus_count = job->data.count;
    s->encodings = job->positions.values;
    s->encoding_count = job->positions.count;
    set_seeds(job);
    set_lengths(job);
    set_measures(job);
    return complete_measures(job);
}

static int lists_measure(const compare_job *job, const char *name)
{
    for (int64_t i = 0; i < job->measures.count; i++)
        if (strcmp(job->measures.values[i], name) == 0) return 1;
    return 0;
}

/* The measures that an option is for, by their names; "task": mqar and induction. */
typedef struct measure_option {
    const char *option;
    const char *measures[8];
} measure_option;

static const measure_option MEASURE_OPTIONS[] = {
    {"--gaps", {"copy", "copy-gain"}},
    {"--depths", {"passkey"}},
    {"--samples", {"context", "context-gain", "copy", "copy-gain", "passkey", "blindness", "task"}},
    {"--measure-seed", {"copy", "copy-gain", "passkey", "task"}},
    {"--copy-tokens", {"copy", "copy-gain"}},
    {"--bins", {"by-position"}},
};

static int lists_task(const compare_job *job)
{
    for (int64_t i = 0; i < job->measures.count; i++)
        if (mep_cli_is_task(job->measures.values[i])) return 1;
    return 0;
}

/* Whether a measure of this call uses an option: with others, it would replace the results of earlier calls. */
static int check_measure_option(const compare_job *job, const measure_option *m)
{
    char uses[128] = "";
    for (int i = 0; m->measures[i] != NULL; i++) {
        int is_task = strcmp(m->measures[i], "task") == 0;
        if (is_task ? lists_task(job) : lists_measure(job, m->measures[i])) return MEP_ARGS_GO;
        if (strstr(m->measures[i], "-gain") != NULL) continue; /* another name */
        size_t used = strlen(uses);
        snprintf(uses + used, sizeof uses - used, "%s%s", used > 0 ? "," : "",
                 is_task ? "mqar,induction" : m->measures[i]);
    }
    return mep_cli_usage("compare", "%s is for --measures %s", m->option, uses);
}

/* Returns MEP_ARGS_GO, or the exit code after one line on stderr. */
static int check(compare_job *job, const mep_option *options)
{
    mep_device device = (mep_device)job->o.device;
    if (job->data.count == 0) return mep_cli_usage("compare", "--data PREFIX is missing");
    if (job->out == NULL || job->out[0] == '\0') return mep_cli_usage("compare", "--out DIR is missing");
    for (int64_t i = 0; i < job->positions.count; i++) {
        mep_position *position = NULL;
        if (mep_position_create(&position, job->positions.values[i]) != MEP_OK)
            return mep_cli_refuse_encoding("compare", job->positions.values[i]);
        mep_position_destroy(&position);
    }
    for (size_t i = 0; i < sizeof MEASURE_OPTIONS / sizeof *MEASURE_OPTIONS; i++) {
        const measure_option *m = &MEASURE_OPTIONS[i];
        if (!mep_args_given(options, m->option)) continue;
        int unused = check_measure_option(job, m);
        if (unused != MEP_ARGS_GO) return unused;
    }
    job->options = options;
    int code = mep_cli_choose_dtype("compare", options, "--dtype", device, job->o.dtype, &job->o.settings.dtype);
    if (code == MEP_ARGS_GO)
        code = mep_cli_choose_dtype("compare", options, "--eval-dtype", device, job->eval_dtype, &job->eval_type);
    return code == MEP_ARGS_GO ? mep_cli_check_device("compare", device) : code;
}

/* ---- Reports ---- */

static const char *folder_of(const compare_job *job)
{
    return job->moved != NULL ? job->moved : job->out;
}

/* Make one part of the report, about all runs of the study. */
static mep_status report(const compare_job *job, int so_far, mep_status (*part)(const mep_report *))
{
    mep_study_lists *all = NULL;
    MEP_TRY(mep_study_lists_read(&all, folder_of(job), &job->study));
    mep_study_settings asked = job->study;
    asked.encodings = mep_study_lists_asked(all);
    mep_report r = {.folder = folder_of(job),
                    .settings = mep_study_lists_settings(all),
                    .asked = &asked,
                    .command = job->command,
                    .so_far = so_far,
                    .within = job->within};
    mep_status status = find_baseline(job, r.settings, &r.baseline);
    if (status == MEP_OK) status = part(&r);
    mep_study_lists_free(&all);
    return status;
}

/* After a run: write the tables, and unless it was the last run, print the table so far. */
static mep_status report_run(const compare_job *job, const mep_study_progress *p)
{
    MEP_TRY(report(job, 0, mep_report_write));
    if (job->quiet || p->run == p->runs) return MEP_OK;
    printf("so far, after run %lld of %lld:\n\n", (long long)p->run, (long long)p->runs);
    MEP_TRY(report(job, 1, mep_report_print));
    printf("\n");
    fflush(stdout);
    return MEP_OK;
}

/* ---- Progress ---- */

/* Begin the progress line of a training or of a test at one length. */
static void start_line(compare_job *job, const mep_study_progress *p)
{
    char seed[32] = "";
    char title[MEP_DATA_SIZE];
    const char *corpus = mep_data_mix_title(p->corpus, title) == MEP_OK ? title : p->corpus;
    if (job->study.seed_count > 1) snprintf(seed, sizeof seed, " seed %llu", (unsigned long long)p->seed);
    if (job->last.run == 0 && !job->quiet)
        fprintf(stderr, "mep compare: training in %s%s\n", mep_dtype_name(job->study.train.dtype), job->dtype_reason);
    mep_progress_finish(&job->progress); /* the line still shows the old label */
    snprintf(job->label, LABEL, "%lld/%lld %.60s%s%s%s %s", (long long)p->run, (long long)p->runs,
             job->study.corpus_count > 1 ? corpus : "", job->study.corpus_count > 1 ? " " : "", p->encoding, seed,
             p->phase == MEP_STUDY_TRAINING    ? "train"
             : p->phase == MEP_STUDY_MEASURING ? p->measure
                                               : "test at length");
    /* a test shows its length instead of a counter, and a percentage in the text */
    int64_t total = p->phase == MEP_STUDY_TRAINING ? p->total : 0;
    if (!job->quiet) mep_progress_start(&job->progress, job->label, total > 0 ? p->done - 1 : p->length, total);
}

/* After some seconds of work, print an estimate of the total time. */
static void say_estimate(compare_job *job, const mep_study_progress *p)
{
    char left[32];
    if (job->started == 0) job->started = mep_now();
    double passed = mep_now() - job->started;
    if (job->is_estimated || job->quiet || isnan(p->seconds_left) || passed < ESTIMATE_SECONDS) return;
    job->is_estimated = 1;
    mep_duration_text(p->seconds_left + passed, left);
    fprintf(stderr, "%smep compare: about %s for %lld run%s; fewer --steps or --positions need less time\n",
            job->progress.terminal ? "\r\033[K" : "", left, (long long)p->runs, p->runs == 1 ? "" : "s");
}

static void show_progress(compare_job *job, const mep_study_progress *p)
{
    char speed[32];
    say_estimate(job, p);
    int is_other_measure = p->phase == MEP_STUDY_MEASURING && p->measure != job->last.measure;
    if (p->run != job->last.run || p->phase != job->last.phase || is_other_measure) start_line(job, p);
    job->last = *p;
    job->progress.left = isnan(p->seconds_left) ? 0 : p->seconds_left;
    mep_short_number(p->tokens_per_second, speed);
    if (p->phase == MEP_STUDY_TRAINING)
        mep_progress_update(&job->progress, p->done, "loss %.4f  %s tok/s", p->loss, speed);
    else if (isnan(p->loss))
        mep_progress_update(&job->progress, p->length, "%3.0f%%  %s tok/s", 100.0 * (double)p->done / (double)p->total,
                            speed);
    else
        mep_progress_update(&job->progress, p->length, "%3.0f%%  perplexity %.2f  %s tok/s",
                            100.0 * (double)p->done / (double)p->total, exp(p->loss), speed);
}

/* The folder of the study may be moved during the work. */
static mep_status follow(compare_job *job, const char *folder)
{
    if (strcmp(folder, folder_of(job)) == 0) return MEP_OK;
    fprintf(stderr, "mep compare: the study's folder is now %s\n", folder);
    mep_free(&job->moved);
    return mep_copy_string(&job->moved, folder);
}

static int study_progress(void *context, const mep_study_progress *p)
{
    compare_job *job = context;
    if (job->tensorboard && p->train != NULL) mep_event_log_step(&job->events, "compare", p->train);
    if (p->train == NULL) mep_event_log_end(&job->events);
    if (p->phase != MEP_STUDY_RUN_DONE) {
        job->worked = 1;
        show_progress(job, p);
        return mep_interrupt_flag;
    }
    mep_progress_finish(&job->progress);
    job->report_status = follow(job, p->folder);
    if (job->worked && mep_cli_is_first() && job->report_status == MEP_OK) job->report_status = report_run(job, p);
    job->worked = 0;
    return mep_interrupt_flag || job->report_status != MEP_OK;
}

/* ---- The study ---- */

/* Draw the pictures, write the page that includes them, and print the table and the files. A missing gnuplot is not a
 * failure, and after a failure of gnuplot the table is still printed. */
static mep_status finish(const compare_job *job)
{
    char reason[1024];
    MEP_TRY(report(job, 0, mep_report_write));
    mep_status drawn = report(job, 0, mep_report_draw);
    snprintf(reason, sizeof reason, "%s", mep_error_message());
    if (drawn == MEP_ERROR_UNSUPPORTED) fprintf(stderr, "mep compare: no pictures: %s\n", reason);
    MEP_TRY(report(job, 0, mep_report_write_html));
    MEP_TRY(report(job, 0, mep_report_print));
    printf("\n");
    MEP_TRY(report(job, 0, mep_report_print_files));
    return drawn == MEP_OK || drawn == MEP_ERROR_UNSUPPORTED ? MEP_OK : mep_fail(drawn, "%s", reason);
}

static int run(compare_job *job)
{
    mep_interrupt_install();
    mep_interrupt_keep_running();
    mep_status status = complete_settings(job);
    if (status == MEP_OK) status = mep_study_run_in(mep_cli_group(), job->out, &job->study, study_progress, job);
    mep_progress_finish(&job->progress);
    mep_event_log_end(&job->events);
    if (job->report_status != MEP_OK)
        status = job->report_status; /* it stopped the study; its message is the last one */
    if (status == MEP_OK && mep_cli_is_first()) status = finish(job);
    if (status == MEP_OK) return MEP_EXIT_OK;
    if (status == MEP_INTERRUPTED) {
        mep_cli_complain("mep compare: stopped in run %lld of %lld; the same command continues",
                         (long long)job->last.run, (long long)job->last.runs);
        return MEP_EXIT_INTERRUPTED;
    }
    return mep_cli_fail("compare");
}

int mep_cli_compare(int argc, char **argv)
{
    static const mep_texts default_positions = {4, {"alibi", "mep", "mep_param", "rotary"}};
    compare_job job = {.positions = default_positions, .seed_list = {1, {1}}, .within = 0.02};
    mep_measure_defaults(&job.measure);
    mep_option options[OPTIONS_MAX];
    char notes[16384];
    int count, code = mep_train_options_begin(&job.o, "compare", argc, argv);
    if (code != MEP_ARGS_GO) return code;
    list_options(&job, options);
    snprintf(
        notes, sizeof notes,
        "All runs have the same settings, order of data and initial weights. DIR gets results.csv, results.md,\n"
        "results.html (one file with all tables and pictures), measures.csv, differences.csv, pictures, and a folder\n"
        "ENCODING-seedN for each run, which mep eval and mep generate read. The same command continues a study. A "
        "later\n"
        "command may add encodings, seeds, lengths and measures; tables and pictures show all of them. Without "
        "--samples,\n"
        "--copy-tokens, --bins or --measure-seed it measures as the last one did; with another value, everything that "
        "uses\n"
        "it again.\n\n"
        "--baseline compares the runs of the same seed on the same tokens. A difference is called better or worse "
        "only\n"
        "beyond two standard errors: of the mean over the segments and, with several seeds, over the seeds too.\n\n"
        "  mep prepare --out text --valid 0.1 books/\n"
        "  mep compare --data text --out runs/books --preset micro --positions mep,alibi,rotary --seeds 5\n"
        "  mep compare --data text --out runs/books --preset micro --positions mep,alibi,rotary --seeds 5 \\\n"
        "      --measures copy,passkey --baseline alibi      adds two measures to the finished study\n"
        "  mpirun -np 3 mep compare --data text --out runs/study    3 runs at a time, one per process\n\n"
        "Position encodings:\n%s",
        mep_position_help());
    mep_usage usage = {
        .command = "compare",
        .arguments = "--data PREFIX --out DIR",
        .summary = "Train models that differ only in their position encoding, test them on text longer than the "
                   "training length, and print and draw the perplexities.",
        .notes = notes,
        .options = options};
    if (copy_command(argc, argv, &job.command) != MEP_OK) return mep_cli_fail("compare");
    code = mep_args_parse(&usage, argc, argv, &count);
    if (!mep_cli_is_first()) job.quiet = 1;
    if (code == MEP_ARGS_GO) code = check(&job, options);
    if (code == MEP_ARGS_GO) code = run(&job);
    mep_free(&job.command);
    mep_free(&job.moved);
    return code;
}
