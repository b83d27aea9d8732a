/* SPDX-License-Identifier: MIT */
/*
 * Layers that differ in a config.json of Hugging Face: sliding windows and layers without rotary, as a position
 * encoding with one entry per layer, and back. A window of W keys is the same here and there: distances 0 to W - 1.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "bias/position.h"
#include "io/family.h"
#include "io/json.h"

/* What a layer has. */
typedef struct layer {
    int nope;       /* 1: no rotary */
    int64_t window; /* 0: none */
} layer;

/* The keys of a config.json. */
typedef struct source {
    const mep_family *family;
    const json_t *object;
    const char *file;
    int64_t layers;
    int64_t window; /* sliding_window where it is used; 0: none */
} source;

/* The value of a key; NULL where it is missing or null. */
static const json_t *value_of(const source *s, const char *key)
{
    const json_t *value = json_object_get(s->object, key);
    return json_is_null(value) ? NULL : value;
}

static mep_status fail_list(const source *s, const char *key, const char *what)
{
    return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be a list of %s, one per layer (%lld)", s->file, key, what,
                    (long long)s->layers);
}

/* Mistral uses sliding_window wherever it is there; the others where use_sliding_window is true. */
static mep_status read_window(source *s)
{
    enum { MISTRAL = 4096, QWEN = 4096 };
    int uses = 1;
    int64_t fallback = s->family->layers == MEP_LAYERS_WINDOW        ? MISTRAL
                       : s->family->layers == MEP_LAYERS_WINDOW_LAST ? QWEN
                                                                     : 0;
    if (json_is_null(json_object_get(s->object, "sliding_window"))) fallback = 0;
    if (s->family->layers != MEP_LAYERS_WINDOW)
        MEP_TRY(mep_json_get_bool_or(s->object, s->file, "use_sliding_window", 0, &uses));
    s->window = 0;
    if (!uses) return MEP_OK;
    return mep_json_get_int_or(s->object, s->file, "sliding_window", 1, (int64_t)1 << 31, fallback, &s->window);
}

/* layer_types: "full_attention" or "sliding_attention" */
static mep_status read_types(const source *s, layer *layers)
{
    const json_t *types = value_of(s, "layer_types");
    if ((int64_t)json_array_size(types) != s->layers) return fail_list(s, "layer_types", "names");
    for (int64_t i = 0; i < s->layers; i++) {
        const char *name = json_string_value(json_array_get(types, (size_t)i));
        int sliding = name != NULL && strcmp(name, "sliding_attention") == 0;
        if (!sliding && (name == NULL || strcmp(name, "full_attention") != 0))
            return mep_fail(MEP_ERROR_UNSUPPORTED,
                            "%s: %s \"layer_types\" has a type that is not supported here; \"full_attention\" and "
                            "\"sliding_attention\" are",
                            s->file, s->family->model_type);
        if (sliding && s->window == 0)
            return mep_fail(MEP_ERROR_UNSUPPORTED,
                            "%s: %s \"layer_types\" has sliding_attention, but \"sliding_window\" is not used; set "
                            "use_sliding_window and sliding_window, or full_attention",
                            s->file, s->family->model_type);
        layers[i].window = sliding ? s->window : 0;
    }
    return MEP_OK;
}

/* no_rope_layers: 1 for a layer with rotary, 0 for one without. Its default is every no_rope_layer_interval-th layer
 * without. */
static mep_status read_rope_layers(const source *s, layer *layers)
{
    int64_t interval = 4;
    const json_t *list = value_of(s, "no_rope_layers");
    if (list == NULL)
        MEP_TRY(mep_json_get_int_or(s->object, s->file, "no_rope_layer_interval", 1, (int64_t)1 << 31, 4, &interval));
    else if ((int64_t)json_array_size(list) < s->layers)
        return fail_list(s, "no_rope_layers", "0 and 1");
    for (int64_t i = 0; i < s->layers; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        json_int_t number = json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
        if (list != NULL && !(json_is_boolean(value) || json_is_integer(value)))
            return fail_list(s, "no_rope_layers", "0 and 1");
        if (number != 0 && number != 1) return fail_list(s, "no_rope_layers", "0 and 1");
        layers[i].nope = list != NULL ? number == 0 : (i + 1) % interval == 0;
    }
    return MEP_OK;
}

static mep_status read_layers(source *s, layer *layers)
{
    int64_t first = 28; /* max_window_layers: layers before it have no window */
    MEP_TRY(read_window(s));
    if (s->family->layers == MEP_LAYERS_WITHOUT_ROPE) MEP_TRY(read_rope_layers(s, layers));
    if (s->family->layers == MEP_LAYERS_WINDOW_LAST)
        MEP_TRY(mep_json_get_int_or(s->object, s->file, "max_window_layers", 0, (int64_t)1 << 31, first, &first));
    if (s->family->layers != MEP_LAYERS_WINDOW && value_of(s, "layer_types") != NULL) return read_types(s, layers);
    for (int64_t i = 0; i < s->layers; i++) {
        int slides = s->family->layers == MEP_LAYERS_WITHOUT_ROPE  ? layers[i].nope
                     : s->family->layers == MEP_LAYERS_WINDOW_LAST ? i >= first
                                                                   : 1;
        layers[i].window = slides ? s->window : 0;
    }
    return MEP_OK;
}

