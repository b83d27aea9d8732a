/* SPDX-License-Identifier: MIT */
/*
 * A picture of panels above each other, as a training run has them: losses, gradient norms, learning rates over one x
 * axis. Each panel's legend stands to its right.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cli/gnuplot.h"
#include "cli/picture.h"

/* Pixels. */
enum { LEFT = 115, RIGHT = 25, ABOVE = 95, BETWEEN = 48, BELOW = 80, TALL = 380, LOW = 170, ROW = 28, CHARACTER = 10 };
enum { MOST_TICKS = 20 };

/* Larger values, which no axis can hold, are left out of its range. */
static const double LARGEST = 1e300;

/* A panel can be logarithmic where no value that is shown is smaller than this part of the largest. */
static const double LINEAR_RATIO = 10;

typedef struct range {
    double low, high;
} range;

/* Where everything stands, in pixels from the upper left corner. */
typedef struct layout {
    int64_t width, height, right; /* `right`: where the curves end */
    int64_t top, bottom;          /* of the panel at hand */
} layout;

static void include(range *bounds, double value)
{
    if (!(fabs(value) <= LARGEST)) return;
    bounds->low = fmin(bounds->low, value);
    bounds->high = fmax(bounds->high, value);
}

static range x_range(const mep_plot_panels *plot)
{
    range bounds = {INFINITY, -INFINITY};
    for (int64_t p = 0; p < plot->count; p++)
        for (int64_t c = 0; c < plot->panels[p].count; c++) {
            const mep_plot_curve *curve = &plot->panels[p].curves[c];
            for (int64_t i = 0; i < curve->count; i++)
                if (curve->kind == MEP_CURVE_RUG || isfinite(curve->y[i])) include(&bounds, curve->x[i]);
        }
    return bounds;
}

static range y_range(const mep_plot_panel *panel)
{
    range bounds = {INFINITY, -INFINITY};
    for (int64_t c = 0; c < panel->count; c++) {
        const mep_plot_curve *curve = &panel->curves[c];
        for (int64_t i = 0; i < curve->count && curve->kind != MEP_CURVE_RUG; i++) {
            include(&bounds, curve->y[i]);
            if (curve->low == NULL) continue;
            include(&bounds, curve->low[i]);
            include(&bounds, curve->high[i]);
        }
    }
    if (panel->from_zero) include(&bounds, 0);
    if (panel->top > 0) bounds.high = fmin(bounds.high, fmax(panel->top, bounds.low));
    return bounds;
}

/* ---- The data ---- */

static void write_block(FILE *file, const mep_plot_panel *panel, const mep_plot_curve *curve)
{
    fputs("\n\n# ", file);
    mep_picture_quote(file, panel->title);
    fputs(": ", file);
    mep_picture_quote(file, curve->label != NULL ? curve->label : "");
    fputc('\n', file);
    for (int64_t i = 0; i < curve->count; i++) {
        fprintf(file, "%.10g", curve->x[i]);
        if (curve->kind != MEP_CURVE_RUG) fprintf(file, " %.10g", curve->y[i]);
        if (curve->low != NULL) fprintf(file, " %.10g %.10g", curve->low[i], curve->high[i]);
        fputc('\n', file);
    }
    if (curve->count == 0) fputs("NaN NaN\n", file); /* gnuplot counts no empty block */
}

/* One block a curve, panel by panel. */
static mep_status write_data(const mep_picture *files, const mep_plot_panels *plot)
{
    FILE *file;
    MEP_TRY(mep_picture_open_data(files, "x  y  [low  high]", &file));
    fputs("0 0 0 0\n", file); /* block 0, so that every curve begins with two empty lines */
    for (int64_t p = 0; p < plot->count; p++)
        for (int64_t c = 0; c < plot->panels[p].count; c++)
            write_block(file, &plot->panels[p], &plot->panels[p].curves[c]);
    return mep_picture_close(file, files->data);
}

/* ---- The script ---- */

static layout find_layout(const mep_plot_panels *plot)
{
    int64_t longest = 0, labels = 0;
    layout l = {.height = ABOVE + BELOW - BETWEEN, .top = ABOVE};
    for (int64_t p = 0; p < plot->count; p++) {
        int64_t top = l.height;
        l.height += BETWEEN + (plot->panels[p].is_tall ? TALL : LOW);
        labels = 0;
        for (int64_t c = 0; c < plot->panels[p].count; c++) {
            const char *label = plot->panels[p].curves[c].label;
            if (label == NULL) continue;
            int64_t length = (int64_t)strlen(label);
            longest = length > longest ? length : longest;
            labels++;
        }
        if (top + ROW * labels > l.height) l.height = top + ROW * labels;
    }
    int64_t legend = longest > 0 ? 80 + CHARACTER * longest : 0;
    l.width = MEP_PICTURE_WIDTH + (legend > 300 ? legend - 300 : 0);
    l.right = l.width - RIGHT - legend;
    return l;
}

/* 2500 as 2.5k: exact for the round numbers of ticks. */
static void write_tick(FILE *file, double x, int is_labelled)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    int unit = 0;
    double value = x;
    for (; value >= 1000 && unit < 4; unit++) value /= 1000;
    if (is_labelled)
        fprintf(file, "'%g%s' %.10g", value, units[unit], x);
    else
        fprintf(file, "'' %.10g", x);
}

