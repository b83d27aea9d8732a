/* SPDX-License-Identifier: MIT */
/*
 * The canonical form of a spec: terms are sorted, the smallest weight is 1, and default options are omitted. A mixture
 * that has a name is written by its name.
 */
#include "bias/spec.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/string_builder.h"

static mep_status add_number(mep_string_builder *t, double value)
{
    char number[MEP_NUMBER_SIZE];
    mep_number_print(number, value);
    return mep_string_add(t, "%s", number);
}

static mep_status add_term(mep_string_builder *t, const mep_spec *spec, int index)
{
    const mep_spec_term *term = &spec->terms[index];
    const double *options = mep_spec_options(spec, index);
    if (index > 0) MEP_TRY(mep_string_add(t, " + "));
    if (term->weight != 1.0) {
        MEP_TRY(add_number(t, term->weight));
        MEP_TRY(mep_string_add(t, "*"));
    }
    MEP_TRY(mep_string_add(t, "%s", term->kernel->name));
    const char *before = ":";
    for (int i = 0; i < mep_kernel_option_count(term->kernel); i++) {
        const mep_kernel_option *option = &term->kernel->options[i];
        if (options[i] == option->value) continue;
        MEP_TRY(mep_string_add(t, "%s%s=", before, option->name));
        MEP_TRY(add_number(t, options[i]));
        before = ",";
    }
    return MEP_OK;
}

static mep_status add_learn(mep_string_builder *t, int learn)
{
    const char *before = "/learn=";
    for (const mep_learn_item *item = mep_learn_items; item->name != NULL; item++) {
        if ((learn & item->bit) == 0) continue;
        MEP_TRY(mep_string_add(t, "%s%s", before, item->name));
        before = ",";
    }
    return MEP_OK;
}

int mep_spec_same_mixture(const mep_spec *a, const mep_spec *b)
{
    if (a->count != b->count) return 0;
    for (int i = 0; i < a->count; i++) {
        const mep_spec_term *s = &a->terms[i], *t = &b->terms[i];
        if (s->kernel != t->kernel || s->weight != t->weight) return 0;
        for (int o = 0; o < mep_kernel_option_count(s->kernel); o++)
            if (mep_spec_options(a, i)[o] != mep_spec_options(b, i)[o]) return 0;
    }
    return 1;
}

int mep_spec_same(const mep_spec *a, const mep_spec *b)
{
    return a->learn == b->learn && mep_spec_same_mixture(a, b);
}

/* *name is the name of this mixture, or NULL. */
static mep_status find_name(const mep_spec *spec, const char **name)
{
    *name = NULL;
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL && *name == NULL; named++) {
        mep_spec mixture;
        mep_spec_reader reader = {.text = named->mixture, .at = named->mixture};
        MEP_TRY(mep_spec_parse_mixture(&reader, &mixture));
        if (mep_spec_same_mixture(spec, &mixture)) *name = named->name;
        mep_spec_free(&mixture);
    }
    return MEP_OK;
}

mep_status mep_spec_print(mep_string_builder *t, const mep_spec *spec)
{
    const char *name = NULL;
    MEP_TRY(find_name(spec, &name));
    if (name != NULL) MEP_TRY(mep_string_add(t, "%s", name));
    for (int i = 0; name == NULL && i < spec->count; i++) MEP_TRY(add_term(t, spec, i));
    return add_learn(t, spec->learn);
}