/* The length of the shortest list of layers that repeats. */
static int64_t period_of(const source *s, const layer *layers)
{
    for (int64_t period = 1; period < s->layers; period++) {
        int64_t i = period;
        while (i < s->layers && layers[i].nope == layers[i % period].nope &&
               layers[i].window == layers[i % period].window)
            i++;
        if (i == s->layers) return period;
    }
    return s->layers;
}

/* The entries of the layers, joined by "|". */
static mep_status print_layers(const source *s, const layer *layers, const char *rotary, mep_string_builder *text)
{
    for (int64_t i = 0, count = period_of(s, layers); i < count; i++) {
        MEP_TRY(mep_string_add(text, "%s%s", i > 0 ? "|" : "", layers[i].nope ? "nope" : rotary));
        if (layers[i].window > 0) MEP_TRY(mep_string_add(text, "/window=%lld", (long long)layers[i].window));
    }
    return MEP_OK;
}

mep_status mep_family_read_layers(const mep_family *family, const json_t *object, const char *file, mep_model_config *c)
{
    source s = {.family = family, .object = object, .file = file, .layers = c->num_hidden_layers};
    mep_string_builder text = {.text = NULL};
    layer *layers = NULL;
    mep_status status = MEP_OK;
    MEP_TRY(MEP_ALLOC(&layers, s.layers));
    MEP_TRY_OR(status, read_layers(&s, layers), done);
    MEP_TRY_OR(status, print_layers(&s, layers, c->position_encoding, &text), done);
    if (text.length < MEP_POSITION_SIZE)
        memcpy(c->position_encoding, text.text, (size_t)text.length + 1);
    else
        status = mep_fail(MEP_ERROR_UNSUPPORTED,
                          "%s: the position encoding of %lld different layers is longer than %d characters", file,
                          (long long)s.layers, MEP_POSITION_SIZE - 1);
done:
    mep_free(&text.text);
    mep_free(&layers);
    return status;
}

/* ---- Writing ---- */

const mep_position_entry *mep_family_rotary_entry(const mep_position *position)
{
    for (int i = 0; i < position->count; i++)
        if (position->entries[i].kind == MEP_POSITION_ROTARY) return &position->entries[i];
    return NULL;
}

/* The window of the layers that have one, which is the same in all of them; 0: none has. */
static int64_t window_of(const mep_position *position)
{
    int64_t window = 0;
    for (int i = 0; i < position->count; i++)
        if (position->entries[i].window > 0) window = position->entries[i].window;
    return window;
}

int mep_family_fits_layers(const mep_family *family, const mep_position *position)
{
    const mep_position_entry *rotary = mep_family_rotary_entry(position);
    int64_t window = window_of(position);
    if (rotary == NULL || (family->layers == MEP_LAYERS_EQUAL && window > 0)) return 0;
    if (position->count > 1 && (family->layers == MEP_LAYERS_EQUAL || family->layers == MEP_LAYERS_WINDOW)) return 0;
    for (int i = 0; i < position->count; i++) {
        const mep_position_entry *e = &position->entries[i];
        int is_rotary = e->kind == MEP_POSITION_ROTARY && mep_rotary_same(&e->rotary, &rotary->rotary);
        int is_nope = e->kind == MEP_POSITION_NONE && family->layers == MEP_LAYERS_WITHOUT_ROPE;
        int has_terms = e->forget || e->rank > 0 || e->scale != MEP_SCALE_NONE || e->sink;
        if ((!is_rotary && !is_nope) || has_terms || (e->window != 0 && e->window != window)) return 0;
    }
    return 1;
}

/* layer_types, of the layers of a window. */
static json_t *layer_types(const mep_position *position, int64_t layers)
{
    json_t *types = json_array();
    for (int64_t i = 0; i < layers; i++) {
        int slides = mep_position_of_layer(position, i)->window > 0;
        json_array_append_new(types, json_string(slides ? "sliding_attention" : "full_attention"));
    }
    return types;
}

/* no_rope_layers: 1 for a layer with rotary. */
static json_t *rope_layers(const mep_position *position, int64_t layers)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < layers; i++)
        json_array_append_new(list, json_integer(mep_position_of_layer(position, i)->kind == MEP_POSITION_ROTARY));
    return list;
}

int mep_family_write_layers(const mep_family *family, const mep_position *position, int64_t layers, json_t *object)
{
    int64_t window = window_of(position);
    int failed = 0;
    if (family->layers == MEP_LAYERS_EQUAL) return 0;
    failed |= json_object_set_new(object, "sliding_window", window > 0 ? json_integer(window) : json_null());
    if (family->layers == MEP_LAYERS_WITHOUT_ROPE)
        failed |= json_object_set_new(object, "no_rope_layers", rope_layers(position, layers));
    if (family->layers == MEP_LAYERS_WINDOW) return failed;
    failed |= json_object_set_new(object, "use_sliding_window", json_boolean(window > 0));
    return failed | json_object_set_new(object, "layer_types", layer_types(position, layers));
}
