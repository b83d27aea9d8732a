/* SPDX-License-Identifier: MIT */
/*
 * Spec strings of biases: what they mean, their canonical form, and the message for each way to get one wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "bias/position.h"
#include "bias/python_kernels.h"
#include "mep/bias.h"

static mep_bias *create(const char *spec)
{
    mep_bias *bias;
    if (mep_bias_create(&bias, spec, 6, 16) != MEP_OK) fail_msg("%s", mep_error_message());
    return bias;
}

static void test_canonical(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"mep", "mep"},
        {"exp+exp_half+gauss", "mep"},
        {" gauss + exp : c = 0.50 + exp ", "mep"},
        {"0.1*gauss + 0.1*alibi + 0.1*exp_half", "mep"},
        {"7*mep", "mep"},
        {"exp", "alibi"},
        {"exp:c=1", "alibi"},
        {"exp:bias_max=8, c=0.5", "exp_half"},
        {"gauss + exp:bias_max=16,c=2", "exp:c=2,bias_max=16 + gauss"},
        {"exp:c=0.5", "exp_half"},
        {"kerple_log + t5 + exp + gauss", "mep_param"},
        {"kerple_log", "kerple_log"},
        {"t5:buckets=32,max=128", "t5"},
        {"t5:max=256 + t5:buckets=64", "t5:buckets=64 + t5:max=256"},
        {"0.3*exp + 0.1*gauss", "3*exp + gauss"},
        {"exp + 0.5*gauss", "2*exp + gauss"},
        {"exp + 3*gauss", "exp + 3*gauss"},
        {"mep + 3*exp", "9*exp + exp + exp:c=0.5 + gauss"},
        {"mep / learn = slopes , weights", "mep/learn=weights,slopes"},
        {"tanh\t+ 1e-3*sandwich\n/learn=slopes", "1000*tanh + sandwich/learn=slopes"},
        {"exp:c=0.1 + exp:c=0.30000000000000004", "exp:c=0.30000000000000004 + exp:c=0.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mep_bias *bias = create(cases[i][0]);
        assert_string_equal(mep_bias_spec(bias), cases[i][1]);
        mep_bias_destroy(&bias);
    }
}

static int64_t choose(uint64_t seed, uint64_t place, int64_t below)
{
    return (int64_t)(mep_random_bits(seed, 3, place) % (uint64_t)below);
}

/* A random spec of 1 to 6 terms with odd weights, options, named mixtures and white space. */
static void random_spec(uint64_t seed, char spec[1024])
{
    static const char *const terms[] = {
        "exp",         "exp:c=%.17g",       " gauss",    "gauss :c= %.3g",
        "tanh:c=%.5g", "exp:bias_max=%.4g", "t5",        "t5 : max=200, buckets=%.0f",
        "kerple_log",  "kerple_power",      "sandwich ", "mep",
        "mep_param",   "exp_half",          "alibi",
    };
    int64_t count = 1 + choose(seed, 0, 6);
    spec[0] = '\0';
    for (int64_t i = 0; i < count; i++) {
        uint64_t place = 10 * (uint64_t)(i + 1);
        if (i > 0) strcat(spec, choose(seed, place, 2) ? " + " : "+");
        double x = mep_random_uniform(seed, 4, place);
        if (choose(seed, place + 1, 2))
            sprintf(spec + strlen(spec), "%.*g * ", (int)choose(seed, place + 2, 16) + 1, 0.01 + x);
        const char *term = terms[choose(seed, place + 3, sizeof terms / sizeof terms[0])];
        const char *directive = strchr(term, '%');
        double value = directive != NULL && directive[2] == '0' ? (double)(2 + choose(seed, place + 4, 100)) : 0.1 + x;
        int plain = (int)(directive == NULL ? strlen(term) : (size_t)(directive - term));
        sprintf(spec + strlen(spec), "%.*s", plain, term);
        if (directive != NULL) sprintf(spec + strlen(spec), directive[2] == '0' ? "%.0f" : "%.17g", value);
    }
}

