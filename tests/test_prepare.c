/* SPDX-License-Identifier: MIT */
/*
 * mep_prepare: the dataset has the same bytes for any number of threads and after any number of stops and kills, a
 * damaged file costs only the work on that file, and memory does not grow with the corpus.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "base/random.h"
#include "io/files.h"
#include "mep/data.h"
#include "corpus/corpus.h"
#include "dataset/dataset_prepare.h"
#include "expect.h"
#include "text_files.h"

enum { FILES = 5, LINES = 3000 };

static mep_tokenizer *bytes;
static const char *inputs[FILES];
static char input_paths[FILES][512], straight[512];

/* JSON lines with texts of all lengths; some texts are empty, some lines blank, and some have escapes. */
static char *make_lines(uint64_t seed, int count, size_t *size)
{
    char *text = malloc((size_t)count * 1200), *at = text;
    for (int i = 0; i < count; i++) {
        uint64_t random = mep_random_bits(seed, 0, (uint64_t)i);
        if (random % 50 == 0) *at++ = '\n';
        at += sprintf(at, "{\"meta\": {\"n\": %d}, \"text\": \"", i);
        for (uint64_t n = random % 7 == 0 ? 0 : random >> 8 & 1023; n > 0; n--)
            *at++ = (char)('a' + (n * random >> 16) % 26);
        at += sprintf(at, random % 3 == 0 ? "\\n\\u00e9\"}\n" : random % 7 == 0 ? "\"}\n" : ".\"}\n");
    }
    *size = (size_t)(at - text);
    return text;
}

/* The result is valid until the next call. */
static mep_prepare_settings settings_for(const char *given)
{
    static char prefix[512];
    mep_prepare_settings s;
    mep_prepare_defaults(&s);
    snprintf(prefix, sizeof prefix, "%s", given);
    s.inputs = inputs, s.input_count = FILES, s.prefix = prefix, s.tokenizer = bytes;
    return s;
}

/* A plain file, a .zst of several frames, a text, a .tar.gz, a .jsonl.gz. */
static int set_up(void **state)
{
    if (text_folder_make(state) != 0 || mep_tokenizer_bytes(&bytes) != MEP_OK) return 1;
    size_t sizes[4];
    char *lines[4];
    for (int i = 0; i < 4; i++) lines[i] = make_lines((uint64_t)i + 1, LINES, &sizes[i]);
    snprintf(input_paths[0], 512, "%s", write_bytes("a.jsonl", lines[0], sizes[0]));
    const packed one = {"data", lines[1], sizes[1]};
    const char *path = write_packed("b.jsonl.zst", ARCHIVE_FILTER_ZSTD, 0, &one, 1);
    size_t size = 0;
    unsigned char *frame = read_bytes(path, &size), *frames = malloc(2 * size);
    memcpy(frames, frame, size);
    memcpy(frames + size, frame, size);
    snprintf(input_paths[1], 512, "%s", write_bytes("b.jsonl.zst", frames, 2 * size));
    free(frame);
    free(frames);
    snprintf(input_paths[2], 512, "%s", write_bytes("c.txt", lines[2], sizes[2]));
    const packed members[] = {
        {"x/1.jsonl", lines[2], sizes[2]}, {"x/2.txt", "text", 4}, {"y.jsonl", lines[3], sizes[3]}};
    snprintf(input_paths[3], 512, "%s", write_packed("d.tar.gz", ARCHIVE_FILTER_GZIP, 1, members, 3));
    const packed last = {"data", lines[3], sizes[3]};
    snprintf(input_paths[4], 512, "%s", write_packed("e.jsonl.gz", ARCHIVE_FILTER_GZIP, 0, &last, 1));
    for (int i = 0; i < 4; i++) free(lines[i]);
    for (int i = 0; i < FILES; i++) inputs[i] = input_paths[i];
    snprintf(straight, sizeof straight, "%s", in_folder("straight"));
    mep_prepare_settings s = settings_for(straight);
    s.threads = 1;
    return mep_prepare(&s, NULL, NULL, NULL) != MEP_OK;
}

