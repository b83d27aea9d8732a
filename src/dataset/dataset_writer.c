/* SPDX-License-Identifier: MIT */
/*
 * Writes a token dataset. Tokens go to PREFIX.bin.tmp and sizes of documents to PREFIX.sizes.tmp, so that no memory
 * grows with the dataset. The index and the description are written at the end. When all files are on the disk they are
 * renamed, the index last, so that a reader sees the old dataset or the new one. If the machine stops between two of
 * the renames, a reader refuses the mixed files if sizes or token counts differ.
 */
#define _XOPEN_SOURCE 700
#include "dataset/dataset_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/assertion.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/integer.h"
#include "base/libraries.h"
#include "base/lock.h"
#include "base/memory.h"
#include "dataset/dataset_format.h"

enum {
    BIN,
    TOKENIZER,
    MASK,
    JSON,
    IDX,
    FILES,
    SIZES = FILES,
    TEMPORARIES
}; /* files in the order in which they are renamed */
enum {
    SMALL_VOCABULARY = 65500, /* Megatron's limit: below it tokens are uint16, otherwise int32 */
    CHUNK = 1024              /* number of tokens or sizes that are converted at once, on the stack */
};

static const char *const suffixes[TEMPORARIES] = {".bin", ".tokenizer.json", ".mask", ".json", ".idx", ".sizes"};

struct mep_dataset_writer {
    char *path[TEMPORARIES], *temporary[TEMPORARIES];
    char *tokenizer;      /* the value of "tokenizer" in PREFIX.json */
    char *tokenizer_json; /* the content of PREFIX.tokenizer.json; NULL for a built-in tokenizer */
    int64_t tokenizer_size, vocab_size;
    int32_t end_token;
    int64_t most; /* maximum number of tokens in a sequence */
    int type;
    mep_output *bin, *sizes; /* tokens; and one int32 per document, the length of its sequence */
    mep_output *mask;        /* one byte per token; NULL: every token is trained */
    mep_writer_state state;
    mep_lock lock;
    int failed; /* a write or a sync failed, so the content of the files is unknown: everything that follows fails */
};

static mep_status fail_write(const char *path)
{
    return mep_fail(MEP_ERROR_IO, "cannot write %s: %s; check the free space and the folder's permissions", path,
                    strerror(errno));
}

static void close_files(mep_dataset_writer *writer)
{
    (void)mep_output_close(&writer->bin);
    (void)mep_output_close(&writer->sizes);
    (void)mep_output_close(&writer->mask);
}

void mep_dataset_writer_leave(mep_dataset_writer **writer)
{
    if (writer == NULL || *writer == NULL) return;
    mep_dataset_writer *given = *writer;
    close_files(given);
    for (int i = 0; i < TEMPORARIES; ++i) {
        mep_free(&given->temporary[i]);
        mep_free(&given->path[i]);
    }
    mep_free(&given->tokenizer);
    mep_free(&given->tokenizer_json);
    mep_lock_release(&given->lock);
    mep_free(writer);
}

/* Remove the temporary files that are not renamed yet. */
void mep_dataset_writer_abandon(mep_dataset_writer **writer)
{
    if (writer == NULL || *writer == NULL) return;
    for (int i = 0; i < TEMPORARIES; ++i) {
        if ((*writer)->temporary[i] != NULL) unlink((*writer)->temporary[i]);
    }
    mep_dataset_writer_leave(writer);
}

static mep_status open_temporary(mep_output **file, const char *path, int flags)
{
    if (mep_output_open(file, path, flags) == 0) return MEP_OK;
    return errno == ENOMEM ? mep_fail(MEP_ERROR_MEMORY, "cannot write %s: out of memory", path) : fail_write(path);
}

/* A built-in tokenizer is described by its name, any other by a copy of its tokenizer.json. */
static mep_status describe_tokenizer(mep_dataset_writer *writer, const mep_tokenizer *tokenizer)
{
    const char *json = mep_tokenizer_json(tokenizer, &writer->tokenizer_size);
    if (json == NULL) return mep_copy_string(&writer->tokenizer, mep_tokenizer_name(tokenizer));
    MEP_TRY(mep_copy_string(&writer->tokenizer, MEP_TOKENIZER_COPY));
    MEP_TRY(MEP_ALLOC(&writer->tokenizer_json, writer->tokenizer_size + 1));
    memcpy(writer->tokenizer_json, json, (size_t)writer->tokenizer_size);
    return MEP_OK;
}

