/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing config.json by a family's table, and the family that can express a model.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "bias/position.h"
#include "io/family.h"
#include "io/json.h"
#include "io/rope_config.h"
#include "model/model_internal.h"

enum { PART = 64, LISTED = 256 };

/* The names of the functions in an MLP, by mep_mlp; the first of each is written. */
static const char *const ACTIVATIONS_OF[3][5] = {
    [MEP_MLP_GELU] = {"gelu", "gelu_python", NULL},
    [MEP_MLP_GELU_TANH] = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh", NULL},
    [MEP_MLP_SWIGLU] = {"silu", "swish", NULL}};

/* ---- Reading ---- */

/* The value of "a" or "a.b"; NULL where it is missing or null. */
static const json_t *look_up(const json_t *object, const char *name)
{
    char outer[PART];
    const char *dot = name != NULL ? strchr(name, '.') : NULL;
    if (name == NULL) return NULL;
    if (dot != NULL) {
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - name), name);
        object = json_object_get(object, outer);
        name = dot + 1;
    }
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

/* A value for a message, as one short line. */
static void value_text(const json_t *value, char text[PART])
{
    size_t size = json_dumpb(value, text, PART - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    text[size < PART - 1 ? size : PART - 1] = '\0';
    if (size >= PART - 1) snprintf(text, PART, "a longer value");
    for (char *c = text; *c != '\0'; c++) /* jansson does not escape this one */
        if (*c == 0x7F) *c = '?';
}

static mep_status refuse(const char *file, const mep_family *family, const char *key, const json_t *value,
                         const char *possible)
{
    char found[PART];
    value_text(value, found);
    return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: %s \"%s\" is %s, which is not supported here; %s is", file,
                    family->model_type, key, found, possible);
}

/* A missing or null key is accepted where transformers then uses a value that is computed here. */
static mep_status check_fixed(const mep_family *family, const mep_family_key *key, const char *file, const char *name,
                              const json_t *value)
{
    char possible[PART * 2];
    if (value == NULL && key->kind != MEP_KEY_REQUIRED_VALUE) return MEP_OK;
    if (value == NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "%s: %s \"%s\" is missing, which means a value that is not supported here; %.*s is", file,
                        family->model_type, name, (int)strlen(key->fixed) - 2, key->fixed + 1);
    json_t *values = json_loads(key->fixed, 0, NULL);
    int found = 0;
    for (size_t i = 0; i < json_array_size(values); i++) found |= json_equal(json_array_get(values, i), value);
    json_decref(values);
    if (found) return MEP_OK;
    snprintf(possible, sizeof possible, "%.*s", (int)strlen(key->fixed) - 2, key->fixed + 1);
    return refuse(file, family, name, value, possible);
}

static mep_status read_activation(const mep_family *family, const mep_family_key *key, const char *file,
                                  const json_t *value, mep_model_config *config)
{
    const char *name = json_string_value(value);
    int llama = config->block == MEP_BLOCK_LLAMA;
    for (int kind = llama ? MEP_MLP_SWIGLU : 0; kind < (llama ? 3 : 2) && name != NULL; kind++)
        for (int i = 0; ACTIVATIONS_OF[kind][i] != NULL; i++)
            if (strcmp(ACTIVATIONS_OF[kind][i], name) == 0) {
                config->mlp = (mep_mlp)kind;
                return MEP_OK;
            }
    return refuse(file, family, key->name, value, llama ? "\"silu\"" : "\"gelu\" or \"gelu_new\"");
}

/* One of a list, by its index. */
static mep_status read_choice(const mep_family *family, const mep_family_key *key, const char *file,
                              const json_t *value, int *index)
{
    char possible[PART * 2];
    json_t *values = json_loads(key->fixed, 0, NULL);
    int found = -1;
    for (size_t i = 0; i < json_array_size(values); i++)
        if (json_equal(json_array_get(values, i), value)) found = (int)i;
    json_decref(values);
    *index = found;
    if (found >= 0) return MEP_OK;
    snprintf(possible, sizeof possible, "one of %.*s", (int)strlen(key->fixed) - 2, key->fixed + 1);
    return refuse(file, family, key->name, value, possible);
}

/* The object that contains a key, and the key's name in it, for the getters of json.h. */
static const json_t *holder(const json_t *object, const char **name)
{
    char outer[PART];
    const char *dot = strchr(*name, '.');
    if (dot == NULL) return object;
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - *name), *name);
    *name = dot + 1;
    return json_object_get(object, outer);
}

