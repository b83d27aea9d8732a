/* SPDX-License-Identifier: MIT */
/*
 * Rotary frequencies of every scaling against rope.json of the folder MEP_GOLDEN2_DIR, by default tests/golden2; and
 * what a session computes with scalings that depend on the length of the text.
 */
#include "small_model.h"

#include <jansson.h>

#include "bias/position.h"
#include "golden.h"
#include "model/rotary_tables.h"

enum { MOST = 128, COUNT = 96 };

/* The position of a spec, which the caller destroys. */
static mep_position *parsed(const char *spec)
{
    mep_position *position;
    if (mep_position_create(&position, spec) != MEP_OK) fail_msg("%s", mep_error_message());
    return position;
}

/* ---- Frequencies ---- */

static void close_to(const char *what, int64_t n, double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fabs(expected) + 1e-300))
        fail_msg("%s, frequency %d: %.17g, expected %.17g", what, (int)n, found, expected);
}

/* Append ",NAME=VALUE" of a key that the case has. */
static void add_key(char *spec, size_t size, const json_t *golden, const char *key, const char *name)
{
    const json_t *value = json_object_get(golden, key);
    size_t used = strlen(spec);
    if (value != NULL)
        snprintf(spec + used, size - used, "%c%s=%.17g", used > 6 ? ',' : ':', name, json_number_value(value));
}

/* The spec of a golden case. */
static void spec_of(const json_t *golden, char spec[512])
{
    const char *kind = json_string_value(json_object_get(golden, "kind"));
    assert_non_null(kind);
    strcpy(spec, "rotary");
    add_key(spec, 512, golden, "base", "base");
    add_key(spec, 512, golden, "fraction", "fraction");
    if (strcmp(kind, "default") == 0 || strcmp(kind, "fraction") == 0) return;
    size_t used = strlen(spec);
    snprintf(spec + used, 512 - used, "%cscaling=%s", used > 6 ? ',' : ':', kind);
    add_key(spec, 512, golden, "factor", "factor");
    add_key(spec, 512, golden, "low", "low_freq_factor");
    add_key(spec, 512, golden, "high", "high_freq_factor");
    if (strcmp(kind, "linear") != 0 && strcmp(kind, "ntk") != 0) add_key(spec, 512, golden, "original", "original");
}

static void check_golden_case(const json_t *golden)
{
    char spec[512];
    double frequency[MOST], factor = 0;
    spec_of(golden, spec);
    mep_position *position = parsed(spec);
    const json_t *expected = json_object_get(golden, "inv_freq"), *length = json_object_get(golden, "length");
    const mep_model_config c = {.head_dim = json_integer_value(json_object_get(golden, "D")),
                                .num_attention_heads = 1,
                                .max_position_embeddings = 7,
                                .rotary_emb_base = 10000,
                                .rotary_pct = 1};
    const mep_rotary_options *options = &position->entries[0].rotary;
    const mep_rotary_model model = mep_rotary_model_of(&c, options);
    assert_int_equal(model.dims / 2, json_array_size(expected));
    assert_true(model.dims <= 2 * MOST);
    mep_rotary_frequencies(options, &model, length != NULL ? json_integer_value(length) : 100, frequency, &factor);
    close_to(spec, -1, factor, json_number_value(json_object_get(golden, "scaling")), 1e-14);
    for (int64_t n = 0; n < model.dims / 2; n++)
        close_to(spec, n, frequency[n], json_number_value(json_array_get(expected, (size_t)n)), 1e-12);
    mep_position_destroy(&position);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const kinds[] = {"default", "linear", "ntk", "dynamic", "yarn", "llama3", "fraction"};
    size_t seen = 0;
    json_t *all = json_load_file(golden2_path("rope.json"), 0, NULL);
    if (!json_is_array(all)) fail_msg("cannot read %s", golden2_path("rope.json"));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *golden = json_array_get(all, i);
        const char *kind = json_string_value(json_object_get(golden, "kind"));
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) seen |= (size_t)(strcmp(kinds[k], kind) == 0) << k;
        check_golden_case(golden);
    }
    assert_int_equal(seen, ((size_t)1 << sizeof kinds / sizeof *kinds) - 1);
    json_decref(all);
}

/* longrope is not in rope.json: its formula. */
static void test_longrope(void **state)
{
    (void)state;
    mep_position *position =
        parsed("rotary:scaling=longrope,factor=4,original=64,short_factor=1:1.5:2,long_factor=3:4:5");
    const mep_rotary_options *o = &position->entries[0].rotary;
    const mep_rotary_model model = {.base = 100, .dims = 6, .original = 64};
    double frequency[3], factor = 0;
    for (int64_t length = 63; length <= 66; length++) {
        mep_rotary_frequencies(o, &model, length, frequency, &factor);
        close_to("longrope", -1, factor, sqrt(1 + log(4) / log(64)), 1e-15);
        for (int n = 0; n < 3; n++)
            close_to("longrope", n, frequency[n],
                     pow(100, -n / 3.0) / (length > 64 ? (double[]){3, 4, 5}[n] : (double[]){1, 1.5, 2}[n]), 1e-15);
    }
    mep_position_destroy(&position);
}

