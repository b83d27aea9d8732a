/* SPDX-License-Identifier: MIT */
/*
 * The mixture of a spec string (position.h has the complete grammar): its parsed form and its canonical form.
 *
 *     MIX  := TERM {"+" TERM}
 *     TERM := [NUMBER "*"] NAME [":" OPTION "=" NUMBER {"," OPTION "=" NUMBER}]
 *
 * White space is allowed between all of these. NAME is a kernel or a named mixture. A named mixture divides its weight
 * equally among its terms and has no options.
 */
#ifndef MEP_BIAS_SPEC_H
#define MEP_BIAS_SPEC_H

#include "base/string_builder.h"
#include "bias/kernel.h"
#include "bias/spec_reader.h"
#include "mep/bias.h"

enum { MEP_SPEC_TERMS = 32 };

typedef struct mep_spec_term {
    const mep_kernel *kernel;
    int first_option; /* of its options in mep_spec.options */
    double weight;    /* relative: the smallest weight of a mixture is 1 */
} mep_spec_term;

typedef struct mep_spec {
    int count; /* terms, sorted: by kernel in the order of the list, then by options and weight, larger ones first */
    mep_spec_term terms[MEP_SPEC_TERMS];
    double *options; /* of all terms */
    int option_count;
    int learn; /* MEP_LEARN bits */
} mep_spec;

/* A name for a mixture, in specs and in help pages. */
typedef struct mep_named_mixture {
    const char *name;
    const char *mixture;
    const char *help;
} mep_named_mixture;

/* Ended by a name of NULL. */
extern const mep_named_mixture mep_named_mixtures[];

/* An encoding of position that is not a distance bias. */
typedef struct mep_other_position {
    const char *name;
    mep_position_kind kind;
    const char *help;
} mep_other_position;

/* Ended by a name of NULL. */
extern const mep_other_position mep_other_positions[];

/* A word that "/learn=" accepts. */
typedef struct mep_learn_item {
    const char *name;
    int bit; /* of MEP_LEARN */
} mep_learn_item;

/* In the order of the canonical form; ended by a name of NULL. */
extern const mep_learn_item mep_learn_items[];

/* Parse a MIX from where the reader is; it stops after it. The caller frees *spec with mep_spec_free; after a failure
 * there is nothing to free. */
mep_status mep_spec_parse_mixture(mep_spec_reader *reader, mep_spec *spec);

/* Parse what follows "/learn". */
mep_status mep_spec_parse_learn(mep_spec_reader *reader, mep_spec *spec);

mep_status mep_spec_copy(mep_spec *copy, const mep_spec *spec);
void mep_spec_free(mep_spec *spec);

static inline const double *mep_spec_options(const mep_spec *spec, int term)
{
    return spec->options + spec->terms[term].first_option;
}

/* Whether two mixtures are the same, whatever they learn. */
int mep_spec_same_mixture(const mep_spec *a, const mep_spec *b);

/* Whether two mixtures are the same and learn the same. */
int mep_spec_same(const mep_spec *a, const mep_spec *b);

/* Append the canonical form: parsing it gives the same mep_spec. */
mep_status mep_spec_print(mep_string_builder *text, const mep_spec *spec);

#endif
