/* SPDX-License-Identifier: MIT */
/*
 * The checks of a study's settings and data before any work.
 */
#include <string.h>

#include "base/error.h"
#include "bias/position.h"
#include "model/model_internal.h"
#include "train/data_order.h"
#include "train/run_data.h"
#include "train/study_internal.h"

/* Corpora i and j must have different names. */
static mep_status check_names(const mep_study_settings *s, int64_t i, int64_t j)
{
    char a[MEP_DATA_SIZE], b[MEP_DATA_SIZE];
    MEP_TRY(mep_study_corpus_name(s, i, a));
    MEP_TRY(mep_study_corpus_name(s, j, b));
    if (strcmp(a, b) != 0) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "two corpora are called \"%s\"; give them different names", a);
}

static mep_status check_lists(const mep_study_settings *s)
{
    if (s->corpus_count < 1 || s->encoding_count < 1 || s->seed_count < 1 || s->length_count < 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "a study needs at least one corpus, encoding, seed and length");
    if (s->train.split[0] != '\0' && !mep_train_has_valid(&s->train))
        return mep_fail(MEP_ERROR_ARGUMENT, "the split \"%s\" leaves nothing to test on; write one like 949,50,1",
                        s->train.split);
    for (int64_t i = 0; i < s->corpus_count; i++)
        for (int64_t j = 0; j < i; j++) MEP_TRY(check_names(s, i, j));
    for (int64_t i = 0; i < s->seed_count; i++)
        for (int64_t j = 0; j < i; j++)
            if (s->seeds[i] == s->seeds[j])
                return mep_fail(MEP_ERROR_ARGUMENT, "the seed %llu is given twice", (unsigned long long)s->seeds[i]);
    for (int64_t i = 0; i < s->length_count; i++)
        for (int64_t j = 0; j <= i; j++)
            if (s->lengths[i] < 1 || (j < i && s->lengths[i] == s->lengths[j]))
                return mep_fail(MEP_ERROR_ARGUMENT, "the test length %lld is %s", (long long)s->lengths[i],
                                j < i ? "given twice" : "too small");
    return MEP_OK;
}

/* Encodings i and j must differ, however they are spelled. */
static mep_status check_different(const mep_study_settings *s, int64_t i, int64_t j)
{
    int same = 0;
    MEP_TRY(mep_position_specs_same(s->encodings[i], s->encodings[j], &same));
    if (!same) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the encodings \"%s\" and \"%s\" are the same; leave one out", s->encodings[i],
                    s->encodings[j]);
}

/* Check that each encoding can be trained and that no two are the same or would share a folder. */
static mep_status check_encodings(const mep_study_settings *s)
{
    char name[MEP_STUDY_NAME], other[MEP_STUDY_NAME];
    for (int64_t i = 0; i < s->encoding_count; i++) {
        mep_train_settings run;
        MEP_TRY(mep_study_run_settings(s, 0, i, 0, &run));
        MEP_TRY(mep_train_check(&run));
        mep_study_encoding_name(s->encodings[i], name);
        if (strlen(name) == MEP_STUDY_NAME - 1)
            return mep_fail(MEP_ERROR_ARGUMENT, "the encoding \"%.40s...\" is too long for the name of a folder",
                            s->encodings[i]);
        for (int64_t j = 0; j < i; j++) {
            mep_study_encoding_name(s->encodings[j], other);
            if (strcmp(name, other) == 0)
                return mep_fail(MEP_ERROR_ARGUMENT,
                                "the encodings \"%s\" and \"%s\" would share the folder %s; leave one out",
                                s->encodings[j], s->encodings[i], name);
            MEP_TRY(check_different(s, j, i));
        }
    }
    return MEP_OK;
}

static mep_status check_train(const mep_study_settings *s, const mep_train_settings *run, mep_study_corpus *corpus)
{
    mep_data_mix *data = NULL;
    mep_data_order order = {0};
    mep_status status;
    MEP_TRY(mep_train_open_data(&data, run));
    MEP_TRY_OR(status, mep_train_verify_data(data, run), end);
    MEP_TRY_OR(status, mep_data_order_open(&order, data, s->train.length, 0), end);
    mep_data_mix_checksums(data, corpus->checksums.data);
end:
    mep_data_order_close(&order);
    mep_data_mix_close(&data);
    return status;
}

static mep_status check_valid(const mep_study_settings *s, const mep_train_settings *run, mep_study_corpus *corpus)
{
    mep_data_mix *data = NULL;
    mep_eval_settings eval;
    mep_status status;
    MEP_TRY(mep_train_open_valid(&data, run));
    MEP_TRY_OR(status, mep_train_verify_data(data, run), end);
    MEP_TRY_OR(status, mep_study_eval_settings_on(s, data, &eval), end);
    MEP_TRY_OR(status, mep_study_check_measures(s, &eval, data), end);
    mep_data_mix_checksums(data, corpus->checksums.valid);
end:
    mep_data_mix_close(&data);
    return status;
}

mep_status mep_study_check(const mep_study_settings *s, mep_study_corpus *corpora)
{
    MEP_TRY(check_lists(s));
    MEP_TRY(check_encodings(s));
    for (int64_t i = 0; i < s->corpus_count; i++) {
        mep_train_settings run = s->train;
        MEP_TRY(mep_study_data_settings(s, i, &run));
        MEP_TRY(check_train(s, &run, &corpora[i]));
        MEP_TRY(check_valid(s, &run, &corpora[i]));
    }
    return MEP_OK;
}
