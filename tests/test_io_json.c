/* SPDX-License-Identifier: MIT */
/*
 * JSON: invalid files, messages, and that a saved file has the same content when it is loaded.
 */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/json_keys.h"
#include "base/memory.h"
#include "golden.h"
#include "io/files.h"
#include "io/json.h"
#include "scratch.h"

static const char OBJECT[] =
    "{\"size\": 12, \"big\": 9223372036854775807, \"rate\": 0.5, \"name\": \"mep\", \"yes\": true,"
    " \"no\": false, \"nothing\": null, \"list\": [1], \"map\": {}}";

static json_t *parse(const char *text)
{
    json_t *root = NULL;
    assert_int_equal(mep_json_parse("a/config.json", text, (int64_t)strlen(text), &root), MEP_OK);
    return root;
}

static void expect_error(mep_status status, const char *message)
{
    assert_int_equal(status, MEP_ERROR_FORMAT);
    assert_string_equal(mep_error_message(), message);
}

static void test_refused_texts(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "{}x",
                                      "{} {}",
                                      "{\"a\": 1, \"a\": 2}",
                                      "{\"a\": NaN}",
                                      "{\"a\": 1e999}",
                                      "[1,]",
                                      "{\"a\" 1}",
                                      "\"\xFF\"",
                                      "\"a\\u0000b\"",
                                      "{\"a\": 9223372036854775808}",
                                      "'a'",
                                      "[01]",
                                      "[\"a\nb\"]",
                                      "[\x1B[2J]",
                                      "[1 \x01]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *root = NULL;
        assert_int_equal(mep_json_parse("a.json", bad[i], (int64_t)strlen(bad[i]), &root), MEP_ERROR_FORMAT);
        assert_null(root);
        assert_int_equal(strncmp(mep_error_message(), "a.json is not valid JSON: line ", 31), 0);
        for (const char *c = mep_error_message(); *c != '\0'; c++) assert_true((unsigned char)*c >= ' ');
    }
}

/* Extreme nesting must cause an error, not a stack overflow. */
static void test_deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 1000000 };
    char *text = NULL;
    json_t *root = NULL;
    assert_int_equal(mep_alloc(&text, DEPTH, 1), MEP_OK);
    memset(text, '[', DEPTH);
    assert_int_equal(mep_json_parse("deep", text, DEPTH, &root), MEP_ERROR_FORMAT);
    mep_free(&text);
}

static void test_int(void **state)
{
    (void)state;
    json_t *root = parse(OBJECT);
    int64_t value = -7;
    assert_int_equal(mep_json_get_int(root, "f", "size", 12, 12, &value), MEP_OK);
    assert_int_equal(value, 12);
    assert_int_equal(mep_json_get_int(root, "f", "big", INT64_MIN, INT64_MAX, &value), MEP_OK);
    assert_true(value == INT64_MAX);
    value = -7;
    expect_error(mep_json_get_int(root, "runs/a/config.json", "name", 1, 1048576, &value),
                 "runs/a/config.json: \"name\" must be an integer from 1 to 1048576, found a string");
    expect_error(mep_json_get_int(root, "f", "size", 1, 11, &value),
                 "f: \"size\" must be an integer from 1 to 11, found 12");
    expect_error(mep_json_get_int(root, "f", "size", 13, 14, &value),
                 "f: \"size\" must be an integer from 13 to 14, found 12");
    expect_error(mep_json_get_int(root, "f", "rate", 0, 1, &value),
                 "f: \"rate\" must be an integer from 0 to 1, found 0.5");
    expect_error(mep_json_get_int(root, "f", "nothing", 0, 1, &value),
                 "f: \"nothing\" must be an integer from 0 to 1, found null");
    expect_error(mep_json_get_int(root, "f", "none", 0, 1, &value),
                 "f: \"none\" is missing; it must be an integer from 0 to 1");
    assert_int_equal(value, -7);
    json_decref(root);
}

static void test_number(void **state)
{
    (void)state;
    json_t *root = parse(OBJECT);
    double value = -7;
    assert_int_equal(mep_json_get_number(root, "f", "rate", 0, 1, &value), MEP_OK);
    assert_true(value == 0.5);
    assert_int_equal(mep_json_get_number(root, "f", "size", 0, INFINITY, &value), MEP_OK);
    assert_true(value == 12);
    expect_error(mep_json_get_number(root, "f", "rate", 0, 0.25, &value),
                 "f: \"rate\" must be a number from 0 to 0.25, found 0.5");
    expect_error(mep_json_get_number(root, "f", "yes", 0, 1, &value),
                 "f: \"yes\" must be a number from 0 to 1, found true");
    expect_error(mep_json_get_number(root, "f", "none", 0, 1, &value),
                 "f: \"none\" is missing; it must be a number from 0 to 1");
    assert_true(value == 12);
    json_decref(root);
}

static void test_string_and_bool(void **state)
{
    (void)state;
    json_t *root = parse(OBJECT);
    const char *text = NULL;
    int flag = -7;
    assert_int_equal(mep_json_get_string(root, "f", "name", &text), MEP_OK);
    assert_string_equal(text, "mep");
    expect_error(mep_json_get_string(root, "f", "list", &text), "f: \"list\" must be a string, found an array");
    expect_error(mep_json_get_string(root, "f", "map", &text), "f: \"map\" must be a string, found an object");
    assert_int_equal(mep_json_get_bool(root, "f", "yes", &flag), MEP_OK);
    assert_int_equal(flag, 1);
    assert_int_equal(mep_json_get_bool(root, "f", "no", &flag), MEP_OK);
    assert_int_equal(flag, 0);
    expect_error(mep_json_get_bool(root, "f", "size", &flag), "f: \"size\" must be true or false, found 12");
    json_decref(root);
}

