/* SPDX-License-Identifier: MIT */
/*
 * The spec string of a bias: its grammar, its parsed form and its canonical form.
 *
 *     SPEC := MIX ["/learn=" ITEM {"," ITEM}]        ITEM: "weights" or "slopes"
 *     MIX  := TERM {"+" TERM}
 *     TERM := [NUMBER "*"] NAME [":" OPTION "=" NUMBER {"," OPTION "=" NUMBER}]
 *
 * White space is allowed between all of these. NAME is a kernel or a named mixture. A named mixture divides its weight
 * equally among its terms and has no options.
 */
#ifndef MEP_BIAS_SPEC_H
#define MEP_BIAS_SPEC_H

#include "bias/kernel.h"
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

/* Parse `text`. The message of a failure has the position in the string, counted in characters from 1, and what is
 * possible there. The caller frees *spec with mep_spec_free; after a failure there is nothing to free. */
mep_status mep_spec_parse(mep_spec *spec, const char *text);
mep_status mep_spec_copy(mep_spec *copy, const mep_spec *spec);
void mep_spec_free(mep_spec *spec);

static inline const double *mep_spec_options(const mep_spec *spec, int term)
{
    return spec->options + spec->terms[term].first_option;
}

/* The canonical form, which the caller frees with mep_free: parsing it gives the same mep_spec. */
mep_status mep_spec_canonical(const mep_spec *spec, char **text);

#endif
