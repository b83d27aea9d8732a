/* SPDX-License-Identifier: MIT */
/*
 * Models as folders: config.json (Hugging Face's GPT-NeoX keys and "position_encoding") and model.safetensors. The
 * public functions are mep_model_load and mep_model_save of mep/model.h.
 */
#ifndef MEP_IO_MODEL_FILES_H
#define MEP_IO_MODEL_FILES_H

#include <jansson.h>

#include "mep/model.h"

/* Read a configuration from a JSON object; `file` is for messages. */
mep_status mep_model_config_from_json(const json_t *object, const char *file, mep_model_config *config);

/* A new JSON object; NULL when memory is short. */
json_t *mep_model_config_to_json(const mep_model_config *config);

#endif
