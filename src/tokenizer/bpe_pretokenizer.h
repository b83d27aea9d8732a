/* SPDX-License-Identifier: MIT */
/*
 * The two steps before the merges: normalization (Unicode's four normal forms) and pre-tokenization, which splits text
 * into pre-tokens by patterns in several stages. Both follow the "normalizer" and "pre_tokenizer" sections of a
 * tokenizer.json. Nothing here knows the tokens.
 */
#ifndef MEP_TOKENIZER_BPE_PRETOKENIZER_H
#define MEP_TOKENIZER_BPE_PRETOKENIZER_H

#include <jansson.h>

#include "tokenizer/bpe_pattern.h"

enum { MEP_BPE_STAGES = 8, MEP_BPE_FORMS = 4 };

/* What a stage does with the matches of its pattern. */
typedef enum mep_bpe_behavior {
    MEP_BPE_ISOLATED,   /* each match is a pre-token */
    MEP_BPE_REMOVED,    /* matches are dropped */
    MEP_BPE_PREVIOUS,   /* a match is joined to the text before it */
    MEP_BPE_NEXT,       /* a match is joined to the text after it */
    MEP_BPE_CONTIGUOUS, /* adjacent matches form one pre-token */
} mep_bpe_behavior;

/* A stage splits its text, puts a space before it, or does both. */
typedef struct mep_bpe_stage {
    pcre2_code *code; /* NULL: no splitting */
    mep_bpe_behavior behavior;
    int invert;       /* swap matches and the text between them */
    int prefix_space; /* a text that does not begin with a space gets one */
    int splits_words; /* the pattern is known to split after every word (bpe_pretokenizer.c) */
    int is_class;     /* matches single non-blank characters and drops none: a split at a blank does not affect it */
} mep_bpe_stage;

typedef enum mep_bpe_form { MEP_BPE_NFC, MEP_BPE_NFD, MEP_BPE_NFKC, MEP_BPE_NFKD } mep_bpe_form;

typedef struct mep_bpe_pretokenizer {
    mep_bpe_stage stages[MEP_BPE_STAGES];
    int count;
    int byte_level; /* index of the stage after which text is in GPT-2's characters of bytes */
    mep_bpe_form forms[MEP_BPE_FORMS];
    int form_count;
} mep_bpe_pretokenizer;

/* Called in order for each pre-token. */
typedef mep_status (*mep_bpe_pretoken_fn)(void *context, const char *text, int64_t size);

/* Read the two sections; a null or missing section does nothing, and an unsupported one is refused. On failure the
 * struct may be partly filled: free it in either case. */
mep_status mep_bpe_pretokenizer_init(mep_bpe_pretokenizer *pretokenizer, const json_t *normalizer,
                                     const json_t *pre_tokenizer);
void mep_bpe_pretokenizer_free(mep_bpe_pretokenizer *pretokenizer);

/* The ASCII characters before which text may be split if a letter or number (\p{L}, \p{N}) precedes them: the
 * pre-tokens of the two halves are then those of the complete text. "" if no such character is known. */
const char *mep_bpe_pretokenizer_split_characters(const mep_bpe_pretokenizer *pretokenizer);

/* Split valid UTF-8. `match` has space for one pair of offsets and belongs to the calling thread. */
mep_status mep_bpe_pretokenizer_run(const mep_bpe_pretokenizer *pretokenizer, pcre2_match_data *match, const char *text,
                                    int64_t size, mep_bpe_pretoken_fn pretoken, void *context);

/* The normal form of valid UTF-8. *out is `text` if that is its own normal form; otherwise it is allocated, and *made
 * is the pointer to free. */
mep_status mep_bpe_normalize(const mep_bpe_pretokenizer *pretokenizer, const char *text, int64_t size, char **made,
                             const char **out, int64_t *out_size);

#endif
