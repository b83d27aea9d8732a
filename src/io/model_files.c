/* SPDX-License-Identifier: MIT */
/*
 * Loading models of any family. Tensors are matched by name and shape; nothing is guessed. export.c writes models.
 */
#include "io/model_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "bias/position.h"
#include "io/checkpoint.h"
#include "io/family.h"
#include "io/files.h"
#include "io/json.h"
#include "io/weights.h"
#include "model/model_internal.h"

mep_status mep_model_config_from_json(const json_t *object, const char *file, mep_model_config *config)
{
    const mep_family *family = NULL;
    MEP_TRY(mep_family_of(object, file, &family));
    return mep_family_read_config(family, object, file, config);
}

json_t *mep_model_config_to_json(const mep_model_config *config)
{
    return mep_family_write_config(mep_families, config);
}

mep_status mep_model_config_json(const mep_model_config *config, char **text)
{
    MEP_REQUIRE(config, text);
    *text = NULL;
    MEP_NEED(JANSSON, "jansson", "a configuration cannot be written as JSON");
    MEP_TRY(mep_model_config_check(config));
    json_t *object = mep_model_config_to_json(config);
    char *dump = object != NULL ? json_dumps(object, JSON_INDENT(2)) : NULL;
    mep_status status = dump != NULL ? mep_copy_string(text, dump)
                                     : mep_fail(MEP_ERROR_MEMORY, "cannot allocate the JSON of a configuration");
    free(dump);
    json_decref(object);
    return status;
}

/* ---- The folder and its configuration ---- */

#define PICKLED "transformers' save_pretrained writes a folder with pytorch_model.bin again as safetensors"

/* The message says what the folder may be instead. */
static mep_status fail_no_model(const char *folder)
{
    static const struct {
        const char *file, *advice;
    } others[] = {{"study.json", "it is the folder of a study; name one of the runs in it"},
                  {"train.json", "it is the folder of a run that has saved nothing yet"},
                  {"pytorch_model.bin", PICKLED},
                  {"pytorch_model.bin.index.json", PICKLED}};
    const char *advice = "is it a model's folder?";
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char *path = NULL;
        MEP_TRY(mep_path_join(&path, folder, others[i].file));
        if (mep_file_exists(path)) advice = others[i].advice;
        mep_free(&path);
    }
    return mep_fail(MEP_ERROR_IO, "%s: holds no model.safetensors and no checkpoint; %s", folder, advice);
}

mep_status mep_model_folder(const char *folder, char **path)
{
    int64_t step = -1;
    int found = 0;
    *path = NULL;
    if (!mep_folder_exists(folder))
        return mep_fail(
            MEP_ERROR_IO,
            "%s: no such folder; give a run folder, a checkpoint, or a folder with config.json and model.safetensors",
            folder);
    MEP_TRY(mep_checkpoint_latest(folder, path, &step));
    if (*path != NULL) return MEP_OK;
    MEP_TRY(mep_weights_exist(folder, &found));
    if (found) return mep_copy_string(path, folder);
    return fail_no_model(folder);
}

/* The output matrix of a tied model in its files. */
typedef enum stored_head {
    HEAD_NONE,        /* the files do not have it, or the model is not tied */
    HEAD_COPY,        /* the files have it and the embedding, with the same values */
    HEAD_IS_EMBEDDING /* the files have it instead of the embedding */
} stored_head;

/* The folder of a model: where its files are and what they contain. */
typedef struct source {
    char *path;
    const mep_family *family;
    mep_model_config config; /* of config.json, except that a model with two different matrices is not tied */
    stored_head head;
} source;

/* A tensor of the model in the files. */
typedef struct stored_tensor {
    const mep_safetensors_entry *entry; /* NULL: it is missing */
    const mep_safetensors *file;
    int layout;
} stored_tensor;

/* Find a tensor with or without the family's prefix. The output matrix of a GPT-NeoX model has two names: transformers
 * 5 writes the second. */
