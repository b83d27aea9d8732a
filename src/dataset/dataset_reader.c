/* SPDX-License-Identifier: MIT */
/*
 * Reads a token dataset: both files are mapped, the index is checked once against the sizes of the files, and after
 * that PREFIX.bin is one array of tokens. No allocation grows with the dataset. Tokens are read with pread, so that a
 * file that is truncated during a long run causes an error instead of a signal; the pass over all of the data
 * (checksum, largest token) uses the mapping.
 */
#define _POSIX_C_SOURCE 200809L
#include "dataset/dataset_format.h"
#include "base/libraries.h"
#include "dataset/dataset_mask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/integer.h"
#include "base/json_keys.h"
#include "base/memory.h"

enum { DESCRIPTION_LIMIT = 1 << 20 }; /* maximum size of PREFIX.json in bytes */

typedef struct mapping {
    const unsigned char *data;
    int64_t size;
} mapping;

/* The results of the pass over all of the data, which is made when they are first needed. If two threads make it at the
 * same time, both get the same results. */
typedef struct dataset_scan {
    atomic_int is_made;
    _Atomic int64_t vocab_size;
    _Atomic int64_t bad_token; /* index of the first number that is not a token id; -1 if there is none */
    _Atomic uint64_t checksum;
} dataset_scan;

struct mep_dataset {
    char *prefix, *bin_path, *idx_path, *json_path;
    mapping bin, idx;
    int bin_fd; /* -1: not open */
    int type;
    int64_t token_size, sequences, all_documents, all_tokens; /* of the files */
    int has_documents;                                        /* 0: the index lists none, each sequence is a document */
    int64_t first_document, documents, first_token, tokens;   /* of the split that was opened */
    char *tokenizer;
    int has_checksum; /* PREFIX.json has this checksum: */
    uint64_t checksum;
    mep_dataset_mask mask;
    dataset_scan *scan;
};

int mep_dataset_exists(const char *prefix)
{
    char *path = NULL;
    if (prefix == NULL || mep_format(&path, "%.*s.idx", mep_dataset_prefix_length(prefix), prefix) != MEP_OK) return 0;
    int exists = access(path, F_OK) == 0;
    mep_free(&path);
    return exists;
}

const char *mep_dataset_prefix(const mep_dataset *dataset)
{
    return dataset != NULL ? dataset->prefix : "";
}

const char *mep_dataset_token_type(const mep_dataset *dataset)
{
    static const char *const names[] = {
        [MEP_TOKEN_UINT8] = "uint8",   [MEP_TOKEN_INT8] = "int8",   [MEP_TOKEN_INT16] = "int16",
        [MEP_TOKEN_UINT16] = "uint16", [MEP_TOKEN_INT32] = "int32", [MEP_TOKEN_INT64] = "int64",
    };
    return dataset != NULL ? names[dataset->type] : "";
}

int64_t mep_token_type_size(int type)
{
    switch (type) {
    case MEP_TOKEN_UINT8:
    case MEP_TOKEN_INT8:
        return 1;
    case MEP_TOKEN_INT16:
    case MEP_TOKEN_UINT16:
        return 2;
    case MEP_TOKEN_INT32:
        return 4;
    case MEP_TOKEN_INT64:
        return 8;
    default:
        return 0;
    }
}

int mep_dataset_prefix_length(const char *prefix)
{
    size_t length = strlen(prefix);
    if (length > 4 && (strcmp(prefix + length - 4, ".bin") == 0 || strcmp(prefix + length - 4, ".idx") == 0))
        length -= 4;
    return (int)length;
}

/* ---- Fields of the index (unaligned) ---- */

static uint64_t read_u64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static int32_t sequence_size(const mep_dataset *dataset, int64_t sequence)
{
    int32_t value;
    memcpy(&value, dataset->idx.data + MEP_INDEX_HEADER + 4 * sequence, sizeof value);
    return value;
}

static int64_t sequence_pointer(const mep_dataset *dataset, int64_t sequence)
{
    return (int64_t)read_u64(dataset->idx.data + MEP_INDEX_HEADER + 4 * dataset->sequences + 8 * sequence);
}