/* Slopes other than ALiBi's: "exp:bias_max=16". */
static mep_status read_bias_max(const json_t *object, const char *file, const char *name, char *spec)
{
    double most = 0;
    char number[MEP_NUMBER_SIZE];
    MEP_TRY(mep_json_get_number(object, file, name, 0.01, 100, &most));
    mep_number_print(number, most);
    if (most != 8) snprintf(spec, MEP_POSITION_SIZE, "exp:bias_max=%s", number);
    return MEP_OK;
}

/* Whether a key is there with the value null, for which some families have another default than for a missing one. */
static int is_null(const json_t *object, const char *name)
{
    const json_t *inner = holder(object, &name);
    return json_is_null(json_object_get(inner, name));
}

/* Read one key of the family's table from config.json into the configuration, or check it. */
static mep_status read_key(const mep_family *family, const mep_family_key *key, const json_t *object, const char *file,
                           mep_model_config *config)
{
    void *field = (char *)config + key->field;
    const char *name = look_up(object, key->other) != NULL ? key->other : key->name;
    const json_t *value = look_up(object, name);
    int missing = value == NULL && key->fallback != MEP_KEY_REQUIRED;
    if (key->kind == MEP_KEY_FIXED || key->kind == MEP_KEY_CHECK || key->kind == MEP_KEY_REQUIRED_VALUE)
        return check_fixed(family, key, file, name, value);
    const json_t *inner = holder(object, &name);
    switch (key->kind) {
    case MEP_KEY_SIZE:
        *(int64_t *)field = (int64_t)key->fallback;
        return missing ? MEP_OK : mep_json_get_int(inner, file, name, 1, (int64_t)1 << 31, field);
    case MEP_KEY_SIZE_OR_DEFAULT:
    case MEP_KEY_KEY_VALUE_HEADS:
    case MEP_KEY_OWN_HEAD_DIM:
        *(int64_t *)field = is_null(object, key->name) ? 0 : (int64_t)key->fallback;
        return missing ? MEP_OK : mep_json_get_int(inner, file, name, 1, (int64_t)1 << 31, field);
    case MEP_KEY_REAL:
    case MEP_KEY_REAL_OR_DEFAULT:
        *(double *)field = key->kind == MEP_KEY_REAL ? key->fallback : 0;
        return missing ? MEP_OK : mep_json_get_number(inner, file, name, 0, 1e30, field);
    case MEP_KEY_FLAG:
        *(int *)field = (int)key->fallback;
        return missing ? MEP_OK : mep_json_get_bool(inner, file, name, field);
    case MEP_KEY_CHOICE:
        *(int *)field = 0;
        return missing ? MEP_OK : read_choice(family, key, file, value, field);
    case MEP_KEY_BIAS_MAX:
        return missing ? MEP_OK : read_bias_max(inner, file, name, field);
    case MEP_KEY_SAME_SIZE:
    case MEP_KEY_SAME_REAL:
    case MEP_KEY_HEAD_DIM:
        return MEP_OK; /* check_same, when all fields are known */
    default:
        config->mlp = config->block == MEP_BLOCK_LLAMA ? MEP_MLP_SWIGLU : (mep_mlp)key->fallback;
        return missing ? MEP_OK : read_activation(family, key, file, value, config);
    }
}

/* A key that must agree with others. */
static mep_status check_same(const mep_family *family, const mep_family_key *key, const json_t *object,
                             const char *file, const mep_model_config *config)
{
    const void *field = (const char *)config + key->field;
    const json_t *value = look_up(object, key->name);
    double want;
    char number[MEP_NUMBER_SIZE], possible[2 * PART];
    if (key->kind == MEP_KEY_SAME_SIZE)
        want = (double)*(const int64_t *)field;
    else if (key->kind == MEP_KEY_SAME_REAL)
        want = *(const double *)field;
    else if (key->kind == MEP_KEY_HEAD_DIM)
        want = (double)mep_head_dim(config);
    else
        return MEP_OK;
    if (value == NULL || (json_is_number(value) && json_number_value(value) == want)) return MEP_OK;
    mep_number_print(number, want);
    snprintf(possible, sizeof possible, "%s, as \"%s\" has it,", number, key->other);
    return refuse(file, family, key->name, value, possible);
}