static int tear_down(void **state)
{
    mep_tokenizer_destroy(&bytes);
    return text_folder_remove(state);
}

static void expect_same(const char *a, const char *b)
{
    static const char *const suffixes[] = {".bin", ".idx", ".json"};
    for (int i = 0; i < 3; i++) expect_same_file(a, b, suffixes[i]);
    static const char *const others[] = {".bin.tmp", ".idx.tmp", ".json.tmp", ".sizes.tmp", ".journal", ".journal.tmp"};
    for (int i = 0; i < 6; i++)
        if (exists_with(a, others[i])) fail_msg("%s%s is left", a, others[i]);
}

static mep_status count_record(void *context, const mep_corpus_record *record)
{
    *(int64_t *)context += record->next == 0;
    return MEP_OK;
}

/* ---- The documents ---- */

typedef struct reference {
    mep_dataset *dataset;
    int64_t documents, tokens, text_bytes;
} reference;

/* Compare the dataset with a document that one thread reads without the pipeline. */
static mep_status check_document(void *context, const char *text, int64_t size, int64_t position, int64_t total)
{
    (void)position, (void)total;
    reference *r = context;
    int32_t *tokens = malloc((size_t)(size + 1) * sizeof *tokens);
    assert_int_equal(mep_dataset_document_start(r->dataset, r->documents), r->tokens);
    expect(mep_dataset_read(r->dataset, r->tokens, size + 1, tokens), MEP_OK);
    for (int64_t i = 0; i < size; i++) assert_int_equal(tokens[i], (unsigned char)text[i]);
    assert_int_equal(tokens[size], 256);
    free(tokens);
    r->documents++;
    r->tokens += size + 1;
    r->text_bytes += size;
    return MEP_OK;
}

static void test_documents(void **state)
{
    (void)state;
    reference r = {0};
    expect(mep_dataset_open(&r.dataset, straight), MEP_OK);
    expect(mep_corpus_read(inputs, FILES, check_document, &r), MEP_OK);
    assert_int_equal(r.documents, mep_dataset_documents(r.dataset));
    assert_int_equal(r.tokens, mep_dataset_tokens(r.dataset));
    assert_true(r.documents > 5 * LINES * 4 / 5);
    mep_dataset_close(&r.dataset);
}

static void test_threads(void **state)
{
    (void)state;
    for (int64_t threads = 0; threads < 10; threads += 3) {
        mep_prepare_progress result;
        mep_prepare_settings s = settings_for(in_folder("threads"));
        s.threads = threads;
        expect(mep_prepare(&s, NULL, NULL, &result), MEP_OK);
        expect_same(in_folder("threads"), straight);
        assert_int_equal(result.position, result.total);
    }
}

/* ---- Stops ---- */

typedef struct stopper {
    int64_t calls, stop_at; /* documents */
    int64_t first, last;    /* documents */
    int by_kill;
} stopper;

static int stop(void *context, const mep_prepare_progress *p)
{
    stopper *s = context;
    if (s->calls++ == 0) s->first = p->documents;
    if (p->documents < s->last || p->position > p->total) return 1;
    s->last = p->documents;
    if (p->documents < s->stop_at) return 0;
    if (s->by_kill) kill(getpid(), SIGKILL);
    return 1;
}

