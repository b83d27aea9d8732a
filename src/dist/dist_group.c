/* SPDX-License-Identifier: MIT */
/*
 * Gathering, broadcasting and agreement on a status in a group of processes, implemented with transfers of bytes.
 */
#include "dist/dist_group.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* NOTIFIED is added to the status of a process that has sent notices. */
enum { TEXT = 1024, NOTIFIED = 256 };

mep_dist mep_dist_alone = {.size = 1};

mep_status mep_dist_create(mep_dist **group, const mep_dist_settings *s)
{
    MEP_REQUIRE_AS("group", group);
    *group = NULL;
    MEP_REQUIRE_AS("settings", s);
    if (s->size < 1 || s->rank < 0 || s->rank >= s->size)
        return mep_fail(MEP_ERROR_ARGUMENT, "process %lld of %lld: the rank must be from 0 to the size - 1",
                        (long long)s->rank, (long long)s->size);
    if (s->size > 1 && s->transport == NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "a group of %lld processes needs a transport", (long long)s->size);
    if (s->transport != NULL && s->transport->transfer == NULL)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the argument \"settings->transport->transfer\" is NULL; give one that is not");
    MEP_TRY(MEP_ALLOC(group, 1));
    **group = (mep_dist){.rank = s->rank,
                         .size = s->size,
                         .transport = s->transport,
                         .context = s->context,
                         .any_thread = s->any_thread};
    snprintf((*group)->host, MEP_DIST_HOST, "%s", s->host != NULL ? s->host : "");
    return MEP_OK;
}

void mep_dist_destroy(mep_dist **group)
{
    if (group != NULL) mep_free(group);
}

int64_t mep_dist_rank(const mep_dist *g)
{
    return g != NULL ? g->rank : 0;
}

int64_t mep_dist_size(const mep_dist *g)
{
    return g != NULL ? g->size : 0;
}

const char *mep_dist_host(const mep_dist *g)
{
    return g != NULL ? g->host : "";
}

int mep_dist_is_settled(const mep_dist *g)
{
    return g != NULL && g->settled;
}

int mep_dist_is_broken(const mep_dist *g)
{
    return g != NULL && g->broken;
}

/* Report the failure of a function of the transport. */
static mep_status broken(mep_dist *g, const char *text)
{
    g->broken = 1;
    return mep_fail(MEP_ERROR_IO, "the processes have lost each other: %s", text);
}

mep_status mep_dist_transfer(mep_dist *g, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                             int64_t receives)
{
    char text[TEXT];
    if (sends + receives == 0) return MEP_OK;
    if (g->transport->transfer(g->context, send, sends, receive, receives, text, TEXT) != 0) return broken(g, text);
    for (int64_t i = 0; i < sends; i++) g->sent += send[i].bytes;
    return MEP_OK;
}

mep_status mep_dist_gather(mep_dist *g, const void *mine, int64_t bytes, void *all)
{
    MEP_REQUIRE_AS("group, mine, all", g, mine, all);
    if (bytes < 0) return mep_fail(MEP_ERROR_ARGUMENT, "%lld bytes cannot be gathered", (long long)bytes);
    mep_dist_block *blocks;
    char *out = all;
    memmove(out + g->rank * bytes, mine, (size_t)bytes);
    if (g->size == 1) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&blocks, 2 * g->size));
    int64_t count = 0;
    for (int64_t r = 0; r < g->size; r++) {
        if (r == g->rank) continue;
        blocks[count] = (mep_dist_block){r, out + g->rank * bytes, bytes};
        blocks[g->size + count++] = (mep_dist_block){r, out + r * bytes, bytes};
    }
    mep_status status = mep_dist_transfer(g, blocks, count, blocks + g->size, count);
    mep_free(&blocks);
    return status;
}

/* A binomial tree: process r receives the data from the process whose number is r without its highest bit. */
mep_status mep_dist_broadcast(mep_dist *g, void *data, int64_t bytes)
{
    MEP_REQUIRE_AS("group, data", g, data);
    int64_t bit = 1;
    for (; bit <= g->rank; bit *= 2) {
        mep_dist_block from = {g->rank - bit, data, bytes};
        if (g->rank < 2 * bit) MEP_TRY(mep_dist_transfer(g, NULL, 0, &from, 1));
    }
    for (; g->rank + bit < g->size; bit *= 2) {
        mep_dist_block to = {g->rank + bit, data, bytes};
        MEP_TRY(mep_dist_transfer(g, &to, 1, NULL, 0));
    }
    return MEP_OK;
}

/* Gather one number from each process; *all [size] is allocated. */
static mep_status gather_numbers(mep_dist *g, int64_t mine, int64_t **all)
{
    MEP_TRY(MEP_ALLOC(all, g->size));
    mep_status status = mep_dist_gather(g, &mine, sizeof mine, *all);
    if (status != MEP_OK) mep_free(all);
    return status;
}

