/* SPDX-License-Identifier: MIT */
/*
 * Trains a byte-level BPE tokenizer with GPT-2's pattern. 1. Count the distinct pre-tokens of the text. 2. Repeatedly
 * merge the most frequent pair; of several the one with the smallest ids. Queue, counts and ties are those of Hugging
 * Face's BpeTrainer, so the result is the same and does not depend on the order of the texts.
 *
 * A token is stored by its name, the printable characters that stand for its bytes. A pre-token is an array of tokens.
 * Each pair in the queue has a list of the pre-tokens that may contain it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

enum { TICK = 64, NAME_LIMIT = 4096, VOCAB_LIMIT = 1 << 24 };

/* Indexes of pre-tokens that contain a pair; some may occur more than once. */
typedef struct index_list {
    int32_t *items;
    int64_t count, capacity;
} index_list;

typedef struct pair_count {
    uint64_t key; /* left << 32 | right; UINT64_MAX: a free slot */
    int64_t count;
    index_list fresh; /* pre-tokens that got this pair in the current merge */
} pair_count;

typedef struct candidate {
    int64_t count;
    uint64_t pair;
    index_list pretokens;
} candidate;

/* A distinct pre-token: `size` bytes at text[begin]. During merging its tokens are at symbols[begin]. */
typedef struct pretoken {
    int64_t begin, times;
    int32_t size;
} pretoken;

struct mep_tokenizer_trainer {
    mep_tokenizer_train_settings settings;
    mep_bpe_pretokenizer pretokenizer;
    pcre2_match_data *match;
    int32_t *pretoken_slots; /* hash table of pre-tokens, -1 in free slots */
    uint64_t pretoken_mask;
    pretoken *pretokens;
    int64_t pretoken_count, pretoken_capacity;
    char *text;
    int64_t text_size, text_capacity;
    int32_t *symbols;

    char *names; /* of all tokens, each with a terminating 0 */
    int64_t *name_begin, name_bytes, name_capacity;
    int32_t *name_slots;
    uint64_t name_mask;
    int64_t count; /* tokens so far */
    mep_bpe_pair *merges;
    int64_t merge_count, merge_capacity;

    pair_count *pairs;
    uint64_t pair_mask;
    int64_t pair_total;
    candidate *queue;
    int64_t queue_count, queue_capacity;
    uint64_t *touched; /* pairs with fresh pre-tokens */
    int64_t touched_count, touched_capacity;
};

/* Make space for one more element of an array that doubles. */
static mep_status reserve(void *pointer, int64_t count, int64_t *capacity, size_t size)
{
    if (count < *capacity) return MEP_OK;
    int64_t larger = 2 * *capacity + 4;
    MEP_TRY(mep_grow(pointer, count, larger, size));
    *capacity = larger;
    return MEP_OK;
}

/* ---- Counting pre-tokens ---- */

static mep_status rehash_pretokens(mep_tokenizer_trainer *t)
{
    int64_t slots = 2 * ((int64_t)t->pretoken_mask + 1);
    mep_free(&t->pretoken_slots);
    MEP_TRY(MEP_ALLOC(&t->pretoken_slots, slots));
    memset(t->pretoken_slots, 0xff, (size_t)slots * sizeof *t->pretoken_slots);
    t->pretoken_mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < t->pretoken_count; ++i) {
        const pretoken *p = &t->pretokens[i];
        uint64_t slot = mep_bpe_hash(t->text + p->begin, p->size) & t->pretoken_mask;
        while (t->pretoken_slots[slot] >= 0) slot = (slot + 1) & t->pretoken_mask;
        t->pretoken_slots[slot] = (int32_t)i;
    }
    return MEP_OK;
}

