/* SPDX-License-Identifier: MIT */
/*
 * Several files that appear in a folder together or not at all. They are written into FOLDER/.mep-partial and moved
 * into FOLDER when all are there, none in the place of a file that exists. What an interrupted process left is undone
 * by the next one that begins in the folder. One process at a time may write into a folder.
 */
#ifndef MEP_IO_FILE_TRANSACTION_H
#define MEP_IO_FILE_TRANSACTION_H

#include "mep/status.h"

typedef struct mep_file_transaction {
    char *folder, *partial; /* files are written into `partial` */
    int made;               /* `folder` was not there before */
} mep_file_transaction;

/* Make `folder`, those above it, and the empty partial folder in it. */
mep_status mep_file_transaction_begin(mep_file_transaction *staging, const char *folder);

/* Move the files; `last` is moved last: a folder without it is incomplete. Where one of them exists in
 * the folder nothing is changed (MEP_ERROR_ARGUMENT). Releases *staging in either case, as mep_file_transaction_abandon
 * does. */
mep_status mep_file_transaction_commit(mep_file_transaction *staging, const char *last);

/* Remove what was written, and the folder if it was made. The message of a failure stays. */
void mep_file_transaction_abandon(mep_file_transaction *staging);

#endif
