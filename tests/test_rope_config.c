/* SPDX-License-Identifier: MIT */
/*
 * Rotary settings of Hugging Face's config.json as an entry of a position spec, and back; and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "io/rope_config.h"

/* A JSON object, with ' for ". */
static json_t *object_of(const char *text)
{
    char json[1024];
    size_t length = strlen(text);
    assert_true(length < sizeof json);
    for (size_t i = 0; i <= length; i++) json[i] = text[i];
    for (char *c = json; *c != '\0'; c++)
        if (*c == '\'') *c = '"';
    json_t *object = json_loads(json, 0, NULL);
    if (object == NULL) fail_msg("%s is not JSON", json);
    return object;
}

/* A model of 64 positions whose heads have 8 channels, with the rotary settings of a config.json. */
static mep_status read(const json_t *object, mep_model_config *c)
{
    const mep_rope_source from = {object, "config.json", "llama", 10000, 1};
    assert_int_equal(mep_model_preset("nano", c), MEP_OK);
    c->head_dim = 8, c->max_position_embeddings = 64;
    return mep_rope_read(&from, c, c->position_encoding);
}

static void test_read(void **state)
{
    (void)state;
    static const struct {
        const char *json, *entry;
        double base, partial;
    } cases[] = {
        {"{}", "rotary", 10000, 1},
        {"{'rope_theta': 500000.0, 'rope_scaling': null}", "rotary", 500000, 1},
        {"{'rotary_emb_base': 50, 'rope_theta': 60, 'rotary_pct': 0.5}", "rotary", 50, 0.5},
        {"{'rope_theta': 7, 'rope_parameters': {'rope_type': 'default', 'rope_theta': 8}}", "rotary", 8, 1},
        {"{'partial_rotary_factor': 0.5, 'rope_parameters': {'rope_theta': null}}", "rotary", 10000, 0.5},
        {"{'rope_parameters': {'partial_rotary_factor': 0.25, 'type': 'default'}}", "rotary", 10000, 0.25},
        {"{'rope_scaling': {'type': 'linear', 'factor': 2.5}}", "rotary:scaling=linear,factor=2.5", 10000, 1},
        {"{'rope_scaling': {'rope_type': 'linear', 'type': 'yarn', 'factor': 2}}", "rotary:scaling=linear,factor=2",
         10000, 1},
        {"{'rope_scaling': {}, 'rope_parameters': {'type': 'linear', 'factor': 2, 'rope_theta': 9}}",
         "rotary:scaling=linear,factor=2", 9, 1},
        {"{'rope_scaling': {'type': 'linear', 'factor': 2}, 'rope_parameters': {'type': 'yarn', 'rope_theta': 9}}",
         "rotary:scaling=linear,factor=2", 10000, 1},
        {"{'rope_scaling': {'type': 'dynamic', 'factor': 4, 'original_max_position_embeddings': 9}}",
         "rotary:scaling=dynamic,factor=4,original=64", 10000, 1},
        {"{'rope_scaling': {'type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 16}}",
         "rotary:scaling=yarn,factor=4,original=16", 10000, 1},
        {"{'rope_scaling': {'type': 'yarn', 'factor': null, 'original_max_position_embeddings': 16, 'beta_fast': null,"
         " 'beta_slow': 0, 'truncate': true, 'mscale': 0, 'mscale_all_dim': 1}}",
         "rotary:scaling=yarn,factor=4,original=16", 10000, 1},
        {"{'rope_scaling': {'type': 'yarn', 'factor': 2, 'attention_factor': 1.5, 'beta_fast': 16, 'beta_slow': 2,"
         " 'truncate': false}}",
         "rotary:scaling=yarn,factor=2,original=64,attention_factor=1.5,beta_fast=16,beta_slow=2,truncate=0", 10000, 1},
        {"{'rope_scaling': {'type': 'yarn', 'factor': 2, 'mscale': 0.7, 'mscale_all_dim': 0.7}}",
         "rotary:scaling=yarn,factor=2,original=64,attention_factor=1", 10000, 1},
        {"{'original_max_position_embeddings': 32, 'rope_scaling': {'type': 'longrope', 'short_factor': [1, 1, 1.5, 2],"
         " 'long_factor': [1, 2, 3, 4.5], 'original_max_position_embeddings': 16}}",
         "rotary:scaling=longrope,factor=2,original=32,short_factor=1:1:1.5:2,long_factor=1:2:3:4.5", 10000, 1},
        {"{'rope_theta': 500000, 'rope_scaling': {'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 1,"
         " 'high_freq_factor': 4, 'original_max_position_embeddings': 8192}}",
         "rotary:scaling=llama3,factor=8,original=8192", 500000, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        json_t *object = object_of(cases[i].json);
        if (read(object, &c) != MEP_OK) fail_msg("%s: %s", cases[i].json, mep_error_message());
        assert_string_equal(c.position_encoding, cases[i].entry);
        assert_true(c.rotary_emb_base == cases[i].base && c.rotary_pct == cases[i].partial);
        if (mep_model_config_check(&c) != MEP_OK) fail_msg("%s: %s", cases[i].json, mep_error_message());
        json_decref(object);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
        mep_status status;
    } cases[] = {
        {"{'rope_scaling': 4}", "\"rope_scaling\" must be an object", MEP_ERROR_FORMAT},
        {"{'rope_theta': 'x'}", "\"rope_theta\" must be a number", MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'su'}}", "\"type su\" in \"rope_scaling\" is not supported", MEP_ERROR_UNSUPPORTED},
        {"{'rope_parameters': {'rope_type': 'ntk'}}", "\"rope_type ntk\"", MEP_ERROR_UNSUPPORTED},
        {"{'rope_parameters': {'mrope_section': [1, 1]}}", "\"mrope_section\"", MEP_ERROR_UNSUPPORTED},
        {"{'rope_parameters': {'full_attention': {'rope_type': 'default'}}}", "\"full_attention\"",
         MEP_ERROR_UNSUPPORTED},
        {"{'rope_scaling': {'type': 'linear'}}", "\"factor\"", MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'linear', 'factor': 0.5}}", "\"factor\" must be a number from 1", MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'llama3', 'factor': 8, 'low_freq_factor': 1}}", "\"high_freq_factor\"",
         MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'yarn', 'factor': 8, 'truncate': 1}}", "\"truncate\"", MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'longrope', 'long_factor': [1, 1, 1, 1]}}", "\"short_factor\" must be a list",
         MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'longrope', 'short_factor': [1, 1], 'long_factor': [1]}}", "different lengths",
         MEP_ERROR_FORMAT},
        {"{'rope_scaling': {'type': 'longrope', 'short_factor': [0], 'long_factor': [1]}}", "numbers from 1e-6",
         MEP_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        json_t *object = object_of(cases[i].json);
        mep_status status = read(object, &c);
        if (status != cases[i].status) fail_msg("%s: status %d", cases[i].json, (int)status);
        if (strstr(mep_error_message(), cases[i].message) == NULL) fail_msg("%s", mep_error_message());
        json_decref(object);
    }
}

