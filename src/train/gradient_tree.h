/* SPDX-License-Identifier: MIT */
/*
 * The gradient accumulation tree of a step. A run divides the sequences of each step into a fixed number of equal
 * ranges, whatever the number of processes. The gradient of one range is a part. Parts are added in a fixed tree:
 * adjacent pairs, then pairs of those sums, and so on; a sum without a partner waits for a later level. A process
 * computes adjacent parts whose number is a power of two, which form a complete branch of the tree; a single process
 * computes all parts. reduction.h adds the branches of the processes. So the bits of a step depend on the number of
 * parts and not on the number of processes.
 */
#ifndef MEP_TRAIN_GRADIENT_TREE_H
#define MEP_TRAIN_GRADIENT_TREE_H

#include "mep/train.h"
#include "train/reduction.h"

typedef struct mep_gradient_tree mep_gradient_tree;

/* Create the tree of the `count` parts of this process. Their sum is stored in `gradients`, a block laid out like the
 * model's values, and goes on to `reduction`. The tree allocates mep_gradient_tree_levels(count) more such blocks in
 * the same memory. Model, gradients and reduction must outlive the tree. */
mep_status mep_gradient_tree_create(mep_gradient_tree **tree, const mep_model *model, int64_t count, float *gradients,
                                    mep_reduction *reduction, mep_context context);
int64_t mep_gradient_tree_levels(int64_t count); /* log2(count), rounded up */
void mep_gradient_tree_destroy(mep_gradient_tree **tree);

/* Return the block in which part `index` is to be computed. Parts must be computed in the order 0, 1, 2, ... */
float *mep_gradient_tree_begin(mep_gradient_tree *tree, int64_t index);

/* A mep_gradients_fn: tensors first .. end - 1 of the current part are final. Adds the sums that wait for them. Those
 * of the last part go on to the reduction. */
void mep_gradient_tree_final(void *tree, int64_t first, int64_t end);

/* Write the numbers of processes that can sum `parts` parts: "4, 2, 1" for 4. */
enum { MEP_GRADIENT_PARTS_TEXT = 400 };
void mep_gradient_parts_processes(int64_t parts, char text[MEP_GRADIENT_PARTS_TEXT]);

#endif
