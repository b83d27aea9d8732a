/* SPDX-License-Identifier: MIT */
/*
 * Curves of biases.
 */
#include "cli/plot_biases.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/picture.h"
#include "io/files.h"
#include "mep/study.h"

enum { MAX_POINTS = 1000, HEAD_DIM = 64, DISTANCE = 512, LENGTHS = 4 };

/* A bias to draw, and if a run learns it, the bias before the first step (otherwise NULL). */
typedef struct curve {
    const char *name; /* in the legend */
    mep_bias *bias, *before;
    int64_t index; /* of its encoding in the study to which it belongs; -1 if there is none */
} curve;

/* A picture: models, then specs. */
typedef struct drawing {
    mep_plot_biases_options o; /* with the defaults filled in */
    curve curves[2 * MEP_ARGS_LIST];
    int64_t count, head_dim;
    int64_t distances[MAX_POINTS], points;
    mep_picture *picture;
} drawing;

static void drawing_free(drawing *d)
{
    for (int64_t i = 0; i < d->count; i++) {
        mep_bias_destroy(&d->curves[i].bias);
        mep_bias_destroy(&d->curves[i].before);
    }
    mep_picture_destroy(&d->picture);
}

/* ---- Biases ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

/* The bias of a model with initial parameters. */
static mep_status bias_of(mep_bias **copy, const mep_model *model, int64_t head_dim)
{
    int64_t heads = mep_bias_heads(mep_model_get_bias(model));
    MEP_TRY(mep_bias_create_from(copy, mep_model_get_position(model), heads, head_dim));
    return mep_bias_set_train_length(*copy, mep_model_get_config(model)->max_position_embeddings);
}

/* Copy the bias of a model. */
static mep_status copy_bias(mep_bias **copy, const mep_model *model, int64_t head_dim)
{
    const mep_bias *bias = mep_model_get_bias(model);
    MEP_TRY(bias_of(copy, model, head_dim));
    return mep_bias_set_params(*copy, mep_bias_params(bias), mep_bias_param_values(bias));
}

/* The bias of a run before its first step, from its seed; none if the run started from the weights of a model. */
static mep_status find_before(curve *c, const char *folder, const mep_model *model, int64_t head_dim)
{
    mep_train_settings settings;
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, "train.json"));
    int is_run = mep_file_exists(path);
    mep_free(&path);
    if (!is_run || mep_bias_param_values(c->bias) == 0) return MEP_OK;
    MEP_TRY(mep_train_read_settings(folder, &settings));
    if (settings.init[0] != '\0') return MEP_OK;
    MEP_TRY(bias_of(&c->before, model, head_dim));
    mep_bias_init(c->before, settings.seed);
    return MEP_OK;
}

/* The number of heads and the training length are those of the first model. */
static mep_status check_sizes(drawing *d, const char *folder, const mep_model_config *config, int is_first)
{
    if (is_first) {
        d->o.heads = config->num_attention_heads;
        d->head_dim = mep_model_config_head_dim(config);
        if (d->o.train_length == 0) d->o.train_length = config->max_position_embeddings;
        if (d->o.max_distance == 0) d->o.max_distance = LENGTHS * config->max_position_embeddings;
    }
    if (config->num_attention_heads == d->o.heads) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s has %lld heads and %s has %lld; draw two pictures", d->o.models.values[0],
                    (long long)d->o.heads, folder, (long long)config->num_attention_heads);
}

static mep_status add_model(drawing *d, const char *folder, int is_first)
{
    mep_model *model = NULL;
    MEP_TRY(mep_model_load(&model, folder));
    const mep_model_config *config = mep_model_get_config(model);
    const mep_bias *bias = mep_model_get_bias(model);
    mep_status status = bias != NULL
                            ? check_sizes(d, folder, config, is_first)
                            : mep_fail(MEP_ERROR_ARGUMENT, "%s: its position encoding, %s, is not a distance bias",
                                       folder, config->position_encoding);
    int64_t head_dim = mep_model_config_head_dim(config);
    curve *c = &d->curves[d->count++];
    c->name = last_part(folder);
    c->index = mep_study_encoding_index(folder, config->position_encoding);
    if (status == MEP_OK) status = copy_bias(&c->bias, model, head_dim);
    if (status == MEP_OK) status = find_before(c, folder, model, head_dim);
    mep_model_destroy(&model);
    return status;
}