/* Set names and numbers; no file is accessed. */
static mep_status describe(mep_dataset_writer *writer, const char *prefix, const mep_tokenizer *tokenizer)
{
    int length = mep_dataset_prefix_length(prefix);
    for (int i = 0; i < TEMPORARIES; ++i) {
        MEP_TRY(mep_format(&writer->path[i], "%.*s%s", length, prefix, suffixes[i]));
        MEP_TRY(mep_format(&writer->temporary[i], "%s.tmp", writer->path[i]));
    }
    MEP_TRY(describe_tokenizer(writer, tokenizer));
    writer->vocab_size = mep_tokenizer_vocab_size(tokenizer);
    writer->end_token = mep_tokenizer_end_of_document(tokenizer);
    writer->type = writer->vocab_size < SMALL_VOCABULARY ? MEP_TOKEN_UINT16 : MEP_TOKEN_INT32;
    writer->most = INT32_MAX;
    mep_checksum_begin(&writer->state.checksum);
    return MEP_OK;
}

static mep_status begin(mep_dataset_writer *writer, const char *prefix, const mep_tokenizer *tokenizer)
{
    MEP_TRY(describe(writer, prefix, tokenizer));
    MEP_TRY(open_temporary(&writer->bin, writer->temporary[BIN], O_TRUNC));
    return open_temporary(&writer->sizes, writer->temporary[SIZES], O_TRUNC);
}

mep_status mep_dataset_writer_begin(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer)
{
    MEP_REQUIRE(writer, prefix, tokenizer);
    *writer = NULL;
    mep_dataset_writer *created = NULL;
    MEP_TRY(MEP_ALLOC(&created, 1));
    mep_status status = begin(created, prefix, tokenizer);
    if (status != MEP_OK) mep_dataset_writer_abandon(&created);
    *writer = created;
    return status;
}

mep_status mep_dataset_writer_create(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer)
{
    mep_lock lock;
    MEP_REQUIRE(writer, prefix, tokenizer);
    *writer = NULL;
    MEP_NEED(JANSSON, "jansson", "datasets cannot be written");
    MEP_TRY(mep_dataset_lock(&lock, prefix));
    mep_status status = mep_dataset_writer_begin(writer, prefix, tokenizer);
    if (status == MEP_OK)
        (*writer)->lock = lock;
    else
        mep_lock_release(&lock);
    return status;
}

mep_status mep_dataset_lock(mep_lock *lock, const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    *lock = (mep_lock){0};
    if (prefix[0] == '\0' || (slash != NULL && slash[1] == '\0'))
        return mep_fail(MEP_ERROR_ARGUMENT, "the prefix \"%s\" of a dataset has no name", prefix);
    char *path = NULL;
    int length = mep_dataset_prefix_length(prefix);
    MEP_TRY(mep_format(&path, "%.*s.lock", length, prefix));
    mep_status status = mep_lock_take(lock, path, prefix);
    mep_free(&path);
    return status;
}

void mep_dataset_writer_limit(mep_dataset_writer *writer, int64_t most)
{
    writer->most = most;
}

/* ---- Saving and resuming ---- */

mep_writer_state mep_dataset_writer_state(const mep_dataset_writer *writer)
{
    return writer->state;
}

static mep_status sync_file(mep_output *file, const char *path)
{
    return mep_output_sync(file) == 0 ? MEP_OK : fail_write(path);
}

static mep_status fail_incomplete(const mep_dataset_writer *writer)
{
    return mep_fail(MEP_ERROR_IO, "%s is incomplete because an earlier write failed", writer->path[BIN]);
}

mep_status mep_dataset_writer_sync(mep_dataset_writer *writer)
{
    if (writer->failed) return fail_incomplete(writer);
    mep_status status = writer->bin != NULL ? sync_file(writer->bin, writer->temporary[BIN]) : MEP_OK;
    if (status == MEP_OK) status = sync_file(writer->sizes, writer->temporary[SIZES]);
    if (status != MEP_OK) writer->failed = 1; /* a second sync would succeed although data of the first one is lost */
    return status;
}

