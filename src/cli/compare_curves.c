/* SPDX-License-Identifier: MIT */
/*
 * The measures of a study as CSV and as curves.
 */
#include "cli/compare_measures.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/compare_set.h"
#include "cli/picture.h"
#include "cli/size_text.h"

/* ---- CSV ---- */

static mep_status add_number(mep_table *table, double number)
{
    return isnan(number) ? mep_table_cell(table, "%s", "") : mep_table_cell(table, "%.10g", number);
}

static mep_status add_index(mep_table *table, int64_t index)
{
    return index < 0 ? mep_table_cell(table, "%s", "") : mep_table_cell(table, "%" PRId64, index);
}

static mep_status add_values(mep_table *table, const mep_compare_set *set, int64_t encoding, int64_t seed)
{
    const mep_measure *m = &set->runs[encoding * set->seeds + seed];
    for (int64_t i = 0; i < m->count; i++) {
        const mep_measure_value *v = &m->values[i];
        MEP_TRY(mep_table_cell(table, "%s", set->report->settings->encodings[encoding]));
        MEP_TRY(mep_table_cell(table, "%" PRIu64, set->report->settings->seeds[seed]));
        MEP_TRY(mep_table_cell(table, "%s", set->measure));
        MEP_TRY(mep_table_cell(table, "%" PRId64, v->length));
        MEP_TRY(add_number(table, v->at));
        MEP_TRY(add_index(table, v->layer));
        MEP_TRY(add_index(table, v->head));
        MEP_TRY(mep_table_cell(table, "%s", v->name));
        MEP_TRY(add_number(table, v->value));
        MEP_TRY(add_number(table, v->standard_error));
        MEP_TRY(mep_table_cell(table, "%" PRId64, v->samples));
    }
    return MEP_OK;
}

static mep_status fill_values(const mep_compare_set *set, mep_table *table)
{
    for (int64_t e = 0; e < set->encodings; e++)
        for (int64_t n = 0; n < set->seeds; n++) MEP_TRY(add_values(table, set, e, n));
    return MEP_OK;
}

static mep_status add_differences(mep_table *table, const mep_compare_set *set, const mep_measure *runs,
                                  int64_t encoding)
{
    static const char *const verdicts[] = {"worse", "", "better"};
    const mep_study_settings *s = set->report->settings;
    mep_measure_difference *differences = NULL;
    int64_t count = 0;
    MEP_TRY(mep_compare_to_baseline(set, runs, encoding, &differences, &count));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < count && status == MEP_OK; i++) {
        const mep_measure_difference *d = &differences[i];
        status = mep_table_cell(table, "%s", s->encodings[encoding]);
        if (status == MEP_OK) status = mep_table_cell(table, "%s", s->encodings[set->report->baseline]);
        if (status == MEP_OK) status = mep_table_cell(table, "%s", set->measure);
        if (status == MEP_OK) status = mep_table_cell(table, "%" PRId64, d->length);
        if (status == MEP_OK) status = add_number(table, d->at);
        if (status == MEP_OK) status = mep_table_cell(table, "%s", d->name);
        if (status == MEP_OK) status = add_number(table, d->value);
        if (status == MEP_OK) status = add_number(table, d->standard_error);
        if (status == MEP_OK) status = mep_table_cell(table, "%" PRId64, d->pairs);
        if (status == MEP_OK) status = add_number(table, d->error_runs);
        if (status == MEP_OK) status = mep_table_cell(table, "%" PRId64, d->samples);
        if (status == MEP_OK) status = add_number(table, d->error_samples);
        if (status == MEP_OK) status = mep_table_cell(table, "%s", verdicts[d->verdict + 1]);
    }
    mep_measure_differences_free(&differences);
    return status;
}

/* All points; of the passkey also the mean over the depths, which have an empty `at`. */
static mep_status fill_differences(const mep_compare_set *set, mep_table *table)
{
    for (int64_t e = 0; e < set->encodings; e++) {
        if (e == set->report->baseline) continue;
        MEP_TRY(add_differences(table, set, set->runs, e));
        if (strcmp(set->measure, "passkey") == 0) MEP_TRY(add_differences(table, set, set->reduced, e));
    }
    return MEP_OK;
}

typedef mep_status (*fill_fn)(const mep_compare_set *set, mep_table *table);