/* Count a pre-token; a single byte is skipped because it has no pairs. */
static mep_status count_pretoken(void *context, const char *text, int64_t size)
{
    mep_tokenizer_trainer *t = context;
    if (size < 2) return MEP_OK;
    uint64_t slot = mep_bpe_hash(text, size) & t->pretoken_mask;
    for (int32_t index; (index = t->pretoken_slots[slot]) >= 0; slot = (slot + 1) & t->pretoken_mask) {
        pretoken *p = &t->pretokens[index];
        if (p->size != size || memcmp(t->text + p->begin, text, (size_t)size) != 0) continue;
        p->times++;
        return MEP_OK;
    }
    if (size > INT32_MAX || t->pretoken_count == INT32_MAX)
        return mep_fail(MEP_ERROR_ARGUMENT, "too many different words, or a word of 2 GiB; train on less text");
    MEP_TRY(reserve(&t->pretokens, t->pretoken_count, &t->pretoken_capacity, sizeof *t->pretokens));
    if (t->text_size + size > t->text_capacity) {
        int64_t capacity = 2 * t->text_capacity + size + 65536;
        MEP_TRY(MEP_GROW(&t->text, t->text_size, capacity));
        t->text_capacity = capacity;
    }
    memcpy(t->text + t->text_size, text, (size_t)size);
    t->pretokens[t->pretoken_count] = (pretoken){t->text_size, 1, (int32_t)size};
    t->pretoken_slots[slot] = (int32_t)t->pretoken_count++;
    t->text_size += size;
    return 2 * t->pretoken_count > (int64_t)t->pretoken_mask ? rehash_pretokens(t) : MEP_OK;
}

static mep_status count_valid(void *context, int32_t id, const char *text, int64_t size)
{
    mep_tokenizer_trainer *t = context;
    const mep_bpe_text range = {.bytes = text, .size = size, .match = t->match};
    return id < 0 ? mep_bpe_pretokenizer_run(&t->pretokenizer, &range, count_pretoken, t) : MEP_OK;
}

mep_status mep_tokenizer_trainer_add(mep_tokenizer_trainer *trainer, const char *text, int64_t size)
{
    MEP_REQUIRE(trainer);
    static const int32_t alone[256]; /* ids >= 0: an invalid byte ends the text before it */
    if (size > 0) MEP_REQUIRE(text);
    if (size < 0) return mep_fail(MEP_ERROR_ARGUMENT, "cannot train on a text of %lld bytes", (long long)size);
    return mep_bpe_each_valid(alone, text, size, count_valid, trainer);
}

/* ---- Tokens by name ---- */

/* The token with this name; it is added if it does not exist. */
static mep_status take_name(mep_tokenizer_trainer *t, const char *name, int64_t size, int32_t *id)
{
    uint64_t slot = mep_bpe_hash(name, size) & t->name_mask;
    for (; (*id = t->name_slots[slot]) >= 0; slot = (slot + 1) & t->name_mask) {
        const char *known = t->names + t->name_begin[*id];
        if (strncmp(known, name, (size_t)size) == 0 && known[size] == '\0') return MEP_OK;
    }
    while (t->name_bytes + size + 1 > t->name_capacity) {
        MEP_TRY(MEP_GROW(&t->names, t->name_bytes, 2 * t->name_capacity + size + 1));
        t->name_capacity = 2 * t->name_capacity + size + 1;
    }
    memcpy(t->names + t->name_bytes, name, (size_t)size);
    t->names[t->name_bytes + size] = '\0';
    t->name_begin[t->count] = t->name_bytes;
    t->name_bytes += size + 1;
    *id = t->name_slots[slot] = (int32_t)t->count++;
    return MEP_OK;
}

/* Special tokens come first, then the bytes in the order of their characters, as in Hugging Face's library. */
static mep_status first_tokens(mep_tokenizer_trainer *t, int32_t bytes[256])
{
    int64_t most = t->settings.vocab_size + t->settings.special_count + 512, slots = 16;
    while (slots < 2 * most) slots *= 2;
    MEP_TRY(MEP_ALLOC(&t->name_begin, most));
    MEP_TRY(MEP_ALLOC(&t->name_slots, slots));
    memset(t->name_slots, 0xff, (size_t)slots * sizeof *t->name_slots);
    t->name_mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < t->settings.special_count; ++i) {
        int32_t id;
        MEP_TRY(take_name(t, t->settings.special[i], (int64_t)strlen(t->settings.special[i]), &id));
    }
    for (uint32_t code = 0; code < 0x144; ++code) {
        int byte = mep_bpe_byte_of_code(code);
        char name[4];
        if (byte >= 0) MEP_TRY(take_name(t, name, mep_utf8_encode(code, name), &bytes[byte]));
    }
    return MEP_OK;
}

