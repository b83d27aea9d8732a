/* SPDX-License-Identifier: MIT */
/*
 * Divides files into records: lines and texts. unpack.c decompresses: a file is opened as one "raw" stream or as a tar,
 * and each member of a tar is opened in the same way, so a .tar of .jsonl.zst needs no special case. The name tells the
 * kind of a stream: NAME[.tar | .jsonl | .json][.gz | .zst | .xz]; any other file is one document. Memory: one buffer,
 * whatever the compression ratio. It grows with the longest line of JSON, up to the limit; texts are passed on in
 * slices.
 */
#define _POSIX_C_SOURCE 200809L
#include "corpus/corpus.h"
#include "tokenizer/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/integer.h"
#include "base/memory.h"
#include "corpus/unpack.h"

enum {
    FIRST_BUFFER = 1 << 20,
    KEPT_BUFFER = 1 << 24, /* a larger buffer is freed after the file */
    BINARY_PREFIX = 8192,  /* a file with a zero byte in its first bytes is not text */
    TAR_DEPTH = 4          /* nested tars */
};

typedef struct reader {
    const mep_corpus_reading *reading;
    mep_record_fn record;
    void *context;
    int64_t done, total;     /* bytes of the files read before this one, and of all files */
    int64_t file, number;    /* index of the current file, and number of its records so far */
    mep_file_source *source; /* the current file */
    char *buffer;
    int64_t capacity;
    int has_text; /* the current input has a record that is not blank */
} reader;

/* The kind of a stream, from its name. */
typedef struct stream_kind {
    int filter; /* ARCHIVE_FILTER_NONE, _GZIP, _ZSTD, _XZ */
    int tar, lines;
} stream_kind;

/* A stream that is being read. If the user named it (`chosen`), it is read even if it looks binary. */
typedef struct stream {
    mep_unpacker unpacker;
    const char *name; /* for messages: "FILE", or "FILE:MEMBER" inside a tar */
    int chosen;
} stream;

/* ---- Kinds by name ---- */

/* If `name` of *length bytes ends with `suffix`, subtract its length from *length and return 1. */
static int remove_suffix(const char *name, size_t *length, const char *suffix)
{
    size_t size = strlen(suffix);
    if (*length <= size || strncasecmp(name + *length - size, suffix, size) != 0) return 0;
    *length -= size;
    return 1;
}

static stream_kind kind_of(const char *name)
{
    size_t length = strlen(name);
    stream_kind kind = {ARCHIVE_FILTER_NONE, 0, 0};
    if (remove_suffix(name, &length, ".tgz")) return (stream_kind){ARCHIVE_FILTER_GZIP, 1, 0};
    if (remove_suffix(name, &length, ".gz"))
        kind.filter = ARCHIVE_FILTER_GZIP;
    else if (remove_suffix(name, &length, ".zst"))
        kind.filter = ARCHIVE_FILTER_ZSTD;
    else if (remove_suffix(name, &length, ".xz"))
        kind.filter = ARCHIVE_FILTER_XZ;
    kind.tar = remove_suffix(name, &length, ".tar");
    kind.lines = remove_suffix(name, &length, ".jsonl") || remove_suffix(name, &length, ".json");
    return kind;
}

static int is_hidden(const char *path)
{
    for (const char *part = path; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        size_t length = strcspn(part, "/");
        int here = (length == 1 && part[0] == '.') || (length == 2 && memcmp(part, "..", 2) == 0);
        if (part[0] == '.' && !here) return 1;
    }
    return 0;
}

/* ---- Documents ---- */

/* How many bytes of the next record's text were passed on by an earlier call: all (INT64_MAX), some, or none. */
static int64_t done_before(const reader *state)
{
    const mep_corpus_reading *reading = state->reading;
    if (state->file != reading->file || state->number > reading->number) return 0;
    return state->number < reading->number ? INT64_MAX : reading->offset;
}

