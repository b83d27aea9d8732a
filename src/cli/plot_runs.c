/* SPDX-License-Identifier: MIT */
/*
 * From the logs of runs to the curves of a picture.
 */
#define _XOPEN_SOURCE 700
#include "cli/plot_runs.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/picture.h"
#include "io/files.h"
#include "mep/study.h"

enum { LOSS, VALID_LOSS, GRAD_NORM, LEARNING_RATE, SPEED, METRICS };

const char *const mep_plot_metrics[] = {"loss", "valid_loss", "grad_norm", "learning_rate", "tokens_per_second", NULL};

static const struct {
    const char *title;
    size_t offset; /* in mep_metrics_step */
    int from_zero;
} METRIC[METRICS] = {
    {"training loss (nats per token)", offsetof(mep_metrics_step, loss), 0},
    {"validation loss (nats per token)", offsetof(mep_metrics_step, valid_loss), 0},
    {"gradient norm before clipping", offsetof(mep_metrics_step, grad_norm), 0},
    {"learning rate", offsetof(mep_metrics_step, learning_rate), 1},
    {"tokens per second", offsetof(mep_metrics_step, tokens_per_second), 1},
};

enum {
    POINTS = 100, /* of a curve of means, or somewhat fewer */
    NAME = 48     /* characters of a name in the legend */
};

typedef struct run {
    char *folder, *name;
    char position[MEP_POSITION_SIZE]; /* "" without train.json; the numbers are then 0 */
    mep_position *encoding;           /* the same parsed; NULL without train.json */
    int64_t steps, step_tokens, skipped;
    int style; /* line type, if there are several runs */
    mep_metrics metrics;
} run;

typedef struct drawing {
    const mep_plot_runs_options *options;
    run *runs;
    int64_t run_count, window; /* window: steps per point */
    int64_t panel_count, curve_count;
    mep_picture *picture;
} drawing;

static void drawing_free(drawing *d)
{
    for (int64_t i = 0; i < d->run_count; i++) {
        mep_free(&d->runs[i].folder);
        mep_free(&d->runs[i].name);
        mep_position_destroy(&d->runs[i].encoding);
        mep_metrics_free(&d->runs[i].metrics);
    }
    mep_free(&d->runs);
    mep_picture_destroy(&d->picture);
}

/* ---- Runs ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

int mep_plot_is_run(const char *path)
{
    return mep_folder_exists(path) || strcmp(last_part(path), "metrics.jsonl") == 0;
}

/* Shorten `text` to NAME bytes by removing characters from its middle. The caller frees *name. */
static mep_status shorten(char **name, const char *text)
{
    int64_t size = (int64_t)strlen(text), head = NAME / 2 - 2, tail = size - (NAME - head - 3);
    if (size <= NAME) return mep_copy_string(name, text);
    while (head > 0 && ((unsigned char)text[head] & 0xC0) == 0x80) head--;
    while (tail < size && ((unsigned char)text[tail] & 0xC0) == 0x80) tail++;
    return mep_format(name, "%.*s...%s", (int)head, text, text + tail);
}

/* The folder of a run from either form of its name, without slashes at the end. */
static mep_status find_folder(const char *path, char **folder)
{
    size_t length = strlen(path);
    if (!mep_folder_exists(path)) {
        length = (size_t)(last_part(path) - path);
        if (length == 0) return mep_copy_string(folder, ".");
    }
    while (length > 1 && path[length - 1] == '/') length--;
    return mep_format(folder, "%.*s", (int)length, path);
}

/* The name of a run is the last part of its path; "." is resolved first. */
static mep_status find_name(run *r)
{
    char *whole = NULL;
    const char *part = last_part(r->folder);
    if (part[0] == '.' || part[0] == '\0') whole = realpath(r->folder, NULL);
    mep_status status = mep_copy_string(&r->name, whole != NULL ? last_part(whole) : part);
    free(whole);
    return status;
}

static mep_status read_settings(run *r)
{
    mep_train_settings settings;
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, r->folder, "train.json"));
    int is_there = mep_file_exists(path);
    mep_free(&path);
    if (!is_there) return MEP_OK;
    MEP_TRY(mep_train_read_settings(r->folder, &settings));
    memcpy(r->position, settings.model.position_encoding, sizeof r->position);
    MEP_TRY(mep_position_create(&r->encoding, r->position));
    r->steps = settings.steps;
    return mep_multiply(settings.batch_size, settings.length, 1, &r->step_tokens);
}

