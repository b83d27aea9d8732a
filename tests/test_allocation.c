/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out: every allocation of training, resuming, evaluating, generating and importing
 * fails in turn, ours (mep_alloc) and jansson's but while it parses. Each time the call must end with a
 * status and a message, leave nothing behind (under AddressSanitizer the leak checker watches), and damage nothing: the
 * same call then works.
 */
#define _GNU_SOURCE
#include "small_data.h"

#include <dlfcn.h>
#include <jansson.h>
#include <unistd.h>

#include "base/memory.h"

enum { STEPS = 2, STOPPED = 1 };

typedef struct operation {
    const char *name;
    void (*begin)(void); /* before each call: what the call starts from */
    mep_status (*run)(void);
    void (*check)(void); /* after a call that worked; may be NULL */
} operation;

/* ---- jansson's allocations ---- */

static int64_t json_made, json_failing;
static int parsing;

static void *json_alloc(size_t size)
{
    return !parsing && ++json_made == json_failing ? NULL : malloc(size);
}

/* jansson 2.14 may crash by itself when memory runs out while it parses, so there none does: this takes the place of
 * the library's function. */
json_t *json_loadb(const char *buffer, size_t size, size_t flags, json_error_t *error)
{
    json_t *(*load)(const char *, size_t, size_t, json_error_t *);
    *(void **)&load = dlsym(RTLD_NEXT, "json_loadb");
    parsing = 1;
    json_t *root = load(buffer, size, flags, error);
    parsing = 0;
    return root;
}

/* As mep_fail_allocation. */
static int64_t fail_json(int64_t n)
{
    int64_t made = json_made;
    json_made = 0, json_failing = n;
    return made;
}

/* ---- Operations ---- */

static char run[700], imported[700], other[700];
static float *expected;
static int64_t expected_size;

static mep_train_settings settings(void)
{
    mep_train_settings s = settings_for("mep_param");
    s.model.num_hidden_layers = 1, s.model.hidden_size = 16, s.model.num_attention_heads = 2,
    s.model.intermediate_size = 16;
    s.batch_size = 2, s.micro_batch_size = 1, s.steps = STEPS, s.save_every = 1, s.valid_every = STEPS,
    s.valid_tokens = 32, s.dtype = MEP_BFLOAT16;
    snprintf(s.valid, sizeof s.valid, "%s", data_path);
    return s;
}

static int stop_after_first(void *context, const mep_train_progress *p)
{
    (void)context;
    return p->step == STOPPED;
}

static void no_run(void)
{
    assert_int_equal(mep_remove_tree(run), MEP_OK);
}

static void stopped_run(void)
{
    mep_train_settings s = settings();
    no_run();
    assert_int_equal(mep_train_start(run, &s, stop_after_first, NULL), MEP_INTERRUPTED);
}

static mep_status train(void)
{
    mep_train_settings s = settings();
    return mep_train_start(run, &s, NULL, NULL);
}

static mep_status resume(void)
{
    return mep_train_resume(run, NULL, NULL);
}

/* The run's parameters are those of the first run that was checked. */
static void check_run(void)
{
    mep_model *model;
    if (mep_model_load(&model, run) != MEP_OK) fail_msg("%s", mep_error_message());
    int64_t bytes = model->size * (int64_t)sizeof *expected;
    if (expected == NULL) {
        expected = malloc((size_t)bytes);
        expected_size = model->size;
        memcpy(expected, model->values, (size_t)bytes);
    }
    assert_int_equal(model->size, expected_size);
    assert_memory_equal(model->values, expected, (size_t)bytes);
    mep_model_destroy(&model);
}

static void nothing(void) {}

static mep_status evaluate(void)
{
    mep_model *model = NULL;
    mep_dataset *data = NULL;
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = 32, e.max_tokens = 64;
    mep_status status = mep_model_load(&model, run);
    if (status == MEP_OK) status = mep_dataset_open(&data, data_path);
    if (status == MEP_OK) status = mep_evaluate(model, data, &e, NULL, NULL, &result);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
    return status;
}

