/* SPDX-License-Identifier: MIT */
/*
 * Process 0 requests and all others answer: before each transfer, process 0 broadcasts which moment follows and in
 * which direction.
 */
#include "train/moments.h"

#include "base/device_memory.h"
#include "base/error.h"

enum { GET, SET, DIRECTIONS, FINISH = -1 }; /* a request is DIRECTIONS * index + direction */

static float *own(const mep_moments *m, int64_t index)
{
    return index == 0 ? m->optimizer->m : m->optimizer->v;
}

/* Whether files can be read into and written from the optimizer's own arrays. */
static int is_direct(const mep_moments *m)
{
    return m->shards->group->size == 1 && mep_device_is_host(m->optimizer->context.device);
}

/* Copy from or to a device, which has one process. */
static mep_status copy(const mep_moments *m, int64_t index, int direction)
{
    mep_device device = m->optimizer->context.device;
    int64_t bytes = m->optimizer->size * (int64_t)sizeof *m->space;
    return direction == GET ? mep_device_read(device, m->space, own(m, index), bytes)
                            : mep_device_write(device, own(m, index), m->space, bytes);
}

static mep_status answer(const mep_moments *m, int64_t request)
{
    int64_t index = request / DIRECTIONS;
    return request % DIRECTIONS == GET ? mep_shards_collect(m->shards, own(m, index), m->space)
                                       : mep_shards_scatter(m->shards, m->space, own(m, index));
}

static mep_status request(const mep_moments *m, int64_t index, int direction)
{
    int64_t number = DIRECTIONS * index + direction;
    if (is_direct(m)) return MEP_OK;
    if (m->shards->group->size == 1) return copy(m, index, direction);
    MEP_TRY(mep_dist_broadcast(m->shards->group, &number, sizeof number));
    return answer(m, number);
}

mep_status mep_moments_get(void *moments, int64_t index, const void **data)
{
    const mep_moments *m = moments;
    *data = mep_moments_buffer(m, index);
    return request(m, index, GET);
}

float *mep_moments_buffer(const mep_moments *m, int64_t index)
{
    return is_direct(m) ? own(m, index) : m->space;
}

mep_status mep_moments_set(const mep_moments *m, int64_t index)
{
    return request(m, index, SET);
}

mep_status mep_moments_finish(const mep_moments *m)
{
    int64_t number = FINISH;
    MEP_TRY(mep_dist_broadcast(m->shards->group, &number, sizeof number));
    while (number != FINISH) {
        MEP_TRY(answer(m, number));
        MEP_TRY(mep_dist_broadcast(m->shards->group, &number, sizeof number));
    }
    return MEP_OK;
}
