/* SPDX-License-Identifier: MIT */
/*
 * A byte-level BPE tokenizer in its parts: the table of merges (bpe_merge.c), the added tokens (bpe_added.c), the
 * normalizer and the patterns (bpe_pretokenizer.h), where long texts may be cut (bpe_split_points.c), what is read from
 * and written to files (bpe_files.c, bpe_json.c), and the tokenizer that joins them (tokenizer_bpe.c). Training is
 * bpe_train.c.
 */
#ifndef MEP_TOKENIZER_BPE_H
#define MEP_TOKENIZER_BPE_H

#include <jansson.h>
#include <stdatomic.h>

#include "tokenizer/bpe_pretokenizer.h"
#include "tokenizer/tokenizer.h"

/* ---- Tokens that are made ---- */

typedef struct mep_bpe_tokens {
    int32_t *ids;
    int64_t count, capacity;
} mep_bpe_tokens;

mep_status mep_bpe_tokens_append(mep_bpe_tokens *tokens, const int32_t *ids, int64_t count);

/* ---- Merges ---- */

typedef struct mep_bpe_pair {
    uint64_t key; /* left << 32 | right */
    int32_t rank, token;
} mep_bpe_pair;

/* A hash table of pairs, open addressing; a free slot has the key UINT64_MAX. */
typedef struct mep_bpe_merges {
    mep_bpe_pair *slots;
    uint64_t mask;
    int32_t bytes[256]; /* the token of each byte; -1 for a byte that UTF-8 never has and the vocabulary has not */
} mep_bpe_merges;

/* Room for `count` pairs. */
mep_status mep_bpe_merges_init(mep_bpe_merges *merges, int64_t count);
void mep_bpe_merges_free(mep_bpe_merges *merges);
/* A pair that is there already gets the new rank, as in Hugging Face's library. */
void mep_bpe_merges_set(mep_bpe_merges *merges, int32_t left, int32_t right, int32_t rank, int32_t token);
/* INT32_MAX for a pair that is none. */
int32_t mep_bpe_merges_rank(const mep_bpe_merges *merges, int32_t left, int32_t right);

/* Merge the bytes of one piece: always the pair of the lowest rank, of several the leftmost. Appends to `tokens`. A
 * piece may have 32 MiB; the time is n log n. */
mep_status mep_bpe_merge(const mep_bpe_merges *merges, const char *text, int64_t size, mep_bpe_tokens *tokens);

/* ---- Added tokens ---- */

typedef struct mep_bpe_added {
    char *text; /* for those of `normalized`, in the normal form */
    int64_t size;
    int32_t id;
    int single_word, lstrip, rstrip;
} mep_bpe_added;

/* Those that are looked for in the same text, sorted by their bytes. */
typedef struct mep_bpe_added_set {
    mep_bpe_added *items;
    int64_t count, capacity;
    int64_t first[257]; /* items that begin with byte b: first[b] .. first[b + 1] - 1 */
    pcre2_code *word;   /* one character of \w, where an item asks for single words */
} mep_bpe_added_set;

/* Append one; the set is searched only after mep_bpe_added_sort, which refuses two tokens of the same text. */
mep_status mep_bpe_added_append(mep_bpe_added_set *set, const mep_bpe_added *item, const char *text, int64_t size);
mep_status mep_bpe_added_sort(mep_bpe_added_set *set);
void mep_bpe_added_free(mep_bpe_added_set *set);

/* Called for each added token (id >= 0) and the text between them (id -1), in order. */
typedef mep_status (*mep_bpe_part_fn)(void *context, int32_t id, const char *text, int64_t size);

/* Cut text at the set's tokens: the leftmost first, of several at one place the longest. */
mep_status mep_bpe_added_split(const mep_bpe_added_set *set, const char *text, int64_t size, mep_bpe_part_fn part,
                               void *context);

/* ---- The tokenizer ---- */

