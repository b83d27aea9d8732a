/* SPDX-License-Identifier: MIT */
/*
 * TensorBoard event files, read back by a reader of a page: lengths, checksums, fields. With an argument the program
 * writes a file into that folder instead, for tests/event_file.py, which reads it with the tensorboard package.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "base/memory.h"
#include "io/event_file.h"
#include "io/files.h"
#include "scratch.h"

static mep_status write_example(const char *folder, int64_t first, int64_t end)
{
    mep_event_file *file;
    mep_status status = mep_event_file_create(&file, folder, first);
    for (int64_t step = first; status == MEP_OK && step < end; step++) {
        status = mep_event_file_scalar(file, "train/loss", step, 5.0 / (double)step);
        if (status == MEP_OK) status = mep_event_file_scalar(file, "valid/loss", step, step == 2 ? NAN : 0.5);
    }
    mep_status closed = mep_event_file_close(&file);
    return status != MEP_OK ? status : closed;
}

/* CRC-32C with a table, the way of most readers. */
static uint32_t crc32c(const unsigned char *data, int64_t size)
{
    uint32_t table[256], crc = ~(uint32_t)0;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78u : 0);
    }
    for (int64_t i = 0; i < size; i++) crc = table[(crc ^ data[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

static uint64_t number(const unsigned char *data, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | data[i];
    return value;
}

static void check_crc(const unsigned char *data, int64_t size)
{
    uint32_t rotated = (uint32_t)number(data + size, 4) - 0xa282ead8u;
    assert_int_equal(rotated >> 17 | rotated << 15, crc32c(data, size));
}

/* The bytes of one record; *at moves past it. */
static const unsigned char *next_record(const unsigned char *data, int64_t *at, int64_t *size)
{
    *size = (int64_t)number(data + *at, 8);
    check_crc(data + *at, 8);
    check_crc(data + *at + 12, *size);
    const unsigned char *record = data + *at + 12;
    *at += 12 + *size + 4;
    return record;
}

/* The event file of a folder that has one, read whole. */
static unsigned char *read_events(const char *folder, int64_t *size)
{
    char *path = NULL, *data;
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0) {
            assert_null(path);
            assert_int_equal(mep_path_join(&path, folder, entry->d_name), MEP_OK);
        }
    closedir(listing);
    assert_non_null(path);
    assert_int_equal(mep_file_read(path, 1 << 20, &data, size), MEP_OK);
    mep_free(&path);
    return (unsigned char *)data;
}

static void test_records(void **state)
{
    (void)state;
    const char *folder = scratch_path("events");
    assert_int_equal(crc32c((const unsigned char *)"123456789", 9), 0xe3069283u);
    assert_int_equal(write_example(folder, 1, 4), MEP_OK);
    int64_t size, at = 0, length, records = 0;
    unsigned char *data = read_events(folder, &size);
    const unsigned char *record = next_record(data, &at, &length);
    assert_memory_equal(record + length - 13, "brain.Event:2", 13);
    record = next_record(data, &at, &length); /* session start at step 1 */
    assert_memory_equal(record + 9, ((const unsigned char[]){0x10, 1, 0x3a, 2, 0x08, 1}), 6);
    record = next_record(data, &at, &length);
    /* 0x09 double time, 0x10 step 1, 0x2a summary { 0x0a value { 0x0a tag, 0x15 float 5 } } */
    assert_int_equal(record[0], 0x09);
    assert_memory_equal(record + 9, ((const unsigned char[]){0x10, 1, 0x2a, 19, 0x0a, 17, 0x0a, 10}), 8);
    assert_memory_equal(record + 17, "train/loss", 10);
    assert_memory_equal(record + 27, ((const unsigned char[]){0x15, 0, 0, 0xa0, 0x40}), 5);
    assert_int_equal(length, 32);
    for (; at < size; records++) next_record(data, &at, &length);
    assert_int_equal(records, 4); /* of 6 values the first is read above, and one is NaN */
    assert_int_equal(at, size);
    mep_free(&data);
}

static void test_refused(void **state)
{
    (void)state;
    mep_event_file *file;
    const char *folder = scratch_path("refused");
    char tag[300];
    memset(tag, 'x', sizeof tag - 1);
    tag[sizeof tag - 1] = '\0';
    assert_int_equal(mep_event_file_create(&file, folder, 0), MEP_OK);
    assert_int_equal(mep_event_file_scalar(file, tag, 1, 1), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_event_file_close(&file), MEP_OK);
    assert_null(file);
    assert_int_equal(mep_event_file_create(&file, "/proc/no-such-folder", 0), MEP_ERROR_IO);
    assert_null(file);
}

int main(int argc, char **argv)
{
    if (argc == 2) return write_example(argv[1], 1, 6) != MEP_OK || write_example(argv[1], 4, 9) != MEP_OK;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_records), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