/* The canonical form is a fixed point, and gives the same bias to the bit. */
static void test_round_trip(void **state)
{
    (void)state;
    int64_t distances[] = {0, 1, 3, 40, 1000, 1000000};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        char spec[1024];
        double a[36], b[36];
        random_spec(seed, spec);
        mep_bias *first = create(spec), *second = create(mep_bias_spec(first));
        if (strcmp(mep_bias_spec(first), mep_bias_spec(second)) != 0)
            fail_msg("%s gives %s, and that %s", spec, mep_bias_spec(first), mep_bias_spec(second));
        assert_int_equal(mep_bias_param_values(first), mep_bias_param_values(second));
        assert_int_equal(mep_bias_at(first, distances, 6, a), MEP_OK);
        assert_int_equal(mep_bias_at(second, distances, 6, b), MEP_OK);
        assert_memory_equal(a, b, sizeof a);
        mep_bias_destroy(&first);
        mep_bias_destroy(&second);
    }
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int character;
        const char *problem, *possible;
    } cases[] = {
        {"", 1, "expected the name of a kernel", "kernels: exp, gauss"},
        {"exp + gaus", 7, "unknown kernel \"gaus\"", "named encodings: mep"},
        {"exp +", 6, "expected the name of a kernel", "kernels: exp"},
        {"exp gauss", 5, "expected \"+\"", "\"/\""},
        {"exp*2", 4, "expected \"+\"", ""},
        {"Exp", 1, "unknown kernel \"Exp\"", "kerple_power"},
        {"2exp", 2, "expected \"*\"", ""},
        {"0*exp", 1, "greater than 0", ""},
        {"exp + -1*gauss", 7, "greater than 0", ""},
        {"1e999*exp", 1, "expected a number", ""},
        {"nan*exp", 1, "unknown kernel \"nan\"", ""},
        {"0x1*exp", 1, "expected a number", ""},
        {".*exp", 1, "expected a number", ""},
        {"1e300*exp + gauss", 1, "factor of 1e+15", ""},
        {"5e-324*mep", 1, "factor of 1e+15", ""},
        {"exp:d=1", 5, "no option \"d\"", "options: c, bias_max"},
        {"t5:bucket=8", 4, "no option \"bucket\"", "options: buckets, max"},
        {"exp: c", 7, "expected \"=\"", ""},
        {"exp:c=", 7, "expected a number", ""},
        {"exp:c=one", 7, "expected a number", ""},
        {"exp:c=-1", 7, "from 1e-12 to 1e+12", ""},
        {"exp:c=0", 7, "from 1e-12 to 1e+12", ""},
        {"exp:bias_max=0", 14, "from 0.01 to 100", ""},
        {"exp:c=1,c=2", 9, "given twice", ""},
        {"exp:", 5, "no option \"\"", "options: c, bias_max"},
        {"t5:buckets=1", 12, "from 2 to 65536", ""},
        {"t5:buckets=2.5", 12, "an integer", ""},
        {"exp + t5:buckets=64,max=32", 7, "max > buckets/2", ""},
        {"sandwich:waves=3", 10, "no options", ""},
        {"mep:c=2", 5, "exp + exp:c=0.5 + gauss", ""},
        {"rotary + exp", 1, "not a distance bias", "kernels: exp"},
        {"exp + nope", 7, "not a distance bias", ""},
        {"exp + gauss/learn=weight", 19, "unknown \"weight\"", "weights, slopes"},
        {"exp + gauss/learn=", 19, "unknown \"\"", "weights, slopes"},
        {"exp + gauss/", 13, "learn=", ""},
        {"exp + gauss/lern=slopes", 13, "learn=", ""},
        {"mep/learn=slopes,slopes", 18, "given twice", ""},
        {"mep/learn=slopes + exp", 18, "the end", ""},
        {"exp/learn=weights", 11, "no weights to learn", ""},
        {"t5 + sandwich/learn=slopes", 21, "no kernel of this mixture has slopes", ""},
        {"mep+mep+mep+mep+mep+mep+mep+mep+mep+mep+mep", 41, "at most 32 terms", ""},
        {"mep/forgot", 5, "unknown modifier \"forgot\"", "forget[:bias=B|none]"},
        {"rotary/learn=slopes", 8, "needs a distance bias", ""},
        {"mep/learn=slopes/learn=weights", 18, "given twice", ""},
        {"rotary/weights=query", 8, "needs a mixture of two kernels", ""},
        {"exp/weights=query", 5, "needs a mixture of two kernels", ""},
        {"mep/weights=key", 13, "weights=query", ""},
        {"fire/weights=query", 6, "needs a mixture of two kernels", ""},
        {"fire:max=0", 10, "\"max\" must be from 1 to 2147483648", ""},
        {"fire:max=1.5", 10, "must be an integer", ""},
        {"fire:threshold=8", 6, "fire has no option \"threshold\"", "options: max"},
        {"exp + fire", 1, "fire cannot be part of a mixture; use it alone", ""},
        {"fire + fire", 1, "fire cannot be part of a mixture", ""},
        {"fire/learn=slopes", 12, "no kernel of this mixture has slopes", ""},
        {"fire|alibi", 1, "different mixtures", ""},
        {"nope/forget:bias=x", 18, "expected a number", ""},
        {"nope/forget:bias=1000", 18, "from -100 to 100", ""},
        {"nope/forget:rate=1", 13, "forget:bias=none", ""},
        {"nope/profiles:rank=0", 20, "from 1 to 256", ""},
        {"nope/profiles:rank=2.5", 20, "an integer", ""},
        {"nope/profiles:width=3", 15, "expected an option", "rank, extent"},
        {"nope/scale=log", 12, "\"ssmax\" or \"logn\"", ""},
        {"nope/scale=logn:1", 6, "must be 2 or more", ""},
        {"nope/window=0", 13, "from 1 to", ""},
        {"nope/window", 12, "window=LENGTH", ""},
        {"nope/sink/sink", 11, "given twice", ""},
        {"exp/profiles:rank=3,rank=4", 21, "\"rank\" is given twice", ""},
        {"exp/profiles:extent=3,rank=3,extent=4", 30, "\"extent\" is given twice", ""},
        {"nope/sink=1", 10, "expected \"/\", \"|\" or the end", ""},
        {"rotary:", 8, "rotary has no option \"\"", "options: base, partial, fraction, scaling"},
        {"rotary:basis=1", 8, "no option \"basis\"", "long_factor"},
        {"rotary:base", 12, "expected \"=\"", ""},
        {"rotary:base=", 13, "expected a number", ""},
        {"rotary:base=1", 13, "from 1.001 to 1e+12", ""},
        {"rotary:base=500x", 16, "expected \",\"", "\"|\""},
        {"rotary:base=5,base=6", 15, "given twice", ""},
        {"rotary:partial=1.5", 16, "from 1e-06 to 1", ""},
        {"rotary:scaling=yarm", 16, "unknown scaling \"yarm\"", "scalings: linear, ntk, dynamic, yarn"},
        {"rotary:scaling=default", 16, "unknown scaling", ""},
        {"rotary:scaling=yarn", 7, "scaling=yarn needs \"factor\"", ""},
        {"rotary:factor=8", 8, "\"factor\" is an option of scaling=linear, ntk, dynamic", ""},
        {"rotary:scaling=linear,factor=2,original=512", 32, "\"original\" is an option of scaling=dynamic", ""},
        {"rotary:scaling=yarn,factor=0.5", 28, "from 1 to 1000000", ""},
        {"rotary:scaling=yarn,factor=2,original=1.5", 39, "must be an integer", ""},
        {"rotary:scaling=yarn,factor=2,beta_fast=1,beta_slow=2", 7, "\"beta_fast\" must be at least", ""},
        {"rotary:scaling=llama3,factor=2,low_freq_factor=4", 7, "must be above \"low_freq_factor\"", ""},
        {"rotary:scaling=longrope,factor=2,long_factor=1", 7, "needs \"short_factor\"", ""},
        {"rotary:scaling=longrope,factor=2,long_factor=1,short_factor=1:2", 7, "2 numbers and \"long_factor\" 1", ""},
        {"rotary:scaling=longrope,factor=2,long_factor=1:0", 48, "from 1e-06 to 1000000", ""},
        {"nope|rotary:scaling=x", 21, "unknown scaling", ""},
        {"rotary|", 8, "expected the name of a kernel", ""},
        {"rotary|learned", 1, "are for all layers", ""},
        {"mep|alibi", 1, "different mixtures", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char place[256];
        mep_bias *bias;
        snprintf(place, sizeof place, "position \"%s\", character %d: ", cases[i].spec, cases[i].character);
        assert_int_equal(mep_bias_create(&bias, cases[i].spec, 2, 4), MEP_ERROR_ARGUMENT);
        assert_null(bias);
        const char *message = mep_error_message();
        if (strncmp(message, place, strlen(place)) != 0 || strstr(message, cases[i].problem) == NULL ||
            strstr(message, cases[i].possible) == NULL)
            fail_msg("message: %s\nexpected: %s... %s ... %s", message, place, cases[i].problem, cases[i].possible);
    }
}

