/* SPDX-License-Identifier: MIT */
/*
 * Writing of data files and scripts, and the run of gnuplot.
 */
#define _GNU_SOURCE
#include "cli/gnuplot.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"

extern char **environ;

/* The files of one picture. `base` is the name without folder and ".png". */
typedef struct picture {
    char *folder, *base, *data, *script, *script_name;
} picture;

typedef struct range {
    double x_min, x_max, y_min, y_max;
} range;

/* Where the legend stands, and how high that makes the picture: the curves keep their room however many there are. */
typedef struct legend {
    int is_below;
    int64_t columns, height;
} legend;

enum { WIDTH = 1200, HEIGHT = 750 };

/* Okabe and Ito's colours, which readers of every colour vision tell apart, without their yellow; and marks of like
 * weight. */
static const char *const COLOURS[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#000000", "#888888"};
static const int MARKS[] = {7, 5, 9, 13, 11, 15, 6, 4};
enum { STYLES = 8 };

static void picture_free(picture *files)
{
    mep_free(&files->folder);
    mep_free(&files->base);
    mep_free(&files->data);
    mep_free(&files->script);
    mep_free(&files->script_name);
}

static mep_status picture_names(picture *files, const char *png)
{
    const char *slash = strrchr(png, '/'), *name = slash == NULL ? png : slash + 1;
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".png") != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: the name of a picture ends in .png", png);
    int folder = slash == NULL ? 0 : (int)(slash - png) + 1, stem = (int)length - 4;
    MEP_TRY(folder == 0 ? mep_copy_string(&files->folder, "./") : mep_format(&files->folder, "%.*s", folder, png));
    MEP_TRY(mep_format(&files->base, "%.*s", stem, name));
    MEP_TRY(mep_format(&files->data, "%.*s%s.dat", folder, png, files->base));
    MEP_TRY(mep_format(&files->script, "%.*s%s.gp", folder, png, files->base));
    return mep_format(&files->script_name, "%s.gp", files->base);
}

/* A string of gnuplot in single quotes: a quote is doubled, control characters become spaces. */
static void write_quoted(FILE *file, const char *text)
{
    fputc('\'', file);
    for (; *text != '\0'; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
    }
    fputc('\'', file);
}

/* BASE and the ending, quoted. */
static void write_name(FILE *file, const picture *files, const char *ending)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", files->base, ending);
    write_quoted(file, name);
}

static mep_status close_file(FILE *file, const char *path)
{
    int failed = ferror(file);
    if (fclose(file) != 0 || failed) return mep_fail_errno("write", path);
    return MEP_OK;
}

/* One block a line of the picture, two empty lines between blocks (gnuplot's "index"). */
static mep_status write_data(const picture *files, const mep_plot *plot, const char *columns)
{
    FILE *file = fopen(files->data, "w");
    if (file == NULL) return mep_fail_errno("write", files->data);
    fprintf(file, "# %s\n", columns);
    for (int64_t n = 0; n < plot->count; n++) {
        const mep_plot_line *line = &plot->lines[n];
        fprintf(file, "%s# ", n == 0 ? "" : "\n\n");
        write_quoted(file, line->label);
        fputc('\n', file);
        for (int64_t i = 0; i < line->count; i++)
            fprintf(file, "%.10g %.10g %.6g\n", line->x[i], line->y[i], line->error == NULL ? 0.0 : line->error[i]);
    }
    return close_file(file, files->data);
}

/* What the y axis shows beyond its lowest and highest value: a share of what lies between them, and enough for a script
 * with six digits to tell its ends apart. */
static double margin_of(double low, double high, double share)
{
    double margin = fmax(share * (high - low), 1e-3 * fmax(fabs(low), fabs(high)));
    return margin > 0 ? margin : 1;
}

