/* SPDX-License-Identifier: MIT */
/*
 * Parses and prints the options of "rotary". A table has a row for each, in the order of the canonical form.
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "bias/rotary.h"

enum { MOST_FACTORS = 4096 };

const char *const mep_rotary_scaling_names[MEP_ROTARY_SCALINGS] = {
    [MEP_ROTARY_DEFAULT] = "default", [MEP_ROTARY_LINEAR] = "linear", [MEP_ROTARY_NTK] = "ntk",
    [MEP_ROTARY_DYNAMIC] = "dynamic", [MEP_ROTARY_YARN] = "yarn",     [MEP_ROTARY_LONGROPE] = "longrope",
    [MEP_ROTARY_LLAMA3] = "llama3"};

typedef enum value_kind { VALUE_NUMBER, VALUE_INTEGER, VALUE_SCALING, VALUE_LIST } value_kind;

#define BIT(NAME) (1u << MEP_ROTARY_##NAME)
enum {
    ALWAYS = (1u << MEP_ROTARY_SCALINGS) - 1,
    SCALED = ALWAYS & ~BIT(DEFAULT),
    WITH_LENGTH = BIT(DYNAMIC) | BIT(YARN) | BIT(LONGROPE) | BIT(LLAMA3)
};

typedef struct option_row {
    const char *name;
    value_kind kind;
    unsigned scalings; /* that have the option */
    unsigned required; /* that must have it */
    size_t field;      /* of mep_rotary_options */
    double low, high;  /* the range of a number */
    const char *value, *help;
} option_row;

#define FIELD(NAME) offsetof(mep_rotary_options, NAME)

static const option_row ROWS[] = {
    {"base", VALUE_NUMBER, ALWAYS, 0, FIELD(base), 1.001, 1e12, "B", "of the frequencies; default: the model's"},
    {"partial", VALUE_NUMBER, ALWAYS, 0, FIELD(partial), 1e-6, 1, "P",
     "fraction of a head's channels that are rotated; default: the model's"},
    {"fraction", VALUE_NUMBER, ALWAYS, 0, FIELD(fraction), 0, 1, "F",
     "fraction of the frequencies, the highest, that are not 0 (p-RoPE)"},
    {"scaling", VALUE_SCALING, ALWAYS, 0, FIELD(scaling), 0, 0, "NAME",
     "linear, ntk, dynamic, yarn, longrope or llama3, for texts longer than in training"},
    {"factor", VALUE_NUMBER, SCALED, SCALED, FIELD(factor), 1, 1e6, "F", "of every scaling"},
    {"original", VALUE_INTEGER, WITH_LENGTH, 0, FIELD(original), 2, 2147483648.0, "L",
     "length of training (dynamic, yarn, longrope, llama3); default: the model's"},
    {"attention_factor", VALUE_NUMBER, BIT(YARN) | BIT(LONGROPE), 0, FIELD(attention_factor), 0.001, 1000, "A",
     "of yarn and longrope; default: by their formulas"},
    {"beta_fast", VALUE_NUMBER, BIT(YARN), 0, FIELD(beta_fast), 1e-6, 1e6, "B", "of yarn; default 32"},
    {"beta_slow", VALUE_NUMBER, BIT(YARN), 0, FIELD(beta_slow), 1e-6, 1e6, "B", "of yarn; default 1"},
    {"truncate", VALUE_INTEGER, BIT(YARN), 0, FIELD(truncate), 0, 1, "0|1", "of yarn; default 1"},
    {"low_freq_factor", VALUE_NUMBER, BIT(LLAMA3), 0, FIELD(low_freq_factor), 1e-6, 1e6, "F", "of llama3; default 1"},
    {"high_freq_factor", VALUE_NUMBER, BIT(LLAMA3), 0, FIELD(high_freq_factor), 1e-6, 1e6, "F", "of llama3; default 4"},
    {"short_factor", VALUE_LIST, BIT(LONGROPE), BIT(LONGROPE), FIELD(short_factor), 1e-6, 1e6, "F:F:...",
     "of longrope, one number per frequency"},
    {"long_factor", VALUE_LIST, BIT(LONGROPE), BIT(LONGROPE), FIELD(long_factor), 1e-6, 1e6, "F:F:...",
     "of longrope, one number per frequency"},
};
enum { COUNT = sizeof ROWS / sizeof *ROWS, SHORT_FACTOR = COUNT - 2, LONG_FACTOR = COUNT - 1 };

/* Where each option was found, NULL where it was not, and the lengths of lists. */
typedef struct found_options {
    const char *at[COUNT];
    int64_t length[COUNT];
} found_options;

