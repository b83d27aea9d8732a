/* SPDX-License-Identifier: MIT */
/*
 * Tables in their three forms, the CSV reader on what the writer made, and the words of the progress line.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cli/csv.h"
#include "cli/progress.h"
#include "cli/text_table.h"
#include "scratch.h"

static const char *printed(const mep_table *table, mep_table_format format)
{
    static char text[4096];
    FILE *file = tmpfile();
    assert_non_null(file);
    mep_table_print(table, format, file);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static mep_table *sample(void)
{
    mep_table *table = NULL;
    assert_int_equal(mep_table_create(&table, 3), MEP_OK);
    const char *const cells[] = {"encoding", "512",        "note", "mep",       "20.5 ± 0.1",
                                 "a,b",      "kerple_log", "120",  "say \"hi\""};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        assert_int_equal(mep_table_cell(table, "%s", cells[i]), MEP_OK);
        if (i == 4) mep_table_bold(table);
    }
    return table;
}

static void test_text(void **state)
{
    (void)state;
    mep_table *table = sample();
    assert_string_equal(printed(table, MEP_TABLE_TEXT), "encoding           512  note\n"
                                                        "----------  ----------  --------\n"
                                                        "mep         20.5 ± 0.1  a,b\n"
                                                        "kerple_log         120  say \"hi\"\n");
    mep_table_destroy(&table);
    assert_null(table);
}

static void test_markdown(void **state)
{
    (void)state;
    mep_table *table = sample();
    assert_string_equal(printed(table, MEP_TABLE_MARKDOWN), "| encoding   |            512 | note     |\n"
                                                            "| ---------- | -------------: | -------- |\n"
                                                            "| mep        | **20.5 ± 0.1** | a,b      |\n"
                                                            "| kerple_log |            120 | say \"hi\" |\n");
    mep_table_destroy(&table);
}

/* Printing takes time in the cells, not in their square: `mep bias --length 16K` has a row a distance. */
static void test_many_rows(void **state)
{
    (void)state;
    enum { ROWS = 20000, COLUMNS = 3 };
    mep_table *table = NULL;
    assert_int_equal(mep_table_create(&table, COLUMNS), MEP_OK);
    for (int i = 0; i < ROWS * COLUMNS; i++) assert_int_equal(mep_table_cell(table, "%d", i), MEP_OK);
    FILE *file = tmpfile();
    assert_non_null(file);
    clock_t begin = clock();
    mep_table_print(table, MEP_TABLE_TEXT, file);
    mep_table_print(table, MEP_TABLE_MARKDOWN, file);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (!(seconds < 5)) fail_msg("%d rows took %.1f s", ROWS, seconds);
    fclose(file);
    mep_table_destroy(&table);
}

static void test_csv_round_trip(void **state)
{
    (void)state;
    mep_table *table = sample();
    assert_string_equal(printed(table, MEP_TABLE_CSV), "encoding,512,note\n"
                                                       "mep,20.5 ± 0.1,\"a,b\"\n"
                                                       "kerple_log,120,\"say \"\"hi\"\"\"\n");
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("table.csv"));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    mep_table_print(table, MEP_TABLE_CSV, file);
    fclose(file);
    mep_csv csv;
    assert_int_equal(mep_csv_read(&csv, path), MEP_OK);
    assert_int_equal(csv.columns, 3);
    assert_int_equal(csv.rows, 2);
    assert_int_equal(mep_csv_column(&csv, "note"), 2);
    assert_int_equal(mep_csv_column(&csv, "nothing"), -1);
    assert_string_equal(mep_csv_cell(&csv, 0, 1), "20.5 ± 0.1");
    assert_string_equal(mep_csv_cell(&csv, 0, 2), "a,b");
    assert_string_equal(mep_csv_cell(&csv, 1, 2), "say \"hi\"");
    mep_csv_free(&csv);
    mep_table_destroy(&table);
    remove(path);
}

/* Reads `text` as a file; returns the status and, where it is MEP_OK, the table. */
static mep_status read_text(const char *text, mep_csv *csv)
{
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("input.csv"));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    mep_status status = mep_csv_read(csv, path);
    remove(path);
    return status;
}

static void test_csv_corners(void **state)
{
    (void)state;
    mep_csv csv;
    assert_int_equal(read_text("a,b\r\n1,\r\n\r\n,\"2\nx\"", &csv),
                     MEP_OK); /* CRLF, empty cells and lines, no last newline */
    assert_int_equal(csv.columns, 2);
    assert_int_equal(csv.rows, 2);
    assert_string_equal(mep_csv_cell(&csv, -1, 1), "b");
    assert_string_equal(mep_csv_cell(&csv, 0, 1), "");
    assert_string_equal(mep_csv_cell(&csv, 1, 0), "");
    assert_string_equal(mep_csv_cell(&csv, 1, 1), "2\nx");
    mep_csv_free(&csv);
    assert_int_equal(read_text("a,b\n1\n", &csv), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "line 2 has 1 cells"));
    assert_null(csv.cells);
    assert_int_equal(read_text("\n\n", &csv), MEP_ERROR_FORMAT);
    assert_int_equal(read_text("a\n\"open", &csv), MEP_OK);
    assert_string_equal(mep_csv_cell(&csv, 0, 0), "open");
    mep_csv_free(&csv);
    assert_int_equal(mep_csv_read(&csv, scratch_path("none.csv")), MEP_ERROR_IO);
    assert_int_equal(mep_csv_read(&csv, scratch_path("")), MEP_ERROR_IO); /* a folder */
}

static void test_progress_words(void **state)
{
    (void)state;
    char text[32];
    mep_duration_text(7.4, text);
    assert_string_equal(text, "0:07");
    mep_duration_text(754, text);
    assert_string_equal(text, "12:34");
    mep_duration_text(3723, text);
    assert_string_equal(text, "1:02:03");
    mep_short_number(950, text);
    assert_string_equal(text, "950");
    mep_short_number(41234, text);
    assert_string_equal(text, "41.2k");
    mep_short_number(999600, text);
    assert_string_equal(text, "1.0M");
    mep_short_number(234567890, text);
    assert_string_equal(text, "235M");
}

static int remove_scratch(void **state)
{
    (void)state;
    return remove(scratch_path(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),           cmocka_unit_test(test_markdown),
        cmocka_unit_test(test_csv_round_trip), cmocka_unit_test(test_csv_corners),
        cmocka_unit_test(test_progress_words), cmocka_unit_test(test_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