/* Bounds of the points that are shown; MEP_ERROR_ARGUMENT when there is none. */
static mep_status find_range(const mep_plot *plot, double y_limit, range *bounds)
{
    *bounds = (range){INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int64_t n = 0; n < plot->count; n++)
        for (int64_t i = 0; i < plot->lines[n].count; i++) {
            double x = plot->lines[n].x[i], y = plot->lines[n].y[i];
            double error = plot->lines[n].error == NULL ? 0 : plot->lines[n].error[i];
            if (!isfinite(y) || y > y_limit) continue;
            bounds->x_min = fmin(bounds->x_min, x);
            bounds->x_max = fmax(bounds->x_max, x);
            bounds->y_min = fmin(bounds->y_min, y > error ? y - error : y);
            bounds->y_max = fmax(bounds->y_max, y + error);
        }
    if (bounds->x_min <= bounds->x_max) return MEP_OK;
    if (!(plot->limit > 0)) return mep_fail(MEP_ERROR_ARGUMENT, "there is no finite value to plot");
    return mep_fail(MEP_ERROR_ARGUMENT, "there is no finite value of at most %g to plot", plot->limit);
}

/* The legend stands to the right; long names go below, where they do not eat the picture's width. In pixels: a row of
 * it is 32 high, a name 100 wide and 12 a character. */
static legend find_legend(const mep_plot *plot)
{
    int64_t longest = 0;
    for (int64_t n = 0; n < plot->count; n++) {
        int64_t length = (int64_t)strlen(plot->lines[n].label);
        if (length > longest) longest = length;
    }
    legend l = {.is_below = longest > 18, .columns = 1};
    if (!l.is_below) {
        l.height = 160 + 32 * plot->count > HEIGHT ? 160 + 32 * plot->count : HEIGHT;
        return l;
    }
    l.columns = 1100 / (100 + 12 * longest) > 1 ? 1100 / (100 + 12 * longest) : 1;
    int64_t rows = (plot->count + l.columns - 1) / l.columns;
    l.height = HEIGHT + 32 * (rows > 3 ? rows - 3 : 0);
    return l;
}

static void write_legend(FILE *file, const legend *l)
{
    if (l->is_below)
        fprintf(file,
                "set key outside center bottom horizontal maxcols %lld title ' ' font ',15' Left reverse samplen 2.5 "
                "spacing 1.35\nset rmargin 5\n",
                (long long)l->columns);
    else
        fputs("set key outside right top Left reverse samplen 2.5 spacing 1.35\n", file);
}

static void write_frame(FILE *file, const picture *files, const mep_plot *plot)
{
    legend l = find_legend(plot);
    fprintf(file, "# Restyle at will; run it in its folder: gnuplot %s\n", files->script_name);
    fprintf(file,
            "set terminal pngcairo size %d,%lld noenhanced background '#ffffff' font 'DejaVu Sans,15' linewidth 1.5\n"
            "set encoding utf8\nset output ",
            WIDTH, (long long)l.height);
    write_name(file, files, ".png");
    fputs("\nset title ", file);
    write_quoted(file, plot->title);
    fputs(" font 'DejaVu Sans,18' offset 0,0.6\n"
          "set border 3 linecolor '#444444'\nset tics nomirror out scale 0.6 textcolor '#222222'\n"
          "set grid xtics ytics linetype 1 linewidth 0.6 linecolor '#dddddd'\n"
          "set style data linespoints\n",
          file);
    write_legend(file, &l);
    for (int i = 0; i < STYLES; i++)
        fprintf(file, "set linetype %d linecolor '%s' pointtype %d pointsize 1.3 linewidth 2\n", i + 1, COLOURS[i],
                MARKS[i]);
    for (int i = 0; i < STYLES; i++)
        fprintf(file, "set linetype %d linecolor '%s' pointtype %d pointsize 1.3 linewidth 2 dashtype 2\n",
                STYLES + i + 1, COLOURS[i], MARKS[(i + 1) % STYLES]);
}