static int take_token(void *context, int32_t token)
{
    (void)context, (void)token;
    return 0;
}

static mep_status generate(void)
{
    mep_model *model = NULL;
    mep_generate_settings g;
    const int32_t prompt[] = {1, 2, 3, 4, 5};
    mep_generate_defaults(&g);
    g.max_tokens = 70; /* past a block of the cache */
    mep_status status = mep_model_load(&model, run);
    if (status == MEP_OK) status = mep_generate(model, prompt, 5, &g, take_token, NULL);
    mep_model_destroy(&model);
    return status;
}

static void no_import(void)
{
    assert_int_equal(mep_remove_tree(imported), MEP_OK);
    assert_int_equal(mep_make_folder(imported, 0), MEP_OK);
}

/* What mep import does: a GPT-NeoX folder is read and written as one of ours, in two shards. */
static mep_status import(void)
{
    mep_model *model = NULL;
    mep_save_settings s;
    mep_save_defaults(&s);
    s.shard_size = 8192, s.dtype = MEP_BFLOAT16;
    mep_status status = mep_model_load(&model, other);
    if (status == MEP_OK) status = mep_model_save(model, imported, &s);
    mep_model_destroy(&model);
    return status;
}

static void check_import(void)
{
    mep_model *model;
    assert_int_equal(mep_model_load(&model, imported), MEP_OK);
    mep_model_destroy(&model);
}

static const operation OPERATIONS[] = {
    {"train", no_run, train, check_run},         {"resume", stopped_run, resume, check_run},
    {"evaluate", nothing, evaluate, NULL},       {"generate", nothing, generate, NULL},
    {"import", no_import, import, check_import},
};

/* ---- The test ---- */

/* Fail allocation 1, 2, ... of an operation until there are no more. */
static void fail_each(const operation *o, int64_t (*hook)(int64_t n), const char *whose)
{
    int64_t n = 0, done = 0, survived = 0;
    while (!done) {
        o->begin();
        n++;
        hook(n);
        mep_status status = o->run();
        done = hook(0) < n;
        if (done && status != MEP_OK) fail_msg("%s fails by itself: %s", o->name, mep_error_message());
        survived += !done && status == MEP_OK;
        if (!done && status != MEP_OK && mep_error_message()[0] == '\0')
            fail_msg("%s says nothing when allocation %lld of %s fails", o->name, (long long)n, whose);
        if (status == MEP_OK && o->check != NULL) o->check();
    }
    print_message("%s: %lld allocations of %s failed in turn, %lld of them did no harm\n", o->name, (long long)n - 1,
                  whose, (long long)survived);
    assert_true(n > 10);
    assert_true(survived * 10 <= n);
}

static void test_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++) {
        const operation *o = &OPERATIONS[i];
        o->begin(); /* caches of a process, the products' say, are filled first */
        assert_int_equal(o->run(), MEP_OK);
        if (o->check != NULL) o->check();
        fail_each(o, mep_fail_allocation, "the library");
        fail_each(o, fail_json, "jansson");
    }
}

static int set_up_all(void **state)
{
    mep_model *model;
    mep_train_settings s = settings_for("rotary");
    json_set_alloc_funcs(json_alloc, free);
    /* hundreds of runs that sync their files: in memory where that can be had */
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    set_up(state);
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(imported, sizeof imported, "%s/imported", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    assert_int_equal(mep_make_folder(other, 0), MEP_OK);
    assert_int_equal(mep_model_create(&model, &s.model, 1), MEP_OK);
    assert_int_equal(mep_model_export(model, other, NULL, NULL), MEP_OK);
    mep_model_destroy(&model);
    return 0;
}

static int tear_down_all(void **state)
{
    free(expected);
    return tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each)};
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