/* Open a temporary file that holds at least `count` numbers of `width` bytes, truncate it to them and append to it. */
static mep_status reopen(mep_output **file, const char *path, int64_t count, int64_t width)
{
    struct stat info;
    if (stat(path, &info) != 0 || info.st_size / width < count)
        return mep_fail(MEP_ERROR_FORMAT, "%s does not contain the %lld x %lld bytes that were written; start again",
                        path, (long long)count, (long long)width);
    int fd = mep_fd_open(path, O_WRONLY);
    int failed = fd < 0 || mep_fd_truncate(fd, count * width) != 0;
    mep_status status = failed ? fail_write(path) : open_temporary(file, path, O_APPEND);
    if (fd >= 0) (void)mep_fd_close(fd);
    return status;
}

/* Add the file's bytes to a checksum. */
static mep_status add_file(mep_checksum *checksum, const char *path)
{
    unsigned char bytes[8 * CHUNK];
    int fd = mep_fd_open(path, O_RDONLY);
    int64_t got = fd < 0 ? -1 : 0;
    if (fd >= 0)
        while ((got = mep_fd_read(fd, bytes, sizeof bytes, -1)) > 0) mep_checksum_add(checksum, bytes, got);
    mep_status status = got < 0 ? mep_fail_errno("read", path) : MEP_OK;
    if (fd >= 0) (void)mep_fd_close(fd);
    return status;
}

/* Called if .bin.tmp does not exist: the earlier process may have ended after it renamed .bin. Then .bin has exactly
 * the bytes that were written, and is renamed back. Any other .bin belongs to an older dataset and is left unchanged.
 */
static mep_status recover_bin(const mep_dataset_writer *writer)
{
    const char *path = writer->path[BIN];
    struct stat info;
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    if (stat(path, &info) == 0 && info.st_size == writer->state.tokens * mep_token_type_size(writer->type)) {
        MEP_TRY(add_file(&checksum, path));
        if (mep_checksum_end(&checksum) == mep_checksum_end(&writer->state.checksum))
            return rename(path, writer->temporary[BIN]) == 0 ? MEP_OK : fail_write(writer->temporary[BIN]);
    }
    return mep_fail(MEP_ERROR_FORMAT, "%s with the tokens written so far is missing; start again",
                    writer->temporary[BIN]);
}

static mep_status resume(mep_dataset_writer *writer, const char *prefix, const mep_tokenizer *tokenizer,
                         const mep_writer_state *state)
{
    MEP_TRY(describe(writer, prefix, tokenizer));
    writer->state = *state;
    if (access(writer->temporary[BIN], F_OK) != 0) MEP_TRY(recover_bin(writer));
    MEP_TRY(reopen(&writer->sizes, writer->temporary[SIZES], state->documents, 4));
    return reopen(&writer->bin, writer->temporary[BIN], state->tokens, mep_token_type_size(writer->type));
}

mep_status mep_dataset_writer_continue(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer,
                                       const mep_writer_state *state)
{
    *writer = NULL;
    mep_dataset_writer *created = NULL;
    MEP_TRY(MEP_ALLOC(&created, 1));
    mep_status status = resume(created, prefix, tokenizer, state);
    if (status != MEP_OK) mep_dataset_writer_leave(&created);
    *writer = created;
    return status;
}

/* ---- Documents ---- */

/* Write bytes that are part of the checksum: those of .bin, then those of .idx. */
static mep_status put(mep_dataset_writer *writer, mep_output *file, const char *path, const void *data, int64_t size)
{
    mep_checksum_add(&writer->state.checksum, data, size);
    return mep_output_write(file, data, size) == 0 ? MEP_OK : fail_write(path);
}