/* Ticks at the powers of two. */
static void write_length_axis(FILE *file, const range *bounds)
{
    double low = pow(2, ceil(log2(bounds->x_min) - 1e-9)), high = bounds->x_max * (1 + 1e-9);
    fprintf(file, "set logscale x 2\nset xrange [%.6g:%.6g]\nset xtics (", bounds->x_min / 1.12, bounds->x_max * 1.12);
    char text[24];
    int count = 0;
    for (double x = low; x <= high; x *= 2) {
        mep_length_text((int64_t)x, text);
        fprintf(file, "%s'%s' %.0f", count++ == 0 ? "" : ", ", text, x);
    }
    if (count == 0) fprintf(file, "'%.0f' %.0f", bounds->x_min, bounds->x_min);
    fputs(")\n", file);
}

/* Ticks of a logarithmic axis at 1, 2, 3, 4, 5, 6, 8 times the powers of ten, fewer when the range is wide. */
static void write_log_axis(FILE *file, const range *bounds)
{
    static const double dense[] = {1, 1.5, 2, 3, 4, 5, 6, 8, 0}, wide[] = {1, 2, 5, 0}, widest[] = {1, 0};
    double ratio = bounds->y_max / bounds->y_min;
    const double *steps = ratio < 25 ? dense : ratio < 2000 ? wide : widest;
    double low = bounds->y_min / 1.08, high = fmin(bounds->y_max * 1.08, DBL_MAX);
    int count = 0;
    fprintf(file, "set logscale y\nset yrange [%.6g:%.6g]\nset ytics (", low, high);
    for (int power = (int)floor(log10(bounds->y_min)); power <= log10(high); power++)
        for (const double *step = steps; *step != 0; step++) {
            double y = *step * pow(10, power);
            if (y < low || y > high) continue;
            fprintf(file, y < 1e6 ? "%s'%.10g' %.10g" : "%s'%.0e' %.10g", count++ == 0 ? "" : ", ", y, y);
        }
    fputs(")\n", file);
}

static void write_train_length(FILE *file, const mep_plot *plot, const range *bounds)
{
    char text[24];
    double x = (double)plot->train_length;
    if (x < bounds->x_min / 1.12 || x > bounds->x_max * 1.12) return;
    mep_length_text(plot->train_length, text);
    fprintf(file,
            "set arrow 1 from %.0f, graph 0 to %.0f, graph 1 nohead back dashtype (8,6) linewidth 1.2 linecolor "
            "'#555555'\n",
            x, x);
    fprintf(file,
            "set label 1 'training length %s' at %.0f, graph 1.025 left offset -0.6,0 textcolor '#555555' "
            "font 'DejaVu Sans,13'\n",
            text, x);
}

static int has_errors(const mep_plot_line *line)
{
    for (int64_t i = 0; line->error != NULL && i < line->count; i++)
        if (line->error[i] > 0) return 1;
    return 0;
}

/* The plot command; `shown` is the gnuplot expression for the y value, `style` how lines without error bars are drawn.
 */
static void write_lines(FILE *file, const picture *files, const mep_plot *plot, const char *shown, const char *style)
{
    fputs("data = ", file);
    write_name(file, files, ".dat");
    fputs("\nplot \\\n", file);
    for (int64_t n = 0; n < plot->count; n++) {
        int bars = has_errors(&plot->lines[n]);
        fprintf(file, "    data index %lld using 1:(%s)%s with %s linetype %lld title ", (long long)n, shown,
                bars ? ":3" : "", bars ? "yerrorlines" : style, (long long)(n % (2 * STYLES)) + 1);
        write_quoted(file, plot->lines[n].label);
        fputs(n + 1 < plot->count ? ", \\\n" : "\n", file);
    }
}

