/* SPDX-License-Identifier: MIT */
/*
 * mep plot: a table of results as a picture of perplexity against length, or the curves of distance biases.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/csv.h"
#include "cli/gnuplot.h"
#include "mep/bias.h"

enum { MAX_LINES = MEP_ARGS_LIST, MAX_POINTS = 1000, HEAD_DIM = 64 };

/* A picture in the making: the lines with the memory that they point to. */
typedef struct plot_drawing {
    mep_plot_line lines[MAX_LINES];
    char *labels[MAX_LINES];
    double *x[MAX_LINES], *y[MAX_LINES], *error[MAX_LINES];
    int64_t count;
} plot_drawing;

static void drawing_free(plot_drawing *drawing)
{
    for (int64_t n = 0; n < MAX_LINES; n++) {
        mep_free(&drawing->labels[n]);
        mep_free(&drawing->x[n]);
        mep_free(&drawing->y[n]);
        mep_free(&drawing->error[n]);
    }
}

/* Begin a line with room for `points` points and no point yet; it is drawing->lines[drawing->count - 1]. */
static mep_status add_line(plot_drawing *drawing, const char *label, int64_t points)
{
    int64_t n = drawing->count;
    if (n == MAX_LINES) return mep_fail(MEP_ERROR_ARGUMENT, "more than %d lines in one picture", MAX_LINES);
    MEP_TRY(mep_copy_string(&drawing->labels[n], label));
    MEP_TRY(mep_alloc(&drawing->x[n], points, sizeof(double)));
    MEP_TRY(mep_alloc(&drawing->y[n], points, sizeof(double)));
    MEP_TRY(mep_alloc(&drawing->error[n], points, sizeof(double)));
    drawing->lines[n] = (mep_plot_line){drawing->labels[n], 0, drawing->x[n], drawing->y[n], drawing->error[n]};
    drawing->count++;
    return MEP_OK;
}

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
        return mep_fail(MEP_ERROR_FORMAT, "%s: row %lld, column %s: \"%s\" is no number", path, (long long)row + 2,
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
    MEP_TRY(mep_alloc(&results->lengths, rows, sizeof(double)));
    MEP_TRY(mep_alloc(&results->perplexities, rows, sizeof(double)));
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

/* Mean and standard deviation (n - 1) over the seeds of one encoding at one length. */
static void add_mean(const result_table *results, const char *encoding, double length, plot_drawing *drawing)
{
    int64_t n = drawing->count - 1, point = drawing->lines[n].count++, seeds = 0;
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
    drawing->x[n][point] = length;
    drawing->y[n][point] = mean;
    drawing->error[n][point] = seeds > 1 && isfinite(squares) ? sqrt(squares / (double)(seeds - 1)) : 0;
}

/* The line of the encoding of row `first`: its lengths in ascending order. */
static mep_status add_encoding(const result_table *results, int64_t first, plot_drawing *drawing)
{
    const char *encoding = mep_csv_cell(&results->csv, first, results->encoding);
    MEP_TRY(add_line(drawing, encoding, results->csv.rows));
    for (double last = 0, next = 0; next < INFINITY; last = next) {
        next = INFINITY;
        for (int64_t row = 0; row < results->csv.rows; row++) {
            double length = results->lengths[row];
            if (length > last && length < next && same_encoding(results, row, encoding)) next = length;
        }
        if (next < INFINITY) add_mean(results, encoding, next, drawing);
    }
    return MEP_OK;
}

/* A line for each encoding, in the order of first appearance. */
static mep_status draw_results(const char *path, plot_drawing *drawing)
{
    result_table results = {0};
    mep_status status = results_read(&results, path);
    for (int64_t row = 0; status == MEP_OK && row < results.csv.rows; row++) {
        int is_new = 1;
        for (int64_t n = 0; n < drawing->count; n++) is_new &= !same_encoding(&results, row, drawing->labels[n]);
        if (is_new) status = add_encoding(&results, row, drawing);
    }
    results_free(&results);
    return status;
}

/* ---- Curves of biases ---- */

/* Heads to show where none are named: the middle one for several biases, up to eight for a single one. Heads count
 * from 1. */
static void default_heads(int64_t biases, int64_t heads, mep_lengths *shown)
{
    int64_t count = biases > 1 ? 1 : heads < 8 ? heads : 8;
    shown->count = count;
    for (int64_t i = 0; i < count; i++)
        shown->values[i] = count == 1 ? (heads + 1) / 2 : 1 + i * (heads - 1) / (count - 1);
}

/* The spec, the head, or both: what tells the lines of one picture apart. Freed by the caller. */
static mep_status curve_label(char **label, const mep_texts *specs, const mep_lengths *shown, int64_t spec,
                              int64_t head)
{
    if (shown->count == 1) return mep_copy_string(label, specs->values[spec]);
    if (specs->count == 1) return mep_format(label, "head %lld", (long long)shown->values[head]);
    return mep_format(label, "%s, head %lld", specs->values[spec], (long long)shown->values[head]);
}

static mep_status bias_title(char **title, const mep_texts *specs, const mep_lengths *shown, int64_t heads)
{
    const char *name = specs->count == 1 ? specs->values[0] : "Distance biases";
    if (shown->count == 1)
        return mep_format(title, "%s, head %lld of %lld", name, (long long)shown->values[0], (long long)heads);
    return mep_format(title, "%s, %lld heads", name, (long long)heads);
}

/* The lines of bias number `spec`, one a head that is shown. */
static mep_status add_curves(plot_drawing *drawing, const mep_bias *bias, const mep_texts *specs, int64_t spec,
                             const mep_lengths *shown, const int64_t *distances, int64_t count)
{
    double *values = NULL;
    int64_t size;
    MEP_TRY(mep_multiply(mep_bias_heads(bias), count, 1, &size));
    MEP_TRY(mep_alloc(&values, size, sizeof *values));
    mep_status status = mep_bias_at(bias, distances, count, values);
    for (int64_t i = 0; status == MEP_OK && i < shown->count; i++) {
        char *label = NULL;
        MEP_TRY_OR(status, curve_label(&label, specs, shown, spec, i), end);
        status = add_line(drawing, label, count);
        mep_free(&label);
        if (status != MEP_OK) break;
        int64_t n = drawing->count - 1;
        drawing->lines[n].count = count;
        for (int64_t k = 0; k < count; k++) {
            drawing->x[n][k] = (double)distances[k];
            drawing->y[n][k] = values[(shown->values[i] - 1) * count + k];
        }
    }
end:
    mep_free(&values);
    return status;
}

static mep_status draw_biases(const mep_texts *specs, int64_t heads, const mep_lengths *shown, int64_t max_distance,
                              plot_drawing *drawing)
{
    int64_t distances[MAX_POINTS], count = max_distance < MAX_POINTS ? max_distance + 1 : MAX_POINTS;
    for (int64_t k = 0; k < count; k++)
        distances[k] = (int64_t)((double)k * (double)max_distance / (double)(count > 1 ? count - 1 : 1) + 0.5);
    for (int64_t i = 0; i < specs->count; i++) {
        mep_bias *bias = NULL;
        MEP_TRY(mep_bias_create(&bias, specs->values[i], heads, HEAD_DIM));
        mep_status status = add_curves(drawing, bias, specs, i, shown, distances, count);
        mep_bias_destroy(&bias);
        MEP_TRY(status);
    }
    return MEP_OK;
}

/* ---- The subcommand ---- */

typedef struct plot_options {
    const char *out, *title;
    int64_t train_length, heads, max_distance;
    double limit;
    mep_texts biases;
    mep_lengths shown;
} plot_options;

/* "results.csv" gives "results.png". Freed by the caller. */
static mep_status default_name(const char *path, char **png)
{
    size_t length = strlen(path), ending = length > 4 && strcmp(path + length - 4, ".csv") == 0 ? 4 : 0;
    return mep_format(png, "%.*s.png", (int)(length - ending), path);
}

static mep_status plot_results(const plot_options *o, const char *path, plot_drawing *drawing, char **png)
{
    MEP_TRY(o->out != NULL ? mep_copy_string(png, o->out) : default_name(path, png));
    MEP_TRY(draw_results(path, drawing));
    mep_plot plot = {.title = o->title != NULL ? o->title : "Perplexity on text longer than the training length",
                     .lines = drawing->lines,
                     .count = drawing->count,
                     .train_length = o->train_length,
                     .limit = o->limit};
    return mep_plot_perplexity(*png, &plot);
}

static mep_status plot_biases(plot_options *o, plot_drawing *drawing, char **png)
{
    MEP_TRY(mep_copy_string(png, o->out != NULL ? o->out : "bias.png"));
    if (o->shown.count == 0) default_heads(o->biases.count, o->heads, &o->shown);
    MEP_TRY(draw_biases(&o->biases, o->heads, &o->shown, o->max_distance, drawing));
    char *title = NULL;
    MEP_TRY(o->title != NULL ? mep_copy_string(&title, o->title) : bias_title(&title, &o->biases, &o->shown, o->heads));
    mep_plot plot = {.title = title,
                     .lines = drawing->lines,
                     .count = drawing->count,
                     .train_length = o->train_length,
                     .limit = o->limit};
    mep_status status = mep_plot_kernels(*png, &plot);
    mep_free(&title);
    return status;
}

/* Mistakes that the table of options cannot see. */
static int check(const plot_options *o, const mep_option *options, int count)
{
    if ((count == 1) == (o->biases.count > 0)) return mep_cli_usage("plot", "give either a table of results or --bias");
    for (int64_t i = 0; i < o->shown.count; i++)
        if (o->shown.values[i] > o->heads)
            return mep_cli_usage("plot", "--head: there is no head %lld of %lld", (long long)o->shown.values[i],
                                 (long long)o->heads);
    static const char *const of_biases[] = {"--heads", "--head", "--max-distance", "--floor"};
    for (int i = 0; i < 4; i++)
        if (count == 1 && mep_args_given(options, of_biases[i]))
            return mep_cli_usage("plot", "%s goes with --bias", of_biases[i]);
    if (count == 0 && mep_args_given(options, "--limit"))
        return mep_cli_usage("plot", "--limit goes with a table of results");
    return MEP_ARGS_GO;
}

int mep_cli_plot(int argc, char **argv)
{
    plot_options o = {.heads = 8, .max_distance = 512};
    double limit = 10000, lowest = -20;
    mep_option options[] = {
        MEP_OPT_TEXT("--out", 'o', "FILE.png", &o.out, "the picture; its data and script are written beside it"),
        MEP_OPT_TEXT("--title", 0, "TEXT", &o.title, "title of the picture"),
        MEP_OPT_LENGTH("--train-length", 0, "L", &o.train_length, 1, 1LL << 31, "mark this length by a vertical line"),
        MEP_OPT_GROUP("Results"),
        MEP_OPT_REAL("--limit", 0, "P", &limit, 1, INFINITY, "leave out perplexities above this"),
        MEP_OPT_GROUP("Curves of biases"),
        MEP_OPT_TEXTS("--bias", 'b', "SPEC", &o.biases,
                      "bias to draw, as `mep bias` takes it; repeat it, or separate by ';'"),
        MEP_OPT_INT("--heads", 0, "N", &o.heads, 1, 4096, "number of heads"),
        MEP_OPT_LENGTHS("--head", 0, "H,..", &o.shown, 1, 4096, "heads to show, from 1"),
        MEP_OPT_LENGTH("--max-distance", 0, "L", &o.max_distance, 1, 1LL << 31, "distances from 0 to this"),
        MEP_OPT_REAL("--floor", 0, "B", &lowest, -1e30, 0, "the lowest bias on the y axis; 0 shows all"),
        MEP_OPT_END,
    };
    mep_args_default(options, "--out", "results.csv gives results.png; biases give bias.png");
    mep_args_default(options, "--train-length", "");
    mep_args_default(options, "--head", "the middle one; eight of a single bias");
    mep_usage usage = {
        .command = "plot",
        .arguments = "[RESULTS.csv]",
        .summary =
            "Draw perplexity against the length of the test text from a table with the columns encoding, length and "
            "perplexity (the mean over its seeds, with their standard deviation as error bars), or the curves of "
            "distance biases. Needs gnuplot.",
        .notes = "Examples:\n"
                 "  mep plot results.csv --train-length 512\n"
                 "  mep plot --bias mep --bias alibi --bias kerple_log --heads 8 --max-distance 1K --out kernels.png\n",
        .options = options,
        .max_arguments = 1};
    int count, code = mep_args_parse(&usage, argc, argv, &count);
    if (code == MEP_ARGS_GO) code = check(&o, options, count);
    if (code != MEP_ARGS_GO) return code;
    o.limit = count == 1 ? limit : lowest;
    plot_drawing drawing = {0};
    char *png = NULL;
    mep_status status = count == 1 ? plot_results(&o, argv[1], &drawing, &png) : plot_biases(&o, &drawing, &png);
    if (status == MEP_OK) printf("%s\n", png);
    mep_free(&png);
    drawing_free(&drawing);
    return status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail("plot");
}
