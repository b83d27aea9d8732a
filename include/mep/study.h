/* SPDX-License-Identifier: MIT */
/*
 * The comparison study: models that differ only in their position encoding, trained on the same data in the same order
 * from the same initial weights, and evaluated at many lengths. A study lives in a folder and continues where it
 * stopped.
 *
 *     FOLDER/study.json                     what all runs have in common
 *     FOLDER/ENCODING-seedN/                one run (mep/train.h) with its eval.json and measure-NAME.json
 *     FOLDER/CORPUS/ENCODING-seedN/         the same where there are several corpora
 */
#ifndef MEP_STUDY_H
#define MEP_STUDY_H

#include "mep/eval.h"
#include "mep/measure.h"
#include "mep/train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Lists belong to the caller. Encodings, seeds, lengths, measures, gaps and depths may differ between calls on the same
 * folder: finished work is kept, and study.json lists everything that was ever asked for. All other settings must stay
 * the same; results of other settings of evaluations and measures are replaced. */
typedef struct mep_study_settings {
    mep_train_settings train;   /* of every run; the study sets data, valid, seed and position_encoding */
    mep_eval_settings eval;     /* the study sets length. max_tokens: maximum number of tokens of a corpus; 0: all. The
                                   tokens are the largest multiple of the longest length ever asked for. Every length
                                   that divides it is evaluated on the same tokens; with `last` every length is */
    const char *const *corpora; /* prefixes: runs train on PREFIX.train and are evaluated on PREFIX.valid; with
                                   train.split, on the first two parts of PREFIX. Or data mixes, "books=0.7,code=0.3":
                                   the loss is then the weighted mean, over max_tokens of each dataset */
    int64_t corpus_count;
    const char *const *encodings; /* specs, as mep_position_create takes them */
    int64_t encoding_count;
    const uint64_t *seeds;
    int64_t seed_count;
    const int64_t *lengths; /* of evaluation; "learned" is not evaluated beyond the training length */
    int64_t length_count;
    /* What is measured of every run in addition to the perplexity (mep/measure.h): "by-position", "context", "copy",
       "passkey", "blindness", or a synthetic task such as "mqar" or "mqar:pairs=4,queries=2". Each at every length, the
       passkey also at every depth, and the copy gain at every gap instead; lengths and measures of different calls
       are combined as far as the measure can be taken there. All but the synthetic tasks need corpora that are one
       dataset. */
    const char *const *measures;
    int64_t measure_count;
    const int64_t *gaps; /* of "copy" */
    int64_t gap_count;
    const double *depths; /* of "passkey" */
    int64_t depth_count;
    /* Of the measures; the study sets length, max_tokens, dtype, tolerance and device as in `eval`. Settings other than
       those of earlier calls replace them, and everything is measured again. A call without measures keeps them. */
    mep_measure_settings measure;
    int need_samples; /* 1: evaluate again what was evaluated by a version that did not store the losses of segments */
} mep_study_settings;

typedef enum mep_study_phase {
    MEP_STUDY_TRAINING,
    MEP_STUDY_EVALUATING,
    MEP_STUDY_RUN_DONE,
    MEP_STUDY_MEASURING
} mep_study_phase;

/* The present state. Strings belong to the settings. */
typedef struct mep_study_progress {
    mep_study_phase phase;
    const char *folder; /* of the study; its new path if it was moved */
    int64_t run, runs;  /* run counts from 1, over corpora, then seeds, then encodings */
    const char *corpus, *encoding;
    uint64_t seed;
    int64_t length;                  /* of the training, the evaluation or the measure */
    int64_t done, total;             /* steps of the training, or tokens of the evaluation or the measure */
    const mep_train_progress *train; /* the step, at MEP_STUDY_TRAINING; otherwise NULL */
    const char *measure;             /* at MEP_STUDY_MEASURING; otherwise NULL */
    double at;                       /* its gap or depth; NaN for others */
    double loss;                     /* of the step, or of the evaluation so far; NaN before the first batch of an
                                        evaluation, of a measure and at MEP_STUDY_RUN_DONE */
    double tokens_per_second;        /* of the step, or of the evaluation so far */
    double seconds_left; /* of the complete study, estimated from the work done in this call; NaN before any work */
} mep_study_progress;

/* Called after each step, each batch of an evaluation, and each finished run (immediately for runs that were finished
 * before). A return value other than 0 saves the work and ends with MEP_INTERRUPTED. */
typedef int (*mep_study_fn)(void *context, const mep_study_progress *progress);

