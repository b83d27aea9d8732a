/* SPDX-License-Identifier: MIT */
/*
 * Creates, compares and destroys a mep_position: how a model encodes position, parsed from its spec.
 */
#include "bias/position.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

enum { MOST_ENTRIES = 64 };

static void free_entry(mep_position_entry *e)
{
    mep_spec_free(&e->mixture);
    mep_rotary_free(&e->rotary);
}

/* ---- Parsing ---- */

/* The encoding that is not a distance bias and has the next word as its name. */
static const mep_other_position *find_other(const mep_spec_reader *r)
{
    int length = mep_spec_word(r);
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        if (mep_spec_is_word(other->name, r->at, length)) return other;
    return NULL;
}

/* Whether an entry ends here, or a modifier follows. */
static int is_end(mep_spec_reader *r)
{
    mep_spec_skip_space(r);
    return *r->at == '\0' || *r->at == '/' || *r->at == '|';
}

static mep_status parse_base(mep_spec_reader *r, mep_position_entry *e)
{
    mep_spec_skip_space(r);
    const mep_other_position *other = find_other(r);
    mep_spec_reader after = *r;
    if (other != NULL) after.at += strlen(other->name);
    int rotary = other != NULL && other->kind == MEP_POSITION_ROTARY;
    if (other != NULL && (is_end(&after) || (rotary && *after.at == ':'))) {
        e->kind = other->kind;
        *r = after;
        if (rotary) MEP_TRY(mep_rotary_parse(r, &e->rotary));
        return is_end(r) ? MEP_OK : mep_spec_fail(r, r->at, "", "expected \",\", \"/\", \"|\" or the end");
    }
    e->kind = MEP_POSITION_BIAS;
    MEP_TRY(mep_spec_parse_mixture(r, &e->mixture));
    return is_end(r) ? MEP_OK : mep_spec_fail(r, r->at, "", "expected \"+\", \"/\", \"|\" or the end");
}

static mep_status parse_modifier(mep_spec_reader *r, mep_position_entry *e)
{
    mep_word_list possible = {.used = 0};
    const char *at = r->at;
    int length = mep_spec_word(r);
    for (const mep_modifier *m = mep_modifiers; m->name != NULL; m++) {
        mep_word_list_add(&possible, m == mep_modifiers ? "modifiers: " : ", ", m->name);
        mep_word_list_add(&possible, "", m->form);
    }
    for (const mep_modifier *m = mep_modifiers; m->name != NULL; m++) {
        if (!mep_spec_is_word(m->name, at, length)) continue;
        r->at += length;
        MEP_TRY(m->parse(r, at, e));
        return is_end(r) ? MEP_OK : mep_spec_fail(r, r->at, "", "expected \"/\", \"|\" or the end");
    }
    return mep_spec_fail(r, at, possible.text, "unknown modifier \"%.*s\"", length, at);
}

static mep_status parse_entry(mep_spec_reader *r, mep_position_entry *e)
{
    MEP_TRY(parse_base(r, e));
    while (mep_spec_accept(r, "/")) MEP_TRY(parse_modifier(r, e));
    return MEP_OK;
}

/* The distance biases of a position are one mixture, whose parameters are the model's; and embeddings have one kind of
 * position. */
static mep_status check_entries(const mep_spec_reader *r, const mep_position *p)
{
    const mep_position_entry *first = mep_position_bias_entry(p);
    for (int i = 0; i < p->count; i++) {
        const mep_position_entry *e = &p->entries[i];
        if (p->count > 1 && (e->kind == MEP_POSITION_SINUSOIDAL || e->kind == MEP_POSITION_LEARNED))
            return mep_spec_fail(r, r->text, "", "\"sinusoidal\" and \"learned\" are for all layers, without \"|\"");
        if (e->kind == MEP_POSITION_BIAS && !mep_spec_same(&first->mixture, &e->mixture))
            return mep_spec_fail(r, r->text, "", "the layers have different mixtures; a model has one, in some layers");
    }
    return MEP_OK;
}

static mep_status parse_entries(mep_position *p, const char *spec)
{
    mep_spec_reader r = {.text = spec, .at = spec};
    do {
        if (p->count == MOST_ENTRIES)
            return mep_spec_fail(&r, r.at, "", "a position has at most %d entries", MOST_ENTRIES);
        MEP_TRY(MEP_GROW(&p->entries, p->count, p->count + 1));
        MEP_TRY(parse_entry(&r, &p->entries[p->count++]));
    } while (mep_spec_accept(&r, "|"));
    return check_entries(&r, p);
}

/* ---- Canonical form ---- */

