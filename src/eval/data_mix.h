/* SPDX-License-Identifier: MIT */
/*
 * The inside of a data mix (mep/eval.h): one dataset, or several with weights. The spec "books" names one dataset;
 * "books=0.7,code=0.3" names two, of which the first supplies 7 of 10 training sequences (train/data_order.h).
 */
#ifndef MEP_EVAL_DATA_MIX_H
#define MEP_EVAL_DATA_MIX_H

#include "mep/eval.h"

enum { MEP_DATA_MIX_CHECKSUMS = 17 * MEP_DATA_MIX_MOST };

struct mep_data_mix {
    int64_t count;
    char *names[MEP_DATA_MIX_MOST];       /* prefixes of the datasets */
    double weights[MEP_DATA_MIX_MOST];    /* the weights of the spec, scaled to a sum of 1 */
    mep_dataset *data[MEP_DATA_MIX_MOST]; /* NULL after mep_data_mix_parse */
};

/* Parse names and weights without opening a file. On failure *mix is NULL. */
mep_status mep_data_mix_parse(mep_data_mix **mix, const char *spec);

/* Make a mix without a corpus. */
mep_status mep_data_mix_empty(mep_data_mix **mix);

/* Fail if two corpora, of one mix or of two mixes, are known to have different tokenizers. */
mep_status mep_data_mix_check_tokenizers(const mep_data_mix *a, const mep_data_mix *b);

/* Write 16 hexadecimal digits for each dataset, separated by commas; "0000000000000000" for an empty mix. */
void mep_data_mix_checksums(const mep_data_mix *mix, char text[MEP_DATA_MIX_CHECKSUMS]);

#endif
