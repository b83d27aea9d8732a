/* SPDX-License-Identifier: MIT */
/*
 * mep plot: draws a table of results as perplexity against length, the training of runs (plot_runs.c), or curves of
 * distance biases (plot_biases.c).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/csv.h"
#include "cli/picture.h"
#include "cli/plot_biases.h"
#include "cli/plot_runs.h"
#include "cli/plot_terms.h"
#include "mep/study.h"

/* ---- Results ---- */

typedef struct result_table {
    mep_csv csv;
    int64_t encoding, length, perplexity; /* columns */
    double *lengths, *perplexities;       /* of each row */
} result_table;

static void results_free(result_table *results)
{
    mep_csv_free(&results->csv);
    mep_free(&results->lengths);
    mep_free(&results->perplexities);
}

static mep_status find_column(const result_table *results, const char *path, const char *name, int64_t *column)
{
    *column = mep_csv_column(&results->csv, name);
    if (*column >= 0) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT,
                    "%s: the table has no column \"%s\"; columns encoding, length and perplexity are needed", path,
                    name);
}

static mep_status read_number(const result_table *results, const char *path, int64_t row, int64_t column,
                              double *number)
{
    const char *text = mep_csv_cell(&results->csv, row, column);
    char *end;
    *number = strtod(text, &end);
    if (end == text || *end != '\0')
        return mep_fail(MEP_ERROR_FORMAT, "%s: row %lld, column %s: \"%s\" is not a number", path, (long long)row + 2,
                        mep_csv_cell(&results->csv, -1, column), text);
    return MEP_OK;
}

static mep_status results_read(result_table *results, const char *path)
{
    MEP_TRY(mep_csv_read(&results->csv, path));
    int64_t rows = results->csv.rows;
    MEP_TRY(find_column(results, path, "encoding", &results->encoding));
    MEP_TRY(find_column(results, path, "length", &results->length));
    MEP_TRY(find_column(results, path, "perplexity", &results->perplexity));
    MEP_TRY(MEP_ALLOC(&results->lengths, rows));
    MEP_TRY(MEP_ALLOC(&results->perplexities, rows));
    for (int64_t row = 0; row < rows; row++) {
        MEP_TRY(read_number(results, path, row, results->length, &results->lengths[row]));
        MEP_TRY(read_number(results, path, row, results->perplexity, &results->perplexities[row]));
        if (!(results->lengths[row] >= 1 && results->lengths[row] <= 1e12))
            return mep_fail(MEP_ERROR_FORMAT, "%s: row %lld: the length is not from 1 to 1e12", path,
                            (long long)row + 2);
    }
    return rows > 0 ? MEP_OK : mep_fail(MEP_ERROR_FORMAT, "%s: the table has no rows", path);
}

static int same_encoding(const result_table *results, int64_t row, const char *encoding)
{
    return strcmp(mep_csv_cell(&results->csv, row, results->encoding), encoding) == 0;
}

/* A row of the picture: the mean and the standard deviation (n - 1) over the seeds of one encoding at one length. */
static void add_mean(const result_table *results, const char *encoding, double length, mep_picture *picture)
{
    int64_t seeds = 0;
    double sum = 0, squares = 0;
    for (int64_t row = 0; row < results->csv.rows; row++) {
        if (results->lengths[row] != length || !same_encoding(results, row, encoding)) continue;
        sum += results->perplexities[row];
        seeds++;
    }
    double mean = sum / (double)seeds;
    for (int64_t row = 0; row < results->csv.rows; row++) {
        double deviation = results->perplexities[row] - mean;
        if (results->lengths[row] == length && same_encoding(results, row, encoding)) squares += deviation * deviation;
    }
    double row[] = {length, mean, seeds > 1 && isfinite(squares) ? sqrt(squares / (double)(seeds - 1)) : 0};
    mep_picture_add_row(picture, row, 3);
}

/* The line type of an encoding in the study to which the table belongs; 0 if there is none. */
static int style_of(const char *path, const char *encoding)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    if (mep_format(&folder, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1, slash != NULL ? path : ".") != MEP_OK)
        return 0;
    int64_t index = mep_study_encoding_index(folder, encoding);
    mep_free(&folder);
    return index < 0 ? 0 : (int)(index % MEP_PICTURE_STYLES) + 1;
}