static mep_status has_file(const char *folder, const char *name, int *found)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *found = mep_file_exists(path);
    mep_free(&path);
    return MEP_OK;
}

/* Report why a folder has no log to draw. */
static mep_status explain(const run *r)
{
    int is_run = 0, is_study = 0;
    MEP_TRY(has_file(r->folder, "train.json", &is_run));
    MEP_TRY(has_file(r->folder, "study.json", &is_study));
    if (is_run) return mep_fail(MEP_ERROR_FORMAT, "%s: the run has no step yet", r->folder);
    if (is_study)
        return mep_fail(MEP_ERROR_FORMAT, "%s is a study; name its runs, %s/ENCODING-seedN, or its results.csv",
                        r->folder, r->folder);
    return mep_fail(MEP_ERROR_FORMAT, "%s is not a training run: it has no metrics.jsonl", r->folder);
}

static mep_status read_run(run *r, const char *path)
{
    char *log = NULL;
    MEP_TRY(find_folder(path, &r->folder));
    MEP_TRY(find_name(r));
    MEP_TRY(mep_path_join(&log, r->folder, "metrics.jsonl"));
    mep_status status = mep_file_exists(log) ? mep_metrics_read(&r->metrics, log) : explain(r);
    mep_free(&log);
    MEP_TRY(status);
    for (int64_t i = 0; i < r->metrics.count; i++) r->skipped += r->metrics.steps[i].skipped;
    return read_settings(r);
}

/* Choose the line types of several runs. Runs of a study have those of their encodings, as in the pictures of the
 * study, dashed if an earlier run has the same encoding; other runs are numbered. */
static void choose_styles(drawing *d)
{
    for (int64_t i = 0; i < d->run_count; i++) {
        run *r = &d->runs[i];
        int64_t index = r->position[0] != '\0' ? mep_study_encoding_index(r->folder, r->position) : -1;
        r->style = (int)((index >= 0 ? index : i) % MEP_PICTURE_STYLES) + 1;
        int is_again = 0;
        for (int64_t k = 0; k < i && index >= 0; k++) is_again |= mep_position_same(d->runs[k].encoding, r->encoding);
        if (is_again && r->style <= MEP_PICTURE_COLORS) r->style += MEP_PICTURE_COLORS;
    }
}

static int64_t last_step(const run *r)
{
    return r->metrics.steps[r->metrics.count - 1].step;
}

/* The smallest window of 1, 2 or 5 times a power of ten steps for which `steps` steps give at most `points` points. */
static int64_t choose_window(int64_t steps, int64_t points)
{
    static const int64_t digits[] = {1, 2, 5};
    int64_t needed = steps / points + (steps % points != 0);
    for (int64_t power = 1; power <= INT64_MAX / 10; power *= 10)
        for (int i = 0; i < 3; i++)
            if (digits[i] * power >= needed) return digits[i] * power;
    return needed;
}

/* ---- Curves ---- */

static double metric_of(const mep_metrics_step *step, int metric)
{
    double value;
    memcpy(&value, (const char *)step + METRIC[metric].offset, sizeof value);
    return value;
}

static double x_of(const drawing *d, const run *r, double step)
{
    return d->options->by_tokens ? step * (double)r->step_tokens : step;
}

static mep_status add_curve(drawing *d, const char *label, int style, const char *kind)
{
    d->curve_count++;
    return mep_picture_add_curve(d->picture, &(mep_picture_curve){.label = label, .style = style, .kind = kind});
}

/* The row of the window that begins at step i of the log: mean, lowest and highest of its finite values, all NaN where
 * there is none. Returns the first step after the window. */