/* Options of yarn: the ramp without rounded ends, its ends, and the factor of cosines and sines. */
static void test_yarn_options(void **state)
{
    (void)state;
    mep_position *position =
        parsed("rotary:scaling=yarn,factor=4,attention_factor=1.5,beta_fast=16,beta_slow=2,truncate=0");
    const mep_rotary_model model = {.base = 10000, .dims = 32, .original = 512};
    double frequency[16], factor = 0, ends[2];
    for (int i = 0; i < 2; i++)
        ends[i] = 32 * log(512 / ((i == 0 ? 16 : 2) * 2 * 3.14159265358979323846)) / (2 * log(10000));
    mep_rotary_frequencies(&position->entries[0].rotary, &model, 1, frequency, &factor);
    assert_true(factor == 1.5 && ends[0] > 2.8 && ends[1] < 6.5);
    for (int n = 0; n < 16; n++) {
        double ramp = fmin(fmax((n - ends[0]) / (ends[1] - ends[0]), 0), 1), plain = pow(10000, -n / 16.0);
        close_to("yarn", n, frequency[n], plain / 4 * ramp + plain * (1 - ramp), 1e-14);
    }
    mep_position_destroy(&position);
}

/* ---- Sessions ---- */

/* Scalings whose frequencies depend on the length, and a fixed one. The length of training is 40. */
static const char *const SCALED[] = {
    "rotary:scaling=dynamic,factor=2,original=40", "llama rotary:scaling=dynamic,factor=3,original=40|nope",
    ("rotary:scaling=longrope,factor=2,original=40,"
     "short_factor=1:1:1:1:1:1.1:1.2:1.3,long_factor=1:1.2:1.4:1.6:2:2.5:3:4"),
    "rotary:scaling=yarn,factor=4,original=40|rotary:base=300,partial=0.5,scaling=llama3,factor=4,original=40"};
enum { SCALED_COUNT = sizeof SCALED / sizeof *SCALED };

static void logits_of(mep_session *session, int64_t length, const int32_t *tokens, float *logits)
{
    if (mep_session_logits(session, 1, length, tokens, logits) != MEP_OK) fail_msg("%s", mep_error_message());
}

static int same(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* A session that has computed texts of other lengths gives the bits of a new one. */
static void test_lengths(void **state)
{
    (void)state;
    static const int64_t lengths[] = {COUNT, 20, 41, 40, 39, 80, COUNT};
    int32_t tokens[COUNT];
    float *fresh = allocate(COUNT * VOCAB, sizeof *fresh), *later = allocate(COUNT * VOCAB, sizeof *later);
    random_tokens(tokens, COUNT);
    for (int k = 0; k < 2 * SCALED_COUNT; k++) {
        mep_dtype dtype = k % 2 == 0 ? MEP_FLOAT32 : MEP_BFLOAT16;
        mep_model *model = small_model(SCALED[k / 2]);
        mep_session *all = small_session(model, 1, COUNT, dtype, 0);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            mep_session *one = small_session(model, 1, lengths[i], dtype, 0);
            logits_of(all, lengths[i], tokens, later);
            logits_of(one, lengths[i], tokens, fresh);
            if (!same(fresh, later, lengths[i] * VOCAB))
                fail_msg("%s: %d tokens differ in a session of another length", SCALED[k / 2], (int)lengths[i]);
            mep_session_destroy(&one);
        }
        mep_session_destroy(&all);
        mep_model_destroy(&model);
    }
    free(fresh), free(later);
}

