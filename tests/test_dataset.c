/* SPDX-License-Identifier: MIT */
/*
 * The token dataset: tokens that are written are read back, the bytes are those of Megatron's format, a damaged index
 * is refused wherever the damage is, and a failed writer leaves existing files unchanged.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "base/random.h"
#include "mep/data.h"
#include "dataset/dataset_format.h"
#include "tokenizer/tokenizer.h"
#include "expect.h"
#include "text_files.h"

static int exists(const char *name)
{
    return access(in_folder(name), F_OK) == 0;
}

/* A tokenizer that has only a name and a size. */
static const mep_tokenizer_ops fake_ops = {.json = NULL};

static mep_tokenizer fake(int64_t vocab_size)
{
    return (mep_tokenizer){&fake_ops, "fake", vocab_size, (int32_t)vocab_size - 1};
}

/* Document `index` of a random dataset. */
static int32_t *made_up(uint64_t seed, int64_t index, int64_t size, int64_t vocab_size)
{
    int32_t *tokens = malloc((size_t)size * 4 + 4);
    for (int64_t i = 0; i < size; ++i)
        tokens[i] = (int32_t)(mep_random_bits(seed, (uint64_t)index, (uint64_t)i) % (uint64_t)vocab_size);
    return tokens;
}

/* Write three short documents: {0, 1, 2}, {}, {7, 256}; with the end-of-document token after each. */
static void write_three(const char *prefix, int32_t first)
{
    mep_tokenizer *tokenizer = NULL;
    mep_dataset_writer *writer = NULL;
    const int32_t a[] = {first, 1, 2}, b[] = {7, 256};
    expect(mep_tokenizer_bytes(&tokenizer), MEP_OK);
    expect(mep_dataset_writer_create(&writer, prefix, tokenizer), MEP_OK);
    expect(mep_dataset_writer_add(writer, a, 3, 1), MEP_OK);
    expect(mep_dataset_writer_add(writer, NULL, 0, 1), MEP_OK);
    expect(mep_dataset_writer_add(writer, b, 2, 1), MEP_OK);
    expect(mep_dataset_writer_finish(&writer), MEP_OK);
    assert_null(writer);
    mep_tokenizer_destroy(&tokenizer);
}

/* The dataset that write_three wrote, with its first token. */
static void expect_three(const char *prefix, int32_t first)
{
    mep_dataset *dataset = NULL;
    int32_t tokens[8], expected[8] = {first, 1, 2, 256, 256, 7, 256, 256};
    expect(mep_dataset_open(&dataset, prefix), MEP_OK);
    assert_int_equal(mep_dataset_tokens(dataset), 8);
    expect(mep_dataset_read(dataset, 0, 8, tokens), MEP_OK);
    assert_memory_equal(tokens, expected, sizeof expected);
    mep_dataset_close(&dataset);
}

/* ---- Round trips ---- */

static void round_trip(int64_t vocab_size, int end_of_document)
{
    static const int64_t sizes[] = {1, 0, 2, 8191, 8192, 8193, 1, 100000, 3, 0};
    enum { DOCUMENTS = sizeof sizes / sizeof *sizes };
    mep_tokenizer tokenizer = fake(vocab_size);
    mep_dataset_writer *writer = NULL;
    mep_dataset *dataset = NULL;
    int32_t *all = calloc(200000, sizeof *all);
    int64_t starts[DOCUMENTS + 1] = {0}, count = 0;
    expect(mep_dataset_writer_create(&writer, in_folder("round"), &tokenizer), MEP_OK);
    for (int i = 0; i < DOCUMENTS; ++i) {
        int32_t *tokens = made_up(1235, i, sizes[i], vocab_size);
        expect(mep_dataset_writer_add(writer, tokens, sizes[i], end_of_document), MEP_OK);
        memcpy(all + count, tokens, (size_t)sizes[i] * 4);
        count += sizes[i];
        if (end_of_document) all[count++] = tokenizer.end_of_document;
        starts[i + 1] = count;
        free(tokens);
    }
    expect(mep_dataset_writer_finish(&writer), MEP_OK);
    expect(mep_dataset_open(&dataset, in_folder("round")), MEP_OK);
    assert_int_equal(mep_dataset_tokens(dataset), count);
    assert_int_equal(mep_dataset_documents(dataset), DOCUMENTS);
    assert_string_equal(mep_dataset_tokenizer(dataset), "fake");
    for (int i = 0; i <= DOCUMENTS; ++i) assert_int_equal(mep_dataset_document_start(dataset, i), starts[i]);
    assert_int_equal(mep_dataset_document_start(dataset, -1), -1);
    assert_int_equal(mep_dataset_document_start(dataset, DOCUMENTS + 1), -1);
    int32_t *back = calloc((size_t)count, sizeof *back), most = 0;
    for (int64_t i = 0; i < count; ++i) most = all[i] > most ? all[i] : most;
    assert_int_equal(mep_dataset_vocab_size(dataset), most + 1);
    assert_int_equal(mep_dataset_vocab_size(dataset), most + 1);
    for (int64_t start = 0; start <= count; start += 1 + start / 3) {
        int64_t some = (count - start) / 2 + 1 > count - start ? count - start : (count - start) / 2 + 1;
        expect(mep_dataset_read(dataset, start, some, back), MEP_OK);
        assert_memory_equal(back, all + start, (size_t)some * 4);
    }
    expect(mep_dataset_read(dataset, count, 0, back), MEP_OK);
    expect(mep_dataset_read(dataset, 0, count + 1, back), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_read(dataset, count, 1, back), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_read(dataset, -1, 1, back), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_read(dataset, 0, -1, back), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_read(dataset, INT64_MAX, INT64_MAX, back), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_read(dataset, 1, INT64_MAX, back), MEP_ERROR_ARGUMENT);
    mep_dataset_close(&dataset);
    assert_null(dataset);
    free(back);
    free(all);
}