static int64_t document_sequence(const mep_dataset *dataset, int64_t document)
{
    if (!dataset->has_documents) return document;
    return (int64_t)read_u64(dataset->idx.data + MEP_INDEX_HEADER + 12 * dataset->sequences + 8 * document);
}

/* The first token of document `document` of the files; `document` may be their number of documents, the end. */
static int64_t document_token(const mep_dataset *dataset, int64_t document)
{
    int64_t sequence = document_sequence(dataset, document);
    if (sequence == dataset->sequences) return dataset->all_tokens;
    return sequence_pointer(dataset, sequence) / dataset->token_size;
}

/* ---- Opening ---- */

/* `path` is PREFIX.idx or PREFIX.bin. If mep prepare wrote splits (with --valid or --split), the message names the
 * first one. */
static mep_status fail_open(const char *path, const char *reason)
{
    char *train = NULL;
    int stem = (int)(strlen(path) - strlen(".idx"));
    MEP_TRY(mep_format(&train, "%.*s.train.idx", stem, path));
    mep_status status =
        access(train, F_OK) == 0
            ? mep_fail(MEP_ERROR_IO, "cannot open %s: %s; %.*s.train exists: name it, or another split", path, reason,
                       stem, path)
            : mep_fail(MEP_ERROR_IO,
                       "cannot open %s: %s; a dataset is PREFIX.bin and PREFIX.idx, written by mep prepare", path,
                       reason);
    mep_free(&train);
    return status;
}

/* Map a file for reading. If `keep` is not NULL, the descriptor stays open and the caller closes it. */
static mep_status map_file(mapping *file, const char *path, int *keep)
{
    int fd = mep_fd_open(path, O_RDONLY);
    if (fd < 0) return fail_open(path, strerror(errno));
    struct stat info;
    mep_status status = MEP_OK;
    if (fstat(fd, &info) != 0) {
        status = mep_fail_errno("read", path);
    } else if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
        status = mep_fail(MEP_ERROR_FORMAT, "%s is empty or not a regular file; prepare the dataset again", path);
    } else {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = mep_fail_errno("map", path);
        else
            *file = (mapping){data, (int64_t)info.st_size};
    }
    if (keep != NULL)
        *keep = fd;
    else
        close(fd);
    return status;
}

/* Check the header and the size of the index; after this its three tables can be read. */
static mep_status check_header(mep_dataset *dataset)
{
    const char *path = dataset->idx_path;
    const unsigned char *data = dataset->idx.data;
    int64_t size = dataset->idx.size;
    if (size < MEP_INDEX_HEADER || memcmp(data, MEP_INDEX_MAGIC, sizeof MEP_INDEX_MAGIC) != 0)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s is not an MMapIndexedDataset index (it does not begin with MMIDIDX); prepare the "
                        "dataset again",
                        path);
    if (read_u64(data + MEP_INDEX_VERSION_AT) != MEP_INDEX_VERSION)
        return mep_fail(MEP_ERROR_FORMAT, "%s has format version %llu, but only version 1 is supported", path,
                        (unsigned long long)read_u64(data + MEP_INDEX_VERSION_AT));
    dataset->type = data[MEP_INDEX_TYPE_AT];
    dataset->token_size = mep_token_type_size(dataset->type);
    if (dataset->token_size == 0)
        return mep_fail(MEP_ERROR_FORMAT, "%s has token type %d, which is not an integer type (1-5 and 8 are)", path,
                        dataset->type);
    uint64_t sequences = read_u64(data + MEP_INDEX_SEQUENCES_AT), entries = read_u64(data + MEP_INDEX_ENTRIES_AT);
    uint64_t room = (uint64_t)(size - MEP_INDEX_HEADER);
    if (sequences <= room / 13 && entries <= room / 8 && 13 * sequences + 8 * entries == room && sequences > 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "%s has a mode for each sequence: it is a multimodal dataset of Megatron-LM, and not all of "
                        "its sequences are text; prepare a dataset of the text only",
                        path);
    if (sequences > room / 12 || entries > room / 8 || 12 * sequences + 8 * entries != room)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s has %lld bytes, which is not the size for %llu sequences and %llu document "
                        "entries: it is damaged or incomplete; prepare the dataset again",
                        path, (long long)size, (unsigned long long)sequences, (unsigned long long)entries);
    if (entries == 0) return mep_fail(MEP_ERROR_FORMAT, "%s has no document entries; prepare the dataset again", path);
    dataset->sequences = (int64_t)sequences;
    /* merge_datasets.py of GPT-NeoX keeps only the first entry; its training then counts sequences as documents */
    dataset->has_documents = entries > 1 || sequences == 0;
    dataset->all_documents = dataset->has_documents ? (int64_t)entries - 1 : dataset->sequences;
    return MEP_OK;
}

