/* SPDX-License-Identifier: MIT */
/*
 * The corpus reader: every kind of file, alone, compressed and in folders, and every way in which one can be invalid.
 * Also the byte tokenizer and the checksum.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "mep/data.h"
#include "base/checksum.h"
#include "corpus/corpus.h"
#include "expect.h"
#include "text_files.h"

enum { MOST = 64 };

/* What a reading gave: the documents with their lengths, and the last position. */
typedef struct found {
    int count;
    char *text[MOST];
    int64_t size[MOST];
    int64_t position, total;
    int stop_after; /* number of documents; 0 for all */
} found;

static mep_status take(void *context, const char *text, int64_t size, int64_t position, int64_t total)
{
    found *all = context;
    assert_in_range(all->count, 0, MOST - 1);
    all->text[all->count] = malloc((size_t)size + 1);
    memcpy(all->text[all->count], text, (size_t)size);
    all->text[all->count][size] = '\0';
    all->size[all->count++] = size;
    assert_true(position >= all->position && position <= total);
    all->position = position;
    all->total = total;
    return all->count == all->stop_after ? MEP_INTERRUPTED : MEP_OK;
}

static void forget(found *all)
{
    for (int i = 0; i < all->count; ++i) free(all->text[i]);
    memset(all, 0, sizeof *all);
}

/* Reading `path` gives exactly these documents; the list ends with NULL. */
static void expect_documents(const char *path, ...)
{
    found all = {0};
    expect(mep_corpus_read(&path, 1, take, &all), MEP_OK);
    va_list args;
    va_start(args, path);
    int count = 0;
    for (const char *text; (text = va_arg(args, const char *)) != NULL; ++count) {
        if (count >= all.count) fail_msg("%s: document '%s' is missing", path, text);
        assert_string_equal(all.text[count], text);
    }
    va_end(args);
    assert_int_equal(all.count, count);
    forget(&all);
}

/* Reading `path` fails with this status, and the message contains both strings. */
static void expect_failure(const char *path, mep_status status, const char *message, const char *other)
{
    found all = {0};
    expect(mep_corpus_read(&path, 1, take, &all), status);
    expect_message(message);
    expect_message(other);
    forget(&all);
}

/* ---- Tokenizers ---- */

static void test_bytes_tokenizer(void **state)
{
    (void)state;
    mep_tokenizer *tokenizer = NULL;
    assert_int_equal(mep_tokenizer_open(&tokenizer, "bytes"), MEP_OK);
    assert_string_equal(mep_tokenizer_name(tokenizer), "bytes");
    assert_int_equal(mep_tokenizer_vocab_size(tokenizer), 257);
    assert_int_equal(mep_tokenizer_end_of_document(tokenizer), 256);
    char text[256];
    for (int i = 0; i < 256; ++i) text[i] = (char)(255 - i);
    int32_t *tokens = NULL;
    int64_t count = 0, size = -1;
    const char *bytes = NULL;
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, 256, &tokens, &count), MEP_OK);
    assert_int_equal(count, 256);
    for (int i = 0; i < 256; ++i) {
        assert_int_equal(tokens[i], 255 - i);
        assert_int_equal(mep_tokenizer_decode(tokenizer, tokens[i], &bytes, &size), MEP_OK);
        assert_int_equal(size, 1);
        assert_memory_equal(bytes, text + i, 1);
    }
    mep_tokens_free(&tokens);
    assert_null(tokens);
    assert_int_equal(mep_tokenizer_encode(tokenizer, NULL, 0, &tokens, &count), MEP_OK);
    assert_int_equal(count, 0);
    mep_tokens_free(&tokens);
    assert_int_equal(mep_tokenizer_decode(tokenizer, 256, &bytes, &size), MEP_OK);
    assert_int_equal(size, 0);
    assert_non_null(bytes);
    assert_int_equal(mep_tokenizer_decode(tokenizer, 257, &bytes, &size), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_tokenizer_decode(tokenizer, -1, &bytes, &size), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, -1, &tokens, &count), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_tokenizer_encode(tokenizer, NULL, 1, &tokens, &count), MEP_ERROR_ARGUMENT);
    mep_tokenizer_destroy(&tokenizer);
    assert_null(tokenizer);
    mep_tokenizer_destroy(&tokenizer);
    assert_int_equal(mep_tokenizer_open(&tokenizer, "words"), MEP_ERROR_ARGUMENT);
    expect_message("\"words\" is not a tokenizer");
    expect_message("nor one of these names: bytes");
}