static mep_status write_perplexity_script(const picture *files, const mep_plot *plot)
{
    range bounds;
    double limit = plot->limit > 0 ? plot->limit : 1e300;
    MEP_TRY(find_range(plot, limit, &bounds));
    FILE *file = fopen(files->script, "w");
    if (file == NULL) return mep_fail_errno("write", files->script);
    write_frame(file, files, plot);
    write_length_axis(file, &bounds);
    double margin = margin_of(bounds.y_min, bounds.y_max, 0.05);
    if (bounds.y_min > 0 && bounds.y_max > 3 * bounds.y_min)
        write_log_axis(file, &bounds);
    else
        fprintf(file, "set yrange [%.6g:%.6g]\n", bounds.y_min - margin, bounds.y_max + margin);
    int bars = 0;
    for (int64_t n = 0; n < plot->count; n++) bars |= has_errors(&plot->lines[n]);
    fprintf(file, "set xlabel 'length of the test text (tokens)'\nset ylabel 'perplexity%s'\n",
            bars ? " (bars: standard deviation over seeds)" : "");
    if (plot->train_length > 0) write_train_length(file, plot, &bounds);
    fprintf(file, "limit = %g  # larger values, and infinite ones, are left out\n", limit);
    write_lines(file, files, plot, "$2 <= limit ? $2 : NaN", "linespoints");
    return close_file(file, files->script);
}

static mep_status write_kernels_script(const picture *files, const mep_plot *plot)
{
    range bounds;
    MEP_TRY(find_range(plot, INFINITY, &bounds));
    double low = plot->limit < 0 ? fmax(plot->limit, bounds.y_min) : bounds.y_min;
    double margin = margin_of(low, bounds.y_max, 0.03);
    FILE *file = fopen(files->script, "w");
    if (file == NULL) return mep_fail_errno("write", files->script);
    write_frame(file, files, plot);
    fprintf(file, "set xrange [%.10g:%.10g]\nset yrange [%.6g:%.6g]\n", bounds.x_min,
            bounds.x_max > bounds.x_min ? bounds.x_max : bounds.x_min + 1, low - (low > bounds.y_min ? 0 : margin),
            bounds.y_max + margin);
    fputs("set xlabel 'distance d between query and key (tokens)'\nset ylabel 'bias b(d) on the attention logit "
          "(nats)'\n",
          file);
    if (plot->train_length > 0) write_train_length(file, plot, &bounds);
    write_lines(file, files, plot, "$2", "lines");
    return close_file(file, files->script);
}

/* Run gnuplot on the script, in its folder. Its own messages go to stderr. */
static mep_status run_gnuplot(const picture *files)
{
    char command[] = "gnuplot";
    char *arguments[] = {command, files->script_name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int state = 0, error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        error = posix_spawn_file_actions_addchdir_np(&actions, files->folder);
        if (error == 0) error = posix_spawnp(&child, command, &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (error == ENOENT)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "gnuplot was not found: install it (Debian: apt-get install gnuplot-nox); %s and %s are kept",
                        files->data, files->script);
    if (error != 0) return mep_fail(MEP_ERROR_IO, "cannot start gnuplot: %s", strerror(error));
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR) return mep_fail_errno("wait for", command);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return mep_fail(MEP_ERROR_IO, "gnuplot failed on %s; its message stands above", files->script);
    return MEP_OK;
}

static mep_status draw(const char *png, const mep_plot *plot, const char *columns,
                       mep_status (*write_script)(const picture *files, const mep_plot *plot))
{
    picture files = {0};
    mep_status status;
    MEP_TRY_OR(status, picture_names(&files, png), end);
    MEP_TRY_OR(status, write_data(&files, plot, columns), end);
    MEP_TRY_OR(status, write_script(&files, plot), end);
    status = run_gnuplot(&files);
end:
    picture_free(&files);
    return status;
}

mep_status mep_plot_perplexity(const char *png, const mep_plot *plot)
{
    return draw(png, plot, "length  perplexity  standard deviation over seeds", write_perplexity_script);
}

mep_status mep_plot_kernels(const char *png, const mep_plot *plot)
{
    return draw(png, plot, "distance  bias", write_kernels_script);
}