static stored_tensor find_named(const source *from, const mep_weights *w, mep_tensor_kind kind, int64_t layer,
                                const char *ours)
{
    char complete[2 * MEP_TENSOR_NAME];
    mep_family_name n;
    stored_tensor found = {.entry = NULL};
    if (!mep_family_tensor_name(from->family, kind, layer, ours, &n)) return found;
    found.layout = n.layout;
    snprintf(complete, sizeof complete, "%s%s", n.has_prefix ? from->family->prefix : "", n.name);
    found.entry = mep_weights_find(w, complete, &found.file);
    if (found.entry == NULL && n.has_prefix) found.entry = mep_weights_find(w, n.name, &found.file);
    if (found.entry == NULL && strcmp(n.name, mep_tensor_rows[EMBED_OUT].name) == 0)
        found.entry = mep_weights_find(w, "lm_head.weight", &found.file);
    return found;
}

/* A tensor that is not of a layer. */
static stored_tensor find_kind(const source *from, const mep_weights *w, mep_tensor_kind kind)
{
    return find_named(from, w, kind, 0, mep_tensor_pattern(&from->config, kind));
}

/* Whether two matrices have the same shape and values. */
static mep_status same_values(const stored_tensor *a, const stored_tensor *b, int *same)
{
    const mep_safetensors_entry *x = a->entry, *y = b->entry;
    float *values = NULL;
    mep_status status = MEP_OK;
    *same = 0;
    if (x->ndim != 2 || y->ndim != 2 || x->shape[0] != y->shape[0] || x->shape[1] != y->shape[1]) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&values, 2 * x->size));
    MEP_TRY_OR(status, mep_safetensors_read(a->file, x->name, MEP_FLOAT32, 2, x->shape, values), done);
    MEP_TRY_OR(status, mep_safetensors_read(b->file, y->name, MEP_FLOAT32, 2, y->shape, values + x->size), done);
    *same = memcmp(values, values + x->size, (size_t)x->size * sizeof *values) == 0;
done:
    mep_free(&values);
    return status;
}

/* Find out which of embedding and output matrix the files of a tied model have. As in transformers, one serves as both,
 * and two that differ are not tied, whatever config.json says. */
static mep_status settle_head(source *from)
{
    mep_weights w;
    int same = 0;
    if (!from->config.tie_word_embeddings) return MEP_OK;
    MEP_TRY(mep_weights_open(&w, from->path));
    const stored_tensor embedding = find_kind(from, &w, EMBED_IN), head = find_kind(from, &w, EMBED_OUT);
    mep_status status = MEP_OK;
    if (head.entry != NULL && embedding.entry == NULL) from->head = HEAD_IS_EMBEDDING;
    if (head.entry != NULL && embedding.entry != NULL) {
        status = same_values(&embedding, &head, &same);
        if (same)
            from->head = HEAD_COPY;
        else
            from->config.tie_word_embeddings = 0;
    }
    mep_weights_close(&w);
    return status;
}

static mep_status open_source(source *from, const char *folder)
{
    char *path = NULL;
    json_t *root = NULL, *state = NULL;
    mep_status status = MEP_OK;
    *from = (source){.path = NULL};
    MEP_TRY(mep_model_folder(folder, &from->path));
    MEP_TRY_OR(status, mep_checkpoint_state(from->path, &state), done); /* compares config.json with its checksum */
    MEP_TRY_OR(status, mep_path_join(&path, from->path, "config.json"), done);
    MEP_TRY_OR(status, mep_json_load(path, &root), done);
    MEP_TRY_OR(status, mep_family_of(root, path, &from->family), done);
    MEP_TRY_OR(status, mep_family_read_config(from->family, root, path, &from->config), done);
    status = settle_head(from);
done:
    json_decref(root);
    json_decref(state);
    mep_free(&path);
    if (status != MEP_OK) mep_free(&from->path);
    return status;
}

mep_status mep_model_read_config(const char *folder, mep_model_config *config)
{
    MEP_REQUIRE(folder, config);
    source from;
    MEP_TRY(open_source(&from, folder));
    *config = from.config;
    mep_free(&from.path);
    return MEP_OK;
}