/* The curve of the encoding of row `first`: its lengths in ascending order. */
static mep_status add_encoding(const result_table *results, const char *path, int64_t first, mep_picture *picture)
{
    const char *encoding = mep_csv_cell(&results->csv, first, results->encoding);
    mep_picture_curve curve = {.label = encoding, .style = style_of(path, encoding)};
    MEP_TRY(mep_picture_add_curve(picture, &curve));
    for (double last = 0, next = 0; next < INFINITY; last = next) {
        next = INFINITY;
        for (int64_t row = 0; row < results->csv.rows; row++) {
            double length = results->lengths[row];
            if (length > last && length < next && same_encoding(results, row, encoding)) next = length;
        }
        if (next < INFINITY) add_mean(results, encoding, next, picture);
    }
    return MEP_OK;
}

/* One curve per encoding, in the order of first appearance. */
static mep_status add_results(const char *path, mep_picture *picture)
{
    result_table results = {0};
    mep_status status = results_read(&results, path);
    for (int64_t row = 0; status == MEP_OK && row < results.csv.rows; row++) {
        int is_new = 1;
        for (int64_t n = 0; n < row && is_new; n++)
            is_new = !same_encoding(&results, row, mep_csv_cell(&results.csv, n, results.encoding));
        if (is_new) status = add_encoding(&results, path, row, picture);
    }
    results_free(&results);
    return status;
}

/* ---- The subcommand ---- */

enum { OPTIONS_MAX = 24, X_STEPS = 0, X_TOKENS = 1 };

static const char *const X_AXES[] = {"steps", "tokens", NULL};

/* The options. The file and the title are copied to `runs` and `biases` later. */
typedef struct plot_job {
    const char *out, *title;
    int64_t train_length;
    double limit;
    mep_texts shown;
    int x_axis;
    mep_plot_runs_options runs;
    mep_plot_biases_options biases;
    int term; /* mep_plot_term */
    mep_lengths layers;
} plot_job;

static const char *const TERMS[] = {"bias", "profiles", "forget", NULL};

/* The kind of picture that the arguments ask for. */
typedef enum plot_kind { OF_RESULTS, OF_RUNS, OF_BIASES } plot_kind;

/* "results.csv" gives "results.png". Freed by the caller. */
static mep_status default_name(const char *path, char **png)
{
    size_t length = strlen(path), ending = length > 4 && strcmp(path + length - 4, ".csv") == 0 ? 4 : 0;
    return mep_format(png, "%.*s.png", (int)(length - ending), path);
}

static mep_status plot_results(const plot_job *job, const char *path, char **png)
{
    mep_picture *picture = NULL;
    MEP_TRY(job->out != NULL ? mep_copy_string(png, job->out) : default_name(path, png));
    MEP_TRY(mep_picture_begin(&picture, *png, MEP_PICTURE_PERPLEXITY));
    mep_picture_set_text(picture, "heading",
                         job->title != NULL ? job->title : "Perplexity on text longer than the training length");
    mep_picture_set_number(picture, "train_length", (double)job->train_length);
    mep_picture_set_limit(picture, job->limit);
    mep_status status = add_results(path, picture);
    if (status == MEP_OK) status = mep_picture_draw(picture);
    mep_picture_destroy(&picture);
    return status;
}

static mep_status draw(plot_job *job, plot_kind kind, char *const *paths, int64_t count, char **png)
{
    job->runs.out = job->biases.out = job->out;
    job->runs.title = job->biases.title = job->title;
    job->runs.by_tokens = job->x_axis == X_TOKENS;
    job->biases.train_length = job->train_length;
    if (kind == OF_BIASES && job->term != MEP_PLOT_BIAS) {
        const mep_plot_terms_options terms = {.out = job->out,
                                              .title = job->title,
                                              .model = job->biases.models.values[0],
                                              .term = (mep_plot_term)job->term,
                                              .layers = job->layers,
                                              .shown = job->biases.shown,
                                              .max_distance = job->biases.max_distance,
                                              .train_length = job->train_length,
                                              .floor = job->biases.floor};
        return mep_plot_terms(png, &terms);
    }
    if (kind == OF_BIASES) return mep_plot_biases(png, &job->biases);
    return kind == OF_RUNS ? mep_plot_runs(png, &job->runs, paths, count) : plot_results(job, paths[0], png);
}

