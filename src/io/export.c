/* SPDX-License-Identifier: MIT */
/*
 * Writes a model as a folder, in this library's own form or in the form of a Hugging Face family, and copies the files
 * of its tokenizer. Data is converted one tensor at a time, so writing needs no second copy of the model.
 */
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/bf16.h"
#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "base/string_builder.h"
#include "bias/python_kernels.h"
#include "io/family.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/python_files.h"
#include "io/rope_config.h"
#include "io/weights.h"
#include "model/model_internal.h"

void mep_save_defaults(mep_save_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_save_settings){.dtype = MEP_FLOAT32, .shard_size = 50000000000};
}

/* ---- Tensors ---- */

/* The tensors of a model while they are written. */
typedef struct outgoing {
    const mep_model *model;
    mep_tensor *tensors; /* [model->count]: the family's names, shapes and types, without data */
    int *layouts;        /* [model->count] */
    float *buffer;       /* one tensor in the family's layout; as large as the largest tensor that needs it */
    mep_bf16 *rounded;   /* one tensor as bfloat16; likewise */
} outgoing;

/* Tensor `index` with the family's name and the shape of its layout. */
static mep_status describe(const mep_family *family, outgoing *out, int64_t index, mep_dtype dtype)
{
    mep_family_name n;
    const mep_tensor *ours = &out->model->tensors[index];
    mep_tensor *theirs = &out->tensors[index];
    if (!mep_family_tensor_name(family, out->model->kinds[index], mep_tensor_layer(out->model, index), ours->name, &n))
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s has no tensor for %s", family->model_type, ours->name);
    *theirs = *ours;
    theirs->dtype = dtype;
    theirs->data = NULL;
    out->layouts[index] = n.layout;
    size_t prefix = n.has_prefix ? strlen(family->prefix) : 0;
    memcpy(theirs->name, family->prefix, prefix);
    memcpy(theirs->name + prefix, n.name, strlen(n.name) + 1);
    if (ours->ndim == 2 && (out->layouts[index] & MEP_LAYOUT_TRANSPOSED)) {
        theirs->shape[0] = ours->shape[1];
        theirs->shape[1] = ours->shape[0];
    }
    return MEP_OK;
}

static mep_status allocate_buffers(outgoing *out, mep_dtype dtype)
{
    int64_t moved = 0, largest = 0;
    for (int64_t i = 0; i < out->model->count; i++) {
        int64_t size = out->model->tensors[i].size;
        if (out->layouts[i] != 0 && size > moved) moved = size;
        if (size > largest) largest = size;
    }
    MEP_TRY(MEP_ALLOC(&out->buffer, moved));
    return MEP_ALLOC(&out->rounded, dtype == MEP_BFLOAT16 ? largest : 0);
}

/* mep_tensor_data_fn: a tensor's values in the family's layout, rounded where the file's type is bfloat16. */
static mep_status make_data(void *context, int64_t index, const void **data)
{
    outgoing *out = context;
    const mep_tensor *ours = &out->model->tensors[index];
    const float *values = ours->data;
    if (out->layouts[index] != 0) {
        mep_family_to_layout(out->layouts[index], out->model->config.num_attention_heads, ours->shape[0],
                             ours->ndim == 2 ? ours->shape[1] : 1, values, out->buffer);
        values = out->buffer;
    }
    *data = values;
    if (out->tensors[index].dtype == MEP_FLOAT32) return MEP_OK;
#pragma omp parallel for
    for (int64_t i = 0; i < ours->size; i++) out->rounded[i] = mep_bf16_from_float(values[i]);
    *data = out->rounded;
    return MEP_OK;
}

