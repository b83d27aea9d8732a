/* SPDX-License-Identifier: MIT */
/*
 * A group of "processes" that are threads of one test, so that code that uses mep_dist can be tested without MPI and
 * under the sanitizers. Blocks are copied into mailboxes, one per pair of processes, and taken out in order. The
 * including file defines _POSIX_C_SOURCE.
 */
#ifndef MEP_TESTS_THREAD_GROUP_H
#define MEP_TESTS_THREAD_GROUP_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "dist/dist_group.h"

enum { MOST_THREADS = 8 };

typedef struct letter {
    struct letter *next;
    int64_t bytes;
    char data[];
} letter;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t came;
    letter *box[MOST_THREADS][MOST_THREADS]; /* [to][from], oldest first */
    int notices[MOST_THREADS];
    double carried[MOST_THREADS]; /* bytes sent by each process */
    _Atomic int strikes;          /* transfers and notices fail: see set_strikes */
} post = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};

static inline void post_letter(int64_t from, const mep_dist_block *block)
{
    letter *l = malloc(sizeof *l + (size_t)block->bytes), **end = &post.box[block->rank][from];
    l->next = NULL;
    l->bytes = block->bytes;
    memcpy(l->data, block->data, (size_t)block->bytes);
    pthread_mutex_lock(&post.lock);
    while (*end != NULL) end = &(*end)->next;
    *end = l;
    post.carried[from] += (double)block->bytes;
    pthread_cond_broadcast(&post.came);
    pthread_mutex_unlock(&post.lock);
}

static inline int take_letter(int64_t to, const mep_dist_block *block)
{
    letter **box = &post.box[to][block->rank];
    pthread_mutex_lock(&post.lock);
    while (*box == NULL && !post.strikes) pthread_cond_wait(&post.came, &post.lock);
    letter *l = *box;
    if (l != NULL) *box = l->next;
    pthread_mutex_unlock(&post.lock);
    if (l == NULL) return 0;
    int fits = l->bytes == block->bytes;
    if (fits) memcpy(block->data, l->data, (size_t)block->bytes);
    free(l);
    return fits;
}

/* Begin or end a strike. Its beginning also wakes those who wait. */
static inline void set_strikes(int strikes)
{
    pthread_mutex_lock(&post.lock);
    post.strikes = strikes;
    pthread_cond_broadcast(&post.came);
    pthread_mutex_unlock(&post.lock);
}

/* 1, with a message, while transfers fail. */
static inline int strikes(char *text, int size)
{
    if (post.strikes) snprintf(text, (size_t)size, "the post is on strike");
    return post.strikes != 0;
}

static int post_transfer(void *context, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                         int64_t receives, char *text, int size)
{
    const mep_dist *group = context;
    int fits = 1;
    if (strikes(text, size)) return 1;
    for (int64_t i = 0; i < sends; i++)
        if (send[i].bytes > 0) post_letter(group->rank, &send[i]);
    for (int64_t i = 0; i < receives; i++)
        if (receive[i].bytes > 0) fits &= take_letter(group->rank, &receive[i]);
    if (!fits && !strikes(text, size)) snprintf(text, (size_t)size, "a message has another size than expected");
    return !fits;
}

static int post_notify(void *context, int64_t rank, char *text, int size)
{
    (void)context;
    if (strikes(text, size)) return 1;
    pthread_mutex_lock(&post.lock);
    post.notices[rank]++;
    pthread_cond_broadcast(&post.came);
    pthread_mutex_unlock(&post.lock);
    return 0;
}

static int post_notice(void *context, int wait, int *count, char *text, int size)
{
    const mep_dist *group = context;
    if (strikes(text, size)) return 1;
    pthread_mutex_lock(&post.lock);
    while (wait && post.notices[group->rank] == 0 && !post.strikes) pthread_cond_wait(&post.came, &post.lock);
    *count = post.notices[group->rank] > 0;
    post.notices[group->rank] -= *count;
    pthread_mutex_unlock(&post.lock);
    return wait && *count == 0 && strikes(text, size);
}

static const mep_dist_transport POST_TRANSPORT = {post_transfer, post_notify, post_notice};

typedef struct member {
    mep_dist group;
    void (*work)(mep_dist *group, void *context);
    void *context;
} member;

static void *run_member(void *argument)
{
    member *m = argument;
    omp_set_num_threads(1); /* of this thread */
    m->work(&m->group, m->context);
    return NULL;
}

/* Throw away the letters and notices that no process took during a strike. */
static inline void empty_boxes(void)
{
    for (int to = 0; to < MOST_THREADS; to++) {
        post.notices[to] = 0;
        for (int from = 0; from < MOST_THREADS; from++)
            for (letter *l = post.box[to][from], *next; l != NULL; l = next) {
                next = l->next;
                free(l);
            }
        memset(post.box[to], 0, sizeof post.box[to]);
    }
}

/* Run work(group, context) in `size` threads, each with its own group; returns the bytes sent by all. Threads must not
 * use cmocka's assertions, which jump: they write their results to the context. */
static inline int64_t run_group(int64_t size, void (*work)(mep_dist *group, void *context), void *context)
{
    pthread_t threads[MOST_THREADS];
    member members[MOST_THREADS];
    int64_t sent = 0;
    /* this thread too: LLVM's library needs a permanent thread, and no team next to others */
    omp_set_num_threads(1);
    for (int64_t r = 0; r < size; r++) {
        members[r] = (member){.work = work, .context = context};
        members[r].group =
            (mep_dist){.rank = r, .size = size, .transport = size > 1 ? &POST_TRANSPORT : NULL, .any_thread = 1};
        members[r].group.context = &members[r].group;
        assert_int_equal(pthread_create(&threads[r], NULL, run_member, &members[r]), 0);
    }
    for (int64_t r = 0; r < size; r++) {
        pthread_join(threads[r], NULL);
        sent += members[r].group.sent;
    }
    if (post.strikes) empty_boxes();
    for (int64_t r = 0; r < size; r++)
        for (int64_t from = 0; from < size; from++) assert_null(post.box[r][from]);
    return sent;
}

#endif
