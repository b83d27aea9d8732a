/* SPDX-License-Identifier: MIT */
/*
 * Tables of the measures of a study. The numbers come from mep/study.h, their means and differences from mep/measure.h.
 */
#include "cli/compare_measures.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/compare_set.h"

/* A column of a table: a length, or a gap with the length that it has. */
typedef struct column {
    int64_t length;
    double at;
} column;

static int compare_columns(const void *a, const void *b)
{
    const column *x = a, *y = b;
    return (x->length > y->length) - (x->length < y->length);
}

/* The columns for which an encoding has the value `name`, in ascending order. The caller frees them. */
static mep_status find_columns(const mep_compare_set *set, const char *name, column **columns, int64_t *count)
{
    int64_t most = 1;
    *count = 0;
    for (int64_t e = 0; e < set->encodings; e++) most += set->means[e].count;
    MEP_TRY(MEP_ALLOC(columns, most));
    for (int64_t e = 0; e < set->encodings; e++)
        for (int64_t i = 0; i < set->means[e].count; i++) {
            const mep_measure_value *v = &set->means[e].values[i];
            int is_known = strcmp(v->name, name) != 0;
            for (int64_t k = 0; k < *count; k++) is_known |= (*columns)[k].length == v->length;
            if (!is_known) (*columns)[(*count)++] = (column){v->length, v->at};
        }
    qsort(*columns, (size_t)*count, sizeof **columns, compare_columns);
    return MEP_OK;
}

static const mep_measure_value *find_value(const mep_measure *m, const char *name, int64_t length)
{
    for (int64_t i = 0; i < m->count; i++)
        if (m->values[i].length == length && strcmp(m->values[i].name, name) == 0) return &m->values[i];
    return NULL;
}

/* ---- Tables ---- */

static mep_status add_column_heading(mep_table *table, const column *c)
{
    return isnan(c->at) ? mep_table_cell(table, "%" PRId64, c->length) : mep_table_cell(table, "%.10g", c->at);
}

/* The digits after the point that a number needs: two that its error or deviation does not cover. */
static int digits_of(double error)
{
    if (!(error > 0)) return 4;
    double digits = 1 - floor(log10(error));
    return digits < 1 ? 1 : digits > 7 ? 7 : (int)digits;
}

/* The best mean of a column is bold, unless all are the same. */
static int is_best(const mep_compare_set *set, const char *name, const column *c, double value)
{
    int direction = mep_measure_direction(name), is_better = 0;
    for (int64_t e = 0; e < set->encodings; e++) {
        const mep_measure_value *v = find_value(&set->means[e], name, c->length);
        if (v != NULL && direction * (v->value - value) > 0) return 0;
        is_better |= v != NULL && direction * (v->value - value) < 0;
    }
    return is_better;
}

static mep_status add_mean(mep_table *table, const mep_compare_set *set, int64_t encoding, const char *name,
                           const column *c)
{
    const mep_measure_value *v = find_value(&set->means[encoding], name, c->length);
    if (v == NULL) return mep_table_cell(table, "%s", "");
    int digits = digits_of(v->standard_error);
    MEP_TRY(v->samples > 1 ? mep_table_cell(table, "%.*f ± %.*f", digits, v->value, digits, v->standard_error)
                           : mep_table_cell(table, "%.4f", v->value));
    if (is_best(set, name, c, v->value)) mep_table_bold(table);
    return MEP_OK;
}