/* Models come first, since specs get their number of heads. */
static mep_status add_biases(drawing *d)
{
    for (int64_t i = 0; i < d->o.models.count; i++) MEP_TRY(add_model(d, d->o.models.values[i], i == 0));
    for (int64_t i = 0; i < d->o.specs.count; i++) {
        curve *c = &d->curves[d->count++];
        c->name = d->o.specs.values[i];
        c->index = -1;
        MEP_TRY(mep_bias_create(&c->bias, c->name, d->o.heads, d->head_dim));
        if (d->o.train_length > 0) MEP_TRY(mep_bias_set_train_length(c->bias, d->o.train_length));
    }
    return MEP_OK;
}

/* ---- Lines ---- */

/* Check the heads that --head gives. The default is the middle head if several biases are drawn, and up to eight heads,
 * evenly spread, if one is. Heads are numbered from 1. */
static mep_status choose_heads(drawing *d)
{
    mep_lengths *shown = &d->o.shown;
    int64_t heads = d->o.heads;
    for (int64_t i = 0; i < shown->count; i++)
        if (shown->values[i] > heads)
            return mep_fail(MEP_ERROR_ARGUMENT, "--head: there is no head %lld of %lld", (long long)shown->values[i],
                            (long long)heads);
    if (shown->count > 0) return MEP_OK;
    int64_t count = d->count > 1 ? 1 : heads < 8 ? heads : 8;
    shown->count = count;
    for (int64_t i = 0; i < count; i++)
        shown->values[i] = count == 1 ? (heads + 1) / 2 : 1 + i * (heads - 1) / (count - 1);
    return MEP_OK;
}

/* The positions of the query at which a bias is drawn: one that has all distances, if none is given. A bias that does
 * not depend on it is drawn once. */
static int64_t query_count(const drawing *d, const mep_bias *bias)
{
    return mep_bias_threshold(bias) == INT64_MAX || d->o.queries.count == 0 ? 1 : d->o.queries.count;
}

static int64_t query_at(const drawing *d, const mep_bias *bias, int64_t n)
{
    int64_t threshold = mep_bias_threshold(bias), last = d->o.max_distance;
    if (threshold == INT64_MAX) return last;
    return d->o.queries.count > 0 ? d->o.queries.values[n] : last > threshold ? last : threshold;
}

/* What a curve shows: a head of a bias, for a query at a position. */
typedef struct line {
    const mep_bias *bias;
    int64_t head, query;
    int is_before;
} line;

/* The label of a curve: the bias, the head, or both if the picture has several of each. The caller frees it. */
static mep_status curve_label(const drawing *d, const curve *c, const line *l, char **label)
{
    const char *before = l->is_before ? ", before training" : "";
    char query[40] = "";
    if (mep_bias_threshold(l->bias) < INT64_MAX) snprintf(query, sizeof query, ", query at %lld", (long long)l->query);
    if (d->o.shown.count == 1) return mep_format(label, "%s%s%s", c->name, query, before);
    if (d->count == 1) return mep_format(label, "head %lld%s%s", (long long)l->head, query, before);
    return mep_format(label, "%s, head %lld%s%s", c->name, (long long)l->head, query, before);
}

/* Add the curve of one head with line type `style`; values [heads, count]. */
static mep_status add_line(drawing *d, const char *label, const double *values, int64_t count, int64_t head, int style)
{
    MEP_TRY(mep_picture_add_curve(d->picture, &(mep_picture_curve){.label = label, .style = style}));
    for (int64_t k = 0; k < count; k++) {
        double row[] = {(double)d->distances[k], values[(head - 1) * count + k]};
        mep_picture_add_row(d->picture, row, 2);
    }
    return MEP_OK;
}

/* Add the shown heads of a bias for a query, with line types from `first`. The bias before training is dashed, in the
 * colors of the trained bias. */
static mep_status add_query(drawing *d, const curve *c, line l, int64_t first, double *values)
{
    int64_t count = 0;
    while (count < d->points && d->distances[count] <= l.query) count++;
    MEP_TRY(mep_bias_at_position(l.bias, l.query, d->distances, count, values));
    for (int64_t i = 0; i < d->o.shown.count; i++) {
        char *label = NULL;
        int64_t style = first + i;
        l.head = d->o.shown.values[i];
        mep_status status = curve_label(d, c, &l, &label);
        if (status == MEP_OK)
            status = add_line(
                d, label, values, count, l.head,
                (int)(l.is_before ? MEP_PICTURE_COLORS + style % MEP_PICTURE_COLORS : style % MEP_PICTURE_STYLES) + 1);
        mep_free(&label);
        MEP_TRY(status);
    }
    return MEP_OK;
}

