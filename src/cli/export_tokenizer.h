/* SPDX-License-Identifier: MIT */
/*
 * The tokenizer of an exported model, in the files that Hugging Face's transformers reads.
 */
#ifndef MEP_CLI_EXPORT_TOKENIZER_H
#define MEP_CLI_EXPORT_TOKENIZER_H

#include "mep/model.h"

/* Write into the folder `out`, which has those of the tokenizer's files that the model `from` has, what transformers
 * needs in addition: tokenizer.json, tokenizer_config.json with the class that reads it, and generation_config.json
 * with the token that ends a text. Nothing where the model's tokenizer is not known. */
mep_status mep_cli_export_tokenizer(const mep_model *model, const char *from, const char *out);

#endif
