/* SPDX-License-Identifier: MIT */
/*
 * A binary counter of sums: where part i is done, a sum of 2^l parts waits on each level l whose bit is set in i.
 */
#include "train/parts.h"

#include <stdio.h>

#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"

enum { LEVELS = 63 };

struct mep_parts {
    const mep_model *model;
    mep_reduction *reduction;
    mep_context place;
    int64_t count, levels;
    float *gradients;
    float *waiting[LEVELS]; /* [levels] blocks */

    int64_t index; /* of the part under way */
    float *sum;    /* .. and where it is computed */
};

int64_t mep_parts_levels(int64_t count)
{
    int64_t levels = 0;
    while ((count - 1) >> levels > 0) levels++;
    return levels;
}

mep_status mep_parts_create(mep_parts **parts, const mep_model *model, int64_t count, float *gradients,
                            mep_reduction *reduction, mep_context place)
{
    mep_parts *p;
    *parts = NULL;
    MEP_TRY(mep_alloc(&p, 1, sizeof *p));
    *p = (mep_parts){.model = model, .reduction = reduction, .place = place, .count = count, .gradients = gradients};
    mep_status status = MEP_OK;
    for (; p->levels < mep_parts_levels(count) && status == MEP_OK; p->levels++)
        status = mep_device_array(place.device, &p->waiting[p->levels], model->size, sizeof **p->waiting);
    if (status != MEP_OK) mep_parts_destroy(&p);
    *parts = p;
    return status;
}

void mep_parts_destroy(mep_parts **parts)
{
    if (*parts == NULL) return;
    for (int64_t l = 0; l < (*parts)->levels; l++) mep_device_release((*parts)->place.device, &(*parts)->waiting[l]);
    mep_free(parts);
}

/* A sum that will wait is computed where it waits: level by level up to the first one where nothing waits. */
float *mep_parts_begin(mep_parts *p, int64_t index)
{
    int64_t level = 0;
    while (index >> level & 1) level++;
    p->index = index;
    p->sum = index == p->count - 1 ? p->gradients : p->waiting[level];
    return p->sum;
}

/* The levels whose sums are added to part `index`: those below its own, and at the end all that wait. */
static int64_t due(const mep_parts *p)
{
    return p->index == p->count - 1 ? p->index : p->index & ~(p->index + 1);
}

void mep_parts_final(void *parts, int64_t first, int64_t end)
{
    mep_parts *p = parts;
    const mep_model *m = p->model;
    int64_t begin = mep_tensor_offset(m, first), stop = mep_tensor_offset(m, end - 1) + m->tensors[end - 1].size;
    int64_t levels = due(p);
    for (int64_t l = 0; levels >> l != 0; l++)
        if (levels >> l & 1) p->place.nn->add(p->place.state, stop - begin, p->waiting[l] + begin, p->sum + begin);
    if (p->index == p->count - 1) mep_reduction_final(p->reduction, first, end);
}

/* ---- How many ---- */

/* A process alone adds any number of parts; of several each has a whole branch of the tree. */
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

void mep_parts_processes(int64_t parts, char text[MEP_PARTS_TEXT])
{
    int length = snprintf(text, MEP_PARTS_TEXT, "%lld", (long long)parts);
    int64_t processes = parts;
    for (; processes % 2 == 0; processes /= 2)
        length += snprintf(text + length, MEP_PARTS_TEXT - (size_t)length, ", %lld", (long long)processes / 2);
    if (processes > 1) snprintf(text + length, MEP_PARTS_TEXT - (size_t)length, ", 1");
}