mep_status mep_model_family(const char *folder, const char **family)
{
    MEP_REQUIRE(folder, family);
    source from;
    MEP_TRY(open_source(&from, folder));
    *family = from.family->model_type;
    mep_free(&from.path);
    return MEP_OK;
}

/* ---- Tensors ---- */

static stored_tensor find_tensor(const source *from, const mep_weights *w, const mep_model *model, int64_t index)
{
    mep_tensor_kind kind = model->kinds[index];
    if (from->head == HEAD_IS_EMBEDDING && kind == EMBED_IN) return find_kind(from, w, EMBED_OUT);
    return find_named(from, w, kind, mep_tensor_layer(model, index), model->tensors[index].name);
}

/* The shape of a tensor in the files. */
static void stored_shape(const mep_tensor *t, int layout, int64_t shape[2])
{
    int transposed = t->ndim == 2 && (layout & MEP_LAYOUT_TRANSPOSED);
    shape[0] = t->shape[transposed ? 1 : 0] * (layout & MEP_LAYOUT_THIRDS ? 3 : 1);
    shape[1] = t->shape[transposed ? 0 : 1];
}

static int shape_fits(const mep_tensor *t, const stored_tensor *found)
{
    int64_t shape[2];
    const mep_safetensors_entry *e = found->entry;
    stored_shape(t, found->layout, shape);
    return e->ndim == t->ndim && e->shape[0] == shape[0] && (t->ndim == 1 || e->shape[1] == shape[1]);
}

/* Whether a tensor of the files belongs to a position encoding: to that of all layers, or of one layer. */
static int is_position_name(const source *from, const mep_weights *w, const mep_safetensors_entry *e)
{
    const char *bias = mep_tensor_rows[POSITION_BIAS].name; /* "position_bias.*" */
    if (strncmp(e->name, bias, strlen(bias) - 1) == 0 || find_kind(from, w, EMBED_POSITIONS).entry == e) return 1;
    for (int kind = 0; kind < TENSOR_KINDS; kind++) {
        const mep_tensor_row *row = &mep_tensor_rows[kind];
        if (row->group != GROUP_POSITION || row->section != SECTION_LAYERS) continue;
        if (mep_family_matches(row->name, e->name) || mep_family_matches(row->llama, e->name)) return 1;
    }
    return 0;
}

/* Whether the files may have a tensor that the model does not read. */
static int may_be_left(const source *from, const mep_weights *w, const mep_safetensors_entry *e, int swapped)
{
    if (mep_family_ignores(from->family, e->name)) return 1;
    if (from->head == HEAD_COPY && find_kind(from, w, EMBED_OUT).entry == e) return 1;
    return swapped && is_position_name(from, w, e);
}

static mep_status fail_surplus(const source *from, const mep_weights *w, const mep_model *model, int swapped)
{
    for (int64_t i = 0; i < mep_weights_tensors(w); i++) {
        const mep_safetensors_entry *e = mep_weights_get(w, i);
        int used = may_be_left(from, w, e, swapped);
        for (int64_t t = 0; t < model->count && !used; t++) used = find_tensor(from, w, model, t).entry == e;
        if (!used)
            return mep_fail(MEP_ERROR_FORMAT, "%s: has a tensor %s, which its config.json does not ask for", w->path,
                            e->name);
    }
    return mep_fail(MEP_ERROR_FORMAT, "%s: has a tensor twice", w->path);
}

/*
 * Check that the files have every tensor of the model in its shape, and no other tensor, before memory is allocated for
 * what config.json says. With a swapped encoding its parameters may be missing or different, but not many more than the
 * files have.
 */
