/* SPDX-License-Identifier: MIT */
/*
 * Which tokenizer a model's tokens belong to.
 */
#ifndef MEP_CLI_MODEL_TOKENIZER_H
#define MEP_CLI_MODEL_TOKENIZER_H

#include "mep/data.h"

/* Open the tokenizer of a run, a checkpoint or another model's folder: the tokenizer.json (or vocab.json with
 * merges.txt) in it or in the folder above it; else that of the run's data; else bytes for a vocabulary of 257 to 320.
 * *tokenizer is NULL where none of these is there. */
mep_status mep_cli_model_tokenizer(const char *model, int64_t vocab_size, mep_tokenizer **tokenizer);

/* Fail where the model's tokenizer and the data's are both known and differ: its losses would mean nothing. */
mep_status mep_cli_check_tokenizers(const char *model, const char *data, const mep_dataset *dataset);

#endif
