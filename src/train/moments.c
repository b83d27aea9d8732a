/* SPDX-License-Identifier: MIT */
/*
 * Process 0 asks, all others answer: before each moment that travels goes a number that says which, and which way.
 */
#include "train/moments.h"

#include "base/device_memory.h"
#include "base/error.h"

enum { GET, SET, WAYS, FINISH = -1 }; /* a question is 2 index + way */

static float *own(const mep_moments *m, int64_t index)
{
    return index == 0 ? m->optimizer->m : m->optimizer->v;
}

/* Whether they can be used where they lie. */
static int is_direct(const mep_moments *m)
{
    return m->shards->group->size == 1 && m->optimizer->place.device == MEP_DEVICE_CPU;
}

/* From and to a device: a process is then alone. */
static mep_status copy(const mep_moments *m, int64_t index, int way)
{
    mep_device device = m->optimizer->place.device;
    int64_t bytes = m->optimizer->size * (int64_t)sizeof *m->space;
    return way == GET ? mep_device_read(device, m->space, own(m, index), bytes)
                      : mep_device_write(device, own(m, index), m->space, bytes);
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
    if (is_direct(m)) return MEP_OK;
    return m->shards->group->size == 1 ? copy(m, index, GET) : ask(m, WAYS * index + GET);
}

float *mep_moments_place(const mep_moments *m, int64_t index)
{
    return is_direct(m) ? own(m, index) : m->space;
}

mep_status mep_moments_set(const mep_moments *m, int64_t index)
{
    if (is_direct(m)) return MEP_OK;
    return m->shards->group->size == 1 ? copy(m, index, SET) : ask(m, WAYS * index + SET);
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