static void test_round_trips(void **state)
{
    (void)state;
    const int64_t vocabularies[] = {2, 257, 65499, 65500, 70000, INT32_MAX};
    for (int i = 0; i < 6; ++i) {
        round_trip(vocabularies[i], 0);
        round_trip(vocabularies[i], 1);
        size_t size = 0;
        unsigned char *index = read_bytes(in_folder("round.idx"), &size);
        assert_int_equal(index[MEP_INDEX_TYPE_AT], i < 3 ? MEP_TOKEN_UINT16 : MEP_TOKEN_INT32);
        free(index);
    }
}

static void test_names(void **state)
{
    (void)state;
    write_three(in_folder("named.bin"), 9); /* the suffix is ignored */
    expect_three(in_folder("named"), 9);
    expect_three(in_folder("named.bin"), 9);
    expect_three(in_folder("named.idx"), 9);
    assert_false(exists("named.bin.bin") || exists("named.bin.tmp") || exists("named.idx.tmp") ||
                 exists("named.json.tmp"));
    mep_dataset *dataset = NULL;
    expect(mep_dataset_open(&dataset, in_folder("nothing")), MEP_ERROR_IO);
    assert_null(dataset);
    expect_message("nothing.idx");
    mep_dataset_close(&dataset);
    mep_dataset_close(NULL);
}

/* ---- The format, byte for byte ---- */

static void test_format(void **state)
{
    (void)state;
    static const unsigned char index[] = {
        'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0,                      /* magic */
        1,   0,   0,   0,   0,   0,   0,   0, 8,                      /* version 1, uint16 */
        3,   0,   0,   0,   0,   0,   0,   0, 4, 0, 0, 0, 0, 0, 0, 0, /* 3 sequences, 4 entries */
        4,   0,   0,   0,   1,   0,   0,   0, 3, 0, 0, 0,             /* sizes */
        0,   0,   0,   0,   0,   0,   0,   0, 8, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, /* pointers */
        0,   0,   0,   0,   0,   0,   0,   0, 1, 0, 0, 0, 0, 0, 0, 0, 2,  0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, /* doc_idx */
        0,   0,   0,   0};
    static const unsigned char bin[] = {0, 0, 1, 0, 2, 0, 0, 1, 0, 1, 7, 0, 0, 1, 0, 1};
    write_three(in_folder("exact"), 0);
    size_t size = 0;
    unsigned char *data = read_bytes(in_folder("exact.idx"), &size);
    assert_int_equal(size, sizeof index);
    assert_memory_equal(data, index, size);
    free(data);
    data = read_bytes(in_folder("exact.bin"), &size);
    assert_int_equal(size, sizeof bin);
    assert_memory_equal(data, bin, size);
    free(data);

    json_t *root = json_load_file(in_folder("exact.json"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(root, "tokenizer")), "bytes");
    assert_int_equal(json_integer_value(json_object_get(root, "vocab_size")), 257);
    assert_int_equal(json_integer_value(json_object_get(root, "documents")), 3);
    assert_int_equal(json_integer_value(json_object_get(root, "tokens")), 8);
    mep_dataset *dataset = NULL;
    expect(mep_dataset_open(&dataset, in_folder("exact")), MEP_OK);
    char text[32];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)mep_dataset_checksum(dataset));
    assert_string_equal(json_string_value(json_object_get(root, "checksum")), text);
    assert_true(mep_dataset_checksum(dataset) == mep_dataset_checksum(dataset));
    mep_dataset_close(&dataset);
    json_decref(root);
}

