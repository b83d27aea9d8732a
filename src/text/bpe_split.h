/* SPDX-License-Identifier: MIT */
/*
 * What stands before the merges: normalization (NFC or none) and the cutting of text into pieces by patterns, stage
 * after stage, as the "normalizer" and the "pre_tokenizer" of a tokenizer.json say. It knows no tokens.
 */
#ifndef MEP_TEXT_BPE_SPLIT_H
#define MEP_TEXT_BPE_SPLIT_H

#include <jansson.h>

#include "text/bpe_pattern.h"

enum { MEP_BPE_STAGES = 8 };

/* Cuts its text, or puts a space before it, or both. */
typedef struct mep_bpe_stage {
    pcre2_code *code; /* NULL: does not cut */
    int prefix_space; /* a piece that does not begin with a space gets one */
    int parts_words;  /* the pattern is one of which bpe_split.c knows that it cuts behind every word */
} mep_bpe_stage;

typedef struct mep_bpe_splitter {
    mep_bpe_stage stages[MEP_BPE_STAGES];
    int count;
    int nfc;
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

/* The NFC of valid UTF-8. *out is `text` itself where that is its own; else it is allocated (*made, to be freed). */
mep_status mep_bpe_nfc(const char *text, int64_t size, char **made, const char **out, int64_t *out_size);

#endif
