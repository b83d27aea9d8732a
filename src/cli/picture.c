/* SPDX-License-Identifier: MIT */
/*
 * The data and the variables of a picture, and the call of gnuplot.
 */
#define _GNU_SOURCE
#include "cli/picture.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/gnuplot_scripts.h"
#include "io/files.h"

extern char **environ;

/* The first words of the files, by which the program recognizes its own. */
static const char DATA_MARK[] = "# Data of ", SCRIPT_MARK[] = "# Restyle at will";

/* Larger values do not fit on an axis. */
static const double LARGEST = 1e300;

static const struct {
    const char *script, *columns;
} KINDS[] = {
    [MEP_PICTURE_PERPLEXITY] = {mep_gnuplot_perplexity, "length  perplexity  standard deviation over seeds"},
    [MEP_PICTURE_KERNELS] = {mep_gnuplot_kernels, "distance  bias"},
    [MEP_PICTURE_TRAINING] = {mep_gnuplot_training, "x  y  [low  high]"},
    [MEP_PICTURE_MEASURE] = {mep_gnuplot_measure, "x  value  standard error"},
    [MEP_PICTURE_HEAT] = {mep_gnuplot_heat, "column  row  value"},
};

typedef struct curve {
    char *label;
    int style;
    const char *kind;
    int64_t rows, points; /* points: rows that are drawn */
} curve;

typedef struct panel {
    mep_picture_panel settings;
    int64_t first; /* curve */
} panel;

/* A text that grows. */
typedef struct sink {
    FILE *file;
    char *text;
    size_t size;
} sink;

struct mep_picture {
    mep_picture_kind kind;
    char *folder, *name; /* "name" without folder and ".png" */
    char *data_path, *script_path, *script_name;
    sink data, variables;
    double limit;
    int has_value, has_bars;
    curve *curves;
    int64_t curve_count;
    panel *panels;
    int64_t panel_count;
};

/* ---- Files ---- */

/* A file that exists is of this program when it begins with `mark`. */
static mep_status refuse_foreign(const char *path, const char *mark)
{
    char start[32] = "";
    FILE *file = fopen(path, "rb");
    if (file == NULL) return MEP_OK; /* it does not exist, or writing it fails and says why */
    size_t size = fread(start, 1, strlen(mark), file);
    fclose(file);
    if (size == 0 || strcmp(start, mark) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_IO,
                    "%s exists and is not a file of this program; move it, or give the picture another name", path);
}

static mep_status name_files(mep_picture *p, const char *png)
{
    const char *slash = strrchr(png, '/'), *name = slash == NULL ? png : slash + 1;
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".png") != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: the name of a picture must end in .png", png);
    int folder = slash == NULL ? 0 : (int)(slash - png) + 1, stem = (int)length - 4;
    MEP_TRY(folder == 0 ? mep_copy_string(&p->folder, "./") : mep_format(&p->folder, "%.*s", folder, png));
    MEP_TRY(mep_format(&p->name, "%.*s", stem, name));
    MEP_TRY(mep_format(&p->data_path, "%.*s%s.dat", folder, png, p->name));
    MEP_TRY(mep_format(&p->script_path, "%.*s%s.gp", folder, png, p->name));
    return mep_format(&p->script_name, "%s.gp", p->name);
}

static mep_status sink_open(sink *s)
{
    s->file = open_memstream(&s->text, &s->size);
    return s->file != NULL ? MEP_OK : mep_fail(MEP_ERROR_MEMORY, "cannot allocate the text of a picture");
}

static void sink_free(sink *s)
{
    if (s->file != NULL) fclose(s->file);
    free(s->text);
}

/* Write what was collected to a file. */
static mep_status sink_write(sink *s, const char *path)
{
    int failed = ferror(s->file) || fclose(s->file) != 0;
    s->file = NULL;
    if (failed) return mep_fail(MEP_ERROR_MEMORY, "cannot allocate the text of %s", path);
    return mep_file_write_atomic(path, s->text, (int64_t)s->size);
}

/* A string of gnuplot in single quotes: a quote is doubled, control characters become spaces. */
static void write_text(FILE *file, const char *text)
{
    fputc('\'', file);
    for (; *text != '\0'; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
    }
    fputc('\'', file);
}