/* ---- Pairs and the queue ---- */

static pair_count *find_pair(const mep_tokenizer_trainer *t, uint64_t key)
{
    uint64_t slot = key * UINT64_C(0x9e3779b97f4a7c15);
    slot = (slot ^ slot >> 32) & t->pair_mask;
    while (t->pairs[slot].key != key && t->pairs[slot].key != UINT64_MAX) slot = (slot + 1) & t->pair_mask;
    return &t->pairs[slot];
}

static mep_status grow_pairs(mep_tokenizer_trainer *t)
{
    pair_count *old = t->pairs;
    int64_t old_slots = old != NULL ? (int64_t)t->pair_mask + 1 : 0, slots = old != NULL ? 2 * old_slots : 1 << 16;
    pair_count *larger = NULL;
    MEP_TRY(MEP_ALLOC(&larger, slots));
    for (int64_t i = 0; i < slots; ++i) larger[i].key = UINT64_MAX;
    t->pairs = larger;
    t->pair_mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < old_slots; ++i)
        if (old[i].key != UINT64_MAX) *find_pair(t, old[i].key) = old[i];
    mep_free(&old);
    return MEP_OK;
}

/* Record that the pre-token `index` gained (or lost) the pair `change` times. */
static mep_status change_pair(mep_tokenizer_trainer *t, int32_t left, int32_t right, int64_t change, int32_t index)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    pair_count *pair = find_pair(t, key);
    if (pair->key == UINT64_MAX) {
        if (2 * ++t->pair_total > (int64_t)t->pair_mask) {
            MEP_TRY(grow_pairs(t));
            pair = find_pair(t, key);
        }
        *pair = (pair_count){.key = key};
    }
    pair->count += change;
    if (change < 0 || (pair->fresh.count > 0 && pair->fresh.items[pair->fresh.count - 1] == index)) return MEP_OK;
    if (pair->fresh.count == 0) {
        MEP_TRY(reserve(&t->touched, t->touched_count, &t->touched_capacity, sizeof *t->touched));
        t->touched[t->touched_count++] = key;
    }
    MEP_TRY(reserve(&pair->fresh.items, pair->fresh.count, &pair->fresh.capacity, sizeof *pair->fresh.items));
    pair->fresh.items[pair->fresh.count++] = index;
    return MEP_OK;
}

