/* SPDX-License-Identifier: MIT */
/*
 * The generators of synthetic tasks. Values are the bytes 0x20 to 0x3f (digits and punctuation), keys 0x40 to 0x5f
 * (capital letters), and all other tokens 0x60 to 0x7e (small letters).
 */
#include "eval/synthetic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

enum {
    VALUE = 0x20,
    KEY = 0x40,
    FILLER = 0x60,
    FILLERS = MEP_SYNTHETIC_VOCAB - FILLER,
    KEYS = 32,
    VALUES = 32,
    MARK = '#'
};

/* ---- Random numbers of a sequence ---- */

typedef struct random_source {
    uint64_t seed, stream, place;
} random_source;

static int64_t draw(random_source *r, int64_t count)
{
    return (int64_t)(mep_random_bits(r->seed, r->stream, r->place++) % (uint64_t)count);
}

static void fill_randomly(random_source *r, int64_t length, int32_t *tokens)
{
    for (int64_t i = 0; i < length; i++) tokens[i] = (int32_t)(FILLER + draw(r, FILLERS));
}

/* Put a random permutation of 0 .. count - 1 into order[count]. */
static void shuffle(random_source *r, int64_t count, int64_t *order)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t at = draw(r, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* ---- Multi-query associative recall: key value key value ... filler key VALUE filler key VALUE ... ---- */

enum { PAIRS, QUERIES };

static int64_t mqar_shortest(const mep_synthetic *t)
{
    return 2 * t->options[PAIRS] + 2 * t->options[QUERIES];
}

static int64_t mqar_answers(const mep_synthetic *t)
{
    return t->options[QUERIES];
}

/* Fill a sequence: pairs of key and value, then random tokens among which some keys are asked for, each followed by its
 * value. */
static void mqar_fill(const mep_synthetic *t, uint64_t stream, int64_t length, int32_t *tokens, uint8_t *mask)
{
    random_source r = {.seed = t->seed, .stream = stream};
    int64_t pairs = t->options[PAIRS], queries = t->options[QUERIES], free = length - mqar_shortest(t);
    int64_t keys[KEYS] = {0}, asked[KEYS] = {0}, gaps[KEYS] = {0}; /* queries <= pairs <= KEYS */
    fill_randomly(&r, length, tokens);
    shuffle(&r, KEYS, keys);
    shuffle(&r, pairs, asked);
    for (int64_t i = 0; i < pairs; i++) {
        tokens[2 * i] = (int32_t)(KEY + keys[i]);
        tokens[2 * i + 1] = (int32_t)(VALUE + draw(&r, VALUES));
    }
    for (int64_t i = 0; i < queries; i++) gaps[i] = draw(&r, free + 1);
    qsort(gaps, (size_t)queries, sizeof *gaps, compare);
    for (int64_t i = 0; i < queries; i++) {
        int64_t at = 2 * pairs + gaps[i] + 2 * i;
        tokens[at] = tokens[2 * asked[i]];
        tokens[at + 1] = tokens[2 * asked[i] + 1];
        mask[at + 1] = 1;
    }
}

/* ---- Induction: ... # x ... # X ---- */

static int64_t induction_shortest(const mep_synthetic *t)
{
    (void)t;
    return 4;
}

static int64_t induction_answers(const mep_synthetic *t)
{
    (void)t;
    return 1;
}

static void induction_fill(const mep_synthetic *t, uint64_t stream, int64_t length, int32_t *tokens, uint8_t *mask)
{
    random_source r = {.seed = t->seed, .stream = stream};
    fill_randomly(&r, length, tokens);
    int64_t at = draw(&r, length - 3);
    tokens[at] = tokens[length - 2] = MARK;
    tokens[length - 1] = tokens[at + 1];
    mask[length - 1] = 1;
}

/* ---- The table ---- */

static const mep_synthetic_kind KINDS[] = {
    /* pairs of a key and a value, then queries: a key, whose value is the answer */
    {.name = "mqar",
     .options = {[PAIRS] = {.name = "pairs", .value = 8, .min = 1, .max = KEYS},
                 [QUERIES] = {.name = "queries", .value = 4, .min = 1, .max = KEYS}},
     .shortest = mqar_shortest,
     .answers = mqar_answers,
     .fill = mqar_fill},
    /* random letters, one of them after a mark; at the end the mark again, and that letter is the answer */
    {.name = "induction", .shortest = induction_shortest, .answers = induction_answers, .fill = induction_fill},
};

enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

static mep_status fail_name(const char *spec, int length)
{
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "\"%.*s\" is not a synthetic task; those are mqar[:pairs=N,queries=N] and induction", length, spec);
}

