/* SPDX-License-Identifier: MIT */
/*
 * Writing a token dataset: tokens stream into PREFIX.bin.tmp, the index and the description follow at the end, and only
 * when all three are on the disk are they renamed, the index last. A reader therefore sees the old dataset or the new
 * one; should the machine stop between two of the renames, it refuses the mixture where sizes or token counts
 * differ.
 */
#define _POSIX_C_SOURCE 200809L
#include "text/dataset_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "text/checksum.h"

enum { BIN, JSON, IDX, FILES }; /* in the order of their renaming */
enum {
    SMALL_VOCABULARY = 65500, /* Megatron's bound: below it tokens are uint16, otherwise int32 */
    CHUNK = 8192              /* tokens converted at a time */
};

static const char *const suffixes[FILES] = {".bin", ".json", ".idx"};

struct mep_dataset_writer {
    char *path[FILES], *temporary[FILES];
    char *tokenizer;
    int64_t vocab_size;
    int32_t end_token;
    int type;
    FILE *bin;
    int32_t *sizes; /* of the documents so far; one sequence each */
    int64_t documents, capacity, tokens;
    mep_checksum checksum;
    int failed; /* a write went wrong: finish must not */
};

static mep_status fail_write(const char *path)
{
    return mep_fail(MEP_ERROR_IO, "cannot write %s: %s; check the free space and the folder's permissions", path,
                    strerror(errno));
}

/* Close the files, remove the temporary ones (those already renamed are gone) and free the writer. */
void mep_dataset_writer_abandon(mep_dataset_writer **writer)
{
    if (writer == NULL || *writer == NULL) return;
    mep_dataset_writer *given = *writer;
    if (given->bin != NULL) fclose(given->bin);
    for (int i = 0; i < FILES; ++i) {
        if (given->temporary[i] != NULL) unlink(given->temporary[i]);
        mep_free(&given->temporary[i]);
        mep_free(&given->path[i]);
    }
    mep_free(&given->tokenizer);
    mep_free(&given->sizes);
    mep_free(writer);
}

static mep_status begin(mep_dataset_writer *writer, const char *prefix, const mep_tokenizer *tokenizer)
{
    int length = mep_dataset_prefix_length(prefix);
    for (int i = 0; i < FILES; ++i) {
        MEP_TRY(mep_format(&writer->path[i], "%.*s%s", length, prefix, suffixes[i]));
        MEP_TRY(mep_format(&writer->temporary[i], "%s.tmp", writer->path[i]));
    }
    MEP_TRY(mep_copy_string(&writer->tokenizer, mep_tokenizer_name(tokenizer)));
    writer->vocab_size = mep_tokenizer_vocab_size(tokenizer);
    writer->end_token = mep_tokenizer_end_of_document(tokenizer);
    writer->type = writer->vocab_size < SMALL_VOCABULARY ? MEP_TOKEN_UINT16 : MEP_TOKEN_INT32;
    mep_checksum_begin(&writer->checksum);
    writer->bin = fopen(writer->temporary[BIN], "wb");
    return writer->bin != NULL ? MEP_OK : fail_write(writer->temporary[BIN]);
}

mep_status mep_dataset_writer_create(mep_dataset_writer **writer, const char *prefix, const mep_tokenizer *tokenizer)
{
    *writer = NULL;
    mep_dataset_writer *created = NULL;
    MEP_TRY(mep_alloc(&created, 1, sizeof *created));
    mep_status status = begin(created, prefix, tokenizer);
    if (status != MEP_OK) mep_dataset_writer_abandon(&created);
    *writer = created;
    return status;
}

/* Bytes that count for the checksum: .bin, then .idx. */
static mep_status put(mep_dataset_writer *writer, FILE *file, const char *path, const void *data, int64_t size)
{
    mep_checksum_add(&writer->checksum, data, size);
    return fwrite(data, 1, (size_t)size, file) == (size_t)size ? MEP_OK : fail_write(path);
}

static mep_status put_tokens(mep_dataset_writer *writer, const int32_t *tokens, int64_t count)
{
    const char *path = writer->temporary[BIN];
    if (writer->type == MEP_TOKEN_INT32) return put(writer, writer->bin, path, tokens, count * 4);
    uint16_t narrow[CHUNK];
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t some = count - done < CHUNK ? count - done : CHUNK;
        for (int64_t i = 0; i < some; ++i) narrow[i] = (uint16_t)tokens[done + i];
        MEP_TRY(put(writer, writer->bin, path, narrow, some * 2));
    }
    return MEP_OK;
}

static mep_status check_tokens(const mep_dataset_writer *writer, const int32_t *tokens, int64_t count)
{
    for (int64_t i = 0; i < count; ++i) {
        if (tokens[i] < 0 || tokens[i] >= writer->vocab_size)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: token %lld of document %lld is %ld, but the tokenizer '%s' has %lld",
                            writer->path[BIN], (long long)i, (long long)writer->documents, (long)tokens[i],
                            writer->tokenizer, (long long)writer->vocab_size);
    }
    return MEP_OK;
}