static mep_status put_tokens(mep_dataset_writer *writer, const int32_t *tokens, int64_t count)
{
    const char *path = writer->temporary[BIN];
    if (writer->type == MEP_TOKEN_INT32) return put(writer, writer->bin, path, tokens, count * 4);
    uint16_t chunk[CHUNK];
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t some = min_i64(count - done, CHUNK);
        for (int64_t i = 0; i < some; ++i) chunk[i] = (uint16_t)tokens[done + i];
        MEP_TRY(put(writer, writer->bin, path, chunk, some * 2));
    }
    return MEP_OK;
}

static mep_status check_tokens(const mep_dataset_writer *writer, const int32_t *tokens, int64_t count)
{
    for (int64_t i = 0; i < count; ++i) {
        if (tokens[i] < 0 || tokens[i] >= writer->vocab_size)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: token %lld of document %lld is %ld, but the tokenizer '%s' has %lld",
                            writer->path[BIN], (long long)i, (long long)writer->state.documents, (long)tokens[i],
                            writer->tokenizer, (long long)writer->vocab_size);
    }
    return MEP_OK;
}

/* End the open sequence: its document ends, or continues in another sequence of the format. */
static mep_status end_sequence(mep_dataset_writer *writer)
{
    int32_t size = (int32_t)writer->state.open;
    if (mep_output_write(writer->sizes, &size, sizeof size) != 0) return fail_write(writer->temporary[SIZES]);
    ++writer->state.documents;
    writer->state.open = 0;
    return MEP_OK;
}

/* Append tokens to the open document, in as many sequences as the format needs. */
static mep_status append(mep_dataset_writer *writer, const int32_t *tokens, int64_t count)
{
    MEP_ASSERT(writer->state.open <= writer->most);
    for (int64_t done = 0; done < count;) {
        if (writer->state.open == writer->most) MEP_TRY(end_sequence(writer));
        int64_t some = min_i64(count - done, writer->most - writer->state.open);
        MEP_TRY(put_tokens(writer, tokens + done, some));
        writer->state.open += some;
        writer->state.tokens += some;
        done += some;
    }
    return MEP_OK;
}

mep_status mep_dataset_writer_append(mep_dataset_writer *writer, const int32_t *tokens, int64_t count)
{
    MEP_REQUIRE(writer);
    if (count > 0) MEP_REQUIRE(tokens);
    if (count < 0) return mep_fail(MEP_ERROR_ARGUMENT, "%s: %lld tokens", writer->path[BIN], (long long)count);
    if (writer->mask != NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s has a mask; add all documents with their masks", writer->path[BIN]);
    MEP_TRY(check_tokens(writer, tokens, count));
    mep_status status = append(writer, tokens, count);
    if (status != MEP_OK) writer->failed = 1;
    return status;
}

mep_status mep_dataset_writer_add(mep_dataset_writer *writer, const int32_t *tokens, int64_t count, int end_of_document)
{
    MEP_REQUIRE(writer);
    if (count > 0) MEP_REQUIRE(tokens);
    int64_t most = INT32_MAX - (end_of_document != 0);
    if (count < 0 || count > most)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%s: a document of %lld tokens; the format allows 0 .. %lld, so split it or append it in "
                        "several calls",
                        writer->path[BIN], (long long)count, (long long)most);
    MEP_TRY(mep_dataset_writer_append(writer, tokens, count));
    mep_status status = end_of_document ? append(writer, &writer->end_token, 1) : MEP_OK;
    if (status == MEP_OK) status = end_sequence(writer);
    if (status != MEP_OK) writer->failed = 1;
    return status;
}

/* Begin or continue the mask, with the bytes of a document. */
static mep_status put_mask(mep_dataset_writer *writer, const uint8_t *mask, int64_t count)
{
    for (int64_t i = 0; i < count; ++i)
        if (mask[i] > 1)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: the mask of token %lld of document %lld is %d, not 0 or 1",
                            writer->path[BIN], (long long)i, (long long)writer->state.documents, mask[i]);
    if (writer->mask == NULL && writer->state.tokens > 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s has documents without a mask; add all documents with their masks",
                        writer->path[BIN]);
    if (writer->mask == NULL) MEP_TRY(open_temporary(&writer->mask, writer->temporary[MASK], O_TRUNC));
    return mep_output_write(writer->mask, mask, count) == 0 ? MEP_OK : fail_write(writer->temporary[MASK]);
}