/* 1 if a leaves the queue before b. */
static int is_before(const candidate *a, const candidate *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static mep_status push(mep_tokenizer_trainer *t, candidate entry)
{
    MEP_TRY(reserve(&t->queue, t->queue_count, &t->queue_capacity, sizeof *t->queue));
    int64_t at = t->queue_count++;
    for (; at > 0 && is_before(&entry, &t->queue[(at - 1) / 2]); at = (at - 1) / 2)
        t->queue[at] = t->queue[(at - 1) / 2];
    t->queue[at] = entry;
    return MEP_OK;
}

static candidate pop(mep_tokenizer_trainer *t)
{
    candidate top = t->queue[0], last = t->queue[--t->queue_count];
    int64_t at = 0, child;
    while ((child = 2 * at + 1) < t->queue_count) {
        if (child + 1 < t->queue_count && is_before(&t->queue[child + 1], &t->queue[child])) ++child;
        if (!is_before(&t->queue[child], &last)) break;
        t->queue[at] = t->queue[child];
        at = child;
    }
    if (t->queue_count > 0) t->queue[at] = last;
    return top;
}

/* Add the pairs with fresh pre-tokens to the queue. */
static mep_status queue_touched(mep_tokenizer_trainer *t)
{
    for (int64_t i = 0; i < t->touched_count; ++i) {
        pair_count *pair = find_pair(t, t->touched[i]);
        index_list fresh = pair->fresh;
        pair->fresh = (index_list){0};
        mep_status status = pair->count > 0 ? push(t, (candidate){pair->count, pair->key, fresh}) : MEP_OK;
        if (pair->count <= 0 || status != MEP_OK) mep_free(&fresh.items);
        MEP_TRY(status);
    }
    t->touched_count = 0;
    return MEP_OK;
}

/* ---- Merging ---- */

/* Write the pre-tokens as tokens, and count the pairs in them. */
static mep_status begin_merging(mep_tokenizer_trainer *t, const int32_t bytes[256])
{
    MEP_TRY(MEP_ALLOC(&t->symbols, t->text_size));
    for (int64_t i = 0; i < t->text_size; ++i) t->symbols[i] = bytes[(unsigned char)t->text[i]];
    MEP_TRY(grow_pairs(t));
    for (int64_t i = 0; i < t->pretoken_count; ++i) {
        const int32_t *s = t->symbols + t->pretokens[i].begin;
        for (int32_t k = 0; k + 1 < t->pretokens[i].size; ++k)
            MEP_TRY(change_pair(t, s[k], s[k + 1], t->pretokens[i].times, (int32_t)i));
    }
    return queue_touched(t);
}

/* Replace every pair left, right of a pre-token by `token`. */
static mep_status merge_pretoken(mep_tokenizer_trainer *t, int32_t index, int32_t left, int32_t right, int32_t token)
{
    pretoken *p = &t->pretokens[index];
    int32_t *s = t->symbols + p->begin, kept = 0;
    for (int32_t i = 0; i < p->size;) {
        if (s[i] != left || i + 1 == p->size || s[i + 1] != right) {
            s[kept++] = s[i++];
            continue;
        }
        if (kept > 0) {
            MEP_TRY(change_pair(t, s[kept - 1], left, -p->times, index));
            MEP_TRY(change_pair(t, s[kept - 1], token, p->times, index));
        }
        s[kept++] = token;
        i += 2;
        if (i < p->size) {
            MEP_TRY(change_pair(t, right, s[i], -p->times, index));
            MEP_TRY(change_pair(t, token, s[i], p->times, index));
        }
    }
    p->size = kept;
    return MEP_OK;
}

/* Make a token of a pair, and replace the pair by it in all pre-tokens. */
static mep_status merge_pair(mep_tokenizer_trainer *t, const candidate *top)
{
    char name[2 * NAME_LIMIT];
    int32_t left = (int32_t)(top->pair >> 32), right = (int32_t)(top->pair & UINT32_MAX), token;
    int size = snprintf(name, sizeof name, "%s%s", t->names + t->name_begin[left], t->names + t->name_begin[right]);
    if (size > NAME_LIMIT) return MEP_OK; /* a name may not be longer; the pair is not merged */
    MEP_TRY(take_name(t, name, size, &token));
    MEP_TRY(reserve(&t->merges, t->merge_count, &t->merge_capacity, sizeof *t->merges));
    t->merges[t->merge_count++] = (mep_bpe_pair){top->pair, 0, token};
    for (int64_t i = 0; i < top->pretokens.count; ++i)
        MEP_TRY(merge_pretoken(t, top->pretokens.items[i], left, right, token));
    return queue_touched(t);
}

static mep_status run_merges(mep_tokenizer_trainer *t, mep_tokenizer_train_fn progress, void *context)
{
    for (int64_t step = 0; t->count < t->settings.vocab_size && t->queue_count > 0; ++step) {
        if (progress != NULL && step % TICK == 0 && progress(context, t->count, t->settings.vocab_size) != 0)
            return mep_fail(MEP_INTERRUPTED, "interrupted; no tokenizer was made");
        candidate top = pop(t);
        int64_t count = find_pair(t, top.pair)->count;
        mep_status status = MEP_OK;
        if (top.count != count) { /* merges in the meantime have removed some occurrences */
            top.count = count;
            status = push(t, top);
            if (status == MEP_OK) continue;
        }
        int is_last = count < 1 || count < t->settings.min_frequency;
        if (status == MEP_OK && !is_last) status = merge_pair(t, &top);
        mep_free(&top.pretokens.items);
        MEP_TRY(status);
        if (is_last) break;
    }
    return MEP_OK;
}

/* ---- The result ---- */

/* Fill the vocabulary. */
static mep_status list_tokens(const mep_tokenizer_trainer *t, json_t *vocab)
{
    for (int64_t id = 0; id < t->count; ++id)
        if (json_object_set_new(vocab, t->names + t->name_begin[id], json_integer((json_int_t)id)) != 0)
            return mep_fail(MEP_ERROR_MEMORY, "out of memory for the vocabulary");
    return MEP_OK;
}

/* Fill the list of merges. A pair that was merged twice gets its last rank, as in Hugging Face's library when it reads
 * a table. */
static mep_status list_merges(const mep_tokenizer_trainer *t, json_t *list)
{
    mep_bpe_merges last = {0};
    char text[2 * NAME_LIMIT + 2];
    int failed = 0;
    MEP_TRY(mep_bpe_merges_init(&last, t->merge_count));
    for (int64_t pass = 0; pass < 2; ++pass) {
        for (int64_t i = 0; i < t->merge_count; ++i) {
            int32_t left = (int32_t)(t->merges[i].key >> 32), right = (int32_t)(t->merges[i].key & UINT32_MAX);
            if (pass == 0) {
                mep_bpe_merges_set(&last, left, right, (int32_t)i, t->merges[i].token);
            } else if (mep_bpe_merges_rank(&last, left, right) == i) {
                snprintf(text, sizeof text, "%s %s", t->names + t->name_begin[left], t->names + t->name_begin[right]);
                failed |= json_array_append_new(list, json_string(text));
            }
        }
    }
    mep_bpe_merges_free(&last);
    return failed ? mep_fail(MEP_ERROR_MEMORY, "out of memory for the merges") : MEP_OK;
}

static mep_status compose(const mep_tokenizer_trainer *t, mep_tokenizer **tokenizer)
{
    json_t *vocab = json_object(), *merges = json_array();
    mep_status status = list_tokens(t, vocab);
    if (status == MEP_OK) status = list_merges(t, merges);
    json_t *root = mep_bpe_compose_json(vocab, merges, t->settings.special, t->settings.special_count);
    char *text = NULL;
    if (status != MEP_OK) goto done;
    text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    status = text != NULL ? mep_bpe_from_json(tokenizer, "trained tokenizer", text, (int64_t)strlen(text))
                          : mep_fail(MEP_ERROR_MEMORY, "out of memory for the tokenizer.json");
done:
    free(text);
    json_decref(root);
    return status;
}

mep_status mep_tokenizer_trainer_finish(mep_tokenizer_trainer **trainer, mep_tokenizer_train_fn progress, void *context,
                                        mep_tokenizer **tokenizer)
{
    MEP_REQUIRE(trainer, tokenizer);
    MEP_REQUIRE(*trainer);
    mep_tokenizer_trainer *t = *trainer;
    int32_t bytes[256];
    *tokenizer = NULL;
    mep_status status = MEP_OK;
    if (t->pretoken_count == 0) status = mep_fail(MEP_ERROR_ARGUMENT, "there is no text to train a tokenizer on");
    if (status != MEP_OK) goto done;
    MEP_TRY_OR(status, first_tokens(t, bytes), done);
    MEP_TRY_OR(status, begin_merging(t, bytes), done);
    MEP_TRY_OR(status, run_merges(t, progress, context), done);
    status = compose(t, tokenizer);
done:
    mep_tokenizer_trainer_destroy(trainer);
    return status;
}

/* ---- Creation and destruction ---- */

void mep_tokenizer_train_defaults(mep_tokenizer_train_settings *settings)
{
    if (settings == NULL) return;
    static const char *const special[] = {"<|endoftext|>"};
    *settings =
        (mep_tokenizer_train_settings){.vocab_size = 16384, .min_frequency = 2, .special = special, .special_count = 1};
}

static mep_status check_settings(const mep_tokenizer_train_settings *s)
{
    if (s->special_count < 0 || s->special_count > 1 << 16 || s->min_frequency < 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%lld special tokens and a minimum frequency of %lld are not possible",
                        (long long)s->special_count, (long long)s->min_frequency);
    if (s->vocab_size < 256 + s->special_count || s->vocab_size > VOCAB_LIMIT)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "a vocabulary of %lld tokens is not possible; it must have %lld (bytes and special tokens) to %d",
            (long long)s->vocab_size, (long long)s->special_count + 256, VOCAB_LIMIT);
    for (int64_t i = 0; i < s->special_count; ++i) {
        MEP_REQUIRE_AS("settings->special[]", s->special[i]);
        size_t size = strlen(s->special[i]);
        if (size == 0 || size > NAME_LIMIT / 2)
            return mep_fail(MEP_ERROR_ARGUMENT, "a special token has %lld bytes; it must have 1 to %d", (long long)size,
                            NAME_LIMIT / 2);
        if (mep_utf8_valid(s->special[i], (int64_t)size) != (int64_t)size)
            return mep_fail(MEP_ERROR_ARGUMENT, "the special token \"%s\" is not UTF-8", s->special[i]);
    }
    return MEP_OK;
}