/* Pass on a record or a slice, whose name, line, bytes, size, offset and next are set. */
static mep_status emit(reader *state, mep_corpus_record record)
{
    record.file = state->file;
    record.number = state->number;
    record.position = state->done + state->source->bytes;
    record.total = state->total;
    return state->record(state->context, &record);
}

/* Pass on slices of a text while more than a slice is left. `bytes` are at `offset` of the text, more of which may
 * follow. *taken is the number of bytes passed on; the rest is not empty. Without a split point a slice gets longer. */
static mep_status emit_slices(reader *state, const char *name, char *bytes, int64_t size, int64_t offset,
                              int64_t *taken)
{
    const mep_corpus_reading *reading = state->reading;
    int64_t length = reading->slice;
    for (*taken = 0; reading->tokenizer != NULL && size - *taken > length;) {
        char *slice = bytes + *taken;
        int64_t begin = offset + *taken, split = mep_tokenizer_split_point(reading->tokenizer, slice, length);
        const mep_corpus_record record = {
            .name = name, .bytes = slice, .size = split, .offset = begin, .next = begin + split};
        if (split > 0) MEP_TRY(emit(state, record));
        *taken += split;
        length = split > 0 ? reading->slice : 2 * length;
    }
    MEP_ASSERT(size == 0 || *taken < size);
    return MEP_OK;
}

/* Pass on the text of a long line of JSON in slices. */
static mep_status emit_long_line(reader *state, const mep_corpus_record *line)
{
    json_t *json = NULL;
    const char *found = NULL;
    int64_t size = 0, taken = 0, before = done_before(state);
    mep_status status = mep_corpus_record_text(line, &json, &found, &size);
    if (status == MEP_ERROR_FORMAT && state->reading->skip_bad_lines) {
        status = emit(state, *line);
    } else if (status == MEP_OK) {
        before = min_i64(before, size);
        char *text = size > 0 ? (char *)found + before : line->bytes; /* the receiver of a text does not change it */
        MEP_TRY_OR(status, emit_slices(state, line->name, text, size - before, before, &taken), done);
        const mep_corpus_record last = {
            .name = line->name, .bytes = text + taken, .size = size - before - taken, .offset = before + taken};
        status = emit(state, last);
    }
done:
    json_decref(json);
    return status;
}

/* Pass on the next line, unless an earlier call did. */
static mep_status take_line(reader *state, const char *name, int64_t line, char *bytes, int64_t size)
{
    const mep_corpus_reading *reading = state->reading;
    const mep_corpus_record record = {.name = name, .line = line, .bytes = bytes, .size = size};
    if (!state->has_text) state->has_text = !mep_corpus_is_blank(bytes, size);
    if (done_before(state) < INT64_MAX)
        MEP_TRY(reading->tokenizer != NULL && size > reading->slice ? emit_long_line(state, &record)
                                                                    : emit(state, record));
    ++state->number;
    return MEP_OK;
}

/* Make space for at least one more byte after the first `used`; `line` is 0 for a document that is not a line. */
static mep_status reserve(reader *state, int64_t used, const char *name, int64_t line)
{
    int64_t limit = state->reading->limit;
    if (line > 0) limit = min_i64(limit, MEP_LINE_LIMIT);
    if (used > limit && line > 0)
        return mep_fail(MEP_ERROR_FORMAT, "%s:%lld: the line is longer than the limit of %lld bytes; split it", name,
                        (long long)line, (long long)limit);
    if (used < state->capacity) return MEP_OK;
    if (used > limit)
        return mep_fail(
            MEP_ERROR_FORMAT,
            "%s: the document is longer than %lld bytes, the limit for a text that is read at once; split it", name,
            (long long)limit);
    int64_t capacity = min_i64(state->capacity == 0 ? FIRST_BUFFER : 2 * state->capacity, limit + 1);
    MEP_TRY(MEP_GROW(&state->buffer, used, capacity));
    state->capacity = capacity;
    return MEP_OK;
}

