/* SPDX-License-Identifier: MIT */
/*
 * Option tables: values, ranges, suffixes, lists, positional arguments, and what is refused.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/help.h"
#include "cli/size_text.h"

static const char *const COLOURS[] = {"red", "green", NULL};

/* One target of every kind, fresh for each parse. */
typedef struct targets {
    int flag, off, colour;
    int64_t steps, length, bytes;
    double rate;
    const char *name;
    mep_lengths lengths;
    mep_texts texts;
    int count, code;
    char *words[16];
    mep_option options[16];
} targets;

static char text_of_words[512];

/* Parse "WORD WORD ..." (a '~' stands for a space within a word) with up to two positional arguments. */
static targets parse(const char *line)
{
    static targets t;
    t = (targets){.off = 1, .steps = 7, .length = 512, .bytes = 50, .rate = 0.5, .name = "none"};
    mep_option options[] = {
        MEP_OPT_GROUP("Group"),
        MEP_OPT_FLAG("--flag", 'f', &t.flag, "a flag"),
        MEP_OPT_FLAG_OFF("--no-thing", 0, &t.off, "another"),
        MEP_OPT_INT("--steps", 'n', "N", &t.steps, 1, 1000000, "how many"),
        MEP_OPT_LENGTH("--length", 0, "L", &t.length, 0, 1LL << 40, "how long"),
        MEP_OPT_BYTES("--bytes", 0, "SIZE", &t.bytes, "how large"),
        MEP_OPT_REAL("--rate", 'r', "X", &t.rate, 0, 1, "how fast"),
        MEP_OPT_TEXT("--name", 0, "TEXT", &t.name, "what"),
        MEP_OPT_CHOICE("--colour", 0, "WORD", &t.colour, COLOURS, "which"),
        MEP_OPT_LENGTHS("--lengths", 0, "L,..", &t.lengths, 1, 1 << 20, "several"),
        MEP_OPT_TEXTS("--bias", 'b', "SPEC", &t.texts, "more"),
        MEP_OPT_END,
    };
    memcpy(t.options, options, sizeof options);
    mep_usage usage = {
        .command = "test", .arguments = "FILE [FILE]", .summary = "A test.", .options = t.options, .max_arguments = 2};
    snprintf(text_of_words, sizeof text_of_words, "test %s", line);
    int argc = 0;
    for (char *word = strtok(text_of_words, " "); word != NULL; word = strtok(NULL, " ")) {
        for (char *c = word; *c != '\0'; c++)
            if (*c == '~') *c = ' ';
        t.words[argc++] = word;
    }
    t.code = mep_args_parse(&usage, argc, t.words, &t.count);
    return t;
}

/* What the parse wrote on stderr. */
static const char *message(const char *line)
{
    static char text[1024];
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    int code = parse(line).code;
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    fclose(file);
    assert_int_equal(code, 2);
    assert_ptr_equal(strchr(text, '\n'), text + size - 1); /* one line */
    return text;
}

#define REFUSES(line, part)                                                                                            \
    do {                                                                                                               \
        const char *refusal = message(line);                                                                           \
        if (strstr(refusal, part) == NULL) fail_msg("%s: \"%s\" is not in \"%s\"", line, part, refusal);               \
    } while (0)

static void test_defaults_stay(void **state)
{
    (void)state;
    targets t = parse("");
    assert_int_equal(t.code, MEP_ARGS_GO);
    assert_int_equal(t.steps, 7);
    assert_int_equal(t.off, 1);
    assert_string_equal(t.name, "none");
    assert_int_equal(t.count, 0);
}

