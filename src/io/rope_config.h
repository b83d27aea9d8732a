/* SPDX-License-Identifier: MIT */
/*
 * The rotary settings of a Hugging Face config.json (rope_theta, partial_rotary_factor, and rope_scaling or
 * rope_parameters, of transformers 4 and 5), as a model's configuration and the rotary entry of a position spec, and
 * back. The formulas are in bias/rotary.h.
 */
#ifndef MEP_IO_ROPE_CONFIG_H
#define MEP_IO_ROPE_CONFIG_H

#include <jansson.h>

#include "bias/position.h"
#include "mep/model.h"

typedef struct mep_rope_source {
    const json_t *object;          /* of a config.json */
    const char *file, *model_type; /* for messages */
    double rope_theta;             /* the family's default: 10000 in most families */
    double partial_rotary_factor;  /* the family's default: 1 in most families */
} mep_rope_source;

/*
 * Read the rotary settings. config->max_position_embeddings must be known. Sets config->rotary_emb_base and
 * config->rotary_pct, and makes `entry` the rotary entry of a position spec: "rotary", or with a scaling
 * "rotary:scaling=llama3,factor=8,original=8192,...". A caller may append modifiers ("/window=4096") and join the
 * entries of layers with "|". As in transformers, rope_scaling precedes rope_parameters, and a value in either precedes
 * a key of the outer object (rope_theta or rotary_emb_base, partial_rotary_factor or rotary_pct). A scaling or a key
 * with which transformers computes something that this library does not is MEP_ERROR_UNSUPPORTED by its name.
 */
mep_status mep_rope_read(const mep_rope_source *source, mep_model_config *config, char entry[MEP_POSITION_SIZE]);

/*
 * *parameters is a new object for the key rope_parameters (transformers 5) and rope_scaling (transformers 4):
 * rope_type, rope_theta, partial_rotary_factor and the parameters of the scaling. MEP_ERROR_UNSUPPORTED, by the name of
 * the option, where transformers does not compute the entry's rotation.
 */
mep_status mep_rope_write(const mep_model_config *config, const mep_position_entry *entry, json_t **parameters);

/*
 * *rotary is a new object for modeling_mep.py, with the frequencies of the entry: "frequencies" and "attention_factor",
 * and where they depend on the length of the text, "original", the length above which they do, and "long_frequencies"
 * or "dynamic_factor".
 */
mep_status mep_rope_write_frequencies(const mep_model_config *config, const mep_position_entry *entry, json_t **rotary);

#endif
