/* SPDX-License-Identifier: MIT */
/*
 * Families of models on Hugging Face: how each writes its config.json and names and lays out its tensors. One table a
 * family (family.c), used in both directions, for reading and for writing; no files here. What a family computes
 * otherwise than this library is refused by the name of its key.
 */
#ifndef MEP_IO_FAMILY_H
#define MEP_IO_FAMILY_H

#include <jansson.h>

#include "base/tensor.h"
#include "mep/model.h"
#include "model/model.h"

typedef enum mep_key_kind {
    MEP_KEY_SIZE,            /* int64_t, from 1 */
    MEP_KEY_SIZE_OR_DEFAULT, /* the same; where it is missing the field is 0, and 0 is not written */
    MEP_KEY_REAL,       /* double */
    MEP_KEY_FLAG,       /* int: true or false */
    MEP_KEY_ACTIVATION, /* mlp: the name of a GELU */
    MEP_KEY_FIXED,      /* one of the values of `fixed`, the first of which is written */
    MEP_KEY_CHECK,      /* the same, but not written */
    MEP_KEY_BIAS_MAX,   /* position_encoding: ALiBi's slopes are 2^(-value h/H); 8 is "alibi", and is what is written */
    MEP_KEY_SAME_SIZE,  /* a number that must be the int64_t in `field`, which the key `other` has; not written */
    MEP_KEY_SAME_REAL,  /* the same for a double */
    MEP_KEY_HEAD_DIM    /* the same for hidden_size / num_attention_heads */
} mep_key_kind;

/* A key of config.json. "a.b" is b within the object a. A row of name NULL ends the list. */
typedef struct mep_family_key {
    const char *name, *other; /* `other`: a second name of it, or NULL. Where a file has both, `other` decides, as in
                                 transformers */
    mep_key_kind kind;
    size_t field;      /* of mep_model_config */
    double fallback;   /* where it is missing or null; MEP_KEY_REQUIRED: then it is an error */
    const char *fixed; /* a JSON array; a missing key is right */
} mep_family_key;

#define MEP_KEY_REQUIRED (-1.0)

/* How a tensor lies in the files: what the model has as [n, k] or [n]. */
enum {
    MEP_LAYOUT_TRANSPOSED = 1, /* [k, n], as GPT-2's Conv1D has it */
    MEP_LAYOUT_QKV = 2         /* n is ordered (q, k, v), head, channel, instead of head, (q, k, v), channel */
};

/* The name of a tensor of the model in the files; "#" is the number of the layer. A row of TENSOR_KINDS ends the list.
 */
typedef struct mep_family_tensor {
    mep_tensor_kind kind;
    const char *theirs;
    int layout;
} mep_family_tensor;

/* A tensor's name in a family's files. */
typedef struct mep_family_name {
    char name[MEP_TENSOR_NAME];
    int has_prefix; /* the family's prefix precedes the name; files may leave it out */
    int layout;
} mep_family_name;

/* Switches: 0 or 1 where the family knows no other; MEP_FREE where a key says it. */
enum { MEP_FREE = -1 };

typedef struct mep_family {
    const char *model_type, *architecture;
    const char *position; /* its encoding, which a key may change; NULL where a key says it */
    const mep_family_key *keys;
    const mep_family_tensor *tensors; /* NULL: names and layouts are the model's */
    const char *prefix;               /* of all tensors but the head's; files may leave it away */
    const char *const *ignored;       /* tensors that hold nothing of the model; ended by NULL */
    int residual, mlp, embedding_norm, no_bias;
    int wide_is_four; /* intermediate_size is 4 hidden_size */
} mep_family;

/* Ended by a model_type of NULL. The first is this library's own, which expresses every model. */
extern const mep_family mep_families[];

/* The family of a config.json's object, by its model_type; `file` is for messages. */
mep_status mep_family_of(const json_t *object, const char *file, const mep_family **family);

/* The foreign family that can express the model, or the first of all. */
const mep_family *mep_family_for(const mep_model *model);

mep_status mep_family_read_config(const mep_family *family, const json_t *object, const char *file,
                                  mep_model_config *config);

/* A new JSON object; NULL when memory is short. */
json_t *mep_family_write_config(const mep_family *family, const mep_model_config *config);

/* The family's name of a tensor of the model, without its prefix, which *has_prefix says, and its layout; 0 where the
 * family has no such tensor. `ours` is the model's own name. */
int mep_family_tensor_name(const mep_family *family, mep_tensor_kind kind, int64_t layer, const char *ours,
                           mep_family_name *theirs);

/* Whether a tensor of the files holds nothing of the model. */
int mep_family_ignores(const mep_family *family, const char *theirs);

/* Copy a tensor [n, k] of the model (k = 1 for a vector) from the files' layout, or to it; heads for MEP_LAYOUT_QKV. */
void mep_family_from_layout(int layout, int64_t heads, int64_t n, int64_t k, const float *theirs, float *ours);
void mep_family_to_layout(int layout, int64_t heads, int64_t n, int64_t k, const float *ours, float *theirs);

#endif
