/* SPDX-License-Identifier: MIT */
/*
 * Pictures of one plot: perplexity against length, and the curves of biases.
 */
#include "cli/gnuplot.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cli/args.h"
#include "cli/picture.h"

enum { MOST_TICKS = 14 };

typedef struct range {
    double x_min, x_max, y_min, y_max;
} range;

/* One block a line of the picture, two empty lines between blocks (gnuplot's "index"). */
static mep_status write_data(const mep_picture *files, const mep_plot *plot, const char *columns)
{
    FILE *file;
    MEP_TRY(mep_picture_open_data(files, columns, &file));
    for (int64_t n = 0; n < plot->count; n++) {
        const mep_plot_line *line = &plot->lines[n];
        fprintf(file, "%s# ", n == 0 ? "" : "\n\n");
        mep_picture_quote(file, line->label);
        fputc('\n', file);
        for (int64_t i = 0; i < line->count; i++)
            fprintf(file, "%.10g %.10g %.6g\n", line->x[i], line->y[i], line->error == NULL ? 0.0 : line->error[i]);
    }
    return mep_picture_close(file, files->data);
}

/* What the y axis shows beyond its lowest and highest value: a share of what lies between them, and enough for a script
 * with six digits to tell its ends apart. */
static double margin_of(double low, double high, double share)
{
    double margin = fmax(share * (high - low), 1e-3 * fmax(fabs(low), fabs(high)));
    return margin > 0 ? margin : 1;
}

/* Bounds of the points that are shown; MEP_ERROR_FORMAT when there is none. */
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
    if (!(plot->limit > 0)) return mep_fail(MEP_ERROR_FORMAT, "there is no finite value to plot");
    return mep_fail(MEP_ERROR_FORMAT, "there is no finite value of at most %g to plot", plot->limit);
}

static void write_legend(FILE *file, const mep_legend *l)
{
    if (l->is_below)
        fprintf(file,
                "set key outside center bottom horizontal maxcols %lld title ' ' font ',15' Left reverse samplen 2.5 "
                "spacing 1.35\nset rmargin 5\n",
                (long long)l->columns);
    else
        fputs("set key outside right top Left reverse samplen 2.5 spacing 1.35\n", file);
}

static void write_frame(FILE *file, const mep_picture *files, const mep_plot *plot)
{
    int64_t longest = 0;
    for (int64_t n = 0; n < plot->count; n++) {
        int64_t length = (int64_t)strlen(plot->lines[n].label);
        if (length > longest) longest = length;
    }
    mep_legend l = mep_legend_find(plot->count, longest);
    mep_picture_frame(file, files, MEP_PICTURE_WIDTH, l.height);
    fputs("set title ", file);
    mep_picture_quote(file, plot->title);
    fputs(" font 'DejaVu Sans,18' offset 0,0.6\nset style data linespoints\n", file);
    write_legend(file, &l);
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

static void write_log_axis(FILE *file, const range *bounds)
{
    double low = bounds->y_min / 1.08, high = fmin(bounds->y_max * 1.08, DBL_MAX);
    fprintf(file, "set logscale y\nset yrange [%.6g:%.6g]\n", low, high);
    mep_picture_log_ticks(file, low, high, MOST_TICKS);
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
static void write_lines(FILE *file, const mep_plot *plot, const char *shown, const char *style)
{
    fputs("plot \\\n", file);
    for (int64_t n = 0; n < plot->count; n++) {
        int bars = has_errors(&plot->lines[n]);
        int64_t type = plot->lines[n].style > 0 ? plot->lines[n].style : n % MEP_PICTURE_STYLES + 1;
        fprintf(file, "    data index %lld using 1:(%s)%s with %s linetype %lld title ", (long long)n, shown,
                bars ? ":3" : "", bars ? "yerrorlines" : style, (long long)type);
        mep_picture_quote(file, plot->lines[n].label);
        fputs(n + 1 < plot->count ? ", \\\n" : "\n", file);
    }
}

static const char *unit_of(const mep_plot *plot)
{
    return plot->unit != NULL ? plot->unit : "tokens";
}

static mep_status write_perplexity_script(const mep_picture *files, const mep_plot *plot)
{
    range bounds;
    double limit = plot->limit > 0 ? plot->limit : 1e300;
    MEP_TRY(find_range(plot, limit, &bounds));
    FILE *file;
    MEP_TRY(mep_picture_open_script(files, &file));
    write_frame(file, files, plot);
    write_length_axis(file, &bounds);
    double margin = margin_of(bounds.y_min, bounds.y_max, 0.05);
    if (bounds.y_min > 0 && bounds.y_max > 3 * bounds.y_min)
        write_log_axis(file, &bounds);
    else
        fprintf(file, "set yrange [%.6g:%.6g]\n", bounds.y_min - margin, bounds.y_max + margin);
    int bars = 0;
    for (int64_t n = 0; n < plot->count; n++) bars |= has_errors(&plot->lines[n]);
    fprintf(file, "set xlabel 'length of the test text (%s)'\nset ylabel 'perplexity%s'\n", unit_of(plot),
            bars ? " (bars: standard deviation over seeds)" : "");
    if (plot->train_length > 0) write_train_length(file, plot, &bounds);
    fprintf(file, "limit = %g  # larger values, and infinite ones, are left out\n", limit);
    write_lines(file, plot, "$2 <= limit ? $2 : NaN", "linespoints");
    return mep_picture_close(file, files->script);
}

static mep_status write_kernels_script(const mep_picture *files, const mep_plot *plot)
{
    range bounds;
    MEP_TRY(find_range(plot, INFINITY, &bounds));
    double low = plot->limit < 0 ? fmax(plot->limit, bounds.y_min) : bounds.y_min;
    double margin = margin_of(low, bounds.y_max, 0.03);
    FILE *file;
    MEP_TRY(mep_picture_open_script(files, &file));
    write_frame(file, files, plot);
    fprintf(file, "set xrange [%.10g:%.10g]\nset yrange [%.6g:%.6g]\n", bounds.x_min,
            bounds.x_max > bounds.x_min ? bounds.x_max : bounds.x_min + 1, low - (low > bounds.y_min ? 0 : margin),
            bounds.y_max + margin);
    fprintf(file,
            "set xlabel 'distance d between query and key (%s)'\nset ylabel 'bias b(d) on the attention logit "
            "(nats)'\n",
            unit_of(plot));
    if (plot->train_length > 0) write_train_length(file, plot, &bounds);
    write_lines(file, plot, "$2", "lines");
    return mep_picture_close(file, files->script);
}

static mep_status draw(const char *png, const mep_plot *plot, const char *columns,
                       mep_status (*write_script)(const mep_picture *files, const mep_plot *plot))
{
    mep_picture files = {0};
    mep_status status;
    MEP_TRY_OR(status, mep_picture_begin(&files, png), end);
    MEP_TRY_OR(status, write_data(&files, plot, columns), end);
    MEP_TRY_OR(status, write_script(&files, plot), end);
    status = mep_picture_run(&files);
end:
    mep_picture_free(&files);
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