/* A spec must be printable, since messages quote it. */
static mep_status check_printable(const char *file, const char *spec)
{
    for (const char *c = spec; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return mep_fail(MEP_ERROR_FORMAT, "%s: the position encoding is not printable text", file);
    return MEP_OK;
}

/* "position_encoding" */
static mep_status read_named_position(const json_t *object, const char *file, char *spec)
{
    const char *name = NULL;
    MEP_TRY(mep_json_get_string(object, file, "position_encoding", &name));
    if (strlen(name) >= MEP_POSITION_SIZE)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"position_encoding\" is longer than %d characters", file,
                        MEP_POSITION_SIZE - 1);
    snprintf(spec, MEP_POSITION_SIZE, "%s", name);
    return check_printable(file, spec);
}

/* "kernels": ["exp", "gauss"] as the spec "exp + gauss" */
static mep_status read_kernels(const json_t *kernels, const char *file, char *spec)
{
    if (!json_is_array(kernels) || json_array_size(kernels) == 0)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"kernels\" must be a list of kernel names", file);
    size_t used = 0;
    spec[0] = '\0';
    for (size_t i = 0; i < json_array_size(kernels); i++) {
        const char *kernel = json_string_value(json_array_get(kernels, i));
        if (kernel == NULL) return mep_fail(MEP_ERROR_FORMAT, "%s: \"kernels\" must be a list of kernel names", file);
        int length = snprintf(spec + used, MEP_POSITION_SIZE - used, "%s%s", i > 0 ? " + " : "", kernel);
        if (length < 0 || (size_t)length >= MEP_POSITION_SIZE - used)
            return mep_fail(MEP_ERROR_FORMAT, "%s: \"kernels\" is too long", file);
        used += (size_t)length;
    }
    return check_printable(file, spec);
}

/* From either key, or from both where they agree. */
static mep_status read_position(const json_t *object, const char *file, char *spec)
{
    char name[MEP_POSITION_SIZE];
    int same = 0;
    const json_t *kernels = look_up(object, "kernels");
    if (kernels == NULL) return read_named_position(object, file, spec);
    MEP_TRY(read_kernels(kernels, file, spec));
    if (look_up(object, "position_encoding") == NULL) return MEP_OK;
    MEP_TRY(read_named_position(object, file, name));
    mep_status status = mep_position_specs_same(name, spec, &same);
    if (status == MEP_ERROR_MEMORY) return status;
    if (status != MEP_OK) return mep_fail_in(MEP_ERROR_FORMAT, "%s: \"position_encoding\" and \"kernels\": ", file);
    if (same) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: \"position_encoding\" is %s, but \"kernels\" is %s; leave one of them out",
                    file, name, spec);
}

mep_status mep_family_of(const json_t *object, const char *file, const mep_family **family)
{
    const char *type = NULL;
    if (!json_is_object(object)) return mep_fail(MEP_ERROR_FORMAT, "%s: must hold a JSON object", file);
    MEP_TRY(mep_json_get_string_or(object, file, "model_type", "gpt_neox", &type));
    for (const mep_family *f = mep_families; f->model_type != NULL; f++)
        if (strcmp(f->model_type, type) == 0) {
            *family = f;
            return MEP_OK;
        }
    char possible[LISTED] = "";
    for (const mep_family *f = mep_families; f->model_type != NULL; f++) {
        size_t used = strlen(possible);
        const char *between = used == 0 ? "" : f[1].model_type != NULL ? ", " : " and ";
        snprintf(possible + used, sizeof possible - used, "%s%s", between, f->model_type);
    }
    if (strlen(type) > PART) type = "?";
    return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: model_type \"%s\" is not supported; %s are", file, type, possible);
}

/* Settings that no key gives. */
static void set_fixed(const mep_family *family, mep_model_config *c)
{
    if (c->block == MEP_BLOCK_LLAMA) c->norm = MEP_NORM_RMS;
    if (c->intermediate_size == 0) c->intermediate_size = 4 * c->hidden_size;
    if (family->residual != MEP_FREE) c->residual = (mep_residual)family->residual;
    if (family->mlp != MEP_FREE) c->mlp = (mep_mlp)family->mlp;
    if (family->embedding_norm != MEP_FREE) c->embedding_layer_norm = family->embedding_norm;
    if (family->no_bias != MEP_FREE) c->no_bias = family->no_bias;
    if (family->qkv_bias != MEP_FREE) c->qkv_bias = family->qkv_bias;
    if (family->qk_norm != MEP_FREE) c->qk_norm = (mep_qk_norm)family->qk_norm;
    if (family->post_norm != MEP_FREE) c->post_norm = family->post_norm;
}

