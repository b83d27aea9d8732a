/* SPDX-License-Identifier: MIT */
/*
 * What stands before the merges: normalization (Unicode's four forms) and the cutting of text into pieces by patterns,
 * stage after stage, as the "normalizer" and the "pre_tokenizer" of a tokenizer.json say. It knows no tokens.
 */
#ifndef MEP_TOKENIZER_BPE_PRETOKENIZER_H
#define MEP_TOKENIZER_BPE_PRETOKENIZER_H

#include <jansson.h>

#include "tokenizer/bpe_pattern.h"

enum { MEP_BPE_STAGES = 8, MEP_BPE_FORMS = 4 };

/* What becomes of the matches of a pattern, and of the text between them. */
typedef enum mep_bpe_behavior {
    MEP_BPE_ISOLATED,   /* pieces of their own */
    MEP_BPE_REMOVED,    /* left out */
    MEP_BPE_PREVIOUS,   /* one match joins what comes before it */
    MEP_BPE_NEXT,       /* one match joins the text after it */
    MEP_BPE_CONTIGUOUS, /* matches that touch are one piece */
} mep_bpe_behavior;

/* Cuts its text, or puts a space before it, or both. */
typedef struct mep_bpe_stage {
    pcre2_code *code; /* NULL: does not cut */
    mep_bpe_behavior behavior;
    int invert;       /* what the pattern does not match is a match */
    int prefix_space; /* a piece that does not begin with a space gets one */
    int parts_words;  /* the pattern is one of which bpe_pretokenizer.c knows that it cuts behind every word */
    int of_class;     /* matches single characters, no blanks, and loses none: no cut at a blank changes it */
} mep_bpe_stage;

typedef enum mep_bpe_form { MEP_BPE_NFC, MEP_BPE_NFD, MEP_BPE_NFKC, MEP_BPE_NFKD } mep_bpe_form;

typedef struct mep_bpe_splitter {
    mep_bpe_stage stages[MEP_BPE_STAGES];
    int count;
    int byte_level; /* the stage after which text is GPT-2's characters of bytes */
    mep_bpe_form forms[MEP_BPE_FORMS];
    int form_count;
} mep_bpe_splitter;

/* Called for each piece, in order. */
typedef mep_status (*mep_bpe_piece_fn)(void *context, const char *text, int64_t size);

/* Read the two sections; null and missing ones do nothing. What is not supported is refused. Filled as far as it came
 * on failure: free it in either case. */
mep_status mep_bpe_splitter_init(mep_bpe_splitter *splitter, const json_t *normalizer, const json_t *pre_tokenizer);
void mep_bpe_splitter_free(mep_bpe_splitter *splitter);

/* The characters of ASCII such that text may be divided before each of them that follows a letter or number (\p{L},
 * \p{N}): the pieces of the two parts are those of the whole. "" where none is known. */
const char *mep_bpe_splitter_divides(const mep_bpe_splitter *splitter);

/* Cut valid UTF-8. `match` has room for one pair of offsets, and is the calling thread's. */
mep_status mep_bpe_splitter_run(const mep_bpe_splitter *splitter, pcre2_match_data *match, const char *text,
                                int64_t size, mep_bpe_piece_fn piece, void *context);

/* The normal form of valid UTF-8. *out is `text` itself where that is its own; else it is allocated (*made, to be
 * freed). */
mep_status mep_bpe_normalize(const mep_bpe_splitter *splitter, const char *text, int64_t size, char **made,
                             const char **out, int64_t *out_size);

#endif
