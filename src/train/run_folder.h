/* SPDX-License-Identifier: MIT */
/*
 * The folder of a run or a study while it is written to: held against other processes, and found again where it, or a
 * folder above it, gets another name in the meantime. What is in the folder is run.h's and study.h's.
 */
#ifndef MEP_TRAIN_RUN_FOLDER_H
#define MEP_TRAIN_RUN_FOLDER_H

#include "base/lock.h"
#include "mep/status.h"

/* All zero: not open. */
typedef struct mep_run_folder {
    char *path; /* as it was named, or where it has been moved to since */
    int fd;
    mep_lock lock;
} mep_run_folder;

/* Open a folder that exists, and with `locks` take its lock: MEP_ERROR_IO, with the other process in the message, where
 * another one writes to it. Readers need neither. */
mep_status mep_run_folder_open(mep_run_folder *folder, const char *path, int locks);

/* Where the folder has been moved, make `path` its present name (absolute) and *moved 1; the old string is freed.
 * MEP_ERROR_IO where it was removed. */
mep_status mep_run_folder_follow(mep_run_folder *folder, int *moved);

/* Release it; one that is not open stays as it is. */
void mep_run_folder_close(mep_run_folder *folder);

#endif