/* Some seven round numbers; labelled below the last panel only. */
static void write_x_axis(FILE *file, const range *x, int is_labelled)
{
    double span = x->high > x->low ? x->high - x->low : 1, power = pow(10, floor(log10(span / 7)));
    double rough = span / 7 / power, step = (rough < 1.5 ? 1 : rough < 3.5 ? 2 : rough < 7.5 ? 5 : 10) * power;
    if (step < 1) step = 1;
    double low = x->low <= 0.1 * span ? 0 : x->low - 0.02 * span, high = x->high + (x->high > x->low ? 0.01 * span : 1);
    double first = ceil(low / step);
    fprintf(file, "set xrange [%.10g:%.10g]\nset xtics (", low, high);
    for (int i = 0; i < MOST_TICKS && (first + i) * step <= high; i++) {
        fputs(i == 0 ? "" : ", ", file);
        write_tick(file, (first + i) * step, is_labelled);
    }
    fputs(")\n", file);
}

static void write_y_axis(FILE *file, const mep_plot_panel *panel)
{
    range y = y_range(panel);
    if (!(y.low <= y.high)) y = (range){0, 1}; /* nothing is finite: an empty panel */
    int is_log = !panel->from_zero && y.low > 0 && y.high > LINEAR_RATIO * y.low;
    double margin = y.high > y.low ? 0.04 * (y.high - y.low) : y.high != 0 ? 0.1 * fabs(y.high) : 1;
    double low = is_log ? y.low / 1.1 : y.low - (panel->from_zero && y.low == 0 ? 0 : margin);
    double high = is_log ? y.high * 1.1 : y.high + margin;
    fprintf(file, "%s logscale y\nset yrange [%.10g:%.10g]\nbottom = %.10g\n", is_log ? "set" : "unset", low, high,
            low);
    if (is_log)
        mep_picture_log_ticks(file, low, high, panel->is_tall ? 12 : 6);
    else
        fputs("set ytics autofreq\n", file);
}

static void write_curve(FILE *file, const mep_plot_curve *curve, int64_t block)
{
    if (curve->low != NULL)
        fprintf(file,
                "    data index %lld using 1:3:4 with filledcurves fillcolor '%s' fillstyle transparent solid 0.25 "
                "noborder notitle, \\\n",
                (long long)block, mep_picture_colour(curve->style));
    fprintf(file, "    data index %lld using ", (long long)block);
    if (curve->kind == MEP_CURVE_RUG)
        fputs("1:(bottom) with points pointtype 2 pointsize 1 linewidth 1.5 linecolor '#c00000'", file);
    else if (curve->kind == MEP_CURVE_MARKED || curve->count == 1)
        fprintf(file, "1:2 with linespoints linetype %d pointsize 1", curve->style);
    else
        fprintf(file, "1:2 with lines linetype %d", curve->style);
    if (curve->label != NULL) {
        fputs(" title ", file);
        mep_picture_quote(file, curve->label);
    } else {
        fputs(" notitle", file);
    }
}

/* A panel between l->top and l->bottom; its first curve is block number `block` of the data. */
static void write_panel(FILE *file, const mep_plot_panel *panel, const layout *l, int64_t block)
{
    double height = (double)l->height;
    fprintf(file, "\nset tmargin at screen %.5f\nset bmargin at screen %.5f\n", 1 - (double)l->top / height,
            1 - (double)l->bottom / height);
    fprintf(file, "set key at screen %.5f, screen %.5f left top vertical Left reverse samplen 2 spacing 1.3\n",
            (double)l->right / (double)l->width, 1 - (double)(l->top - 10) / height);
    fputs("set label 1 ", file);
    mep_picture_quote(file, panel->title);
    fputs(" at graph 0, graph 1 left offset 0,0.7 textcolor '#222222'\n", file);
    write_y_axis(file, panel);
    fputs("plot \\\n", file);
    for (int64_t c = 0; c < panel->count; c++) {
        write_curve(file, &panel->curves[c], block + c);
        fputs(c + 1 < panel->count ? ", \\\n" : "\n", file);
    }
}

static mep_status write_script(const mep_picture *files, const mep_plot_panels *plot)
{
    FILE *file;
    range x = x_range(plot);
    if (!(x.low <= x.high)) return mep_fail(MEP_ERROR_FORMAT, "there is no finite value to plot");
    layout l = find_layout(plot);
    MEP_TRY(mep_picture_open_script(files, &file));
    mep_picture_frame(file, files, l.width, l.height);
    fprintf(file, "set lmargin at screen %.5f\nset rmargin at screen %.5f\nset format y '%%g'\n",
            (double)LEFT / (double)l.width, (double)l.right / (double)l.width);
    fputs("set multiplot\nset label 2 ", file);
    mep_picture_quote(file, plot->title);
    fprintf(file, " at screen %.5f, screen %.5f left font 'DejaVu Sans,18'\n", (double)LEFT / (double)l.width,
            1 - 34.0 / (double)l.height);
    for (int64_t p = 0, block = 1; p < plot->count; block += plot->panels[p++].count) {
        int is_last = p + 1 == plot->count;
        l.bottom = l.top + (plot->panels[p].is_tall ? TALL : LOW);
        write_x_axis(file, &x, is_last);
        if (is_last) {
            fputs("set xlabel ", file);
            mep_picture_quote(file, plot->x_title);
            fputc('\n', file);
        }
        write_panel(file, &plot->panels[p], &l, block);
        fputs("unset label 2\n", file);
        l.top = l.bottom + BETWEEN;
    }
    fputs("unset multiplot\n", file);
    return mep_picture_close(file, files->script);
}

mep_status mep_plot_stacked(const char *png, const mep_plot_panels *plot)
{
    mep_picture files = {0};
    mep_status status;
    MEP_TRY_OR(status, mep_picture_begin(&files, png), end);
    MEP_TRY_OR(status, write_data(&files, plot), end);
    MEP_TRY_OR(status, write_script(&files, plot), end);
    status = mep_picture_run(&files);
end:
    mep_picture_free(&files);
    return status;
}