static void test_values(void **state)
{
    (void)state;
    targets t = parse("-f --no-thing --steps 12 --length=4K --rate 0.25 --name=a=b --colour green");
    assert_int_equal(t.code, MEP_ARGS_GO);
    assert_int_equal(t.flag, 1);
    assert_int_equal(t.off, 0);
    assert_int_equal(t.steps, 12);
    assert_int_equal(t.length, 4096);
    assert_true(t.rate == 0.25);
    assert_string_equal(t.name, "a=b");
    assert_int_equal(t.colour, 1);
    assert_int_equal(parse("--steps 50K").steps, 50000);
    assert_int_equal(parse("-n3").steps, 3);
    assert_int_equal(parse("-n 3").steps, 3);
    assert_int_equal(parse("--steps 1M").steps, 1000000);
    assert_int_equal(parse("--length 2M").length, 2 << 20);
    assert_int_equal(parse("--length 0").length, 0);
    assert_int_equal(parse("--bytes 5GB").bytes, 5000000000);
    assert_int_equal(parse("--bytes 300kb").bytes, 300000);
    assert_int_equal(parse("--bytes 2GiB").bytes, 2147483648);
    assert_int_equal(parse("--bytes 7T").bytes, 7000000000000);
    assert_int_equal(parse("--bytes 123").bytes, 123);
    assert_true(parse("--rate 1e-3").rate == 1e-3);
    assert_string_equal(parse("--name -x").name, "-x"); /* the next word is the value, whatever it is */
}

static void test_wrong_numbers(void **state)
{
    (void)state;
    REFUSES("--steps abc", "mep test: --steps: \"abc\" is not an integer from 1 to 1000000; see mep test --help");
    const char *const wrong[] = {
        "0", "-1", "1000001", "1.5", "1e3", "0x10", "5x", "5KK", "~5", "", "99999999999999999999", "2G"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char line[64];
        snprintf(line, sizeof line, "--steps=%s", wrong[i]);
        REFUSES(line, "not an integer");
    }
    REFUSES("--length 9999999999G", "not an integer");
    const char *const sizes[] = {"0", "-1", "5XB", "5GBs", "GB", "1.5GB", "9999999999GB", "99999999999999999999", ""};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char line[64];
        snprintf(line, sizeof line, "--bytes=%s", sizes[i]);
        REFUSES(line, "is not a size such as 500MB");
    }
    const char *const reals[] = {"nan", "inf", "1.0001", "-0.1", "x", "0.5x", "~0.5", ""};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        char line[64];
        snprintf(line, sizeof line, "--rate=%s", reals[i]);
        REFUSES(line, "is not a number from 0 to 1");
    }
}

static void test_wrong_words(void **state)
{
    (void)state;
    REFUSES("--stpes 3", "there is no option --stpes; did you mean --steps?");
    REFUSES("--zzzzzzzz", "there is no option --zzzzzzzz; see");
    REFUSES("--step 3", "did you mean --steps?"); /* no abbreviations */
    REFUSES("-x", "there is no option -x");
    REFUSES("--steps 3 -n 3", "--steps is given twice; it takes one value");
    REFUSES("--length 3 --length=4", "--length is given twice");
    REFUSES("--bytes 3 --bytes 3", "--bytes is given twice");
    REFUSES("-r 0 --rate 1", "--rate is given twice");
    REFUSES("--name a --name b", "--name is given twice");
    REFUSES("--colour green --colour green", "--colour is given twice");
    REFUSES("--lengths 3 --lengths 4", "--lengths is given twice; it takes one value, which may be a list with commas");
    assert_int_equal(parse("-f -f --flag --bias mep --bias alibi").code, MEP_ARGS_GO); /* nothing is lost */
    REFUSES("--steps", "--steps needs a value: N");
    REFUSES("--flag=1", "--flag takes no value");
    REFUSES("-fn", "--flag takes no value");
    REFUSES("--colour blue", "\"blue\" is not one of red, green");
    REFUSES("a b c", "one argument too many: \"c\"");
}

static void test_positional(void **state)
{
    (void)state;
    targets t = parse("a --steps 3 -- --steps");
    assert_int_equal(t.code, MEP_ARGS_GO);
    assert_int_equal(t.count, 2);
    assert_string_equal(t.words[1], "a");
    assert_string_equal(t.words[2], "--steps");
    assert_string_equal(parse("-").words[1], "-"); /* a lone dash is an argument */
}