static mep_status check_tensors(const source *from, const mep_weights *w, const mep_model *model, int swapped)
{
    enum { NOT_MANY = 1 << 24 };
    int64_t used = 0, left = 0, stored = 0, drawn = 0;
    for (int64_t i = 0; i < model->count; i++) {
        const mep_tensor *t = &model->tensors[i];
        const stored_tensor found = find_tensor(from, w, model, i);
        if (swapped && mep_tensor_is_position(model, i)) {
            drawn += t->size;
            continue;
        }
        if (found.entry == NULL)
            return mep_fail(MEP_ERROR_FORMAT, "%s: has no tensor %s, which its config.json asks for", w->path, t->name);
        if (!shape_fits(t, &found))
            return mep_fail(MEP_ERROR_FORMAT, "%s: %s has another shape than its config.json asks for", w->path,
                            found.entry->name);
        stored += t->size;
        used += (found.layout & MEP_LAYOUT_THIRDS & ~MEP_LAYOUT_FIRST) == 0; /* three tensors of one in the files */
    }
    for (int64_t i = 0; i < mep_weights_tensors(w); i++) left += may_be_left(from, w, mep_weights_get(w, i), swapped);
    if (used + left != mep_weights_tensors(w)) return fail_surplus(from, w, model, swapped);
    if (drawn > stored + NOT_MANY)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s: the encoding \"%s\" would have more parameters than the rest of the model", w->path,
                        model->config.position_encoding);
    return MEP_OK;
}

/* Read a tensor, through a buffer where the files have it in another layout. */
static mep_status read_tensor(const mep_model *model, const mep_tensor *t, const stored_tensor *found)
{
    int64_t shape[2];
    float *buffer = NULL;
    stored_shape(t, found->layout, shape);
    if (found->layout == 0)
        return mep_safetensors_read(found->file, found->entry->name, MEP_FLOAT32, t->ndim, shape, t->data);
    MEP_TRY(MEP_ALLOC(&buffer, found->entry->size));
    mep_status status = mep_safetensors_read(found->file, found->entry->name, MEP_FLOAT32, t->ndim, shape, buffer);
    if (status == MEP_OK)
        mep_family_from_layout(found->layout, model->config.num_attention_heads, t->shape[0],
                               t->ndim == 2 ? t->shape[1] : 1, buffer, t->data);
    mep_free(&buffer);
    return status;
}

/* Whether the files and the model mix the same kernels, so that weights of one are weights of the other. */
static mep_status find_same_mixture(const source *from, const mep_model *model, int *same)
{
    mep_position *own = NULL;
    MEP_TRY(mep_position_create(&own, from->config.position_encoding));
    const mep_position_entry *a = mep_position_bias_entry(own), *b = mep_position_bias_entry(model->position);
    *same = a != NULL && b != NULL && mep_spec_same_mixture(&a->mixture, &b->mixture);
    mep_position_destroy(&own);
    return MEP_OK;
}

/* Whether a swapped encoding keeps a tensor that the files have. */
static int is_kept(const mep_model *model, int64_t index, const stored_tensor *found, int same_mixture)
{
    const mep_tensor *t = &model->tensors[index];
    int is_weights = model->kinds[index] == WEIGHTS_QUERY || strcmp(t->name, "position_bias.weights") == 0;
    return found->entry != NULL && shape_fits(t, found) && (same_mixture || !is_weights);
}

/* Read every tensor; with a swapped encoding, of its parameters those that both encodings have. The others are new. */
static mep_status read_tensors(const source *from, const mep_weights *w, mep_model *model, int swapped)
{
    int same_mixture = 0;
    MEP_TRY(find_same_mixture(from, model, &same_mixture));
    for (int64_t i = 0; i < model->count; i++) {
        const stored_tensor found = find_tensor(from, w, model, i);
        model->is_new[i] = swapped && mep_tensor_is_position(model, i) && !is_kept(model, i, &found, same_mixture);
        if (model->is_new[i]) continue;
        MEP_TRY(read_tensor(model, &model->tensors[i], &found));
    }
    return MEP_OK;
}

/* Whether the model has another position encoding than its files. */
static mep_status find_swapped(const source *from, const mep_model *model, int *swapped)
{
    int same = 0;
    mep_status status = mep_position_specs_same(from->config.position_encoding, model->config.position_encoding, &same);
    *swapped = !same;
    return status;
}

