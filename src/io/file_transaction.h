/* SPDX-License-Identifier: MIT */
/*
 * A file transaction: several files appear in a folder together or not at all. They are written to FOLDER/.mep-partial
 * and moved to FOLDER when all are complete; no existing file is replaced. The transaction of an interrupted process is
 * undone by the next one that begins in the folder. Only one process at a time may write into a folder.
 */
#ifndef MEP_IO_FILE_TRANSACTION_H
#define MEP_IO_FILE_TRANSACTION_H

#include "mep/status.h"

typedef struct mep_file_transaction {
    char *folder, *partial; /* files are written to `partial` */
    int made;               /* `folder` did not exist before */
} mep_file_transaction;

/* Create `folder`, its parents, and the empty partial folder in it. */
mep_status mep_file_transaction_begin(mep_file_transaction *transaction, const char *folder);

/* Move the files; `last` is moved last, so that a folder without it is incomplete. If one of them exists in the folder,
 * nothing is changed (MEP_ERROR_ARGUMENT). Releases *transaction in either case. */
mep_status mep_file_transaction_commit(mep_file_transaction *transaction, const char *last);

/* Remove the files, and the folder if it was created. The message of the last failure is kept. Releases *transaction.
 */
void mep_file_transaction_abandon(mep_file_transaction *transaction);

#endif