/* Check that the sequences are stored end to end in .bin and fill it. */
static mep_status check_sequences(mep_dataset *dataset)
{
    int64_t room = dataset->bin.size / dataset->token_size, tokens = 0;
    for (int64_t i = 0; i < dataset->sequences; ++i) {
        int32_t size = sequence_size(dataset, i);
        if (size < 0 || size > room - tokens)
            return mep_fail(MEP_ERROR_FORMAT,
                            "%s: sequence %lld has %ld tokens, but %s has room for %lld there; the files "
                            "do not belong together or are damaged",
                            dataset->idx_path, (long long)i, (long)size, dataset->bin_path, (long long)(room - tokens));
        if (sequence_pointer(dataset, i) != tokens * dataset->token_size)
            return mep_fail(MEP_ERROR_FORMAT,
                            "%s: sequence %lld is at byte %lld instead of %lld, the end of the sequence before; "
                            "prepare the dataset again",
                            dataset->idx_path, (long long)i, (long long)sequence_pointer(dataset, i),
                            (long long)(tokens * dataset->token_size));
        tokens += size;
    }
    if (tokens == 0)
        return mep_fail(MEP_ERROR_FORMAT, "%s contains no tokens; prepare the dataset again", dataset->idx_path);
    if (tokens * dataset->token_size != dataset->bin.size)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s has %lld bytes, but %s describes %lld; the files do not belong together or are "
                        "damaged",
                        dataset->bin_path, (long long)dataset->bin.size, dataset->idx_path,
                        (long long)(tokens * dataset->token_size));
    dataset->all_tokens = tokens;
    return MEP_OK;
}

/* Check that the documents begin with sequence 0, are in ascending order, and end with the last sequence. */
static mep_status check_documents(const mep_dataset *dataset)
{
    int64_t previous = 0;
    for (int64_t i = 0; i <= dataset->all_documents; ++i) {
        int64_t first = document_sequence(dataset, i);
        if (first < previous || (i == 0 && first != 0) || (i == dataset->all_documents && first != dataset->sequences))
            return mep_fail(MEP_ERROR_FORMAT,
                            "%s: document entry %lld is sequence %lld of %lld, which is not valid; prepare the "
                            "dataset again",
                            dataset->idx_path, (long long)i, (long long)first, (long long)dataset->sequences);
        previous = first;
    }
    return MEP_OK;
}

static mep_status take_checksum(mep_dataset *dataset, const char *text)
{
    enum { DIGITS = 16 };
    char *end = NULL;
    if (text == NULL || strlen(text) != DIGITS || strspn(text, "0123456789abcdef") != DIGITS)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s has no \"checksum\" of 16 hexadecimal digits; move it away or prepare the dataset again",
                        dataset->json_path);
    dataset->checksum = strtoull(text, &end, 16);
    dataset->has_checksum = 1;
    return MEP_OK;
}

/* Take the content of PREFIX.json, which must match the index. */
static mep_status take_description(mep_dataset *dataset, json_t *root)
{
    static const char *const keys[] = {"tokenizer", "vocab_size", "documents", "tokens", "checksum", "mask", NULL};
    const char *tokenizer = json_string_value(json_object_get(root, "tokenizer"));
    const char *checksum = json_string_value(json_object_get(root, "checksum"));
    json_t *documents = json_object_get(root, "documents"), *tokens = json_object_get(root, "tokens");
    if (tokenizer == NULL || !json_is_integer(documents) || !json_is_integer(tokens))
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s does not describe a dataset (it lacks tokenizer, documents or tokens); move it "
                        "away or prepare the dataset again",
                        dataset->json_path);
    MEP_TRY(mep_json_check_keys(root, dataset->json_path, keys));
    MEP_TRY(take_checksum(dataset, checksum));
    if (json_integer_value(documents) != dataset->all_documents || json_integer_value(tokens) != dataset->all_tokens)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s describes %lld documents of %lld tokens, but %s has %lld of %lld; the files do "
                        "not belong together: prepare the dataset again",
                        dataset->json_path, (long long)json_integer_value(documents),
                        (long long)json_integer_value(tokens), dataset->idx_path, (long long)dataset->all_documents,
                        (long long)dataset->all_tokens);
    if (json_is_true(json_object_get(root, "mask")))
        MEP_TRY(mep_dataset_mask_open(&dataset->mask, dataset->json_path, dataset->all_tokens));
    mep_free(&dataset->tokenizer);
    if (strcmp(tokenizer, MEP_TOKENIZER_COPY) != 0) return mep_copy_string(&dataset->tokenizer, tokenizer);
    int length = (int)(strlen(dataset->json_path) - strlen(".json"));
    return mep_format(&dataset->tokenizer, "%.*s.%s", length, dataset->json_path, MEP_TOKENIZER_COPY);
}

