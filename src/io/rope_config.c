/* SPDX-License-Identifier: MIT */
/*
 * Rotary settings between Hugging Face's config.json and a position spec, as transformers' modeling_rope_utils.py reads
 * them.
 */
#include "io/rope_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/json.h"
#include "model/layout.h"

/* ---- Reading ---- */

/* A config.json while its rotary settings are read. */
typedef struct reader {
    const mep_rope_source *from;
    const char *key;    /* of `parameters`, for messages */
    json_t *parameters; /* rope_scaling or rope_parameters; NULL: neither */
    const mep_model_config *config;
    char file[512]; /* the file and the key, for messages of the getters */
} reader;

/* The value of a key; NULL where it is missing or null. */
static json_t *value_of(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static mep_status refuse(const reader *r, const char *key, const char *possible)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: %s \"%s\" in \"%s\" is not supported here; %s", r->from->file,
                    r->from->model_type, key, r->key, possible);
}

/* The object with the parameters of the scaling. An empty one is as none. */
static mep_status find_parameters(reader *r)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2 && r->parameters == NULL; i++) {
        json_t *found = value_of(r->from->object, keys[i]);
        if (found != NULL && !json_is_object(found))
            return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be an object", r->from->file, keys[i]);
        if (json_object_size(found) == 0) continue;
        r->key = keys[i];
        r->parameters = found;
    }
    snprintf(r->file, sizeof r->file, "%s: \"%s\"", r->from->file, r->key);
    const char *key;
    json_t *value;
    json_object_foreach(r->parameters, key, value)
    {
        if (json_is_object(value)) return refuse(r, key, "one set of parameters for all layers is");
        if (strncmp(key, "mrope", 5) == 0) return refuse(r, key, "positions of one dimension are");
    }
    return MEP_OK;
}

/* A number that the parameters have, or the outer object by one of two names. */
static mep_status read_outer(const reader *r, const char *inner, const char *outer, const char *older, double low,
                             double high, double fallback, double *value)
{
    const char *name = value_of(r->from->object, older) != NULL ? older : outer;
    MEP_TRY(mep_json_get_number_or(r->from->object, r->from->file, name, low, high, fallback, value));
    if (value_of(r->parameters, inner) == NULL) return MEP_OK;
    return mep_json_get_number(r->parameters, r->file, inner, low, high, value);
}

static mep_status read_type(const reader *r, mep_rotary_scaling *scaling)
{
    const char *name = "default", *key = value_of(r->parameters, "rope_type") != NULL ? "rope_type" : "type";
    if (r->parameters != NULL) MEP_TRY(mep_json_get_string_or(r->parameters, r->file, key, "default", &name));
    for (int i = 0; i < MEP_ROTARY_SCALINGS; i++) {
        if (i == MEP_ROTARY_NTK || strcmp(mep_rotary_scaling_names[i], name) != 0) continue;
        *scaling = (mep_rotary_scaling)i;
        return MEP_OK;
    }
    char found[80];
    snprintf(found, sizeof found, "%s %.40s", key, name);
    return refuse(r, found, "default, linear, dynamic, yarn, longrope and llama3 are");
}

/* The length of training before scaling. The key of the outer object precedes. */
static mep_status read_original(const reader *r, mep_rotary_options *o)
{
    const char *key = "original_max_position_embeddings";
    int64_t value = r->config->max_position_embeddings;
    int outer = value_of(r->from->object, key) != NULL;
    if (o->scaling != MEP_ROTARY_DYNAMIC)
        MEP_TRY(mep_json_get_int_or(outer ? r->from->object : r->parameters, outer ? r->from->file : r->file, key, 2,
                                    (int64_t)1 << 31, value, &value));
    o->original = (double)value;
    return MEP_OK;
}

/* The factor; of yarn and longrope, by default that of the lengths. */
static mep_status read_factor(const reader *r, mep_rotary_options *o)
{
    if (value_of(r->parameters, "factor") != NULL ||
        (o->scaling != MEP_ROTARY_YARN && o->scaling != MEP_ROTARY_LONGROPE))
        return mep_json_get_number(r->parameters, r->file, "factor", 1, 1e6, &o->factor);
    o->factor = fmax((double)r->config->max_position_embeddings / o->original, 1);
    return MEP_OK;
}

