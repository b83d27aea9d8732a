/* SPDX-License-Identifier: MIT */
/*
 * Rows and columns of a measure. Numbers that follow each other and belong to the same length, point of the axis, layer
 * and head are one row.
 */
#include "cli/measure_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "cli/cli.h"
#include "io/json.h"

enum { MOST_NAMES = 16 };

/* The names of the values, in the order in which they first occur: the columns. */
typedef struct value_names {
    const char *names[MOST_NAMES];
    int count;
} value_names;

static int find_name(const value_names *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->names[i], name) == 0) return i;
    return -1;
}

static value_names names_of(const mep_measure *m)
{
    value_names n = {.count = 0};
    for (int64_t i = 0; i < m->count && n.count < MOST_NAMES; i++)
        if (find_name(&n, m->values[i].name) < 0) n.names[n.count++] = m->values[i].name;
    return n;
}

static int same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static int same_row(const mep_measure_value *a, const mep_measure_value *b)
{
    return a->length == b->length && a->layer == b->layer && a->head == b->head && same_number(a->at, b->at);
}

/* ---- The table ---- */

static int has_axis(const mep_measure *m)
{
    return m->axis[0] != '\0';
}

static int has_heads(const mep_measure *m)
{
    return m->values[0].layer >= 0;
}

static mep_status add_heading(mep_table *table, const mep_measure *m, const value_names *n)
{
    MEP_TRY(mep_table_cell(table, "length"));
    if (has_axis(m)) MEP_TRY(mep_table_cell(table, "%s", m->axis));
    if (has_heads(m)) MEP_TRY(mep_table_cell(table, "layer"));
    if (has_heads(m)) MEP_TRY(mep_table_cell(table, "head"));
    for (int i = 0; i < n->count; i++) {
        MEP_TRY(mep_table_cell(table, "%s", n->names[i]));
        MEP_TRY(mep_table_cell(table, "+-"));
    }
    return mep_table_cell(table, "samples");
}

static mep_status add_number(mep_table *table, double number)
{
    return isnan(number) ? mep_table_cell(table, "%s", "") : mep_table_cell(table, "%.5f", number);
}

static mep_status add_row(mep_table *table, const mep_measure *m, const value_names *n, int64_t first, int64_t count)
{
    const mep_measure_value *values = m->values + first;
    MEP_TRY(mep_table_cell(table, "%" PRId64, values->length));
    if (has_axis(m)) MEP_TRY(mep_table_cell(table, "%.10g", values->at));
    if (has_heads(m)) MEP_TRY(mep_table_cell(table, "%" PRId64, values->layer));
    if (has_heads(m)) MEP_TRY(mep_table_cell(table, "%" PRId64, values->head));
    for (int i = 0; i < n->count; i++) {
        double value = NAN, error = NAN;
        for (int64_t k = 0; k < count; k++)
            if (find_name(n, values[k].name) == i) value = values[k].value, error = values[k].standard_error;
        MEP_TRY(add_number(table, value));
        MEP_TRY(add_number(table, error));
    }
    return mep_table_cell(table, "%" PRId64, values->samples);
}

static mep_status fill_table(mep_table *table, const mep_measure *m, const value_names *n)
{
    MEP_TRY(add_heading(table, m, n));
    for (int64_t i = 0, count = 1; i < m->count; i += count) {
        for (count = 1; i + count < m->count && same_row(&m->values[i], &m->values[i + count]);) count++;
        MEP_TRY(add_row(table, m, n, i, count));
    }
    return MEP_OK;
}

/* ---- Effective lengths ---- */

/* The effective length of a value; 0 if it has none, or if only one length was measured. */
static mep_status effective_length(const mep_measure_report *r, const char *name, int64_t *length)
{
    int64_t first = r->measure->values[0].length;
    int several = 0;
    *length = 0;
    for (int64_t i = 0; i < r->measure->count; i++) several |= r->measure->values[i].length != first;
    if (!several) return MEP_OK;
    return mep_measure_effective_length(r->measure, name, r->training_length, r->within, length);
}