/* One row per encoding with a number, one column per length or gap. *table is NULL if there is no number. */
static mep_status make_means(const mep_compare_set *set, const char *name, mep_table **table)
{
    column *columns = NULL;
    int64_t count = 0;
    *table = NULL;
    mep_status status = find_columns(set, name, &columns, &count);
    if (status == MEP_OK && count > 0) {
        status = mep_table_create(table, count + 1);
        if (status == MEP_OK)
            status = mep_table_cell(*table, "%s at %s", name, isnan(columns[0].at) ? "length" : "gap");
        for (int64_t c = 0; c < count && status == MEP_OK; c++) status = add_column_heading(*table, &columns[c]);
    }
    for (int64_t e = 0; e < set->encodings && count > 0 && status == MEP_OK; e++) {
        if (set->means[e].count == 0) continue;
        status = mep_table_cell(*table, "%s", set->report->settings->encodings[e]);
        for (int64_t c = 0; c < count && status == MEP_OK; c++) status = add_mean(*table, set, e, name, &columns[c]);
    }
    mep_free(&columns);
    if (status != MEP_OK) mep_table_destroy(table);
    return status;
}

/* ---- Paired differences ---- */

static mep_status add_difference(mep_table *table, const mep_measure_difference *d)
{
    static const char *const verdicts[] = {", worse", "", ", better"};
    int digits = digits_of(d->standard_error);
    MEP_TRY(isnan(d->standard_error) ? mep_table_cell(table, "%+.4f", d->value)
                                     : mep_table_cell(table, "%+.*f ± %.*f%s", digits, d->value, digits,
                                                      d->standard_error, verdicts[d->verdict + 1]));
    if (d->verdict > 0) mep_table_bold(table);
    return MEP_OK;
}

static mep_status add_difference_row(mep_table *table, const mep_compare_set *set, int64_t encoding, const char *name,
                                     const column *columns, int64_t column_count)
{
    mep_measure_difference *differences = NULL;
    int64_t count = 0;
    MEP_TRY(mep_compare_to_baseline(set, set->reduced, encoding, &differences, &count));
    mep_status status = mep_table_cell(table, "%s", set->report->settings->encodings[encoding]);
    for (int64_t c = 0; c < column_count && status == MEP_OK; c++) {
        const mep_measure_difference *found = NULL;
        for (int64_t i = 0; i < count; i++)
            if (differences[i].length == columns[c].length && strcmp(differences[i].name, name) == 0)
                found = &differences[i];
        status = found != NULL ? add_difference(table, found) : mep_table_cell(table, "%s", "");
    }
    mep_measure_differences_free(&differences);
    return status;
}

/* One row per encoding other than the baseline. *table is NULL if there is nothing to compare. */
static mep_status make_differences(const mep_compare_set *set, const char *name, mep_table **table)
{
    const mep_report *report = set->report;
    column *columns = NULL;
    int64_t count = 0;
    *table = NULL;
    if (report->baseline < 0 || set->means[report->baseline].count == 0) return MEP_OK;
    mep_status status = find_columns(set, name, &columns, &count);
    if (status == MEP_OK && count > 0) {
        status = mep_table_create(table, count + 1);
        if (status == MEP_OK)
            status =
                mep_table_cell(*table, "%s minus that of %s at", name, report->settings->encodings[report->baseline]);
        for (int64_t c = 0; c < count && status == MEP_OK; c++) status = add_column_heading(*table, &columns[c]);
    }
    for (int64_t e = 0; e < set->encodings && count > 0 && status == MEP_OK; e++)
        if (e != report->baseline && set->means[e].count > 0)
            status = add_difference_row(*table, set, e, name, columns, count);
    mep_free(&columns);
    if (status != MEP_OK) mep_table_destroy(table);
    return status;
}

/* ---- Effective lengths ---- */

static mep_status add_effective_length(mep_table *table, const mep_compare_set *set, int64_t encoding, const char *name)
{
    const mep_report *report = set->report;
    const mep_measure *mean = &set->means[encoding];
    int64_t length = 0, longest = mep_compare_longest_length(set, name);
    if (longest == 0 || mean->count == 0) return mep_table_cell(table, "%s", "");
    MEP_TRY(mep_measure_effective_length(mean, name, report->settings->train.length, report->within, &length));
    if (length == 0) return mep_table_cell(table, "none");
    return mep_table_cell(table, "%s%" PRId64, length == longest ? "≥ " : "", length);
}