/* transformers' get_mscale */
static double mscale_of(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static mep_status read_yarn(const reader *r, mep_rotary_options *o)
{
    double mscale = 0, all = 0;
    int truncate = 1;
    MEP_TRY(mep_json_get_number_or(r->parameters, r->file, "attention_factor", 0.001, 1000, 0, &o->attention_factor));
    MEP_TRY(mep_json_get_number_or(r->parameters, r->file, "mscale", 0, 1000, 0, &mscale));
    MEP_TRY(mep_json_get_number_or(r->parameters, r->file, "mscale_all_dim", 0, 1000, 0, &all));
    MEP_TRY(mep_json_get_number_or(r->parameters, r->file, "beta_fast", 0, 1e6, 32, &o->beta_fast));
    MEP_TRY(mep_json_get_number_or(r->parameters, r->file, "beta_slow", 0, 1e6, 1, &o->beta_slow));
    MEP_TRY(mep_json_get_bool_or(r->parameters, r->file, "truncate", 1, &truncate));
    if (o->attention_factor == 0 && mscale > 0 && all > 0)
        o->attention_factor = mscale_of(o->factor, mscale) / mscale_of(o->factor, all);
    if (o->beta_fast == 0) o->beta_fast = 32; /* as transformers' "or" */
    if (o->beta_slow == 0) o->beta_slow = 1;
    o->truncate = truncate;
    return MEP_OK;
}

static mep_status read_list(const reader *r, const char *key, double **list, int64_t *count)
{
    enum { MOST = 4096 };
    const json_t *values = value_of(r->parameters, key);
    int64_t size = (int64_t)json_array_size(values);
    if (size < 1 || size > MOST)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be a list of 1 to %d numbers", r->file, key, MOST);
    MEP_TRY(MEP_ALLOC(list, size));
    for (int64_t i = 0; i < size; i++) {
        const json_t *value = json_array_get(values, (size_t)i);
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number >= 1e-6 && number <= 1e6))
            return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be a list of numbers from 1e-6 to 1e6", r->file, key);
        (*list)[i] = number;
    }
    *count = size;
    return MEP_OK;
}

static mep_status read_longrope(const reader *r, mep_rotary_options *o)
{
    int64_t longs = 0;
    MEP_TRY(mep_json_get_number_or(r->parameters, r->file, "attention_factor", 0.001, 1000, 0, &o->attention_factor));
    MEP_TRY(read_list(r, "short_factor", &o->short_factor, &o->factors));
    MEP_TRY(read_list(r, "long_factor", &o->long_factor, &longs));
    if (longs == o->factors) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: \"short_factor\" and \"long_factor\" have different lengths", r->file);
}

static mep_status read_options(const reader *r, mep_rotary_options *o)
{
    MEP_TRY(read_type(r, &o->scaling));
    if (o->scaling == MEP_ROTARY_DEFAULT) return MEP_OK;
    if (o->scaling != MEP_ROTARY_LINEAR) MEP_TRY(read_original(r, o));
    MEP_TRY(read_factor(r, o));
    if (o->scaling == MEP_ROTARY_YARN) return read_yarn(r, o);
    if (o->scaling == MEP_ROTARY_LONGROPE) return read_longrope(r, o);
    if (o->scaling != MEP_ROTARY_LLAMA3) return MEP_OK;
    MEP_TRY(mep_json_get_number(r->parameters, r->file, "low_freq_factor", 1e-6, 1e6, &o->low_freq_factor));
    return mep_json_get_number(r->parameters, r->file, "high_freq_factor", 1e-6, 1e6, &o->high_freq_factor);
}

static mep_status print_entry(const reader *r, const mep_rotary_options *o, char entry[MEP_POSITION_SIZE])
{
    mep_string_builder text = {.text = NULL};
    mep_status status = mep_string_add(&text, "rotary");
    if (status == MEP_OK) status = mep_rotary_print(&text, o);
    if (status == MEP_OK && text.length >= MEP_POSITION_SIZE) status = refuse(r, "long_factor", "shorter lists are");
    if (status == MEP_OK) memcpy(entry, text.text, (size_t)text.length + 1);
    mep_free(&text.text);
    return status;
}

mep_status mep_rope_read(const mep_rope_source *from, mep_model_config *config, char entry[MEP_POSITION_SIZE])
{
    reader r = {.from = from, .key = "rope_parameters", .config = config};
    mep_rotary_options options = mep_rotary_defaults();
    mep_status status = MEP_OK;
    MEP_TRY(find_parameters(&r));
    MEP_TRY(read_outer(&r, "rope_theta", "rope_theta", "rotary_emb_base", 1, 1e12, from->rope_theta,
                       &config->rotary_emb_base));
    MEP_TRY(read_outer(&r, "partial_rotary_factor", "partial_rotary_factor", "rotary_pct", 0, 1,
                       from->partial_rotary_factor, &config->rotary_pct));
    MEP_TRY_OR(status, read_options(&r, &options), done);
    status = print_entry(&r, &options, entry);
done:
    mep_rotary_free(&options);
    return status;
}

/* ---- Writing ---- */

/* Whether transformers computes the rotation. */
static mep_status check_expressible(const mep_model_config *c, const mep_rotary_options *o, const mep_rotary_model *m)
{
    if (rint(o->fraction * (double)(m->dims / 2)) != (double)(m->dims / 2))
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "transformers does not compute the rotary option \"fraction\" (%g) in this family",
                        o->fraction);
    if (o->scaling == MEP_ROTARY_DYNAMIC && m->original != c->max_position_embeddings)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "transformers computes scaling=dynamic for \"original\" = max_position_embeddings only, which "
                        "are %lld and %lld",
                        (long long)m->original, (long long)c->max_position_embeddings);
    return MEP_OK;
}