static int64_t longest_length(const mep_measure *m)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < m->count; i++)
        if (m->values[i].length > longest) longest = m->values[i].length;
    return longest;
}

/* The length that a value is compared with: the training length, or the longest measured one below it. */
static int64_t reference_length(const mep_measure_report *r, const char *name)
{
    int64_t found = 0;
    for (int64_t i = 0; i < r->measure->count; i++) {
        const mep_measure_value *v = &r->measure->values[i];
        if (strcmp(v->name, name) == 0 && v->length <= r->training_length && v->length > found) found = v->length;
    }
    return found;
}

static mep_status print_effective_lengths(const mep_measure_report *r, const value_names *n, FILE *file)
{
    int begun = 0;
    for (int i = 0; i < n->count; i++) {
        int64_t length = 0;
        MEP_TRY(effective_length(r, n->names[i], &length));
        if (length == 0) continue;
        if (!begun) putc('\n', file);
        begun = 1;
        int64_t reference = reference_length(r, n->names[i]);
        mep_cli_print(file, "effective length: %" PRId64 "%s (%s within %g %% of that at the %slength %" PRId64 ")\n",
                      length, length == longest_length(r->measure) ? " or more" : "", n->names[i], 100 * r->within,
                      reference == r->training_length ? "training " : "", reference);
    }
    return MEP_OK;
}

mep_status mep_measure_report_table(const mep_measure_report *r, mep_table_format format, FILE *file)
{
    mep_table *table;
    const value_names n = names_of(r->measure);
    MEP_TRY(mep_table_create(&table, 2 + has_axis(r->measure) + 2 * has_heads(r->measure) + 2 * n.count));
    mep_status status = fill_table(table, r->measure, &n);
    if (status == MEP_OK) mep_table_print(table, format, file);
    mep_table_destroy(&table);
    if (status != MEP_OK || format == MEP_TABLE_CSV) return status;
    return print_effective_lengths(r, &n, file);
}

/* ---- JSON ---- */

/* JSON has no NaN and no infinity. */
static json_t *number_or_null(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static json_t *value_json(const mep_measure *m, const mep_measure_value *v)
{
    json_t *object = json_pack("{s:s, s:I}", "name", v->name, "length", (json_int_t)v->length);
    if (has_axis(m)) json_object_set_new(object, m->axis, number_or_null(v->at));
    if (v->layer >= 0) json_object_set_new(object, "layer", json_integer(v->layer));
    if (v->head >= 0) json_object_set_new(object, "head", json_integer(v->head));
    json_object_set_new(object, "value", number_or_null(v->value));
    json_object_set_new(object, "stderr", number_or_null(v->standard_error));
    json_object_set_new(object, "samples", json_integer(v->samples));
    return object;
}

mep_status mep_measure_report_json(const mep_measure_report *r, FILE *file)
{
    const mep_measure *m = r->measure;
    const value_names n = names_of(m);
    json_t *values = json_array(), *effective = json_object();
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < m->count; i++) json_array_append_new(values, value_json(m, &m->values[i]));
    for (int i = 0; i < n.count && status == MEP_OK; i++) {
        int64_t length = 0;
        status = effective_length(r, n.names[i], &length);
        if (length > 0) json_object_set_new(effective, n.names[i], json_integer(length));
    }
    json_t *root =
        json_pack("{s:s, s:s?, s:s, s:I, s:o, s:o}", "model", r->model, "data", r->data, "measure", m->name,
                  "training_length", (json_int_t)r->training_length, "values", values, "effective_length", effective);
    if (root == NULL) return mep_json_out_of_memory();
    if (status == MEP_OK) {
        json_dumpf(root, file, JSON_INDENT(2));
        putc('\n', file);
    }
    json_decref(root);
    return status;
}
