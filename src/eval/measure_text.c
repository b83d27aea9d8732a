/* SPDX-License-Identifier: MIT */
/*
 * A measure as CSV, one line per number, and back: how programs store results and put them together again.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/number.h"
#include "mep/measure.h"

#define HEADING "measure,axis,length,at,layer,head,name,value,stderr,samples\n"

enum { COLUMNS = 10, LINE = 512 /* characters of a line, at most */ };

/* ---- Writing ---- */

/* NaN is an empty cell; infinities are written as such. */
static void print_number(char text[MEP_NUMBER_SIZE], double number)
{
    text[0] = '\0';
    if (!isnan(number)) mep_number_print(text, number);
}

static void print_index(char text[MEP_NUMBER_SIZE], int64_t index)
{
    text[0] = '\0';
    if (index >= 0) snprintf(text, MEP_NUMBER_SIZE, "%" PRId64, index);
}

static int print_line(char line[LINE], const mep_measure *m, const mep_measure_value *v)
{
    char at[MEP_NUMBER_SIZE], layer[MEP_NUMBER_SIZE], head[MEP_NUMBER_SIZE], value[MEP_NUMBER_SIZE],
        error[MEP_NUMBER_SIZE];
    print_number(at, v->at);
    print_index(layer, v->layer);
    print_index(head, v->head);
    print_number(value, v->value);
    print_number(error, v->standard_error);
    return snprintf(line, LINE, "%s,%s,%" PRId64 ",%s,%s,%s,%s,%s,%s,%" PRId64 "\n", m->name, m->axis, v->length, at,
                    layer, head, v->name, value, error, v->samples);
}

mep_status mep_measure_print(const mep_measure *measure, char **text)
{
    MEP_REQUIRE(measure, text);
    int64_t size = 0, used = (int64_t)strlen(HEADING);
    *text = NULL;
    MEP_TRY(mep_multiply(measure->count + 1, LINE, 1, &size));
    MEP_TRY(MEP_ALLOC(text, size));
    memcpy(*text, HEADING, (size_t)used);
    for (int64_t i = 0; i < measure->count; i++) used += print_line(*text + used, measure, &measure->values[i]);
    return MEP_OK;
}

/* ---- Reading ---- */

/* The cells of a line, which point into it: its commas become ends of strings. */
typedef struct line_cells {
    char line[LINE];
    char *cells[COLUMNS];
} line_cells;

static int split(line_cells *c, const char *text, size_t length)
{
    int count = 0;
    if (length >= LINE) return 0;
    memcpy(c->line, text, length);
    c->line[length] = '\0';
    for (char *at = c->line; count < COLUMNS; at++) {
        c->cells[count++] = at;
        at += strcspn(at, ",");
        if (*at == '\0') return count == COLUMNS;
        *at = '\0';
    }
    return 0; /* more cells */
}

static int take_text(const char *cell, char name[MEP_MEASURE_NAME])
{
    return snprintf(name, MEP_MEASURE_NAME, "%s", cell) < MEP_MEASURE_NAME;
}

static int take_number(const char *cell, double *number)
{
    char *end = NULL;
    *number = NAN;
    if (*cell == '\0') return 1;
    *number = mep_number_parse(cell, &end);
    return *end == '\0' && end != cell;
}

static int take_index(const char *cell, int64_t *index)
{
    char *end = NULL;
    *index = -1;
    if (*cell == '\0') return 1;
    *index = strtoll(cell, &end, 10);
    return *end == '\0' && *index >= 0;
}

static int take_value(const line_cells *c, mep_measure_value *v)
{
    return take_index(c->cells[2], &v->length) && v->length > 0 && take_number(c->cells[3], &v->at) &&
           take_index(c->cells[4], &v->layer) && take_index(c->cells[5], &v->head) && take_text(c->cells[6], v->name) &&
           v->name[0] != '\0' && take_number(c->cells[7], &v->value) && take_number(c->cells[8], &v->standard_error) &&
           take_index(c->cells[9], &v->samples) && v->samples > 0;
}

/* The first line sets the measure and its axis; all others must have the same. */
static int take_names(const line_cells *c, mep_measure *m)
{
    if (m->count == 0) return take_text(c->cells[0], m->name) && take_text(c->cells[1], m->axis) && m->name[0] != '\0';
    return strcmp(c->cells[0], m->name) == 0 && strcmp(c->cells[1], m->axis) == 0;
}

static mep_status read_lines(const char *text, mep_measure *m)
{
    line_cells cells;
    int64_t number = 2;
    for (const char *at = text; *at != '\0'; number++) {
        size_t length = strcspn(at, "\n");
        if (m->count == m->capacity) {
            int64_t capacity = max_i64(16, 2 * m->capacity);
            MEP_TRY(MEP_GROW(&m->values, m->capacity, capacity));
            m->capacity = capacity;
        }
        mep_measure_value *v = &m->values[m->count];
        *v = (mep_measure_value){.first_sample = -1};
        if (!split(&cells, at, length) || !take_names(&cells, m) || !take_value(&cells, v))
            return mep_fail(MEP_ERROR_FORMAT, "line %" PRId64 " is not a number of the measure", number);
        m->count++;
        at += length + (at[length] == '\n');
    }
    return MEP_OK;
}

mep_status mep_measure_parse(const char *text, mep_measure *measure)
{
    MEP_REQUIRE(text, measure);
    mep_measure read = {.count = 0};
    if (strncmp(text, HEADING, strlen(HEADING)) != 0)
        return mep_fail(MEP_ERROR_FORMAT, "line 1 is not the heading of a measure");
    mep_status status = read_lines(text + strlen(HEADING), &read);
    if (status != MEP_OK) {
        mep_measure_free(&read);
        return status;
    }
    *measure = read;
    return MEP_OK;
}