static mep_status add_heads(drawing *d, const curve *c, const mep_bias *bias, int64_t first)
{
    double *values = NULL;
    int64_t size;
    MEP_TRY(mep_multiply(d->o.heads, d->points, 1, &size));
    MEP_TRY(MEP_ALLOC(&values, size));
    mep_status status = MEP_OK;
    for (int64_t n = 0; n < query_count(d, bias) && status == MEP_OK; n++) {
        const line l = {.bias = bias, .query = query_at(d, bias, n), .is_before = bias == c->before};
        status = add_query(d, c, l, first + n * d->o.shown.count, values);
    }
    mep_free(&values);
    return status;
}

/* The line type of the first head. If each bias has one curve, it has the color of its encoding in the study. */
static int64_t first_style(const drawing *d, int64_t i)
{
    if (d->o.shown.count == 1 && d->curves[i].index >= 0) return d->curves[i].index;
    int64_t styles = 0;
    for (int64_t before = 0; before < i; before++) styles += query_count(d, d->curves[before].bias) * d->o.shown.count;
    return styles;
}

static mep_status add_lines(drawing *d)
{
    int64_t last = d->o.max_distance;
    d->points = last < MAX_POINTS ? last + 1 : MAX_POINTS;
    for (int64_t k = 0; k < d->points; k++)
        d->distances[k] = (int64_t)((double)k * (double)last / (double)(d->points > 1 ? d->points - 1 : 1) + 0.5);
    for (int64_t i = 0; i < d->count; i++) MEP_TRY(add_heads(d, &d->curves[i], d->curves[i].bias, first_style(d, i)));
    for (int64_t i = 0; i < d->count; i++)
        if (d->curves[i].before != NULL) MEP_TRY(add_heads(d, &d->curves[i], d->curves[i].before, first_style(d, i)));
    return MEP_OK;
}

/* ---- The picture ---- */

static mep_status find_title(const drawing *d, char **title)
{
    const char *spec = d->o.models.count > 0 ? mep_bias_spec(d->curves[0].bias) : d->curves[0].name;
    long long heads = d->o.heads;
    if (d->o.title != NULL) return mep_copy_string(title, d->o.title);
    if (d->count > 1) spec = "Distance biases";
    if (d->o.shown.count > 1) return mep_format(title, "%s, %lld heads", spec, heads);
    return mep_format(title, "%s, head %lld of %lld", spec, (long long)d->o.shown.values[0], heads);
}

static mep_status begin(drawing *d, char **png)
{
    char *title = NULL;
    MEP_TRY(mep_copy_string(png, d->o.out != NULL ? d->o.out : "bias.png"));
    MEP_TRY(mep_picture_begin(&d->picture, *png, MEP_PICTURE_KERNELS));
    MEP_TRY(find_title(d, &title));
    mep_picture_set_text(d->picture, "heading", title);
    mep_picture_set_number(d->picture, "train_length", (double)d->o.train_length);
    mep_picture_set_number(d->picture, "lowest", d->o.floor);
    mep_free(&title);
    return MEP_OK;
}

/* A position of the query is of no use where no bias depends on it. */
static mep_status check_queries(const drawing *d)
{
    int64_t depends = 0;
    for (int64_t i = 0; i < d->count; i++) depends += mep_bias_threshold(d->curves[i].bias) < INT64_MAX;
    if (depends > 0 || d->o.queries.count == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "--query-position: no bias depends on the position of the query");
}

mep_status mep_plot_biases(char **png, const mep_plot_biases_options *options)
{
    drawing *d = NULL;
    MEP_TRY(MEP_ALLOC(&d, 1));
    d->o = *options;
    d->head_dim = HEAD_DIM;
    mep_status status = add_biases(d);
    if (d->o.max_distance == 0) d->o.max_distance = DISTANCE;
    if (status == MEP_OK) status = check_queries(d);
    if (status == MEP_OK) status = choose_heads(d);
    if (status == MEP_OK) status = begin(d, png);
    if (status == MEP_OK) status = add_lines(d);
    if (status == MEP_OK) status = mep_picture_draw(d->picture);
    drawing_free(d);
    mep_free(&d);
    return status;
}