mep_status mep_dataset_writer_add_masked(mep_dataset_writer *writer, const int32_t *tokens, const uint8_t *mask,
                                         int64_t count)
{
    MEP_REQUIRE(writer);
    if (count > 0) MEP_REQUIRE(tokens, mask);
    if (count < 0 || count > INT32_MAX)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: a document of %lld tokens; the format allows 0 .. %lld",
                        writer->path[BIN], (long long)count, (long long)INT32_MAX);
    MEP_TRY(check_tokens(writer, tokens, count));
    mep_status status = put_mask(writer, mask, count);
    if (status == MEP_ERROR_ARGUMENT) return status; /* nothing is written */
    if (status == MEP_OK) status = append(writer, tokens, count);
    if (status == MEP_OK) status = end_sequence(writer);
    if (status != MEP_OK) writer->failed = 1;
    return status;
}

/* ---- Completion: index, description, renames ---- */

static mep_status close_synced(mep_output **file, const char *path)
{
    mep_status status = sync_file(*file, path);
    if (mep_output_close(file) != 0 && status == MEP_OK) status = fail_write(path);
    return status;
}

mep_status mep_write_synced(const char *path, const char *text, int64_t size)
{
    mep_output *file = NULL;
    MEP_TRY(open_temporary(&file, path, O_TRUNC));
    mep_status status = mep_output_write(file, text, size) == 0 ? MEP_OK : fail_write(path);
    mep_status closed = close_synced(&file, path);
    return status != MEP_OK ? status : closed;
}

mep_status mep_write_json(const char *path, const json_t *root)
{
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (text == NULL) return mep_fail(MEP_ERROR_MEMORY, "cannot compose %s", path);
    size_t size = strlen(text);
    text[size] = '\n'; /* replaces the terminating 0 */
    mep_status status = mep_write_synced(path, text, (int64_t)size + 1);
    free(text);
    return status;
}

static mep_status put_header(mep_dataset_writer *writer, mep_output *file)
{
    const char *path = writer->temporary[IDX];
    uint64_t version = MEP_INDEX_VERSION;
    uint8_t type = (uint8_t)writer->type;
    uint64_t counts[2] = {(uint64_t)writer->state.documents, (uint64_t)writer->state.documents + 1};
    MEP_TRY(put(writer, file, path, MEP_INDEX_MAGIC, sizeof MEP_INDEX_MAGIC));
    MEP_TRY(put(writer, file, path, &version, sizeof version));
    MEP_TRY(put(writer, file, path, &type, sizeof type));
    return put(writer, file, path, counts, sizeof counts);
}

/* Read the sizes from the file in chunks and write them, or the pointers computed from them. */
static mep_status put_sizes(mep_dataset_writer *writer, mep_output *file, int from, int as_pointers)
{
    int32_t sizes[CHUNK];
    int64_t pointers[CHUNK], pointer = 0, width = mep_token_type_size(writer->type);
    for (int64_t done = 0; done < writer->state.documents;) {
        int64_t some = min_i64(writer->state.documents - done, CHUNK);
        if (mep_fd_read_all(from, sizes, some * 4, done * 4) != some * 4)
            return mep_fail(MEP_ERROR_IO, "cannot read back %s; start again", writer->temporary[SIZES]);
        for (int64_t i = 0; i < some; pointer += sizes[i++] * width) pointers[i] = pointer;
        if (as_pointers)
            MEP_TRY(put(writer, file, writer->temporary[IDX], pointers, some * 8));
        else
            MEP_TRY(put(writer, file, writer->temporary[IDX], sizes, some * 4));
        done += some;
    }
    return MEP_OK;
}

static mep_status put_index(mep_dataset_writer *writer, mep_output *file, int from)
{
    MEP_TRY(put_header(writer, file));
    MEP_TRY(put_sizes(writer, file, from, 0));
    MEP_TRY(put_sizes(writer, file, from, 1));
    for (int64_t i = 0; i <= writer->state.documents; ++i)
        MEP_TRY(put(writer, file, writer->temporary[IDX], &i, sizeof i));
    return MEP_OK;
}

