/* SPDX-License-Identifier: MIT */
/*
 * The canonical form of a spec: sorted terms, smallest weight 1, defaults left out; the name where a mixture has one.
 */
#include "bias/spec.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"

enum { TERM_SIZE = 128 };

static void print_term(char text[TERM_SIZE], const mep_spec_term *term)
{
    char number[MEP_NUMBER_SIZE];
    text[0] = '\0';
    if (term->weight != 1.0) {
        mep_number_print(number, term->weight);
        strcat(strcat(text, number), "*");
    }
    strcat(text, term->kernel->name);
    const char *before = ":";
    for (int i = 0; term->kernel->options[i].name != NULL; i++) {
        const mep_kernel_option *option = &term->kernel->options[i];
        if (term->options[i] == option->value) continue;
        mep_number_print(number, term->options[i]);
        strcat(strcat(strcat(strcat(text, before), option->name), "="), number);
        before = ",";
    }
}

static int same_mixture(const mep_spec *a, const mep_spec *b)
{
    if (a->count != b->count) return 0;
    for (int i = 0; i < a->count; i++) {
        const mep_spec_term *s = &a->terms[i], *t = &b->terms[i];
        if (s->kernel != t->kernel || s->weight != t->weight) return 0;
        for (int o = 0; o < MEP_KERNEL_OPTIONS; o++)
            if (s->options[o] != t->options[o]) return 0;
    }
    return 1;
}

/* *name is the name of this mixture, or NULL. */
static mep_status find_name(const mep_spec *spec, const char **name)
{
    *name = NULL;
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL; named++) {
        mep_spec mixture;
        MEP_TRY(mep_spec_parse(&mixture, named->mixture));
        if (!same_mixture(spec, &mixture)) continue;
        *name = named->name;
        return MEP_OK;
    }
    return MEP_OK;
}

mep_status mep_spec_canonical(const mep_spec *spec, char **text)
{
    char mixture[MEP_SPEC_TERMS * (TERM_SIZE + 3)] = "", term[TERM_SIZE];
    const char *name = NULL;
    MEP_TRY(find_name(spec, &name));
    for (int i = 0; name == NULL && i < spec->count; i++) {
        print_term(term, &spec->terms[i]);
        strcat(strcat(mixture, i == 0 ? "" : " + "), term);
    }
    const char *learn = spec->learn_weights && spec->learn_slopes ? "/learn=weights,slopes"
                        : spec->learn_weights                     ? "/learn=weights"
                        : spec->learn_slopes                      ? "/learn=slopes"
                                                                  : "";
    return mep_format(text, "%s%s", name == NULL ? mixture : name, learn);
}
