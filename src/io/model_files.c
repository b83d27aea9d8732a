/* SPDX-License-Identifier: MIT */
/*
 * Loading and saving models. Tensors are matched by name and shape; nothing is guessed.
 */
#include "io/model_files.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/model.h"

/* "kernels": ["exp", "gauss"] as the spec "exp + gauss"; where it is missing or null, "position_encoding". */
static mep_status read_position(const json_t *object, const char *file, char *spec)
{
    const json_t *kernels = json_object_get(object, "kernels");
    const char *name = NULL;
    if (kernels == NULL || json_is_null(kernels)) {
        MEP_TRY(mep_json_get_string(object, file, "position_encoding", &name));
        if (strlen(name) >= MEP_POSITION_SIZE)
            return mep_fail(MEP_ERROR_FORMAT, "%s: \"position_encoding\" is longer than %d characters", file,
                            MEP_POSITION_SIZE - 1);
        snprintf(spec, MEP_POSITION_SIZE, "%s", name);
        return MEP_OK;
    }
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
    return MEP_OK;
}

/* What of GPT-NeoX this library computes otherwise is refused, not ignored. Missing keys have Hugging Face's defaults.
 */
static mep_status check_architecture(const json_t *object, const char *file)
{
    const char *type = NULL, *activation = NULL;
    int parallel = 0, tied = 0;
    MEP_TRY(mep_json_get_string_or(object, file, "model_type", "gpt_neox", &type));
    MEP_TRY(mep_json_get_string_or(object, file, "hidden_act", "gelu", &activation));
    MEP_TRY(mep_json_get_bool_or(object, file, "use_parallel_residual", 1, &parallel));
    MEP_TRY(mep_json_get_bool_or(object, file, "tie_word_embeddings", 0, &tied));
    if (strcmp(type, "gpt_neox") != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: model_type \"%s\" is not supported; gpt_neox is", file, type);
    if (strcmp(activation, "gelu") != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: hidden_act \"%s\" is not supported; gelu is", file, activation);
    if (parallel || tied)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: use_parallel_residual and tie_word_embeddings must be false", file);
    return MEP_OK;
}

mep_status mep_model_config_from_json(const json_t *object, const char *file, mep_model_config *c)
{
    const int64_t most = (int64_t)1 << 31;
    if (!json_is_object(object)) return mep_fail(MEP_ERROR_FORMAT, "%s: must hold a JSON object", file);
    MEP_TRY(check_architecture(object, file));
    MEP_TRY(mep_json_get_int(object, file, "vocab_size", 1, most, &c->vocab_size));
    MEP_TRY(mep_json_get_int(object, file, "hidden_size", 1, most, &c->hidden_size));
    MEP_TRY(mep_json_get_int(object, file, "num_hidden_layers", 1, most, &c->num_hidden_layers));
    MEP_TRY(mep_json_get_int(object, file, "num_attention_heads", 1, most, &c->num_attention_heads));
    MEP_TRY(mep_json_get_int_or(object, file, "intermediate_size", 1, most, 4 * c->hidden_size, &c->intermediate_size));
    MEP_TRY(mep_json_get_int_or(object, file, "max_position_embeddings", 1, most, 2048, &c->max_position_embeddings));
    MEP_TRY(mep_json_get_number_or(object, file, "layer_norm_eps", 0, 1, 1e-5, &c->layer_norm_eps));
    MEP_TRY(mep_json_get_number_or(object, file, "rotary_emb_base", 0, 1e30, 10000, &c->rotary_emb_base));
    MEP_TRY(mep_json_get_number_or(object, file, "rotary_pct", 0, 1, 0.25, &c->rotary_pct));
    MEP_TRY(read_position(object, file, c->position_encoding));
    mep_status status = mep_model_config_check(c);
    return status == MEP_OK ? MEP_OK : mep_fail_in(MEP_ERROR_FORMAT, "%s: ", file);
}

json_t *mep_model_config_to_json(const mep_model_config *c)
{
    return json_pack("{s:s, s:[s], s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:b, s:b, s:s, s:f, s:f, s:I}", "model_type",
                     "gpt_neox", "architectures", "GPTNeoXForCausalLM", "vocab_size", (json_int_t)c->vocab_size,
                     "hidden_size", (json_int_t)c->hidden_size, "num_hidden_layers", (json_int_t)c->num_hidden_layers,
                     "num_attention_heads", (json_int_t)c->num_attention_heads, "intermediate_size",
                     (json_int_t)c->intermediate_size, "hidden_act", "gelu", "layer_norm_eps", c->layer_norm_eps,
                     "use_parallel_residual", 0, "tie_word_embeddings", 0, "position_encoding", c->position_encoding,
                     "rotary_pct", c->rotary_pct, "rotary_emb_base", c->rotary_emb_base, "max_position_embeddings",
                     (json_int_t)c->max_position_embeddings);
}