static mep_status write_csv(const mep_report *report, int64_t corpus, const char *const *heading, fill_fn fill,
                            FILE *file)
{
    mep_table *table = NULL;
    int64_t columns = 0;
    while (heading[columns] != NULL) columns++;
    MEP_TRY(mep_table_create(&table, columns));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < columns && status == MEP_OK; i++) status = mep_table_cell(table, "%s", heading[i]);
    for (int64_t m = 0; m < mep_compare_set_count(report) && status == MEP_OK; m++) {
        mep_compare_set set;
        status = mep_compare_set_open(&set, report, corpus, mep_compare_set_name(report, m));
        if (status != MEP_OK) break;
        status = fill(&set, table);
        mep_compare_set_close(&set);
    }
    if (status == MEP_OK) mep_table_print(table, MEP_TABLE_CSV, file);
    mep_table_destroy(&table);
    return status;
}

mep_status mep_compare_write_measures(const mep_report *report, int64_t corpus, FILE *file)
{
    static const char *const heading[] = {"encoding", "seed", "measure", "length", "at",      "layer",
                                          "head",     "name", "value",   "stderr", "samples", NULL};
    return write_csv(report, corpus, heading, fill_values, file);
}

mep_status mep_compare_write_differences(const mep_report *report, int64_t corpus, FILE *file)
{
    static const char *const heading[] = {"encoding", "baseline",       "measure", "length", "at",
                                          "name",     "difference",     "stderr",  "seeds",  "stderr_seeds",
                                          "samples",  "stderr_samples", "verdict", NULL};
    return write_csv(report, corpus, heading, fill_differences, file);
}

/* ---- Pictures ---- */

void mep_compare_picture_name(const char *measure, char name[160])
{
    int used = snprintf(name, 160, "measure-%.128s", measure);
    for (int i = 0; i < used; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("._+=-", name[i]) == NULL) name[i] = '_';
}

/* The value that is drawn: passkeys that are found or, where there are none, the nats that the key saves. */
static const char *drawn_value(const mep_compare_set *set)
{
    const char *name = set->about->shown[0];
    if (strcmp(set->measure, "passkey") != 0) return name;
    for (int64_t e = 0; e < set->encodings; e++)
        for (int64_t i = 0; i < set->means[e].count; i++)
            if (strcmp(set->means[e].values[i].name, name) == 0 && set->means[e].values[i].value > 0) return name;
    return "saved";
}

/* Add a curve of the values `name` of `m`: over its axis at one length, or over its lengths or gaps (length 0). */
static mep_status add_curve(const mep_compare_set *set, int64_t encoding, const mep_measure *m, const char *name,
                            int64_t length, mep_picture *picture)
{
    const mep_picture_curve curve = {.label = set->report->settings->encodings[encoding],
                                     .style = (int)(encoding % MEP_PICTURE_STYLES) + 1};
    int begun = 0;
    for (int64_t i = 0; i < m->count; i++) {
        const mep_measure_value *v = &m->values[i];
        if (strcmp(v->name, name) != 0 || (length > 0 && v->length != length)) continue;
        if (!begun) MEP_TRY(mep_picture_add_curve(picture, &curve));
        begun = 1;
        double x = isnan(v->at) ? (double)v->length : v->at, bar = v->standard_error;
        mep_picture_add_row(picture, (double[]){x, v->value, isnan(bar) ? 0 : bar}, 3);
    }
    return MEP_OK;
}

/* The mean of an encoding over the seeds; of one seed the numbers themselves, with their standard errors. */
static mep_status draw_encoding(const mep_compare_set *set, int64_t encoding, const char *name, mep_picture *picture)
{
    int draws_axis = set->about->draws_axis;
    const mep_measure *runs = (draws_axis ? set->runs : set->reduced) + encoding * set->seeds;
    int64_t length = draws_axis ? mep_compare_longest_length(set, name) : 0;
    mep_measure mean = {.count = 0};
    if (set->seeds == 1) return add_curve(set, encoding, runs, name, length, picture);
    MEP_TRY(mep_measure_mean(runs, set->seeds, &mean));
    mep_status status = add_curve(set, encoding, &mean, name, length, picture);
    mep_measure_free(&mean);
    return status;
}

static mep_status fill_picture(const mep_compare_set *set, mep_picture *picture, int *drawn)
{
    const mep_compare_description *d = set->about;
    const char *name = drawn_value(set);
    char heading[512], length[24];
    *drawn = mep_compare_longest_length(set, name) > 0;
    if (!*drawn) return MEP_OK;
    mep_length_text(mep_compare_longest_length(set, name), length);
    if (d->draws_axis)
        snprintf(heading, sizeof heading, "%s at length %s", d->title, length);
    else if (d->measure == NULL)
        snprintf(heading, sizeof heading, "%s %s", d->title, set->measure);
    else
        snprintf(heading, sizeof heading, "%s", d->title);
    mep_picture_set_text(picture, "heading", heading);
    mep_picture_set_text(picture, "x_heading", d->x_heading);
    mep_picture_set_text(picture, "y_heading", strcmp(name, "saved") == 0 ? "nats saved by the key" : d->y_heading);
    mep_picture_set_text(picture, "bars", set->seeds > 1 ? "standard deviation over seeds" : "standard error");
    for (int64_t e = 0; e < set->encodings; e++) MEP_TRY(draw_encoding(set, e, name, picture));
    return MEP_OK;
}

