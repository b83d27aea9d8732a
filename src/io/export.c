/* SPDX-License-Identifier: MIT */
/*
 * Writing a model as a Hugging Face folder, and a tokenizer's files beside it.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/family.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/python_files.h"
#include "io/safetensors.h"
#include "model/model.h"

/* What transformers reads besides the keys of the family. Which tokens begin and end a text is the tokenizer's to say:
 * without a null some families would take tokens 0 to 2. */
static mep_status save_config(const mep_family *family, const mep_model_config *config, const char *folder)
{
    char *path = NULL;
    json_t *root = mep_family_write_config(family, config);
    int failed = root == NULL || json_object_set_new(root, "torch_dtype", json_string("float32")) != 0 ||
                 json_object_set_new(root, "bos_token_id", json_null()) != 0 ||
                 json_object_set_new(root, "eos_token_id", json_null()) != 0;
    if (!failed && family == mep_families)
        failed = json_object_set_new(root, "auto_map",
                                     json_pack("{s:s, s:s}", "AutoConfig", "configuration_mep.MepConfig",
                                               "AutoModelForCausalLM", "modeling_mep.MepForCausalLM")) != 0;
    mep_status status = failed ? mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration") : MEP_OK;
    if (status == MEP_OK) status = mep_path_join(&path, folder, "config.json");
    if (status == MEP_OK) status = mep_json_save(path, root);
    json_decref(root);
    mep_free(&path);
    return status;
}

/* *theirs, a tensor of the model with the family's name and layout; its data is allocated where the layout is another.
 */
static mep_status convert(const mep_family *family, const mep_model *model, const mep_tensor *ours, mep_tensor *theirs)
{
    char name[MEP_TENSOR_NAME];
    int has_prefix = 0, layout = 0;
    float *data = NULL;
    if (!mep_family_tensor_name(family, ours->name, name, &has_prefix, &layout))
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s has no tensor for %s", family->model_type, ours->name);
    *theirs = *ours;
    size_t prefix = has_prefix ? strlen(family->prefix) : 0;
    memcpy(theirs->name, family->prefix, prefix);
    memmove(theirs->name + prefix, name, strlen(name) + 1);
    if (layout == 0) return MEP_OK;
    if (ours->ndim == 2 && (layout & MEP_LAYOUT_TRANSPOSED)) {
        theirs->shape[0] = ours->shape[1];
        theirs->shape[1] = ours->shape[0];
    }
    theirs->data = NULL;
    MEP_TRY(mep_alloc(&data, ours->size, sizeof *data));
    mep_family_to_layout(layout, model->config.num_attention_heads, ours->shape[0],
                         ours->ndim == 2 ? ours->shape[1] : 1, ours->data, data);
    theirs->data = data;
    return MEP_OK;
}

static mep_status save_tensors(const mep_family *family, const mep_model *model, const char *folder)
{
    static const char *const metadata[] = {"format", "pt"};
    char *path = NULL;
    mep_tensor *tensors = NULL;
    MEP_TRY(mep_alloc(&tensors, model->count, sizeof *tensors));
    mep_status status = mep_path_join(&path, folder, "model.safetensors");
    for (int64_t i = 0; i < model->count && status == MEP_OK; i++)
        status = convert(family, model, &model->tensors[i], &tensors[i]);
    if (status == MEP_OK) status = mep_safetensors_write(path, tensors, model->count, metadata, 1);
    for (int64_t i = 0; i < model->count; i++)
        if (tensors[i].data != model->tensors[i].data) mep_free(&tensors[i].data);
    mep_free(&tensors);
    mep_free(&path);
    return status;
}

static mep_status save_text(const char *folder, const char *name, const char *text)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    mep_status status = mep_file_write_atomic(path, text, (int64_t)strlen(text));
    mep_free(&path);
    return status;
}

mep_status mep_model_export(const mep_model *model, const char *folder, const char **family)
{
    const mep_family *f = mep_family_for(model);
    mep_model_config config = model->config;
    if (model->bias != NULL && strlen(mep_bias_spec(model->bias)) >= MEP_POSITION_SIZE)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the encoding \"%s\" is too long to be exported",
                        mep_bias_spec(model->bias));
    if (model->bias != NULL) /* its canonical form is all that modeling_mep.py reads */
        snprintf(config.position_encoding, sizeof config.position_encoding, "%s", mep_bias_spec(model->bias));
    if (family != NULL) *family = f->model_type;
    MEP_TRY(save_tensors(f, model, folder));
    if (f == mep_families) {
        MEP_TRY(save_text(folder, "configuration_mep.py", mep_configuration_py));
        MEP_TRY(save_text(folder, "modeling_mep.py", mep_modeling_py));
    }
    return save_config(f, &config, folder);
}

mep_status mep_copy_tokenizer(const char *from, const char *to)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
        "added_tokens.json", "generation_config.json"};
    enum { LIMIT = 1 << 28 };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *source = NULL, *target = NULL, *data = NULL;
        int64_t size = 0;
        mep_status status = mep_path_join(&source, from, names[i]);
        if (status == MEP_OK) status = mep_path_join(&target, to, names[i]);
        if (status == MEP_OK && mep_file_exists(source)) {
            status = mep_file_read(source, LIMIT, &data, &size);
            if (status == MEP_OK) status = mep_file_write_atomic(target, data, size);
        }
        mep_free(&data);
        mep_free(&source);
        mep_free(&target);
        MEP_TRY(status);
    }
    return MEP_OK;
}