/* When it is stopped repeatedly, it resumes at the same position and ends with the same bytes. */
static void test_interrupted(void **state)
{
    (void)state;
    mep_prepare_settings s = settings_for(in_folder("stopped"));
    s.resume = 1;
    int stops = 0;
    int64_t before = 0;
    for (;;) {
        stopper context = {.stop_at = before + 1000};
        mep_prepare_progress result = {0};
        mep_status status = mep_prepare(&s, stop, &context, &result);
        if (before > 0) assert_true(context.first >= before);
        before = context.last;
        if (status == MEP_OK) break;
        expect(status, MEP_INTERRUPTED);
        expect_message("the work done so far is kept");
        assert_true(exists_with(s.prefix, ".journal") && !exists_with(s.prefix, ".idx"));
        stops++;
    }
    assert_in_range(stops, 3, 20);
    expect_same(s.prefix, straight);
    /* if it is stopped before anything was done, no files remain */
    mep_prepare_settings none = settings_for(in_folder("none"));
    stopper at_once = {.stop_at = 0};
    mep_status status = mep_prepare(&none, stop, &at_once, NULL);
    assert_true(status == MEP_INTERRUPTED || status == MEP_OK);
    if (at_once.last == 0) assert_false(exists_with(none.prefix, ".journal") || exists_with(none.prefix, ".bin.tmp"));
}

/* The same when it is killed, with a journal after each batch, after some batches, and only at the end. */
static void test_killed(void **state)
{
    (void)state;
    static const int64_t saves[] = {1, 1 << 20, INT64_MAX};
    for (int c = 0; c < 3; c++) {
        mep_prepare_settings s = settings_for(in_folder("killed"));
        s.resume = 1, s.save_bytes = saves[c], s.save_seconds = 1e9;
        for (int64_t stop_at = 500; stop_at < 15000; stop_at += 2700) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                stopper context = {.stop_at = stop_at, .by_kill = 1};
                _exit(mep_prepare(&s, stop, &context, NULL) != MEP_OK);
            }
            int status = 0;
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            assert_false(exists_with(s.prefix, ".idx"));
        }
        stopper complete = {.stop_at = INT64_MAX};
        expect(mep_prepare(&s, stop, &complete, NULL), MEP_OK);
        if (c == 0) assert_true(complete.first >= 11000);
        if (c == 2) assert_true(complete.first < 1000);
        expect_same(s.prefix, straight);
        unlink(in_folder("killed.idx"));
    }
}

/* Killed after the first rename, or after everything except the removal of the journal. */
static void test_killed_at_the_end(void **state)
{
    (void)state;
    for (int renamed = 0; renamed < 2; renamed++) {
        mep_prepare_settings s = settings_for(in_folder("late"));
        stopper context = {.stop_at = 9000};
        expect(mep_prepare(&s, stop, &context, NULL), MEP_INTERRUPTED);
        if (renamed) assert_int_equal(rename(in_folder("late.bin.tmp"), in_folder("late.bin")), 0);
        s.resume = 1;
        expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
        expect_same(s.prefix, straight);
    }
    mep_prepare_settings s = settings_for(in_folder("late"));
    s.keep_journal = s.resume = 1;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
    assert_true(exists_with(s.prefix, ".journal"));
    mep_prepare_progress result = {0};
    stopper none = {.stop_at = 0};
    expect(mep_prepare(&s, stop, &none, &result), MEP_OK); /* at once */
    assert_int_equal(none.calls, 0);
    assert_true(result.documents > 0 && result.text_bytes > 0);
    unlink(in_folder("late.journal"));
    expect_same(s.prefix, straight);
}

/* If only the unfinished .bin.tmp has been removed, resuming is refused with a message, and the other files are left
 * unchanged, as is an older dataset that is longer than the new one or as long. */