mep_status mep_dist_any(mep_dist *g, int *flag)
{
    MEP_REQUIRE_AS("group, flag", g, flag);
    int64_t *all;
    if (g->size == 1) return MEP_OK;
    MEP_TRY(gather_numbers(g, *flag, &all));
    for (int64_t r = 0; r < g->size; r++) *flag |= all[r] != 0;
    mep_free(&all);
    return MEP_OK;
}

/* ---- Agreement ---- */

/* The rank whose status all processes take over, -1 if all are MEP_OK. *failed is the number of processes that failed;
 * MEP_INTERRUPTED does not count. */
static int64_t decisive(const mep_dist *g, const int64_t *status, int64_t *failed)
{
    int64_t worst = -1, stopped = -1;
    *failed = 0;
    for (int64_t r = g->size - 1; r >= 0; r--) {
        if (status[r] == MEP_OK) continue;
        if (status[r] == MEP_INTERRUPTED) {
            stopped = r;
        } else {
            worst = r;
            ++*failed;
        }
    }
    return worst >= 0 ? worst : stopped;
}

/* Send the message of process `rank` to all processes, with the name of the process before it if `named`. */
static mep_status broadcast_message(mep_dist *g, int64_t rank, int named, char text[TEXT])
{
    mep_dist_block block = {rank, text, TEXT};
    char name[MEP_DIST_HOST + 64] = "";
    if (g->rank != rank) return mep_dist_transfer(g, NULL, 0, &block, 1);
    if (named)
        snprintf(name, sizeof name, "process %lld of %lld%s%s: ", (long long)rank, (long long)g->size,
                 g->host[0] != '\0' ? " on " : "", g->host);
    snprintf(text, TEXT, "%s%s", name, mep_error_message());
    for (block.rank = 0; block.rank < g->size; block.rank++)
        if (block.rank != rank) MEP_TRY(mep_dist_transfer(g, &block, 1, NULL, 0));
    return MEP_OK;
}

/* Receive the notices that were sent but have not arrived yet, so that none arrives after the agreement. */
static mep_status drain_notices(mep_dist *g, const int64_t *all)
{
    int64_t expected = 0;
    for (int64_t r = 0; r < g->size; r++) expected += r != g->rank && all[r] >= NOTIFIED;
    while (g->notices < expected) {
        int count = 0;
        char text[TEXT];
        if (g->transport->notice(g->context, 1, &count, text, TEXT) != 0) return broken(g, text);
        g->notices += count;
    }
    g->notices = 0;
    g->notified = 0;
    return MEP_OK;
}

static mep_status settle(mep_dist *g, int64_t *all)
{
    char text[TEXT] = "";
    int64_t failed = 0;
    MEP_TRY(drain_notices(g, all));
    for (int64_t r = 0; r < g->size; r++) all[r] %= NOTIFIED;
    int64_t rank = decisive(g, all, &failed);
    g->settled = rank >= 0;
    if (rank < 0) return MEP_OK;
    mep_status status = (mep_status)all[rank];
    MEP_TRY(broadcast_message(g, rank, status != MEP_INTERRUPTED && failed < g->size, text));
    return mep_fail(status, "%s", text);
}

mep_status mep_dist_agree(mep_dist *g, mep_status status)
{
    MEP_REQUIRE_AS("group", g);
    int64_t *all;
    if (g->size == 1 || g->broken) return status;
    MEP_TRY(gather_numbers(g, (int64_t)status + (g->notified ? NOTIFIED : 0), &all));
    mep_status agreed = settle(g, all);
    mep_free(&all);
    return agreed;
}

mep_status mep_dist_check_same(mep_dist *g, const void *data, int64_t bytes, const char *name)
{
    MEP_REQUIRE_AS("group, data, name", g, data, name);
    char *first;
    if (g->size == 1) return MEP_OK;
    mep_status status = mep_dist_agree(g, MEP_ALLOC(&first, bytes));
    if (status == MEP_OK) {
        memcpy(first, data, (size_t)bytes);
        status = mep_dist_broadcast(g, first, bytes);
        if (status == MEP_OK && memcmp(first, data, (size_t)bytes) != 0)
            status = mep_fail(MEP_ERROR_FORMAT,
                              "%s: differs from the copy of process 0; copy it to all machines, or keep it in a "
                              "shared folder",
                              name);
        status = mep_dist_agree(g, status);
    }
    mep_free(&first);
    return status;
}

/* ---- Notices ---- */

mep_status mep_dist_notify(mep_dist *g)
{
    char text[TEXT];
    if (g->size == 1 || g->notified) return MEP_OK;
    g->notified = 1;
    for (int64_t r = 0; r < g->size; r++)
        if (r != g->rank && g->transport->notify(g->context, r, text, TEXT) != 0) return broken(g, text);
    return MEP_OK;
}

mep_status mep_dist_notified(mep_dist *g, int *notified)
{
    char text[TEXT];
    int count = 0;
    if (g->size > 1 && g->transport->notice(g->context, 0, &count, text, TEXT) != 0) return broken(g, text);
    g->notices += count;
    *notified = g->notices > 0;
    return MEP_OK;
}
