/* SPDX-License-Identifier: MIT */
/*
 * The parts in which a step's gradient is summed. A run has a number of them, whatever the number of processes: each is
 * the sum over an equal stretch of the step's sequences, and parts are added in a fixed tree: adjacent pairs, pairs of
 * those, and so on; one without a partner waits for a later round. A process has adjacent parts whose number is a power
 * of two, a whole branch of that tree, or it is alone and has them all; reduction.h adds the branches of the processes.
 * So the bits of a step depend on the number of its parts alone.
 */
#ifndef MEP_TRAIN_PARTS_H
#define MEP_TRAIN_PARTS_H

#include "mep/train.h"
#include "train/reduction.h"

typedef struct mep_parts mep_parts;

/* `count` parts of this process, whose sum becomes `gradients`: a block like the model's values, and the reduction's.
 * Takes mep_parts_levels(count) more of them, all in one place. Model, gradients and reduction must outlive it. */
mep_status mep_parts_create(mep_parts **parts, const mep_model *model, int64_t count, float *gradients,
                            mep_reduction *reduction, mep_context place);
int64_t mep_parts_levels(int64_t count); /* log2, rounded up */
void mep_parts_destroy(mep_parts **parts);

/* Where part `index` is to be computed; the parts follow each other from 0. */
float *mep_parts_begin(mep_parts *parts, int64_t index);

/* A mep_gradients_fn: tensors first .. end - 1 of the part are final. Adds what waits for them, and those of the last
 * part go on to the reduction. */
void mep_parts_final(void *parts, int64_t first, int64_t end);

/* "4, 2, 1": how many processes can sum gradients in so many parts. */
enum { MEP_PARTS_TEXT = 400 };
void mep_parts_processes(int64_t parts, char text[MEP_PARTS_TEXT]);

#endif