/* One row per encoding, one column per measure and value. */
static mep_status fill_effective_lengths(const mep_compare_set *sets, int64_t count, mep_table *table)
{
    const mep_report *report = sets[0].report;
    MEP_TRY(mep_table_cell(table, "effective length for"));
    for (int64_t m = 0; m < count; m++)
        for (int i = 0; i < MEP_COMPARE_SHOWN && sets[m].about->effective[i] != NULL; i++)
            MEP_TRY(m == 0 ? mep_table_cell(table, "perplexity")
                           : mep_table_cell(table, "%s, %s", sets[m].measure, sets[m].about->effective[i]));
    for (int64_t e = 0; e < report->settings->encoding_count; e++) {
        if (sets[0].means[e].count == 0) continue;
        MEP_TRY(mep_table_cell(table, "%s", report->settings->encodings[e]));
        for (int64_t m = 0; m < count; m++)
            for (int i = 0; i < MEP_COMPARE_SHOWN && sets[m].about->effective[i] != NULL; i++)
                MEP_TRY(add_effective_length(table, &sets[m], e, sets[m].about->effective[i]));
    }
    return MEP_OK;
}

static mep_status make_effective_lengths(const mep_compare_set *sets, int64_t count, mep_table **table)
{
    int64_t columns = 1;
    for (int64_t m = 0; m < count; m++)
        for (int i = 0; i < MEP_COMPARE_SHOWN && sets[m].about->effective[i] != NULL; i++) columns++;
    MEP_TRY(mep_table_create(table, columns));
    mep_status status = fill_effective_lengths(sets, count, *table);
    if (status != MEP_OK) mep_table_destroy(table);
    return status;
}

/* ---- Sections of a page ---- */

typedef mep_status (*table_fn)(const mep_compare_set *set, const char *name, mep_table **table);

/* Write a table for each of the names. `page` NULL: print to stdout. */
static mep_status write_tables(const mep_compare_set *set, const char *const names[MEP_COMPARE_SHOWN], table_fn make,
                               mep_page *page)
{
    for (int i = 0; i < MEP_COMPARE_SHOWN && names[i] != NULL; i++) {
        mep_table *table = NULL;
        MEP_TRY(make(set, names[i], &table));
        if (table == NULL) continue;
        if (page != NULL) {
            mep_page_table(page, table);
        } else {
            putchar('\n');
            mep_table_print(table, MEP_TABLE_TEXT, stdout);
        }
        mep_table_destroy(&table);
    }
    return MEP_OK;
}

static void write_heading(const mep_compare_set *set, mep_page *page)
{
    if (set->about->measure != NULL)
        mep_page_heading(page, 2, "%s", set->about->title);
    else
        mep_page_heading(page, 2, "%s %s", set->about->title, set->measure);
    if (set->about->text[0] == '\0') return;
    mep_page_paragraph(page);
    mep_page_text(page, "%s", set->about->text);
    mep_page_close_paragraph(page);
}

static mep_status write_section(const mep_compare_set *set, mep_page *page)
{
    char name[160], caption[256];
    write_heading(set, page);
    MEP_TRY(write_tables(set, set->about->shown, make_means, page));
    MEP_TRY(write_tables(set, set->about->compared, make_differences, page));
    mep_compare_picture_name(set->measure, name);
    snprintf(caption, sizeof caption, "%s of the encodings (%s)", set->about->title, set->measure);
    return mep_page_picture(page, name, caption);
}

