/* SPDX-License-Identifier: MIT */
/*
 * The folder of a run or a study while it is written: locked against other processes, and found again if it or a parent
 * folder is renamed. run.h and study files describe its content.
 */
#ifndef MEP_TRAIN_RUN_FOLDER_H
#define MEP_TRAIN_RUN_FOLDER_H

#include "base/lock.h"
#include "mep/status.h"

/* Zero-initialized: not open. */
typedef struct mep_run_folder {
    char *path; /* the given path, or the new one after a move */
    int fd;
    mep_lock lock;
} mep_run_folder;

/* Open an existing folder and, with `locks`, lock it: MEP_ERROR_IO if another process writes to it; the message names
 * the process. Readers need neither. */
mep_status mep_run_folder_open(mep_run_folder *folder, const char *path, int locks);

/* If the folder was moved, set `path` to its present absolute path, free the old one, and set *moved to 1. MEP_ERROR_IO
 * if it was removed. */
mep_status mep_run_folder_follow(mep_run_folder *folder, int *moved);

/* Unlock and close the folder. Does nothing if it is not open. */
void mep_run_folder_close(mep_run_folder *folder);

#endif
