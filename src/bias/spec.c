/* SPDX-License-Identifier: MIT */
/*
 * Parser of bias specs by recursive descent; spec.h has the grammar. Every message points at a character.
 */
#include "bias/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "bias/spec_reader.h"

typedef mep_spec_reader parser;

static const double WEIGHT_RATIO_MAX = 1e15;
/* ---- Lists for messages ---- */

typedef mep_word_list list;

static const char *list_names(list *l)
{
    *l = (list){.used = 0};
    for (int i = 0; mep_kernels[i] != NULL; i++)
        mep_word_list_add(l, i == 0 ? "kernels: " : ", ", mep_kernels[i]->name);
    for (int i = 0; mep_named_mixtures[i].name != NULL; i++)
        mep_word_list_add(l, i == 0 ? "; named encodings: " : ", ", mep_named_mixtures[i].name);
    for (int i = 0; mep_other_positions[i].name != NULL; i++) mep_word_list_add(l, ", ", mep_other_positions[i].name);
    return l->text;
}

static const char *list_options(list *l, const mep_kernel *kernel)
{
    *l = (list){.used = 0};
    for (int i = 0; i < mep_kernel_option_count(kernel); i++)
        mep_word_list_add(l, i == 0 ? "options: " : ", ", kernel->options[i].name);
    return l->text;
}

static const char *list_learn_items(list *l)
{
    *l = (list){.used = 0};
    for (int i = 0; mep_learn_items[i].name != NULL; i++)
        mep_word_list_add(l, i == 0 ? "what can be learned: " : ", ", mep_learn_items[i].name);
    return l->text;
}

/* ---- Terms ---- */

static mep_status parse_complete(mep_spec *spec, const char *text);

/* Append a term. Its options are NaN until they are parsed. */
static mep_status add_term(parser *p, mep_spec *spec, const char *at, const mep_kernel *kernel, double weight)
{
    if (spec->count == MEP_SPEC_TERMS)
        return mep_spec_fail(p, at, "", "a mixture has at most %d terms", MEP_SPEC_TERMS);
    int count = mep_kernel_option_count(kernel);
    MEP_TRY(MEP_GROW(&spec->options, spec->option_count, spec->option_count + count));
    for (int i = 0; i < count; i++) spec->options[spec->option_count + i] = NAN;
    spec->terms[spec->count++] =
        (mep_spec_term){.kernel = kernel, .first_option = spec->option_count, .weight = weight};
    spec->option_count += count;
    return MEP_OK;
}

static double *last_options(const mep_spec *spec)
{
    return spec->options + spec->terms[spec->count - 1].first_option;
}

/* Parse the value of an option and check its range. */
static mep_status parse_value(parser *p, const mep_kernel_option *option, double *value)
{
    const char *at = p->at;
    MEP_TRY(mep_spec_number(p, value));
    if (option->integer && *value != floor(*value))
        return mep_spec_fail(p, at, "", "\"%s\" must be an integer", option->name);
    if (*value < option->min || *value > option->max)
        return mep_spec_fail(p, at, "", "\"%s\" must be from %.10g to %.10g, but is %g", option->name, option->min,
                             option->max, *value);
    return MEP_OK;
}

/* Parse one option of the last term. */
static mep_status parse_option(parser *p, const mep_spec *spec)
{
    list possible;
    const mep_kernel *kernel = spec->terms[spec->count - 1].kernel;
    const char *at = p->at;
    int length = mep_spec_word(p), count = mep_kernel_option_count(kernel), i = 0;
    while (i < count && !mep_spec_is_word(kernel->options[i].name, at, length)) i++;
    if (count == 0) return mep_spec_fail(p, at, "", "%s has no options", kernel->name);
    if (i == count)
        return mep_spec_fail(p, at, list_options(&possible, kernel), "%s has no option \"%.*s\"", kernel->name, length,
                             at);
    const mep_kernel_option *option = &kernel->options[i];
    double *value = &last_options(spec)[i];
    if (!isnan(*value)) return mep_spec_fail(p, at, "", "option \"%s\" is given twice", option->name);
    p->at += length;
    if (!mep_spec_accept(p, "="))
        return mep_spec_fail(p, p->at, "", "expected \"=\" and a number after \"%s\"", option->name);
    return parse_value(p, option, value);
}

