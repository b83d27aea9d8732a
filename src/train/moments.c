/* SPDX-License-Identifier: MIT */
/*
 * Process 0 asks, all others answer: before each moment that travels goes a number that says which, and which way.
 */
#include "train/moments.h"

#include "base/error.h"

enum { GET, SET, WAYS, FINISH = -1 }; /* a question is 2 index + way */

static float *own(const mep_moments *m, int64_t index)
{
    return index == 0 ? m->optimizer->m : m->optimizer->v;
}

static mep_status answer(const mep_moments *m, int64_t question)
{
    int64_t index = question / WAYS;
    return question % WAYS == GET ? mep_shards_collect(m->shards, own(m, index), m->space)
                                  : mep_shards_scatter(m->shards, m->space, own(m, index));
}

static mep_status ask(const mep_moments *m, int64_t question)
{
    MEP_TRY(mep_dist_broadcast(m->shards->group, &question, sizeof question));
    return answer(m, question);
}

mep_status mep_moments_get(void *moments, int64_t index, const void **data)
{
    const mep_moments *m = moments;
    *data = mep_moments_place(m, index);
    return m->shards->group->size == 1 ? MEP_OK : ask(m, WAYS * index + GET);
}

float *mep_moments_place(const mep_moments *m, int64_t index)
{
    return m->shards->group->size == 1 ? own(m, index) : m->space;
}

mep_status mep_moments_set(const mep_moments *m, int64_t index)
{
    return m->shards->group->size == 1 ? MEP_OK : ask(m, WAYS * index + SET);
}

mep_status mep_moments_finish(const mep_moments *m)
{
    int64_t question = FINISH;
    MEP_TRY(mep_dist_broadcast(m->shards->group, &question, sizeof question));
    while (question != FINISH) {
        MEP_TRY(answer(m, question));
        MEP_TRY(mep_dist_broadcast(m->shards->group, &question, sizeof question));
    }
    return MEP_OK;
}