/* Train all runs that are not finished, and evaluate and measure them at everything that was ever asked for. Runs of
 * earlier calls are evaluated too, if a length or a measure is missing or their results are of other settings. Every
 * number is stored when it is known, and a call continues where the last one stopped. The lists, every setting and the
 * data (which is read once) are checked before anything is written. Fails if the folder contains
 * a study with other settings or other data; the message says what differs. The message of a run that fails names its
 * folder. progress may be NULL. */
MEP_API mep_status mep_study_run(const char *folder, const mep_study_settings *settings, mep_study_fn progress,
                                 void *context);

/* mep_study_run by the processes of a group, which all make the call with the same arguments and see the same folder;
 * NULL: one process. They divide the runs; each trains and evaluates its own runs alone, so that the results are those
 * of one process. progress is called in each process for its own runs. If one process stops or fails, all stop at their
 * next report, with their work saved. */
MEP_API mep_status mep_study_run_in(mep_dist *group, const char *folder, const mep_study_settings *settings,
                                    mep_study_fn progress, void *context);

/* The settings of a run of the study. The arguments are indices into the lists; MEP_ERROR_ARGUMENT if one is not, as in
 * all functions with such arguments. */
MEP_API mep_status mep_study_run_settings(const mep_study_settings *settings, int64_t corpus, int64_t encoding,
                                          int64_t seed, mep_train_settings *run);

/* ---- What a study's folder says ---- */

/* Everything that was ever asked of a study: the given settings with the lists of study.json and those of the settings,
 * and, without measures of their own, with its settings of measures. Encodings, seeds and measures are in the order in
 * which they were first asked for, lengths, gaps and depths in ascending order. A folder without a study gives the
 * settings themselves. */
typedef struct mep_study_lists mep_study_lists;
MEP_API mep_status mep_study_lists_read(mep_study_lists **lists, const char *folder,
                                        const mep_study_settings *settings);
/* The settings belong to `lists`; strings that study.json does not have belong to the given settings. */
MEP_API const mep_study_settings *mep_study_lists_settings(const mep_study_lists *lists);
/* The encodings of the given settings, as the study spells them. */
MEP_API const char *const *mep_study_lists_asked(const mep_study_lists *lists);
MEP_API void mep_study_lists_free(mep_study_lists **lists);

/* The index of an encoding in the list of the study to which a folder belongs: the folder of the study, of a corpus or
 * of a run. It never changes, so a program can choose a color by it. -1 if there is no such study or encoding. */
MEP_API int64_t mep_study_encoding_index(const char *folder, const char *encoding);

/* The dtype of the runs of the study in a folder. *dtype stays unchanged if the folder has no study yet. */
MEP_API mep_status mep_study_dtype(const char *folder, mep_dtype *dtype);

/* ---- Results ---- */

/* The index of a result in the array of mep_study_results. The arguments are indices into the lists; -1 if one is not
 * in its list. */
MEP_API int64_t mep_study_index(const mep_study_settings *settings, int64_t corpus, int64_t encoding, int64_t seed,
                                int64_t length);

/* Read the results into results[corpus_count * encoding_count * seed_count * length_count]. segments is 0 for a result
 * that does not exist yet. */
MEP_API mep_status mep_study_results(const char *folder, const mep_study_settings *settings, mep_eval_result *results);

/* Read the numbers of a measure of one run, which are those of all points that are done. `measure` is a name of the
 * settings, or "perplexity": its values are "perplexity" and "loss" of each length. The caller frees *result with
 * mep_measure_free; its count is 0 if nothing is done. The arguments are indices into the lists. */
MEP_API mep_status mep_study_measure(const char *folder, const mep_study_settings *settings, int64_t corpus,
                                     int64_t encoding, int64_t seed, const char *measure, mep_measure *result);

/* The results of an encoding at a length, over the seeds. */
typedef struct mep_study_cell {
    int64_t seeds;    /* number of seeds with a result; 0: mean and deviation are NaN */
    double mean;      /* of the perplexities */
    double deviation; /* their standard deviation (n - 1); NaN for one seed */
    int best;         /* 1: the lowest mean of all encodings at this length */
} mep_study_cell;

/* Compute cells[encoding_count][length_count] of one corpus. */
MEP_API void mep_study_summarize(const mep_study_settings *settings, const mep_eval_result *results, int64_t corpus,
                                 mep_study_cell *cells);

/* Folders of a study: that of the runs, tables and pictures of a corpus, and that of a run. */
MEP_API mep_status mep_study_corpus_folder(const char *folder, const mep_study_settings *settings, int64_t corpus,
                                           char path[MEP_PATH_SIZE]);
MEP_API mep_status mep_study_run_folder(const char *folder, const mep_study_settings *settings, int64_t corpus,
                                        int64_t encoding, int64_t seed, char path[MEP_PATH_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