/* Parse what follows the name of a kernel: ":" and its options, or nothing. */
static mep_status parse_kernel(parser *p, mep_spec *spec, const char *at, const mep_kernel *kernel, double weight)
{
    MEP_TRY(add_term(p, spec, at, kernel, weight));
    if (mep_spec_accept(p, ":")) {
        do MEP_TRY(parse_option(p, spec));
        while (mep_spec_accept(p, ","));
    }
    double *options = last_options(spec);
    for (int i = 0; i < mep_kernel_option_count(kernel); i++)
        if (isnan(options[i])) options[i] = kernel->options[i].value;
    const char *problem = kernel->check == NULL ? NULL : kernel->check(options);
    return problem == NULL ? MEP_OK : mep_spec_fail(p, at, "", "%s", problem);
}

/* Append the terms of a mixture and divide the weight equally among them. */
static mep_status add_mixture(parser *p, mep_spec *spec, const char *at, const mep_spec *mixture, double weight)
{
    for (int i = 0; i < mixture->count; i++) {
        const mep_kernel *kernel = mixture->terms[i].kernel;
        MEP_TRY(add_term(p, spec, at, kernel, weight / mixture->count));
        for (int o = 0; o < mep_kernel_option_count(kernel); o++)
            last_options(spec)[o] = mep_spec_options(mixture, i)[o];
    }
    return MEP_OK;
}

static mep_status parse_named(parser *p, mep_spec *spec, const char *at, const mep_named_mixture *named, double weight)
{
    mep_spec mixture;
    if (mep_spec_accept(p, ":"))
        return mep_spec_fail(p, p->at, "",
                             "%s is the mixture %s and has no options; write its kernels to give them options",
                             named->name, named->mixture);
    MEP_TRY(parse_complete(&mixture, named->mixture));
    mep_status status = add_mixture(p, spec, at, &mixture, weight);
    mep_spec_free(&mixture);
    return status;
}

static mep_status parse_weight(parser *p, double *weight)
{
    *weight = 1.0;
    if (!mep_spec_starts_number(p)) return MEP_OK;
    const char *at = p->at;
    MEP_TRY(mep_spec_number(p, weight));
    if (!(*weight > 0.0)) return mep_spec_fail(p, at, "", "a weight must be greater than 0, but is %g", *weight);
    if (!mep_spec_accept(p, "*")) return mep_spec_fail(p, p->at, "", "expected \"*\" after the weight");
    return MEP_OK;
}

static mep_status parse_term(parser *p, mep_spec *spec)
{
    list possible;
    double weight = 1.0;
    mep_spec_skip_space(p);
    MEP_TRY(parse_weight(p, &weight));
    const char *at = p->at;
    int length = mep_spec_word(p);
    if (length == 0) return mep_spec_fail(p, at, list_names(&possible), "expected the name of a kernel");
    p->at += length;
    const mep_kernel *kernel = mep_kernel_find(at, length);
    if (kernel != NULL) return parse_kernel(p, spec, at, kernel, weight);
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL; named++)
        if (mep_spec_is_word(named->name, at, length)) return parse_named(p, spec, at, named, weight);
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        if (mep_spec_is_word(other->name, at, length))
            return mep_spec_fail(p, at, list_names(&possible),
                                 "\"%s\" is not a distance bias and cannot be part of one", other->name);
    return mep_spec_fail(p, at, list_names(&possible), "unknown kernel \"%.*s\"", length, at);
}

/* ---- What is learned ---- */

/* Whether a kernel of the mixture has a slope that learn=slopes can learn. */
static int has_slopes(const mep_spec *spec)
{
    for (int i = 0; i < spec->count; i++)
        for (int n = 0; n < mep_kernel_param_count(spec->terms[i].kernel); n++)
            if (spec->terms[i].kernel->params[n].learn == MEP_LEARN_SLOPES) return 1;
    return 0;
}

/* Parse one item of learn=.. after the mixture. */
static mep_status parse_item(parser *p, mep_spec *spec)
{
    list possible;
    const char *at = p->at;
    int length = mep_spec_word(p);
    const mep_learn_item *item = mep_learn_items;
    while (item->name != NULL && !mep_spec_is_word(item->name, at, length)) item++;
    if (item->name == NULL) return mep_spec_fail(p, at, list_learn_items(&possible), "unknown \"%.*s\"", length, at);
    if (spec->learn & item->bit)
        return mep_spec_fail(p, at, list_learn_items(&possible), "\"%.*s\" is given twice", length, at);
    if (item->bit == MEP_LEARN_WEIGHTS && spec->count < 2)
        return mep_spec_fail(p, at, "", "a single kernel has no weights to learn");
    if (item->bit == MEP_LEARN_SLOPES && !has_slopes(spec))
        return mep_spec_fail(p, at, "", "no kernel of this mixture has slopes to learn");
    spec->learn |= item->bit;
    p->at += length;
    return MEP_OK;
}