/* ---- The checksum; the expected values were computed by an independent program ---- */

static uint64_t checksum_in_two(const char *text, int64_t size, int64_t first)
{
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    mep_checksum_add(&checksum, text, first);
    mep_checksum_add(&checksum, text + first, size - first);
    return mep_checksum_end(&checksum);
}

static void test_checksum(void **state)
{
    (void)state;
    const char *text = "mep: hello, dataset";
    assert_true(checksum_in_two("", 0, 0) == UINT64_C(0xaf63bd4c29620a93));
    assert_true(checksum_in_two("a", 1, 0) == UINT64_C(0x68e0166a3938c199));
    assert_true(checksum_in_two("12345678", 8, 0) == UINT64_C(0x991b61351ed9f33b));
    for (int64_t first = 0; first <= 19; ++first)
        assert_true(checksum_in_two(text, 19, first) == UINT64_C(0x0cef8721c9bd5a86));
    assert_true(checksum_in_two("a\0", 2, 0) != checksum_in_two("a", 1, 0));
}

/* ---- Text files ---- */

static void test_text_is_bytes(void **state)
{
    (void)state;
    expect_documents(write_text("a.txt", "two\nlines\n"), "two\nlines\n", NULL);
    expect_documents(write_text("no_ending", "x"), "x", NULL);
    expect_documents(write_text("bad.txt", "\xff\xfe\x80 not UTF-8 \xc3"), "\xff\xfe\x80 not UTF-8 \xc3", NULL);
    const char *path = write_bytes("zero.bin", "a\0b", 3); /* the user named it */
    found all = {0};
    expect(mep_corpus_read(&path, 1, take, &all), MEP_OK);
    assert_int_equal(all.count, 1);
    assert_int_equal(all.size[0], 3);
    assert_memory_equal(all.text[0], "a\0b", 3);
    assert_int_equal(all.total, 3);
    assert_int_equal(all.position, 3);
    forget(&all);
}

static void test_large_text(void **state)
{
    (void)state;
    const size_t size = (5 << 20) + 17; /* the buffer grows several times */
    char *text = malloc(size);
    for (size_t i = 0; i < size; ++i) text[i] = (char)(i * 2654435761u >> 13);
    const char *path = write_bytes("large.txt", text, size);
    found all = {0};
    expect(mep_corpus_read(&path, 1, take, &all), MEP_OK);
    assert_int_equal(all.count, 1);
    assert_int_equal(all.size[0], size);
    assert_memory_equal(all.text[0], text, size);
    forget(&all);
    free(text);
}

static void test_nothing_to_read(void **state)
{
    (void)state;
    expect_failure(write_text("empty.txt", ""), MEP_ERROR_FORMAT, "empty.txt contains no text", "give text files");
    expect_failure(write_text("blank.jsonl", "\n \n\t\r\n"), MEP_ERROR_FORMAT, "blank.jsonl contains no text", "");
    expect_failure(write_text("void.jsonl", "{\"text\": \"\"}\n"), MEP_ERROR_FORMAT, "contains no text", "");
    mkdir(in_folder("empty"), 0755);
    expect_failure(in_folder("empty"), MEP_ERROR_FORMAT, "empty contains no text", "folder");
    expect_failure(in_folder("missing.txt"), MEP_ERROR_IO, "missing.txt", "No such file");
    const char *path = write_text("closed.txt", "x");
    chmod(path, 0);
    if (geteuid() != 0) expect_failure(path, MEP_ERROR_IO, "closed.txt", "ermission");
    unlink(path);
    found all = {0};
    expect(mep_corpus_read(&path, 0, take, &all), MEP_ERROR_ARGUMENT);
    const char *two[] = {write_text("full.txt", "full"), in_folder("empty.txt")};
    expect(mep_corpus_read(two, 2, take, &all), MEP_ERROR_FORMAT);
    expect_message("empty.txt contains no text");
    forget(&all);
}