mep_status mep_picture_begin(mep_picture **picture, const char *png, mep_picture_kind kind)
{
    mep_picture *p = NULL;
    mep_status status;
    *picture = NULL;
    MEP_TRY(MEP_ALLOC(&p, 1));
    p->kind = kind;
    p->limit = LARGEST;
    MEP_TRY_OR(status, name_files(p, png), failed);
    MEP_TRY_OR(status, refuse_foreign(p->data_path, DATA_MARK), failed);
    MEP_TRY_OR(status, refuse_foreign(p->script_path, SCRIPT_MARK), failed);
    MEP_TRY_OR(status, sink_open(&p->data), failed);
    MEP_TRY_OR(status, sink_open(&p->variables), failed);
    fprintf(p->data.file, "%s%s.png: %s\n", DATA_MARK, p->name, KINDS[kind].columns);
    fprintf(p->variables.file, "%s; run it in its folder: gnuplot %s\n", SCRIPT_MARK, p->script_name);
    mep_picture_set_text(p, "name", p->name);
    *picture = p;
    return MEP_OK;
failed:
    mep_picture_destroy(&p);
    return status;
}

void mep_picture_destroy(mep_picture **picture)
{
    mep_picture *p = *picture;
    if (p == NULL) return;
    for (int64_t i = 0; i < p->curve_count; i++) mep_free(&p->curves[i].label);
    sink_free(&p->data);
    sink_free(&p->variables);
    mep_free(&p->curves);
    mep_free(&p->panels);
    mep_free(&p->folder);
    mep_free(&p->name);
    mep_free(&p->data_path);
    mep_free(&p->script_path);
    mep_free(&p->script_name);
    mep_free(picture);
}

/* ---- Data and variables ---- */

void mep_picture_set_text(mep_picture *p, const char *name, const char *text)
{
    fprintf(p->variables.file, "%s = ", name);
    write_text(p->variables.file, text);
    fputc('\n', p->variables.file);
}

void mep_picture_set_number(mep_picture *p, const char *name, double number)
{
    fprintf(p->variables.file, "%s = %.10g\n", name, number);
}

void mep_picture_set_limit(mep_picture *p, double limit)
{
    if (limit > 0) p->limit = fmin(limit, LARGEST);
    mep_picture_set_number(p, "limit", p->limit);
}

mep_status mep_picture_add_panel(mep_picture *p, const mep_picture_panel *settings)
{
    MEP_TRY(MEP_GROW(&p->panels, p->panel_count, p->panel_count + 1));
    p->panels[p->panel_count++] = (panel){*settings, p->curve_count};
    return MEP_OK;
}

/* gnuplot does not count a block without a row. */
static void end_block(mep_picture *p)
{
    if (p->curve_count > 0 && p->curves[p->curve_count - 1].rows == 0) fputs("NaN NaN NaN\n", p->data.file);
}

mep_status mep_picture_add_curve(mep_picture *p, const mep_picture_curve *settings)
{
    int64_t n = p->curve_count;
    FILE *file = p->data.file;
    char *label = NULL;
    MEP_TRY(mep_copy_string(&label, settings->label != NULL ? settings->label : ""));
    mep_status status = MEP_GROW(&p->curves, n, n + 1);
    if (status != MEP_OK) {
        mep_free(&label);
        return status;
    }
    end_block(p);
    fprintf(file, "%s# ", n == 0 ? "" : "\n\n");
    if (p->panel_count > 0) {
        write_text(file, p->panels[p->panel_count - 1].settings.heading);
        fputs(": ", file);
    }
    write_text(file, label);
    fputc('\n', file);
    p->curves[p->curve_count++] =
        (curve){.label = label,
                .style = settings->style > 0 ? settings->style : (int)(n % MEP_PICTURE_STYLES) + 1,
                .kind = settings->kind};
    return MEP_OK;
}

void mep_picture_add_row(mep_picture *p, const double *row, int count)
{
    curve *c = &p->curves[p->curve_count - 1];
    for (int i = 0; i < count; i++)
        if (isnan(row[i]))
            fprintf(p->data.file, "%snan", i == 0 ? "" : " ");
        else
            fprintf(p->data.file, "%s%.10g", i == 0 ? "" : " ", row[i]);
    fputc('\n', p->data.file);
    c->rows++;
    double y = count > 1 ? row[1] : 0;
    if (isfinite(y) && (p->kind == MEP_PICTURE_TRAINING || y <= p->limit)) p->has_value = 1;
    if (fabs(y) <= LARGEST && y <= p->limit) c->points++;
    if (p->kind == MEP_PICTURE_PERPLEXITY && count > 2 && row[2] > 0) p->has_bars = 1;
}

