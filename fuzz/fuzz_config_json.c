/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a model's config.json. An accepted configuration passes mep_model_config_check, is
 * equal after writing and reading it in libmep's own form, and describes a model without allocating its tensors.
 */
#include "fuzz.h"
#include "io/json.h"
#include "io/model_files.h"
#include "model/model_internal.h"

static void check_config(const mep_model_config *config)
{
    mep_model_config again;
    mep_model *model = NULL;
    json_t *own = mep_model_config_to_json(config);
    if (mep_model_config_check(config) != MEP_OK || own == NULL) abort();
    if (mep_model_config_from_json(own, "again", &again) != MEP_OK) abort();
    if (memcmp(&again, config, offsetof(mep_model_config, position_encoding)) != 0) abort();
    if (strcmp(again.position_encoding, config->position_encoding) != 0 || again.no_bias != config->no_bias ||
        again.residual != config->residual || again.mlp != config->mlp || again.norm != config->norm ||
        again.block != config->block || again.qkv_bias != config->qkv_bias || again.qk_norm != config->qk_norm ||
        again.post_norm != config->post_norm || again.tie_word_embeddings != config->tie_word_embeddings ||
        again.embedding_layer_norm != config->embedding_layer_norm)
        abort();
    json_decref(own);
    check_message(mep_model_describe(&model, config));
    mep_model_destroy(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL;
    mep_model_config config;
    mep_status status = mep_json_parse("input", (const char *)data, (int64_t)size, &root);
    if (status == MEP_OK) status = mep_model_config_from_json(root, "input", &config);
    check_message(status);
    if (status == MEP_OK) check_config(&config);
    json_decref(root);
    return 0;
}
