/* SPDX-License-Identifier: MIT */
/*
 * The order in which a run reads the sequences of its data mix. Each corpus has its own order (sampler.h). The corpus
 * of sequence n, and the number of sequences of that corpus before it, follow from n alone, so a resumed run needs no
 * state.
 *
 * The corpora take turns as in GPT-NeoX's build_blending_indices: the next sequence comes from the corpus that lags
 * most. Weights are rounded to multiples of 1 / MEP_DATA_ORDER_PERIOD. After that many sequences each corpus has
 * supplied exactly its quota, and the turns repeat. A corpus is never more than one sequence ahead of its weight.
 */
#ifndef MEP_TRAIN_DATA_ORDER_H
#define MEP_TRAIN_DATA_ORDER_H

#include "eval/data_mix.h"
#include "train/sampler.h"

enum { MEP_DATA_ORDER_PERIOD = 1 << 16 };

typedef struct mep_data_order {
    int64_t count; /* corpora */
    mep_sampler samplers[MEP_DATA_MIX_MOST];
    int32_t quota[MEP_DATA_MIX_MOST]; /* sequences of each corpus per period */
    uint8_t *turn;                    /* [MEP_DATA_ORDER_PERIOD] the corpus of each sequence; NULL for one corpus */
    int32_t *before;                  /* [MEP_DATA_ORDER_PERIOD] earlier sequences of the same corpus in the period */
} mep_data_order;

/* Order the sequences of `length` tokens of a mix, which must stay open. Fails if a corpus is shorter than a sequence,
 * or if its weight is below 1 / MEP_DATA_ORDER_PERIOD. On failure *order is empty. */
mep_status mep_data_order_open(mep_data_order *order, const mep_data_mix *mix, int64_t length, uint64_t seed);
void mep_data_order_close(mep_data_order *order);

/* Return the corpus of sequence number `index` >= 0. *before is the number of earlier sequences of that corpus. */
int64_t mep_data_order_find(const mep_data_order *order, int64_t index, int64_t *before);

/* Read the inputs and targets of sequence number `index`; see mep_sampler_read. */
mep_status mep_data_order_read(const mep_data_order *order, int64_t index, int32_t *inputs, int32_t *targets);

/* Count the targets of sequence number `index` that are trained: all of them unless the corpus has a mask. targets
 * [length] is scratch. */
mep_status mep_data_order_trained(const mep_data_order *order, int64_t index, int32_t *targets, int64_t *trained);

#endif