static void test_position(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *canonical;
        mep_position_kind kind;
    } cases[] = {
        {"nope", "nope", MEP_POSITION_NONE},
        {"rotary", "rotary", MEP_POSITION_ROTARY},
        {" sinusoidal ", "sinusoidal", MEP_POSITION_SINUSOIDAL},
        {"learned", "learned", MEP_POSITION_LEARNED},
        {"mep", "mep", MEP_POSITION_BIAS},
        {"2*t5 +exp", "exp + 2*t5", MEP_POSITION_BIAS},
        {"mep/learn=slopes", "mep/learn=slopes", MEP_POSITION_BIAS},
        {"mep/weights=query/learn=weights", "mep/learn=weights/weights=query", MEP_POSITION_BIAS},
        {"fire", "fire", MEP_POSITION_BIAS},
        {"2*fire : max = 512 / sink", "fire:max=512/sink", MEP_POSITION_BIAS},
        {"fire:max=2147483648/window=9/forget|rotary", "fire:max=2147483648/forget/window=9|rotary", MEP_POSITION_BIAS},
        {" nope / forget : bias = 5 ", "nope/forget", MEP_POSITION_NONE},
        {"nope/forget:bias=none", "nope/forget:bias=none", MEP_POSITION_NONE},
        {"nope/forget:bias=-2.5", "nope/forget:bias=-2.5", MEP_POSITION_NONE},
        {"nope/profiles:extent=20,rank=16", "nope/profiles:extent=20", MEP_POSITION_NONE},
        {"nope/sink/scale=logn:32/profiles:rank=3", "nope/profiles:rank=3/scale=logn:32/sink", MEP_POSITION_NONE},
        {"rotary|rotary|nope|rotary|rotary|nope", "rotary|rotary|nope", MEP_POSITION_ROTARY},
        {"rotary | rotary", "rotary", MEP_POSITION_ROTARY},
        {"rotary:base=10000|rotary:base=1000000|nope", "rotary:base=10000|rotary:base=1e+06|nope", MEP_POSITION_ROTARY},
        {"rotary : fraction = 1 , base=5e5", "rotary:base=500000", MEP_POSITION_ROTARY},
        {"rotary:original=512,factor=8.0,scaling=yarn,fraction=0.25,base=500000,beta_fast=32/window=9",
         "rotary:base=500000,fraction=0.25,scaling=yarn,factor=8,original=512/window=9", MEP_POSITION_ROTARY},
        {"rotary:scaling=linear,factor=1", "rotary:scaling=linear,factor=1", MEP_POSITION_ROTARY},
        {"rotary:factor=2,scaling=ntk", "rotary:scaling=ntk,factor=2", MEP_POSITION_ROTARY},
        {"rotary:scaling=dynamic,factor=2.50", "rotary:scaling=dynamic,factor=2.5", MEP_POSITION_ROTARY},
        {"rotary:scaling=llama3,factor=8,high_freq_factor=4,low_freq_factor=1,original=8192",
         "rotary:scaling=llama3,factor=8,original=8192", MEP_POSITION_ROTARY},
        {"rotary:long_factor=1: 2 :3,short_factor=1:1:1.50,scaling=longrope,factor=4,partial=0.75",
         "rotary:partial=0.75,scaling=longrope,factor=4,short_factor=1:1:1.5,long_factor=1:2:3", MEP_POSITION_ROTARY},
        {"rotary:truncate=1,scaling=yarn,factor=2|rotary:scaling=yarn,factor=2,beta_slow=1",
         "rotary:scaling=yarn,factor=2", MEP_POSITION_ROTARY},
        {"alibi/window=16|exp/scale=ssmax", "alibi/window=16|alibi/scale=ssmax", MEP_POSITION_BIAS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mep_position *position;
        assert_int_equal(mep_position_create(&position, cases[i].spec), MEP_OK);
        assert_int_equal(mep_position_get_kind(position), cases[i].kind);
        assert_string_equal(mep_position_spec(position), cases[i].canonical);
        mep_position_destroy(&position);
        assert_null(position);
    }
    mep_position *position;
    assert_int_equal(mep_position_create(&position, "rotary rotary"), MEP_ERROR_ARGUMENT);
    assert_null(position);
    assert_int_equal(mep_position_create(&position, "rope"), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "rotary"));
}

