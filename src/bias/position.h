/* SPDX-License-Identifier: MIT */
/*
 * The contents of a mep_position, and what other rooms of the library need beyond the public functions.
 *
 *     SPEC     := ENTRY {"|" ENTRY}                  layers take the entries in turn
 *     ENTRY    := BASE {"/" MODIFIER}
 *     BASE     := MIX (spec.h; "fire" is a MIX of its own) | "nope" | ROTARY (rotary.h) | "sinusoidal" | "learned"
 *     MODIFIER := a row of modifiers.c
 */
#ifndef MEP_BIAS_POSITION_H
#define MEP_BIAS_POSITION_H

#include "base/string_builder.h"
#include "bias/rotary.h"
#include "bias/spec.h"
#include "mep/bias.h"

typedef enum mep_query_scale { MEP_SCALE_NONE, MEP_SCALE_SSMAX, MEP_SCALE_LOGN } mep_query_scale;

/* How one layer encodes position. */
typedef struct mep_position_entry {
    mep_position_kind kind;
    mep_spec mixture;          /* of MEP_POSITION_BIAS */
    mep_rotary_options rotary; /* of MEP_POSITION_ROTARY, else zero */
    int weights_query;         /* 1: the weights of the mixture depend on the query */
    int forget;                /* 1: a forget gate per token and head */
    int forget_bias;           /* 1: with a bias, whose initial value is forget_initial */
    double forget_initial;
    int64_t rank, extent;  /* profiles; rank 0: none, extent 0: the training length */
    mep_query_scale scale; /* of queries, by their position */
    int64_t logn;          /* N of MEP_SCALE_LOGN; 0: the training length */
    int sink;              /* 1: a learned attention sink */
    int64_t window;        /* keys at this distance or farther are masked; 0: none */
} mep_position_entry;

struct mep_position {
    int count; /* the shortest list of entries that repeats */
    mep_position_entry *entries;
    char *spec; /* canonical form */
};

/* The entry of a layer. */
static inline const mep_position_entry *mep_position_of_layer(const mep_position *position, int64_t layer)
{
    return &position->entries[layer % position->count];
}

/* 1 where the distance bias of an entry depends on the position of the query too. */
static inline int mep_entry_has_threshold(const mep_position_entry *entry)
{
    return entry->kind == MEP_POSITION_BIAS && entry->mixture.terms[0].kernel->threshold != NULL;
}

/* A modifier of an entry. */
typedef struct mep_modifier {
    const char *name;
    const char *form; /* what follows the name, for help */
    const char *help;
    /* Parse what follows the name; `at` is where the name begins, for messages. */
    mep_status (*parse)(mep_spec_reader *reader, const char *at, mep_position_entry *entry);
    /* Append the canonical form with "/" before it, or nothing where the entry does not have the modifier. */
    mep_status (*print)(mep_string_builder *text, const mep_position_entry *entry);
} mep_modifier;

/* In the order of the canonical form; ended by a name of NULL. */
extern const mep_modifier mep_modifiers[];

/* *same = 1 where two specs are the same encoding. Fails where one of them is wrong. */
mep_status mep_position_specs_same(const char *a, const char *b, int *same);

/* The first entry that is a distance bias, or NULL. */
const mep_position_entry *mep_position_bias_entry(const mep_position *position);

/* The number of learned values of the distance bias in a model with `heads` heads. It is a floating-point number
 * because a spec can request more values than an integer can count. */
double mep_position_values(const mep_position *position, int64_t heads);

#endif