/* ---- Handmade indexes ---- */

/* Fields of an index with two sequences of two tokens, one document each. */
typedef struct hand_made {
    unsigned char magic[9];
    uint64_t version;
    uint8_t type;
    uint64_t sequences, entries;
    int32_t sizes[2];
    int64_t pointers[2], documents[3];
} hand_made;

static hand_made make_index(int type, int64_t token_size)
{
    return (hand_made){
        {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0}, 1, (uint8_t)type, 2, 3, {2, 2}, {0, 2 * token_size}, {0, 1, 2}};
}

/* Write hand.idx; the length is 34 + 8 + 16 + 24. */
static void write_index(const hand_made *index)
{
    unsigned char data[82], *at = data;
    const struct {
        const void *from;
        size_t size;
    } fields[] = {{index->magic, 9},    {&index->version, 8}, {&index->type, 1},     {&index->sequences, 8},
                  {&index->entries, 8}, {index->sizes, 8},    {index->pointers, 16}, {index->documents, 24}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; at += fields[i++].size)
        memcpy(at, fields[i].from, fields[i].size);
    assert_int_equal(at - data, sizeof data);
    write_bytes("hand.idx", data, sizeof data);
}

static mep_status open_hand(void)
{
    mep_dataset *dataset = NULL;
    mep_status status = mep_dataset_open(&dataset, in_folder("hand"));
    mep_dataset_close(&dataset);
    return status;
}

/* Four tokens of each type; the last is the largest value of the type. */
static void expect_type(int type, int64_t token_size, const void *bin, int32_t last)
{
    hand_made index = make_index(type, token_size);
    mep_dataset *dataset = NULL;
    int32_t tokens[4] = {0};
    write_index(&index);
    write_bytes("hand.bin", bin, (size_t)token_size * 4);
    expect(mep_dataset_open(&dataset, in_folder("hand")), MEP_OK);
    expect(mep_dataset_read(dataset, 0, 4, tokens), MEP_OK);
    assert_int_equal(tokens[0], 0);
    assert_int_equal(tokens[2], 5);
    assert_int_equal(tokens[3], last);
    assert_int_equal(mep_dataset_vocab_size(dataset), (int64_t)last + 1);
    assert_string_equal(mep_dataset_tokenizer(dataset), "");
    mep_dataset_close(&dataset);
}

static void test_types(void **state)
{
    (void)state;
    expect_type(1, 1, (const uint8_t[]){0, 1, 5, 255}, 255);
    expect_type(2, 1, (const int8_t[]){0, 1, 5, 127}, 127);
    expect_type(3, 2, (const int16_t[]){0, 1, 5, 32767}, 32767);
    expect_type(4, 4, (const int32_t[]){0, 1, 5, INT32_MAX}, INT32_MAX);
    expect_type(5, 8, (const int64_t[]){0, 1, 5, INT32_MAX}, INT32_MAX);
    expect_type(8, 2, (const uint16_t[]){0, 1, 5, 65535}, 65535);
    write_bytes("hand.bin", (const uint64_t[4]){0}, 32);
    for (int type = 0; type < 256; ++type) {
        hand_made index = make_index(type, 8);
        write_index(&index);
        expect(open_hand(), type == 5 ? MEP_OK : MEP_ERROR_FORMAT);
    }
}