/* Spellings of one encoding are the same; those of different ones are not. */
static void test_same(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int same;
    } cases[] = {
        {"exp", "1*exp", 1},
        {"exp", "alibi", 1},
        {"mep", "gauss+exp + exp:c=0.5", 1},
        {" rotary", "rotary ", 1},
        {"mep/learn=slopes,weights", "mep / learn=weights, slopes", 1},
        {"exp", "exp:c=2", 0},
        {"rotary", "nope", 0},
        {"mep", "mep/learn=slopes", 0},
        {"rotary", "rotary:fraction=1", 1},
        {"rotary", "rotary:base=10000", 0}, /* the model's may be another */
        {"rotary:scaling=linear,factor=2", "rotary:scaling=ntk,factor=2", 0},
        {"exp + gauss", "exp + 2*gauss", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mep_position *a, *b;
        assert_int_equal(mep_position_create(&a, cases[i].a), MEP_OK);
        assert_int_equal(mep_position_create(&b, cases[i].b), MEP_OK);
        assert_int_equal(mep_position_same(a, b), cases[i].same);
        mep_position_destroy(&a);
        mep_position_destroy(&b);
    }
}

/* A bias from a parsed position is that of the spec, and needs the position no longer. */
static void test_from_position(void **state)
{
    (void)state;
    int64_t distances[] = {0, 1, 40, 1000000};
    double a[24], b[24];
    mep_position *position;
    mep_bias *from, *direct = create("mep_param + t5:buckets=40/learn=weights");
    assert_int_equal(mep_position_create(&position, "t5:buckets=40 + mep_param/learn=weights"), MEP_OK);
    assert_true(mep_position_values(position, 6) == (double)mep_bias_param_values(direct));
    assert_int_equal(mep_bias_create_from(&from, position, 6, 16), MEP_OK);
    assert_string_equal(mep_bias_spec(from), mep_position_spec(position));
    mep_position_destroy(&position);
    assert_string_equal(mep_bias_spec(from), mep_bias_spec(direct));
    assert_int_equal(mep_bias_at(from, distances, 4, a), MEP_OK);
    assert_int_equal(mep_bias_at(direct, distances, 4, b), MEP_OK);
    assert_memory_equal(a, b, sizeof a);
    mep_bias_destroy(&from);
    mep_bias_destroy(&direct);
    assert_int_equal(mep_position_create(&position, "rotary"), MEP_OK);
    assert_int_equal(mep_bias_create_from(&from, position, 6, 16), MEP_ERROR_ARGUMENT);
    assert_null(from);
    mep_position_destroy(&position);
}