static int64_t add_window(drawing *d, const run *r, int metric, int64_t i, int has_band)
{
    const mep_metrics *m = &r->metrics;
    int64_t window = (m->steps[i].step - 1) / d->window, finite = 0, count = 0;
    double steps = 0, sum = 0, low = INFINITY, high = -INFINITY;
    for (; i < m->count && (m->steps[i].step - 1) / d->window == window; i++, count++) {
        double value = metric_of(&m->steps[i], metric);
        steps += (double)m->steps[i].step;
        if (!isfinite(value)) continue;
        sum += value;
        low = fmin(low, value);
        high = fmax(high, value);
        finite++;
    }
    double row[] = {x_of(d, r, steps / (double)count), NAN, NAN, NAN};
    if (finite > 0) {
        row[1] = sum / (double)finite;
        row[2] = low;
        row[3] = high;
    }
    mep_picture_add_row(d->picture, row, has_band ? 4 : 2);
    return i;
}

/* The means over windows of steps, with a band from the lowest to the highest value where `has_band`. A window without
 * a finite value interrupts the curve. */
static mep_status add_means(drawing *d, const run *r, int metric, const char *label, int style, int has_band)
{
    has_band = has_band && d->window > 1;
    MEP_TRY(add_curve(d, label, style, has_band ? "band" : "line"));
    for (int64_t i = 0; i < r->metrics.count;) i = add_window(d, r, metric, i, has_band);
    return MEP_OK;
}

/* The validation losses: of one corpus of a mixture, or the mean (corpus -1). */
static mep_status add_valid(drawing *d, const run *r, int64_t corpus, const char *label, int style)
{
    const mep_metrics *m = &r->metrics;
    MEP_TRY(add_curve(d, label, style, "marks"));
    for (int64_t i = 0; i < m->count; i++) {
        double loss = corpus < 0 ? m->steps[i].valid_loss : m->valid_losses[i * m->corpus_count + corpus];
        double row[] = {x_of(d, r, (double)m->steps[i].step), loss};
        if (isfinite(loss)) mep_picture_add_row(d->picture, row, 2);
    }
    return MEP_OK;
}

static int has_valid(const run *r)
{
    for (int64_t i = 0; i < r->metrics.count; i++)
        if (isfinite(r->metrics.steps[i].valid_loss)) return 1;
    return 0;
}

/* Add the validation losses of a run: the mean, and each corpus of a mixture. */
static mep_status add_all_valid(drawing *d, const run *r, int style)
{
    const mep_metrics *m = &r->metrics;
    if (!has_valid(r)) return MEP_OK;
    MEP_TRY(add_valid(d, r, -1, m->corpus_count > 0 ? "validation, mean" : "validation", style));
    for (int64_t i = 0; i < m->corpus_count; i++) {
        char *label = NULL;
        MEP_TRY(shorten(&label, last_part(m->corpora[i])));
        mep_status status = add_valid(d, r, i, label, (int)((style + i) % MEP_PICTURE_STYLES) + 1);
        mep_free(&label);
        MEP_TRY(status);
    }
    return MEP_OK;
}

/* Add the skipped steps of a run as crosses. */
static mep_status add_skipped(drawing *d, const run *r)
{
    char label[64];
    if (r->skipped == 0) return MEP_OK;
    snprintf(label, sizeof label, "skipped: %lld step%s", (long long)r->skipped, r->skipped == 1 ? "" : "s");
    MEP_TRY(add_curve(d, label, 1, "crosses"));
    for (int64_t i = 0; i < r->metrics.count; i++) {
        double x = x_of(d, r, (double)r->metrics.steps[i].step);
        if (r->metrics.steps[i].skipped) mep_picture_add_row(d->picture, &x, 1);
    }
    return MEP_OK;
}

/* ---- Panels ---- */

/* Add the curves of one run: its training with a band, and in the first panel the skipped steps. Validation losses are
 * in the panel of the training loss unless they have their own. */
static mep_status add_single(drawing *d, int metric, int is_first, int valid_is_apart)
{
    const run *r = d->runs;
    if (metric == VALID_LOSS) return add_all_valid(d, r, 2);
    const char *label = metric == LOSS ? "training" : NULL;
    MEP_TRY(add_means(d, r, metric, label, 1, metric != LEARNING_RATE));
    if (metric == LOSS && !valid_is_apart) MEP_TRY(add_all_valid(d, r, 2));
    return is_first ? add_skipped(d, r) : MEP_OK;
}

