/* SPDX-License-Identifier: MIT */
/*
 * The data of a run: one dataset, or several that are mixed. "books" is one; "books=0.7,code=0.3" takes 7 of 10
 * sequences from the first. Each corpus has an order of its own (sampler.h); which corpus sequence n comes from, and
 * how many of that corpus came before it, follows from n alone, so a resumed run needs no state.
 *
 * The corpora take turns as in GPT-NeoX's build_blending_indices: each time the one that lags farthest behind its share
 * comes next. The shares are rounded to multiples of 1 / MEP_MIXTURE_PERIOD; then the turns repeat, since after so many
 * sequences each corpus has had exactly its share. At no time is a corpus more than one sequence ahead of its share.
 */
#ifndef MEP_TRAIN_MIXTURE_H
#define MEP_TRAIN_MIXTURE_H

#include "mep/train.h"
#include "train/evaluate.h"
#include "train/sampler.h"

enum {
    MEP_MIXTURE_MOST = 64, /* corpora */
    MEP_MIXTURE_PERIOD = 1 << 16,
    MEP_MIXTURE_CHECKSUMS = 17 * MEP_MIXTURE_MOST
};

typedef struct mep_mixture {
    int64_t count;
    char *names[MEP_MIXTURE_MOST];    /* prefixes */
    double weights[MEP_MIXTURE_MOST]; /* as they were given, scaled to a sum of 1 */
    mep_dataset *data[MEP_MIXTURE_MOST];
    mep_sampler samplers[MEP_MIXTURE_MOST];
    int32_t share[MEP_MIXTURE_MOST]; /* sequences of each in a period */
    uint8_t *turn;                   /* [MEP_MIXTURE_PERIOD] the corpus of each sequence; NULL with one corpus */
    int32_t *before;                 /* [MEP_MIXTURE_PERIOD] sequences of the same corpus before it */
} mep_mixture;

/* Open the datasets of `spec`, of each the part that `split` (NULL or "": all) gives to `part`. *mixture is empty
 * (count 0) on failure. */
mep_status mep_mixture_open(mep_mixture *mixture, const char *spec, const char *split, mep_split part);
void mep_mixture_close(mep_mixture *mixture);

/* mep_dataset_verify of each; reads all of the data once, for this and for the checksums and the vocabulary. */
mep_status mep_mixture_verify(const mep_mixture *mixture);

/* Names and weights alone; no file is looked at. */
mep_status mep_mixture_parse(mep_mixture *mixture, const char *spec);

/* Every prefix of `spec` with `suffix` behind it: "books=7,code=3" and ".train" give "books.train=7,code.train=3". */
mep_status mep_mixture_append(const char *spec, const char *suffix, char out[MEP_DATA_SIZE]);

/* The same without folders: "data/books=7,data/code=3" gives "books=7,code=3". */
mep_status mep_mixture_title(const char *spec, char out[MEP_DATA_SIZE]);

/* 1 when the settings name validation data: by itself, or as a share of the split. */
int mep_train_has_valid(const mep_train_settings *settings);

/* The data of a run, and its validation data, whose count is 0 where there is none. */
mep_status mep_mixture_open_train(mep_mixture *mixture, const mep_train_settings *settings);
mep_status mep_mixture_open_valid(mep_mixture *mixture, const mep_train_settings *settings);

/* Prepare the order of sequences; before mep_mixture_place and mep_mixture_read. */
mep_status mep_mixture_order(mep_mixture *mixture, int64_t length, uint64_t seed);

/* The corpus of sequence number `index` >= 0, and how many of that corpus come before it. */
int64_t mep_mixture_place(const mep_mixture *mixture, int64_t index, int64_t *before);

/* Inputs and targets of a sequence, as mep_sampler_read. */
mep_status mep_mixture_read(const mep_mixture *mixture, int64_t index, int32_t *inputs, int32_t *targets);

/* Tokens and documents of all corpora; tokens of the smallest; the largest vocabulary. */
int64_t mep_mixture_tokens(const mep_mixture *mixture);
int64_t mep_mixture_documents(const mep_mixture *mixture);
int64_t mep_mixture_least_tokens(const mep_mixture *mixture);
int64_t mep_mixture_vocab_size(const mep_mixture *mixture);

/* Fails when two of the corpora, of one or of two mixtures, are known to have different tokenizers. */
mep_status mep_mixture_check_tokenizers(const mep_mixture *a, const mep_mixture *b);

/* 16 hexadecimal digits of each dataset, between commas; "0000000000000000" for none. */
void mep_mixture_checksums(const mep_mixture *mixture, char text[MEP_MIXTURE_CHECKSUMS]);

/* mep_evaluate_in on each corpus: the loss is the mean with the weights, tokens and segments are added,
 * settings->max_tokens are of each. With one corpus it is mep_evaluate_in. `each`, of
 * mixture->count, gets the results of the corpora; NULL is allowed. */
mep_status mep_mixture_evaluate(mep_dist *group, int split, mep_model *model, const mep_mixture *mixture,
                                const mep_eval_settings *settings, mep_eval_fn progress, void *context,
                                mep_eval_result *result, mep_eval_result *each);

#endif