/* The member of a row. */
static void *member(mep_rotary_options *o, const option_row *row)
{
    return (char *)o + row->field;
}

static double number_of(const mep_rotary_options *o, const option_row *row)
{
    double value;
    memcpy(&value, (const char *)o + row->field, sizeof value);
    return value;
}

static const double *list_of(const mep_rotary_options *o, const option_row *row)
{
    const double *list;
    memcpy(&list, (const char *)o + row->field, sizeof list);
    return list;
}

/* ---- Lists for messages ---- */

static const char *option_names(mep_word_list *list)
{
    *list = (mep_word_list){.used = 0};
    for (int i = 0; i < COUNT; i++) mep_word_list_add(list, i == 0 ? "options: " : ", ", ROWS[i].name);
    return list->text;
}

/* The names of scalings in a set of bits. */
static const char *scaling_names(mep_word_list *list, unsigned bits, const char *before)
{
    *list = (mep_word_list){.used = 0};
    for (int i = 1; i < MEP_ROTARY_SCALINGS; i++) {
        if ((bits & (1u << i)) == 0) continue;
        mep_word_list_add(list, list->used == 0 ? before : ", ", mep_rotary_scaling_names[i]);
    }
    return list->text;
}

/* ---- Values ---- */

static mep_status parse_number(mep_spec_reader *r, const option_row *row, double *value)
{
    const char *at = r->at;
    MEP_TRY(mep_spec_number(r, value));
    if (row->kind == VALUE_INTEGER && *value != floor(*value))
        return mep_spec_fail(r, at, "", "\"%s\" must be an integer", row->name);
    if (*value >= row->low && *value <= row->high) return MEP_OK;
    return mep_spec_fail(r, at, "", "\"%s\" must be from %.10g to %.10g, but is %g", row->name, row->low, row->high,
                         *value);
}

static mep_status parse_scaling(mep_spec_reader *r, mep_rotary_scaling *scaling)
{
    mep_word_list possible;
    int length = mep_spec_word(r);
    for (int i = 1; i < MEP_ROTARY_SCALINGS; i++) {
        if (!mep_spec_is_word(mep_rotary_scaling_names[i], r->at, length)) continue;
        *scaling = (mep_rotary_scaling)i;
        r->at += length;
        return MEP_OK;
    }
    return mep_spec_fail(r, r->at, scaling_names(&possible, ALWAYS, "scalings: "), "unknown scaling \"%.*s\"", length,
                         r->at);
}

static mep_status parse_list(mep_spec_reader *r, const option_row *row, double **list, int64_t *length)
{
    do {
        if (*length == MOST_FACTORS)
            return mep_spec_fail(r, r->at, "", "\"%s\" has more than %d numbers", row->name, MOST_FACTORS);
        MEP_TRY(MEP_GROW(list, *length, *length + 1));
        MEP_TRY(parse_number(r, row, &(*list)[*length]));
        ++*length;
    } while (mep_spec_accept(r, ":"));
    return MEP_OK;
}

/* ---- Options ---- */

static mep_status parse_option(mep_spec_reader *r, mep_rotary_options *o, found_options *found)
{
    mep_word_list possible;
    const char *at = r->at;
    int length = mep_spec_word(r), i = 0;
    while (i < COUNT && !mep_spec_is_word(ROWS[i].name, at, length)) i++;
    if (i == COUNT) return mep_spec_fail(r, at, option_names(&possible), "rotary has no option \"%.*s\"", length, at);
    const option_row *row = &ROWS[i];
    if (found->at[i] != NULL) return mep_spec_fail(r, at, "", "option \"%s\" is given twice", row->name);
    found->at[i] = at;
    r->at += length;
    if (!mep_spec_accept(r, "="))
        return mep_spec_fail(r, r->at, "", "expected \"=\" and a value after \"%s\"", row->name);
    if (row->kind == VALUE_SCALING) return parse_scaling(r, &o->scaling);
    if (row->kind == VALUE_LIST) return parse_list(r, row, member(o, row), &found->length[i]);
    return parse_number(r, row, member(o, row));
}

/* Every option must be one of the scaling, and the scaling must have what it requires. */
static mep_status check_scaling(const mep_spec_reader *r, const char *start, const mep_rotary_options *o,
                                const found_options *found)
{
    mep_word_list names;
    unsigned bit = 1u << o->scaling;
    for (int i = 0; i < COUNT; i++) {
        if (found->at[i] != NULL && (ROWS[i].scalings & bit) == 0)
            return mep_spec_fail(r, found->at[i], "", "\"%s\" is an option of %s", ROWS[i].name,
                                 scaling_names(&names, ROWS[i].scalings, "scaling="));
        if (found->at[i] == NULL && (ROWS[i].required & bit) != 0)
            return mep_spec_fail(r, start, "", "scaling=%s needs \"%s\"", mep_rotary_scaling_names[o->scaling],
                                 ROWS[i].name);
    }
    return MEP_OK;
}