static void test_lists(void **state)
{
    (void)state;
    targets t = parse("--lengths 128,1K,16K");
    assert_int_equal(t.lengths.count, 3);
    assert_int_equal(t.lengths.values[0], 128);
    assert_int_equal(t.lengths.values[2], 16384);
    REFUSES("--lengths 128,,256", "--lengths: \"\" is not an integer");
    REFUSES("--lengths 128,", "--lengths: \"\" is not an integer");
    t = parse("--bias mep,alibi,t5:buckets=64,max=256;exp~+~gauss -b nope");
    assert_int_equal(t.texts.count, 5);
    assert_string_equal(t.texts.values[0], "mep");
    assert_string_equal(t.texts.values[1], "alibi");
    assert_string_equal(t.texts.values[2], "t5:buckets=64,max=256");
    assert_string_equal(t.texts.values[3], "exp + gauss");
    assert_string_equal(t.texts.values[4], "nope");
    t = parse("--bias mep/learn=weights,slopes;~alibi~");
    assert_int_equal(t.texts.count, 2);
    assert_string_equal(t.texts.values[0], "mep/learn=weights,slopes");
    assert_string_equal(t.texts.values[1], "alibi");
    t = parse("--bias data/a,data/b,data/c=0.7,data/d=0.3");
    assert_int_equal(t.texts.count, 3);
    assert_string_equal(t.texts.values[0], "data/a");
    assert_string_equal(t.texts.values[1], "data/b");
    assert_string_equal(t.texts.values[2], "data/c=0.7,data/d=0.3");
    REFUSES("--bias mep;;alibi", "--bias: an empty value");
    char line[512] = "--lengths 1";
    for (int i = 0; i < MEP_ARGS_LIST; i++) strcat(line, ",1");
    REFUSES(line, "more than 64 values");
}

static void test_given(void **state)
{
    (void)state;
    targets t = parse("--steps 7");
    assert_int_equal(mep_args_given(t.options, "--steps"), 1);
    assert_int_equal(mep_args_given(t.options, "--rate"), 0);
    t = parse("");
    assert_int_equal(mep_args_given(t.options, "--steps"), 0);
}

static void test_help_page(void **state)
{
    (void)state;
    int64_t steps = 7;
    mep_lengths lengths = {.count = 2, .values = {128, 2048}};
    mep_option options[] = {
        MEP_OPT_GROUP("The group"),
        MEP_OPT_INT("--steps", 'n', "N", &steps, 1, 10,
                    "word word word word word word word word word word word word word word word"),
        MEP_OPT_LENGTHS("--lengths", 0, "L,..", &lengths, 1, 4096, "several"),
        MEP_OPT_END,
    };
    mep_usage usage = {
        .command = "test", .arguments = "FILE", .summary = "A test.", .notes = "The end.", .options = options};
    FILE *file = tmpfile();
    assert_non_null(file);
    mep_help_print(&usage, file);
    rewind(file);
    static char page[4096];
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(page, "mep test [OPTION ...] FILE\n"));
    assert_non_null(strstr(page, "\nThe group:\n  -n, --steps N               word"));
    assert_non_null(strstr(page, "[7]"));
    assert_non_null(strstr(page, "[128,2K]"));
    assert_non_null(strstr(page, "\nThe end.\n"));
    for (char *line = strtok(page, "\n"); line != NULL; line = strtok(NULL, "\n")) assert_true(strlen(line) <= 100);
}

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(mep_edit_distance("", ""), 0);
    assert_int_equal(mep_edit_distance("abc", ""), 3);
    assert_int_equal(mep_edit_distance("train", "trian"), 2);
    assert_int_equal(mep_edit_distance("kitten", "sitting"), 3);
    char text[24];
    mep_length_text(512, text);
    assert_string_equal(text, "512");
    mep_length_text(16384, text);
    assert_string_equal(text, "16K");
    mep_length_text(1 << 20, text);
    assert_string_equal(text, "1M");
    mep_length_text(0, text);
    assert_string_equal(text, "0");
    mep_bytes_text(50000000000, text);
    assert_string_equal(text, "50GB");
    mep_bytes_text(3 << 20, text);
    assert_string_equal(text, "3MiB");
    mep_bytes_text(77, text);
    assert_string_equal(text, "77");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_stay), cmocka_unit_test(test_values),     cmocka_unit_test(test_wrong_numbers),
        cmocka_unit_test(test_wrong_words),   cmocka_unit_test(test_positional), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_given),         cmocka_unit_test(test_help_page),  cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
