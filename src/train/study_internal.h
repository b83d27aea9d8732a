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

/* The most samples of a number that are stored and compared: with more segments, they are means of consecutive ones. */
enum { MEP_STUDY_SAMPLES = 256 };

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

/* The same on the open data of the corpus. */
mep_status mep_study_eval_settings_on(const mep_study_settings *settings, const mep_data_mix *data,
                                      mep_eval_settings *eval);

/* Check that no list and no text of one is NULL where its count is not 0. The message names the public `function`. */
mep_status mep_study_check_lists(const char *function, const mep_study_settings *settings);

/* Set the data of a run: PREFIX.train and PREFIX.valid of a corpus, or the parts of PREFIX that the split defines. */
mep_status mep_study_data_settings(const mep_study_settings *settings, int64_t corpus, mep_train_settings *run);

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

/* The samples of the result at a length (mep_eval_call.samples), at most MEP_STUDY_SAMPLES. *samples is NULL and *count
 * 0 if the result has none, as of one segment in a data mix; *count is -1 if they are not stored. The caller frees
 * *samples with mep_free. */
mep_status mep_study_eval_samples(const json_t *eval, const char *run, int64_t length, double **samples,
                                  int64_t *count);

/* Add a result with its samples (NULL: without), which are grouped in place, or replace the one of the same length, and
 * write the file. */
mep_status mep_study_eval_add(json_t *eval, const char *run, const mep_eval_result *result, double *samples);

/* ---- RUN/measure-NAME.json: study_measures.c ---- */

/* Where a measure is taken: a length, and a gap or a depth; NaN for other measures. */
typedef struct mep_study_point {
    int64_t length;
    double at;
} mep_study_point;

/* A measure of a run: its settings and the numbers that are known. */
typedef struct mep_study_measurement {
    const char *spec;
    mep_measure_settings settings;
    json_t *key; /* the settings, as the file has them */
    mep_measure measure;
} mep_study_measurement;

/* The points of a measure, in the order in which they are measured. The caller frees them with mep_free. */
mep_status mep_study_points(const mep_study_settings *settings, const char *measure, mep_study_point **points,
                            int64_t *count);

/* Check measures, gaps and depths, and that each measure can be taken at each of its points on the data of a corpus. */
mep_status mep_study_check_measures(const mep_study_settings *settings, const mep_eval_settings *eval,
                                    const mep_data_mix *data);

/* Where a measure is taken on a corpus. */
typedef struct mep_study_plan {
    mep_study_point *points;
    int64_t count;
} mep_study_plan;

/* Find the points of a measure of a study at which it can be taken: lengths of one call need not go with measures of
 * another. Fails where a point of `asked`, this call, is not among them. The caller frees plan->points with mep_free.
 */
mep_status mep_study_plan_measure(const mep_study_settings *all, const mep_study_settings *asked, const char *measure,
                                  const mep_eval_settings *eval, const mep_data_mix *data, mep_study_plan *plan);

/* Read what is known of a measure of a run. The file of other settings than these counts as none. The caller closes
 * *m, which is empty on failure. */
mep_status mep_study_measurement_open(mep_study_measurement *m, const char *run, const mep_study_settings *settings,
                                      const mep_eval_settings *eval, const char *measure);
void mep_study_measurement_close(mep_study_measurement *m);

int mep_study_measurement_has(const mep_study_measurement *m, const mep_study_point *point);

/* Measure a point; `data` is not used by synthetic tasks. */
mep_status mep_study_measurement_take(mep_study_measurement *m, const mep_study_point *point, mep_model *model,
                                      const mep_data_mix *data, mep_eval_fn progress, void *context);

/* Write the file. */
mep_status mep_study_measurement_save(const mep_study_measurement *m, const char *run);

/* The number of tokens that a point reads. */
double mep_study_measurement_tokens(const mep_study_measurement *m, const mep_study_point *point);

#endif