/* Options that depend on each other. */
static mep_status check_values(const mep_spec_reader *r, const char *start, mep_rotary_options *o,
                               const found_options *found)
{
    if (!(o->high_freq_factor > o->low_freq_factor))
        return mep_spec_fail(r, start, "", "\"high_freq_factor\" must be above \"low_freq_factor\", found %g and %g",
                             o->high_freq_factor, o->low_freq_factor);
    if (!(o->beta_fast >= o->beta_slow))
        return mep_spec_fail(r, start, "", "\"beta_fast\" must be at least \"beta_slow\", found %g and %g",
                             o->beta_fast, o->beta_slow);
    o->factors = found->length[LONG_FACTOR];
    if (found->length[SHORT_FACTOR] != o->factors)
        return mep_spec_fail(r, start, "", "\"short_factor\" has %lld numbers and \"long_factor\" %lld",
                             (long long)found->length[SHORT_FACTOR], (long long)o->factors);
    return MEP_OK;
}

static mep_status parse_options(mep_spec_reader *r, mep_rotary_options *o)
{
    found_options found = {.at = {NULL}};
    const char *start = r->at;
    if (!mep_spec_accept(r, ":")) return MEP_OK;
    do MEP_TRY(parse_option(r, o, &found));
    while (mep_spec_accept(r, ","));
    MEP_TRY(check_scaling(r, start, o, &found));
    return check_values(r, start, o, &found);
}

mep_status mep_rotary_parse(mep_spec_reader *r, mep_rotary_options *o)
{
    *o = mep_rotary_defaults();
    mep_status status = parse_options(r, o);
    if (status != MEP_OK) mep_rotary_free(o);
    return status;
}

/* ---- Canonical form ---- */

static mep_status add_number(mep_string_builder *t, const char *before, double value)
{
    char number[MEP_NUMBER_SIZE];
    mep_number_print(number, value);
    return mep_string_add(t, "%s%s", before, number);
}

static mep_status print_value(mep_string_builder *t, const mep_rotary_options *o, const option_row *row)
{
    if (row->kind == VALUE_SCALING) return mep_string_add(t, "%s", mep_rotary_scaling_names[o->scaling]);
    if (row->kind != VALUE_LIST) return add_number(t, "", number_of(o, row));
    const double *list = list_of(o, row);
    for (int64_t i = 0; i < o->factors; i++) MEP_TRY(add_number(t, i > 0 ? ":" : "", list[i]));
    return MEP_OK;
}

/* An option that has its default is not written, except one that its scaling requires. */
static int is_written(const mep_rotary_options *o, const option_row *row)
{
    const mep_rotary_options defaults = mep_rotary_defaults();
    if (row->kind == VALUE_SCALING) return o->scaling != MEP_ROTARY_DEFAULT;
    if ((row->required & (1u << o->scaling)) != 0) return 1;
    return row->kind != VALUE_LIST && number_of(o, row) != number_of(&defaults, row);
}

mep_status mep_rotary_print(mep_string_builder *t, const mep_rotary_options *o)
{
    const char *before = ":";
    for (int i = 0; i < COUNT; i++) {
        if (!is_written(o, &ROWS[i])) continue;
        MEP_TRY(mep_string_add(t, "%s%s=", before, ROWS[i].name));
        MEP_TRY(print_value(t, o, &ROWS[i]));
        before = ",";
    }
    return MEP_OK;
}

int mep_rotary_same(const mep_rotary_options *a, const mep_rotary_options *b)
{
    if (a->scaling != b->scaling || a->factors != b->factors) return 0;
    for (int i = 0; i < COUNT; i++) {
        if (ROWS[i].kind == VALUE_SCALING) continue;
        if (ROWS[i].kind != VALUE_LIST && number_of(a, &ROWS[i]) != number_of(b, &ROWS[i])) return 0;
        for (int64_t n = 0; ROWS[i].kind == VALUE_LIST && n < a->factors; n++)
            if (list_of(a, &ROWS[i])[n] != list_of(b, &ROWS[i])[n]) return 0;
    }
    return 1;
}

/* ---- Help ---- */

int mep_rotary_option_help(int index, const char **name, const char **value, const char **help)
{
    if (index < 0 || index >= COUNT) return 0;
    *name = ROWS[index].name;
    *value = ROWS[index].value;
    *help = ROWS[index].help;
    return 1;
}
