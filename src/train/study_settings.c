/* SPDX-License-Identifier: MIT */
/*
 * The settings of a study: checks before the first hour of work, names of its folders, and the settings of its runs.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "train/study.h"

enum { NAME = 128 };

/* ---- Names ---- */

/* The last part of a corpus's prefix. */
static const char *corpus_name(const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    return slash == NULL ? prefix : slash + 1;
}

/* A spec without blanks and without what file names do not take; longer ones are an error of mep_study_check. */
static void encoding_name(const char *spec, char name[NAME])
{
    int used = 0;
    for (; *spec != '\0' && used < NAME - 1; spec++) {
        if (isspace((unsigned char)*spec)) continue;
        name[used++] = isalnum((unsigned char)*spec) || strchr("._+=-", *spec) != NULL ? *spec : '_';
    }
    name[used] = '\0';
}

static mep_status check_path(int written)
{
    if (written >= 0 && written < MEP_PATH_SIZE) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the study's names are longer than %d characters; choose shorter ones",
                    MEP_PATH_SIZE - 1);
}

/* PREFIX.train or PREFIX.valid of a corpus. */
static mep_status data_name(const mep_study_settings *s, int64_t corpus, const char *part, char path[MEP_PATH_SIZE])
{
    return check_path(snprintf(path, MEP_PATH_SIZE, "%s.%s", s->corpora[corpus], part));
}

mep_status mep_study_corpus_folder(const char *folder, const mep_study_settings *s, int64_t corpus,
                                   char path[MEP_PATH_SIZE])
{
    if (s->corpus_count == 1) return check_path(snprintf(path, MEP_PATH_SIZE, "%s", folder));
    return check_path(snprintf(path, MEP_PATH_SIZE, "%s/%s", folder, corpus_name(s->corpora[corpus])));
}

mep_status mep_study_run_folder(const char *folder, const mep_study_settings *s, int64_t corpus, int64_t encoding,
                                int64_t seed, char path[MEP_PATH_SIZE])
{
    char parent[MEP_PATH_SIZE], name[NAME];
    MEP_TRY(mep_study_corpus_folder(folder, s, corpus, parent));
    encoding_name(s->encodings[encoding], name);
    return check_path(
        snprintf(path, MEP_PATH_SIZE, "%s/%s-seed%llu", parent, name, (unsigned long long)s->seeds[seed]));
}

/* ---- Settings of the parts ---- */

mep_status mep_study_run_settings(const mep_study_settings *s, int64_t corpus, int64_t encoding, int64_t seed,
                                  mep_train_settings *run)
{
    const char *spec = s->encodings[encoding];
    *run = s->train;
    run->seed = s->seeds[seed];
    if (run->model.max_position_embeddings < run->length) run->model.max_position_embeddings = run->length;
    if (strlen(spec) >= sizeof run->model.position_encoding)
        return mep_fail(MEP_ERROR_ARGUMENT, "the encoding \"%.40s...\" is longer than %d characters", spec,
                        MEP_POSITION_SIZE - 1);
    snprintf(run->model.position_encoding, sizeof run->model.position_encoding, "%s", spec);
    MEP_TRY(data_name(s, corpus, "train", run->data));
    return data_name(s, corpus, "valid", run->valid);
}

/* The largest multiple of the longest length among `tokens` tokens of which the first has no target. */
static mep_status eval_settings(const mep_study_settings *s, const char *name, int64_t tokens, mep_eval_settings *eval)
{
    int64_t longest = 0, most = tokens - 1;
    for (int64_t i = 0; i < s->length_count; i++)
        if (s->lengths[i] > longest) longest = s->lengths[i];
    if (s->eval.max_tokens > 0 && s->eval.max_tokens < most) most = s->eval.max_tokens;
    if (most < longest)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "%s: %lld tokens to evaluate on are too few for the length %lld; use shorter lengths or more text", name,
            (long long)(most < 0 ? 0 : most), (long long)longest);
    *eval = s->eval;
    eval->length = longest;
    eval->max_tokens = most / longest * longest;
    return MEP_OK;
}

