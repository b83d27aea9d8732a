/* SPDX-License-Identifier: MIT */
/*
 * Parser of bias specs by recursive descent; spec.h has the grammar. Every message points at a character.
 */
#include "bias/spec.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"

typedef struct parser {
    const char *text; /* all of it */
    const char *at;   /* the next character */
} parser;

static const double WEIGHT_RATIO_MAX = 1e15;
static const char SPACE[] = " \t\r\n";

/* Fail at `place`: position "TEXT", character N: PROBLEM; POSSIBLE. `possible` may be empty. */
static mep_status __attribute__((format(printf, 4, 5)))
fail_at(const parser *p, const char *place, const char *possible, const char *format, ...)
{
    char problem[256];
    va_list args;
    va_start(args, format);
    vsnprintf(problem, sizeof problem, format, args);
    va_end(args);
    return mep_fail(MEP_ERROR_ARGUMENT, "position \"%s\", character %d: %s%s%s", p->text, (int)(place - p->text) + 1,
                    problem, *possible == '\0' ? "" : "; ", possible);
}

/* ---- Lists for messages ---- */

typedef struct list {
    char text[512];
    size_t used;
} list;

static void append(list *l, const char *before, const char *word)
{
    int added = snprintf(l->text + l->used, sizeof l->text - l->used, "%s%s", before, word);
    if (added > 0 && l->used + (size_t)added < sizeof l->text) l->used += (size_t)added;
}

static const char *list_names(list *l)
{
    *l = (list){.used = 0};
    for (int i = 0; mep_kernels[i] != NULL; i++) append(l, i == 0 ? "kernels: " : ", ", mep_kernels[i]->name);
    for (int i = 0; mep_named_mixtures[i].name != NULL; i++)
        append(l, i == 0 ? "; named encodings: " : ", ", mep_named_mixtures[i].name);
    for (int i = 0; mep_other_positions[i].name != NULL; i++) append(l, ", ", mep_other_positions[i].name);
    return l->text;
}

static const char *list_options(list *l, const mep_kernel *kernel)
{
    *l = (list){.used = 0};
    for (int i = 0; kernel->options[i].name != NULL; i++)
        append(l, i == 0 ? "options: " : ", ", kernel->options[i].name);
    return l->text;
}

/* ---- Tokens ---- */

static void skip_space(parser *p)
{
    p->at += strspn(p->at, SPACE);
}

/* Step over `token` and the white space around it; 0 where it does not stand here. */
static int accept(parser *p, const char *token)
{
    skip_space(p);
    size_t length = strlen(token);
    if (strncmp(p->at, token, length) != 0) return 0;
    p->at += length;
    skip_space(p);
    return 1;
}

/* The length of the word that starts here: letters, digits and underscores. */
static int word_length(const parser *p)
{
    return (int)strspn(p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
}

static int is_word(const char *word, const char *start, int length)
{
    return strlen(word) == (size_t)length && memcmp(word, start, (size_t)length) == 0;
}

static int starts_number(const parser *p)
{
    return *p->at != '\0' && strchr("0123456789.+-", *p->at) != NULL;
}

static mep_status parse_number(parser *p, double *value)
{
    char *end;
    *value = mep_number_parse(p->at, &end);
    if (!starts_number(p) || end == p->at || memchr(p->at, 'x', (size_t)(end - p->at)) != NULL || !isfinite(*value))
        return fail_at(p, p->at, "", "expected a number");
    p->at = end;
    return MEP_OK;
}

/* ---- Terms ---- */

static mep_status add_term(parser *p, mep_spec *spec, const char *place, mep_spec_term term)
{
    if (spec->count == MEP_SPEC_TERMS) return fail_at(p, place, "", "a mixture has at most %d terms", MEP_SPEC_TERMS);
    spec->terms[spec->count++] = term;
    return MEP_OK;
}

static mep_status parse_option(parser *p, mep_spec_term *term, int *given)
{
    list possible;
    const mep_kernel *kernel = term->kernel;
    const char *place = p->at;
    int length = word_length(p), i = 0;
    while (kernel->options[i].name != NULL && !is_word(kernel->options[i].name, place, length)) i++;
    const mep_kernel_option *option = &kernel->options[i];
    if (option->name == NULL && i == 0) return fail_at(p, place, "", "%s has no options", kernel->name);
    if (option->name == NULL)
        return fail_at(p, place, list_options(&possible, kernel), "%s has no option \"%.*s\"", kernel->name, length,
                       place);
    if (*given & 1 << i) return fail_at(p, place, "", "option \"%s\" is given twice", option->name);
    *given |= 1 << i;
    p->at += length;
    if (!accept(p, "=")) return fail_at(p, p->at, "", "expected \"=\" and a number after \"%s\"", option->name);
    place = p->at;
    double value = 0.0;
    MEP_TRY(parse_number(p, &value));
    if (option->integer && value != floor(value))
        return fail_at(p, place, "", "\"%s\" must be a whole number", option->name);
    if (value < option->min || value > option->max)
        return fail_at(p, place, "", "\"%s\" must be from %.10g to %.10g, but is %g", option->name, option->min,
                       option->max, value);
    term->options[i] = value;
    return MEP_OK;
}

/* The options of a kernel, from the ":" on where there is one. */
static mep_status parse_kernel(parser *p, mep_spec *spec, const char *place, const mep_kernel *kernel, double weight)
{
    mep_spec_term term = {.kernel = kernel, .weight = weight};
    for (int i = 0; kernel->options[i].name != NULL; i++) term.options[i] = kernel->options[i].value;
    if (accept(p, ":")) {
        int given = 0;
        do MEP_TRY(parse_option(p, &term, &given));
        while (accept(p, ","));
    }
    const char *problem = kernel->check == NULL ? NULL : kernel->check(term.options);
    if (problem != NULL) return fail_at(p, place, "", "%s", problem);
    return add_term(p, spec, place, term);
}

static mep_status parse_named(parser *p, mep_spec *spec, const char *place, const mep_named_mixture *named,
                              double weight)
{
    mep_spec mixture;
    MEP_TRY(mep_spec_parse(&mixture, named->mixture));
    if (accept(p, ":"))
        return fail_at(p, p->at, "",
                       "%s is the mixture %s and takes no options; write out its kernels to give them options",
                       named->name, named->mixture);
    for (int i = 0; i < mixture.count; i++) {
        mixture.terms[i].weight = weight / mixture.count;
        MEP_TRY(add_term(p, spec, place, mixture.terms[i]));
    }
    return MEP_OK;
}

static mep_status parse_weight(parser *p, double *weight)
{
    *weight = 1.0;
    if (!starts_number(p)) return MEP_OK;
    const char *place = p->at;
    MEP_TRY(parse_number(p, weight));
    if (!(*weight > 0.0)) return fail_at(p, place, "", "a weight must be greater than 0, but is %g", *weight);
    if (!accept(p, "*")) return fail_at(p, p->at, "", "expected \"*\" after the weight");
    return MEP_OK;
}

static mep_status parse_term(parser *p, mep_spec *spec)
{
    list possible;
    double weight = 1.0;
    skip_space(p);
    MEP_TRY(parse_weight(p, &weight));
    const char *place = p->at;
    int length = word_length(p);
    if (length == 0) return fail_at(p, place, list_names(&possible), "expected the name of a kernel");
    p->at += length;
    const mep_kernel *kernel = mep_kernel_find(place, length);
    if (kernel != NULL) return parse_kernel(p, spec, place, kernel, weight);
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL; named++)
        if (is_word(named->name, place, length)) return parse_named(p, spec, place, named, weight);
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        if (is_word(other->name, place, length))
            return fail_at(p, place, list_names(&possible), "\"%s\" is no distance bias and cannot be part of one",
                           other->name);
    return fail_at(p, place, list_names(&possible), "unknown kernel \"%.*s\"", length, place);
}