static mep_status begin_trainer(mep_tokenizer_trainer *t)
{
    json_t *pattern = json_pack("{s:s, s:b}", "type", "ByteLevel", "add_prefix_space", 0);
    mep_status status = mep_bpe_pretokenizer_init(&t->pretokenizer, NULL, pattern);
    json_decref(pattern);
    MEP_TRY(status);
    t->match = pcre2_match_data_create(1, NULL);
    if (t->match == NULL) return mep_fail(MEP_ERROR_MEMORY, "cannot allocate memory for a match");
    t->pretoken_mask = (1 << 15) - 1;
    return rehash_pretokens(t);
}

mep_status mep_tokenizer_trainer_create(mep_tokenizer_trainer **trainer, const mep_tokenizer_train_settings *settings)
{
    MEP_REQUIRE(trainer, settings);
    if (settings->special_count > 0) MEP_REQUIRE(settings->special);
    mep_tokenizer_trainer *t = NULL;
    *trainer = NULL;
    MEP_NEED(JANSSON, "jansson", "tokenizers cannot be trained");
    MEP_NEED(PCRE2, "PCRE2", "tokenizers cannot be trained");
    MEP_TRY(check_settings(settings));
    MEP_TRY(MEP_ALLOC(&t, 1));
    t->settings = *settings;
    mep_status status = begin_trainer(t);
    if (status != MEP_OK) mep_tokenizer_trainer_destroy(&t);
    *trainer = t;
    return status;
}

void mep_tokenizer_trainer_destroy(mep_tokenizer_trainer **trainer)
{
    if (trainer == NULL || *trainer == NULL) return;
    mep_tokenizer_trainer *t = *trainer;
    for (int64_t i = 0; i < t->queue_count; ++i) mep_free(&t->queue[i].pretokens.items);
    for (int64_t i = 0; t->pairs != NULL && i <= (int64_t)t->pair_mask; ++i) mep_free(&t->pairs[i].fresh.items);
    mep_bpe_pretokenizer_free(&t->pretokenizer);
    pcre2_match_data_free(t->match);
    mep_free(&t->pretoken_slots);
    mep_free(&t->pretokens);
    mep_free(&t->text);
    mep_free(&t->symbols);
    mep_free(&t->names);
    mep_free(&t->name_begin);
    mep_free(&t->name_slots);
    mep_free(&t->merges);
    mep_free(&t->pairs);
    mep_free(&t->queue);
    mep_free(&t->touched);
    mep_free(trainer);
}
