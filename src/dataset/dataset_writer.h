/* SPDX-License-Identifier: MIT */
/*
 * The inside of the dataset writer: its state can be saved while it writes, and a later process can go on from there.
 * The tokens are in PREFIX.bin.tmp by then and the sizes of the documents in PREFIX.sizes.tmp; what was written behind
 * the saved state is cut off.
 */
#ifndef MEP_DATASET_DATASET_WRITER_H
#define MEP_DATASET_DATASET_WRITER_H

#include <jansson.h>

#include "mep/data.h"
#include "base/checksum.h"
#include "base/lock.h"

typedef struct mep_writer_state {
    int64_t documents, tokens;
    int64_t open; /* of the tokens, those of the document that has not ended */
    mep_checksum checksum;
} mep_writer_state;

/* Take PREFIX.lock: one process at a time writes a dataset. */
mep_status mep_dataset_lock(mep_lock *lock, const char *prefix);

/* mep_dataset_writer_create for a caller who has the lock. */
mep_status mep_dataset_writer_begin(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer);

/* Let a sequence have at most so many tokens, rather than the INT32_MAX of the format. */
void mep_dataset_writer_limit(mep_dataset_writer *writer, int64_t most);

/* The state now; nothing is synced. */
mep_writer_state mep_dataset_writer_state(const mep_dataset_writer *writer);

/* Bring all that was written to the disk: then the state may be noted. Tokens that mep_dataset_writer_complete has
 * closed are there already. After any failure of the writer it fails: the state may hold what the files do not. */
mep_status mep_dataset_writer_sync(mep_dataset_writer *writer);

/* Go on from a state that was noted, for a caller who has the lock. Fails when the temporary files hold less than it
 * says. */
mep_status mep_dataset_writer_continue(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer,
                                       const mep_writer_state *state);

/* All of mep_dataset_writer_finish but the freeing: after a failure the temporary files are still there. */
mep_status mep_dataset_writer_complete(mep_dataset_writer *writer);

/* Close the files and free the writer; the temporary files stay for mep_dataset_writer_continue. NULL is allowed. */
void mep_dataset_writer_leave(mep_dataset_writer **writer);

/* Write a file and sync it; not atomic. */
mep_status mep_write_synced(const char *path, const char *text, int64_t size);
/* The same for JSON; a NULL is memory that was short. */
mep_status mep_write_json(const char *path, const json_t *root);

/* Make renames last: sync the folder that `path` is in. A file system that cannot do so is no failure. */
mep_status mep_sync_folder_of(const char *path);

#endif