static mep_status save_tensors(const mep_family *family, const mep_model *model, const char *folder,
                               const mep_save_settings *s)
{
    outgoing out = {.model = model};
    if (s->dtype != MEP_FLOAT32 && s->dtype != MEP_BFLOAT16)
        return mep_fail(MEP_ERROR_ARGUMENT, "weights can be written as float32 or bfloat16, not as %s",
                        mep_dtype_name(s->dtype));
    mep_status status = MEP_OK;
    MEP_TRY_OR(status, MEP_ALLOC(&out.tensors, model->count), done);
    MEP_TRY_OR(status, MEP_ALLOC(&out.layouts, model->count), done);
    for (int64_t i = 0; i < model->count; i++) MEP_TRY_OR(status, describe(family, &out, i, s->dtype), done);
    MEP_TRY_OR(status, allocate_buffers(&out, s->dtype), done);
    status = mep_weights_write(folder, out.tensors, model->count, s->shard_size, make_data, &out);
done:
    mep_free(&out.rounded);
    mep_free(&out.buffer);
    mep_free(&out.layouts);
    mep_free(&out.tensors);
    return status;
}

/* ---- config.json ---- */

/* What transformers reads in addition to the keys of the family. The tokenizer specifies which tokens begin and end a
 * text: without a null some families would use tokens of their own. */
static int add_export_keys(json_t *root, int needs_python)
{
    int failed = json_object_set_new(root, "bos_token_id", json_null()) != 0 ||
                 json_object_set_new(root, "eos_token_id", json_null()) != 0 ||
                 json_object_set_new(root, "pad_token_id", json_null()) != 0;
    if (!failed && needs_python)
        failed = json_object_set_new(root, "auto_map",
                                     json_pack("{s:s, s:s}", "AutoConfig", "configuration_mep.MepConfig",
                                               "AutoModelForCausalLM", "modeling_mep.MepForCausalLM")) != 0;
    return failed;
}

/* Add the frequencies of an entry's rotation by its spec, "rotary:OPTIONS". */
static mep_status add_frequencies_of(const mep_model *model, const mep_position_entry *entry, json_t *object)
{
    json_t *rotary = NULL;
    mep_string_builder spec = {.text = NULL};
    mep_status status = mep_string_add(&spec, "rotary");
    if (status == MEP_OK) status = mep_rotary_print(&spec, &entry->rotary);
    if (status == MEP_OK) status = mep_rope_write_frequencies(&model->config, entry, &rotary);
    if (status == MEP_OK && json_object_set_new(object, spec.text, rotary) != 0)
        status = mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration");
    mep_free(&spec.text);
    return status;
}

/* The frequencies of rotary entries with options, which modeling_mep.py does not compute. */
static mep_status add_frequencies(const mep_model *model, json_t *root)
{
    json_t *object = json_object();
    mep_status status = MEP_OK;
    for (int i = 0; i < model->position->count && status == MEP_OK; i++)
        if (model->position->entries[i].kind == MEP_POSITION_ROTARY)
            status = add_frequencies_of(model, &model->position->entries[i], object);
    json_object_del(object, "rotary"); /* it follows from rotary_emb_base and rotary_pct */
    if (status == MEP_OK && json_object_size(object) > 0 && json_object_set(root, "rotary", object) != 0)
        status = mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration");
    json_decref(object);
    return status;
}

static mep_status save_config(const mep_family *family, const mep_model *model, const mep_model_config *config,
                              const char *folder, mep_dtype dtype, int exporting)
{
    char *path = NULL;
    json_t *root = mep_family_write_config(family, config);
    int failed = root == NULL || json_object_set_new(root, "torch_dtype", json_string(mep_dtype_name(dtype))) != 0 ||
                 (exporting && add_export_keys(root, family == mep_families));
    mep_status status = failed ? mep_fail(MEP_ERROR_MEMORY, "cannot allocate the configuration") : MEP_OK;
    if (failed) goto done;
    if (exporting && family == mep_families) MEP_TRY_OR(status, add_frequencies(model, root), done);
    MEP_TRY_OR(status, mep_path_join(&path, folder, "config.json"), done);
    status = mep_json_save(path, root);
done:
    json_decref(root);
    mep_free(&path);
    return status;
}

/* ---- Folders ---- */

static mep_status save_text(const char *folder, const char *name, const char *text)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    mep_status status = mep_file_write_atomic(path, text, (int64_t)strlen(text));
    mep_free(&path);
    return status;
}

