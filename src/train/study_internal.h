/* SPDX-License-Identifier: MIT */
/*
 * The internal interface of the comparison study: its checks, names and JSON files. The public interface is
 * mep/study.h.
 */
#ifndef MEP_TRAIN_STUDY_INTERNAL_H
#define MEP_TRAIN_STUDY_INTERNAL_H

#include <jansson.h>

#include "dist/dist_group.h"
#include "mep/study.h"
#include "train/run.h"
#include "train/run_folder.h"

enum { MEP_STUDY_NAME = 128 };

/* What is known about a corpus after its datasets are read. */
typedef struct mep_study_corpus {
    mep_run_checksums checksums;
} mep_study_corpus;

/* Check the lists, every setting, and that the data exists, is long enough and fits the vocabulary. Sets
 * corpora[corpus_count]. */
mep_status mep_study_check(const mep_study_settings *settings, mep_study_corpus *corpora);

/* The name of a corpus: the last part of its prefix, or of each prefix of a data mix. */
mep_status mep_study_corpus_name(const mep_study_settings *settings, int64_t corpus, char name[MEP_DATA_SIZE]);

/* The settings of an evaluation on a corpus, at the longest length: max_tokens is the largest multiple of it that the
 * data and the settings allow. */
mep_status mep_study_eval_settings(const mep_study_settings *settings, int64_t corpus, mep_eval_settings *eval);

/* For the process that writes: create the study's folder if it does not exist, open and lock it. Write
 * FOLDER/study.json, or compare an existing one with the settings and add to its lists. The caller closes *opened,
 * which is not open on failure. */
mep_status mep_study_open_folder(const char *folder, const mep_study_settings *settings,
                                 const mep_study_corpus *corpora, mep_run_folder *opened);

/* ---- Everything that was ever asked of a study: study_lists.c ---- */

/* Add the lists of a call to those of study.json. Missing lists are created from the runs in the folder. */
mep_status mep_study_lists_add(json_t *study, const char *folder, const mep_study_settings *asked, int *changed);

/* The form of an encoding that is part of the name of a run's folder. */
void mep_study_encoding_name(const char *spec, char name[MEP_STUDY_NAME]);

/* ---- RUN/eval.json ---- */

/* Read the evaluation of a run whose training has `steps` steps. If the file has none with these settings (their length
 * is ignored), *eval is an empty one. The caller releases *eval with json_decref. */
mep_status mep_study_eval_read(const char *run, const mep_eval_settings *settings, int64_t steps, json_t **eval);

/* Find the result at a length. segments is 0 if there is none. */
mep_status mep_study_eval_find(const json_t *eval, const char *run, int64_t length, mep_eval_result *result);

/* Add a result and write the file. */
mep_status mep_study_eval_add(json_t *eval, const char *run, const mep_eval_result *result);

#endif