/* Add a curve of each run. Only the first panel has labels. */
static mep_status add_several(drawing *d, int metric, int is_first)
{
    for (int64_t i = 0; i < d->run_count; i++) {
        const run *r = &d->runs[i];
        const char *label = is_first ? r->name : NULL;
        if (metric == VALID_LOSS)
            MEP_TRY(add_valid(d, r, -1, label, r->style));
        else
            MEP_TRY(add_means(d, r, metric, label, r->style, 0));
    }
    return MEP_OK;
}

static mep_status add_panel(drawing *d, int metric, int valid_is_apart)
{
    int64_t first = d->curve_count;
    int is_loss = metric == LOSS || metric == VALID_LOSS, is_single = d->run_count == 1;
    int is_both = metric == LOSS && is_single && !valid_is_apart && has_valid(d->runs);
    mep_picture_panel panel = {.heading = is_both ? "loss (nats per token)" : METRIC[metric].title,
                               .is_loss = is_loss,
                               .from_zero = METRIC[metric].from_zero};
    MEP_TRY(mep_picture_add_panel(d->picture, &panel));
    MEP_TRY(is_single ? add_single(d, metric, d->panel_count == 0, valid_is_apart)
                      : add_several(d, metric, d->panel_count == 0));
    if (d->curve_count == first)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: the run has no validation losses to show", d->runs[0].folder);
    d->panel_count++;
    return MEP_OK;
}

/* The panels of a picture: the metrics that were asked for or, by default, the loss and what belongs to it. Validation
 * losses have a panel of their own where they would hide each other. */
static mep_status add_panels(drawing *d)
{
    int64_t shown[METRICS], count = 0;
    int valid = 0, valid_is_apart = d->run_count > 1;
    for (int64_t i = 0; i < d->run_count; i++) valid |= has_valid(&d->runs[i]);
    for (; count < d->options->shown_count; count++) {
        shown[count] = d->options->shown[count];
        valid_is_apart |= shown[count] == VALID_LOSS;
    }
    if (count == 0) {
        shown[count++] = LOSS;
        if (d->run_count == 1) {
            shown[count++] = GRAD_NORM;
            shown[count++] = LEARNING_RATE;
        } else if (valid) {
            shown[count++] = VALID_LOSS;
        }
    }
    for (int64_t i = 0; i < count; i++) MEP_TRY(add_panel(d, (int)shown[i], valid_is_apart));
    return MEP_OK;
}

/* ---- Names ---- */

static int same_position(const drawing *d)
{
    for (int64_t i = 1; i < d->run_count; i++)
        if (strcmp(d->runs[i].position, d->runs[0].position) != 0 &&
            !mep_position_same(d->runs[i].encoding, d->runs[0].encoding))
            return 0;
    return 1;
}

static mep_status rename_run(run *r, const char *name)
{
    mep_free(&r->name);
    return mep_copy_string(&r->name, name);
}

/* A note about a log whose last line is incomplete. */
static const char *damage_of(const run *r)
{
    return r->metrics.damaged_line > 0 ? ", last line damaged" : "";
}

/* The name of a run in the legend, with its encoding if `says_position`, and the number of skipped steps. */
static mep_status name_run(run *r, int says_position)
{
    char *part = NULL, *name = NULL, skipped[32] = "";
    if (r->skipped > 0) snprintf(skipped, sizeof skipped, ", %lld skipped", (long long)r->skipped);
    MEP_TRY(shorten(&part, r->name));
    mep_status status = mep_format(&name, "%s%s%.*s%s%s", part, says_position ? ", " : "", NAME,
                                   says_position ? r->position : "", skipped, damage_of(r));
    if (status == MEP_OK) status = rename_run(r, name);
    mep_free(&part);
    mep_free(&name);
    return status;
}

/* Choose names for the legend: the last part of each folder, or the complete path if two are equal; with the encoding
 * if the runs have different ones and the name does not contain it. */
static mep_status name_runs(drawing *d)
{
    int is_same = same_position(d), is_unclear = 0;
    for (int64_t i = 0; i < d->run_count; i++)
        for (int64_t k = 0; k < i; k++) is_unclear |= strcmp(d->runs[i].name, d->runs[k].name) == 0;
    for (int64_t i = 0; i < d->run_count; i++) {
        run *r = &d->runs[i];
        if (is_unclear) MEP_TRY(rename_run(r, r->folder));
        MEP_TRY(name_run(r, !is_same && strstr(r->name, r->position) == NULL));
    }
    return MEP_OK;
}

