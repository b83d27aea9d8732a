/* SPDX-License-Identifier: MIT */
/*
 * Curves of profiles, and of the decay that forget gates have on average at the start: what the gate's bias alone gives
 * per token.
 */
#include "cli/plot_terms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/picture.h"
#include "mep/model.h"

enum { MAX_POINTS = 1000, LENGTHS = 4, MOST_CURVES = 8 };

/* The parameter of a term, and what its curves are. */
typedef struct term_kind {
    const char *parameter; /* the end of its name */
    const char *name, *of, *y_heading;
    const char *missing; /* what a model without it lacks */
} term_kind;

static const term_kind KINDS[] = {
    [MEP_PLOT_PROFILES] = {"position_bias.profiles.bank", "Profiles", "profile",
                           "profile P(d) (nats per unit of weight)", "profiles"},
    [MEP_PLOT_FORGET] = {"position_bias.forget.bias", "Decay by the bias of forget gates", "head",
                         "d log sigmoid(bias of the gate) (nats)", "forget gates with a bias"},
};

typedef struct drawing {
    mep_plot_terms_options o; /* with the defaults filled in */
    const term_kind *kind;
    mep_model *model;
    mep_picture *picture;
} drawing;

/* The layer, from 1, that a parameter belongs to where it is that of the term; otherwise 0. */
static int64_t layer_of(const drawing *d, const mep_parameter *p)
{
    size_t length = strlen(p->name), end = strlen(d->kind->parameter);
    const char *layers = strstr(p->name, ".layers.");
    if (layers == NULL || length < end || strcmp(p->name + length - end, d->kind->parameter) != 0) return 0;
    return strtoll(layers + strlen(".layers."), NULL, 10) + 1;
}

/* The term's parameter in a layer; layer 0: in the first one that has it. */
static mep_status find_parameter(const drawing *d, int64_t layer, mep_parameter *p, int64_t *found)
{
    for (int64_t i = 0; i < mep_model_parameter_count(d->model); i++) {
        MEP_TRY(mep_model_get_parameter(d->model, i, p));
        *found = layer_of(d, p);
        if (*found > 0 && (layer == 0 || layer == *found)) return MEP_OK;
    }
    if (layer > 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: layer %lld has no %s", d->o.model, (long long)layer, d->kind->missing);
    return mep_fail(MEP_ERROR_ARGUMENT, "%s: its position encoding, %s, has no %s", d->o.model,
                    mep_model_get_config(d->model)->position_encoding, d->kind->missing);
}

/* The default curves of `count`: up to eight of them. */
static mep_status choose_shown(drawing *d, int64_t count)
{
    mep_lengths *shown = &d->o.shown;
    for (int64_t i = 0; i < shown->count; i++)
        if (shown->values[i] > count)
            return mep_fail(MEP_ERROR_ARGUMENT, "--head: there is no %s %lld of %lld", d->kind->of,
                            (long long)shown->values[i], (long long)count);
    if (shown->count > 0) return MEP_OK;
    shown->count = count < MOST_CURVES ? count : MOST_CURVES;
    for (int64_t i = 0; i < shown->count; i++)
        shown->values[i] = shown->count == 1 ? 1 : 1 + i * (count - 1) / (shown->count - 1);
    return MEP_OK;
}

/* Sizes, layers and curves that are not given. */
static mep_status set_defaults(drawing *d)
{
    mep_parameter p;
    int64_t first = 0, train = mep_model_get_config(d->model)->max_position_embeddings;
    MEP_TRY(find_parameter(d, 0, &p, &first));
    if (d->o.layers.count == 0) d->o.layers = (mep_lengths){1, {first}};
    if (d->o.train_length == 0) d->o.train_length = train;
    if (d->o.max_distance == 0) d->o.max_distance = p.ndim == 2 ? p.shape[1] - 1 : LENGTHS * train;
    return choose_shown(d, p.shape[0]);
}

/* The value of curve `index`, from 0, at a distance. */
static double value_at(const mep_parameter *p, int64_t index, int64_t distance)
{
    if (p->ndim == 2) return distance < p->shape[1] ? (double)p->values[index * p->shape[1] + distance] : 0;
    return -(double)distance * log1p(exp(-(double)p->values[index]));
}

static mep_status add_curve(drawing *d, const mep_parameter *p, int64_t layer, int64_t number, int style)
{
    int64_t last = d->o.max_distance, points = last < MAX_POINTS ? last + 1 : MAX_POINTS;
    char *label = NULL;
    MEP_TRY(mep_format(&label, "layer %lld, %s %lld", (long long)layer, d->kind->of, (long long)number));
    mep_status status = mep_picture_add_curve(d->picture, &(mep_picture_curve){.label = label, .style = style});
    mep_free(&label);
    MEP_TRY(status);
    for (int64_t k = 0; k < points; k++) {
        double part = points > 1 ? (double)k / (double)(points - 1) : 0;
        int64_t distance = (int64_t)(part * (double)last + 0.5);
        double row[] = {(double)distance, value_at(p, number - 1, distance)};
        mep_picture_add_row(d->picture, row, 2);
    }
    return MEP_OK;
}

static mep_status add_curves(drawing *d)
{
    for (int64_t l = 0; l < d->o.layers.count; l++) {
        mep_parameter p;
        int64_t layer;
        MEP_TRY(find_parameter(d, d->o.layers.values[l], &p, &layer));
        for (int64_t i = 0; i < d->o.shown.count; i++) {
            int64_t style = (l * d->o.shown.count + i) % MEP_PICTURE_STYLES + 1;
            if (d->o.shown.values[i] <= p.shape[0]) MEP_TRY(add_curve(d, &p, layer, d->o.shown.values[i], (int)style));
        }
    }
    return MEP_OK;
}

static mep_status draw(drawing *d, char **png)
{
    MEP_TRY(mep_model_load(&d->model, d->o.model));
    MEP_TRY(set_defaults(d));
    MEP_TRY(mep_copy_string(png, d->o.out != NULL ? d->o.out : "term.png"));
    MEP_TRY(mep_picture_begin(&d->picture, *png, MEP_PICTURE_KERNELS));
    mep_picture_set_text(d->picture, "heading", d->o.title != NULL ? d->o.title : d->kind->name);
    mep_picture_set_text(d->picture, "y_heading", d->kind->y_heading);
    mep_picture_set_number(d->picture, "train_length", (double)d->o.train_length);
    mep_picture_set_number(d->picture, "lowest", d->o.floor);
    MEP_TRY(add_curves(d));
    return mep_picture_draw(d->picture);
}

mep_status mep_plot_terms(char **png, const mep_plot_terms_options *options)
{
    drawing d = {.o = *options, .kind = &KINDS[options->term]};
    mep_status status = draw(&d, png);
    mep_picture_destroy(&d.picture);
    mep_model_destroy(&d.model);
    return status;
}
