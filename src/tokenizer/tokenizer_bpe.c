/* SPDX-License-Identifier: MIT */
/*
 * The BPE tokenizer. Text is split at invalid UTF-8 and at the added tokens, normalized, and split into
 * pre-tokens by the patterns; then the bytes or characters of each pre-token are merged. Ids are those of Hugging
 * Face's tokenizers (encode without special tokens). A byte that is not valid UTF-8, which a Python string cannot hold,
 * becomes the token of that byte (U+FFFD if the vocabulary has no such token) and ends the text before it.
 */
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

enum { CACHE_BITS = 15, CACHE_TEXT = 30, CACHE_TOKENS = 8 };

/* A pre-token and its tokens; fills one cache line of the CPU. */
typedef struct cached {
    unsigned char size, count;
    char text[CACHE_TEXT];
    int32_t tokens[CACHE_TOKENS];
} cached;

static_assert(sizeof(cached) == 64, "an entry fills one cache line");

/* About nine of ten pre-tokens are found in this cache. Each slot holds the last pre-token with its hash. */
struct mep_bpe_worker {
    cached cache[1 << CACHE_BITS];
    pcre2_match_data *match;
};

/* The state of one call of encode. */
typedef struct encoding {
    const mep_bpe *bpe;
    mep_bpe_worker *worker;
    mep_bpe_tokens tokens;
    mep_bpe_start start;  /* of the next range: the first one, a section, or a continuation */
    mep_bpe_start normal; /* of the next range of normalized text */
} encoding;

/* ---- Workers ---- */

static void destroy_worker(mep_bpe_worker **worker)
{
    if (*worker != NULL) pcre2_match_data_free((*worker)->match);
    mep_free(worker);
}

/* Take an idle worker or make one: there are as many workers as threads that encode at the same time. */
static mep_status take_worker(mep_bpe *bpe, mep_bpe_worker **worker)
{
    for (int i = 0; i < MEP_BPE_WORKERS; ++i) {
        *worker = atomic_exchange(&bpe->idle[i], NULL);
        if (*worker != NULL) return MEP_OK;
    }
    MEP_TRY(MEP_ALLOC(worker, 1));
    (*worker)->match = pcre2_match_data_create(1, NULL);
    if ((*worker)->match != NULL) return MEP_OK;
    destroy_worker(worker);
    return mep_fail(MEP_ERROR_MEMORY, "cannot allocate memory for a match");
}

static void give_worker(mep_bpe *bpe, mep_bpe_worker *worker)
{
    for (int i = 0; i < MEP_BPE_WORKERS; ++i) {
        mep_bpe_worker *none = NULL;
        if (atomic_compare_exchange_strong(&bpe->idle[i], &none, worker)) return;
    }
    destroy_worker(&worker);
}

/* ---- Pre-tokens ---- */

typedef mep_status (*merge_fn)(encoding *e, const char *text, int64_t size);

static mep_status merge_word(encoding *e, const char *text, int64_t size)
{
    return mep_bpe_merge(&e->bpe->merges, text, size, &e->tokens);
}

/* With "ignore_merges": the token that is the complete pre-token; NULL if there is none. */
static const mep_bpe_word *find_word(const mep_bpe *bpe, const char *text, int64_t size)
{
    uint64_t slot = bpe->words != NULL ? mep_bpe_hash(text, size) & bpe->word_mask : 0;
    for (; bpe->words != NULL && bpe->words[slot].size > 0; slot = (slot + 1) & bpe->word_mask) {
        const mep_bpe_word *word = &bpe->words[slot];
        if (word->size == size && memcmp(bpe->word_bytes + word->begin, text, (size_t)size) == 0) return word;
    }
    return NULL;
}

static mep_status merge_pretoken(encoding *e, const char *text, int64_t size)
{
    const mep_bpe_word *word = find_word(e->bpe, text, size);
    return word != NULL ? mep_bpe_tokens_append(&e->tokens, &word->id, 1) : merge_word(e, text, size);
}

/* Merge a pre-token or a word, or take its tokens from the cache. */
static inline mep_status encode_cached(encoding *e, const char *text, int64_t size, merge_fn merge)
{
    if (size > CACHE_TEXT) return merge(e, text, size);
    cached *slot = &e->worker->cache[mep_bpe_hash(text, size) >> (32 - CACHE_BITS) & ((1 << CACHE_BITS) - 1)];
    if (slot->size == size && memcmp(slot->text, text, (size_t)size) == 0)
        return mep_bpe_tokens_append(&e->tokens, slot->tokens, slot->count);
    int64_t before = e->tokens.count;
    MEP_TRY(merge(e, text, size));
    int64_t made = e->tokens.count - before;
    if (made > CACHE_TOKENS) return MEP_OK;
    slot->size = (unsigned char)size;
    slot->count = (unsigned char)made;
    memcpy(slot->text, text, (size_t)size);
    memcpy(slot->tokens, e->tokens.ids + before, (size_t)made * sizeof *slot->tokens);
    return MEP_OK;
}

