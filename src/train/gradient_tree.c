/* SPDX-License-Identifier: MIT */
/*
 * A binary counter of sums: after part i - 1, a sum of 2^l parts waits on each level l whose bit is set in i.
 */
#include "train/gradient_tree.h"

#include <stdio.h>

#include "base/assertion.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"

enum { LEVELS = 63 };

struct mep_gradient_tree {
    const mep_model *model;
    mep_reduction *reduction;
    mep_context context;
    int64_t count, levels;
    float *gradients;
    float *waiting[LEVELS]; /* [levels] blocks */

    int64_t index; /* of the current part */
    float *sum;    /* the block of the current part */
};

int64_t mep_gradient_tree_levels(int64_t count)
{
    int64_t levels = 0;
    while ((count - 1) >> levels > 0) levels++;
    return levels;
}

mep_status mep_gradient_tree_create(mep_gradient_tree **tree, const mep_model *model, int64_t count, float *gradients,
                                    mep_reduction *reduction, mep_context context)
{
    mep_gradient_tree *t;
    mep_status status;
    *tree = NULL;
    MEP_TRY(MEP_ALLOC(&t, 1));
    *t = (mep_gradient_tree){
        .model = model, .reduction = reduction, .context = context, .count = count, .gradients = gradients};
    for (; t->levels < mep_gradient_tree_levels(count); t->levels++)
        MEP_TRY_OR(status, mep_device_array(context.device, &t->waiting[t->levels], model->size, sizeof **t->waiting),
                   failed);
    *tree = t;
    return MEP_OK;
failed:
    mep_gradient_tree_destroy(&t);
    return status;
}

void mep_gradient_tree_destroy(mep_gradient_tree **tree)
{
    mep_gradient_tree *t = *tree;
    if (t == NULL) return;
    for (int64_t l = 0; l < t->levels; l++) mep_device_release(t->context.device, &t->waiting[l]);
    mep_free(tree);
}

/* A sum that will wait is computed in its waiting block: that of the first level on which nothing waits. */
float *mep_gradient_tree_begin(mep_gradient_tree *t, int64_t index)
{
    int64_t level = 0;
    MEP_ASSERT(index >= 0 && index < t->count);
    while (index >> level & 1) level++;
    t->index = index;
    t->sum = index == t->count - 1 ? t->gradients : t->waiting[level];
    return t->sum;
}

/* A bit mask of the levels whose sums are added to the current part: those below its own level, and for the last part
 * all that wait. */
static int64_t due(const mep_gradient_tree *t)
{
    return t->index == t->count - 1 ? t->index : t->index & ~(t->index + 1);
}

void mep_gradient_tree_final(void *tree, int64_t first, int64_t end)
{
    mep_gradient_tree *t = tree;
    const mep_model *m = t->model;
    int64_t begin = mep_tensor_offset(m, first), stop = mep_tensor_offset(m, end - 1) + m->tensors[end - 1].size;
    int64_t levels = due(t);
    for (int64_t l = 0; levels >> l != 0; l++)
        if (levels >> l & 1) t->context.nn->add(t->context.state, stop - begin, t->waiting[l] + begin, t->sum + begin);
    if (t->index == t->count - 1) mep_reduction_final(t->reduction, first, end);
}

/* ---- Number of parts ---- */

/* A single process can add any number of parts. Several processes need a complete branch of the tree each. */
static int can_sum(int64_t processes, int64_t parts)
{
    int64_t each = parts / processes;
    return parts > 0 && parts % processes == 0 && (processes == 1 || (each & (each - 1)) == 0);
}

int64_t mep_train_gradient_parts(const mep_train_settings *s, int64_t processes)
{
    if (s == NULL || processes < 1) return 0;
    return can_sum(processes, s->gradient_parts) ? s->gradient_parts : processes;
}

void mep_gradient_parts_processes(int64_t parts, char text[MEP_GRADIENT_PARTS_TEXT])
{
    int length = snprintf(text, MEP_GRADIENT_PARTS_TEXT, "%lld", (long long)parts);
    int64_t processes = parts;
    for (; processes % 2 == 0; processes /= 2)
        length += snprintf(text + length, MEP_GRADIENT_PARTS_TEXT - (size_t)length, ", %lld", (long long)processes / 2);
    if (processes > 1) snprintf(text + length, MEP_GRADIENT_PARTS_TEXT - (size_t)length, ", 1");
}