/* Through a cache, in chunks of any size, the text of `COUNT` tokens has the bits of one call. */
static void test_cached(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 17, 64, COUNT};
    int32_t tokens[COUNT];
    float *full = allocate(COUNT * VOCAB, sizeof *full), row[VOCAB];
    random_tokens(tokens, COUNT);
    for (int k = 0; k < 2 * SCALED_COUNT; k++) {
        mep_session_settings settings;
        mep_session_defaults(&settings);
        settings.length = COUNT, settings.dtype = k % 2 == 0 ? MEP_FLOAT32 : MEP_BFLOAT16;
        mep_model *model = small_model(SCALED[k / 2]);
        mep_session *session = small_session(model, 1, COUNT, settings.dtype, 0);
        logits_of(session, COUNT, tokens, full);
        mep_session_destroy(&session);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            assert_int_equal(mep_session_create_cached(&session, model, &settings, COUNT, 0), MEP_OK);
            for (int64_t done = 0; done < COUNT; done += sizes[i]) {
                int64_t size = sizes[i] < COUNT - done ? sizes[i] : COUNT - done;
                assert_int_equal(mep_session_next(session, size, tokens + done, row), MEP_OK);
                if (!same(row, full + (done + size - 1) * VOCAB, VOCAB))
                    fail_msg("%s: token %d differs in chunks of %d", SCALED[k / 2], (int)(done + size - 1),
                             (int)sizes[i]);
            }
            mep_session_destroy(&session);
        }
        mep_model_destroy(&model);
    }
    free(full);
}

/* A factor that stretches nothing is the entry without scaling, and the length decides whether a scaling acts. */
static void test_neutral(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int64_t length;
        int equal;
    } cases[] = {
        {"rotary:scaling=linear,factor=1", "rotary", COUNT, 1},
        {"rotary:scaling=ntk,factor=1", "rotary", COUNT, 1},
        {"rotary:base=10000,partial=1,fraction=1", "rotary", COUNT, 1},
        {"rotary:scaling=yarn,factor=1", "rotary", COUNT, 1},
        {"rotary:scaling=llama3,factor=1,original=40", "rotary", COUNT, 1},
        {"rotary:scaling=dynamic,factor=4,original=40", "rotary", 40, 1},
        {"rotary:scaling=dynamic,factor=4,original=40", "rotary", 41, 0},
        {"rotary:scaling=linear,factor=2", "rotary", COUNT, 0},
        {"rotary:scaling=yarn,factor=2,original=40", "rotary", COUNT, 0},
        {"rotary:fraction=0.5", "rotary", COUNT, 0},
        {"rotary:partial=0.5", "rotary:fraction=0.5", COUNT, 0},
        {"rotary:fraction=0", "nope", COUNT, 1},
        {"rotary|rotary:base=500", "rotary:base=500|rotary", COUNT, 0},
    };
    int32_t tokens[COUNT];
    float *logits[2] = {allocate(COUNT * VOCAB, sizeof(float)), allocate(COUNT * VOCAB, sizeof(float))};
    random_tokens(tokens, COUNT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int which = 0; which < 2; which++) {
            mep_model *model = small_model(which == 0 ? cases[i].a : cases[i].b);
            mep_session *session = small_session(model, 1, cases[i].length, MEP_FLOAT32, 0);
            logits_of(session, cases[i].length, tokens, logits[which]);
            mep_session_destroy(&session);
            mep_model_destroy(&model);
        }
        double difference = relative_difference(logits[0], logits[1], cases[i].length * VOCAB);
        if (cases[i].equal ? !(difference <= 1e-6) : !(difference > 1e-4))
            fail_msg("%s and %s differ by %g in %d tokens", cases[i].a, cases[i].b, difference, (int)cases[i].length);
    }
    free(logits[0]), free(logits[1]);
}

/* Entries with the same options share their tables. */
static void test_tables(void **state)
{
    (void)state;
    mep_model *model = small_model("rotary:base=500/window=20|rotary:base=500");
    mep_session *session = small_session(model, 1, 8, MEP_FLOAT32, 0);
    assert_int_equal(session->positions.rotary[1].same_as, 0);
    assert_null(session->positions.rotary[1].cosine);
    assert_int_equal(session->positions.rotary[0].dims, 16);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

/* What a model cannot rotate or scale. */
static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"rotary:partial=0.05", "rotary_pct 0.05 of head_dim 16"},
        {"rotary:partial=0.2", "is 3"},
        {"rotary:scaling=longrope,factor=2,short_factor=1:1,long_factor=1:1", "rotates 8 pairs"},
        {"rotary/scale=logn", "must be at least 2"}, /* with max_position_embeddings 1 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
        snprintf(c.position_encoding, sizeof c.position_encoding, "%s", cases[i][0]);
        if (strstr(cases[i][0], "logn") != NULL) c.max_position_embeddings = 1;
        assert_int_equal(mep_model_config_check(&c), MEP_ERROR_ARGUMENT);
        if (strstr(mep_error_message(), cases[i][1]) == NULL) fail_msg("%s: %s", cases[i][0], mep_error_message());
    }
}

int main(void)
{
    mep_set_threads(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),       cmocka_unit_test(test_longrope),
                                       cmocka_unit_test(test_yarn_options), cmocka_unit_test(test_lengths),
                                       cmocka_unit_test(test_cached),       cmocka_unit_test(test_neutral),
                                       cmocka_unit_test(test_tables),       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