static void test_bin_lost(void **state)
{
    (void)state;
    enum { NONE, LONGER, AS_LONG, CASES };
    for (int older = NONE; older < CASES; older++) {
        mep_prepare_settings s = settings_for(in_folder("lost"));
        stopper context = {.stop_at = 9000};
        const char *bin = in_folder("lost.bin"), *unfinished = in_folder("lost.bin.tmp");
        char *before = NULL, *after = NULL;
        int64_t size = 0, new_size = 0;
        if (older == LONGER) expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
        expect(mep_prepare(&s, stop, &context, NULL), MEP_INTERRUPTED);
        if (older == AS_LONG) {
            expect(mep_file_read(unfinished, 1 << 28, &before, &size), MEP_OK);
            before[size / 2] ^= 1;
            expect(mep_file_write_atomic(bin, before, size), MEP_OK);
            mep_free(&before);
        }
        if (older != NONE) expect(mep_file_read(bin, 1 << 28, &before, &size), MEP_OK);
        assert_int_equal(unlink(unfinished), 0);
        s.resume = 1;
        for (int again = 0; again < 2; again++) {
            expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_FORMAT);
            expect_message("lost.bin.tmp with the tokens written so far is missing");
            assert_true(exists_with(s.prefix, ".journal") && exists_with(s.prefix, ".sizes.tmp"));
        }
        assert_int_equal(exists_with(s.prefix, ".bin"), older != NONE);
        if (older != NONE) {
            expect(mep_file_read(bin, 1 << 28, &after, &new_size), MEP_OK);
            assert_int_equal(new_size, size);
            assert_memory_equal(after, before, (size_t)size);
        }
        mep_free(&before);
        mep_free(&after);
    }
    mep_prepare_settings s = settings_for(in_folder("lost"));
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK); /* starts again */
    expect_same(s.prefix, straight);
}

/* ---- Slices ---- */

/* Words of some scripts, blanks, marks and invalid UTF-8; with `json` as the string of a line. */
static char *make_words(uint64_t seed, int count, int json, size_t *size)
{
    static const char *const words[] = {"one", "Two", "\u00e9t\u00e9", "\u4e2d\u6587", "3.14", "e\u0301", "it's"};
    static const char *const plain[] = {" ", "  ", "\n", ". ", "\xff ", "\t\n "};
    static const char *const escaped[] = {" ", "  ", "\\n", ". ", "\\u00e9 ", "\\ud83d\\ude00\\t "};
    char *text = malloc((size_t)count * 24 + 64), *at = text;
    if (json) at += sprintf(at, "{\"text\": \"");
    for (int i = 0; i < count; i++) {
        uint64_t random = mep_random_bits(seed, 1, (uint64_t)i);
        at += sprintf(at, "%s%s", words[random % 7], (json ? escaped : plain)[random / 7 % 6]);
    }
    if (json) at += sprintf(at, "\"%s}\n", seed % 2 == 0 ? ", \"a\": \"\\u0000\"" : "");
    *size = (size_t)(at - text);
    return text;
}

static mep_tokenizer *golden_tokenizer(const char *name)
{
    char path[1024];
    mep_tokenizer *tokenizer = NULL;
    snprintf(path, sizeof path, "%s/tokenizer_%s.json", MEP_GOLDEN_DEFAULT, name);
    expect(mep_tokenizer_open(&tokenizer, path), MEP_OK);
    return tokenizer;
}

/* Write a text, lines of which some are long, and both in a tar; `paths` are their paths. */
static void write_long(char paths[3][512])
{
    size_t sizes[4], used = 0;
    char *text = make_words(2, 6000, 0, &sizes[0]), *texts[3];
    for (int i = 0; i < 3; i++) texts[i] = make_words((uint64_t)i + 1, i == 1 ? 3 : 5000, 1, &sizes[i + 1]);
    char *lines = malloc(sizes[1] + sizes[2] + sizes[3] + 64);
    used = (size_t)sprintf(lines, "\xef\xbb\xbf");
    for (int i = 0; i < 3; i++) {
        memcpy(lines + used, texts[i], sizes[i + 1]);
        used += sizes[i + 1];
        used += (size_t)sprintf(lines + used, i == 0 ? "{\"text\": \"\"}\n" : "\n");
        free(texts[i]);
    }
    const packed members[] = {{"0.bin", "a\0b", 3}, {"1.txt", text, sizes[0]}, {"2.jsonl", lines, used}, {"3", "", 0}};
    snprintf(paths[0], 512, "%s", write_bytes("long.txt", text, sizes[0]));
    snprintf(paths[1], 512, "%s", write_bytes("long.jsonl", lines, used));
    snprintf(paths[2], 512, "%s", write_packed("long.tar.gz", ARCHIVE_FILTER_GZIP, 1, members, 4));
    free(text);
    free(lines);
}