static mep_status read_description(mep_dataset *dataset)
{
    MEP_TRY(mep_copy_string(&dataset->tokenizer, ""));
    struct stat info;
    if (stat(dataset->json_path, &info) != 0)
        return errno == ENOENT ? MEP_OK : mep_fail_errno("read", dataset->json_path);
    if (info.st_size > DESCRIPTION_LIMIT)
        return mep_fail(MEP_ERROR_FORMAT, "%s is too large to describe a dataset; move it away", dataset->json_path);
    json_error_t error;
    json_t *root = mep_json_load_fd(dataset->json_path, &error);
    if (root == NULL)
        return mep_fail(MEP_ERROR_FORMAT, "%s:%d: %s; move it away or prepare the dataset again", dataset->json_path,
                        error.line, error.text);
    mep_status status = take_description(dataset, root);
    json_decref(root);
    return status;
}

static mep_status open_files(mep_dataset *dataset, const char *prefix)
{
    int length = mep_dataset_prefix_length(prefix);
    MEP_TRY(mep_format(&dataset->prefix, "%.*s", length, prefix));
    MEP_TRY(mep_format(&dataset->bin_path, "%.*s.bin", length, prefix));
    MEP_TRY(mep_format(&dataset->idx_path, "%.*s.idx", length, prefix));
    MEP_TRY(mep_format(&dataset->json_path, "%.*s.json", length, prefix));
    MEP_TRY(MEP_ALLOC(&dataset->scan, 1));
    MEP_TRY(map_file(&dataset->idx, dataset->idx_path, NULL));
    MEP_TRY(check_header(dataset));
    MEP_TRY(map_file(&dataset->bin, dataset->bin_path, &dataset->bin_fd));
    MEP_TRY(check_sequences(dataset));
    MEP_TRY(check_documents(dataset));
    return read_description(dataset);
}

/* Restrict the dataset to the documents first .. end - 1. */
static void choose_documents(mep_dataset *dataset, int64_t first, int64_t end)
{
    dataset->first_document = first;
    dataset->documents = end - first;
    dataset->first_token = document_token(dataset, first);
    dataset->tokens = document_token(dataset, end) - dataset->first_token;
}

static mep_status open_split(mep_dataset *dataset, const char *prefix, const char *proportions, mep_split split)
{
    static const char *const names[] = {"training", "validation", "testing"};
    static_assert(sizeof names / sizeof *names == MEP_SPLIT_TEST + 1, "one name per split, in the same order");
    int64_t bounds[4] = {0};
    MEP_TRY(open_files(dataset, prefix));
    choose_documents(dataset, 0, dataset->all_documents);
    if (proportions == NULL) return MEP_OK;
    MEP_TRY(mep_split_documents(proportions, dataset->all_documents, bounds));
    choose_documents(dataset, bounds[split], bounds[split + 1]);
    if (dataset->tokens > 0) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "%s: the split %s of its %lld documents has no tokens for %s; choose "
                    "another split, or take more text",
                    prefix, proportions, (long long)dataset->all_documents, names[split]);
}

mep_status mep_dataset_open(mep_dataset **dataset, const char *prefix)
{
    MEP_REQUIRE(dataset, prefix);
    return mep_dataset_open_split(dataset, prefix, NULL, MEP_SPLIT_TRAIN);
}

