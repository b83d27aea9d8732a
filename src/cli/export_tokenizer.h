/* SPDX-License-Identifier: MIT */
/*
 * The tokenizer files of an exported model, as Hugging Face's transformers reads them.
 */
#ifndef MEP_CLI_EXPORT_TOKENIZER_H
#define MEP_CLI_EXPORT_TOKENIZER_H

#include "mep/model.h"

/* The folder `out` has copies of the tokenizer files of the model `from`. Write the files that transformers needs in
 * addition: tokenizer.json, tokenizer_config.json with the class that reads it, and generation_config.json with the
 * token that ends a text. Writes nothing if the tokenizer of the model is not known. */
mep_status mep_cli_export_tokenizer(const mep_model *model, const char *from, const char *out);

#endif