/* "mep-seed1 (mep): step 300 of 1000", "Training of 4 runs" */
static mep_status find_title(const drawing *d, char **title)
{
    const run *r = d->runs;
    char encoding[NAME + 8] = "", steps[32] = "", *name = NULL;
    if (d->options->title != NULL) return mep_copy_string(title, d->options->title);
    if (r->position[0] != '\0' && same_position(d))
        snprintf(encoding, sizeof encoding, d->run_count > 1 ? ", %.*s" : " (%.*s)", NAME, r->position);
    if (d->run_count > 1) return mep_format(title, "Training of %lld runs%s", (long long)d->run_count, encoding);
    if (r->steps > 0) snprintf(steps, sizeof steps, " of %lld", (long long)r->steps);
    MEP_TRY(shorten(&name, r->name));
    mep_status status = mep_format(title, "%s%s: step %lld%s%s", name, strcmp(name, r->position) == 0 ? "" : encoding,
                                   (long long)last_step(r), steps, damage_of(r));
    mep_free(&name);
    return status;
}

static mep_status find_x_title(const drawing *d, char **title)
{
    const char *x = d->options->by_tokens ? "tokens trained on" : "step";
    int is_drawn = d->options->shown_count == 0; /* a training curve */
    for (int64_t i = 0; i < d->options->shown_count; i++)
        is_drawn |= strcmp(mep_plot_metrics[d->options->shown[i]], "valid_loss") != 0;
    if (d->window == 1 || !is_drawn) return mep_copy_string(title, x);
    return mep_format(title, "%s; training curves are means of %lld steps%s", x, (long long)d->window,
                      d->run_count == 1 ? ", bands from their lowest to their highest" : "");
}

/* ---- The picture ---- */

static mep_status read_runs(drawing *d, char *const *paths, int64_t count)
{
    int64_t longest = 0;
    MEP_TRY(MEP_ALLOC(&d->runs, count));
    for (int64_t i = 0; i < count; i++) {
        run *r = &d->runs[d->run_count++];
        MEP_TRY(read_run(r, paths[i]));
        if (d->options->by_tokens && r->step_tokens == 0)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: has no train.json, which has the number of tokens per step; leave out --x-axis tokens",
                            r->folder);
        if (last_step(r) > longest) longest = last_step(r);
    }
    choose_styles(d);
    d->window = d->options->smooth > 0 ? d->options->smooth : choose_window(longest, POINTS);
    return count > 1 ? name_runs(d) : MEP_OK;
}

static mep_status find_png(const drawing *d, char **png)
{
    if (d->options->out != NULL) return mep_copy_string(png, d->options->out);
    return d->run_count > 1 ? mep_copy_string(png, "training.png")
                            : mep_path_join(png, d->runs[0].folder, "training.png");
}

static mep_status begin(drawing *d, char **png)
{
    char *title = NULL, *x_title = NULL;
    MEP_TRY(find_png(d, png));
    MEP_TRY(mep_picture_begin(&d->picture, *png, MEP_PICTURE_TRAINING));
    mep_status status = find_title(d, &title);
    if (status == MEP_OK) status = find_x_title(d, &x_title);
    if (status == MEP_OK) {
        mep_picture_set_text(d->picture, "heading", title);
        mep_picture_set_text(d->picture, "x_heading", x_title);
        mep_picture_set_number(d->picture, "max_loss", d->options->max_loss);
    }
    mep_free(&title);
    mep_free(&x_title);
    return status;
}

mep_status mep_plot_runs(char **png, const mep_plot_runs_options *options, char *const *paths, int64_t count)
{
    drawing d = {.options = options};
    mep_status status = read_runs(&d, paths, count);
    if (status == MEP_OK) status = begin(&d, png);
    if (status == MEP_OK) status = add_panels(&d);
    if (status == MEP_OK) status = mep_picture_draw(d.picture);
    drawing_free(&d);
    return status;
}
