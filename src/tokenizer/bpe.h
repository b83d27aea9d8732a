/* SPDX-License-Identifier: MIT */
/*
 * A BPE tokenizer. Its vocabulary is one of bytes (GPT-2 and most others) or one of characters (SentencePiece: Llama 2,
 * Mistral). The table of merges (bpe_merge.c), the characters (bpe_characters.c), the added tokens (bpe_added.c), the
 * normalizer and the pre-tokenizer (bpe_pretokenizer.h), the decoder (bpe_decoder.c), the tokens around a text
 * (bpe_template.c), the split points of long texts (bpe_split_points.c), reading and writing files (bpe_files.c,
 * bpe_json.c, with the table of bytes in bpe_byte_codes.c), and the tokenizer that combines them (tokenizer_bpe.c).
 * bpe_train.c trains one of bytes.
 */
#ifndef MEP_TOKENIZER_BPE_H
#define MEP_TOKENIZER_BPE_H

#include <jansson.h>
#include <stdatomic.h>
#include <string.h>

#include "tokenizer/bpe_pretokenizer.h"
#include "tokenizer/tokenizer.h"

/* ---- Output tokens ---- */

typedef struct mep_bpe_tokens {
    int32_t *ids;
    int64_t count, capacity;
} mep_bpe_tokens;

mep_status mep_bpe_tokens_append(mep_bpe_tokens *tokens, const int32_t *ids, int64_t count);

/* ---- Characters ---- */

/* U+2581, which stands for a space in vocabularies of characters. */
#define MEP_BPE_WORD_MARK "\xe2\x96\x81"

/* The tokens of single characters, in pages of 256 code points. */
typedef struct mep_bpe_characters {
    int32_t *page_of; /* [4352] 1 + the page of these code points; 0: none of them is a token */
    int32_t *ids;     /* [pages * 256] 1 + token; 0: none */
    int64_t pages;
    int32_t unknown; /* the token of a character without a token; -1: such a character is dropped */
    int fuses_unknown;
} mep_bpe_characters;

mep_status mep_bpe_characters_init(mep_bpe_characters *characters);
void mep_bpe_characters_free(mep_bpe_characters *characters);
mep_status mep_bpe_characters_add(mep_bpe_characters *characters, uint32_t code, int32_t id);
/* The token of a code point; -1 if there is none. */
int32_t mep_bpe_character_id(const mep_bpe_characters *characters, uint32_t code);
/* Write the first symbols of valid UTF-8 to `ids`, which has space for `size`; returns their number. `bytes` has the
 * tokens of bytes, -1 where there is none. */
int64_t mep_bpe_characters_of(const mep_bpe_characters *characters, const int32_t bytes[256], const char *text,
                              int64_t size, int32_t *ids);
/* The end of the first word of a text: the offset of the first mark that follows another character, or `size`. */
int64_t mep_bpe_word_end(const char *text, int64_t size);

/* ---- Merges ---- */

typedef struct mep_bpe_pair {
    uint64_t key; /* left << 32 | right */
    int32_t rank, token;
} mep_bpe_pair;

/* A hash table of pairs with open addressing; a free slot has the key UINT64_MAX. */
typedef struct mep_bpe_merges {
    mep_bpe_pair *slots;
    uint64_t mask;
    int32_t
        bytes[256]; /* the token of each byte; -1 for a byte that UTF-8 never uses and the vocabulary does not have */
    mep_bpe_characters characters; /* of a vocabulary of characters; page_of is NULL in one of bytes */
} mep_bpe_merges;

/* Allocate the table for `count` pairs. */
mep_status mep_bpe_merges_init(mep_bpe_merges *merges, int64_t count);
void mep_bpe_merges_free(mep_bpe_merges *merges);
/* Add a pair. A pair that exists gets the new rank, as in Hugging Face's library. */
void mep_bpe_merges_set(mep_bpe_merges *merges, int32_t left, int32_t right, int32_t rank, int32_t token);
/* The rank of a pair; INT32_MAX if the pair is not in the table. */
int32_t mep_bpe_merges_rank(const mep_bpe_merges *merges, int32_t left, int32_t right);