static void test_optional(void **state)
{
    (void)state;
    json_t *root = parse(OBJECT);
    int64_t integer = 0;
    double number = 0;
    const char *text = "";
    int flag = 0;
    static const char *const absent[] = {"none", "nothing"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mep_json_get_int_or(root, "f", absent[i], 1, 5, -1 - i, &integer), MEP_OK);
        assert_int_equal(integer, -1 - i);
        assert_int_equal(mep_json_get_number_or(root, "f", absent[i], 1, 5, -2 - i, &number), MEP_OK);
        assert_true(number == -2 - i);
        assert_int_equal(mep_json_get_string_or(root, "f", absent[i], "else", &text), MEP_OK);
        assert_string_equal(text, "else");
        assert_int_equal(mep_json_get_bool_or(root, "f", absent[i], i, &flag), MEP_OK);
        assert_int_equal(flag, i);
    }
    assert_int_equal(mep_json_get_int_or(root, "f", "size", 1, 20, 3, &integer), MEP_OK);
    assert_int_equal(integer, 12);
    assert_int_equal(mep_json_get_number_or(root, "f", "rate", 0, 1, 3, &number), MEP_OK);
    assert_true(number == 0.5);
    assert_int_equal(mep_json_get_string_or(root, "f", "name", "else", &text), MEP_OK);
    assert_string_equal(text, "mep");
    assert_int_equal(mep_json_get_bool_or(root, "f", "no", 1, &flag), MEP_OK);
    assert_int_equal(flag, 0);
    assert_int_equal(mep_json_get_int_or(root, "f", "name", 1, 5, 3, &integer), MEP_ERROR_FORMAT);
    assert_int_equal(mep_json_get_number_or(root, "f", "name", 1, 5, 3, &number), MEP_ERROR_FORMAT);
    assert_int_equal(mep_json_get_string_or(root, "f", "size", "else", &text), MEP_ERROR_FORMAT);
    assert_int_equal(mep_json_get_bool_or(root, "f", "size", 1, &flag), MEP_ERROR_FORMAT);
    json_decref(root);
}

static void test_no_object(void **state)
{
    (void)state;
    json_t *root = parse("[1, 2]");
    int64_t value = 0;
    expect_error(mep_json_get_int(root, "f", "a", 0, 1, &value),
                 "f: must contain an object with \"a\", found an array");
    expect_error(mep_json_get_int_or(root, "f", "a", 0, 1, 0, &value),
                 "f: must contain an object with \"a\", found an array");
    expect_error(mep_json_get_int_or(NULL, "f", "a", 0, 1, 0, &value), "f: the object with \"a\" is missing");
    json_decref(root);
}

static void test_save(void **state)
{
    (void)state;
    const char *path = scratch_path("saved.json");
    json_t *root = json_pack("{s:f, s:f, s:f, s:I, s:s, s:[i,i]}", "z", 0.1, "tiny", 4.9406564584124654e-324, "third",
                             1.0 / 3.0, "int", (json_int_t)INT64_MIN, "a", "\xC3\xA9\"\n", "list", 1, 2);
    assert_non_null(root);
    assert_int_equal(mep_json_save(path, root), MEP_OK);
    json_t *loaded = NULL;
    assert_int_equal(mep_json_load(path, &loaded), MEP_OK);
    assert_true(json_equal(root, loaded));
    char *text = NULL;
    int64_t size = 0;
    assert_int_equal(mep_file_read(path, 4096, &text, &size), MEP_OK);
    assert_int_equal(strncmp(text, "{\n  \"z\": 0.1", 12), 0);
    assert_string_equal(text + size - 2, "}\n");
    mep_free(&text);
    json_decref(loaded);
    json_decref(root);
    root = json_integer(3);
    assert_int_equal(mep_json_save(path, root), MEP_ERROR_ARGUMENT);
    json_decref(root);
}

static void test_load(void **state)
{
    (void)state;
    json_t *root = NULL;
    assert_int_equal(mep_json_load(scratch_path("no.json"), &root), MEP_ERROR_IO);
    assert_int_equal(mep_json_load(GOLDEN_OWN("bias.json"), &root), MEP_OK);
    assert_non_null(root);
    json_decref(root);
    const char *config = GOLDEN_OWN("gpt_mep/config.json");
    int64_t hidden = 0;
    assert_int_equal(mep_json_load(config, &root), MEP_OK);
    assert_int_equal(mep_json_get_int(root, config, "hidden_size", 1, 1 << 20, &hidden), MEP_OK);
    assert_true(hidden > 0);
    json_decref(root);
}

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

static void test_known_keys(void **state)
{
    (void)state;
    static const char *const known[] = {"tokens", "checksum", NULL};
    json_t *root = json_pack("{s:i, s:s}", "tokens", 1, "checksum", "ab");
    assert_int_equal(mep_json_check_keys(root, "x.json", known), MEP_OK);
    json_object_set_new(root, "checksul", json_null());
    assert_int_equal(mep_json_check_keys(root, "x.json", known), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "x.json: the key \"checksul\""));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_texts), cmocka_unit_test(test_deep_nesting),    cmocka_unit_test(test_int),
        cmocka_unit_test(test_number),        cmocka_unit_test(test_string_and_bool), cmocka_unit_test(test_optional),
        cmocka_unit_test(test_no_object),     cmocka_unit_test(test_known_keys),      cmocka_unit_test(test_save),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
