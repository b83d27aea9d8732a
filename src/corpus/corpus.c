/* SPDX-License-Identifier: MIT */
/*
 * Cutting files into records, the lines and texts that documents are made of. unpack.c unpacks: a file is opened as
 * one "raw" stream or as a tar, and the members of a tar are opened in the same way again, so a .tar of .jsonl.zst
 * needs nothing special. What a stream is, its name says: NAME[.tar | .jsonl | .json][.gz | .zst | .xz]; anything else
 * is one document. Memory: one buffer, whatever the compression ratio. It grows with the longest line of JSON, up to
 * the limit; texts are handed out in slices.
 */
#define _POSIX_C_SOURCE 200809L
#include "corpus/corpus.h"
#include "tokenizer/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"
#include "corpus/unpack.h"

enum {
    FIRST_BUFFER = 1 << 20,
    KEPT_BUFFER = 1 << 24, /* a longer one, which a long document needed, is given back */
    BINARY_PREFIX = 8192,  /* a zero byte among so many says: not text */
    TAR_DEPTH = 4          /* tars in tars */
};

typedef struct reader {
    const mep_corpus_reading *reading;
    mep_record_fn record;
    void *context;
    int64_t done, total;     /* bytes of the files read before this one, and of all */
    int64_t file, number;    /* the file that is being read, and its records so far */
    mep_file_source *source; /* the same file */
    char *buffer;
    int64_t capacity;
    int has_text; /* the input that is being read has a record that is not blank */
} reader;

/* What the name says about a stream. */
typedef struct stream_kind {
    int filter; /* ARCHIVE_FILTER_NONE, _GZIP, _ZSTD, _XZ */
    int tar, lines;
} stream_kind;

/* A stream that is being read: `chosen` says that the user named it, so it is read even if it looks binary. */
typedef struct stream {
    mep_unpacker unpacker;
    const char *name; /* for messages: "FILE", or "FILE:MEMBER" inside a tar */
    int chosen;
} stream;

/* ---- What a name says ---- */

/* When `name` of *length bytes ends with `suffix`, shorten *length by it. */
static int strip(const char *name, size_t *length, const char *suffix)
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
    if (strip(name, &length, ".tgz")) return (stream_kind){ARCHIVE_FILTER_GZIP, 1, 0};
    if (strip(name, &length, ".gz"))
        kind.filter = ARCHIVE_FILTER_GZIP;
    else if (strip(name, &length, ".zst"))
        kind.filter = ARCHIVE_FILTER_ZSTD;
    else if (strip(name, &length, ".xz"))
        kind.filter = ARCHIVE_FILTER_XZ;
    kind.tar = strip(name, &length, ".tar");
    kind.lines = strip(name, &length, ".jsonl") || strip(name, &length, ".json");
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

/* How much of the next record's text is not to be handed out: all of it (INT64_MAX), a part, or nothing. */
static int64_t taken_before(const reader *state)
{
    const mep_corpus_reading *reading = state->reading;
    if (state->file != reading->file || state->number > reading->number) return 0;
    return state->number < reading->number ? INT64_MAX : reading->offset;
}

/* Hand out a record or a slice: name, line, bytes, size, offset and next are given. */
static mep_status emit(reader *state, mep_corpus_record record)
{
    record.file = state->file;
    record.number = state->number;
    record.position = state->done + state->source->bytes;
    record.total = state->total;
    return state->record(state->context, &record);
}

/* Hand out slices of a text as long as it is longer than one: the bytes at `offset` of the text, more of which may
 * follow. *taken are gone then; the rest is not empty. What has no place to cut it becomes one longer slice. */
static mep_status emit_slices(reader *state, const char *name, char *bytes, int64_t size, int64_t offset,
                              int64_t *taken)
{
    const mep_corpus_reading *reading = state->reading;
    int64_t length = reading->slice;
    for (*taken = 0; reading->tokenizer != NULL && size - *taken > length;) {
        char *slice = bytes + *taken;
        int64_t cut = mep_tokenizer_split_point(reading->tokenizer, slice, length), begin = offset + *taken;
        if (cut > 0) MEP_TRY(emit(state, (mep_corpus_record){name, 0, slice, cut, begin, begin + cut, 0, 0, 0, 0}));
        *taken += cut;
        length = cut > 0 ? reading->slice : 2 * length;
    }
    return MEP_OK;
}

/* Hand out the text of a long line of JSON, in slices. */
static mep_status emit_long_line(reader *state, const mep_corpus_record *line)
{
    json_t *json = NULL;
    const char *found = NULL;
    int64_t size = 0, taken = 0, before = taken_before(state);
    mep_status status = mep_corpus_record_text(line, &json, &found, &size);
    if (status == MEP_ERROR_FORMAT && state->reading->skip_bad_lines) return emit(state, *line);
    if (before > size) before = size;
    char *text = size > 0 ? (char *)found + before : line->bytes; /* who takes a text does not change it */
    if (status == MEP_OK) status = emit_slices(state, line->name, text, size - before, before, &taken);
    if (status == MEP_OK)
        status = emit(state, (mep_corpus_record){line->name, 0, text + taken, size - before - taken, before + taken, 0,
                                                 0, 0, 0, 0});
    json_decref(json);
    return status;
}