static void test_stop_and_progress(void **state)
{
    (void)state;
    const char *paths[] = {write_text("one.jsonl", "{\"text\":\"1\"}\n{\"text\":\"2\"}\n"),
                           write_text("two.txt", "three")};
    found all = {.stop_after = 2};
    expect(mep_corpus_read(paths, 2, take, &all), MEP_INTERRUPTED);
    assert_int_equal(all.count, 2);
    forget(&all);
    expect(mep_corpus_read(paths, 2, take, &all), MEP_OK);
    assert_int_equal(all.count, 3);
    assert_int_equal(all.total, 26 + 5);
    assert_int_equal(all.position, all.total);
    forget(&all);
}

/* ---- JSON lines ---- */

static void test_json_lines(void **state)
{
    (void)state;
    expect_documents(write_text("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n"), "one", "two", NULL);
    expect_documents(write_text("a.json", "{\"text\": \"no newline at the end\"}"), "no newline at the end", NULL);
    expect_documents(write_text("crlf.jsonl", "{\"text\": \"a\"}\r\n\r\n\n  \n{\"text\": \"\"}\n{\"text\": \"b\"}\r\n"),
                     "a", "b", NULL);
    expect_documents(write_text("mark.jsonl", "\xEF\xBB\xBF{\"text\": \"a\"}\n"), "a", NULL);
    expect_documents(write_text("escapes.JSONL", "{\"text\": \"\\u00e9 \\ud83d\\ude00 \\n\\t\\\"\\\\\\/ \xc3\xa9\"}"),
                     "\xc3\xa9 \xf0\x9f\x98\x80 \n\t\"\\/ \xc3\xa9", NULL);
    expect_documents(write_text("more.jsonl",
                                "{\"meta\": {\"text\": 1, \"hash\": 18446744073709551615}, \"text\": \"x\", "
                                "\"list\": [null, true, 1e300]}"),
                     "x", NULL);
    const char *path = write_text("zero.jsonl", "{\"text\": \"a\\u0000b\"}");
    found all = {0};
    expect(mep_corpus_read(&path, 1, take, &all), MEP_OK);
    assert_int_equal(all.size[0], 3);
    assert_memory_equal(all.text[0], "a\0b", 3);
    forget(&all);
}

static void test_json_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"text\": \"a\"}\n\n{\"text\": \n", "bad.jsonl:3: "},
        {"{\"text\": \"a\"}\nplain words\n", "bad.jsonl:2: "},
        {"{\"text\": \"a\"} {\"text\": \"b\"}\n", "bad.jsonl:1: "},
        {"{\"body\": \"a\"}\n", "bad.jsonl:1: no string \"text\""},
        {"{\"text\": 5}\n", "bad.jsonl:1: no string \"text\""},
        {"{\"text\": [\"a\"]}\n", "bad.jsonl:1: no string \"text\""},
        {"[\"text\"]\n", "bad.jsonl:1: no string \"text\""},
        {"{\"text\": \"\\ud83d\"}\n", "bad.jsonl:1: "},
        {"{\"text\": \"\xff\"}\n", "bad.jsonl:1: "},
        {"{\"text\": \"a\xc3\"}\n", "bad.jsonl:1: "},
        {"{\n  \"text\": \"over several lines\"\n}\n", "bad.jsonl:1: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
        expect_failure(write_text("bad.jsonl", cases[i].text), MEP_ERROR_FORMAT, cases[i].message,
                       "each line must be a JSON object");
    /* deep nesting must not exhaust the stack */
    const size_t depth = 1 << 20;
    char *deep = malloc(depth);
    memset(deep, '[', depth);
    expect_failure(write_bytes("deep.jsonl", deep, depth), MEP_ERROR_FORMAT, "deep.jsonl:1: ", "");
    free(deep);
}

