/* SPDX-License-Identifier: MIT */
/*
 * The data of the pictures of measures.
 */
#include "cli/measure_picture.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "cli/picture.h"
#include "cli/size_text.h"

enum { NAMES = 4096, MOST_CELLS = 256 /* columns or rows of a heat map */ };

/* What is drawn of each measure. */
typedef struct drawing {
    const char *measure, *value; /* names */
    const char *x_heading, *y_heading;
    int is_heat, has_lengths; /* has_lengths: one curve per length; otherwise one curve */
} drawing;

static const drawing DRAWINGS[] = {
    {.measure = "by-position",
     .value = "loss",
     .x_heading = "tokens before the predicted one",
     .y_heading = "loss (nats)",
     .has_lengths = 1},
    {.measure = "context",
     .value = "loss",
     .x_heading = "tokens of context",
     .y_heading = "loss (nats)",
     .has_lengths = 1},
    {.measure = "copy",
     .value = "gain",
     .x_heading = "tokens between the copies",
     .y_heading = "copy gain (nats per token)"},
    {.measure = "mqar", .value = "exact", .x_heading = "length", .y_heading = "answers found"},
    {.measure = "induction", .value = "exact", .x_heading = "length", .y_heading = "answers found"},
    {.measure = "passkey", .value = "exact", .x_heading = "length", .y_heading = "depth", .is_heat = 1},
    {.measure = "blindness", .value = "zero", .x_heading = "head", .y_heading = "layer", .is_heat = 1},
};

static mep_status find_drawing(const mep_measure *m, const drawing **found)
{
    for (size_t i = 0; i < sizeof DRAWINGS / sizeof *DRAWINGS; i++)
        if (strcmp(DRAWINGS[i].measure, m->name) == 0) {
            *found = &DRAWINGS[i];
            return MEP_OK;
        }
    return mep_fail(MEP_ERROR_UNSUPPORTED, "there is no picture of the measure %s", m->name);
}

/* ---- Curves ---- */

static mep_status add_curve(mep_picture *picture, const mep_measure *m, const drawing *d, int64_t length)
{
    char text[24], label[40] = "";
    mep_length_text(length, text);
    if (d->has_lengths) snprintf(label, sizeof label, "length %s", text);
    MEP_TRY(mep_picture_add_curve(picture, &(mep_picture_curve){.label = d->has_lengths ? label : d->value}));
    for (int64_t i = 0; i < m->count; i++) {
        const mep_measure_value *v = &m->values[i];
        double x = isnan(v->at) ? (double)v->length : v->at, error = v->standard_error;
        if (strcmp(v->name, d->value) != 0 || (d->has_lengths && v->length != length)) continue;
        mep_picture_add_row(picture, (double[]){x, v->value, isnan(error) ? 0 : error}, 3);
    }
    return MEP_OK;
}

static mep_status add_curves(mep_picture *picture, const mep_measure *m, const drawing *d)
{
    int64_t last = -1;
    if (!d->has_lengths) return add_curve(picture, m, d, 0);
    for (int64_t i = 0; i < m->count; i++) {
        if (m->values[i].length == last) continue;
        last = m->values[i].length;
        MEP_TRY(add_curve(picture, m, d, last));
    }
    return MEP_OK;
}

/* ---- Heat maps ---- */

/* The distinct coordinates of one side of the grid, in the order in which they occur. */
typedef struct side {
    double values[MOST_CELLS];
    int count;
} side;

static int index_on(side *s, double value)
{
    for (int i = 0; i < s->count; i++)
        if (s->values[i] == value) return i;
    if (s->count == MOST_CELLS) return -1;
    s->values[s->count] = value;
    return s->count++;
}

static void write_names(const side *s, int are_lengths, char names[NAMES])
{
    int used = 0;
    names[0] = '\0';
    for (int i = 0; i < s->count && used < NAMES - 32; i++) {
        char text[24];
        mep_length_text((int64_t)s->values[i], text);
        used += are_lengths ? snprintf(names + used, (size_t)(NAMES - used), "%s ", text)
                            : snprintf(names + used, (size_t)(NAMES - used), "%g ", s->values[i]);
    }
}

static int64_t longest_length(const mep_measure *m)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < m->count; i++)
        if (m->values[i].length > longest) longest = m->values[i].length;
    return longest;
}

/* The passkey's exact matches or, where there are none, the nats that the key saves. */
static const char *heat_value(const mep_measure *m, const drawing *d)
{
    if (strcmp(d->value, "exact") != 0) return d->value;
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, "exact") == 0 && m->values[i].value > 0) return d->value;
    return "saved";
}

/* Add the cells of a heat map: layers by heads at the longest length, or depths by lengths. */
static mep_status add_cells(mep_picture *picture, const mep_measure *m, const drawing *d, const char *value)
{
    side x = {.count = 0}, y = {.count = 0};
    char names[NAMES];
    int has_heads = m->values[0].layer >= 0;
    int64_t longest = longest_length(m);
    MEP_TRY(mep_picture_add_curve(picture, &(mep_picture_curve){.label = value}));
    for (int64_t i = 0; i < m->count; i++) {
        const mep_measure_value *v = &m->values[i];
        if (strcmp(v->name, value) != 0 || (has_heads && v->length != longest)) continue;
        int column = index_on(&x, has_heads ? (double)v->head : (double)v->length);
        int row = index_on(&y, has_heads ? (double)v->layer : v->at);
        if (column < 0 || row < 0)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "a heat map has up to %d columns and rows", MOST_CELLS);
        mep_picture_add_row(picture, (double[]){column, row, v->value}, 3);
    }
    write_names(&x, !has_heads, names);
    mep_picture_set_text(picture, "x_names", names);
    write_names(&y, 0, names);
    mep_picture_set_text(picture, "y_names", names);
    mep_picture_set_text(picture, "x_heading", d->x_heading);
    mep_picture_set_text(picture, "y_heading", d->y_heading);
    return MEP_OK;
}

/* ---- The picture ---- */

static mep_status fill(mep_picture *picture, const mep_measure_report *r, const drawing *d)
{
    const char *value = d->is_heat ? heat_value(r->measure, d) : d->value;
    char heading[512];
    snprintf(heading, sizeof heading, "%s: %s, %s", r->model, r->measure->name, value);
    mep_picture_set_text(picture, "heading", heading);
    if (d->is_heat && strcmp(value, "saved") != 0) { /* a fraction */
        mep_picture_set_number(picture, "low", 0);
        mep_picture_set_number(picture, "high", 1);
    }
    if (d->is_heat) return add_cells(picture, r->measure, d, value);
    mep_picture_set_text(picture, "x_heading", d->x_heading);
    mep_picture_set_text(picture, "y_heading", d->y_heading);
    mep_picture_set_number(picture, "train_length", (double)r->training_length);
    return add_curves(picture, r->measure, d);
}

mep_status mep_measure_draw(const mep_measure_report *r, const char *png)
{
    const drawing *d = NULL;
    mep_picture *picture = NULL;
    MEP_TRY(find_drawing(r->measure, &d));
    MEP_TRY(mep_picture_begin(&picture, png, d->is_heat ? MEP_PICTURE_HEAT : MEP_PICTURE_MEASURE));
    mep_status status = fill(picture, r, d);
    if (status == MEP_OK) status = mep_picture_draw(picture);
    mep_picture_destroy(&picture);
    return status;
}