/* modeling_mep.py: the file that is part of the library, whose empty list of kernels is replaced by the real one. */
static mep_status save_modeling(const char *folder)
{
    static const char BEGIN[] = "\nKERNELS, NAMED, OTHERS = {}, {}, ()\n";
    const char *begin = strstr(mep_modeling_py, BEGIN);
    char *kernels = NULL, *text = NULL;
    MEP_ASSERT(begin != NULL);
    MEP_TRY(mep_python_kernels(&kernels));
    int before = (int)(begin - mep_modeling_py);
    const char *after = begin + sizeof BEGIN - 1;
    mep_status status = MEP_OK;
    MEP_TRY_OR(status, mep_format(&text, "%.*s\n\n\n%s%s", before, mep_modeling_py, kernels, after), done);
    status = save_text(folder, "modeling_mep.py", text);
done:
    mep_free(&text);
    mep_free(&kernels);
    return status;
}

/* All files of a model. config.json is written last: a folder without it is not a model. */
static mep_status save_files(const mep_family *family, const mep_model *model, const mep_model_config *config,
                             const char *folder, const mep_save_settings *s, int exporting)
{
    int replaces = 0;
    mep_status status = MEP_OK;
    MEP_NEED(JANSSON, "jansson", "models cannot be saved");
    MEP_TRY(mep_weights_exist(folder, &replaces));
    MEP_TRY(save_tensors(family, model, folder, s));
    if (exporting && family == mep_families) {
        MEP_TRY_OR(status, save_text(folder, "configuration_mep.py", mep_configuration_py), failed);
        MEP_TRY_OR(status, save_modeling(folder), failed);
    }
    MEP_TRY_OR(status, save_config(family, model, config, folder, s->dtype, exporting), failed);
    return MEP_OK;
failed:
    if (!replaces) mep_weights_remove(folder); /* leftover shards would block the next attempt */
    return status;
}

mep_status mep_model_save(const mep_model *model, const char *folder, const mep_save_settings *settings)
{
    MEP_REQUIRE(model, folder);
    mep_save_settings s;
    mep_save_defaults(&s);
    if (settings != NULL) s = *settings;
    return save_files(mep_families, model, &model->config, folder, &s, 0);
}

mep_status mep_model_export(const mep_model *model, const char *folder, const mep_save_settings *settings,
                            const char **family)
{
    MEP_REQUIRE(model, folder);
    mep_save_settings s;
    mep_save_defaults(&s);
    if (settings != NULL) s = *settings;
    const mep_family *f = mep_family_for(model);
    mep_model_config config = model->config;
    const char *position = mep_position_spec(model->position); /* modeling_mep.py reads only the canonical form */
    if (strlen(position) >= MEP_POSITION_SIZE)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the encoding \"%s\" is too long to be exported", position);
    snprintf(config.position_encoding, sizeof config.position_encoding, "%s", position);
    if (family != NULL) *family = f->model_type;
    return save_files(f, model, &config, folder, &s, 1);
}

/* Copy one file of a folder, if the folder has it. */
static mep_status copy_if_there(const char *from, const char *to, const char *name)
{
    enum { LIMIT = 1 << 28 };
    char *source = NULL, *target = NULL, *data = NULL;
    int64_t size = 0;
    mep_status status = MEP_OK;
    MEP_TRY_OR(status, mep_path_join(&source, from, name), done);
    MEP_TRY_OR(status, mep_path_join(&target, to, name), done);
    if (!mep_file_exists(source)) goto done;
    MEP_TRY_OR(status, mep_file_read(source, LIMIT, &data, &size), done);
    status = mep_file_write_atomic(target, data, size);
done:
    mep_free(&data);
    mep_free(&source);
    mep_free(&target);
    return status;
}

static mep_status copy_tokenizer(const char *from, const char *to)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
        "added_tokens.json", "generation_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) MEP_TRY(copy_if_there(from, to, names[i]));
    return MEP_OK;
}

mep_status mep_model_copy_tokenizer(const char *from, const char *to)
{
    MEP_REQUIRE(from, to);
    char *folder = NULL;
    MEP_TRY(mep_model_folder(from, &folder));
    mep_status status = copy_tokenizer(folder, to);
    mep_free(&folder);
    return status;
}