enum { MEP_BPE_WORKERS = 64, MEP_BPE_TOKEN = 1, MEP_BPE_ADDED = 2 };

/* What one encoding at a time needs: a cache of pieces. In tokenizer_bpe.c. */
typedef struct mep_bpe_worker mep_bpe_worker;

/* A token that is taken for a whole piece. */
typedef struct mep_bpe_word {
    int64_t begin; /* in `word_bytes` */
    int32_t size;  /* 0: a free slot */
    int32_t id;
} mep_bpe_word;

typedef struct mep_bpe {
    mep_tokenizer base;
    char *json; /* the tokenizer.json */
    int64_t json_size;
    mep_bpe_splitter splitter;
    mep_bpe_added_set raw, normalized; /* looked for in the text, and in its normal form */
    pcre2_code *letter;                /* a letter or number, behind which texts may be cut; NULL: they may not */
    mep_bpe_merges merges;
    int64_t merge_count, added_count; /* for people */
    char *bytes;                      /* of all tokens */
    int64_t *begin;                   /* of token t in `bytes`; base.vocab_size + 1 of them */
    unsigned char *is_token;          /* of vocab_size, MEP_BPE_TOKEN ..; 0 where the numbers have a hole */
    mep_bpe_word *words;              /* hash table of tokens by their bytes; NULL unless "ignore_merges" */
    char *word_bytes;
    uint64_t word_mask;
    _Atomic(mep_bpe_worker *) idle[MEP_BPE_WORKERS];
} mep_bpe;

/* A tokenizer of `size` bytes of a tokenizer.json. `name` is for messages and the tokenizer's name. */
mep_status mep_bpe_from_json(mep_tokenizer **tokenizer, const char *name, const char *text, int64_t size);

/* The same of the texts of a vocab.json and a merges.txt, with GPT-2's settings. */
mep_status mep_bpe_from_tables(mep_tokenizer **tokenizer, const char *name, const char *vocab, int64_t vocab_size,
                               const char *merges, int64_t merges_size);

/* A tokenizer of a file or a folder: tokenizer.json, or vocab.json with merges.txt, and what added_tokens.json and
 * tokenizer_config.json in the same folder add to it. */
mep_status mep_bpe_open(mep_tokenizer **tokenizer, const char *path);

/* 1 when the added token `id` has this text. */
int mep_bpe_has_added(const mep_tokenizer *tokenizer, int64_t id, const char *text);

/* Read the sections of a tokenizer.json into an empty mep_bpe. */
mep_status mep_bpe_read(mep_bpe *bpe, const json_t *root);

/* A tokenizer.json in GPT-2's way around `vocab` (an object) and `merges` (an array of strings), which it takes over;
 * special tokens are those of the vocabulary that `special` names. NULL when memory is short. */
json_t *mep_bpe_compose_json(json_t *vocab, json_t *merges, const char *const *special, int64_t special_count);

/* Look whether and where long texts may be cut; all other parts are read. */
mep_status mep_bpe_cut_init(mep_bpe *bpe);
/* As mep_tokenizer_split_point. */
int64_t mep_bpe_cut(const mep_tokenizer *tokenizer, const char *text, int64_t size);

/* Cut `text` at what is no UTF-8: `part` gets the valid stretches, and each other byte by itself with its id of
 * `bytes`; where that is -1, U+FFFD as a stretch instead. */
mep_status mep_bpe_each_valid(const int32_t bytes[256], const char *text, int64_t size, mep_bpe_part_fn part,
                              void *context);

/* GPT-2's table of bytes as printable characters: byte b is the code point mep_bpe_code_of_byte(b), 0x21 .. 0x143; the
 * byte of a code point, -1 for all others. */
uint32_t mep_bpe_code_of_byte(int byte);
int mep_bpe_byte_of_code(uint32_t code);

/* Hash of some bytes. */
uint64_t mep_bpe_hash(const char *text, int64_t size);

#endif
