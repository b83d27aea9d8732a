/* SPDX-License-Identifier: MIT */
/*
 * Files of GPT-NeoX and Megatron-LM, written by their own classes (scripts/fixtures/megatron.py): mep prepare writes
 * the same bytes from the same documents, and their files are read. Splits are those of NeoX's function.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mep/data.h"
#include "expect.h"
#include "text_files.h"

static const char *fixture(const char *name)
{
    static char paths[4][1024];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/../megatron/%s", MEP_GOLDEN_DEFAULT, name);
    return path;
}

static mep_dataset *open_fixture(const char *name)
{
    mep_dataset *dataset = NULL;
    expect(mep_dataset_open(&dataset, fixture(name)), MEP_OK);
    return dataset;
}

static void test_same_bytes(void **state)
{
    (void)state;
    const char *inputs[] = {fixture("corpus.jsonl")};
    mep_tokenizer *bytes = NULL;
    mep_prepare_settings settings;
    mep_prepare_defaults(&settings);
    expect(mep_tokenizer_bytes(&bytes), MEP_OK);
    settings.inputs = inputs, settings.input_count = 1, settings.tokenizer = bytes;
    settings.prefix = in_folder("ours");
    expect(mep_prepare(&settings, NULL, NULL, NULL), MEP_OK);
    mep_tokenizer_destroy(&bytes);
    expect_same_file(in_folder("ours"), fixture("neox"), ".bin");
    expect_same_file(in_folder("ours"), fixture("neox"), ".idx");
    expect_same_file(in_folder("ours"), fixture("core"), ".bin");
    expect_same_file(in_folder("ours"), fixture("core"), ".idx");
}

/* A vocabulary of 65500 or more: four bytes per token. */
static void test_wide(void **state)
{
    (void)state;
    const int32_t expected[] = {0, 69999, 5, 65500};
    int32_t tokens[4];
    mep_dataset *dataset = open_fixture("wide");
    assert_int_equal(mep_dataset_documents(dataset), 2);
    assert_int_equal(mep_dataset_tokens(dataset), 4);
    expect(mep_dataset_read(dataset, 0, 4, tokens), MEP_OK);
    assert_memory_equal(tokens, expected, sizeof tokens);
    mep_dataset_close(&dataset);
}

/* Several sequences per document, and a document without sequences. */
static void test_sentences(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, 3, 3, 9};
    mep_dataset *dataset = open_fixture("sentences");
    assert_int_equal(mep_dataset_documents(dataset), 3);
    for (int i = 0; i < 4; i++) assert_int_equal(mep_dataset_document_start(dataset, i), starts[i]);
    mep_dataset_close(&dataset);
}

/* NeoX's merge script writes an index without documents; its training then counts sequences, and so does libmep. */
static void test_merged(void **state)
{
    (void)state;
    int32_t once[876], twice[1752];
    mep_dataset *dataset = open_fixture("neox");
    expect(mep_dataset_read(dataset, 0, 876, once), MEP_OK);
    mep_dataset_close(&dataset);
    dataset = open_fixture("merged");
    assert_int_equal(mep_dataset_documents(dataset), 10);
    assert_int_equal(mep_dataset_document_start(dataset, 5), 876);
    assert_int_equal(mep_dataset_document_start(dataset, 10), 1752);
    expect(mep_dataset_read(dataset, 0, 1752, twice), MEP_OK);
    assert_memory_equal(twice, once, sizeof once);
    assert_memory_equal(twice + 876, once, sizeof once);
    mep_dataset_close(&dataset);
}

static void test_multimodal(void **state)
{
    (void)state;
    mep_dataset *dataset = NULL;
    expect(mep_dataset_open(&dataset, fixture("multimodal")), MEP_ERROR_UNSUPPORTED);
    expect_message("multimodal");
    assert_null(dataset);
}

/* ---- Splits ---- */

static void test_split_numbers(void **state)
{
    (void)state;
    FILE *file = fopen(fixture("splits.txt"), "r");
    assert_non_null(file);
    char split[64];
    long long size, expected[4];
    int lines = 0;
    while (fscanf(file, "%63s %lld %lld %lld %lld %lld", split, &size, &expected[0], &expected[1], &expected[2],
                  &expected[3]) == 6) {
        int64_t bounds[4];
        expect(mep_split_documents(split, size, bounds), MEP_OK);
        for (int i = 0; i < 4; i++)
            if (bounds[i] != expected[i])
                fail_msg("%s of %lld: bound %d is %lld, not %lld", split, size, i, (long long)bounds[i], expected[i]);
        lines++;
    }
    fclose(file);
    assert_int_equal(lines, 153);
    int64_t bounds[4];
    expect(mep_split_documents("0,1.5,1.5", 3, bounds), MEP_OK); /* NeoX gets -1 here */
    assert_true(bounds[0] == 0 && bounds[1] == 0 && bounds[2] == 1 && bounds[3] == 3);
    static const char *const wrong[] = {"",      "x",   "1,",  "1,2,3,4", "1;2",        "-1,2",
                                        "0,0,0", "nan", "inf", "1,2x",    "1e308,1e308"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect(mep_split_documents(wrong[i], 10, bounds), MEP_ERROR_ARGUMENT);
        expect_message("949,50,1");
    }
}

/* The splits together are the dataset, in its order, and each sees only its own documents. */
static void test_parts(void **state)
{
    (void)state;
    int32_t all[1752], some[1752];
    mep_dataset *merged = open_fixture("merged");
    expect(mep_dataset_read(merged, 0, 1752, all), MEP_OK);
    static const int64_t counts[] = {5, 3, 2};
    int64_t tokens = 0, documents = 0;
    for (int i = 0; i < 3; i++) {
        mep_dataset *dataset = NULL;
        expect(mep_dataset_open_split(&dataset, fixture("merged"), "5,3,2", (mep_split)i), MEP_OK);
        assert_int_equal(mep_dataset_documents(dataset), counts[i]);
        for (int64_t d = 0; d <= mep_dataset_documents(dataset); d++)
            assert_int_equal(mep_dataset_document_start(dataset, d) + tokens,
                             mep_dataset_document_start(merged, documents + d));
        int64_t count = mep_dataset_tokens(dataset);
        expect(mep_dataset_read(dataset, 0, count, some), MEP_OK);
        assert_memory_equal(some, all + tokens, (size_t)count * 4);
        expect(mep_dataset_read(dataset, 1, count, some), MEP_ERROR_ARGUMENT);
        int32_t most = 0;
        for (int64_t t = 0; t < count; t++) most = all[tokens + t] > most ? all[tokens + t] : most;
        assert_int_equal(mep_dataset_vocab_size(dataset), most + 1);
        assert_true(mep_dataset_checksum(dataset) == mep_dataset_checksum(merged));
        tokens += count;
        documents += mep_dataset_documents(dataset);
        mep_dataset_close(&dataset);
    }
    assert_int_equal(tokens, 1752);
    assert_int_equal(documents, 10);
    mep_dataset *none = NULL;
    expect(mep_dataset_open_split(&none, fixture("merged"), "1,1", (mep_split)7), MEP_ERROR_ARGUMENT);
    expect_message("no part number 7");
    expect(mep_dataset_open_split(&none, fixture("merged"), "949,50,1", MEP_SPLIT_TEST), MEP_ERROR_ARGUMENT);
    expect_message("has no tokens for testing");
    assert_null(none);
    mep_dataset_close(&merged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_wide),       cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_merged),     cmocka_unit_test(test_multimodal), cmocka_unit_test(test_split_numbers),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests_name("megatron", tests, text_folder_make, text_folder_remove);
}