/* Every allocation of parsing fails once; none leaks (under a sanitizer) and none crashes. */
static void test_failing_allocations(void **state)
{
    (void)state;
    static const char spec[] = "mep + exp:c=2 + t5:buckets=64/learn=weights,slopes";
    mep_position *position;
    mep_fail_allocation(0);
    assert_int_equal(mep_position_create(&position, spec), MEP_OK);
    int64_t needed = mep_fail_allocation(0);
    assert_true(needed >= 6);
    mep_position_destroy(&position);
    for (int64_t n = 1; n <= needed; n++) {
        mep_fail_allocation(n);
        assert_int_equal(mep_position_create(&position, spec), MEP_ERROR_MEMORY);
        assert_null(position);
    }
    mep_fail_allocation(0);
}

/* Every kernel, option and named encoding has its line, and nothing was cut off. */
static void test_help(void **state)
{
    (void)state;
    const char *help = mep_position_help();
    char line[64];
    for (int i = 0; mep_kernels[i] != NULL; i++) {
        snprintf(line, sizeof line, "\n  %-14s", mep_kernels[i]->name);
        assert_non_null(strstr(help, line));
        assert_non_null(strstr(help, mep_kernels[i]->help));
    }
    for (int i = 0; mep_named_mixtures[i].name != NULL; i++)
        assert_non_null(strstr(help, mep_named_mixtures[i].mixture));
    for (int i = 0; mep_other_positions[i].name != NULL; i++)
        assert_non_null(strstr(help, mep_other_positions[i].help));
    assert_non_null(strstr(help, "buckets=32, max=128"));
    assert_true(help[strlen(help) - 1] == '\n');
}