static void list_options(plot_job *job, mep_option options[OPTIONS_MAX])
{
    const mep_option rows[] = {
        MEP_OPT_TEXT("--out", 'o', "FILE.png", &job->out, "the picture; its data and script are written next to it"),
        MEP_OPT_WORDS("--title", 0, "TEXT", &job->title, "title of the picture"),
        MEP_OPT_GROUP("Runs"),
        MEP_OPT_TEXTS("--show", 0, "WHAT,..", &job->shown,
                      "panels: loss, valid_loss, grad_norm, learning_rate, tokens_per_second"),
        MEP_OPT_CHOICE("--x-axis", 'x', "UNIT", &job->x_axis, X_AXES, "unit of the x axis"),
        MEP_OPT_INT(
            "--smooth", 0, "N", &job->runs.smooth, 0, INT64_MAX,
            "draw the mean of every N steps as one point; 1: draw every step; 0: choose N so that a curve has up to "
            "100 points"),
        MEP_OPT_REAL("--max-loss", 0, "LOSS", &job->runs.max_loss, 0, 1e30,
                     "upper end of the axes of losses; 0: the highest loss after the first tenth of the steps"),
        MEP_OPT_GROUP("Results"),
        MEP_OPT_REAL("--limit", 0, "P", &job->limit, 1, INFINITY, "do not draw perplexities above this"),
        MEP_OPT_GROUP("Curves of biases"),
        MEP_OPT_TEXTS("--bias", 'b', "SPEC", &job->biases.specs,
                      "bias to draw, see `mep bias`; may be repeated or have several specs separated by ';'"),
        MEP_OPT_TEXTS(
            "--model", 'm', "FOLDER", &job->biases.models,
            "draw the bias of a run, a checkpoint or another model; if the run learns it, also the bias before "
            "the first step, dashed; may be repeated"),
        MEP_OPT_CHOICE(
            "--term", 0, "TERM", &job->term, TERMS,
            "of one --model: its distance bias; the profiles of a layer; or the decay with the distance that "
            "the bias of a layer's forget gates gives"),
        MEP_OPT_LENGTHS("--layer", 0, "LAYER,..", &job->layers, 1, 1000, "layers of the term, from 1"),
        MEP_OPT_INT("--heads", 0, "N", &job->biases.heads, 1, 4096, "number of heads"),
        MEP_OPT_LENGTHS("--head", 0, "H,..", &job->biases.shown, 1, 4096, "heads, or profiles, to draw, from 1"),
        MEP_OPT_LENGTHS("--query-position", 'q', "P,..", &job->biases.queries, 0, 1LL << 31,
                        "positions of the query to draw, for a bias that depends on it (fire)"),
        MEP_OPT_LENGTH("--max-distance", 0, "L", &job->biases.max_distance, 1, 1LL << 31, "largest distance"),
        MEP_OPT_REAL("--floor", 0, "B", &job->biases.floor, -1e30, 0, "lowest bias on the y axis; 0: no limit"),
        MEP_OPT_GROUP("Results and biases"),
        MEP_OPT_LENGTH("--train-length", 0, "L", &job->train_length, 1, 1LL << 31,
                       "mark this length with a vertical line"),
        MEP_OPT_END,
    };
    static_assert(sizeof rows <= OPTIONS_MAX * sizeof *rows, "OPTIONS_MAX is too small");
    memcpy(options, rows, sizeof rows);
    mep_args_default(
        options, "--out",
        "RUN/training.png, training.png for several runs, results.png next to results.csv, bias.png or term.png");
    mep_args_default(options, "--train-length", "that of --model");
    mep_args_default(options, "--show", "one run: loss, grad_norm, learning_rate; several runs: loss, valid_loss");
    mep_args_default(options, "--heads", "8, or those of --model");
    mep_args_default(options, "--head", "the middle head; for one bias, eight heads");
    mep_args_default(options, "--query-position", "one that has all distances");
    mep_args_default(options, "--layer", "the first that has it");
    mep_args_default(options, "--max-distance",
                     "512, 4 times the training length of --model, or the extent of profiles");
}

/* The kinds of pictures for which an option is allowed. */
static const struct {
    const char *name;
    int fits[3]; /* index: plot_kind */
} OF_KIND[] = {{"--show", {0, 1, 0}},           {"--x-axis", {0, 1, 0}}, {"--smooth", {0, 1, 0}},
               {"--max-loss", {0, 1, 0}},       {"--limit", {1, 0, 0}},  {"--heads", {0, 0, 1}},
               {"--head", {0, 0, 1}},           {"--floor", {0, 0, 1}},  {"--max-distance", {0, 0, 1}},
               {"--query-position", {0, 0, 1}}, {"--term", {0, 0, 1}},   {"--layer", {0, 0, 1}},
               {"--train-length", {1, 0, 1}}};