static mep_status write_index(mep_dataset_writer *writer)
{
    const char *path = writer->temporary[IDX], *sizes = writer->temporary[SIZES];
    mep_output *file = NULL;
    if (mep_output_flush(writer->sizes) != 0) return fail_write(sizes);
    int from = mep_fd_open(sizes, O_RDONLY);
    if (from < 0) return mep_fail_errno("read", sizes);
    mep_status status = open_temporary(&file, path, O_TRUNC);
    if (status == MEP_OK) {
        status = put_index(writer, file, from);
        mep_status closed = close_synced(&file, path);
        if (status == MEP_OK) status = closed;
    }
    (void)mep_fd_close(from);
    return status;
}

static mep_status write_tokenizer(const mep_dataset_writer *writer)
{
    if (writer->tokenizer_json == NULL) return MEP_OK;
    return mep_write_synced(writer->temporary[TOKENIZER], writer->tokenizer_json, writer->tokenizer_size);
}

static mep_status write_description(const mep_dataset_writer *writer)
{
    char checksum[17];
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)mep_checksum_end(&writer->state.checksum));
    json_t *root = json_pack("{s:s, s:I, s:I, s:I, s:s}", "tokenizer", writer->tokenizer, "vocab_size",
                             (json_int_t)writer->vocab_size, "documents", (json_int_t)writer->state.documents, "tokens",
                             (json_int_t)writer->state.tokens, "checksum", checksum);
    if (root != NULL && writer->mask != NULL) json_object_set_new(root, "mask", json_true());
    mep_status status = mep_write_json(writer->temporary[JSON], root);
    json_decref(root);
    return status;
}

mep_status mep_sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    if (slash == NULL)
        MEP_TRY(mep_copy_string(&folder, "."));
    else
        MEP_TRY(mep_format(&folder, "%.*s", (int)(slash - path) + 1, path));
    int fd = mep_fd_open(folder, O_RDONLY | O_DIRECTORY);
    mep_free(&folder);
    if (fd < 0) return MEP_OK;
    int failed = mep_fd_sync(fd) != 0 && errno == EIO;
    (void)mep_fd_close(fd);
    return failed ? fail_write(path) : MEP_OK;
}

/* Write what belongs to the end of a dataset, sync all files, and rename them, the index last. */
static mep_status complete(mep_dataset_writer *writer)
{
    if (writer->failed) return fail_incomplete(writer);
    if (writer->state.tokens == 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s would contain no tokens; add at least one document", writer->path[BIN]);
    if (writer->state.open > 0) MEP_TRY(end_sequence(writer));
    MEP_TRY(close_synced(&writer->bin, writer->temporary[BIN]));
    MEP_TRY(write_index(writer));
    MEP_TRY(write_tokenizer(writer));
    int has_mask = writer->mask != NULL;
    if (has_mask) {
        MEP_TRY(sync_file(writer->mask, writer->temporary[MASK]));
        MEP_TRY(add_file(&writer->state.checksum, writer->temporary[MASK]));
    }
    MEP_TRY(write_description(writer));
    if (has_mask) MEP_TRY(close_synced(&writer->mask, writer->temporary[MASK]));
    if (writer->tokenizer_json == NULL) unlink(writer->path[TOKENIZER]); /* of an older dataset */
    if (!has_mask) unlink(writer->path[MASK]);
    for (int i = 0; i < FILES; ++i) {
        if (i == TOKENIZER && writer->tokenizer_json == NULL) continue;
        if (i == MASK && !has_mask) continue;
        if (rename(writer->temporary[i], writer->path[i]) != 0) return fail_write(writer->path[i]);
    }
    return mep_sync_folder_of(writer->path[BIN]);
}

mep_status mep_dataset_writer_complete(mep_dataset_writer *writer)
{
    mep_status status = complete(writer);
    if (status != MEP_OK) writer->failed = 1;
    return status;
}

mep_status mep_dataset_writer_finish(mep_dataset_writer **writer)
{
    MEP_REQUIRE(writer);
    MEP_REQUIRE(*writer);
    mep_status status = mep_dataset_writer_complete(*writer);
    mep_dataset_writer_abandon(writer);
    return status;
}
