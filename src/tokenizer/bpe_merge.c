/* SPDX-License-Identifier: MIT */
/*
 * The table of merges, and merging. There are two algorithms with the same result: a scan for the lowest rank for short
 * pre-tokens, which are nearly all of them, and a heap over a linked list for long ones.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/bpe.h"

enum {
    SHORT = 48,        /* up to this many bytes the scan is faster */
    LONGEST = 1 << 25, /* a longer pre-token is refused: merging needs 20 times its bytes of memory */
};
#define FREE_KEY UINT64_MAX
#define NO_RANK INT32_MAX

mep_status mep_bpe_tokens_append(mep_bpe_tokens *tokens, const int32_t *ids, int64_t count)
{
    if (count > tokens->capacity - tokens->count) {
        int64_t capacity = 2 * tokens->capacity + count + 64;
        MEP_TRY(MEP_GROW(&tokens->ids, tokens->count, capacity));
        tokens->capacity = capacity;
    }
    memcpy(tokens->ids + tokens->count, ids, (size_t)count * sizeof *ids);
    tokens->count += count;
    return MEP_OK;
}

/* ---- The table ---- */

static inline uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint64_t slot_of(uint64_t key, uint64_t mask)
{
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return (key ^ key >> 32) & mask;
}

mep_status mep_bpe_merges_init(mep_bpe_merges *merges, int64_t count)
{
    int64_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    MEP_TRY(MEP_ALLOC(&merges->slots, slots));
    for (int64_t i = 0; i < slots; ++i) merges->slots[i].key = FREE_KEY;
    merges->mask = (uint64_t)slots - 1;
    return MEP_OK;
}

void mep_bpe_merges_free(mep_bpe_merges *merges)
{
    mep_free(&merges->slots);
    mep_bpe_characters_free(&merges->characters);
}

/* The slot of a pair, or the free slot where it would be inserted. */
static inline mep_bpe_pair *find(const mep_bpe_merges *merges, uint64_t key)
{
    uint64_t slot = slot_of(key, merges->mask);
    while (merges->slots[slot].key != key && merges->slots[slot].key != FREE_KEY) slot = (slot + 1) & merges->mask;
    return &merges->slots[slot];
}

void mep_bpe_merges_set(mep_bpe_merges *merges, int32_t left, int32_t right, int32_t rank, int32_t token)
{
    *find(merges, pair_key(left, right)) = (mep_bpe_pair){pair_key(left, right), rank, token};
}

/* The rank of a pair (NO_RANK if the pair is not in the table) and the token that it becomes. */
static inline int32_t rank_of(const mep_bpe_merges *merges, int32_t left, int32_t right, int32_t *token)
{
    const mep_bpe_pair *pair = find(merges, pair_key(left, right));
    *token = pair->token;
    return pair->key == FREE_KEY ? NO_RANK : pair->rank;
}

int32_t mep_bpe_merges_rank(const mep_bpe_merges *merges, int32_t left, int32_t right)
{
    int32_t token;
    return rank_of(merges, left, right, &token);
}

/* Write the symbols that are merged: the tokens of the bytes, or of the characters. */
static inline int64_t first_symbols(const mep_bpe_merges *merges, const char *text, int64_t size, int32_t *ids)
{
    if (merges->characters.page_of != NULL)
        return mep_bpe_characters_of(&merges->characters, merges->bytes, text, size, ids);
    for (int64_t i = 0; i < size; ++i) ids[i] = merges->bytes[(unsigned char)text[i]];
    return size;
}

/* ---- Short pre-tokens ---- */

/* Merge the pair of lowest rank, the first of equals, until there is none: a search of all pairs per merge. */
static mep_status merge_short(const mep_bpe_merges *merges, const char *text, int64_t size, mep_bpe_tokens *tokens)
{
    int32_t ids[SHORT], ranks[SHORT], made[SHORT]; /* ranks[i], made[i]: of the pair i, i + 1 */
    int count = (int)first_symbols(merges, text, size, ids);
    for (int i = 0; i + 1 < count; ++i) ranks[i] = rank_of(merges, ids[i], ids[i + 1], &made[i]);
    while (count > 1) {
        int best = 0;
        for (int i = 1; i + 1 < count; ++i)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == NO_RANK) break;
        ids[best] = made[best];
        size_t rest = (size_t)(count - best - 2);
        memmove(ids + best + 1, ids + best + 2, rest * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, rest * sizeof *ranks);
        memmove(made + best, made + best + 1, rest * sizeof *made);
        --count;
        if (best + 1 < count) ranks[best] = rank_of(merges, ids[best], ids[best + 1], &made[best]);
        if (best > 0) ranks[best - 1] = rank_of(merges, ids[best - 1], ids[best], &made[best - 1]);
    }
    return mep_bpe_tokens_append(tokens, ids, count);
}

/* ---- Long pre-tokens ---- */

