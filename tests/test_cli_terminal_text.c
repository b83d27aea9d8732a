/* SPDX-License-Identifier: MIT */
/*
 * What a terminal is sent of a text, whole and in pieces of every length; what a pipe is sent; and that messages are
 * printable UTF-8 whatever they quote.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/terminal_text.h"

static const char bytes[] = "a\x1b[31mb\tc\nd\re\x7f\xc2\x85" /* NEL */
                            "f\xe2\x80\xae"                   /* right-to-left override */
                            "g\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x80\xe2\x82h\xe2\x81\xa6\xd8\x9c\xff";
static const char shown[] = "a\\x1b[31mb\tc\nd\\x0de\\x7f\\u0085f\\u202e"
                            "g\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\x80\\xe2\\x82h\\u2066\\u061c\\xff";

/* The text as pieces of `length` bytes. */
static void expect_text(int is_terminal, int64_t length, const char *text, int64_t size, const char *expected)
{
    char out[512];
    FILE *file = tmpfile();
    mep_terminal_text writer;
    assert_non_null(file);
    mep_terminal_text_begin(&writer, file);
    assert_int_equal(writer.is_terminal, 0);
    writer.is_terminal = is_terminal;
    for (int64_t at = 0; at < size; at += length)
        mep_terminal_text_write(&writer, text + at, size - at < length ? size - at : length);
    mep_terminal_text_end(&writer);
    rewind(file);
    out[fread(out, 1, sizeof out - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(out, expected);
}

static void test_text(void **state)
{
    (void)state;
    int64_t size = (int64_t)sizeof bytes - 1;
    for (int64_t length = 1; length <= size; length++) {
        expect_text(1, length, bytes, size, shown);
        expect_text(0, length, bytes, size, bytes);
    }
    expect_text(1, 2, "\xe2\x82", 2, "\\xe2\\x82");
    expect_text(1, 1, "\xed\xa0\x80", 3, "\\xed\\xa0\\x80"); /* a surrogate */
}

/* Nothing that acts on a terminal is in `text`, and it is UTF-8. */
static void expect_printable(const char *text)
{
    int64_t size = (int64_t)strlen(text);
    assert_int_equal(mep_utf8_valid(text, size), size);
    for (int64_t at = 0; at < size;) {
        uint32_t code = 0;
        at += mep_utf8_decode(text + at, size - at, &code);
        assert_false(mep_utf8_is_control(code));
    }
}

static void test_messages(void **state)
{
    (void)state;
    char long_name[3000];
    mep_fail(MEP_ERROR_IO, "cannot open %s: no", bytes);
    expect_printable(mep_error_message());
    assert_string_equal(mep_error_message(),
                        "cannot open a?[31mb?c?d?e??f?g\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80???h???: no");
    mep_fail_in(MEP_ERROR_IO, "\xc2\x9b%s: ", "\xe2\x80\x8f");
    expect_printable(mep_error_message());
    for (int shift = 0; shift < 4; shift++) { /* cut inside of a character */
        memset(long_name, 'x', sizeof long_name);
        for (size_t i = (size_t)shift; i + 4 < sizeof long_name; i += 4) memcpy(long_name + i, "\xf0\x9f\x98\x80", 4);
        long_name[sizeof long_name - 1] = '\0';
        mep_fail(MEP_ERROR_IO, "%s", long_name);
        expect_printable(mep_error_message());
    }
    for (uint32_t code = 1; code < 0x3000; code++) {
        char text[5] = "";
        mep_utf8_encode(code, text);
        mep_one_line(text);
        expect_printable(text);
        assert_int_equal(strcmp(text, "?") == 0, code == '?' || mep_utf8_is_control(code));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_messages)};
    return cmocka_run_group_tests_name("terminal text", tests, NULL, NULL);
}