/* Load the model of a source, with this encoding where `position` is not NULL. */
static mep_status load(mep_model **model, const source *from, const char *position, uint64_t seed)
{
    mep_weights w;
    mep_status status = MEP_OK;
    mep_model_config config = from->config;
    if (position != NULL && strlen(position) >= MEP_POSITION_SIZE)
        return mep_fail(MEP_ERROR_ARGUMENT, "a position encoding is longer than %d characters", MEP_POSITION_SIZE - 1);
    if (position != NULL) snprintf(config.position_encoding, sizeof config.position_encoding, "%s", position);
    int swapped = 0;
    MEP_TRY(mep_model_describe(model, &config));
    MEP_TRY(find_swapped(from, *model, &swapped));
    MEP_TRY(mep_weights_open(&w, from->path));
    MEP_TRY_OR(status, check_tensors(from, &w, *model, swapped), done);
    MEP_TRY_OR(status, mep_model_allocate(*model), done);
    if (swapped) mep_model_initialize_position(*model, seed);
    MEP_TRY_OR(status, read_tensors(from, &w, *model, swapped), done);
    status = mep_model_sync_bias(*model);
done:
    mep_weights_close(&w);
    return status;
}

mep_status mep_model_load_as(mep_model **model, const char *folder, const char *position, uint64_t seed)
{
    MEP_REQUIRE(model, folder);
    source from;
    *model = NULL;
    MEP_TRY(open_source(&from, folder));
    mep_status status = load(model, &from, position, seed);
    if (status != MEP_OK) mep_model_destroy(model);
    mep_free(&from.path);
    return status;
}

mep_status mep_model_load(mep_model **model, const char *folder)
{
    MEP_REQUIRE(model, folder);
    return mep_model_load_as(model, folder, NULL, 0);
}

/* Whether two models have the same tensors and compute the same, except for the position encoding. */
static int same_block(const mep_model_config *a, const mep_model_config *b)
{
    return a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size &&
           a->num_hidden_layers == b->num_hidden_layers && a->num_attention_heads == b->num_attention_heads &&
           mep_key_value_heads(a) == mep_key_value_heads(b) && mep_head_dim(a) == mep_head_dim(b) &&
           a->intermediate_size == b->intermediate_size && a->layer_norm_eps == b->layer_norm_eps &&
           a->norm == b->norm && a->mlp == b->mlp && a->residual == b->residual &&
           a->tie_word_embeddings == b->tie_word_embeddings && a->embedding_layer_norm == b->embedding_layer_norm &&
           a->no_bias == b->no_bias && a->block == b->block && a->qkv_bias == b->qkv_bias && a->qk_norm == b->qk_norm &&
           a->post_norm == b->post_norm;
}

static mep_status check_same(const source *from, const mep_model *model, int swapped)
{
    const mep_model_config *a = &from->config, *b = &model->config;
    if (!same_block(a, b))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%s: the model has other sizes or settings than the one that would take its weights",
                        from->path);
    if (mep_model_position_kind(model) == MEP_POSITION_LEARNED && !swapped &&
        a->max_position_embeddings != b->max_position_embeddings)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%s: the encoding \"learned\" has %lld positions; stay within them or choose another encoding",
                        from->path, (long long)a->max_position_embeddings);
    return MEP_OK;
}

mep_status mep_model_read_weights(mep_model *model, const char *folder)
{
    source from;
    mep_weights w = {.path = NULL};
    mep_status status = MEP_OK;
    int swapped = 0;
    MEP_TRY(open_source(&from, folder));
    MEP_TRY_OR(status, find_swapped(&from, model, &swapped), done);
    MEP_TRY_OR(status, check_same(&from, model, swapped), done);
    MEP_TRY_OR(status, mep_weights_open(&w, from.path), done);
    MEP_TRY_OR(status, check_tensors(&from, &w, model, swapped), done);
    MEP_TRY_OR(status, read_tensors(&from, &w, model, swapped), done);
    status = mep_model_sync_bias(model);
done:
    mep_weights_close(&w);
    mep_free(&from.path);
    return status;
}