mep_status mep_dataset_open_split(mep_dataset **dataset, const char *prefix, const char *proportions, mep_split split)
{
    MEP_REQUIRE(dataset, prefix);
    *dataset = NULL;
    if (split < MEP_SPLIT_TRAIN || split > MEP_SPLIT_TEST)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: a dataset has no part number %d", prefix, (int)split);
    MEP_NEED(JANSSON, "jansson", "datasets cannot be read");
    mep_dataset *opened = NULL;
    MEP_TRY(MEP_ALLOC(&opened, 1));
    opened->bin_fd = -1;
    mep_status status = open_split(opened, prefix, proportions, split);
    if (status != MEP_OK) mep_dataset_close(&opened);
    *dataset = opened;
    return status;
}

void mep_dataset_close(mep_dataset **dataset)
{
    if (dataset == NULL || *dataset == NULL) return;
    mep_dataset *open = *dataset;
    if (open->bin.data != NULL) munmap((void *)open->bin.data, (size_t)open->bin.size);
    if (open->idx.data != NULL) munmap((void *)open->idx.data, (size_t)open->idx.size);
    if (open->bin_fd >= 0) close(open->bin_fd);
    mep_dataset_mask_close(&open->mask);
    mep_free(&open->prefix);
    mep_free(&open->bin_path);
    mep_free(&open->idx_path);
    mep_free(&open->json_path);
    mep_free(&open->tokenizer);
    mep_free(&open->scan);
    mep_free(dataset);
}

/* ---- Properties ---- */

int64_t mep_dataset_tokens(const mep_dataset *dataset)
{
    if (dataset == NULL) return 0;
    return dataset->tokens;
}

int64_t mep_dataset_documents(const mep_dataset *dataset)
{
    if (dataset == NULL) return 0;
    return dataset->documents;
}

const char *mep_dataset_tokenizer(const mep_dataset *dataset)
{
    if (dataset == NULL) return "";
    return dataset->tokenizer;
}

/* Token `index` of an array of the given type. */
static inline int64_t token_at(int type, const void *data, int64_t index)
{
    switch (type) {
    case MEP_TOKEN_UINT8:
        return ((const uint8_t *)data)[index];
    case MEP_TOKEN_INT8:
        return ((const int8_t *)data)[index];
    case MEP_TOKEN_INT16:
        return ((const int16_t *)data)[index];
    case MEP_TOKEN_UINT16:
        return ((const uint16_t *)data)[index];
    case MEP_TOKEN_INT32:
        return ((const int32_t *)data)[index];
    default:
        return ((const int64_t *)data)[index];
    }
}

/* Returns the largest of `largest` and the tokens first .. last - 1 of an array. *bad becomes the index of the first
 * number that is not a token id, unless it is set already. */
static inline int64_t scan_tokens(int type, const void *data, int64_t first, int64_t last, int64_t largest,
                                  int64_t *bad)
{
    int64_t least = 0, most = largest;
    for (int64_t i = first; i < last; ++i) {
        int64_t token = token_at(type, data, i);
        least = min_i64(least, token);
        most = max_i64(most, token);
    }
    for (int64_t i = first; *bad < 0 && (least < 0 || most > INT32_MAX) && i < last; ++i) {
        int64_t token = token_at(type, data, i);
        if (token < 0 || token > INT32_MAX) *bad = i;
    }
    return most;
}

/* The pass over all of the data, in chunks: the checksum of the files, and the tokens of the split. */
static const dataset_scan *scan(const mep_dataset *dataset)
{
    enum { CHUNK = 1 << 20 };
    dataset_scan *made = dataset->scan;
    if (made->is_made) return made;
    int64_t width = dataset->token_size, split_end = dataset->first_token + dataset->tokens, largest = 0, bad = -1;
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    for (int64_t at = 0; at < dataset->all_tokens; at += CHUNK) {
        int64_t end = min_i64(at + CHUNK, dataset->all_tokens);
        mep_checksum_add(&checksum, dataset->bin.data + at * width, (end - at) * width);
        int64_t first = max_i64(at, dataset->first_token), last = min_i64(end, split_end);
        if (first < last) largest = scan_tokens(dataset->type, dataset->bin.data, first, last, largest, &bad);
    }
    mep_checksum_add(&checksum, dataset->idx.data, dataset->idx.size);
    mep_dataset_mask_checksum(&dataset->mask, dataset->all_tokens, &checksum);
    if (largest == INT64_MAX) --largest; /* not a token id; mep_dataset_read refuses it */
    made->checksum = mep_checksum_end(&checksum);
    made->vocab_size = largest + 1;
    made->bad_token = bad;
    made->is_made = 1;
    return made;
}