/* Errors that the table of options does not detect. */
static int check(plot_job *job, const mep_option *options, char **paths, int count, plot_kind *kind)
{
    static const char *const whose[] = {"a table of results", "runs", "--bias or --model"};
    int has_biases = job->biases.specs.count + job->biases.models.count > 0;
    if ((count > 0) == has_biases)
        return mep_cli_usage("plot", "give either a table of results, or runs, or --bias or --model");
    *kind = has_biases ? OF_BIASES : mep_plot_is_run(paths[0]) ? OF_RUNS : OF_RESULTS;
    for (int i = 1; i < count; i++)
        if (*kind == OF_RESULTS || !mep_plot_is_run(paths[i]))
            return mep_cli_usage("plot",
                                 "\"%s\" is not the folder of a run; give one table of results, or one or more runs",
                                 *kind == OF_RESULTS ? paths[0] : paths[i]);
    for (size_t i = 0; i < sizeof OF_KIND / sizeof *OF_KIND; i++)
        if (mep_args_given(options, OF_KIND[i].name) && !OF_KIND[i].fits[*kind])
            return mep_cli_usage("plot", "%s cannot be used with %s", OF_KIND[i].name, whose[*kind]);
    if (job->biases.models.count > 0 && mep_args_given(options, "--heads"))
        return mep_cli_usage("plot", "--heads: the number of heads is that of --model; leave it out");
    int is_term = job->term != MEP_PLOT_BIAS;
    if (is_term && (job->biases.models.count != 1 || job->biases.specs.count > 0))
        return mep_cli_usage("plot", "--term %s is drawn for one --model", TERMS[job->term]);
    if (is_term ? mep_args_given(options, "--query-position") : mep_args_given(options, "--layer"))
        return mep_cli_usage("plot",
                             is_term ? "--query-position cannot be used with --term %s"
                                     : "--layer is for --term; the term %s is that of all layers",
                             TERMS[job->term]);
    job->runs.shown_count = job->shown.count;
    int code = mep_args_words("plot", "--show", &job->shown, mep_plot_metrics, job->runs.shown), losses = 0;
    for (int64_t i = 0; i < job->shown.count; i++) losses |= strstr(job->shown.values[i], "loss") != NULL;
    if (code == MEP_ARGS_GO && job->shown.count > 0 && !losses && mep_args_given(options, "--max-loss"))
        return mep_cli_usage("plot", "--max-loss is for pictures with a loss; --show names none");
    return code;
}

int mep_cli_plot(int argc, char **argv)
{
    plot_job job = {.limit = 10000, .biases = {.heads = 8, .floor = -20}};
    mep_option options[OPTIONS_MAX];
    list_options(&job, options);
    mep_usage usage = {
        .command = "plot",
        .arguments = "RUN ... | RESULTS.csv | --bias SPEC | --model FOLDER",
        .summary =
            "Draw the training of one run, or of several runs to compare them: losses, gradient norm and learning rate "
            "against the steps. Or draw perplexity against the length of the test text, from a table with the columns "
            "encoding, length and perplexity (the mean over seeds, with their standard deviation as error bars). Or "
            "draw curves of distance biases, including those that a model has learned. Needs gnuplot.",
        .notes =
            "Examples, after mep train --out runs/mep and mep compare --out runs/study:\n"
            "  mep plot runs/mep                                   one run: losses, gradient norm, learning rate\n"
            "  mep plot runs/mep runs/study/alibi-seed1235 --x-axis tokens    two runs: their losses in one picture\n"
            "  mep plot runs/study/*-seed1235 --show valid_loss    the runs of a study\n"
            "  mep plot runs/study/results.csv --train-length 512\n"
            "  mep plot --bias mep --bias alibi --bias kerple_log --heads 8 --max-distance 1K --out kernels.png\n"
            "  mep plot --model runs/study/mep_param-seed1235 --head 1,4,8    a learned bias\n"
            "  mep plot --bias fire:max=512 --query-position 512,2K,8K --head 4    a bias that depends on the query\n"
            "  mep plot --model runs/profiles --term profiles --layer 1,4    the profiles of two layers\n",
        .options = options,
        .max_arguments = MEP_ARGS_LIST};
    plot_kind kind = OF_RESULTS;
    int count, code = mep_args_parse(&usage, argc, argv, &count);
    if (code == MEP_ARGS_GO) code = check(&job, options, argv + 1, count, &kind);
    if (code != MEP_ARGS_GO) return code;
    char *png = NULL;
    mep_status status = draw(&job, kind, argv + 1, count, &png);
    if (status == MEP_OK) mep_cli_print(stdout, "%s\n", png);
    mep_free(&png);
    if (status == MEP_ERROR_ARGUMENT) return mep_cli_usage("plot", "%s", mep_error_message());
    return status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail("plot");
}
