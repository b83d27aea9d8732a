/* SPDX-License-Identifier: MIT */
/*
 * Families of models on Hugging Face: how each writes its config.json, and names and lays out its tensors. One table
 * per family (family.c), for reading and for writing; no file is opened here. A setting with which a family computes
 * something that this library does not is refused by the name of its key.
 */
#ifndef MEP_IO_FAMILY_H
#define MEP_IO_FAMILY_H

#include <jansson.h>

#include "base/tensor.h"
#include "mep/model.h"
#include "model/model_internal.h"

typedef enum mep_key_kind {
    MEP_KEY_SIZE,            /* int64_t, from 1 */
    MEP_KEY_SIZE_OR_DEFAULT, /* int64_t, from 1; 0 where it is null, and 0 is not written */
    MEP_KEY_KEY_VALUE_HEADS, /* num_key_value_heads: the same, but written in every case */
    MEP_KEY_OWN_HEAD_DIM,    /* head_dim: likewise */
    MEP_KEY_REAL,            /* double */
    MEP_KEY_REAL_OR_DEFAULT, /* double; 0 where it is missing; 0 and what it stands for, `fallback`, are not written */
    MEP_KEY_FLAG,            /* int: true or false */
    MEP_KEY_ACTIVATION,      /* mlp: the name of a GELU, or of a Llama block's SiLU */
    MEP_KEY_CHOICE,          /* int: the index of a name in `fixed`; 0 where it is missing, and 0 is not written */
    MEP_KEY_FIXED,           /* one of the values of `fixed`; the first is written */
    MEP_KEY_REQUIRED_VALUE,  /* the same for a key that must not be missing: it would have another value */
    MEP_KEY_CHECK,           /* one of the values of `fixed`; not written */
    MEP_KEY_BIAS_MAX,        /* position_encoding: slopes are 2^(-value h/H); 8 is "alibi", and is written */
    MEP_KEY_SAME_SIZE,       /* must equal the int64_t in `field`, which the key `other` gives; not written */
    MEP_KEY_SAME_REAL,       /* must equal the double in `field`, which the key `other` gives; not written */
    MEP_KEY_HEAD_DIM         /* must equal hidden_size / num_attention_heads; not written */
} mep_key_kind;

/* A key of config.json. "a.b" is b in the object a. A row whose name is NULL ends the list. */
typedef struct mep_family_key {
    const char *name, *other; /* `other`: a second name of the key, or NULL. Where a file has both, `other` is read, as
                                 in transformers */
    mep_key_kind kind;
    size_t field;      /* offset in mep_model_config */
    double fallback;   /* value where the key is missing or null; MEP_KEY_REQUIRED: that is an error */
    const char *fixed; /* a JSON array; a missing key is accepted */
} mep_family_key;

#define MEP_KEY_REQUIRED (-1.0)

/* How the files store a tensor that is [n, k] or [n] in the model. */
enum {
    MEP_LAYOUT_TRANSPOSED = 1, /* [k, n], as in GPT-2's Conv1D */
    MEP_LAYOUT_QKV = 2,        /* n is ordered (q, k, v), head, channel, instead of head, (q, k, v), channel */
    MEP_LAYOUT_FIRST = 4,      /* the first, second or third n rows of a matrix [3 n, k], as in Baichuan's W_pack */
    MEP_LAYOUT_SECOND = 8,
    MEP_LAYOUT_THIRD = 16,
    MEP_LAYOUT_THIRDS = MEP_LAYOUT_FIRST | MEP_LAYOUT_SECOND | MEP_LAYOUT_THIRD
};

/* What the layers of a family differ in, which makes the position encoding one entry per layer (family_layers.c). */
typedef enum mep_family_layers {
    MEP_LAYERS_EQUAL,
    MEP_LAYERS_WINDOW,      /* Mistral: sliding_window, in all layers */
    MEP_LAYERS_WINDOW_LAST, /* Qwen2, Qwen3: layer_types, or sliding_window in max_window_layers and later ones */
    MEP_LAYERS_WITHOUT_ROPE /* SmolLM3: no_rope_layers; layer_types, or a window in layers without rotary */
} mep_family_layers;

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

