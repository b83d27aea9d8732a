/* SPDX-License-Identifier: MIT */
/*
 * What the files of the comparison study share: its checks, its names and its JSON files. The public side is
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

/* What is known of a corpus once its datasets have been read. */
typedef struct mep_study_corpus {
    mep_run_checksums checksums;
} mep_study_corpus;

/* Check the lists, every setting, and that the data is there, long enough and in the vocabulary; corpora[corpus_count].
 */
mep_status mep_study_check(const mep_study_settings *settings, mep_study_corpus *corpora);

/* The name of a corpus: the last part of its prefix, or of each prefix of a mixture. */
mep_status mep_study_corpus_name(const mep_study_settings *settings, int64_t corpus, char name[MEP_DATA_SIZE]);

/* The settings of an evaluation on a corpus, at the longest length: max_tokens is the largest multiple of it that the
 * data and the settings allow. */
mep_status mep_study_eval_settings(const mep_study_settings *settings, int64_t corpus, mep_eval_settings *eval);

/* Open the study's folder, made where it does not exist, with its lock, for the process that writes in it; write
 * FOLDER/study.json, or compare it with the settings where it exists and add to its lists. The caller closes *opened,
 * which is not open on failure. */
mep_status mep_study_open_folder(const char *folder, const mep_study_settings *settings,
                                 const mep_study_corpus *corpora, mep_run_folder *opened);

/* ---- All that was ever asked of a study: study_lists.c ---- */

/* Add the lists of a call to those of study.json; lists that are missing are made from the runs in the folder. */
mep_status mep_study_lists_add(json_t *study, const char *folder, const mep_study_settings *asked, int *changed);

/* The name of an encoding in that of a run's folder. */
void mep_study_encoding_name(const char *spec, char name[MEP_STUDY_NAME]);

/* ---- RUN/eval.json ---- */

/* The evaluation of a run whose training has `steps` steps: that in the file, or an empty one where there is none with
 * these settings (whose length does not count). The caller releases *eval with json_decref. */
mep_status mep_study_eval_read(const char *run, const mep_eval_settings *settings, int64_t steps, json_t **eval);

/* The result at a length; segments is 0 where there is none. */
mep_status mep_study_eval_find(const json_t *eval, const char *run, int64_t length, mep_eval_result *result);

/* Add a result and write the file. */
mep_status mep_study_eval_add(json_t *eval, const char *run, const mep_eval_result *result);

#endif