/* rope_parameters of an entry, for a model of 64 positions whose heads have 8 channels. */
static mep_status write(const char *spec, json_t **parameters)
{
    mep_model_config c;
    mep_position *position = NULL;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.head_dim = 8, c.max_position_embeddings = 64;
    if (mep_position_create(&position, spec) != MEP_OK) fail_msg("%s", mep_error_message());
    mep_status status = mep_rope_write(&c, &position->entries[0], parameters);
    mep_position_destroy(&position);
    return status;
}

/* What is written is read as the same entry; the base and the fraction of channels become the model's. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"rotary", "rotary"},
        {"rotary:base=500,partial=0.5,fraction=0.99", "rotary"},
        {"rotary:scaling=linear,factor=3", "rotary:scaling=linear,factor=3"},
        {"rotary:scaling=ntk,factor=8", "rotary"},
        {"rotary:scaling=dynamic,factor=3", "rotary:scaling=dynamic,factor=3,original=64"},
        {"rotary:scaling=yarn,factor=3,original=16,beta_fast=8,truncate=0",
         "rotary:scaling=yarn,factor=3,original=16,beta_fast=8,truncate=0"},
        {"rotary:scaling=yarn,factor=3,original=16,attention_factor=1.25",
         "rotary:scaling=yarn,factor=3,original=16,attention_factor=1.25"},
        {"rotary:scaling=longrope,factor=9,original=9,short_factor=1:1:1:2,long_factor=1:2:3:4.5",
         "rotary:scaling=longrope,factor=9,original=9,attention_factor=1.4142135623730951,short_factor=1:1:1:2,"
         "long_factor=1:2:3:4.5"},
        {"rotary:base=500000,scaling=llama3,factor=4,original=16,low_freq_factor=2,high_freq_factor=8",
         "rotary:scaling=llama3,factor=4,original=16,low_freq_factor=2,high_freq_factor=8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        json_t *parameters = NULL, *object = json_object();
        if (write(cases[i][0], &parameters) != MEP_OK) fail_msg("%s: %s", cases[i][0], mep_error_message());
        assert_int_equal(json_object_set_new(object, "rope_parameters", parameters), 0);
        if (read(object, &c) != MEP_OK) fail_msg("%s: %s", cases[i][0], mep_error_message());
        assert_string_equal(c.position_encoding, cases[i][1]);
        double base = i == 1 ? 500 : i == 3 ? 160000 : i == 8 ? 500000 : 10000; /* 10000 * 8^(8/6) = 160000 */
        assert_true(c.rotary_emb_base >= base * (1 - 1e-15) && c.rotary_emb_base <= base * (1 + 1e-15));
        assert_true(c.rotary_pct == (i == 1 ? 0.5 : 1));
        json_decref(object);
    }
}

static void test_not_written(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"rotary:fraction=0.5", "\"fraction\" (0.5)"},
                                           {"rotary:scaling=dynamic,factor=2,original=63", "63 and 64"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *parameters = NULL;
        assert_int_equal(write(cases[i][0], &parameters), MEP_ERROR_UNSUPPORTED);
        assert_null(parameters);
        if (strstr(mep_error_message(), cases[i][1]) == NULL) fail_msg("%s", mep_error_message());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_round_trip), cmocka_unit_test(test_not_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
