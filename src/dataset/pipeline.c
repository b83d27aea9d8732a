/* SPDX-License-Identifier: MIT */
/*
 * The pipeline on POSIX threads. Batches use a circular queue of slots: the reader fills a slot, any worker tokenizes
 * it, and the caller takes the slots in order and releases them. One lock protects the states of the slots; the work is
 * done without it. POSIX threads rather than OpenMP, because a reader that waits for a disk does not fit into a team.
 */
#define _POSIX_C_SOURCE 200809L
#include "dataset/pipeline.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "tokenizer/tokenizer.h"

enum {
    BATCH_BYTES = 1 << 18,   /* maximum size of the records of a batch, unless one record is longer */
    WAITING_BYTES = 1 << 25, /* maximum size of the records in flight, unless one record is longer */
    BATCH_RECORDS = 4096,
    SLOTS_PER_THREAD = 3,
    MAX_THREADS = 256,
    MESSAGE = 1024,
    IDLE_MILLISECONDS = 100
};

typedef enum slot_state { EMPTY, FILLED, DONE } slot_state;

typedef struct entry {
    int64_t offset, size;      /* in the slot's text */
    int64_t line, begin, next; /* of the record */
} entry;

/* A batch in flight. The reader owns it while it is EMPTY, a worker while it is FILLED, the caller when it is DONE. */
typedef struct slot {
    slot_state state;
    char *name;
    char *text;
    int64_t size, capacity;
    entry *entries;
    mep_record_tokens *records;
    int64_t count, reserved; /* of entries and records */
    int64_t file, first, position;
    char mistake[MESSAGE]; /* about the first invalid line; "" if there is none */
    mep_status status;     /* the worker's, with its message */
    char message[MESSAGE];
} slot;

typedef struct pipeline {
    const mep_corpus_reading *reading;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    slot *slots;
    int64_t slot_count;
    int64_t filled, begun, taken; /* numbers of batches that were filled, given to a worker, taken by the caller */
    int64_t waiting;              /* bytes of records in flight */
    int read, stop;               /* the reader has ended; all threads must end */
    slot *open;                   /* the slot that the reader is filling, or NULL */
    mep_status reader_status;
    char reader_message[MESSAGE];
} pipeline;

/* ---- The reader ---- */

/* Wait until there is an empty slot and the bytes in flight allow a record of `size` bytes. */
static mep_status open_slot(pipeline *p, int64_t size)
{
    pthread_mutex_lock(&p->lock);
    slot *next = &p->slots[p->filled % p->slot_count];
    while (!p->stop && (next->state != EMPTY || (p->waiting > 0 && p->waiting + size > WAITING_BYTES)))
        pthread_cond_wait(&p->changed, &p->lock);
    int stop = p->stop;
    pthread_mutex_unlock(&p->lock);
    if (stop) return mep_fail(MEP_INTERRUPTED, "stopped");
    p->open = next;
    return MEP_OK;
}

/* Pass the open slot to the workers. */
static void close_slot(pipeline *p)
{
    if (p->open == NULL) return;
    pthread_mutex_lock(&p->lock);
    MEP_ASSERT(p->open->state == EMPTY);
    p->open->state = FILLED;
    p->waiting += p->open->size;
    ++p->filled;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    p->open = NULL;
}

static mep_status reserve(slot *s, int64_t size)
{
    if (s->size + size > s->capacity) {
        int64_t capacity = max_i64(s->size + size, BATCH_BYTES);
        MEP_TRY(MEP_GROW(&s->text, s->size, capacity));
        s->capacity = capacity;
    }
    if (s->count == s->reserved) {
        int64_t count = max_i64(2 * s->reserved, 64);
        MEP_TRY(MEP_GROW(&s->entries, s->count, count));
        MEP_TRY(MEP_GROW(&s->records, s->count, count));
        s->reserved = count;
    }
    return MEP_OK;
}

/* 1 if the record must begin a new batch. */
static int begins_batch(const slot *s, const mep_corpus_record *record)
{
    return s->count == BATCH_RECORDS || record->offset > 0 || s->size + record->size > BATCH_BYTES ||
           s->file != record->file || strcmp(s->name, record->name) != 0;
}

