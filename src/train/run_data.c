/* SPDX-License-Identifier: MIT */
/*
 * Opening and checking the data of a run.
 */
#include "train/run_data.h"

#include "base/error.h"

int mep_train_has_valid(const mep_train_settings *s)
{
    if (s == NULL) return 0;
    int64_t bounds[4] = {0};
    if (s->valid[0] != '\0') return 1;
    return s->split[0] != '\0' && mep_split_documents(s->split, (int64_t)1 << 30, bounds) == MEP_OK &&
           bounds[2] > bounds[1];
}

mep_status mep_train_open_data(mep_data_mix **mix, const mep_train_settings *s)
{
    MEP_REQUIRE_AS("mix", mix);
    *mix = NULL;
    MEP_REQUIRE_AS("settings", s);
    return mep_data_mix_open(mix, s->data, s->split, MEP_SPLIT_TRAIN);
}

mep_status mep_train_open_valid(mep_data_mix **mix, const mep_train_settings *s)
{
    MEP_REQUIRE_AS("mix", mix);
    *mix = NULL;
    MEP_REQUIRE_AS("settings", s);
    if (s->valid[0] != '\0') return mep_data_mix_open(mix, s->valid, NULL, MEP_SPLIT_VALID);
    return mep_train_has_valid(s) ? mep_data_mix_open(mix, s->data, s->split, MEP_SPLIT_VALID)
                                  : mep_data_mix_empty(mix);
}

mep_status mep_train_verify_data(const mep_data_mix *mix, const mep_train_settings *s)
{
    MEP_TRY(mep_data_mix_verify(mix));
    for (int64_t i = 0; i < mix->count; i++) {
        int64_t size = mep_dataset_vocab_size(mix->data[i]);
        if (size > s->model.vocab_size)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: has tokens up to %lld, but the model's vocab_size is %lld; use data of the model's "
                            "own tokenizer, or a larger vocab_size for a new model",
                            mix->names[i], (long long)size - 1, (long long)s->model.vocab_size);
    }
    return MEP_OK;
}