static mep_status find_kind(mep_synthetic *task, const char *spec, const char **rest)
{
    size_t length = strcspn(spec, ":");
    for (int i = 0; i < KIND_COUNT; i++)
        if (strlen(KINDS[i].name) == length && strncmp(KINDS[i].name, spec, length) == 0) task->kind = &KINDS[i];
    *rest = spec + length;
    return task->kind != NULL ? MEP_OK : fail_name(spec, (int)length);
}

/* Read "NAME=NUMBER" of `length` characters. */
static mep_status read_option(mep_synthetic *task, const char *text, int length)
{
    for (int i = 0; i < MEP_SYNTHETIC_OPTIONS && task->kind->options[i].name != NULL; i++) {
        const char *name = task->kind->options[i].name;
        size_t size = strlen(name);
        char *end = NULL;
        if (strncmp(text, name, size) != 0 || text[size] != '=') continue;
        long long value = strtoll(text + size + 1, &end, 10);
        int64_t min = task->kind->options[i].min, max = task->kind->options[i].max;
        if (end != text + length || end == text + size + 1 || value < min || value > max)
            return mep_fail(MEP_ERROR_ARGUMENT, "\"%.*s\": %s of %s must be a number from %lld to %lld", length, text,
                            name, task->kind->name, (long long)min, (long long)max);
        task->options[i] = value;
        return MEP_OK;
    }
    char names[64] = "";
    for (int i = 0; i < MEP_SYNTHETIC_OPTIONS && task->kind->options[i].name != NULL; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s %s", i > 0 ? "," : "",
                 task->kind->options[i].name);
    return mep_fail(MEP_ERROR_ARGUMENT, "\"%.*s\" is not an option of the task %s; its options:%s", length, text,
                    task->kind->name, names[0] != '\0' ? names : " none");
}

mep_status mep_synthetic_parse(mep_synthetic *task, const char *spec, uint64_t seed)
{
    const char *at = NULL;
    *task = (mep_synthetic){.seed = seed};
    MEP_TRY(find_kind(task, spec, &at));
    for (int i = 0; i < MEP_SYNTHETIC_OPTIONS; i++) task->options[i] = task->kind->options[i].value;
    while (*at != '\0') {
        int length = (int)strcspn(++at, ",");
        MEP_TRY(read_option(task, at, length));
        at += length;
    }
    if (task->kind->fill == mqar_fill && task->options[QUERIES] > task->options[PAIRS])
        return mep_fail(MEP_ERROR_ARGUMENT, "\"%s\": there are more queries (%lld) than pairs (%lld)", spec,
                        (long long)task->options[QUERIES], (long long)task->options[PAIRS]);
    return MEP_OK;
}

mep_status mep_synthetic_check(const mep_synthetic *task, int64_t length)
{
    int64_t shortest = task->kind->shortest(task);
    if (length >= shortest) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the length %lld is too short for the task %s, which needs %lld tokens",
                    (long long)length, task->kind->name, (long long)shortest);
}

mep_status mep_synthetic_check_vocab(const char *task, int64_t vocab_size)
{
    if (vocab_size >= MEP_SYNTHETIC_VOCAB) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the model has %lld tokens, but the task %s needs %d", (long long)vocab_size,
                    task, MEP_SYNTHETIC_VOCAB);
}

void mep_synthetic_fill(const mep_synthetic *task, int testing, int64_t index, int64_t length, int32_t *tokens,
                        uint8_t *mask)
{
    uint64_t stream = mep_random_stream(testing ? "synthetic test" : "synthetic") + (uint64_t)index;
    memset(mask, 0, (size_t)length);
    task->kind->fill(task, stream, length, tokens, mask);
}