/* A file that the user named is read whatever it holds, except compressed text, whose tokens would be useless. */
static mep_status check_not_compressed(const char *name, const char *bytes, int64_t size)
{
    static const struct {
        const char *begin, *what;
    } known[] = {{"\x1f\x8b", "gzip; give it a name that ends in .gz"},
                 {"\x28\xb5\x2f\xfd", "zstd; give it a name that ends in .zst"},
                 {"\xfd"
                  "7zXZ",
                  "xz; give it a name that ends in .xz"},
                 {"BZh", "bzip2, which is not supported; decompress it"},
                 {"PK\x03\x04", "zip, which is not supported; unpack it"},
                 {"PAR1", "Parquet, which is not supported; write its texts as .jsonl"},
                 {NULL, NULL}};
    for (int i = 0; known[i].begin != NULL; ++i) {
        int64_t length = (int64_t)strlen(known[i].begin);
        if (size >= length && memcmp(bytes, known[i].begin, (size_t)length) == 0)
            return mep_fail(MEP_ERROR_FORMAT, "cannot read %s: it looks like %s", name, known[i].what);
    }
    return MEP_OK;
}

/* Read a stream that is one document. `offset` is the offset of the buffer in it. */
static mep_status read_text(reader *state, stream *from)
{
    int64_t used = 0, offset = 0, got = 1, before = done_before(state);
    int checked = from->chosen; /* that the stream is not binary */
    while (got > 0) {
        MEP_TRY(reserve(state, used, from->name, 0));
        MEP_TRY(mep_unpacker_read(&from->unpacker, from->name, state->buffer + used, state->capacity - used, &got));
        used += got;
        if (from->chosen && offset == 0) MEP_TRY(check_not_compressed(from->name, state->buffer, used));
        if (!checked && (used >= BINARY_PREFIX || got == 0)) {
            if (memchr(state->buffer, 0, (size_t)min_i64(used, BINARY_PREFIX)) != NULL) return MEP_OK;
            checked = 1;
        }
        int64_t left = before - offset, taken = min_i64(used, left);
        if (!checked) continue;
        if (left <= 0) MEP_TRY(emit_slices(state, from->name, state->buffer, used, offset, &taken));
        used -= taken;
        offset += taken;
        memmove(state->buffer, state->buffer + taken, (size_t)used);
    }
    state->has_text |= offset + used > 0;
    const mep_corpus_record last = {.name = from->name, .bytes = state->buffer, .size = used, .offset = offset};
    if (before < INT64_MAX) MEP_TRY(emit(state, last));
    ++state->number;
    return MEP_OK;
}

/* Read a stream in which each line is a record. */
static mep_status read_lines(reader *state, stream *from)
{
    int64_t used = 0, scanned = 0, line = 1, got = 1;
    while (got > 0) {
        MEP_TRY(reserve(state, used, from->name, line));
        MEP_TRY(mep_unpacker_read(&from->unpacker, from->name, state->buffer + used, state->capacity - used, &got));
        used += got;
        int64_t start = 0;
        const char *end;
        while ((end = memchr(state->buffer + scanned, '\n', (size_t)(used - scanned))) != NULL) {
            int64_t stop = end - state->buffer;
            MEP_TRY(take_line(state, from->name, line++, state->buffer + start, stop - start));
            start = scanned = stop + 1;
        }
        used -= start;
        memmove(state->buffer, state->buffer + start, (size_t)used);
        scanned = used;
    }
    return used == 0 ? MEP_OK : take_line(state, from->name, line, state->buffer, used);
}

/* ---- Streams in streams ---- */

static mep_status read_stream(reader *state, stream *from, stream_kind kind, int depth);

static mep_status read_member(reader *state, struct archive *tar, const char *name, int depth)
{
    stream_kind kind = kind_of(name);
    stream inner = {.name = name};
    mep_member_source *source = NULL;
    MEP_TRY(MEP_ALLOC(&source, 1));
    source->tar = tar;
    mep_status status = mep_unpacker_open(&inner.unpacker, mep_member_source_read, source, kind.filter, kind.tar, name);
    if (status == MEP_OK) status = read_stream(state, &inner, kind, depth);
    mep_unpacker_close(&inner.unpacker);
    mep_free(&source);
    return status;
}