static void test_numbers_that_are_no_tokens(void **state)
{
    (void)state;
    static const int32_t narrow[] = {0, -1, 2, INT32_MIN};
    static const int64_t wide[] = {0, INT64_C(1) << 31, 2, INT64_MAX};
    for (int i = 0; i < 2; ++i) {
        hand_made index = make_index(i == 0 ? 4 : 5, i == 0 ? 4 : 8);
        mep_dataset *dataset = NULL;
        int32_t tokens[4];
        write_index(&index);
        if (i == 0)
            write_bytes("hand.bin", narrow, sizeof narrow);
        else
            write_bytes("hand.bin", wide, sizeof wide);
        expect(mep_dataset_open(&dataset, in_folder("hand")), MEP_OK);
        for (int64_t t = 0; t < 4; ++t)
            expect(mep_dataset_read(dataset, t, 1, tokens), t % 2 == 0 ? MEP_OK : MEP_ERROR_FORMAT);
        assert_true(mep_dataset_vocab_size(dataset) == (i == 0 ? 3 : INT64_MAX));
        mep_dataset_close(&dataset);
    }
}

/* Several sequences per document, and documents without sequences; Megatron allows both. */
static void test_documents_of_sequences(void **state)
{
    (void)state;
    hand_made index = make_index(1, 1);
    mep_dataset *dataset = NULL;
    write_bytes("hand.bin", "\1\2\3\4", 4);
    index.documents[1] = 2;
    write_index(&index);
    expect(mep_dataset_open(&dataset, in_folder("hand")), MEP_OK);
    assert_int_equal(mep_dataset_documents(dataset), 2);
    assert_int_equal(mep_dataset_document_start(dataset, 1), 4);
    assert_int_equal(mep_dataset_document_start(dataset, 2), 4);
    mep_dataset_close(&dataset);
}

static void test_absurd_fields(void **state)
{
    (void)state;
    write_bytes("hand.bin", "\1\2\3\4", 4);
    const hand_made good = make_index(1, 1);
    write_index(&good);
    expect(open_hand(), MEP_OK);
    static const uint64_t counts[] = {0,
                                      1,
                                      4,
                                      1000,
                                      UINT64_C(1) << 31,
                                      UINT64_C(1) << 32,
                                      UINT64_C(1) << 61,
                                      UINT64_C(1) << 62,
                                      UINT64_C(1) << 63,
                                      UINT64_MAX,
                                      UINT64_MAX / 12 + 1};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
        hand_made bad = good;
        bad.sequences = counts[i];
        write_index(&bad);
        expect(open_hand(), MEP_ERROR_FORMAT);
        bad = good;
        bad.entries = counts[i];
        write_index(&bad);
        expect(open_hand(), MEP_ERROR_FORMAT);
        bad = good;
        bad.version = counts[i] == 1 ? 2 : counts[i];
        write_index(&bad);
        expect(open_hand(), MEP_ERROR_FORMAT);
    }
    static const int64_t values[] = {-1, 3, 5, 100, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof values / sizeof *values; ++i) {
        for (int field = 0; field < 7; ++field) {
            hand_made bad = good;
            if (field < 2)
                bad.sizes[field] = i < 6 ? (int32_t)values[i] : 1;
            else if (field < 4)
                bad.pointers[field - 2] = values[i];
            else
                bad.documents[field - 4] = values[i];
            write_index(&bad);
            expect(open_hand(), MEP_ERROR_FORMAT);
        }
    }
    /* inconsistent values, each of which passes one of the checks: sizes that cancel, counts whose sum overflows to the
     * size of the file, documents that are not ascending or do not begin at sequence 0 */
    hand_made bad[5] = {good, good, good, good, good};
    bad[0].sizes[0] = -2;
    bad[0].sizes[1] = 6;
    bad[0].pointers[1] = -2;
    bad[1].sequences = UINT64_C(1) << 62;
    bad[1].entries = 6;
    bad[2].entries = (UINT64_C(1) << 61) + 3;
    bad[3].documents[0] = 1;
    bad[4].documents[0] = 1;
    bad[4].documents[1] = 0;
    for (int i = 0; i < 5; ++i) {
        write_index(&bad[i]);
        expect(open_hand(), MEP_ERROR_FORMAT);
    }
}

static void test_wrong_bin(void **state)
{
    (void)state;
    const hand_made good = make_index(8, 2);
    write_index(&good);
    for (size_t size = 0; size < 20; ++size) {
        write_bytes("hand.bin", (const char[20]){0}, size);
        expect(open_hand(), size == 8 ? MEP_OK : MEP_ERROR_FORMAT);
    }
    unlink(in_folder("hand.bin"));
    expect(open_hand(), MEP_ERROR_IO);
    expect_message("hand.bin");
    mkdir(in_folder("hand.bin"), 0755);
    expect(open_hand(), MEP_ERROR_FORMAT);
    rmdir(in_folder("hand.bin"));
}