/* Tokens as a linked list. The heap holds rank << 32 | index of each pair, including pairs that no longer exist. */
typedef struct long_pretoken {
    const mep_bpe_merges *merges;
    int32_t *ids, *next, *previous; /* id -1: merged into the token before */
    uint64_t *heap;
    int64_t count, heap_count, heap_capacity;
} long_pretoken;

static void sift_down(uint64_t *heap, int64_t count, int64_t at)
{
    uint64_t moved = heap[at];
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && heap[child + 1] < heap[child]) ++child;
        if (heap[child] >= moved) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static mep_status push(long_pretoken *p, uint64_t entry)
{
    if (p->heap_count == p->heap_capacity) {
        MEP_TRY(MEP_GROW(&p->heap, p->heap_count, 2 * p->heap_capacity));
        p->heap_capacity *= 2;
    }
    int64_t at = p->heap_count++;
    while (at > 0 && p->heap[(at - 1) / 2] > entry) {
        p->heap[at] = p->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    p->heap[at] = entry;
    return MEP_OK;
}

/* The rank of the pair of token `at` and its successor, and the token that the pair becomes. */
static int32_t rank_at(const long_pretoken *p, int64_t at, int32_t *token)
{
    int32_t next = p->next[at];
    if (p->ids[at] < 0 || next < 0) return NO_RANK;
    return rank_of(p->merges, p->ids[at], p->ids[next], token);
}

static mep_status push_pair(long_pretoken *p, int64_t at)
{
    int32_t token, rank = rank_at(p, at, &token);
    return rank == NO_RANK ? MEP_OK : push(p, (uint64_t)rank << 32 | (uint64_t)at);
}

/* One token per byte or character, and a heap of all pairs that merge: rank << 32 | index of the left token. */
static mep_status begin_long(long_pretoken *p, const char *text, int64_t size)
{
    MEP_TRY(MEP_ALLOC(&p->ids, size));
    p->count = first_symbols(p->merges, text, size, p->ids);
    MEP_TRY(MEP_ALLOC(&p->next, p->count));
    MEP_TRY(MEP_ALLOC(&p->previous, p->count));
    MEP_TRY(MEP_ALLOC(&p->heap, p->count + 1));
    p->heap_capacity = p->count + 1;
    for (int64_t i = 0; i < p->count; ++i) {
        p->next[i] = i + 1 < p->count ? (int32_t)(i + 1) : -1;
        p->previous[i] = (int32_t)(i - 1);
    }
    for (int64_t i = 0; i + 1 < p->count; ++i) {
        int32_t token, rank = rank_at(p, i, &token);
        if (rank != NO_RANK) p->heap[p->heap_count++] = (uint64_t)rank << 32 | (uint64_t)i;
    }
    for (int64_t i = p->heap_count / 2 - 1; i >= 0; --i) sift_down(p->heap, p->heap_count, i);
    return MEP_OK;
}

/* Merge until the heap is empty. A token at ids[i] covers the symbols from i up to next[i] - 1. */
static mep_status run_long(long_pretoken *p)
{
    while (p->heap_count > 0) {
        uint64_t top = p->heap[0];
        int64_t at = (int64_t)(top & UINT32_MAX);
        int32_t token = -1;
        p->heap[0] = p->heap[--p->heap_count];
        if (p->heap_count > 0) sift_down(p->heap, p->heap_count, 0);
        if (rank_at(p, at, &token) != (int32_t)(top >> 32)) continue; /* one of the two was merged in the meantime */
        int32_t gone = p->next[at];
        p->ids[at] = token;
        p->ids[gone] = -1;
        p->next[at] = p->next[gone];
        if (p->next[at] >= 0) p->previous[p->next[at]] = (int32_t)at;
        MEP_TRY(push_pair(p, at));
        if (p->previous[at] >= 0) MEP_TRY(push_pair(p, p->previous[at]));
    }
    return MEP_OK;
}

/* The same merges with a heap of pairs and linked tokens, for text of any length. */
static mep_status merge_long(const mep_bpe_merges *merges, const char *text, int64_t size, mep_bpe_tokens *tokens)
{
    if (size > LONGEST)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a range of text of %lld bytes is a single pre-token for the tokenizer; the limit is %d bytes",
                        (long long)size, LONGEST);
    long_pretoken p = {.merges = merges};
    int64_t kept = 0;
    mep_status status;
    MEP_TRY_OR(status, begin_long(&p, text, size), done);
    MEP_TRY_OR(status, run_long(&p), done);
    for (int64_t i = 0; i < p.count; ++i)
        if (p.ids[i] >= 0) p.ids[kept++] = p.ids[i];
    status = mep_bpe_tokens_append(tokens, p.ids, kept);
done:
    mep_free(&p.ids);
    mep_free(&p.next);
    mep_free(&p.previous);
    mep_free(&p.heap);
    return status;
}

mep_status mep_bpe_merge(const mep_bpe_merges *merges, const char *text, int64_t size, mep_bpe_tokens *tokens)
{
    return size <= SHORT ? merge_short(merges, text, size, tokens) : merge_long(merges, text, size, tokens);
}
