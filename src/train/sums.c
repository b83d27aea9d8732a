/* SPDX-License-Identifier: MIT */
/*
 * The numbers of each process form a row of the same width, so that one gather exchanges all of them.
 */
#include "train/sums.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

struct mep_sums {
    const mep_shards *shards;
    int64_t sequences, width;
    double *numbers; /* [processes, width]: one per sequence, then one per chunk; the rest of a row is not used */
    int64_t *next;   /* [processes] the next number of each row while they are added */
};

/* The number of chunks of a process. */
static int64_t chunks_of(const mep_shards *s, int64_t rank)
{
    int64_t chunks = 0;
    for (int64_t i = 0; i < s->count; i++) chunks += mep_chunks(mep_shard(s, i, rank).count);
    return chunks;
}

mep_status mep_sums_create(mep_sums **sums, const mep_shards *shards, int64_t sequences)
{
    mep_sums *s;
    int64_t values = 0;
    mep_status status;
    *sums = NULL;
    MEP_TRY(MEP_ALLOC(&s, 1));
    *s = (mep_sums){.shards = shards, .sequences = sequences};
    s->width = sequences + chunks_of(shards, 0); /* process 0 has the most */
    MEP_TRY_OR(status, mep_multiply(shards->group->size, s->width, 1, &values), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&s->numbers, values), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&s->next, shards->group->size), failed);
    *sums = s;
    return MEP_OK;
failed:
    mep_sums_destroy(&s);
    return status;
}

void mep_sums_destroy(mep_sums **sums)
{
    if (*sums == NULL) return;
    mep_free(&(*sums)->numbers);
    mep_free(&(*sums)->next);
    mep_free(sums);
}

/* Fill this process's row. */
static void fill(const mep_sums *s, int64_t length, const float *losses, const double *squares, double *row)
{
    int64_t chunks = chunks_of(s->shards, s->shards->group->rank);
    for (int64_t i = 0; i < s->sequences; i++) {
        row[i] = 0;
        for (int64_t t = 0; t < length; t++) row[i] += (double)losses[i * length + t];
    }
    memcpy(row + s->sequences, squares, (size_t)chunks * sizeof *row);
}

/* Add in the order of the chunks: the shards of a bucket are in the order of the processes. */
static double add_squares(const mep_sums *s)
{
    const mep_shards *shards = s->shards;
    int64_t processes = shards->group->size;
    double sum = 0;
    for (int64_t r = 0; r < processes; r++) s->next[r] = r * s->width + s->sequences;
    for (int64_t bucket = 0; bucket < shards->count; bucket++)
        for (int64_t r = 0; r < processes; r++)
            for (int64_t n = mep_chunks(mep_shard(shards, bucket, r).count); n > 0; n--)
                sum += s->numbers[s->next[r]++];
    return sum;
}

mep_status mep_sums_run(mep_sums *s, int64_t length, const float *losses, const double *squares, double *loss,
                        double *square)
{
    mep_dist *g = s->shards->group;
    double *row = s->numbers + g->rank * s->width;
    if (losses != NULL)
        fill(s, length, losses, squares, row);
    else
        for (int64_t i = 0; i < s->width; i++) row[i] = NAN;
    MEP_TRY(mep_dist_gather(g, row, s->width * (int64_t)sizeof *row, s->numbers));
    *loss = 0;
    for (int64_t r = 0; r < g->size; r++)
        for (int64_t i = 0; i < s->sequences; i++) *loss += s->numbers[r * s->width + i];
    *square = add_squares(s);
    return MEP_OK;
}
