/* SPDX-License-Identifier: MIT */
/*
 * The internal interface of the dataset writer: its state can be saved while it writes, and a later process can resume
 * from it. At that time the tokens are in PREFIX.bin.tmp and the sizes of the documents in PREFIX.sizes.tmp; both are
 * truncated to the saved state.
 */
#ifndef MEP_DATASET_DATASET_WRITER_H
#define MEP_DATASET_DATASET_WRITER_H

#include <jansson.h>

#include "mep/data.h"
#include "base/checksum.h"
#include "base/lock.h"

typedef struct mep_writer_state {
    int64_t documents, tokens;
    int64_t open; /* tokens of the document that has not ended; included in `tokens` */
    mep_checksum checksum;
} mep_writer_state;

/* Take PREFIX.lock: only one process at a time writes a dataset. */
mep_status mep_dataset_lock(mep_lock *lock, const char *prefix);

/* mep_dataset_writer_create for a caller that holds the lock. */
mep_status mep_dataset_writer_begin(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer);

/* Limit sequences to `most` tokens instead of the format's INT32_MAX. */
void mep_dataset_writer_limit(mep_dataset_writer *writer, int64_t most);

/* The current state; nothing is synced. */
mep_writer_state mep_dataset_writer_state(const mep_dataset_writer *writer);

/* Sync everything that was written to the disk; afterwards the state may be saved. A .bin file that
 * mep_dataset_writer_complete has closed is synced already. Fails after any failure of the writer, because the files
 * may then hold less than the state says. */
mep_status mep_dataset_writer_sync(mep_dataset_writer *writer);

/* Resume from a saved state, for a caller that holds the lock. Fails if the temporary files hold less than it says. */
mep_status mep_dataset_writer_continue(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer,
                                       const mep_writer_state *state);

/* mep_dataset_writer_finish without freeing the writer: after a failure the temporary files still exist. */
mep_status mep_dataset_writer_complete(mep_dataset_writer *writer);

/* Close the files and free the writer; the temporary files remain for mep_dataset_writer_continue. NULL is allowed. */
void mep_dataset_writer_leave(mep_dataset_writer **writer);

/* Write a file and sync it; not atomic. */
mep_status mep_write_synced(const char *path, const char *text, int64_t size);
/* The same for JSON; a NULL means that memory ran out while it was composed. */
mep_status mep_write_json(const char *path, const json_t *root);

/* Make renames durable: sync the folder of `path`. A file system that does not support this is not an error. */
mep_status mep_sync_folder_of(const char *path);

#endif