/* Merge the bytes or characters of one pre-token: repeatedly the pair of the lowest rank, the leftmost first. Appends
 * to `tokens`. A pre-token may have up to 32 MiB; the time is O(n log n). */
mep_status mep_bpe_merge(const mep_bpe_merges *merges, const char *text, int64_t size, mep_bpe_tokens *tokens);

/* ---- Decoding ---- */

enum { MEP_BPE_REPLACES = 8 };

typedef struct mep_bpe_replace {
    char *pattern, *content;
} mep_bpe_replace;

/* The decoder of a vocabulary of characters. */
typedef struct mep_bpe_decoder {
    mep_bpe_replace replaces[MEP_BPE_REPLACES]; /* in the name of a token */
    int replace_count;
    int has_bytes; /* the names <0x00> .. <0xFF> are bytes */
    int is_fused;
    int drops_first;     /* remove all blanks of the first token (Metaspace) */
    char strip[5];       /* the character that is removed at the start of a text, */
    int64_t strip_count; /* at most so many times */
} mep_bpe_decoder;

/* Read "decoder". On failure the struct may be partly filled: free it in either case. */
mep_status mep_bpe_decoder_init(mep_bpe_decoder *decoder, const json_t *object);
void mep_bpe_decoder_free(mep_bpe_decoder *decoder);
/* The bytes of a token, which the caller frees. */
mep_status mep_bpe_decode_name(const mep_bpe_decoder *decoder, const char *name, char **text, int64_t *size);
/* Remove what is not part of a decoded text, whose first token has `first` bytes, from its start. */
void mep_bpe_decoder_begin(const mep_bpe_decoder *decoder, int64_t first, char *text, int64_t *size);
/* The byte that a name such as <0x0A> stands for; -1 for any other name. */
int mep_bpe_byte_of_name(const char *name, int64_t size);

/* ---- The tokens around a text ---- */

typedef struct mep_bpe_template {
    mep_bpe_tokens before, after;
} mep_bpe_template;

/* Read "post_processor". On failure the struct may be partly filled: free it in either case. */
mep_status mep_bpe_template_init(mep_bpe_template *template, const json_t *object, int64_t vocab_size);
void mep_bpe_template_free(mep_bpe_template *template);

/* ---- Added tokens ---- */

typedef struct mep_bpe_added {
    char *text; /* in the set `normalized` this is the normal form */
    int64_t size;
    int32_t id;
    int single_word, lstrip, rstrip;
} mep_bpe_added;

/* The added tokens that are searched in the same text, sorted by their bytes. */
typedef struct mep_bpe_added_set {
    mep_bpe_added *items;
    int64_t count, capacity;
    int64_t first[257]; /* items that begin with byte b: first[b] .. first[b + 1] - 1 */
    pcre2_code *word;   /* matches one character of \w; NULL unless an item has single_word */
} mep_bpe_added_set;

/* Append a token. Call mep_bpe_added_sort before searching; it refuses two tokens with the same text. */
mep_status mep_bpe_added_append(mep_bpe_added_set *set, const mep_bpe_added *item, const char *text, int64_t size);
mep_status mep_bpe_added_sort(mep_bpe_added_set *set);
void mep_bpe_added_free(mep_bpe_added_set *set);

/* Called in order for each added token (id >= 0) and for each range of text between them (id -1). */
typedef mep_status (*mep_bpe_range_fn)(void *context, int32_t id, const char *text, int64_t size);

/* Split text at the tokens of the set: the leftmost first, and the longest of those that begin at the same offset. */
mep_status mep_bpe_added_split(const mep_bpe_added_set *set, const char *text, int64_t size, mep_bpe_range_fn range,
                               void *context);

/* ---- The tokenizer ---- */

enum { MEP_BPE_WORKERS = 64, MEP_BPE_TOKEN = 1, MEP_BPE_ADDED = 2 };

/* The state that one call of encode needs: a cache of pre-tokens. Defined in tokenizer_bpe.c. */
typedef struct mep_bpe_worker mep_bpe_worker;

