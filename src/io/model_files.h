/* SPDX-License-Identifier: MIT */
/*
 * Models as folders: config.json and model.safetensors, in this library's own form or in that of a Hugging Face family
 * (io/family.h).
 * The public functions are mep_model_load, mep_model_save and mep_model_export of mep/model.h.
 */
#ifndef MEP_IO_MODEL_FILES_H
#define MEP_IO_MODEL_FILES_H

#include <jansson.h>

#include "mep/model.h"

/* Read a configuration of any family from a JSON object; `file` is for messages. */
mep_status mep_model_config_from_json(const json_t *object, const char *file, mep_model_config *config);

/* A new JSON object in this library's own form; NULL when memory is short. */
json_t *mep_model_config_to_json(const mep_model_config *config);

/* The folder that holds a model's files: `folder` itself, or the newest checkpoint in it. *path is freed with mep_free.
 */
mep_status mep_model_folder(const char *folder, char **path);

/* Read the weights of a folder into a model that was created by mep_model_create and has the same sizes and settings.
 * Parameters of the position encoding are left unchanged where the folder has another encoding. */
mep_status mep_model_read_weights(mep_model *model, const char *folder);

#endif