typedef struct call_stopper {
    int64_t calls, stop_at, first_tokens;
} call_stopper;

static int stop_call(void *context, const mep_prepare_progress *p)
{
    call_stopper *s = context;
    if (s->calls == 0) s->first_tokens = p->tokens;
    return ++s->calls == s->stop_at;
}

/* Whatever the size of the slices, and wherever it is stopped in a text, the dataset is that of complete documents. */
static void test_slices(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "neox", "bloom", "llama", "odd", NULL};
    static const int64_t slices[] = {16, 1000};
    char paths[3][512], complete[512];
    write_long(paths);
    const char *list[] = {paths[0], paths[1], paths[2]};
    for (int which = 0; which < 6; which++) {
        mep_tokenizer *tokenizer = names[which] != NULL ? golden_tokenizer(names[which]) : NULL;
        snprintf(complete, sizeof complete, "%s", in_folder("complete"));
        mep_prepare_settings s = settings_for(complete);
        s.inputs = list, s.input_count = 3, s.tokenizer = tokenizer != NULL ? tokenizer : bytes;
        expect(mep_prepare_limited(&s, &(mep_prepare_limits){INT64_MAX, INT32_MAX}, NULL, NULL, NULL), MEP_OK);
        s = settings_for(in_folder("sliced"));
        s.inputs = list, s.input_count = 3, s.tokenizer = tokenizer != NULL ? tokenizer : bytes, s.resume = 1;
        for (int i = 0; i < 2; i++) {
            const mep_prepare_limits limits = {slices[i], INT32_MAX};
            call_stopper all = {.stop_at = -1};
            expect(mep_prepare_limited(&s, &limits, stop_call, &all, NULL), MEP_OK);
            expect_same(s.prefix, complete);
            if (which < 4) assert_true(all.calls > 150); /* one per slice */
            int64_t stops = 0, before = 0;
            for (int done = 0; !done; stops++) {
                assert_true(stops < 100);
                call_stopper context = {.stop_at = all.calls / 4 + 2};
                mep_status status = mep_prepare_limited(&s, &limits, stop_call, &context, NULL);
                if (status != MEP_OK) expect(status, MEP_INTERRUPTED);
                assert_true(context.first_tokens >= before);
                before = context.first_tokens;
                done = status == MEP_OK;
            }
            if (which < 4) assert_true(stops > 2);
            expect_same(s.prefix, complete);
        }
        mep_tokenizer_destroy(&tokenizer);
    }
}

/* A document with more tokens than a sequence of the format may have becomes several sequences, with one end token. */
static void test_long_sequences(void **state)
{
    (void)state;
    char paths[3][512], complete[512];
    write_long(paths);
    const char *list[] = {paths[0]};
    mep_dataset *datasets[2];
    snprintf(complete, sizeof complete, "%s", in_folder("complete"));
    for (int limited = 0; limited < 2; limited++) {
        const mep_prepare_limits limits = {5000, limited == 0 ? INT32_MAX : 777};
        mep_prepare_settings s = settings_for(limited == 0 ? complete : in_folder("limited"));
        s.inputs = list, s.input_count = 1, s.resume = 1;
        call_stopper once = {.stop_at = 5};
        expect(mep_prepare_limited(&s, &limits, stop_call, &once, NULL), MEP_INTERRUPTED);
        expect(mep_prepare_limited(&s, &limits, NULL, NULL, NULL), MEP_OK);
        expect(mep_dataset_open(&datasets[limited], s.prefix), MEP_OK);
    }
    int64_t tokens = mep_dataset_tokens(datasets[0]);
    int32_t *read[2] = {calloc((size_t)tokens, 4), calloc((size_t)tokens, 4)};
    assert_int_equal(mep_dataset_tokens(datasets[1]), tokens);
    assert_int_equal(mep_dataset_documents(datasets[0]), 1);
    assert_int_equal(mep_dataset_documents(datasets[1]), (tokens + 776) / 777);
    assert_int_equal(mep_dataset_document_start(datasets[1], 2), 2 * 777);
    for (int limited = 0; limited < 2; limited++) {
        expect(mep_dataset_read(datasets[limited], 0, tokens, read[limited]), MEP_OK);
        mep_dataset_close(&datasets[limited]);
    }
    assert_memory_equal(read[0], read[1], (size_t)tokens * 4);
    assert_int_equal(read[0][tokens - 1], 256);
    free(read[0]);
    free(read[1]);
}