/* Copy a record of the reader into the open slot, or into a new one where a batch begins. */
static mep_status add_record(void *context, const mep_corpus_record *record)
{
    pipeline *p = context;
    if (p->open != NULL && begins_batch(p->open, record)) close_slot(p);
    if (p->open == NULL) {
        MEP_TRY(open_slot(p, record->size));
        p->open->file = record->file;
        p->open->first = record->number;
        MEP_TRY(mep_copy_string(&p->open->name, record->name));
    }
    slot *s = p->open;
    MEP_TRY(reserve(s, record->size));
    memcpy(s->text + s->size, record->bytes, (size_t)record->size);
    s->entries[s->count++] = (entry){
        .offset = s->size, .size = record->size, .line = record->line, .begin = record->offset, .next = record->next};
    s->size += record->size;
    s->position = record->position;
    return MEP_OK;
}

static void *run_reader(void *context)
{
    pipeline *p = context;
    mep_status status = mep_corpus_read_records(p->reading, add_record, p);
    if (status != MEP_OK) snprintf(p->reader_message, sizeof p->reader_message, "%s", mep_error_message());
    if (status != MEP_ERROR_MEMORY) close_slot(p); /* the records before an error are valid */
    pthread_mutex_lock(&p->lock);
    p->reader_status = status;
    p->read = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- The workers ---- */

/* Record an invalid line if such lines are skipped; otherwise return the error. */
static mep_status check_line(const pipeline *p, slot *s, mep_record_tokens *tokens, mep_status status)
{
    if (status != MEP_ERROR_FORMAT || !p->reading->skip_bad_lines) return status;
    if (s->mistake[0] == '\0') snprintf(s->mistake, sizeof s->mistake, "%s", mep_error_message());
    tokens->is_bad = 1;
    tokens->text_bytes = 0;
    return MEP_OK;
}

/* Encode a text, or a slice of one, with the tokens that the tokenizer puts around a text. */
static mep_status encode_text(const mep_tokenizer *tokenizer, const entry *e, const char *text,
                              mep_record_tokens *tokens)
{
    mep_special_tokens special;
    int64_t size = tokens->text_bytes;
    int32_t *all = NULL;
    MEP_TRY(mep_tokenizer_special_tokens(tokenizer, &special));
    MEP_TRY(e->begin > 0 ? mep_tokenizer_encode_rest(tokenizer, text, size, &tokens->tokens, &tokens->count)
                         : mep_tokenizer_encode(tokenizer, text, size, &tokens->tokens, &tokens->count));
    int64_t before = e->begin > 0 ? 0 : special.before_count, after = e->next > 0 ? 0 : special.after_count;
    if (before + after == 0) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&all, before + tokens->count + after));
    if (before > 0) memcpy(all, special.before, (size_t)before * sizeof *all);
    if (tokens->count > 0) memcpy(all + before, tokens->tokens, (size_t)tokens->count * sizeof *all);
    if (after > 0) memcpy(all + before + tokens->count, special.after, (size_t)after * sizeof *all);
    mep_tokens_free(&tokens->tokens);
    tokens->tokens = all;
    tokens->count += before + after;
    return MEP_OK;
}

static mep_status tokenize_record(const pipeline *p, slot *s, int64_t index)
{
    const entry *e = &s->entries[index];
    mep_record_tokens *tokens = &s->records[index];
    const mep_corpus_record record = {
        .name = s->name, .line = e->line, .bytes = s->text + e->offset, .size = e->size, .file = s->file};
    json_t *json = NULL;
    const char *text = NULL;
    tokens->next = e->next;
    mep_status status = mep_corpus_record_text(&record, &json, &text, &tokens->text_bytes);
    if (e->line > 0) status = check_line(p, s, tokens, status);
    if (status == MEP_OK && tokens->text_bytes > 0) {
        status = encode_text(p->reading->tokenizer, e, text, tokens);
        if (status != MEP_OK) mep_fail_in(status, "%s: ", s->name);
    }
    json_decref(json);
    return status;
}

/* After an error the batch ends before the record with the error. */
static void tokenize_batch(const pipeline *p, slot *s)
{
    memset(s->records, 0, (size_t)s->count * sizeof *s->records);
    for (int64_t i = 0; i < s->count && s->status == MEP_OK; ++i) {
        s->status = tokenize_record(p, s, i);
        if (s->status == MEP_OK) continue;
        snprintf(s->message, sizeof s->message, "%s", mep_error_message());
        s->count = i;
    }
}

static void *run_worker(void *context)
{
    pipeline *p = context;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->begun == p->filled && !p->read) pthread_cond_wait(&p->changed, &p->lock);
        if (p->stop || p->begun == p->filled) break;
        slot *s = &p->slots[p->begun++ % p->slot_count];
        MEP_ASSERT(s->state == FILLED);
        pthread_mutex_unlock(&p->lock);
        tokenize_batch(p, s);
        pthread_mutex_lock(&p->lock);
        s->state = DONE;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- The caller ---- */