/* The folder that holds a model's files: `folder` itself, or the newest checkpoint in it. *path is freed with mep_free.
 */
static mep_status model_folder(const char *folder, char **path)
{
    char *config = NULL;
    int64_t step = -1;
    *path = NULL;
    if (!mep_folder_exists(folder))
        return mep_fail(
            MEP_ERROR_IO,
            "%s: no such folder; give a run folder, a checkpoint, or a folder with config.json and model.safetensors",
            folder);
    MEP_TRY(mep_checkpoint_latest(folder, path, &step));
    if (*path != NULL) return MEP_OK;
    MEP_TRY(mep_path_join(&config, folder, "model.safetensors"));
    int found = mep_file_exists(config);
    mep_free(&config);
    if (!found)
        return mep_fail(MEP_ERROR_IO, "%s: holds no model.safetensors and no checkpoint; is it a model's folder?",
                        folder);
    return mep_copy_string(path, folder);
}

static mep_status load_config(const char *folder, mep_model_config *config)
{
    char *path = NULL;
    json_t *root = NULL;
    MEP_TRY(mep_path_join(&path, folder, "config.json"));
    mep_status status = mep_json_load(path, &root);
    if (status == MEP_OK) status = mep_model_config_from_json(root, path, config);
    json_decref(root);
    mep_free(&path);
    return status;
}

/* Every tensor of the model is in the file, in its shape, and nothing else is: before memory is taken on the word of
 * config.json. */
static mep_status check_tensors(const mep_model *model, const mep_safetensors *file, const char *path)
{
    if (mep_safetensors_count(file) != model->count)
        return mep_fail(MEP_ERROR_FORMAT, "%s: has %lld tensors, but its config.json asks for %lld", path,
                        (long long)mep_safetensors_count(file), (long long)model->count);
    for (int64_t i = 0; i < model->count; i++) {
        const mep_tensor *t = &model->tensors[i];
        const mep_safetensors_entry *e = mep_safetensors_find(file, t->name);
        if (e == NULL)
            return mep_fail(MEP_ERROR_FORMAT, "%s: has no tensor %s, which its config.json asks for", path, t->name);
        if (e->ndim != t->ndim || e->shape[0] != t->shape[0] || (t->ndim == 2 && e->shape[1] != t->shape[1]))
            return mep_fail(MEP_ERROR_FORMAT, "%s: %s has another shape than its config.json asks for", path, t->name);
    }
    return MEP_OK;
}

static mep_status load_tensors(mep_model *model, const char *path)
{
    mep_safetensors *file = NULL;
    MEP_TRY(mep_safetensors_open(&file, path));
    mep_status status = check_tensors(model, file, path);
    if (status == MEP_OK) status = mep_model_allocate(model);
    for (int64_t i = 0; i < model->count && status == MEP_OK; i++) {
        const mep_tensor *t = &model->tensors[i];
        status = mep_safetensors_read(file, t->name, MEP_FLOAT32, t->ndim, t->shape, t->data);
    }
    mep_safetensors_close(&file);
    return status;
}

mep_status mep_model_load(mep_model **model, const char *folder)
{
    char *path = NULL, *tensors = NULL;
    mep_model_config config = {0};
    *model = NULL;
    MEP_TRY(model_folder(folder, &path));
    mep_status status = load_config(path, &config);
    if (status == MEP_OK) status = mep_path_join(&tensors, path, "model.safetensors");
    if (status == MEP_OK) status = mep_model_describe(model, &config);
    if (status == MEP_OK) status = load_tensors(*model, tensors);
    if (status == MEP_OK) status = mep_model_sync_bias(*model);
    if (status != MEP_OK) mep_model_destroy(model);
    mep_free(&tensors);
    mep_free(&path);
    return status;
}

mep_status mep_model_save(const mep_model *model, const char *folder)
{
    char *config_path = NULL, *tensors_path = NULL;
    static const char *const metadata[] = {"format", "pt"};
    json_t *config = mep_model_config_to_json(&model->config);
    mep_status status = config != NULL ? MEP_OK : mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration");
    if (status == MEP_OK) status = mep_path_join(&config_path, folder, "config.json");
    if (status == MEP_OK) status = mep_path_join(&tensors_path, folder, "model.safetensors");
    if (status == MEP_OK) status = mep_safetensors_write(tensors_path, model->tensors, model->count, metadata, 1);
    if (status == MEP_OK) status = mep_json_save(config_path, config);
    json_decref(config);
    mep_free(&config_path);
    mep_free(&tensors_path);
    return status;
}