/* A text without a split point is read at once, up to a limit that the message names. */
static void test_no_split_point(void **state)
{
    (void)state;
    mep_tokenizer *gpt2 = golden_tokenizer("gpt2");
    const char *path[] = {
        write_text("dots.txt", "......................................................................")};
    mep_corpus_files files = {0};
    int64_t count = 0;
    expect(mep_corpus_files_find(&files, path, 1), MEP_OK);
    mep_corpus_reading reading = {.paths = path, .files = &files, .tokenizer = gpt2, .limit = 70, .slice = 16};
    expect(mep_corpus_read_records(&reading, count_record, &count), MEP_OK);
    assert_int_equal(count, 1);
    reading.limit = 69;
    expect(mep_corpus_read_records(&reading, count_record, &count), MEP_ERROR_FORMAT);
    expect_message("dots.txt: the document is longer than 69 bytes");
    mep_corpus_files_free(&files);
    mep_tokenizer_destroy(&gpt2);
}

/* ---- Errors ---- */

/* A tokenizer with the same name and size, but with two merges exchanged, does not resume the work of the other one. */
static void test_changed_tokenizer(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/tokenizer_gpt2.json", MEP_GOLDEN_DEFAULT);
    json_t *root = json_load_file(path, 0, NULL), *merges = json_object_get(json_object_get(root, "model"), "merges");
    json_t *first = json_incref(json_array_get(merges, 0)), *second = json_incref(json_array_get(merges, 1));
    mep_tokenizer *tokenizers[2] = {NULL};
    snprintf(path, sizeof path, "%s", in_folder("tokenizer.json"));
    for (int i = 0; i < 2; i++) {
        json_array_set(merges, (size_t)i, first);
        json_array_set(merges, (size_t)(1 - i), second);
        assert_int_equal(json_dump_file(root, path, 0), 0);
        expect(mep_tokenizer_open(&tokenizers[i], path), MEP_OK);
    }
    mep_prepare_settings s = settings_for(in_folder("other"));
    stopper context = {.stop_at = 5000};
    s.tokenizer = tokenizers[0];
    expect(mep_prepare(&s, stop, &context, NULL), MEP_INTERRUPTED);
    s.resume = 1, s.tokenizer = tokenizers[1];
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_ARGUMENT);
    expect_message("another tokenizer");
    s.tokenizer = tokenizers[0];
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
    for (int i = 0; i < 2; i++) mep_tokenizer_destroy(&tokenizers[i]);
    json_decref(first);
    json_decref(second);
    json_decref(root);
}

