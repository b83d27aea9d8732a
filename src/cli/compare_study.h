/* SPDX-License-Identifier: MIT */
/*
 * What a report is about: the study, and what this command asks of it. All files of the report read it.
 */
#ifndef MEP_CLI_COMPARE_STUDY_H
#define MEP_CLI_COMPARE_STUDY_H

#include "mep/study.h"

typedef struct mep_report {
    const char *folder;
    const mep_study_settings *settings; /* of the study, with the lists of all commands; lengths in ascending order */
    const mep_study_settings *asked;    /* of this command: its encodings have a row even without a result */
    const char *command;                /* the command line, as a shell reads it */
    int so_far;                         /* 1: encodings without a result have no row yet */
    int64_t baseline;                   /* index of the encoding to which the others are compared; -1: none */
    double within;                      /* the fraction of an effective length */
} mep_report;

#endif