/* A setting of the configuration: its value where the family has no other; MEP_FREE where a key gives it. */
enum { MEP_FREE = -1 };

typedef struct mep_family {
    const char *model_type, *architecture;
    const char *position; /* its encoding, which a key may change; NULL where a key gives it */
    const mep_family_key *keys;
    const mep_family_tensor *tensors;         /* NULL: names and layouts are the model's */
    const char *prefix;                       /* of all tensors except the output matrix; files may omit it */
    const char *const *ignored;               /* tensors that are not parameters; ended by NULL */
    double rope_theta, partial_rotary_factor; /* defaults of its rotary settings (rope_config.h); 0: it has none */
    mep_family_layers layers;
    mep_block block; /* of every family but the library's own */
    int residual, mlp, embedding_norm, no_bias;
    int qkv_bias, qk_norm, post_norm;
    int scales_slopes; /* ALiBi's slopes are divided by sqrt(head_dim), as scores are */
    int wide_is_four;  /* intermediate_size is 4 hidden_size */
    int older_own;     /* this library wrote folders of this family with a position_encoding */
    int only_read;     /* no model is written as this family */
} mep_family;

/* Ended by a row whose model_type is NULL. The first is this library's own, which can express every model. */
extern const mep_family mep_families[];

/* The family of the object in a config.json, by its model_type; `file` is for messages. */
mep_status mep_family_of(const json_t *object, const char *file, const mep_family **family);

/* The first foreign family that can express the model; the library's own where there is none. */
const mep_family *mep_family_for(const mep_model *model);

mep_status mep_family_read_config(const mep_family *family, const json_t *object, const char *file,
                                  mep_model_config *config);

/* From config->position_encoding, the rotary entry of all layers, to one with an entry per layer where the family has
 * windows or layers without rotary (family_layers.c). The other members must be valid. */
mep_status mep_family_read_layers(const mep_family *family, const json_t *object, const char *file,
                                  mep_model_config *config);

/* The first entry that is rotary; NULL where there is none. */
const mep_position_entry *mep_family_rotary_entry(const mep_position *position);

/* Whether the family's layers can encode position in this way: with rotary, and the windows and the layers without
 * rotary that it has. */
int mep_family_fits_layers(const mep_family *family, const mep_position *position);

/* The keys of what the layers of a model differ in, for an encoding that fits; nonzero when memory is short. */
int mep_family_write_layers(const mep_family *family, const mep_position *position, int64_t layers, json_t *object);

/* A new JSON object; NULL when memory is short. */
json_t *mep_family_write_config(const mep_family *family, const mep_model_config *config);

/* The family's name and layout of a tensor of the model, whose own name is `ours`; returns 0 where the family does not
 * have the tensor. */
int mep_family_tensor_name(const mep_family *family, mep_tensor_kind kind, int64_t layer, const char *ours,
                           mep_family_name *theirs);

/* Whether a name is `pattern`, in which "#" stands for digits. */
int mep_family_matches(const char *pattern, const char *name);

/* Whether a tensor of the files is not a parameter. */
int mep_family_ignores(const mep_family *family, const char *theirs);

/* Copy a tensor [n, k] of the model (k = 1 for a vector) from the layout of the files, or to it; `heads` is used by
 * MEP_LAYOUT_QKV. With one of MEP_LAYOUT_THIRDS, `theirs` is the complete [3 n, k] matrix, not transposed, which only
 * mep_family_from_layout accepts. */
void mep_family_from_layout(int layout, int64_t heads, int64_t n, int64_t k, const float *theirs, float *ours);
void mep_family_to_layout(int layout, int64_t heads, int64_t n, int64_t k, const float *ours, float *theirs);

#endif
