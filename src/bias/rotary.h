/* SPDX-License-Identifier: MIT */
/*
 * Rotary positions (RoPE, arXiv:2104.09864): the options of the entry "rotary" in a position spec, and the frequencies
 * that they give. The pair of channels n of a query or key at position p is rotated by the angle p frequency[n] and
 * multiplied by a factor, 1 in most scalings. The formulas are in docs/mathematics.md, section 3.
 *
 *     ROTARY := "rotary" [":" OPTION "=" VALUE {"," OPTION "=" VALUE}]
 *     VALUE  := NUMBER | the name of a scaling | NUMBER {":" NUMBER}       (the last of short_factor and long_factor)
 */
#ifndef MEP_BIAS_ROTARY_H
#define MEP_BIAS_ROTARY_H

#include <stdint.h>

#include "base/string_builder.h"
#include "bias/spec_reader.h"

/* How the frequencies are changed for texts that are longer than those of training. The names are transformers'. */
typedef enum mep_rotary_scaling {
    MEP_ROTARY_DEFAULT,
    MEP_ROTARY_LINEAR,
    MEP_ROTARY_NTK,
    MEP_ROTARY_DYNAMIC,
    MEP_ROTARY_YARN,
    MEP_ROTARY_LONGROPE,
    MEP_ROTARY_LLAMA3,
    MEP_ROTARY_SCALINGS
} mep_rotary_scaling;

/* The names of scalings, by mep_rotary_scaling; "default" is not written in a spec. */
extern const char *const mep_rotary_scaling_names[MEP_ROTARY_SCALINGS];

/* Options of an entry. Those that its scaling does not have keep their defaults. */
typedef struct mep_rotary_options {
    double base;     /* 0: the model's rotary_emb_base */
    double partial;  /* the fraction of a head's channels that are rotated; 0: the model's rotary_pct */
    double fraction; /* the fraction of the frequencies, the highest, that are not 0 (p-RoPE, arXiv:2410.06205) */
    mep_rotary_scaling scaling;
    double factor;
    double original;                          /* length of training before scaling; 0: the model's training length */
    double attention_factor;                  /* of yarn and longrope; 0: by their formulas */
    double beta_fast, beta_slow, truncate;    /* of yarn */
    double low_freq_factor, high_freq_factor; /* of llama3 */
    int64_t factors;                          /* length of both lists, which are of longrope */
    double *short_factor, *long_factor;       /* NULL: none */
} mep_rotary_options;

/* The defaults: what "rotary" without options means. */
mep_rotary_options mep_rotary_defaults(void);

/* Parse what follows "rotary". The caller frees *options with mep_rotary_free; after a failure there is nothing to
 * free. */
mep_status mep_rotary_parse(mep_spec_reader *reader, mep_rotary_options *options);

/* Append the canonical form: ":" and the options that differ from their defaults, or nothing. */
mep_status mep_rotary_print(mep_string_builder *text, const mep_rotary_options *options);

/* Whether two entries have the same options. */
int mep_rotary_same(const mep_rotary_options *a, const mep_rotary_options *b);

void mep_rotary_free(mep_rotary_options *options);

/* For help pages: option number `index`, constant strings; returns 0 after the last. */
int mep_rotary_option_help(int index, const char **name, const char **value, const char **help);

/* What a rotation takes from the model where its options do not have it. */
typedef struct mep_rotary_model {
    double base;      /* above 1 */
    int64_t dims;     /* channels that are rotated: an even number */
    int64_t original; /* length of training before scaling */
} mep_rotary_model;

/* Whether frequencies depend on the length of the text. */
int mep_rotary_depends_on_length(const mep_rotary_options *options);

/* The length at which they are computed: two lengths of equal results give equal numbers. */
int64_t mep_rotary_effective_length(const mep_rotary_options *options, const mep_rotary_model *model, int64_t length);

/* The factor of cosines and sines. */
double mep_rotary_attention_factor(const mep_rotary_options *options, const mep_rotary_model *model);

/* The base of which the frequencies are powers. */
double mep_rotary_base(const mep_rotary_options *options, const mep_rotary_model *model, int64_t length);

/* frequency[n], n < dims / 2, for a text of `length` tokens, and *attention_factor, by which cosines and sines are
 * multiplied. */
void mep_rotary_frequencies(const mep_rotary_options *options, const mep_rotary_model *model, int64_t length,
                            double *frequency, double *attention_factor);

#endif