static mep_status print_entry(mep_string_builder *t, const mep_position_entry *e)
{
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        if (e->kind == other->kind && e->kind != MEP_POSITION_BIAS) MEP_TRY(mep_string_add(t, "%s", other->name));
    if (e->kind == MEP_POSITION_BIAS) MEP_TRY(mep_spec_print(t, &e->mixture));
    if (e->kind == MEP_POSITION_ROTARY) MEP_TRY(mep_rotary_print(t, &e->rotary));
    for (const mep_modifier *m = mep_modifiers; m->name != NULL; m++) MEP_TRY(m->print(t, e));
    return MEP_OK;
}

static mep_status print_all(mep_string_builder *t, const mep_position *p)
{
    for (int i = 0; i < p->count; i++) {
        if (i > 0) MEP_TRY(mep_string_add(t, "|"));
        MEP_TRY(print_entry(t, &p->entries[i]));
    }
    return MEP_OK;
}

static int same_entries(const mep_position *p, int i, int j, int *same)
{
    mep_string_builder a = {.text = NULL}, b = {.text = NULL};
    mep_status status = print_entry(&a, &p->entries[i]);
    if (status == MEP_OK) status = print_entry(&b, &p->entries[j]);
    *same = status == MEP_OK && strcmp(a.text, b.text) == 0;
    mep_free(&a.text);
    mep_free(&b.text);
    return status;
}

/* Keep the shortest list that repeats: "rotary|rotary" is "rotary". */
static mep_status shorten(mep_position *p)
{
    for (int period = 1; period < p->count; period++) {
        int same = p->count % period == 0;
        for (int i = period; i < p->count && same; i++) MEP_TRY(same_entries(p, i, i - period, &same));
        if (!same) continue;
        for (int i = period; i < p->count; i++) free_entry(&p->entries[i]);
        p->count = period;
    }
    return MEP_OK;
}

static mep_status parse(mep_position *p, const char *spec)
{
    mep_string_builder text = {.text = NULL};
    MEP_TRY(parse_entries(p, spec));
    MEP_TRY(shorten(p));
    mep_status status = print_all(&text, p);
    p->spec = text.text;
    return status;
}

/* ---- Creation and destruction ---- */

mep_status mep_position_create(mep_position **position, const char *spec)
{
    MEP_REQUIRE(position, spec);
    *position = NULL;
    MEP_TRY(MEP_ALLOC(position, 1));
    mep_status status = parse(*position, spec);
    if (status != MEP_OK) mep_position_destroy(position);
    return status;
}

void mep_position_destroy(mep_position **position)
{
    if (position == NULL || *position == NULL) return;
    for (int i = 0; i < (*position)->count; i++) free_entry(&(*position)->entries[i]);
    mep_free(&(*position)->entries);
    mep_free(&(*position)->spec);
    mep_free(position);
}

mep_position_kind mep_position_get_kind(const mep_position *position)
{
    if (position == NULL) return MEP_POSITION_NONE;
    return position->entries[0].kind;
}

const mep_position_entry *mep_position_bias_entry(const mep_position *p)
{
    for (int i = 0; i < p->count; i++)
        if (p->entries[i].kind == MEP_POSITION_BIAS) return &p->entries[i];
    return NULL;
}

const char *mep_position_spec(const mep_position *position)
{
    if (position == NULL) return "";
    return position->spec;
}

double mep_position_values(const mep_position *position, int64_t heads)
{
    const mep_position_entry *entry = mep_position_bias_entry(position);
    if (entry == NULL) return 0;
    const mep_spec *spec = &entry->mixture;
    double sum = (spec->learn & MEP_LEARN_WEIGHTS) ? (double)spec->count * (double)heads : 0.0;
    for (int m = 0; m < spec->count; m++) {
        const mep_kernel *kernel = spec->terms[m].kernel;
        for (int i = 0; i < mep_kernel_param_count(kernel); i++) {
            if (!mep_kernel_learns(&kernel->params[i], spec->learn)) continue;
            double size = 1.0;
            for (int n = 0; n < 2 && kernel->params[i].shape[n] != MEP_DIMENSION_NONE; n++)
                size *= (double)mep_kernel_dimension(&kernel->params[i], n, mep_spec_options(spec, m), heads);
            sum += size;
        }
    }
    return sum;
}

/* Canonical forms are equal where the encodings are. */
int mep_position_same(const mep_position *a, const mep_position *b)
{
    if (a == NULL || b == NULL) return 0;
    return strcmp(a->spec, b->spec) == 0;
}

mep_status mep_position_specs_same(const char *a, const char *b, int *same)
{
    mep_position *first = NULL, *second = NULL;
    *same = 0;
    mep_status status = mep_position_create(&first, a);
    if (status == MEP_OK) status = mep_position_create(&second, b);
    if (status == MEP_OK) *same = mep_position_same(first, second);
    mep_position_destroy(&first);
    mep_position_destroy(&second);
    return status;
}