mep_status mep_compare_fill_picture(const mep_report *report, int64_t corpus, const char *measure, mep_picture *picture,
                                    int *drawn)
{
    mep_compare_set set;
    MEP_TRY(mep_compare_set_open(&set, report, corpus, measure));
    mep_status status = fill_picture(&set, picture, drawn);
    mep_compare_set_close(&set);
    return status;
}

/* ---- Picture of the differences ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Where the y axis ends: at three times the median size of the differences, so that one encoding that fails does not
 * press the others together. The baseline's zeros do not count. */
static mep_status find_limit(const mep_compare_set *set, const char *name, double *limit)
{
    double *sizes = NULL;
    int64_t count = 0;
    MEP_TRY(MEP_ALLOC(&sizes, set->encodings * set->report->settings->length_count + 1));
    mep_status status = MEP_OK;
    for (int64_t e = 0; e < set->encodings && status == MEP_OK; e++) {
        mep_measure_difference *differences = NULL;
        int64_t found = 0;
        if (e == set->report->baseline) continue;
        status = mep_compare_to_baseline(set, set->reduced, e, &differences, &found);
        for (int64_t i = 0; i < found && status == MEP_OK; i++)
            if (strcmp(differences[i].name, name) == 0 && isfinite(differences[i].value))
                sizes[count++] = fabs(differences[i].value);
        mep_measure_differences_free(&differences);
    }
    qsort(sizes, (size_t)count, sizeof *sizes, compare_doubles);
    *limit = count > 0 ? 3 * sizes[count / 2] : 0;
    mep_free(&sizes);
    return status;
}

/* The curve of an encoding; of the baseline, whose differences to itself are 0, a line. */
static mep_status draw_differences(const mep_compare_set *set, int64_t encoding, const char *name, mep_picture *picture,
                                   int *drawn)
{
    const mep_picture_curve curve = {.label = set->report->settings->encodings[encoding],
                                     .style = (int)(encoding % MEP_PICTURE_STYLES) + 1};
    mep_measure_difference *differences = NULL;
    int64_t count = 0;
    int begun = 0;
    MEP_TRY(mep_compare_to_baseline(set, set->reduced, encoding, &differences, &count));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < count && status == MEP_OK; i++) {
        const mep_measure_difference *d = &differences[i];
        if (strcmp(d->name, name) != 0) continue;
        if (!begun) status = mep_picture_add_curve(picture, &curve);
        begun = 1;
        double bar = isnan(d->standard_error) ? 0 : d->standard_error;
        if (status == MEP_OK) mep_picture_add_row(picture, (double[]){(double)d->length, d->value, bar}, 3);
    }
    *drawn |= begun && encoding != set->report->baseline;
    mep_measure_differences_free(&differences);
    return status;
}

static mep_status fill_differences_picture(const mep_compare_set *set, mep_picture *picture, int *drawn)
{
    static const char name[] = "loss";
    const char *baseline = set->report->settings->encodings[set->report->baseline];
    char heading[512];
    double limit = 0;
    *drawn = 0;
    MEP_TRY(find_limit(set, name, &limit));
    snprintf(heading, sizeof heading, "Loss minus that of %s, same seeds and tokens", baseline);
    mep_picture_set_text(picture, "heading", heading);
    mep_picture_set_text(picture, "x_heading", "length of the test text");
    mep_picture_set_text(picture, "y_heading", "nats per token, lower is better");
    mep_picture_set_text(picture, "bars", "standard error");
    if (limit > 0) mep_picture_set_number(picture, "y_most", limit);
    for (int64_t e = 0; e < set->encodings; e++) MEP_TRY(draw_differences(set, e, name, picture, drawn));
    return MEP_OK;
}

mep_status mep_compare_fill_differences(const mep_report *report, int64_t corpus, mep_picture *picture, int *drawn)
{
    mep_compare_set set;
    MEP_TRY(mep_compare_set_open(&set, report, corpus, mep_compare_set_name(report, 0)));
    mep_status status = fill_differences_picture(&set, picture, drawn);
    mep_compare_set_close(&set);
    return status;
}