/* Hand out the next line, unless it lies before what is wanted. */
static mep_status take_line(reader *state, const char *name, int64_t line, char *bytes, int64_t size)
{
    const mep_corpus_reading *reading = state->reading;
    const mep_corpus_record record = {name, line, bytes, size, 0, 0, 0, 0, 0, 0};
    if (!state->has_text) state->has_text = !mep_corpus_is_blank(bytes, size);
    if (taken_before(state) < INT64_MAX)
        MEP_TRY(reading->tokenizer != NULL && size > reading->slice ? emit_long_line(state, &record)
                                                                    : emit(state, record));
    ++state->number;
    return MEP_OK;
}

/* Room for at least one more byte behind `used`; `line` is 0 for a document that is no line. */
static mep_status make_room(reader *state, int64_t used, const char *name, int64_t line)
{
    int64_t limit = state->reading->limit;
    if (line > 0 && limit > MEP_LINE_LIMIT) limit = MEP_LINE_LIMIT;
    if (used > limit && line > 0)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s:%lld: the line is longer than %lld bytes, the most that is read; split it", name,
                        (long long)line, (long long)limit);
    if (used < state->capacity) return MEP_OK;
    if (used > limit)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s: the document is longer than %lld bytes, the most that is read in one piece; split it",
                        name, (long long)limit);
    int64_t capacity = state->capacity == 0 ? FIRST_BUFFER : 2 * state->capacity;
    if (capacity > limit + 1) capacity = limit + 1;
    MEP_TRY(mep_grow(&state->buffer, used, capacity, 1));
    state->capacity = capacity;
    return MEP_OK;
}

/* A file that the user named is read whatever it holds, but packed text would become tokens of no use. */
static mep_status check_not_packed(const char *name, const char *bytes, int64_t size)
{
    static const struct {
        const char *begin, *what;
    } packed[] = {{"\x1f\x8b", "gzip, so it has to end in .gz"},
                  {"\x28\xb5\x2f\xfd", "zstd, so it has to end in .zst"},
                  {"\xfd"
                   "7zXZ",
                   "xz, so it has to end in .xz"},
                  {"BZh", "bzip2, which is not read; unpack it"},
                  {"PK\x03\x04", "zip, which is not read; unpack it"},
                  {"PAR1", "Parquet, which is not read; write its texts as .jsonl"},
                  {NULL, NULL}};
    for (int i = 0; packed[i].begin != NULL; ++i) {
        int64_t length = (int64_t)strlen(packed[i].begin);
        if (size >= length && memcmp(bytes, packed[i].begin, (size_t)length) == 0)
            return mep_fail(MEP_ERROR_FORMAT, "cannot read %s: it looks like %s", name, packed[i].what);
    }
    return MEP_OK;
}

/* The whole stream is one document. `offset` is where the buffer begins in it. */
static mep_status read_text(reader *state, stream *from)
{
    int64_t used = 0, offset = 0, got = 1, before = taken_before(state);
    int looked = from->chosen;
    while (got > 0) {
        MEP_TRY(make_room(state, used, from->name, 0));
        MEP_TRY(mep_unpacker_read(&from->unpacker, from->name, state->buffer + used, state->capacity - used, &got));
        used += got;
        if (from->chosen && offset == 0) MEP_TRY(check_not_packed(from->name, state->buffer, used));
        if (!looked && (used >= BINARY_PREFIX || got == 0)) {
            int64_t prefix = used < BINARY_PREFIX ? used : BINARY_PREFIX;
            if (memchr(state->buffer, 0, (size_t)prefix) != NULL) return MEP_OK;
            looked = 1;
        }
        int64_t left = before - offset, taken = used < left ? used : left;
        if (!looked) continue;
        if (left <= 0) MEP_TRY(emit_slices(state, from->name, state->buffer, used, offset, &taken));
        used -= taken;
        offset += taken;
        memmove(state->buffer, state->buffer + taken, (size_t)used);
    }
    state->has_text |= offset + used > 0;
    if (before < INT64_MAX)
        MEP_TRY(emit(state, (mep_corpus_record){from->name, 0, state->buffer, used, offset, 0, 0, 0, 0, 0}));
    ++state->number;
    return MEP_OK;
}

/* Each line is a record. */
static mep_status read_lines(reader *state, stream *from)
{
    int64_t used = 0, scanned = 0, line = 1, got = 1;
    while (got > 0) {
        MEP_TRY(make_room(state, used, from->name, line));
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
    MEP_TRY(mep_alloc(&source, 1, sizeof *source));
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
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: more than %d tars inside each other; unpack it first", from->name,
                        TAR_DEPTH);
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
    if (entry == NULL) return MEP_OK; /* nothing in it */
    return kind.lines ? read_lines(state, from) : read_text(state, from);
}

static mep_status read_open_file(reader *state, const char *path, int fd, int chosen)
{
    stream_kind kind = kind_of(path);
    stream file = {.name = path, .chosen = chosen};
    MEP_TRY(mep_alloc(&state->source, 1, sizeof *state->source));
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
    int fd = mep_fd_open(file->path, O_RDONLY); /* a pipe is waited for */
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

/* ---- The whole corpus ---- */

/* Read the files of an input, from file `first` on; returns the first file of the next input in *next. */
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
            state->has_text = 1; /* it was read by an earlier call */
        }
    }
    *next = i;
    if (state->has_text) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT,
                    "%s holds no text; give text files, .jsonl files or folders of them (hidden and binary "
                    "files in folders are left out)",
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