/* If a late file is damaged, the work before it is kept, and resumes when the file has been repaired. */
static void test_repaired_file(void **state)
{
    (void)state;
    size_t size = 0;
    unsigned char *good = read_bytes(inputs[4], &size);
    mep_prepare_settings s = settings_for(in_folder("repaired"));
    for (int kind = 0; kind < 2; kind++) {
        if (kind == 0)
            write_bytes("e.jsonl.gz", good, size / 2);
        else
            write_bytes("e.jsonl.gz", "not packed", 10);
        s.resume = kind;
        expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_FORMAT);
        expect_message("e.jsonl.gz");
        expect_message("is kept");
    }
    write_bytes("e.jsonl.gz", good, size);
    free(good);
    stopper context = {.stop_at = INT64_MAX};
    expect(mep_prepare(&s, stop, &context, NULL), MEP_OK);
    assert_true(context.first >= 9000);
    expect_same(s.prefix, straight);
    /* if it is the first file, nothing is kept */
    const char *bad[] = {write_text("bad.jsonl", "{\"text\": \"a\"}\nrubbish\n")};
    mep_prepare_settings first = settings_for(in_folder("first"));
    first.inputs = bad, first.input_count = 1;
    expect(mep_prepare(&first, NULL, NULL, NULL), MEP_ERROR_FORMAT);
    expect_message("bad.jsonl:2: ");
    assert_false(exists_with(first.prefix, ".journal") || exists_with(first.prefix, ".bin.tmp") ||
                 exists_with(first.prefix, ".sizes.tmp"));
}

/* Files that were read may not change between two calls. */
static void test_changed_inputs(void **state)
{
    (void)state;
    mep_prepare_settings s = settings_for(in_folder("changed"));
    stopper context = {.stop_at = 5000};
    expect(mep_prepare(&s, stop, &context, NULL), MEP_INTERRUPTED);
    s.resume = 1;
    const char *others[FILES] = {inputs[1], inputs[0], inputs[2], inputs[3], inputs[4]};
    s.inputs = others;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_ARGUMENT);
    expect_message("have changed");
    s.inputs = inputs;
    s.end_of_document = 0;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_ARGUMENT);
    expect_message("end-of-document");
    s.end_of_document = 1;
    size_t size = 0;
    unsigned char *journal = read_bytes(in_folder("changed.journal"), &size);
    for (size_t length = 0; length + 2 < size; length += 7) { /* less than the last brace */
        write_bytes("changed.journal", journal, length);
        if (mep_prepare(&s, NULL, NULL, NULL) != MEP_ERROR_FORMAT)
            fail_msg("%zu of %zu bytes are a journal: %s", length, size, mep_error_message());
        expect_message("start again");
    }
    write_bytes("changed.journal", journal, size);
    free(journal);
    assert_int_equal(truncate(in_folder("changed.bin.tmp"), 100), 0);
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_FORMAT);
    s.resume = 0;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
    expect_same(s.prefix, straight);
}

/* If a file cannot be written (as on a full disk) or renamed at the end, the work is kept. */
static void test_unwritable_end(void **state)
{
    (void)state;
    static const char *const blocked[] = {"end.idx.tmp", "end.json.tmp", "end.bin", "end.idx"};
    for (int i = 0; i < 4; i++) {
        mep_prepare_settings s = settings_for(in_folder("end"));
        stopper context = {.stop_at = INT64_MAX};
        assert_int_equal(mkdir(in_folder(blocked[i]), 0777), 0);
        expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_IO);
        expect_message(blocked[i]);
        expect_message("the work done so far is kept");
        assert_int_equal(rmdir(in_folder(blocked[i])), 0);
        s.resume = 1;
        expect(mep_prepare(&s, stop, &context, NULL), MEP_OK);
        assert_true(context.first >= 10000);
        expect_same(s.prefix, straight);
        unlink(in_folder("end.bin"));
        unlink(in_folder("end.idx"));
    }
}

