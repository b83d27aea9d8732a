/* SPDX-License-Identifier: MIT */
/*
 * The data of a run or an evaluation: one dataset, or several with weights. The spec "books" names one dataset;
 * "books=0.7,code=0.3" names two, of which the first supplies 7 of 10 training sequences (train/data_order.h). This
 * file parses specs and opens datasets. mep_evaluate_mix (evaluate.h) evaluates them.
 */
#ifndef MEP_EVAL_DATA_MIX_H
#define MEP_EVAL_DATA_MIX_H

#include "mep/data.h"

enum { MEP_DATA_MIX_MOST = 64 /* corpora */, MEP_DATA_MIX_CHECKSUMS = 17 * MEP_DATA_MIX_MOST };

typedef struct mep_data_mix {
    int64_t count;
    char *names[MEP_DATA_MIX_MOST];       /* prefixes of the datasets */
    double weights[MEP_DATA_MIX_MOST];    /* the weights of the spec, scaled to a sum of 1 */
    mep_dataset *data[MEP_DATA_MIX_MOST]; /* NULL after mep_data_mix_parse */
} mep_data_mix;

/* Open the datasets of `spec`. Of each dataset, take the part that `split` assigns to `part`; NULL or "" takes all of
 * it. On failure *mix is empty (count 0). */
mep_status mep_data_mix_open(mep_data_mix *mix, const char *spec, const char *split, mep_split part);
void mep_data_mix_close(mep_data_mix *mix);

/* Call mep_dataset_verify for each dataset. This reads all of the data once and computes its checksum and vocabulary.
 */
mep_status mep_data_mix_verify(const mep_data_mix *mix);

/* Parse names and weights without opening a file. */
mep_status mep_data_mix_parse(mep_data_mix *mix, const char *spec);

/* Append `suffix` to every prefix of `spec`: "books=7,code=3" and ".train" give "books.train=7,code.train=3". */
mep_status mep_data_mix_append(const char *spec, const char *suffix, char out[MEP_DATA_SIZE]);

/* Remove the folders from every prefix: "data/books=7,data/code=3" gives "books=7,code=3". */
mep_status mep_data_mix_title(const char *spec, char out[MEP_DATA_SIZE]);

/* Tokens and documents of all corpora together, the tokens of the smallest corpus, and the largest vocabulary. */
int64_t mep_data_mix_tokens(const mep_data_mix *mix);
int64_t mep_data_mix_documents(const mep_data_mix *mix);
int64_t mep_data_mix_least_tokens(const mep_data_mix *mix);
int64_t mep_data_mix_vocab_size(const mep_data_mix *mix);

/* Fail if two corpora, of one mix or of two mixes, are known to have different tokenizers. */
mep_status mep_data_mix_check_tokenizers(const mep_data_mix *a, const mep_data_mix *b);

/* Write 16 hexadecimal digits for each dataset, separated by commas; "0000000000000000" for an empty mix. */
void mep_data_mix_checksums(const mep_data_mix *mix, char text[MEP_DATA_MIX_CHECKSUMS]);

#endif