mep_status mep_dataset_writer_add(mep_dataset_writer *writer, const int32_t *tokens, int64_t count, int end_of_document)
{
    int64_t most = INT32_MAX - (end_of_document != 0);
    if (count < 0 || count > most)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: a document of %lld tokens; the format allows 0 .. %lld, so split it",
                        writer->path[BIN], (long long)count, (long long)most);
    MEP_TRY(check_tokens(writer, tokens, count));
    if (writer->documents == writer->capacity) {
        int64_t capacity = writer->capacity == 0 ? 1024 : 2 * writer->capacity;
        MEP_TRY(mep_grow(&writer->sizes, writer->capacity, capacity, sizeof *writer->sizes));
        writer->capacity = capacity;
    }
    mep_status status = put_tokens(writer, tokens, count);
    if (status == MEP_OK && end_of_document) status = put_tokens(writer, &writer->end_token, 1);
    if (status != MEP_OK) {
        writer->failed = 1;
        return status;
    }
    int64_t size = count + (end_of_document != 0);
    writer->sizes[writer->documents++] = (int32_t)size;
    writer->tokens += size;
    return MEP_OK;
}

/* ---- The end: index, description, names ---- */

/* Flush, sync and close *file. */
static mep_status close_synced(FILE **file, const char *path)
{
    mep_status status = MEP_OK;
    if (fflush(*file) != 0 || fsync(fileno(*file)) != 0) status = fail_write(path);
    if (fclose(*file) != 0 && status == MEP_OK) status = fail_write(path);
    *file = NULL;
    return status;
}

static mep_status put_index(mep_dataset_writer *writer, FILE *file)
{
    const char *path = writer->temporary[IDX];
    uint64_t version = MEP_INDEX_VERSION;
    uint8_t type = (uint8_t)writer->type;
    uint64_t counts[2] = {(uint64_t)writer->documents, (uint64_t)writer->documents + 1};
    MEP_TRY(put(writer, file, path, MEP_INDEX_MAGIC, sizeof MEP_INDEX_MAGIC));
    MEP_TRY(put(writer, file, path, &version, sizeof version));
    MEP_TRY(put(writer, file, path, &type, sizeof type));
    MEP_TRY(put(writer, file, path, counts, sizeof counts));
    MEP_TRY(put(writer, file, path, writer->sizes, writer->documents * 4));
    int64_t pointer = 0;
    for (int64_t i = 0; i < writer->documents; ++i) {
        MEP_TRY(put(writer, file, path, &pointer, sizeof pointer));
        pointer += writer->sizes[i] * mep_token_type_size(writer->type);
    }
    for (int64_t i = 0; i <= writer->documents; ++i) MEP_TRY(put(writer, file, path, &i, sizeof i));
    return MEP_OK;
}

static mep_status write_index(mep_dataset_writer *writer)
{
    FILE *file = fopen(writer->temporary[IDX], "wb");
    if (file == NULL) return fail_write(writer->temporary[IDX]);
    mep_status status = put_index(writer, file);
    mep_status closed = close_synced(&file, writer->temporary[IDX]);
    return status != MEP_OK ? status : closed;
}

static mep_status write_description(const mep_dataset_writer *writer)
{
    const char *path = writer->temporary[JSON];
    char checksum[17];
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)mep_checksum_end(&writer->checksum));
    json_t *root = json_pack("{s:s, s:I, s:I, s:I, s:s}", "tokenizer", writer->tokenizer, "vocab_size",
                             (json_int_t)writer->vocab_size, "documents", (json_int_t)writer->documents, "tokens",
                             (json_int_t)writer->tokens, "checksum", checksum);
    if (root == NULL) return mep_fail(MEP_ERROR_MEMORY, "cannot compose %s", path);
    FILE *file = fopen(path, "wb");
    mep_status status = file == NULL ? fail_write(path) : MEP_OK;
    if (file != NULL) {
        if (json_dumpf(root, file, JSON_INDENT(2)) != 0 || fputc('\n', file) == EOF) status = fail_write(path);
        mep_status closed = close_synced(&file, path);
        if (status == MEP_OK) status = closed;
    }
    json_decref(root);
    return status;
}

/* Make the renames last: sync the folder that `path` is in. A file system that cannot do so is no failure. */
static mep_status sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    if (slash == NULL)
        MEP_TRY(mep_copy_string(&folder, "."));
    else
        MEP_TRY(mep_format(&folder, "%.*s", (int)(slash - path) + 1, path));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mep_free(&folder);
    if (fd < 0) return MEP_OK;
    int failed = fsync(fd) != 0 && errno == EIO;
    close(fd);
    return failed ? fail_write(path) : MEP_OK;
}

static mep_status finish(mep_dataset_writer *writer)
{
    if (writer->failed)
        return mep_fail(MEP_ERROR_IO, "%s is incomplete because an earlier write failed", writer->path[BIN]);
    if (writer->tokens == 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s would hold no tokens; give it at least one document",
                        writer->path[BIN]);
    MEP_TRY(close_synced(&writer->bin, writer->temporary[BIN]));
    MEP_TRY(write_index(writer));
    MEP_TRY(write_description(writer));
    for (int i = 0; i < FILES; ++i) {
        if (rename(writer->temporary[i], writer->path[i]) != 0) return fail_write(writer->path[i]);
    }
    return sync_folder(writer->path[BIN]);
}

mep_status mep_dataset_writer_finish(mep_dataset_writer **writer)
{
    mep_status status = finish(*writer);
    mep_dataset_writer_abandon(writer);
    return status;
}