static void test_truncated_index(void **state)
{
    (void)state;
    write_three(in_folder("short"), 0);
    size_t size = 0;
    unsigned char *index = read_bytes(in_folder("short.idx"), &size);
    mep_dataset *dataset = NULL;
    for (size_t length = 0; length < size; ++length) {
        write_bytes("short.idx", index, length);
        expect(mep_dataset_open(&dataset, in_folder("short")), MEP_ERROR_FORMAT);
        assert_null(dataset);
        expect_message("short.idx");
    }
    index[size] = 0; /* read_bytes allocates one more byte */
    write_bytes("short.idx", index, size + 1);
    expect(mep_dataset_open(&dataset, in_folder("short")), MEP_ERROR_FORMAT);
    write_bytes("short.idx", index, size);
    expect_three(in_folder("short"), 0);
    free(index);
}

/* Any byte of the index is changed to some other values. The index is refused, unless it is valid with another type of
 * the same size or another division into documents; reading then stays within bounds. */
static void test_changed_bytes(void **state)
{
    (void)state;
    write_three(in_folder("byte"), 0);
    unlink(in_folder("byte.json"));
    size_t size = 0;
    unsigned char *index = read_bytes(in_folder("byte.idx"), &size);
    int accepted = 0;
    for (size_t at = 0; at < size; ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            index[at] ^= (unsigned char)(1 << bit);
            write_bytes("byte.idx", index, size);
            mep_dataset *dataset = NULL;
            if (mep_dataset_open(&dataset, in_folder("byte")) == MEP_OK) {
                int32_t tokens[8];
                ++accepted;
                assert_true(at >= MEP_INDEX_HEADER + 36);
                expect(mep_dataset_read(dataset, 0, 8, tokens), MEP_OK);
                for (int64_t i = 0; i <= mep_dataset_documents(dataset); ++i)
                    assert_in_range(mep_dataset_document_start(dataset, i), 0, 8);
            }
            mep_dataset_close(&dataset);
            index[at] ^= (unsigned char)(1 << bit);
        }
    }
    assert_in_range(accepted, 1, 8);
    free(index);
}

static void test_description(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"tokenizer\": \"bytes\"}",
                                      "{\"text\": \"a corpus\"}\n{\"text\": \"b\"}",
                                      "{\"tokenizer\": 5, \"documents\": 3, \"tokens\": 8}",
                                      "{\"tokenizer\": \"bytes\", \"documents\": 3, \"tokens\": 9}",
                                      "{\"tokenizer\": \"bytes\", \"documents\": 2, \"tokens\": 8}"};
    mep_dataset *dataset = NULL;
    write_three(in_folder("said"), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        write_text("said.json", bad[i]);
        expect(mep_dataset_open(&dataset, in_folder("said")), MEP_ERROR_FORMAT);
        expect_message("said.json");
    }
    char *large = calloc(2 << 20, 1);
    memset(large, ' ', 2 << 20);
    write_bytes("said.json", large, 2 << 20);
    free(large);
    expect(mep_dataset_open(&dataset, in_folder("said")), MEP_ERROR_FORMAT);
    unlink(in_folder("said.json"));
    expect(mep_dataset_open(&dataset, in_folder("said")), MEP_OK);
    assert_string_equal(mep_dataset_tokenizer(dataset), "");
    mep_dataset_close(&dataset);
}

/* ---- Writers that fail ---- */