static int set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value);
}

static int set_list(json_t *object, const char *key, const double *list, int64_t count)
{
    json_t *array = json_array();
    int failed = array == NULL;
    for (int64_t i = 0; i < count && !failed; i++) failed = json_array_append_new(array, json_real(list[i]));
    if (!failed) return set(object, key, array);
    json_decref(array);
    return 1;
}

/* The parameters of the scaling; nonzero where memory is short. */
static int set_scaling(json_t *object, const mep_rotary_options *o, const mep_rotary_model *m)
{
    int failed = 0, scaled = o->scaling != MEP_ROTARY_DEFAULT && o->scaling != MEP_ROTARY_NTK;
    if (scaled) failed |= set(object, "factor", json_real(o->factor));
    if (o->scaling == MEP_ROTARY_YARN || o->scaling == MEP_ROTARY_LONGROPE || o->scaling == MEP_ROTARY_LLAMA3)
        failed |= set(object, "original_max_position_embeddings", json_integer(m->original));
    /* transformers 4 has another factor of longrope than 5, so the result is written */
    double attention = o->scaling == MEP_ROTARY_LONGROPE ? mep_rotary_attention_factor(o, m) : o->attention_factor;
    if (attention > 0) failed |= set(object, "attention_factor", json_real(attention));
    if (o->scaling == MEP_ROTARY_YARN) {
        failed |= set(object, "beta_fast", json_real(o->beta_fast)) | set(object, "beta_slow", json_real(o->beta_slow));
        if (o->truncate == 0) failed |= set(object, "truncate", json_false());
    }
    if (o->scaling == MEP_ROTARY_LLAMA3)
        failed |= set(object, "low_freq_factor", json_real(o->low_freq_factor)) |
                  set(object, "high_freq_factor", json_real(o->high_freq_factor));
    if (o->scaling == MEP_ROTARY_LONGROPE)
        failed |= set_list(object, "short_factor", o->short_factor, o->factors) |
                  set_list(object, "long_factor", o->long_factor, o->factors);
    return failed;
}

mep_status mep_rope_write(const mep_model_config *c, const mep_position_entry *entry, json_t **parameters)
{
    MEP_ASSERT(entry->kind == MEP_POSITION_ROTARY);
    const mep_rotary_options *o = &entry->rotary;
    const mep_rotary_model m = mep_rotary_model_of(c, o);
    int ntk = o->scaling == MEP_ROTARY_NTK;
    double partial = o->partial > 0 ? o->partial : c->rotary_pct;
    *parameters = NULL;
    MEP_TRY(check_expressible(c, o, &m));
    *parameters = json_pack("{s:s, s:f, s:f}", "rope_type", mep_rotary_scaling_names[ntk ? 0 : o->scaling],
                            "rope_theta", mep_rotary_base(o, &m, 0), "partial_rotary_factor", partial);
    if (*parameters != NULL && !set_scaling(*parameters, o, &m)) return MEP_OK;
    json_decref(*parameters);
    *parameters = NULL;
    return mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration");
}

/* Set the frequencies of a text of `length` tokens; nonzero where memory is short. */
static int set_frequencies(json_t *object, const char *key, const mep_rotary_options *o, const mep_rotary_model *m,
                           int64_t length, double *frequency)
{
    double factor = 1;
    mep_rotary_frequencies(o, m, length, frequency, &factor);
    return set_list(object, key, frequency, m->dims / 2) | set(object, "attention_factor", json_real(factor));
}

mep_status mep_rope_write_frequencies(const mep_model_config *c, const mep_position_entry *entry, json_t **rotary)
{
    MEP_ASSERT(entry->kind == MEP_POSITION_ROTARY);
    const mep_rotary_options *o = &entry->rotary;
    const mep_rotary_model m = mep_rotary_model_of(c, o);
    double *frequency = NULL;
    *rotary = NULL;
    MEP_TRY(MEP_ALLOC(&frequency, m.dims));
    json_t *object = json_object();
    int failed = object == NULL || set_frequencies(object, "frequencies", o, &m, m.original, frequency);
    if (!failed && mep_rotary_depends_on_length(o)) failed |= set(object, "original", json_integer(m.original));
    if (!failed && o->scaling == MEP_ROTARY_DYNAMIC) failed |= set(object, "dynamic_factor", json_real(o->factor));
    if (!failed && o->scaling == MEP_ROTARY_LONGROPE)
        failed |= set_frequencies(object, "long_frequencies", o, &m, m.original + 1, frequency);
    mep_free(&frequency);
    if (failed) json_decref(object);
    if (failed) return mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration");
    *rotary = object;
    return MEP_OK;
}