mep_status mep_spec_parse_learn(mep_spec_reader *p, mep_spec *spec)
{
    if (!mep_spec_accept(p, "=")) return mep_spec_fail(p, p->at, "", "expected \"=\" after \"learn\"");
    do MEP_TRY(parse_item(p, spec));
    while (mep_spec_accept(p, ","));
    return MEP_OK;
}

/* ---- Normal form ---- */

/* Less than 0 where term a comes before term b. */
static int compare_terms(const mep_spec *spec, const mep_spec_term *a, const mep_spec_term *b)
{
    for (int i = 0; a->kernel != b->kernel; i++) {
        if (mep_kernels[i] == a->kernel) return -1;
        if (mep_kernels[i] == b->kernel) return 1;
    }
    for (int i = 0; i < mep_kernel_option_count(a->kernel); i++) {
        double x = spec->options[a->first_option + i], y = spec->options[b->first_option + i];
        if (x != y) return x > y ? -1 : 1;
    }
    return (a->weight < b->weight) - (a->weight > b->weight);
}

/* Insertion sort: there are few terms. */
static void sort_terms(mep_spec *spec)
{
    for (int i = 1; i < spec->count; i++) {
        mep_spec_term term = spec->terms[i];
        int at = i;
        for (; at > 0 && compare_terms(spec, &term, &spec->terms[at - 1]) < 0; at--)
            spec->terms[at] = spec->terms[at - 1];
        spec->terms[at] = term;
    }
}

/* Sort the terms and make the smallest weight 1. Ratios are rounded to 15 digits, so that 0.3 and 0.1 are the same as 3
 * and 1 and the canonical form is short and exact. */
static mep_status normalize(const parser *p, mep_spec *spec)
{
    double smallest = spec->terms[0].weight;
    for (int i = 1; i < spec->count; i++) smallest = fmin(smallest, spec->terms[i].weight);
    for (int i = 0; i < spec->count; i++) {
        char digits[32];
        double ratio = spec->terms[i].weight / smallest;
        if (!(ratio <= WEIGHT_RATIO_MAX))
            return mep_spec_fail(p, p->text, "", "weights may not differ by more than a factor of %g",
                                 WEIGHT_RATIO_MAX);
        snprintf(digits, sizeof digits, "%.15g", ratio); /* written and read in the same locale */
        spec->terms[i].weight = strtod(digits, NULL);
    }
    sort_terms(spec);
    return MEP_OK;
}

static mep_status parse_mixture(parser *p, mep_spec *spec)
{
    do MEP_TRY(parse_term(p, spec));
    while (mep_spec_accept(p, "+"));
    for (int i = 0; i < spec->count && spec->count > 1; i++)
        if (spec->terms[i].kernel->alone)
            return mep_spec_fail(p, p->text, "", "%s cannot be part of a mixture; use it alone",
                                 spec->terms[i].kernel->name);
    return normalize(p, spec);
}

/* ---- Creation and destruction ---- */

mep_status mep_spec_parse_mixture(mep_spec_reader *p, mep_spec *spec)
{
    *spec = (mep_spec){.count = 0};
    mep_status status = parse_mixture(p, spec);
    if (status != MEP_OK) mep_spec_free(spec);
    return status;
}

/* The mixture of a name, which has nothing else. */
static mep_status parse_complete(mep_spec *spec, const char *text)
{
    mep_spec_reader p = {.text = text, .at = text};
    MEP_TRY(mep_spec_parse_mixture(&p, spec));
    if (*p.at == '\0') return MEP_OK;
    mep_spec_free(spec);
    return mep_spec_fail(&p, p.at, "", "expected \"+\" or the end");
}

mep_status mep_spec_copy(mep_spec *copy, const mep_spec *spec)
{
    *copy = *spec;
    copy->options = NULL;
    MEP_TRY(MEP_ALLOC(&copy->options, spec->option_count));
    for (int i = 0; i < spec->option_count; i++) copy->options[i] = spec->options[i];
    return MEP_OK;
}

void mep_spec_free(mep_spec *spec)
{
    mep_free(&spec->options);
    *spec = (mep_spec){.count = 0};
}