static void test_writer_arguments(void **state)
{
    (void)state;
    mep_tokenizer tokenizer = fake(100);
    mep_dataset_writer *writer = NULL;
    const int32_t good[] = {0, 99}, high[] = {0, 100}, low[] = {-1};
    expect(mep_dataset_writer_create(&writer, in_folder("no/such/folder"), &tokenizer), MEP_ERROR_IO);
    assert_null(writer);
    expect_message("no/such/");
    expect(mep_dataset_writer_create(&writer, "", &tokenizer), MEP_ERROR_ARGUMENT);
    expect_message("has no name");
    expect(mep_dataset_writer_create(&writer, in_folder(""), &tokenizer), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_writer_create(&writer, in_folder("args"), &tokenizer), MEP_OK);
    expect(mep_dataset_writer_add(writer, high, 2, 0), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_writer_add(writer, low, 1, 0), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_writer_add(writer, good, -1, 0), MEP_ERROR_ARGUMENT);
    expect(mep_dataset_writer_add(writer, good, INT32_MAX, 1),
           MEP_ERROR_ARGUMENT); /* refused before the tokens are read */
    expect_message("split it");
    expect(mep_dataset_writer_add(writer, good, INT64_C(1) << 31, 0), MEP_ERROR_ARGUMENT);
    expect_message("split it");
    expect(mep_dataset_writer_add(writer, good, 2, 0), MEP_OK); /* the writer is still usable */
    expect(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_dataset *dataset = NULL;
    expect(mep_dataset_open(&dataset, in_folder("args")), MEP_OK);
    assert_int_equal(mep_dataset_tokens(dataset), 2);
    mep_dataset_close(&dataset);
    expect(mep_dataset_writer_create(&writer, in_folder("none"), &tokenizer), MEP_OK);
    expect(mep_dataset_writer_add(writer, NULL, 0, 0), MEP_OK);
    expect(mep_dataset_writer_finish(&writer), MEP_ERROR_ARGUMENT);
    assert_null(writer);
    assert_false(exists("none.bin") || exists("none.idx") || exists("none.json") || exists("none.bin.tmp"));
    mep_dataset_writer_abandon(&writer);
    mep_dataset_writer_abandon(NULL);
}

static int leaves_temporaries(const char *prefix)
{
    static const char *const suffixes[] = {".bin.tmp", ".idx.tmp", ".json.tmp"};
    int found = 0;
    for (int i = 0; i < 3; ++i) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, suffixes[i]);
        found += exists(name);
    }
    return found;
}

static void test_abandon(void **state)
{
    (void)state;
    mep_tokenizer tokenizer = fake(100);
    mep_dataset_writer *writer = NULL;
    write_three(in_folder("kept"), 3);
    expect(mep_dataset_writer_create(&writer, in_folder("kept"), &tokenizer), MEP_OK);
    expect(mep_dataset_writer_add(writer, (const int32_t[]){1, 2}, 2, 1), MEP_OK);
    assert_true(exists("kept.bin.tmp"));
    mep_dataset_writer_abandon(&writer);
    assert_null(writer);
    assert_int_equal(leaves_temporaries("kept"), 0);
    expect_three(in_folder("kept"), 3);
}

/* Write documents until a file reaches `limit` bytes; returns 1 if writing and finishing failed as expected. */
static int write_past(const char *prefix, rlim_t limit)
{
    mep_tokenizer tokenizer = fake(100);
    mep_dataset_writer *writer = NULL;
    struct rlimit old, tight;
    int32_t *tokens = made_up(7, 0, 1000, 100);
    getrlimit(RLIMIT_FSIZE, &old);
    tight = old;
    tight.rlim_cur = limit;
    signal(SIGXFSZ, SIG_IGN);
    if (mep_dataset_writer_create(&writer, prefix, &tokenizer) != MEP_OK) return 0;
    setrlimit(RLIMIT_FSIZE, &tight);
    mep_status status = MEP_OK;
    for (int i = 0; i < 20 && status == MEP_OK; ++i) status = mep_dataset_writer_add(writer, tokens, 1000, 1);
    mep_status finished = mep_dataset_writer_finish(&writer);
    setrlimit(RLIMIT_FSIZE, &old);
    free(tokens);
    return finished == MEP_ERROR_IO && writer == NULL;
}

static void test_full_disk(void **state)
{
    (void)state;
    write_three(in_folder("kept"), 4);
    /* 20 documents of 1001 tokens are 40040 bytes of .bin, 282 of .idx and about 120 of .json */
    static const rlim_t limits[] = {0, 1, 100, 4096, 30000, 40039};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; ++i) {
        assert_true(write_past(in_folder("kept"), limits[i]));
        assert_int_equal(leaves_temporaries("kept"), 0);
        expect_three(in_folder("kept"), 4);
    }
    assert_false(write_past(in_folder("kept"), 40040));
}