static mep_status encode_pretoken(void *context, const char *text, int64_t size)
{
    return encode_cached(context, text, size, merge_pretoken);
}

/* A pre-token of characters, which may be a complete text: its words merge alone and are looked up in the cache. */
static mep_status encode_words(void *context, const char *text, int64_t size)
{
    encoding *e = context;
    const mep_bpe_word *word = find_word(e->bpe, text, size);
    if (word != NULL) return mep_bpe_tokens_append(&e->tokens, &word->id, 1);
    for (int64_t at = 0, length; at < size; at += length) {
        length = mep_bpe_word_end(text + at, size - at);
        MEP_TRY(encode_cached(e, text + at, length, merge_word));
    }
    return MEP_OK;
}

/* ---- Texts ---- */

/* A range of text between the added tokens that are searched in normalized text. */
static mep_status encode_plain(void *context, int32_t id, const char *text, int64_t size)
{
    encoding *e = context;
    const mep_bpe_text range = {.bytes = text, .size = size, .start = e->normal, .match = e->worker->match};
    e->normal = MEP_BPE_SECTION;
    if (id >= 0) return mep_bpe_tokens_append(&e->tokens, &id, 1);
    return mep_bpe_pretokenizer_run(&e->bpe->pretokenizer, &range,
                                    e->bpe->splits_words ? encode_words : encode_pretoken, e);
}

/* A range of text between the added tokens that are searched in the original text. */
static mep_status encode_raw(void *context, int32_t id, const char *text, int64_t size)
{
    encoding *e = context;
    mep_bpe_normal normal = {.text = text, .size = size, .start = e->start};
    e->normal = e->start;
    e->start = MEP_BPE_SECTION;
    if (id >= 0) return mep_bpe_tokens_append(&e->tokens, &id, 1);
    MEP_TRY(mep_bpe_normalize(&e->bpe->pretokenizer, &normal));
    mep_status status = mep_bpe_added_split(&e->bpe->normalized, normal.out, normal.out_size, encode_plain, e);
    mep_free(&normal.made);
    return status;
}

static mep_status encode_valid(void *context, int32_t id, const char *text, int64_t size)
{
    encoding *e = context;
    mep_status status = id >= 0 ? mep_bpe_tokens_append(&e->tokens, &id, 1)
                                : mep_bpe_added_split(&e->bpe->raw, text, size, encode_raw, e);
    e->start = MEP_BPE_CONTINUED; /* the next range follows an invalid byte */
    return status;
}

mep_status mep_bpe_each_valid(const int32_t bytes[256], const char *text, int64_t size, mep_bpe_range_fn range,
                              void *context)
{
    for (int64_t at = 0; at < size;) {
        int64_t valid = mep_utf8_valid(text + at, size - at);
        if (valid > 0) MEP_TRY(range(context, -1, text + at, valid));
        at += valid;
        if (at == size) break;
        int32_t id = bytes[(unsigned char)text[at]];
        MEP_TRY(id >= 0 ? range(context, id, text + at, 1) : range(context, -1, "\xef\xbf\xbd", 3));
        ++at;
    }
    return MEP_OK;
}

/* ---- The operations ---- */

static mep_status bpe_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size, int is_rest,
                             int32_t **tokens, int64_t *count)
{
    mep_bpe *bpe = (mep_bpe *)tokenizer; /* only the list of idle workers is changed, atomically */
    encoding e = {.bpe = bpe, .start = is_rest ? MEP_BPE_CONTINUED : MEP_BPE_FIRST};
    MEP_TRY(MEP_ALLOC(&e.tokens.ids, size / 3 + 16));
    e.tokens.capacity = size / 3 + 16;
    mep_status status = take_worker(bpe, &e.worker);
    if (status == MEP_OK) {
        status = mep_bpe_each_valid(bpe->merges.bytes, text, size, encode_valid, &e);
        give_worker(bpe, e.worker);
    }
    if (status != MEP_OK) mep_free(&e.tokens.ids);
    *tokens = e.tokens.ids;
    *count = status == MEP_OK ? e.tokens.count : 0;
    return status;
}

static mep_status bpe_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text, int64_t *size)
{
    const mep_bpe *bpe = (const mep_bpe *)tokenizer;
    if (!bpe->is_token[token])
        return mep_fail(MEP_ERROR_ARGUMENT, "token %ld does not exist: the tokenizer '%s' does not use this id",
                        (long)token, tokenizer->name);
    *text = bpe->bytes + bpe->begin[token];
    *size = bpe->begin[token + 1] - bpe->begin[token];
    return MEP_OK;
}