int64_t mep_dataset_vocab_size(const mep_dataset *dataset)
{
    if (dataset == NULL) return 0;
    return scan(dataset)->vocab_size;
}

uint64_t mep_dataset_checksum(const mep_dataset *dataset)
{
    if (dataset == NULL) return 0;
    return scan(dataset)->checksum;
}

/* `index` counts from the start of the file. */
static mep_status fail_token(const mep_dataset *dataset, int64_t index, int64_t token)
{
    return mep_fail(MEP_ERROR_FORMAT, "%s: token %lld is %lld, which is not a token id; prepare the dataset again",
                    dataset->bin_path, (long long)index, (long long)token);
}

mep_status mep_dataset_verify(const mep_dataset *dataset)
{
    MEP_REQUIRE(dataset);
    const dataset_scan *found = scan(dataset);
    if (dataset->has_checksum && found->checksum != dataset->checksum)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s or %s has changed since it was prepared: %s has the checksum %016llx, the data %016llx; "
                        "restore the files, or prepare the dataset again",
                        dataset->bin_path, dataset->idx_path, dataset->json_path, (unsigned long long)dataset->checksum,
                        (unsigned long long)found->checksum);
    int64_t bad = found->bad_token;
    return bad < 0 ? MEP_OK : fail_token(dataset, bad, token_at(dataset->type, dataset->bin.data, bad));
}

int64_t mep_dataset_document_start(const mep_dataset *dataset, int64_t index)
{
    if (dataset == NULL) return -1;
    if (index < 0 || index > dataset->documents) return -1;
    return document_token(dataset, dataset->first_document + index) - dataset->first_token;
}

/* Copy bytes of PREFIX.bin. */
static mep_status read_bytes(const mep_dataset *dataset, int64_t offset, int64_t size, char *out)
{
    while (size > 0) {
        int64_t n = mep_fd_read(dataset->bin_fd, out, size, offset);
        if (n < 0) return mep_fail_errno("read", dataset->bin_path);
        if (n == 0)
            return mep_fail(MEP_ERROR_IO, "%s became shorter while it was in use; restore it", dataset->bin_path);
        out += n;
        offset += n;
        size -= n;
    }
    return MEP_OK;
}

mep_status mep_dataset_read(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *tokens)
{
    MEP_REQUIRE(dataset);
    if (count > 0) MEP_REQUIRE(tokens);
    enum { CHUNK = 1 << 14 };
    _Alignas(8) char bytes[CHUNK];
    int64_t width = dataset->token_size, most = CHUNK / width;
    if (start < 0 || count < 0 || start > dataset->tokens || count > dataset->tokens - start)
        return mep_fail(MEP_ERROR_ARGUMENT, "cannot read %lld tokens from token %lld of %s, which has %lld",
                        (long long)count, (long long)start, dataset->bin_path, (long long)dataset->tokens);
    for (int64_t done = 0; done < count; done += most) {
        int64_t n = min_i64(count - done, most);
        MEP_TRY(read_bytes(dataset, (dataset->first_token + start + done) * width, n * width, bytes));
        for (int64_t i = 0; i < n; ++i) {
            int64_t token = token_at(dataset->type, bytes, i);
            if (token < 0 || token > INT32_MAX)
                return fail_token(dataset, dataset->first_token + start + done + i, token);
            tokens[done + i] = (int32_t)token;
        }
    }
    return MEP_OK;
}

int mep_dataset_has_mask(const mep_dataset *dataset)
{
    return dataset != NULL && dataset->mask.path != NULL;
}

mep_status mep_dataset_read_targets(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *targets)
{
    MEP_REQUIRE(dataset);
    if (count > 0) MEP_REQUIRE(targets);
    MEP_TRY(mep_dataset_read(dataset, start, count, targets));
    return mep_dataset_mask_apply(&dataset->mask, dataset->first_token + start, count, targets);
}