mep_status mep_study_eval_settings(const mep_study_settings *s, int64_t corpus, mep_eval_settings *eval)
{
    char name[MEP_PATH_SIZE];
    mep_dataset *data = NULL;
    MEP_TRY(data_name(s, corpus, "valid", name));
    MEP_TRY(mep_dataset_open(&data, name));
    mep_status status = eval_settings(s, name, mep_dataset_tokens(data), eval);
    mep_dataset_close(&data);
    return status;
}

/* ---- Checks ---- */

static mep_status check_lists(const mep_study_settings *s)
{
    if (s->corpus_count < 1 || s->encoding_count < 1 || s->seed_count < 1 || s->length_count < 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "a study needs at least one corpus, encoding, seed and length");
    for (int64_t i = 0; i < s->corpus_count; i++)
        for (int64_t j = 0; j < i; j++)
            if (strcmp(corpus_name(s->corpora[i]), corpus_name(s->corpora[j])) == 0)
                return mep_fail(MEP_ERROR_ARGUMENT, "two corpora are called \"%s\"; give them different names",
                                corpus_name(s->corpora[i]));
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

static mep_status check_encodings(const mep_study_settings *s)
{
    char name[NAME], other[NAME];
    for (int64_t i = 0; i < s->encoding_count; i++) {
        mep_train_settings run;
        MEP_TRY(mep_study_run_settings(s, 0, i, 0, &run));
        MEP_TRY(mep_train_check(&run));
        encoding_name(s->encodings[i], name);
        if (strlen(name) == NAME - 1)
            return mep_fail(MEP_ERROR_ARGUMENT, "the encoding \"%.40s...\" is too long for the name of a folder",
                            s->encodings[i]);
        for (int64_t j = 0; j < i; j++) {
            encoding_name(s->encodings[j], other);
            if (strcmp(name, other) == 0)
                return mep_fail(MEP_ERROR_ARGUMENT,
                                "the encodings \"%s\" and \"%s\" would share the folder %s; leave one out",
                                s->encodings[j], s->encodings[i], name);
        }
    }
    return MEP_OK;
}

static mep_status check_vocabulary(const mep_study_settings *s, const char *name, const mep_dataset *data)
{
    int64_t size = mep_dataset_vocab_size(data);
    if (size <= s->train.model.vocab_size) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "%s: has tokens up to %lld, but the model's vocab_size is %lld; choose a larger one", name,
                    (long long)size - 1, (long long)s->train.model.vocab_size);
}

/* Check one dataset, which is opened and closed here. */
static mep_status check_dataset(const mep_study_settings *s, int64_t corpus, const char *part, uint64_t *checksum)
{
    char name[MEP_PATH_SIZE];
    mep_dataset *data = NULL;
    mep_eval_settings eval;
    MEP_TRY(data_name(s, corpus, part, name));
    MEP_TRY(mep_dataset_open(&data, name));
    mep_status status = check_vocabulary(s, name, data);
    int64_t tokens = mep_dataset_tokens(data);
    if (status == MEP_OK && strcmp(part, "valid") == 0) {
        status = eval_settings(s, name, tokens, &eval);
    } else if (status == MEP_OK && tokens < s->train.length + 1) {
        status =
            mep_fail(MEP_ERROR_ARGUMENT,
                     "%s: has %lld tokens, too few for a sequence of length %lld; use a shorter length or more text",
                     name, (long long)tokens, (long long)s->train.length);
    }
    *checksum = mep_dataset_checksum(data);
    mep_dataset_close(&data);
    return status;
}

mep_status mep_study_check(const mep_study_settings *s, mep_study_corpus *corpora)
{
    MEP_TRY(check_lists(s));
    MEP_TRY(check_encodings(s));
    for (int64_t i = 0; i < s->corpus_count; i++) {
        MEP_TRY(check_dataset(s, i, "train", &corpora[i].train_checksum));
        MEP_TRY(check_dataset(s, i, "valid", &corpora[i].valid_checksum));
    }
    return MEP_OK;
}
