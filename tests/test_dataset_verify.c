/* SPDX-License-Identifier: MIT */
/*
 * Datasets that changed after they were prepared: a change of any byte of .bin, .idx or .json is detected, and numbers
 * that are not token ids are named.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mep/data.h"
#include "tokenizer/tokenizer.h"
#include "expect.h"
#include "text_files.h"
#include "eval/data_mix.h"

static const mep_tokenizer_ops no_ops = {.json = NULL};

static void write_dataset(const char *prefix, int64_t vocab_size)
{
    const mep_tokenizer tokenizer = {&no_ops, "bytes", vocab_size, 0};
    mep_dataset_writer *writer = NULL;
    assert_int_equal(mep_dataset_writer_create(&writer, prefix, &tokenizer), MEP_OK);
    for (int32_t i = 0; i < 9; i++) {
        const int32_t tokens[] = {i, 5, i * i, 250 - i};
        assert_int_equal(mep_dataset_writer_add(writer, tokens, 1 + i % 4, 1), MEP_OK);
    }
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
}

/* Open and verify. */
static mep_status verify(const char *prefix)
{
    mep_dataset *dataset = NULL;
    mep_status status = mep_dataset_open(&dataset, prefix);
    if (status == MEP_OK) status = mep_dataset_verify(dataset);
    mep_dataset_close(&dataset);
    return status;
}

static void test_data(void **state)
{
    (void)state;
    static const char *const names[] = {"d.bin", "d.idx"};
    char prefix[512];
    snprintf(prefix, sizeof prefix, "%s", in_folder("d"));
    write_dataset(prefix, 256);
    assert_int_equal(verify(prefix), MEP_OK);
    for (int k = 0; k < 2; k++) {
        size_t size;
        unsigned char *data = read_bytes(in_folder(names[k]), &size);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            data[bit / 8] ^= (unsigned char)(1 << bit % 8);
            write_bytes(names[k], data, size);
            mep_status status = verify(prefix);
            if (status == MEP_OK || strstr(mep_error_message(), names[k]) == NULL)
                fail_msg("%s, bit %zu: %s", names[k], bit, status == MEP_OK ? "not seen" : mep_error_message());
            data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        write_bytes(names[k], data, size);
        free(data);
    }
    assert_int_equal(verify(prefix), MEP_OK);

    assert_int_equal(remove(in_folder("d.json")), 0); /* without PREFIX.json there is no checksum */
    size_t size;
    unsigned char *data = read_bytes(in_folder("d.bin"), &size);
    data[0] ^= 1;
    write_bytes("d.bin", data, size);
    free(data);
    assert_int_equal(verify(prefix), MEP_OK);
}

/* Whichever bit of PREFIX.json is changed, changed data is still refused. */
static void test_description(void **state)
{
    (void)state;
    char prefix[512];
    size_t size, json_size;
    snprintf(prefix, sizeof prefix, "%s", in_folder("j"));
    write_dataset(prefix, 256);
    unsigned char *data = read_bytes(in_folder("j.bin"), &size), *json = read_bytes(in_folder("j.json"), &json_size);
    data[0] ^= 1;
    write_bytes("j.bin", data, size);
    for (size_t bit = 0; bit < 8 * json_size; bit++) {
        json[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_bytes("j.json", json, json_size);
        if (verify(prefix) == MEP_OK) fail_msg("bit %zu of PREFIX.json hides a change", bit);
        json[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    free(data);
    free(json);
    write_text("j.json", "{\"tokenizer\": \"bytes\", \"documents\": 9, \"tokens\": 30, \"checksun\": \"0\"}");
    assert_int_equal(verify(prefix), MEP_ERROR_FORMAT);
    expect_message("j.json");
}

/* Numbers that are not token ids, in a file without a checksum and in one with a checksum. */
static void test_bad_tokens(void **state)
{
    (void)state;
    char prefix[512];
    size_t size;
    snprintf(prefix, sizeof prefix, "%s", in_folder("n"));
    write_dataset(prefix, 70000);
    unsigned char *data = read_bytes(in_folder("n.bin"), &size);
    memset(data + 4 * 6, 0xFF, 4);
    write_bytes("n.bin", data, size);
    free(data);
    assert_int_equal(verify(prefix), MEP_ERROR_FORMAT);
    expect_message("checksum");
    assert_int_equal(remove(in_folder("n.json")), 0);
    assert_int_equal(verify(prefix), MEP_ERROR_FORMAT);
    expect_message("n.bin: token 6 is -1, which is not a token id");

    mep_data_mix *mixture;
    assert_int_equal(mep_data_mix_open(&mixture, prefix, "1", MEP_SPLIT_TRAIN), MEP_OK);
    assert_int_equal(mep_data_mix_verify(mixture), MEP_ERROR_FORMAT);
    mep_data_mix_close(&mixture);
    assert_int_equal(mep_data_mix_open(&mixture, prefix, "5,5", MEP_SPLIT_VALID), MEP_OK); /* not in this split */
    assert_int_equal(mep_data_mix_verify(mixture), MEP_OK);
    mep_data_mix_close(&mixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_bad_tokens),
    };
    return cmocka_run_group_tests_name("dataset verify", tests, text_folder_make, text_folder_remove);
}