static void free_tokens(slot *s)
{
    for (int64_t i = 0; s->records != NULL && i < s->reserved; ++i) mep_tokens_free(&s->records[i].tokens);
}

/* Return a slot to the reader; the memory of an unusually long record is freed. */
static void release_slot(pipeline *p, slot *s)
{
    free_tokens(s);
    mep_free(&s->name);
    int64_t size = s->size;
    if (s->capacity > BATCH_BYTES) {
        mep_free(&s->text);
        s->capacity = 0;
    }
    s->size = s->count = 0;
    s->mistake[0] = '\0';
    pthread_mutex_lock(&p->lock);
    MEP_ASSERT(s->state == DONE && p->waiting >= size);
    s->state = EMPTY;
    p->waiting -= size;
    ++p->taken;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Wait for the next slot that is done. NULL at the end, or with *late set after some time. */
static slot *wait_for_slot(pipeline *p, int *late)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)IDLE_MILLISECONDS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        ++until.tv_sec;
    }
    slot *next = &p->slots[p->taken % p->slot_count];
    *late = 0;
    pthread_mutex_lock(&p->lock);
    while (next->state != DONE && !(p->read && p->taken == p->filled) && !*late)
        *late = pthread_cond_timedwait(&p->changed, &p->lock, &until) != 0;
    if (next->state == DONE) *late = 0;
    int done = next->state == DONE;
    pthread_mutex_unlock(&p->lock);
    return done ? next : NULL;
}

/* Pass a tokenized batch on, then report the mistake that ended it, if any, and free the slot. */
static mep_status take_slot(pipeline *p, slot *s, const mep_pipeline_hooks *hooks)
{
    const mep_batch batch = {.records = s->records,
                             .count = s->count,
                             .file = s->file,
                             .first = s->first,
                             .position = s->position,
                             .mistake = s->mistake};
    mep_status failed = s->status;
    mep_status status = hooks->take(hooks->context, &batch);
    if (status == MEP_OK && failed != MEP_OK) status = mep_fail(failed, "%s", s->message);
    release_slot(p, s);
    return status;
}

/* Pass all batches on, in order, until the reader is done. */
static mep_status take_all(pipeline *p, const mep_pipeline_hooks *hooks)
{
    for (;;) {
        int late = 0;
        slot *s = wait_for_slot(p, &late);
        if (s != NULL)
            MEP_TRY(take_slot(p, s, hooks));
        else if (late)
            MEP_TRY(hooks->idle(hooks->context));
        else
            return p->reader_status == MEP_OK ? MEP_OK : mep_fail(p->reader_status, "%s", p->reader_message);
    }
}

/* ---- Running ---- */

static mep_status fail_thread(void)
{
    return mep_fail(MEP_ERROR_MEMORY, "cannot start a thread; use fewer threads");
}

/* Start the workers and the reader, take all batches, and end the threads in any case. */
static mep_status run_threads(pipeline *p, int64_t threads, const mep_pipeline_hooks *hooks)
{
    pthread_t workers[MAX_THREADS], reader;
    int64_t started = 0;
    int reading = 0;
    mep_status status = MEP_OK;
    while (started < threads && pthread_create(&workers[started], NULL, run_worker, p) == 0) ++started;
    if (started == threads) reading = pthread_create(&reader, NULL, run_reader, p) == 0;
    status = reading ? take_all(p, hooks) : fail_thread();
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (reading) pthread_join(reader, NULL);
    for (int64_t i = 0; i < started; ++i) pthread_join(workers[i], NULL);
    return status;
}

mep_status mep_pipeline_run(const mep_corpus_reading *reading, int64_t threads, const mep_pipeline_hooks *hooks)
{
    threads = min_i64(max_i64(threads, 1), MAX_THREADS);
    pipeline p = {.reading = reading, .slot_count = SLOTS_PER_THREAD * threads + 1};
    MEP_TRY(MEP_ALLOC(&p.slots, p.slot_count));
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.changed, NULL);
    mep_status status = run_threads(&p, threads, hooks);
    for (int64_t i = 0; i < p.slot_count; ++i) {
        free_tokens(&p.slots[i]);
        mep_free(&p.slots[i].name);
        mep_free(&p.slots[i].text);
        mep_free(&p.slots[i].entries);
        mep_free(&p.slots[i].records);
    }
    pthread_cond_destroy(&p.changed);
    pthread_mutex_destroy(&p.lock);
    mep_free(&p.slots);
    return status;
}
