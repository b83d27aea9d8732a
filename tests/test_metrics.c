/* SPDX-License-Identifier: MIT */
/*
 * The reader of metrics.jsonl: what it accepts, what it ignores, and where it fails.
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
#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "scratch.h"
#include "train/metrics.h"

#define LINE(STEP, LOSS)                                                                                               \
    "{\"step\": " STEP ", \"loss\": " LOSS                                                                             \
    ", \"learning_rate\": 0.001, \"grad_norm\": 2.5, \"tokens_per_second\": 4e4}\n"

static mep_status parse(mep_metrics *m, const char *text)
{
    return mep_metrics_parse(m, "log", text, (int64_t)strlen(text));
}

static void refuse(const char *text, const char *message)
{
    mep_metrics m;
    assert_int_equal(parse(&m, text), MEP_ERROR_FORMAT);
    if (strstr(mep_error_message(), message) == NULL) fail_msg("\"%s\" is not in: %s", message, mep_error_message());
    assert_int_equal(m.count, 0);
    assert_null(m.steps);
}

static void test_plain(void **state)
{
    (void)state;
    mep_metrics m;
    assert_int_equal(parse(&m, LINE("1", "5.5") "\n" LINE("2", "null") LINE("7", "4")), MEP_OK);
    assert_int_equal(m.count, 3);
    assert_int_equal(m.steps[0].step, 1);
    assert_true(m.steps[0].loss == 5.5 && m.steps[0].learning_rate == 0.001 && m.steps[0].grad_norm == 2.5);
    assert_true(m.steps[0].tokens_per_second == 4e4 && isnan(m.steps[0].valid_loss));
    assert_true(isnan(m.steps[1].loss) && !m.steps[1].skipped);
    assert_int_equal(m.steps[2].step, 7);
    assert_int_equal(m.corpus_count, 0);
    assert_int_equal(m.damaged_line, 0);
    mep_metrics_free(&m);
}

static void test_skipped_and_whole_numbers(void **state)
{
    (void)state;
    mep_metrics m;
    assert_int_equal(parse(&m, "{\"step\": 3, \"loss\": 4, \"grad_norm\": null, \"skipped_for\": \"loss\"}"), MEP_OK);
    assert_true(m.count == 1 && m.steps[0].skipped && m.steps[0].loss == 4 && isnan(m.steps[0].grad_norm));
    mep_metrics_free(&m);
}

/* A damaged key is an error, not a step without a loss. */
static void test_unknown_key(void **state)
{
    (void)state;
    mep_metrics m;
    assert_int_equal(parse(&m, "{\"step\": 1, \"losz\": 4}\n" LINE("2", "3")), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "line 1"));
    assert_non_null(strstr(mep_error_message(), "losz"));
    assert_int_equal(parse(&m, "{\"step\": 1, \"loss\": 4, \"valid_loss\": 3, \"valid_seconds\": 0.5}\n"), MEP_OK);
    mep_metrics_free(&m);
}

static void test_corpora(void **state)
{
    (void)state;
    static const char text[] = LINE(
        "1", "5") "{\"step\": 2, \"loss\": 4, \"valid_loss\": 3, \"valid_losses\": "
                  "{\"data/a\": 2.5, \"b\": null}}\n" LINE(
                      "3",
                      "3") "{\"step\": 4, \"loss\": 2, \"valid_loss\": 1, \"valid_losses\": {\"b\": 1.5, \"c\": 9}}\n";
    mep_metrics m;
    assert_int_equal(parse(&m, text), MEP_OK);
    assert_int_equal(m.count, 4);
    assert_int_equal(m.corpus_count, 2);
    assert_string_equal(m.corpora[0], "data/a");
    assert_string_equal(m.corpora[1], "b");
    const double *v = m.valid_losses;
    assert_true(isnan(v[0]) && isnan(v[1]) && v[2] == 2.5 && isnan(v[3]) && isnan(v[4]) && isnan(v[6]) && v[7] == 1.5);
    assert_true(m.steps[1].valid_loss == 3 && isnan(m.steps[2].valid_loss));
    mep_metrics_free(&m);
}

/* More steps than fit in the first allocation, with losses of corpora in the second half. */
static void test_long(void **state)
{
    (void)state;
    enum { STEPS = 3000, SIZE = STEPS * 100 };
    char *text = NULL;
    int used = 0;
    mep_metrics m;
    assert_int_equal(mep_alloc(&text, SIZE, 1), MEP_OK);
    for (int i = 1; i <= STEPS; i++)
        used += snprintf(text + used, (size_t)(SIZE - used), "{\"step\": %d, \"loss\": %d%s}\n", i, i,
                         i % 1000 == 0 ? ", \"valid_loss\": 1, \"valid_losses\": {\"a\": 7}" : "");
    assert_int_equal(parse(&m, text), MEP_OK);
    assert_true(m.count == STEPS && m.corpus_count == 1);
    for (int i = 1; i <= STEPS; i++) {
        assert_true(m.steps[i - 1].step == i && m.steps[i - 1].loss == i);
        assert_true(i % 1000 == 0 ? m.valid_losses[i - 1] == 7 : isnan(m.valid_losses[i - 1]));
    }
    mep_metrics_free(&m);
    mep_free(&text);
}

