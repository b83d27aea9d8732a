/* SPDX-License-Identifier: MIT */
/*
 * The spec string of a bias: its grammar, its parsed form and its canonical form.
 *
 *     SPEC := MIX ["/learn=" ITEM {"," ITEM}]        ITEM: "weights" or "slopes"
 *     MIX  := TERM {"+" TERM}
 *     TERM := [NUMBER "*"] NAME [":" OPTION "=" NUMBER {"," OPTION "=" NUMBER}]
 *
 * White space may stand between all of these. NAME is a kernel, or a named mixture, which shares its weight equally
 * among its terms and takes no options.
 */
#ifndef MEP_BIAS_SPEC_H
#define MEP_BIAS_SPEC_H

#include "bias/kernel.h"
#include "mep/status.h"

enum { MEP_SPEC_TERMS = 32 };

typedef struct mep_spec_term {
    const mep_kernel *kernel;
    double options[MEP_KERNEL_OPTIONS];
    double weight; /* relative: the smallest weight of a mixture is 1 */
} mep_spec_term;

typedef struct mep_spec {
    int count; /* terms, sorted: by kernel in the order of the list, then by options and weight, larger ones first */
    mep_spec_term terms[MEP_SPEC_TERMS];
    int learn_weights, learn_slopes;
} mep_spec;

/* A name for a mixture, in specs and in help pages. */
typedef struct mep_named_mixture {
    const char *name;
    const char *mixture;
    const char *help;
} mep_named_mixture;

/* Ended by a name of NULL. */
extern const mep_named_mixture mep_named_mixtures[];

/* An encoding of position that is no distance bias. */
typedef struct mep_other_position {
    const char *name;
    int kind; /* mep_position_kind */
    const char *help;
} mep_other_position;

/* Ended by a name of NULL. */
extern const mep_other_position mep_other_positions[];

/* Parse `text`. The message of a failure gives the place in the string, counted in characters from 1, and what could
 * stand there. */
mep_status mep_spec_parse(mep_spec *spec, const char *text);

/* The canonical form, to be freed with mep_free: parsing it gives the same mep_spec. */
mep_status mep_spec_canonical(const mep_spec *spec, char **text);

#endif