/* "alibi" with slopes that are scaled as scores are: "exp:c=0.125" */
static void scale_slopes(mep_model_config *c)
{
    char number[MEP_NUMBER_SIZE];
    mep_number_print(number, 1 / sqrt((double)mep_head_dim(c)));
    snprintf(c->position_encoding, sizeof c->position_encoding, "exp:c=%s", number);
}

mep_status mep_family_read_config(const mep_family *family, const json_t *object, const char *file, mep_model_config *c)
{
    *c = (mep_model_config){.rotary_emb_base = 10000, .rotary_pct = 1, .block = family->block};
    if (family->position != NULL) snprintf(c->position_encoding, sizeof c->position_encoding, "%s", family->position);
    for (const mep_family_key *key = family->keys; key->name != NULL; key++)
        MEP_TRY(read_key(family, key, object, file, c));
    const mep_rope_source rope = {object, file, family->model_type, family->rope_theta, family->partial_rotary_factor};
    if (family->rope_theta > 0) MEP_TRY(mep_rope_read(&rope, c, c->position_encoding));
    set_fixed(family, c);
    for (const mep_family_key *key = family->keys; key->name != NULL; key++)
        MEP_TRY(check_same(family, key, object, file, c));
    if (family->scales_slopes) scale_slopes(c);
    int named = look_up(object, "position_encoding") != NULL || look_up(object, "kernels") != NULL;
    if (family->position == NULL || (family->older_own && named))
        MEP_TRY(read_position(object, file, c->position_encoding));
    mep_status status = mep_model_config_check(c);
    if (status == MEP_OK && family->layers != MEP_LAYERS_EQUAL) return mep_family_read_layers(family, object, file, c);
    return status == MEP_OK || status == MEP_ERROR_MEMORY ? status : mep_fail_in(MEP_ERROR_FORMAT, "%s: ", file);
}

/* ---- Writing ---- */

/* The value to write for a key: that of the configuration, or the one that the family requires. */
static json_t *key_value(const mep_family_key *key, const mep_model_config *config)
{
    const void *field = (const char *)config + key->field;
    switch (key->kind) {
    case MEP_KEY_SIZE:
    case MEP_KEY_SIZE_OR_DEFAULT:
        return json_integer((json_int_t) * (const int64_t *)field);
    case MEP_KEY_KEY_VALUE_HEADS:
        return json_integer((json_int_t)mep_key_value_heads(config));
    case MEP_KEY_OWN_HEAD_DIM:
        return json_integer((json_int_t)mep_head_dim(config));
    case MEP_KEY_REAL:
    case MEP_KEY_REAL_OR_DEFAULT:
        return json_real(*(const double *)field);
    case MEP_KEY_FLAG:
        return json_boolean(*(const int *)field);
    case MEP_KEY_BIAS_MAX:
        return json_integer((json_int_t)key->fallback);
    case MEP_KEY_ACTIVATION:
        return json_string(ACTIVATIONS_OF[*(const int *)field][0]);
    case MEP_KEY_CHOICE: {
        json_t *values = json_loads(key->fixed, 0, NULL);
        json_t *chosen = json_incref(json_array_get(values, (size_t) * (const int *)field));
        json_decref(values);
        return chosen;
    }
    default: {
        json_t *values = json_loads(key->fixed, 0, NULL), *first = json_incref(json_array_get(values, 0));
        json_decref(values);
        return first;
    }
    }
}

/* Set "a" or "a.b". */
static int set_value(json_t *object, const char *name, json_t *value)
{
    char outer[PART];
    const char *dot = strchr(name, '.');
    if (dot == NULL) return json_object_set_new(object, name, value);
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - name), name);
    if (json_object_get(object, outer) == NULL && json_object_set_new(object, outer, json_object()) != 0) {
        json_decref(value);
        return -1;
    }
    return json_object_set_new(json_object_get(object, outer), dot + 1, value);
}

/* The keys of a rotary position: base and fraction by the family's names, the others where the rotation is scaled.
 * rope_scaling is what transformers 4 reads; it knows its keys only. */