/* The id of the item with this text, -1 if there is none. */
static int64_t find_item(const mep_bpe_added_set *set, const char *text, int64_t size)
{
    for (int64_t i = 0; i < set->count; ++i)
        if (set->items[i].size == size && memcmp(set->items[i].text, text, (size_t)size) == 0) return set->items[i].id;
    return -1;
}

int64_t mep_bpe_added_id(const mep_tokenizer *tokenizer, const char *text)
{
    const mep_bpe *bpe = (const mep_bpe *)tokenizer;
    mep_bpe_normal normal = {.text = text, .size = (int64_t)strlen(text)};
    int64_t id = find_item(&bpe->raw, text, normal.size);
    if (id >= 0 || mep_bpe_normalize(&bpe->pretokenizer, &normal) != MEP_OK) return id;
    id = find_item(&bpe->normalized, normal.out, normal.out_size);
    mep_free(&normal.made);
    return id;
}

static void bpe_begin(const mep_tokenizer *tokenizer, int64_t first, char *text, int64_t *size)
{
    mep_bpe_decoder_begin(&((const mep_bpe *)tokenizer)->decoder, first, text, size);
}

static void bpe_around(const mep_tokenizer *tokenizer, mep_special_tokens *special)
{
    const mep_bpe_template *template = &((const mep_bpe *)tokenizer)->template;
    *special = (mep_special_tokens){.before = template->before.ids,
                                    .before_count = template->before.count,
                                    .after = template->after.ids,
                                    .after_count = template->after.count};
}

static const char *bpe_json(const mep_tokenizer *tokenizer, int64_t *size)
{
    const mep_bpe *bpe = (const mep_bpe *)tokenizer;
    *size = bpe->json_size;
    return bpe->json;
}

static void bpe_destroy(mep_tokenizer *tokenizer)
{
    mep_bpe *bpe = (mep_bpe *)tokenizer;
    char *name = (char *)bpe->base.name;
    for (int i = 0; i < MEP_BPE_WORKERS; ++i) {
        mep_bpe_worker *worker = bpe->idle[i];
        destroy_worker(&worker);
    }
    mep_bpe_pretokenizer_free(&bpe->pretokenizer);
    mep_bpe_added_free(&bpe->raw);
    mep_bpe_added_free(&bpe->normalized);
    mep_bpe_merges_free(&bpe->merges);
    mep_bpe_decoder_free(&bpe->decoder);
    mep_bpe_template_free(&bpe->template);
    pcre2_code_free(bpe->letter);
    mep_free(&name);
    mep_free(&bpe->json);
    mep_free(&bpe->bytes);
    mep_free(&bpe->begin);
    mep_free(&bpe->is_token);
    mep_free(&bpe->words);
    mep_free(&bpe->word_bytes);
    mep_free(&bpe);
}

static const mep_tokenizer_ops bpe_ops = {
    .encode = bpe_encode,
    .decode = bpe_decode,
    .begin = bpe_begin,
    .around = bpe_around,
    .split_point = mep_bpe_split_point,
    .json = bpe_json,
    .destroy = bpe_destroy,
};

/* ---- Creation ---- */

static mep_status fill(mep_bpe *bpe, const char *name, const char *text, int64_t size)
{
    char *copy = NULL;
    json_error_t error;
    MEP_TRY(mep_refuse_pointer(name, text, size));
    MEP_TRY(mep_copy_string(&copy, name));
    bpe->base.name = copy;
    MEP_TRY(MEP_ALLOC(&bpe->json, size + 1));
    memcpy(bpe->json, text, (size_t)size);
    bpe->json_size = size;
    json_t *root = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return mep_fail(MEP_ERROR_FORMAT, "%s: is not a tokenizer.json: line %d: %s", name, error.line, error.text);
    mep_status status = mep_bpe_read(bpe, root);
    json_decref(root);
    return status == MEP_OK ? MEP_OK : mep_fail_in(status, "%s: ", name);
}

mep_status mep_bpe_from_json(mep_tokenizer **tokenizer, const char *name, const char *text, int64_t size)
{
    mep_bpe *bpe = NULL;
    *tokenizer = NULL;
    MEP_NEED(JANSSON, "jansson", "tokenizers other than bytes cannot be used");
    MEP_NEED(PCRE2, "PCRE2", "tokenizers other than bytes cannot be used");
    MEP_TRY(MEP_ALLOC(&bpe, 1));
    bpe->base.ops = &bpe_ops;
    mep_status status = fill(bpe, name, text, size);
    if (status == MEP_OK)
        *tokenizer = &bpe->base;
    else
        bpe_destroy(&bpe->base);
    return status;
}
