/* SPDX-License-Identifier: MIT */
/*
 * Conditions, tables and JSON of benchmarks.
 */
#include "cli/bench_report.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "bench/conditions.h"
#include "io/json.h"

/* ---- Gathering ---- */

mep_status mep_bench_report_condition(mep_bench_report *report, const char *key, json_t *value)
{
    if (report->conditions == NULL) report->conditions = json_object();
    if (json_object_set_new(report->conditions, key, value) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_MEMORY, "cannot note the condition \"%s\": out of memory, or not UTF-8", key);
}

mep_status mep_bench_report_begin(mep_bench_report *report, int64_t repeats, double seconds)
{
    char processor[128];
    mep_bench_processor(processor);
    MEP_TRY(mep_bench_report_condition(report, "version", json_string(mep_version())));
    MEP_TRY(mep_bench_report_condition(report, "processor", json_string(processor)));
    MEP_TRY(mep_bench_report_condition(report, "cpu_level", json_string(mep_cpu_level_name())));
    MEP_TRY(mep_bench_report_condition(report, "threads", json_integer(mep_set_threads(0))));
    MEP_TRY(mep_bench_report_condition(report, "compiler", json_string(mep_bench_compiler())));
    MEP_TRY(mep_bench_report_condition(report, "build", json_string(mep_bench_build())));
    MEP_TRY(mep_bench_report_condition(report, "repeats", json_integer((json_int_t)repeats)));
    return mep_bench_report_condition(report, "seconds", json_real(seconds));
}

mep_status mep_bench_report_add(void *context, const void *finished)
{
    mep_bench_report *report = context;
    if (report->count == report->capacity) {
        int64_t capacity = 2 * report->capacity + 16;
        MEP_TRY(mep_grow(&report->cases, report->capacity, capacity, report->case_size));
        report->capacity = capacity;
    }
    memcpy(report->cases + (size_t)report->count++ * report->case_size, finished, report->case_size);
    return MEP_OK;
}

void mep_bench_report_free(mep_bench_report *report)
{
    mep_free(&report->cases);
    json_decref(report->conditions);
    report->conditions = NULL;
}

/* ---- Values ---- */

typedef union bench_value {
    const char *text;
    int64_t integer;
    double real;
    mep_bench_pair pair;
} bench_value;

static bench_value value_of(const mep_bench_report *report, int64_t row, const mep_bench_column *column)
{
    static const size_t sizes[] = {sizeof(char *), sizeof(int64_t), sizeof(double), sizeof(mep_bench_pair)};
    bench_value value;
    memcpy(&value, report->cases + (size_t)row * report->case_size + column->offset, sizes[column->kind]);
    return value;
}

/* ---- Tables ---- */

static mep_status add_cell(mep_table *table, const mep_bench_column *column, const bench_value *value)
{
    double factor = column->factor;
    switch (column->kind) {
    case MEP_BENCH_TEXT:
        return mep_table_cell(table, "%s", value->text);
    case MEP_BENCH_INTEGER:
        return mep_table_cell(table, "%lld", (long long)value->integer);
    case MEP_BENCH_REAL:
        if (isnan(value->real)) return mep_table_cell(table, "%s", "");
        return mep_table_cell(table, "%.*f", column->digits, factor * value->real);
    case MEP_BENCH_PAIR:
        return mep_table_cell(table, "%.*f (%.*f)", column->digits, factor * value->pair.best, column->digits,
                              factor * value->pair.median);
    }
    return MEP_OK;
}

static mep_status fill_table(const mep_bench_report *report, mep_table *table)
{
    for (int64_t row = -1; row < report->count; row++)
        for (int64_t c = 0; c < report->column_count; c++) {
            const mep_bench_column *column = &report->columns[c];
            if (column->heading == NULL) continue;
            if (row < 0) {
                MEP_TRY(mep_table_cell(table, "%s", column->heading));
                continue;
            }
            bench_value value = value_of(report, row, column);
            MEP_TRY(add_cell(table, column, &value));
        }
    return MEP_OK;
}

/* CSV cannot contain them. */
static void print_conditions(const mep_bench_report *report, mep_table_format format)
{
    if (format == MEP_TABLE_CSV) return;
    json_t *all = report->conditions;
    for (void *member = json_object_iter(all); member != NULL; member = json_object_iter_next(all, member)) {
        const json_t *value = json_object_iter_value(member);
        printf(format == MEP_TABLE_TEXT ? "%-16s" : "- %s: ", json_object_iter_key(member));
        if (json_is_string(value))
            printf("%s\n", json_string_value(value));
        else
            printf("%g\n", json_number_value(value));
    }
    putchar('\n');
}

mep_status mep_bench_report_table(const mep_bench_report *report, mep_table_format format)
{
    mep_table *table = NULL;
    int64_t columns = 0;
    for (int64_t c = 0; c < report->column_count; c++) columns += report->columns[c].heading != NULL;
    MEP_TRY(mep_table_create(&table, columns));
    mep_status status = fill_table(report, table);
    if (status == MEP_OK) print_conditions(report, format);
    if (status == MEP_OK) mep_table_print(table, format, stdout);
    mep_table_destroy(&table);
    return status;
}

/* ---- JSON ---- */

static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void set_member(json_t *object, const mep_bench_column *column, const bench_value *value)
{
    char median[64];
    switch (column->kind) {
    case MEP_BENCH_TEXT:
        json_object_set_new(object, column->key, json_string(value->text));
        break;
    case MEP_BENCH_INTEGER:
        json_object_set_new(object, column->key, json_integer((json_int_t)value->integer));
        break;
    case MEP_BENCH_REAL:
        json_object_set_new(object, column->key, real_or_null(value->real));
        break;
    case MEP_BENCH_PAIR:
        snprintf(median, sizeof median, "%s_median", column->key);
        json_object_set_new(object, column->key, real_or_null(value->pair.best));
        json_object_set_new(object, median, real_or_null(value->pair.median));
        break;
    }
}

mep_status mep_bench_report_json(const mep_bench_report *report)
{
    json_t *cases = json_array();
    for (int64_t row = 0; row < report->count; row++) {
        json_t *object = json_object();
        for (int64_t c = 0; c < report->column_count; c++) {
            bench_value value = value_of(report, row, &report->columns[c]);
            set_member(object, &report->columns[c], &value);
        }
        json_array_append_new(cases, object);
    }
    json_t *root =
        json_pack("{s:s, s:O, s:o}", "bench", report->name, "conditions", report->conditions, "cases", cases);
    if (root == NULL) return mep_json_out_of_memory();
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    return MEP_OK;
}
