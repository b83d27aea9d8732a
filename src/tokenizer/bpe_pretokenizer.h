/* SPDX-License-Identifier: MIT */
/*
 * The two steps before the merges: normalization (bpe_normalizer.c: Unicode's four normal forms, and the prefixes and
 * replacements of SentencePiece models) and pre-tokenization, which splits text into pre-tokens by patterns in several
 * stages. Both follow the "normalizer" and "pre_tokenizer" sections of a tokenizer.json. Nothing here knows the tokens.
 */
#ifndef MEP_TOKENIZER_BPE_PRETOKENIZER_H
#define MEP_TOKENIZER_BPE_PRETOKENIZER_H

#include <jansson.h>

#include "tokenizer/bpe_pattern.h"

enum { MEP_BPE_STAGES = 8, MEP_BPE_NORMALIZERS = 8 };

/* What a stage does with the matches of its pattern. */
typedef enum mep_bpe_behavior {
    MEP_BPE_ISOLATED,   /* each match is a pre-token */
    MEP_BPE_REMOVED,    /* matches are dropped */
    MEP_BPE_PREVIOUS,   /* a match is joined to the text before it */
    MEP_BPE_NEXT,       /* a match is joined to the text after it */
    MEP_BPE_CONTIGUOUS, /* adjacent matches form one pre-token */
} mep_bpe_behavior;

/* Which texts the pre_tokenizer Metaspace puts its character before, unless they begin with it. */
typedef enum mep_bpe_prepend { MEP_BPE_PREPEND_NEVER, MEP_BPE_PREPEND_FIRST, MEP_BPE_PREPEND_ALWAYS } mep_bpe_prepend;

/* A stage splits its text, puts a space before it, or does both. Metaspace replaces spaces first. */
typedef struct mep_bpe_stage {
    pcre2_code *code; /* NULL: no splitting */
    mep_bpe_behavior behavior;
    char metaspace[5]; /* the character that replaces a space; "" for all other stages */
    mep_bpe_prepend prepend;
    int invert;       /* swap matches and the text between them */
    int prefix_space; /* a text that does not begin with a space gets one */
    int splits_words; /* the pattern is known to split after every word (bpe_pretokenizer.c) */
    int is_class;     /* matches single non-blank characters and drops none: a split at a blank does not affect it */
} mep_bpe_stage;

typedef enum mep_bpe_form { MEP_BPE_NFC, MEP_BPE_NFD, MEP_BPE_NFKC, MEP_BPE_NFKD } mep_bpe_form;

/* A step of the normalization. */
typedef struct mep_bpe_normalizer {
    enum { MEP_BPE_FORM, MEP_BPE_PREPEND, MEP_BPE_REPLACE } kind;
    mep_bpe_form form;
    char *content;    /* PREPEND: put before a text that is not empty; REPLACE: replaces every match */
    char *literal;    /* REPLACE: the text to replace, or NULL: */
    pcre2_code *code; /* the pattern to replace */
} mep_bpe_normalizer;

typedef struct mep_bpe_pretokenizer {
    mep_bpe_stage stages[MEP_BPE_STAGES];
    int count;
    int byte_level; /* index of the stage after which text is in GPT-2's characters of bytes; -1: there is none */
    mep_bpe_normalizer normalizers[MEP_BPE_NORMALIZERS];
    int normalizer_count;
} mep_bpe_pretokenizer;

/* Where a text that is passed on begins. */
typedef enum mep_bpe_start {
    MEP_BPE_FIRST,     /* at the begin of the complete text */
    MEP_BPE_SECTION,   /* after an added token */
    MEP_BPE_CONTINUED, /* inside a section: after an invalid byte, or after a slice of the same text. No prefix */
} mep_bpe_start;

/* Called in order for each pre-token. */
typedef mep_status (*mep_bpe_pretoken_fn)(void *context, const char *text, int64_t size);

/* Read the two sections; a null or missing section does nothing, and an unsupported one is refused. On failure the
 * struct may be partly filled: free it in either case. */
mep_status mep_bpe_pretokenizer_init(mep_bpe_pretokenizer *pretokenizer, const json_t *normalizer,
                                     const json_t *pre_tokenizer);
void mep_bpe_pretokenizer_free(mep_bpe_pretokenizer *pretokenizer);

/* Read "normalizer" only; called by mep_bpe_pretokenizer_init (bpe_normalizer.c). */
mep_status mep_bpe_normalizers_init(mep_bpe_pretokenizer *pretokenizer, const json_t *normalizer);

/* The ASCII characters before which text may be split if a letter or number (\p{L}, \p{N}) precedes them: the
 * pre-tokens of the two halves are then those of the complete text. "" if no such character is known. Without ByteLevel
 * this holds only if no token contains a blank after another character; the tokens of the halves are then the same. */
const char *mep_bpe_pretokenizer_split_characters(const mep_bpe_pretokenizer *pretokenizer);

/* A text to split: valid UTF-8. `match` has space for one pair of offsets and belongs to the calling thread. */
typedef struct mep_bpe_text {
    const char *bytes;
    int64_t size;
    mep_bpe_start start;
    pcre2_match_data *match;
} mep_bpe_text;

mep_status mep_bpe_pretokenizer_run(const mep_bpe_pretokenizer *pretokenizer, const mep_bpe_text *text,
                                    mep_bpe_pretoken_fn pretoken, void *context);

/* A text to normalize, and its normal form. `out` is `text` if that is its own normal form; otherwise it is allocated,
 * and `made` is the pointer to free. */
typedef struct mep_bpe_normal {
    const char *text;
    int64_t size;
    mep_bpe_start start;
    char *made;
    const char *out;
    int64_t out_size;
} mep_bpe_normal;

/* Normalize valid UTF-8: text, size and start are given, the other members are set. */
mep_status mep_bpe_normalize(const mep_bpe_pretokenizer *pretokenizer, mep_bpe_normal *normal);

/* One of Unicode's normal forms (bpe_normalize.c). */
mep_status mep_bpe_normal_form(mep_bpe_form form, const char *text, int64_t size, char **made, const char **out,
                               int64_t *out_size);

#endif
