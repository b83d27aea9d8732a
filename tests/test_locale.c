/* SPDX-License-Identifier: MIT */
/*
 * A host that has set a locale whose numbers have a comma, as programs with a user interface do: specs, splits and
 * mixtures mean what they mean elsewhere, and what is written is the same. The locale is made here, by glibc's
 * localedef, since a machine may have none; without it the test is skipped.
 */
#define _DEFAULT_SOURCE
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "io/files.h"
#include "mep/mep.h"
#include "scratch.h"
#include "eval/data_mix.h"

static void check_spec(const char *spec, const char *canonical)
{
    mep_bias *bias;
    if (mep_bias_create(&bias, spec, 4, 8) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_string_equal(mep_bias_spec(bias), canonical);
    mep_bias_destroy(&bias);
}

static void test_specs(void **state)
{
    (void)state;
    check_spec("mep", "mep");
    check_spec("0.3*gauss + 0.2*exp:c=0.25", "exp:c=0.25 + 1.5*gauss");
    mep_bias *bias;
    assert_int_equal(mep_bias_create(&bias, "exp:c=0,25", 4, 8), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_position_help(), "c=0.5"));
}

static void test_numbers(void **state)
{
    (void)state;
    char text[MEP_NUMBER_SIZE], *end;
    mep_number_print(text, 0.1);
    assert_string_equal(text, "0.1");
    mep_number_print(text, 2.0 / 3);
    assert_string_equal(text, "0.6666666666666666");
    assert_true(mep_number_parse("-1.5e1,7", &end) == -15);
    assert_string_equal(end, ",7");
    assert_int_equal(',', *localeconv()->decimal_point); /* the host's locale is still its own */
}

static void test_proportions(void **state)
{
    (void)state;
    int64_t bounds[4];
    assert_int_equal(mep_split_documents("949,50,1", 1000, bounds), MEP_OK); /* no 949.5 */
    assert_int_equal(bounds[1], 949);
    assert_int_equal(bounds[2], 999);
    assert_int_equal(mep_split_documents("0.7,0.3", 10, bounds), MEP_OK);
    assert_int_equal(bounds[1], 7);
    mep_data_mix *mixture;
    assert_int_equal(mep_data_mix_parse(&mixture, "books=0.75,code=0.25"), MEP_OK);
    assert_int_equal(mixture->count, 2);
    assert_true(mixture->weights[0] == 0.75);
    mep_data_mix_close(&mixture);
}

/* A spec goes through config.json. */
static void test_model(void **state)
{
    (void)state;
    mep_model_config config;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &config), MEP_OK);
    config.vocab_size = 4, config.hidden_size = config.intermediate_size = 8;
    snprintf(config.position_encoding, sizeof config.position_encoding, "exp:bias_max=7.5");
    assert_int_equal(mep_model_create(&model, &config, 1), MEP_OK);
    if (mep_model_export(model, scratch_path(""), NULL, NULL) != MEP_OK) fail_msg("%s", mep_error_message());
    mep_model_destroy(&model);
    if (mep_model_read_config(scratch_path(""), &config) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_string_equal(config.position_encoding, "exp:bias_max=7.5");
}

/* 0 where the locale is in force. */
static int set_comma_locale(void)
{
    char command[1200];
    FILE *source = fopen(scratch_path("comma.txt"), "w");
    if (source == NULL) return 1;
    fputs("LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\ngrouping 3;3\nEND LC_NUMERIC\n", source);
    if (fclose(source) != 0) return 1;
    snprintf(command, sizeof command, "localedef -c -i '%s' '%s' > '%s' 2>&1", scratch_path("comma.txt"),
             scratch_path("comma"), scratch_path("output.txt"));
    int made = system(command) != -1; /* it fails for the categories that are left out, and writes the locale */
    return !made || setenv("LOCPATH", scratch_path(""), 1) != 0 || setlocale(LC_NUMERIC, "comma") == NULL;
}

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_specs),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_proportions),
        cmocka_unit_test(test_model),
    };
    if (set_comma_locale() != 0) {
        puts("skipped: no localedef here that makes a locale with a decimal comma");
        remove_scratch(NULL);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