/* ---- The script ---- */

enum array { LABELS, STYLES, KIND, POINTS };

static void write_curves(const mep_picture *p, const char *name, enum array array)
{
    FILE *file = p->variables.file;
    fprintf(file, "array %s[%lld] = [", name, (long long)p->curve_count);
    for (int64_t i = 0; i < p->curve_count; i++) {
        const curve *c = &p->curves[i];
        if (i > 0) fputs(", ", file);
        if (array == LABELS || array == KIND)
            write_text(file, array == LABELS ? c->label : c->kind);
        else
            fprintf(file, "%lld", array == STYLES ? (long long)c->style : (long long)c->points);
    }
    fputs("]\n", file);
}

static void write_panels(const mep_picture *p)
{
    FILE *file = p->variables.file;
    long long count = p->panel_count;
    fprintf(file, "panels = %lld\narray headings[%lld] = [", count, count);
    for (int64_t i = 0; i < count; i++) {
        if (i > 0) fputs(", ", file);
        write_text(file, p->panels[i].settings.heading);
    }
    fprintf(file, "]\narray is_loss[%lld] = [", count);
    for (int64_t i = 0; i < count; i++) fprintf(file, i == 0 ? "%d" : ", %d", p->panels[i].settings.is_loss);
    fprintf(file, "]\narray from_zero[%lld] = [", count);
    for (int64_t i = 0; i < count; i++) fprintf(file, i == 0 ? "%d" : ", %d", p->panels[i].settings.from_zero);
    fprintf(file, "]\narray first[%lld] = [", count + 1);
    for (int64_t i = 0; i < count; i++) fprintf(file, "%lld, ", (long long)p->panels[i].first + 1);
    fprintf(file, "%lld]\n", (long long)p->curve_count + 1);
}

static void write_variables(mep_picture *p)
{
    fprintf(p->variables.file, "curves = %lld\n", (long long)p->curve_count);
    write_curves(p, "labels", LABELS);
    write_curves(p, "styles", STYLES);
    write_curves(p, "points", POINTS);
    if (p->kind == MEP_PICTURE_TRAINING) {
        write_curves(p, "kinds", KIND);
        write_panels(p);
    }
    if (p->kind == MEP_PICTURE_PERPLEXITY) mep_picture_set_number(p, "bars", p->has_bars);
}

/* `setting` is gnuplot code that runs before the script; NULL: none. */
static mep_status run_gnuplot(const mep_picture *p, char *setting)
{
    char command[] = "gnuplot", option[] = "-e";
    char *plain[] = {command, p->script_name, NULL}, *with_setting[] = {command, option, setting, p->script_name, NULL};
    char **arguments = setting == NULL ? plain : with_setting;
    posix_spawn_file_actions_t actions;
    pid_t child;
    setenv("LC_ALL", "C.UTF-8", 1); /* the script is UTF-8; in another locale gnuplot prints a warning */
    int state = 0, error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        error = posix_spawn_file_actions_addchdir_np(&actions, p->folder);
        if (error == 0) error = posix_spawnp(&child, command, &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (error == ENOENT)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "gnuplot was not found: install it (Debian: apt-get install gnuplot-nox); %s and %s are kept",
                        p->data_path, p->script_path);
    if (error != 0) return mep_fail(MEP_ERROR_IO, "cannot start gnuplot: %s", strerror(error));
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR) return mep_fail_errno("wait for", command);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return mep_fail(MEP_ERROR_IO, "gnuplot failed on %s; see its message above", p->script_path);
    return MEP_OK;
}

mep_status mep_picture_draw(mep_picture *p)
{
    if (!p->has_value && p->limit < LARGEST)
        return mep_fail(MEP_ERROR_FORMAT, "there is no finite value of at most %g to plot", p->limit);
    if (!p->has_value) return mep_fail(MEP_ERROR_FORMAT, "there is no finite value to plot");
    end_block(p);
    write_variables(p);
    fprintf(p->variables.file, "\n%s", KINDS[p->kind].script);
    MEP_TRY(sink_write(&p->data, p->data_path));
    MEP_TRY(sink_write(&p->variables, p->script_path));
    return run_gnuplot(p, NULL);
}

mep_status mep_picture_draw_both(mep_picture *p)
{
    char setting[] = "format = 'svg'";
    MEP_TRY(mep_picture_draw(p));
    return run_gnuplot(p, setting);
}