static mep_status add_rope(const mep_family *family, const mep_model_config *c, json_t *object)
{
    mep_position *position = NULL;
    json_t *rope = NULL, *older = NULL;
    int failed = 0;
    MEP_TRY(mep_position_create(&position, c->position_encoding));
    mep_status status = MEP_OK;
    const mep_position_entry *entry = mep_family_rotary_entry(position);
    if (entry == NULL) goto done;
    MEP_TRY_OR(status, mep_rope_write(c, entry, &rope), done);
    json_t *base = json_object_get(rope, "rope_theta"), *partial = json_object_get(rope, "partial_rotary_factor");
    if (family->block == MEP_BLOCK_LLAMA)
        failed |= json_object_set(object, "rope_theta", base);
    else
        failed |= json_object_set(object, "rotary_emb_base", base) | json_object_set(object, "rotary_pct", partial);
    failed |= mep_family_write_layers(family, position, c->num_hidden_layers, object);
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (strcmp(type, "default") != 0) {
        older = json_copy(rope);
        json_t *original = json_object_get(rope, "original_max_position_embeddings");
        if (strcmp(type, "longrope") == 0) /* where transformers 4 reads it */
            failed |= json_object_set(object, "original_max_position_embeddings", original);
        failed |= json_object_del(older, "rope_theta") | json_object_del(older, "partial_rotary_factor") |
                  json_object_set(object, "rope_scaling", older) | json_object_set(object, "rope_parameters", rope);
    }
    if (failed) status = mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration");
done:
    json_decref(older);
    json_decref(rope);
    mep_position_destroy(&position);
    return status;
}

static int is_written(const mep_family_key *key, const mep_model_config *config)
{
    const void *field = (const char *)config + key->field;
    if (key->kind == MEP_KEY_SIZE_OR_DEFAULT) return *(const int64_t *)field != 0;
    if (key->kind == MEP_KEY_CHOICE) return *(const int *)field != 0;
    if (key->kind == MEP_KEY_REAL_OR_DEFAULT)
        return *(const double *)field != 0 && *(const double *)field != key->fallback;
    return key->kind != MEP_KEY_CHECK && key->kind < MEP_KEY_SAME_SIZE;
}

json_t *mep_family_write_config(const mep_family *family, const mep_model_config *c)
{
    json_t *object = json_pack("{s:s, s:[s]}", "model_type", family->model_type, "architectures", family->architecture);
    int failed = object == NULL;
    for (const mep_family_key *key = family->keys; key->name != NULL && !failed; key++)
        if (is_written(key, c)) failed |= set_value(object, key->name, key_value(key, c)) != 0;
    if (family->position == NULL && !failed)
        failed |= set_value(object, "position_encoding", json_string(c->position_encoding)) != 0;
    if (family->rope_theta > 0 && !failed) failed |= add_rope(family, c, object) != MEP_OK;
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* ---- Which family ---- */

static int fits_switch(int family, int model)
{
    return family == MEP_FREE || family == (model != 0);
}

/* Whether the family has the model's encoding. */
static int fits_position(const mep_family *f, const mep_model *m)
{
    json_t *rope = NULL;
    if (f->rope_theta == 0) return strcmp(mep_position_spec(m->position), f->position) == 0;
    if (!mep_family_fits_layers(f, m->position)) return 0;
    const mep_position_entry *entry = mep_family_rotary_entry(m->position);
    int64_t rotated = mep_rotary_model_of(&m->config, &entry->rotary).dims;
    if (f->block == MEP_BLOCK_LLAMA && rotated != mep_head_dim(&m->config)) return 0; /* transformers 4 rotates all */
    int fits = mep_rope_write(&m->config, entry, &rope) == MEP_OK;
    json_decref(rope);
    return fits;
}

/* Whether the family has the model's heads and the width of its MLP. */
static int fits_sizes(const mep_family *f, const mep_model_config *c)
{
    if (f->block == MEP_BLOCK_GPT_NEOX && mep_dimension_of(c, DIM_HEADS) != c->hidden_size) return 0;
    return !f->wide_is_four || c->intermediate_size == 4 * c->hidden_size;
}

/* Whether the family has the model's norms, biases and MLP. */
static int fits_block(const mep_family *f, const mep_model_config *c)
{
    return f->block == c->block && fits_switch(f->residual, (int)c->residual) && fits_switch(f->mlp, (int)c->mlp) &&
           fits_switch(f->embedding_norm, c->embedding_layer_norm) && fits_switch(f->no_bias, c->no_bias) &&
           f->qkv_bias == c->qkv_bias && f->qk_norm == (int)c->qk_norm && f->post_norm == c->post_norm;
}

const mep_family *mep_family_for(const mep_model *model)
{
    const mep_model_config *c = &model->config;
    for (const mep_family *f = mep_families + 1; f->model_type != NULL; f++)
        if (!f->only_read && fits_block(f, c) && fits_sizes(f, c) && fits_position(f, model)) return f;
    return mep_families;
}