/* ---- What is learned ---- */

static int has_slopes(const mep_spec *spec)
{
    for (int i = 0; i < spec->count; i++)
        if (spec->terms[i].kernel->has_slope) return 1;
    return 0;
}

static mep_status parse_item(parser *p, mep_spec *spec)
{
    static const char possible[] = "what can be learned: weights, slopes";
    const char *place = p->at;
    int length = word_length(p);
    int weights = is_word("weights", place, length), slopes = is_word("slopes", place, length);
    if (!weights && !slopes) return fail_at(p, place, possible, "unknown \"%.*s\"", length, place);
    if ((weights && spec->learn_weights) || (slopes && spec->learn_slopes))
        return fail_at(p, place, possible, "\"%.*s\" is given twice", length, place);
    if (weights && spec->count < 2) return fail_at(p, place, "", "a single kernel has no weights to learn");
    if (slopes && !has_slopes(spec)) return fail_at(p, place, "", "no kernel of this mixture has slopes to learn");
    spec->learn_weights |= weights;
    spec->learn_slopes |= slopes;
    p->at += length;
    return MEP_OK;
}

static mep_status parse_learn(parser *p, mep_spec *spec)
{
    if (!accept(p, "/")) return MEP_OK;
    const char *place = p->at;
    if (!accept(p, "learn") || !accept(p, "=")) return fail_at(p, place, "", "expected \"learn=\"");
    do MEP_TRY(parse_item(p, spec));
    while (accept(p, ","));
    return MEP_OK;
}

/* ---- Normal form ---- */

/* Larger of a and b first. */
static int descending(double a, double b)
{
    return (a < b) - (a > b);
}

static int compare_terms(const void *left, const void *right)
{
    const mep_spec_term *a = left, *b = right;
    for (int i = 0; a->kernel != b->kernel; i++) {
        if (mep_kernels[i] == a->kernel) return -1;
        if (mep_kernels[i] == b->kernel) return 1;
    }
    for (int i = 0; i < MEP_KERNEL_OPTIONS; i++)
        if (a->options[i] != b->options[i]) return descending(a->options[i], b->options[i]);
    return descending(a->weight, b->weight);
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
            return fail_at(p, p->text, "", "weights may not differ by more than a factor of %g", WEIGHT_RATIO_MAX);
        snprintf(digits, sizeof digits, "%.15g", ratio); /* in any locale: it is read in the same */
        spec->terms[i].weight = strtod(digits, NULL);
    }
    qsort(spec->terms, (size_t)spec->count, sizeof spec->terms[0], compare_terms);
    return MEP_OK;
}

mep_status mep_spec_parse(mep_spec *spec, const char *text)
{
    *spec = (mep_spec){.count = 0};
    parser p = {.text = text, .at = text};
    do MEP_TRY(parse_term(&p, spec));
    while (accept(&p, "+"));
    MEP_TRY(parse_learn(&p, spec));
    if (*p.at != '\0') return fail_at(&p, p.at, "", "expected \"+\", \"/learn=\" or the end");
    return normalize(&p, spec);
}