static mep_status read_tar(reader *state, stream *from, int depth)
{
    if (depth == TAR_DEPTH)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: more than %d nested tars; unpack it first", from->name, TAR_DEPTH);
    for (;;) {
        struct archive_entry *entry;
        MEP_TRY(mep_unpacker_next(&from->unpacker, from->name, &entry));
        if (entry == NULL) return MEP_OK;
        const char *path = archive_entry_pathname(entry);
        if (path == NULL) path = archive_entry_pathname_utf8(entry);
        if (path == NULL || is_hidden(path) || archive_entry_filetype(entry) != AE_IFREG) continue;
        char *name = NULL;
        MEP_TRY(mep_format(&name, "%s:%s", from->name, path));
        mep_status status = read_member(state, from->unpacker.archive, name, depth + 1);
        mep_free(&name);
        MEP_TRY(status);
    }
}

static mep_status read_stream(reader *state, stream *from, stream_kind kind, int depth)
{
    if (kind.tar) return read_tar(state, from, depth);
    struct archive_entry *entry;
    MEP_TRY(mep_unpacker_next(&from->unpacker, from->name, &entry));
    if (entry == NULL) return MEP_OK; /* empty */
    return kind.lines ? read_lines(state, from) : read_text(state, from);
}

static mep_status read_open_file(reader *state, const char *path, int fd, int chosen)
{
    stream_kind kind = kind_of(path);
    stream file = {.name = path, .chosen = chosen};
    MEP_TRY(MEP_ALLOC(&state->source, 1));
    state->source->fd = fd;
    mep_status status =
        mep_unpacker_open(&file.unpacker, mep_file_source_read, state->source, kind.filter, kind.tar, path);
    if (status == MEP_OK) status = read_stream(state, &file, kind, 0);
    mep_unpacker_close(&file.unpacker);
    mep_free(&state->source);
    return status;
}

static mep_status read_file(reader *state, const mep_corpus_file *file, int chosen)
{
    int fd = mep_fd_open(file->path, O_RDONLY); /* waits for the writer of a pipe */
    if (fd < 0)
        return mep_fail(MEP_ERROR_IO, "cannot read %s: %s; check the name and the permissions", file->path,
                        strerror(errno));
    mep_status status = read_open_file(state, file->path, fd, chosen);
    (void)mep_fd_close(fd);
    state->done += file->size;
    if (state->capacity > KEPT_BUFFER) {
        mep_free(&state->buffer);
        state->capacity = 0;
    }
    return status;
}

/* ---- All inputs ---- */

/* Read the files of an input, which begin with file `first`; *next is the first file of the next input. */
static mep_status read_input(reader *state, int64_t input, int64_t first, int64_t *next)
{
    const mep_corpus_reading *reading = state->reading;
    const char *path = reading->paths[input];
    const mep_corpus_file *files = reading->files->items;
    int64_t i = first;
    state->has_text = 0;
    for (; i < reading->files->count && files[i].input == input; ++i) {
        state->file = i;
        state->number = 0;
        if (i >= reading->file) {
            MEP_TRY(read_file(state, &files[i], strcmp(files[i].path, path) == 0));
        } else {
            state->done += files[i].size;
            state->has_text = 1; /* an earlier call read it */
        }
    }
    *next = i;
    if (state->has_text) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT,
                    "%s contains no text; give text files, .jsonl files or folders of them (hidden and binary "
                    "files in folders are skipped)",
                    path);
}

mep_status mep_corpus_read_records(const mep_corpus_reading *reading, mep_record_fn record, void *context)
{
    reader state = {.reading = reading, .record = record, .context = context};
    mep_status status = MEP_OK;
    int64_t next = 0;
    for (int64_t i = 0; i < reading->files->count; ++i) state.total += reading->files->items[i].size;
    for (int64_t i = 0; i < reading->files->inputs && status == MEP_OK; ++i)
        status = read_input(&state, i, next, &next);
    mep_free(&state.buffer);
    return status;
}
