/* SPDX-License-Identifier: MIT */
/*
 * What the files of the comparison study share: its checks, its names and its JSON files. The public side is
 * mep/study.h.
 */
#ifndef MEP_TRAIN_STUDY_H
#define MEP_TRAIN_STUDY_H

#include <jansson.h>

#include "dist/dist.h"
#include "mep/study.h"
#include "train/run.h"

/* What is known of a corpus once its datasets have been read. */
typedef struct mep_study_corpus {
    mep_run_checksums checksums;
} mep_study_corpus;

/* As mep_study_run, with the runs divided over the processes of a group: each trains and evaluates its runs by itself,
 * into a folder that all of them see, so that results are those of one process. To be called by all with the same
 * arguments. progress is called in each process for its own runs. Where one stops, all stop at their next report; where
 * one fails, the others too, with their work saved. */
mep_status mep_study_run_in(mep_dist *group, const char *folder, const mep_study_settings *settings,
                            mep_study_fn progress, void *context);

/* Check the lists, every setting, and that the data is there, long enough and in the vocabulary; corpora[corpus_count].
 */
mep_status mep_study_check(const mep_study_settings *settings, mep_study_corpus *corpora);

/* The name of a corpus: the last part of its prefix, or of each prefix of a mixture. */
mep_status mep_study_corpus_name(const mep_study_settings *settings, int64_t corpus, char name[MEP_DATA_SIZE]);

/* The settings of a run. Indices into the lists. */
mep_status mep_study_run_settings(const mep_study_settings *settings, int64_t corpus, int64_t encoding, int64_t seed,
                                  mep_train_settings *run);

/* The settings of an evaluation on a corpus, at the longest length: max_tokens is the largest multiple of it that the
 * data and the settings allow. */
mep_status mep_study_eval_settings(const mep_study_settings *settings, int64_t corpus, mep_eval_settings *eval);

/* Write FOLDER/study.json, or compare it with the settings where it exists. */
mep_status mep_study_open_folder(const char *folder, const mep_study_settings *settings,
                                 const mep_study_corpus *corpora);

/* The dtype of the runs of the study in a folder; *dtype stays as it is where there is no study yet. */
mep_status mep_study_dtype(const char *folder, mep_dtype *dtype);

/* Compare a run's train.json with what the study wants of it. */
mep_status mep_study_check_run(const char *run, const mep_train_settings *wanted);

/* ---- RUN/eval.json ---- */

/* The evaluation of a run whose training has `steps` steps: that in the file, or an empty one where there is none with
 * these settings (whose length does not count). The caller releases *eval with json_decref. */
mep_status mep_study_eval_read(const char *run, const mep_eval_settings *settings, int64_t steps, json_t **eval);

/* The result at a length; segments is 0 where there is none. */
mep_status mep_study_eval_find(const json_t *eval, const char *run, int64_t length, mep_eval_result *result);

/* Add a result and write the file. */
mep_status mep_study_eval_add(json_t *eval, const char *run, const mep_eval_result *result);

#endif