/* Exported Python has every kernel, option, parameter and name. */
static void test_python(void **state)
{
    (void)state;
    char *text = NULL, want[128];
    assert_int_equal(mep_python_kernels(&text), MEP_OK);
    for (int i = 0; mep_kernels[i] != NULL; i++) {
        const mep_kernel *kernel = mep_kernels[i];
        if (kernel->alone) continue;
        snprintf(want, sizeof want, "def kernel_%s(k, d):\n    \"\"\"", kernel->name);
        assert_non_null(strstr(text, want));
        snprintf(want, sizeof want, "\n    \"%s\": Row(kernel_%s, {", kernel->name, kernel->name);
        assert_non_null(strstr(text, want));
        for (int n = 0; n < mep_kernel_option_count(kernel); n++) {
            snprintf(want, sizeof want, "\"%s\": ", kernel->options[n].name);
            assert_non_null(strstr(text, want));
        }
        for (int n = 0; n < mep_kernel_param_count(kernel); n++) {
            snprintf(want, sizeof want, "\"%s\": Parameter(", kernel->params[n].name);
            assert_non_null(strstr(text, want));
        }
    }
    for (int i = 0; mep_named_mixtures[i].name != NULL; i++)
        assert_non_null(strstr(text, mep_named_mixtures[i].mixture));
    for (int i = 0; mep_other_positions[i].name != NULL; i++)
        assert_non_null(strstr(text, mep_other_positions[i].name));
    mep_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_position),  cmocka_unit_test(test_same),       cmocka_unit_test(test_from_position),
        cmocka_unit_test(test_help),      cmocka_unit_test(test_python),     cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