static void test_long_line(void **state)
{
    (void)state;
    const size_t size = 10 << 20;
    char *text = malloc(size + 64), *at = text;
    at += sprintf(at, "{\"text\": \"first\"}\n{\"text\": \"");
    char *body = at;
    for (size_t i = 0; i < size; ++i) *at++ = (char)('a' + i % 26);
    at += sprintf(at, "\"}\n{\"text\": \"last\"}\n");
    const char *path = write_bytes("long.jsonl", text, (size_t)(at - text));
    found all = {0};
    expect(mep_corpus_read(&path, 1, take, &all), MEP_OK);
    assert_int_equal(all.count, 3);
    assert_int_equal(all.size[1], size);
    assert_memory_equal(all.text[1], body, size);
    assert_string_equal(all.text[2], "last");
    forget(&all);
    free(text);
}

/* ---- Compressed files and tars ---- */

static const struct {
    const char *suffix;
    int filter;
} filters[] = {
    {"", ARCHIVE_FILTER_NONE}, {".gz", ARCHIVE_FILTER_GZIP}, {".zst", ARCHIVE_FILTER_ZSTD}, {".xz", ARCHIVE_FILTER_XZ}};

enum { FILTERS = 4 };

static const char lines[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";

static void test_compressed(void **state)
{
    (void)state;
    const packed text = {"data", "some text", 9}, json = {"data", lines, sizeof lines - 1};
    const packed members[] = {{"z.txt", "z first", 7}, {"sub/a.jsonl", lines, sizeof lines - 1},
                              {".hidden", "h", 1},     {"sub/.git/x", "h", 1},
                              {"./b", "dot", 3},       {"binary", "a\0b", 3}};
    for (int i = 0; i < FILTERS; ++i) {
        char name[64];
        snprintf(name, sizeof name, "packed.txt%s", filters[i].suffix);
        expect_documents(write_packed(name, filters[i].filter, 0, &text, 1), "some text", NULL);
        snprintf(name, sizeof name, "packed.jsonl%s", filters[i].suffix);
        expect_documents(write_packed(name, filters[i].filter, 0, &json, 1), "one", "two", NULL);
        snprintf(name, sizeof name, "packed.tar%s", filters[i].suffix);
        expect_documents(write_packed(name, filters[i].filter, 1, members, 6), "z first", "one", "two", "dot", NULL);
    }
    expect_documents(write_packed("packed.tgz", ARCHIVE_FILTER_GZIP, 1, members, 2), "z first", "one", "two", NULL);
}

/* A tar of .jsonl.zst, which is the form of OpenWebText2, and nested tars up to a limit. */
static void test_compressed_in_tar(void **state)
{
    (void)state;
    packed members[3] = {{"data", lines, sizeof lines - 1}};
    size_t size = 0;
    const char *path = write_packed("inner.jsonl.zst", ARCHIVE_FILTER_ZSTD, 0, members, 1);
    unsigned char *inner = read_bytes(path, &size);
    members[0] = (packed){"a.jsonl.zst", inner, size};
    members[1] = (packed){"b.jsonl.gz", "not packed", 10};
    members[2] = (packed){"empty.txt", "", 0};
    expect_failure(write_packed("web.tar", ARCHIVE_FILTER_NONE, 1, members, 2), MEP_ERROR_FORMAT, "web.tar:b.jsonl.gz",
                   "not compressed as the end of its name says");
    members[1] = (packed){"b.jsonl", "{}", 2};
    expect_failure(write_packed("web.tar", ARCHIVE_FILTER_NONE, 1, members, 2), MEP_ERROR_FORMAT,
                   "web.tar:b.jsonl:1: ", "");
    members[1] = members[0];
    path = write_packed("web.tar", ARCHIVE_FILTER_NONE, 1, members, 3);
    expect_documents(path, "one", "two", "one", "two", NULL);
    free(inner);
    for (int depth = 2; depth <= 5; ++depth) {
        unsigned char *tar = read_bytes(in_folder("web.tar"), &size);
        members[0] = (packed){"web.tar", tar, size};
        write_packed("web.tar", ARCHIVE_FILTER_NONE, 1, members, 1);
        free(tar);
        if (depth <= 4)
            expect_documents(in_folder("web.tar"), "one", "two", "one", "two", NULL);
        else
            expect_failure(in_folder("web.tar"), MEP_ERROR_UNSUPPORTED, "nested tars", "unpack");
    }
}

static void test_wrong_names(void **state)
{
    (void)state;
    expect_failure(write_text("plain.txt.gz", "plain"), MEP_ERROR_FORMAT, "plain.txt.gz",
                   "not compressed as the end of its name says");
    expect_failure(write_text("plain.jsonl.zst", "plain"), MEP_ERROR_FORMAT, "plain.jsonl.zst", "end of its name");
    expect_failure(write_text("plain.xz", ""), MEP_ERROR_FORMAT, "plain.xz", "end of its name");
    expect_failure(write_bytes("packed", "\x28\xb5\x2f\xfd\x04\x00", 6), MEP_ERROR_FORMAT, "packed",
                   "give it a name that ends in .zst");
    expect_failure(write_text("table.parquet", "PAR1...PAR1"), MEP_ERROR_FORMAT, "table.parquet", "looks like Parquet");
    expect_failure(write_text("plain.tar", "this is no tar, but it is longer than nothing"), MEP_ERROR_FORMAT,
                   "plain.tar", "");
    const packed text = {"data", "text", 4};
    write_packed("a.gz", ARCHIVE_FILTER_GZIP, 0, &text, 1);
    assert_int_equal(rename(in_folder("a.gz"), in_folder("a.xz")), 0);
    expect_failure(in_folder("a.xz"), MEP_ERROR_FORMAT, "a.xz", "end of its name");
}

/* A compressed file that is truncated gives an error at every length, and never more text than it contained. */
static void test_truncated(void **state)
{
    (void)state;
    char text[3000];
    for (size_t i = 0; i < sizeof text; ++i) text[i] = (char)('a' + (i * i * 2654435761u >> 20) % 26);
    const packed member = {"data.txt", text, sizeof text};
    for (int i = 0; i < FILTERS; ++i) {
        char name[64];
        snprintf(name, sizeof name, "short%s%s", i == 0 ? ".tar" : "", filters[i].suffix);
        size_t size = 0;
        unsigned char *complete = read_bytes(write_packed(name, filters[i].filter, i == 0, &member, 1), &size);
        size_t needed = i == 0 ? 512 + sizeof text : i == 1 ? size : size - 8; /* a tar's padding may be missing */
        for (size_t length = 0; length < needed; length += 1 + length / 64) {
            const char *path = write_bytes(name, complete, length);
            found all = {0};
            if (mep_corpus_read(&path, 1, take, &all) == MEP_OK)
                fail_msg("%s is read with %zu of %zu bytes", name, length, size);
            expect_message(name);
            forget(&all);
        }
        free(complete);
    }
}

/* A small file that decompresses to much more than the limit is refused once it passes the limit. */
static void test_bombs(void **state)
{
    (void)state;
    const size_t size = 64 << 20;
    const int64_t limit = 100000;
    char *much = malloc(size);
    memset(much, 'x', size);
    const packed bomb = {"bomb.txt", much, size};
    const char *names[] = {"bomb.txt.gz", "bomb.jsonl.gz", "bomb.tar.gz"};
    for (int i = 0; i < 3; ++i) {
        const char *path = write_packed(names[i], ARCHIVE_FILTER_GZIP, i == 2, &bomb, 1);
        found all = {0};
        expect(mep_corpus_read_limited(&path, 1, limit, take, &all), MEP_ERROR_FORMAT);
        expect_message(names[i]);
        expect_message(i == 1 ? ":1: the line is longer than the limit of 100000"
                              : "the document is longer than 100000");
        assert_int_equal(all.count, 0);
    }
    const char *path = write_bytes("most.txt", much, (size_t)limit);
    found all = {0};
    expect(mep_corpus_read_limited(&path, 1, limit, take, &all), MEP_OK);
    assert_int_equal(all.size[0], limit);
    forget(&all);
    path = write_bytes("most.txt", much, (size_t)limit + 1);
    expect(mep_corpus_read_limited(&path, 1, limit, take, &all), MEP_ERROR_FORMAT);
    expect_message("most.txt: the document is longer than 100000 bytes");
    free(much);
}

/* ---- Folders ---- */

static void test_folder(void **state)
{
    (void)state;
    mkdir(in_folder("tree"), 0755);
    mkdir(in_folder("tree/b"), 0755);
    mkdir(in_folder("tree/.git"), 0755);
    write_text("tree/c.txt", "c");
    write_text("tree/B", "big B before small a");
    write_text("tree/a.jsonl", lines);
    write_text("tree/b/x", "x in b");
    write_text("tree/b.txt", "b.txt after the folder b");
    write_text("tree/.hidden", "hidden");
    write_text("tree/.git/config", "hidden");
    write_text("tree/empty", "");
    write_bytes("tree/binary", "a\0b", 3);
    char late[9000];
    memset(late, 'y', sizeof late);
    late[8192] = '\0'; /* after the bytes that are checked for zeros */
    write_bytes("tree/late", late, sizeof late);
    assert_int_equal(symlink("..", in_folder("tree/b/round")), 0);
    assert_int_equal(symlink("../c.txt", in_folder("tree/b/y")), 0);
    late[8192] = '\0';
    expect_documents(in_folder("tree"), "big B before small a", "one", "two", "x in b", "c", "b.txt after the folder b",
                     "c", late, NULL);
    expect_documents(in_folder("tree/"), "big B before small a", "one", "two", "x in b", "c",
                     "b.txt after the folder b", "c", late, NULL);
    late[8191] = '\0';
    write_bytes("tree/late", late, sizeof late);
    expect_documents(in_folder("tree"), "big B before small a", "one", "two", "x in b", "c", "b.txt after the folder b",
                     "c", NULL);
    write_text("tree/b/bad.jsonl", "{\"text\": \"fine\"}\nnot fine\n");
    expect_failure(in_folder("tree"), MEP_ERROR_FORMAT, "tree/b/bad.jsonl:2: ", "");
    assert_int_equal(symlink("nowhere", in_folder("tree/b/a")), 0);
    expect_failure(in_folder("tree"), MEP_ERROR_IO, "tree/b/a: No such file", "");
}

/* ---- Failing allocations ---- */

static void test_failing_allocations(void **state)
{
    (void)state;
    mkdir(in_folder("small"), 0755);
    const packed members[] = {{"a.jsonl", lines, sizeof lines - 1}, {"b.txt", "b", 1}};
    write_packed("small/a.tar.zst", ARCHIVE_FILTER_ZSTD, 1, members, 2);
    write_text("small/b.txt", "c");
    const char *path = in_folder("small");
    int failures = 0;
    for (int64_t n = 1;; ++n) {
        found all = {0};
        mep_fail_allocation(n);
        mep_status status = mep_corpus_read(&path, 1, take, &all);
        mep_fail_allocation(0);
        forget(&all);
        if (status == MEP_OK) break;
        assert_int_equal(status, MEP_ERROR_MEMORY);
        ++failures;
    }
    assert_in_range(failures, 8, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_tokenizer),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_text_is_bytes),
        cmocka_unit_test(test_large_text),
        cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_stop_and_progress),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_json_mistakes),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_compressed_in_tar),
        cmocka_unit_test(test_wrong_names),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests_name("corpus", tests, text_folder_make, text_folder_remove);
}
