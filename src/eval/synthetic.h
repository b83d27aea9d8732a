/* SPDX-License-Identifier: MIT */
/*
 * Synthetic retrieval tasks: sequences of printable bytes in which some tokens follow from what was read far before
 * them, and a mask of these answers. A sequence depends on the task, the seed, its number and its length alone.
 */
#ifndef MEP_EVAL_SYNTHETIC_H
#define MEP_EVAL_SYNTHETIC_H

#include <stdint.h>

#include "mep/status.h"

enum { MEP_SYNTHETIC_OPTIONS = 2, MEP_SYNTHETIC_VOCAB = 127 /* tokens are below it */ };

typedef struct mep_synthetic mep_synthetic;

/* A kind of task: one row of the table in synthetic.c. */
typedef struct mep_synthetic_kind {
    const char *name;
    struct {
        const char *name; /* NULL: no more options */
        int64_t value;    /* default */
        int64_t min, max;
    } options[MEP_SYNTHETIC_OPTIONS];
    int64_t (*shortest)(const mep_synthetic *task); /* the length that a sequence needs */
    int64_t (*answers)(const mep_synthetic *task);  /* of every sequence */
    /* Fill tokens[length] and set mask[i] where token i is an answer; mask is all 0 before the call. */
    void (*fill)(const mep_synthetic *task, uint64_t stream, int64_t length, int32_t *tokens, uint8_t *mask);
} mep_synthetic_kind;

struct mep_synthetic {
    const mep_synthetic_kind *kind;
    int64_t options[MEP_SYNTHETIC_OPTIONS];
    uint64_t seed;
};

/* Read a spec: "mqar" or "mqar:pairs=4,queries=2". */
mep_status mep_synthetic_parse(mep_synthetic *task, const char *spec, uint64_t seed);

/* Fail if `length` is too short for the task. */
mep_status mep_synthetic_check(const mep_synthetic *task, int64_t length);

/* Fail if a model of this vocabulary does not have the tokens of a task. */
mep_status mep_synthetic_check_vocab(const char *task, int64_t vocab_size);

/* Make sequence `index`; with `testing` one that no training data contains. */
void mep_synthetic_fill(const mep_synthetic *task, int testing, int64_t index, int64_t length, int32_t *tokens,
                        uint8_t *mask);

#endif