/* What the numbers after ± and the words "better" and "worse" mean. */
static void explain_differences(const mep_report *report, mep_page *page)
{
    const char *baseline = report->settings->encodings[report->baseline];
    mep_page_paragraph(page);
    mep_page_text(page, "Paired differences to ");
    mep_page_name(page, baseline);
    mep_page_text(page, ": an encoding minus the baseline, with the same seed, the same initial weights and the same "
                        "tokens; a negative difference of a loss is an improvement. ");
    if (report->settings->seed_count > 1)
        mep_page_text(page, "The value is the mean over the seeds. The number after ± is its standard error, "
                            "sqrt(a² + b²): a is the standard deviation of the seeds' differences over the root of the "
                            "number of seeds; b is the standard deviation over the segments (or tokens, or trials) of "
                            "the difference that is averaged over the seeds, over the root of their number. With few "
                            "seeds a is itself uncertain. ");
    else
        mep_page_text(page, "There is one seed: the number after ± is the standard deviation of the difference over "
                            "the segments (or tokens, or trials) over the root of their number, and says nothing about "
                            "other seeds. ");
    mep_page_text(page, "\"better\" and \"worse\" are written only where the difference is more than two standard "
                        "errors from 0.");
    mep_page_close_paragraph(page);
}

static mep_status write_effective_lengths(const mep_compare_set *sets, int64_t count, mep_page *page)
{
    const mep_report *report = sets[0].report;
    mep_table *table = NULL;
    MEP_TRY(make_effective_lengths(sets, count, &table));
    mep_page_heading(page, 2, "Effective length");
    mep_page_paragraph(page);
    mep_page_text(page,
                  "The longest measured length up to which the mean over the seeds stays within %g %% of its value at "
                  "the training length %" PRId64 ", or better. Where that was not measured, the longest shorter length "
                  "takes its place. ≥ marks the longest length that was measured.",
                  100 * report->within, report->settings->train.length);
    mep_page_close_paragraph(page);
    mep_page_table(page, table);
    mep_table_destroy(&table);
    return MEP_OK;
}

static mep_status write_all(const mep_compare_set *sets, int64_t count, mep_page *page)
{
    const mep_report *report = sets[0].report;
    if (report->baseline >= 0) {
        explain_differences(report, page);
        MEP_TRY(write_tables(&sets[0], sets[0].about->compared, make_differences, page));
        MEP_TRY(mep_page_picture(page, "differences", "Difference of the loss to the baseline, by length"));
    }
    for (int64_t m = 1; m < count; m++) MEP_TRY(write_section(&sets[m], page));
    return report->settings->length_count > 1 ? write_effective_lengths(sets, count, page) : MEP_OK;
}

static mep_status print_all(const mep_compare_set *sets, int64_t count)
{
    mep_table *table = NULL;
    for (int64_t m = 0; m < count; m++) {
        if (m > 0) {
            putchar('\n');
            mep_cli_print(stdout, "%s (%s)\n", sets[m].about->title, sets[m].measure);
            MEP_TRY(write_tables(&sets[m], sets[m].about->shown, make_means, NULL));
        }
        MEP_TRY(write_tables(&sets[m], sets[m].about->compared, make_differences, NULL));
    }
    if (sets[0].report->settings->length_count < 2) return MEP_OK;
    MEP_TRY(make_effective_lengths(sets, count, &table));
    putchar('\n');
    mep_table_print(table, MEP_TABLE_TEXT, stdout);
    mep_table_destroy(&table);
    return MEP_OK;
}

/* Read all measures, and write them to the page or, if it is NULL, to stdout. */
static mep_status with_all(const mep_report *report, int64_t corpus, mep_page *page)
{
    mep_compare_set *sets = NULL;
    int64_t count = mep_compare_set_count(report), opened = 0;
    MEP_TRY(MEP_ALLOC(&sets, count));
    mep_status status = MEP_OK;
    for (; opened < count && status == MEP_OK; opened++)
        status = mep_compare_set_open(&sets[opened], report, corpus, mep_compare_set_name(report, opened));
    if (status == MEP_OK) status = page != NULL ? write_all(sets, count, page) : print_all(sets, count);
    for (int64_t m = 0; m < opened; m++) mep_compare_set_close(&sets[m]);
    mep_free(&sets);
    return status;
}

mep_status mep_compare_write_sections(const mep_report *report, int64_t corpus, mep_page *page)
{
    return with_all(report, corpus, page);
}

mep_status mep_compare_print_measures(const mep_report *report, int64_t corpus)
{
    return with_all(report, corpus, NULL);
}
