/* SPDX-License-Identifier: MIT */
/*
 * The tokenizer of a model.
 */
#ifndef MEP_CLI_MODEL_TOKENIZER_H
#define MEP_CLI_MODEL_TOKENIZER_H

#include "mep/data.h"

/* Open the tokenizer of a run, a checkpoint or another model's folder: the tokenizer.json (or vocab.json with
 * merges.txt) in it or in its parent folder; otherwise that of the run's data; otherwise bytes for a vocabulary of 257
 * to 320.
 * *tokenizer is NULL if there is none of these. */
mep_status mep_cli_model_tokenizer(const char *model, int64_t vocab_size, mep_tokenizer **tokenizer);

/* Fail if the tokenizers of the model and of the data are both known and differ: losses would have no meaning. */
mep_status mep_cli_check_tokenizers(const char *model, const char *data, const mep_dataset *dataset);

#endif