/* A full disk again, but with a full device, and for the small files. */
static void test_full_device(void **state)
{
    (void)state;
    static const char *const suffixes[] = {".bin.tmp", ".json.tmp", ".idx.tmp"};
    if (access("/dev/full", W_OK) != 0) skip();
    mep_tokenizer tokenizer = fake(100);
    for (int i = 0; i < 3; ++i) {
        char name[64];
        mep_dataset_writer *writer = NULL;
        write_three(in_folder("kept"), 5);
        snprintf(name, sizeof name, "kept%s", suffixes[i]);
        assert_int_equal(symlink("/dev/full", in_folder(name)), 0);
        expect(mep_dataset_writer_create(&writer, in_folder("kept"), &tokenizer), MEP_OK);
        expect(mep_dataset_writer_add(writer, (const int32_t[]){1, 2}, 2, 1), MEP_OK); /* it fits the buffer */
        expect(mep_dataset_writer_finish(&writer), MEP_ERROR_IO);
        expect_message("No space left");
        assert_int_equal(leaves_temporaries("kept"), 0);
        expect_three(in_folder("kept"), 5);
    }
}

/* A process that ends while it writes leaves the old dataset unchanged, and its temporary files do not affect the next
 * writer. */
static void test_crash(void **state)
{
    (void)state;
    write_three(in_folder("kept"), 6);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        mep_tokenizer tokenizer = fake(100);
        mep_dataset_writer *writer = NULL;
        int32_t *tokens = made_up(7, 0, 100000, 100);
        if (mep_dataset_writer_create(&writer, in_folder("kept"), &tokenizer) != MEP_OK) _exit(1);
        if (mep_dataset_writer_add(writer, tokens, 100000, 1) != MEP_OK) _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(exists("kept.bin.tmp"));
    expect_three(in_folder("kept"), 6);
    write_three(in_folder("kept"), 7);
    expect_three(in_folder("kept"), 7);
    assert_int_equal(leaves_temporaries("kept"), 0);
}

/* A stop between the renames leaves a new .bin with an old .idx, or both with an old .json. */
static void test_mixtures(void **state)
{
    (void)state;
    mep_tokenizer tokenizer = fake(100);
    mep_dataset_writer *writer = NULL;
    mep_dataset *dataset = NULL;
    write_three(in_folder("old"), 1);
    expect(mep_dataset_writer_create(&writer, in_folder("new"), &tokenizer), MEP_OK);
    expect(mep_dataset_writer_add(writer, (const int32_t[]){1, 2}, 2, 1), MEP_OK);
    expect(mep_dataset_writer_finish(&writer), MEP_OK);
    assert_int_equal(rename(in_folder("new.bin"), in_folder("old.bin")), 0);
    expect(mep_dataset_open(&dataset, in_folder("old")), MEP_ERROR_FORMAT);
    assert_int_equal(rename(in_folder("new.idx"), in_folder("old.idx")), 0);
    expect(mep_dataset_open(&dataset, in_folder("old")), MEP_ERROR_FORMAT);
    assert_int_equal(rename(in_folder("new.json"), in_folder("old.json")), 0);
    expect(mep_dataset_open(&dataset, in_folder("old")), MEP_OK);
    mep_dataset_close(&dataset);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    mep_tokenizer tokenizer = fake(100);
    const int32_t tokens[] = {1, 2};
    int failures = 0;
    write_three(in_folder("kept"), 8);
    for (int64_t n = 1;; ++n) {
        mep_dataset_writer *writer = NULL;
        mep_fail_allocation(n);
        mep_status status = mep_dataset_writer_create(&writer, in_folder("kept"), &tokenizer);
        if (status == MEP_OK) status = mep_dataset_writer_add(writer, tokens, 2, 1);
        mep_fail_allocation(0);
        mep_dataset_writer_abandon(&writer);
        assert_int_equal(leaves_temporaries("kept"), 0);
        if (status == MEP_OK) break;
        assert_int_equal(status, MEP_ERROR_MEMORY);
        ++failures;
    }
    for (int64_t n = 1;; ++n) {
        mep_dataset *dataset = NULL;
        mep_fail_allocation(n);
        mep_status status = mep_dataset_open(&dataset, in_folder("kept"));
        mep_fail_allocation(0);
        mep_dataset_close(&dataset);
        if (status == MEP_OK) break;
        assert_int_equal(status, MEP_ERROR_MEMORY);
        ++failures;
    }
    assert_in_range(failures, 14, 40);
    expect_three(in_folder("kept"), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_numbers_that_are_no_tokens),
        cmocka_unit_test(test_documents_of_sequences),
        cmocka_unit_test(test_absurd_fields),
        cmocka_unit_test(test_wrong_bin),
        cmocka_unit_test(test_truncated_index),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_writer_arguments),
        cmocka_unit_test(test_abandon),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_mixtures),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests_name("dataset", tests, text_folder_make, text_folder_remove);
}