/* A run that was killed and resumed from an earlier step without truncating the log: the later lines count. */
static void test_rewound(void **state)
{
    (void)state;
    mep_metrics m;
    assert_int_equal(parse(&m, LINE("1", "9") LINE("2", "8") LINE("3", "7") LINE("2", "6") LINE("3", "5")), MEP_OK);
    assert_int_equal(m.count, 3);
    assert_true(m.steps[0].loss == 9 && m.steps[1].loss == 6 && m.steps[2].loss == 5);
    mep_metrics_free(&m);
    assert_int_equal(parse(&m, LINE("5", "9") LINE("6", "8") LINE("1", "7")), MEP_OK);
    assert_true(m.count == 1 && m.steps[0].loss == 7);
    mep_metrics_free(&m);
}

static void test_damaged(void **state)
{
    (void)state;
    mep_metrics m;
    static const char *const ends[] = {"{\"step\": 2, \"lo", "{\"step\": 2, \"lo\n", "\1\2\3", "{}\n", "[2]", "2"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", LINE("1", "5"), ends[i]);
        assert_int_equal(parse(&m, text), MEP_OK);
        assert_int_equal(m.count, 1);
        assert_int_equal(m.damaged_line, 2);
        mep_metrics_free(&m);
    }
    refuse("", "has no step yet");
    refuse("\n\n", "has no step yet");
    refuse("{\"step\": 1, \"lo", "log: line 1 is not valid JSON");
    refuse(LINE("1", "5") "junk\n" LINE("2", "5"), "log: line 2 is not valid JSON");
    refuse(LINE("1", "5") "\n" LINE("0", "5") LINE("2", "5"), "log: line 3: \"step\" must be an integer from 1");
    refuse(LINE("1", "\"low\"") LINE("2", "5"), "log: line 1: \"loss\" must be a number");
    refuse(LINE("1", "5") LINE("1.5", "5") LINE("2", "5"), "log: line 2: \"step\"");
}

/* The last step of a file with this text; 0 if there is none. */
static int64_t last_step(const char *text)
{
    const char *path = scratch_path("metrics.jsonl");
    char *text_of_line;
    assert_int_equal(mep_file_write_atomic(path, text, (int64_t)strlen(text)), MEP_OK);
    mep_status status = mep_metrics_last(path, &text_of_line);
    json_t *line = text_of_line != NULL ? json_loads(text_of_line, 0, NULL) : NULL;
    mep_text_free(&text_of_line);
    assert_true(status == MEP_OK || (status == MEP_ERROR_FORMAT && line == NULL));
    int64_t step = status != MEP_OK ? -1 : line == NULL ? 0 : json_integer_value(json_object_get(line, "step"));
    json_decref(line);
    return step;
}

/* The last line is the last step that reading all lines finds. */
static void test_last(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t step;
    } cases[] = {
        {"", 0},
        {"\n\n", 0},
        {"{\"step\": 1, \"lo", 0},
        {LINE("1", "5"), 1},
        {LINE("1", "5") LINE("2", "null") "\n", 2},
        {LINE("1", "5") LINE("2", "5") LINE("1", "5"), 1},
        {LINE("1", "5") "{\"step\": 2}", 2},
        {LINE("1", "5") "{\"step\": 2, \"lo", 1},
        {LINE("1", "5") "{\"step\": 2, \"lo\n", 1},
        {LINE("1", "5") "[2]\n", 1},
        {LINE("1", "5") "{}\n{}\n", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_metrics m;
        assert_int_equal(last_step(cases[i].text), cases[i].step);
        assert_int_equal(parse(&m, cases[i].text), cases[i].step > 0 ? MEP_OK : MEP_ERROR_FORMAT);
        if (cases[i].step > 0) assert_int_equal(m.steps[m.count - 1].step, cases[i].step);
        mep_metrics_free(&m);
    }
    assert_non_null(strstr((last_step("junk\n" LINE("1", "5") "junk\n\njunk"), mep_error_message()), "line 3 "));
}

/* Every allocation fails in turn: no leak, and the text can be read afterwards. */
static void test_allocation(void **state)
{
    (void)state;
    static const char text[] = LINE("1", "5") "{\"step\": 2, \"valid_losses\": {\"a\": 2, \"b\": 3}}\n" LINE("3", "4");
    mep_metrics m;
    mep_fail_allocation(0);
    assert_int_equal(parse(&m, text), MEP_OK);
    mep_metrics_free(&m);
    int64_t count = mep_fail_allocation(0);
    assert_true(count >= 5);
    for (int64_t n = 1; n <= count; n++) {
        mep_fail_allocation(n);
        assert_int_equal(parse(&m, text), MEP_ERROR_MEMORY);
        assert_int_equal(m.count, 0);
    }
    mep_fail_allocation(0);
    assert_int_equal(parse(&m, text), MEP_OK);
    mep_metrics_free(&m);
}

static int remove_scratch(void **state)
{
    (void)state;
    return remove(scratch_path("metrics.jsonl")) | remove(scratch_path(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_skipped_and_whole_numbers),
        cmocka_unit_test(test_unknown_key), cmocka_unit_test(test_corpora),
        cmocka_unit_test(test_long),        cmocka_unit_test(test_rewound),
        cmocka_unit_test(test_damaged),     cmocka_unit_test(test_last),
        cmocka_unit_test(test_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