/* Whichever allocation fails, the status says so, and a later call resumes the work. */
static void test_failing_allocations(void **state)
{
    (void)state;
    int failures = 0;
    for (int64_t n = 1; n < 60000; n += 1 + n / 3) {
        mep_prepare_settings s = settings_for(in_folder("short"));
        s.resume = 1;
        mep_fail_allocation(n);
        mep_status status = mep_prepare(&s, NULL, NULL, NULL);
        mep_fail_allocation(0);
        if (status != MEP_OK) expect(status, MEP_ERROR_MEMORY);
        failures += status != MEP_OK;
        if (status != MEP_OK) expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
        expect_same(s.prefix, straight);
    }
    assert_true(failures > 15);
}

/* ---- Memory ---- */

/* Peak memory in KB of a child that prepares a file `times` times. The parent's free memory is released first. */
static long peak_of(const char *path, int64_t times)
{
    malloc_trim(0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const char **many = malloc((size_t)times * sizeof *many);
        for (int64_t i = 0; i < times; i++) many[i] = path;
        mep_prepare_settings s = settings_for(in_folder("much"));
        s.inputs = many, s.input_count = times;
        _exit(mep_prepare(&s, NULL, NULL, NULL) != MEP_OK);
    }
    int status = 0;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return usage.ru_maxrss;
}

/* A corpus that is six times larger, 300 MB of text in 500,000 documents, needs no more memory. */
static void test_memory(void **state)
{
    (void)state;
    enum { MANY = 50000 };
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* it keeps freed memory */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    skip();
#endif
#endif
    size_t size = 0;
    char *lines = make_lines(9, MANY, &size);
    const packed one = {"data", lines, size};
    char path[512];
    snprintf(path, sizeof path, "%s", write_packed("much.jsonl.zst", ARCHIVE_FILTER_ZSTD, 0, &one, 1));
    free(lines);
    long small = peak_of(path, 2), large = peak_of(path, 12);
    print_message("peak memory: %ld and %ld KB\n", small, large);
    if (!(large < small + 40000)) fail_msg("peak memory grows from %ld to %ld KB", small, large);
}

/* A document that is four times longer needs no more memory; a line of JSON needs three times its size. */
static void test_memory_of_one(void **state)
{
    (void)state;
    enum { WORDS = 4000000 };
#if defined(__SANITIZE_ADDRESS__)
    skip();
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    skip();
#endif
#endif
    char paths[2][512];
    size_t size = 0;
    char *text = make_words(3, WORDS, 0, &size);
    const packed one = {"data", text, size};
    snprintf(paths[0], 512, "%s", write_packed("one.txt.zst", ARCHIVE_FILTER_ZSTD, 0, &one, 1));
    free(text);
    unsigned char *frame = read_bytes(paths[0], &size), *frames = malloc(4 * size);
    for (size_t i = 0; i < 4; i++) memcpy(frames + i * size, frame, size);
    snprintf(paths[1], 512, "%s", write_bytes("four.txt.zst", frames, 4 * size));
    free(frame);
    free(frames);
    long small = peak_of(paths[0], 1), large = peak_of(paths[1], 1);
    print_message("peak memory: %ld and %ld KB\n", small, large);
    if (!(large < small + 40000)) fail_msg("peak memory grows from %ld to %ld KB", small, large);
    text = make_words(3, WORDS, 1, &size);
    snprintf(paths[0], 512, "%s", write_bytes("one.jsonl", text, size));
    free(text);
    large = peak_of(paths[0], 1);
    print_message("peak memory for a line of %zu bytes: %ld KB\n", size, large);
    if (!(large < small + 40000 + 3 * (long)(size / 1024))) fail_msg("%ld KB for a line of %zu bytes", large, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_killed_at_the_end),
        cmocka_unit_test(test_bin_lost),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_long_sequences),
        cmocka_unit_test(test_no_split_point),
        cmocka_unit_test(test_changed_tokenizer),
        cmocka_unit_test(test_repaired_file),
        cmocka_unit_test(test_changed_inputs),
        cmocka_unit_test(test_unwritable_end),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_of_one),
    };
    return cmocka_run_group_tests_name("prepare", tests, set_up, tear_down);
}