/* A token of the vocabulary that replaces a complete pre-token. */
typedef struct mep_bpe_word {
    int64_t begin; /* offset in `word_bytes` */
    int32_t size;  /* 0: a free slot */
    int32_t id;
} mep_bpe_word;

typedef struct mep_bpe {
    mep_tokenizer base;
    char *json; /* the tokenizer.json */
    int64_t json_size;
    mep_bpe_pretokenizer pretokenizer;
    mep_bpe_added_set raw, normalized; /* searched in the text and in its normal form */
    pcre2_code *letter;                /* a letter or number, after which a text may be split; NULL: never split */
    mep_bpe_merges merges;
    int splits_words; /* of characters: no merge joins a mark to another character before it, so that words merge alone
                       */
    mep_bpe_decoder decoder;
    mep_bpe_template template;
    char *bytes;             /* the bytes of all tokens, one after the other */
    int64_t *begin;          /* [base.vocab_size + 1], the offset of each token in `bytes` */
    unsigned char *is_token; /* [vocab_size], MEP_BPE_TOKEN | MEP_BPE_ADDED; 0 for an unused id */
    mep_bpe_word *words;     /* hash table of tokens by their bytes; NULL unless "ignore_merges" */
    char *word_bytes;
    uint64_t word_mask;
    _Atomic(mep_bpe_worker *) idle[MEP_BPE_WORKERS];
} mep_bpe;

/* Make a tokenizer from the `size` bytes of a tokenizer.json. `name` is used in messages and as the tokenizer's name.
 */
mep_status mep_bpe_from_json(mep_tokenizer **tokenizer, const char *name, const char *text, int64_t size);

/* Make a tokenizer from the texts of a vocab.json and a merges.txt, with GPT-2's settings. */
mep_status mep_bpe_from_tables(mep_tokenizer **tokenizer, const char *name, const char *vocab, int64_t vocab_size,
                               const char *merges, int64_t merges_size);

/* Read a tokenizer from a file or a folder: tokenizer.json, or vocab.json with merges.txt. Tokens of added_tokens.json
 * and tokenizer_config.json in the same folder are added. */
mep_status mep_bpe_open(mep_tokenizer **tokenizer, const char *path);

/* The id of the added token with this text; -1 if there is none, or memory runs out. */
int64_t mep_bpe_added_id(const mep_tokenizer *tokenizer, const char *text);

/* Read the sections of a tokenizer.json into an empty mep_bpe. */
mep_status mep_bpe_read(mep_bpe *bpe, const json_t *root);

/* Compose a tokenizer.json with GPT-2's settings from `vocab` (an object) and `merges` (an array of strings); it takes
 * ownership of both. The names in `special` that the vocabulary has become special tokens. NULL if memory runs out. */
json_t *mep_bpe_compose_json(json_t *vocab, json_t *merges, const char *const *special, int64_t special_count);

/* Decide whether long texts may be split; call it after everything else has been read. */
mep_status mep_bpe_split_points_init(mep_bpe *bpe);
/* Same contract as mep_tokenizer_split_point. */
int64_t mep_bpe_split_point(const mep_tokenizer *tokenizer, const char *text, int64_t size);

/* Split `text` at bytes that are not valid UTF-8. `range` gets each valid range with id -1, and each invalid byte alone
 * with its id from `bytes`; if that id is -1, it gets U+FFFD as a valid range instead. */
mep_status mep_bpe_each_valid(const int32_t bytes[256], const char *text, int64_t size, mep_bpe_range_fn range,
                              void *context);

/* GPT-2's table of bytes as printable characters: the code point of a byte, 0x21 .. 0x143, and the byte of a code
 * point, -1 if the code point stands for no byte. */
uint32_t mep_bpe_code_of_byte(int byte);
int mep_bpe_byte_of_code(uint32_t code);

/* A hash of `size` bytes. */
static inline uint64_t mep_bpe_hash(const char *text, int64_t size)
{
    uint64_t hash = (uint64_t)size * UINT64_C(0x9e3779b97f4a7c15), word;
    for (; size >= 8; size -= 8, text += 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, text, (size_t)size);
    hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 32;
}

#endif
