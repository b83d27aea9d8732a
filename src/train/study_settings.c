/* SPDX-License-Identifier: MIT */
/*
 * The names of a study's folders, and the settings of its runs and evaluations.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "train/run_data.h"
#include "train/study_internal.h"

/* ---- Arguments ---- */

static mep_status check_list(const char *function, const char *name, const void *list, int64_t count)
{
    if (count < 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: the list %s cannot have %lld elements", function, name,
                        (long long)count);
    return count == 0 ? MEP_OK : mep_check_pointers(function, name, &list, 1);
}

static mep_status check_texts(const char *function, const char *name, const char *const *list, int64_t count)
{
    MEP_TRY(check_list(function, name, list, count));
    for (int64_t i = 0; i < count; i++) {
        char element[64];
        const void *text = list[i];
        snprintf(element, sizeof element, "%s[%lld]", name, (long long)i);
        MEP_TRY(mep_check_pointers(function, element, &text, 1));
    }
    return MEP_OK;
}

mep_status mep_study_check_lists(const char *function, const mep_study_settings *s)
{
    MEP_TRY(check_texts(function, "settings->corpora", s->corpora, s->corpus_count));
    MEP_TRY(check_texts(function, "settings->encodings", s->encodings, s->encoding_count));
    MEP_TRY(check_list(function, "settings->seeds", s->seeds, s->seed_count));
    MEP_TRY(check_list(function, "settings->lengths", s->lengths, s->length_count));
    MEP_TRY(check_texts(function, "settings->measures", s->measures, s->measure_count));
    MEP_TRY(check_list(function, "settings->gaps", s->gaps, s->gap_count));
    return check_list(function, "settings->depths", s->depths, s->depth_count);
}

static mep_status check_index(const char *name, int64_t index, int64_t count)
{
    if (index >= 0 && index < count) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the study has no %s number %lld; its list has %lld", name, (long long)index,
                    (long long)count);
}

/* The lists, and indices into those of a run. */
static mep_status check_run(const char *function, const mep_study_settings *s, int64_t corpus, int64_t encoding,
                            int64_t seed)
{
    MEP_TRY(mep_study_check_lists(function, s));
    MEP_TRY(check_index("corpus", corpus, s->corpus_count));
    MEP_TRY(check_index("encoding", encoding, s->encoding_count));
    return check_index("seed", seed, s->seed_count);
}

/* ---- Names ---- */

mep_status mep_study_corpus_name(const mep_study_settings *s, int64_t corpus, char name[MEP_DATA_SIZE])
{
    return mep_data_mix_title(s->corpora[corpus], name);
}

/* The spec without blanks and with '_' for unsafe characters. mep_study_check refuses a name that is cut off here. */
void mep_study_encoding_name(const char *spec, char name[MEP_STUDY_NAME])
{
    int used = 0;
    for (; *spec != '\0' && used < MEP_STUDY_NAME - 1; spec++) {
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

mep_status mep_study_corpus_folder(const char *folder, const mep_study_settings *s, int64_t corpus,
                                   char path[MEP_PATH_SIZE])
{
    MEP_REQUIRE_AS("folder, settings, path", folder, s, path);
    MEP_TRY(mep_study_check_lists(__func__, s));
    MEP_TRY(check_index("corpus", corpus, s->corpus_count));
    if (s->corpus_count == 1) return check_path(snprintf(path, MEP_PATH_SIZE, "%s", folder));
    char name[MEP_DATA_SIZE];
    MEP_TRY(mep_study_corpus_name(s, corpus, name));
    return check_path(snprintf(path, MEP_PATH_SIZE, "%s/%s", folder, name));
}

mep_status mep_study_run_folder(const char *folder, const mep_study_settings *s, int64_t corpus, int64_t encoding,
                                int64_t seed, char path[MEP_PATH_SIZE])
{
    MEP_REQUIRE_AS("folder, settings, path", folder, s, path);
    char parent[MEP_PATH_SIZE], name[MEP_STUDY_NAME];
    MEP_TRY(check_run(__func__, s, corpus, encoding, seed));
    MEP_TRY(mep_study_corpus_folder(folder, s, corpus, parent));
    mep_study_encoding_name(s->encodings[encoding], name);
    return check_path(
        snprintf(path, MEP_PATH_SIZE, "%s/%s-seed%llu", parent, name, (unsigned long long)s->seeds[seed]));
}

/* ---- Settings of runs and evaluations ---- */

mep_status mep_study_data_settings(const mep_study_settings *s, int64_t corpus, mep_train_settings *run)
{
    int is_split = s->train.split[0] != '\0';
    run->valid[0] = '\0';
    MEP_TRY(mep_data_mix_append(s->corpora[corpus], is_split ? "" : ".train", run->data));
    return is_split ? MEP_OK : mep_data_mix_append(s->corpora[corpus], ".valid", run->valid);
}

mep_status mep_study_run_settings(const mep_study_settings *s, int64_t corpus, int64_t encoding, int64_t seed,
                                  mep_train_settings *run)
{
    MEP_REQUIRE_AS("settings, run", s, run);
    MEP_TRY(check_run(__func__, s, corpus, encoding, seed));
    const char *spec = s->encodings[encoding];
    *run = s->train;
    run->seed = s->seeds[seed];
    if (run->model.max_position_embeddings < run->length) run->model.max_position_embeddings = run->length;
    if (strlen(spec) >= sizeof run->model.position_encoding)
        return mep_fail(MEP_ERROR_ARGUMENT, "the encoding \"%.40s...\" is longer than %d characters", spec,
                        MEP_POSITION_SIZE - 1);
    snprintf(run->model.position_encoding, sizeof run->model.position_encoding, "%s", spec);
    return mep_study_data_settings(s, corpus, run);
}

mep_status mep_study_eval_settings_on(const mep_study_settings *s, const mep_data_mix *data, mep_eval_settings *eval)
{
    int64_t longest = 0, most = mep_data_mix_least_tokens(data) - 1; /* the first token is not scored */
    for (int64_t i = 0; i < s->length_count; i++) longest = max_i64(longest, s->lengths[i]);
    if (s->eval.max_tokens > 0) most = min_i64(most, s->eval.max_tokens);
    if (most < longest)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "%s: %lld tokens to evaluate on are too few for the length %lld; use shorter lengths or more text",
            data->names[0], (long long)max_i64(most, 0), (long long)longest);
    *eval = s->eval;
    eval->length = longest;
    eval->max_tokens = most / longest * longest;
    if (eval->last > 0 && eval->stride == 0) eval->stride = longest; /* the same tokens at every length */
    return MEP_OK;
}

mep_status mep_study_eval_settings(const mep_study_settings *s, int64_t corpus, mep_eval_settings *eval)
{
    mep_train_settings run = s->train;
    mep_data_mix *data = NULL;
    MEP_TRY(mep_study_data_settings(s, corpus, &run));
    MEP_TRY(mep_train_open_valid(&data, &run));
    mep_status status = mep_study_eval_settings_on(s, data, eval);
    mep_data_mix_close(&data);
    return status;
}
