/* SPDX-License-Identifier: MIT */
/*
 * The comparison study: what a run trains and evaluates, continuing after a stop at any moment, two studies in one
 * folder, and the numbers of the summary.
 */
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "mep/study.h"
#include "scratch.h"
#include "test_backends.h"
#include "train/study_internal.h"

enum { TOKENS = 3000, MOST = 64, STEPS = 3, LENGTH = 8 };

static const char *const ENCODINGS[] = {"alibi", "exp:c=0.5 + gauss", "learned"};
static const uint64_t SEEDS[] = {7, 8};
static const int64_t LENGTHS[] = {8, 16, 32};

#define assert_ok(call) assert_int_equal(call, MEP_OK)

/* Tokens that a model can partly predict. */
static void write_dataset(const char *prefix, uint32_t state)
{
    int32_t tokens[TOKENS];
    mep_tokenizer *tokenizer = NULL;
    mep_dataset_writer *writer = NULL;
    for (int i = 0; i < TOKENS; i++) {
        state = state * 1664525u + 1013904223u;
        tokens[i] = (int32_t)(i % 5 * 3 + (int)(state >> 30));
    }
    assert_ok(mep_tokenizer_bytes(&tokenizer));
    assert_ok(mep_dataset_writer_create(&writer, prefix, tokenizer));
    assert_ok(mep_dataset_writer_add(writer, tokens, TOKENS, 1));
    assert_ok(mep_dataset_writer_finish(&writer));
    mep_tokenizer_destroy(&tokenizer);
}

static int make_data(void **state)
{
    (void)state;
    write_dataset(scratch_path("one.train"), 1);
    write_dataset(scratch_path("one.valid"), 2);
    write_dataset(scratch_path("two.train"), 3);
    write_dataset(scratch_path("two.valid"), 4);
    return 0;
}

static int remove_data(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) == MEP_OK ? 0 : 1;
}

/* Two encodings, two seeds, two lengths on corpus one. */
static mep_study_settings small_study(void)
{
    static char one[512];
    static const char *corpora[1] = {one};
    snprintf(one, sizeof one, "%s", scratch_path("one"));
    mep_study_settings s = {.corpora = corpora,
                            .corpus_count = 1,
                            .encodings = ENCODINGS,
                            .encoding_count = 2,
                            .seeds = SEEDS,
                            .seed_count = 2,
                            .lengths = LENGTHS,
                            .length_count = 2};
    assert_ok(mep_train_preset("nano", &s.train));
    s.train.model.vocab_size = 257;
    s.train.model.hidden_size = 16;
    s.train.model.num_hidden_layers = 1;
    s.train.model.num_attention_heads = 2;
    s.train.model.intermediate_size = 32;
    s.train.length = s.train.model.max_position_embeddings = LENGTH;
    s.train.batch_size = s.train.micro_batch_size = 4;
    s.train.steps = STEPS;
    s.train.dtype = MEP_FLOAT32;
    mep_eval_defaults(&s.eval);
    s.eval.max_tokens = 300;
    s.eval.batch_tokens = 64;
    return s;
}

/* What the callback received, and after how many calls it stops the study (stop_at; 0: never). */
typedef struct watch {
    int64_t calls, stop_at, trained, evaluated, runs_done, lengths_seen[MOST];
    double first_left, last_left;
} watch;

static int look(void *context, const mep_study_progress *p)
{
    watch *w = context;
    if (w->calls++ == 0) w->first_left = p->seconds_left;
    w->last_left = p->seconds_left;
    w->trained += p->phase == MEP_STUDY_TRAINING;
    if (p->phase == MEP_STUDY_EVALUATING) {
        w->evaluated += p->done == p->total;
        w->lengths_seen[p->length]++;
    }
    w->runs_done += p->phase == MEP_STUDY_RUN_DONE;
    assert_true(p->run >= 1 && p->run <= p->runs);
    assert_true(p->phase == MEP_STUDY_RUN_DONE || (p->done >= 0 && p->done <= p->total));
    return w->stop_at > 0 && w->calls >= w->stop_at;
}

static watch run_study(const char *folder, const mep_study_settings *s)
{
    watch w = {0};
    mep_status status = mep_study_run(scratch_path(folder), s, look, &w);
    if (status != MEP_OK) fail_msg("%s", mep_error_message());
    return w;
}

static void expect_failure(const char *folder, const mep_study_settings *s, const char *text)
{
    assert_int_not_equal(mep_study_run(scratch_path(folder), s, NULL, NULL), MEP_OK);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("no \"%s\" in: %s", text, mep_error_message());
}

/* Each result is bit-identical to training and evaluating by hand. */
static void test_results(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    mep_eval_result results[MOST];
    watch w = run_study("plain", &s);
    assert_int_equal(w.trained, 4 * STEPS);
    assert_int_equal(w.evaluated, 8);
    assert_int_equal(w.runs_done, 4);
    assert_true(w.first_left > 0 && w.last_left < 1e-3);
    assert_ok(mep_study_results(scratch_path("plain"), &s, results));
    int compared = 0;
    for (int64_t e = 0; e < 2; e++)
        for (int64_t n = 0; n < 2; n++) {
            char name[64];
            mep_train_settings t = s.train;
            mep_model *model = NULL;
            mep_dataset *data = NULL;
            snprintf(name, sizeof name, "by-hand-%d-%d", (int)e, (int)n);
            snprintf(t.data, sizeof t.data, "%s", scratch_path("one.train"));
            snprintf(t.model.position_encoding, sizeof t.model.position_encoding, "%s", ENCODINGS[e]);
            t.seed = SEEDS[n];
            assert_ok(mep_train_start(scratch_path(name), &t, NULL, NULL));
            assert_ok(mep_model_load(&model, scratch_path(name)));
            assert_ok(mep_dataset_open(&data, scratch_path("one.valid")));
            for (int64_t l = 0; l < 2; l++) {
                mep_eval_settings eval = s.eval;
                mep_eval_result wanted;
                eval.length = LENGTHS[l];
                eval.max_tokens = 288; /* the largest multiple of 16 up to 300 */
                assert_ok(mep_evaluate(model, data, &eval, NULL, NULL, &wanted));
                const mep_eval_result *found = &results[mep_study_index(&s, 0, e, n, l)];
                assert_int_equal(found->length, wanted.length);
                assert_int_equal(found->segments, wanted.segments);
                assert_int_equal(found->tokens, 288);
                assert_int_equal(wanted.tokens, 288);
                assert_true(found->loss == wanted.loss && found->perplexity == wanted.perplexity);
                assert_true(found->standard_error == wanted.standard_error);
                compared++;
            }
            mep_dataset_close(&data);
            mep_model_destroy(&model);
        }
    assert_int_equal(compared, 8);
    assert_true(mep_folder_exists(scratch_path("plain/exp_c=0.5+gauss-seed8")));
}

/* Stopped repeatedly after a few calls: the same results, and only the interrupted length is computed twice. */
static void test_continue(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    mep_eval_result whole[MOST], pieces[MOST];
    run_study("whole", &s);
    assert_ok(mep_study_results(scratch_path("whole"), &s, whole));
    for (int64_t stop = 1; stop <= 7; stop += 3) {
        char folder[32];
        int64_t tries = 0, trained = 0, evaluated = 0;
        mep_status status = MEP_INTERRUPTED;
        snprintf(folder, sizeof folder, "pieces-%d", (int)stop);
        for (; status == MEP_INTERRUPTED && tries < 1000; tries++) {
            watch w = {.stop_at = stop + tries % 11}; /* the evaluation at one length takes at most 10 calls */
            status = mep_study_run(scratch_path(folder), &s, look, &w);
            trained += w.trained;
            evaluated += w.evaluated;
        }
        assert_ok(status);
        assert_true(tries > 4);
        assert_int_equal(trained, 4 * STEPS);
        assert_true(evaluated >= 8);
        assert_ok(mep_study_results(scratch_path(folder), &s, pieces));
        for (int64_t i = 0; i < 8; i++) {
            assert_true(whole[i].segments > 0 && pieces[i].segments == whole[i].segments);
            assert_true(pieces[i].loss == whole[i].loss && pieces[i].standard_error == whole[i].standard_error);
        }
    }
    watch again = run_study("whole", &s);
    assert_int_equal(again.trained + again.evaluated, 0);
    assert_int_equal(again.runs_done, 4);
}

/* A later call may name more encodings, seeds and lengths; another limit of the tokens requires a new evaluation. */
static void test_grow(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    mep_eval_result results[MOST];
    s.encoding_count = 1;
    s.seed_count = 1;
    s.length_count = 1;
    run_study("grow", &s);
    s.length_count = 2; /* 296 is not a multiple of 16: both lengths are evaluated */
    watch w = run_study("grow", &s);
    assert_int_equal(w.trained, 0);
    assert_int_equal(w.evaluated, 2);
    s.eval.max_tokens = 288;
    w = run_study("grow", &s); /* the same 288 tokens */
    assert_int_equal(w.evaluated, 0);
    s.eval.max_tokens = 160;
    s.length_count = 3; /* 160 is a multiple of 32 too */
    s.seed_count = 2;
    w = run_study("grow", &s);
    assert_int_equal(w.trained, STEPS);
    assert_int_equal(w.evaluated, 3 + 3);
    s.encoding_count = 3;
    w = run_study("grow", &s);
    assert_int_equal(w.trained, 2 * 2 * STEPS);
    assert_int_equal(w.evaluated, 2 * 3 + 2 * 1); /* "learned" ends at the training length */
    assert_ok(mep_study_results(scratch_path("grow"), &s, results));
    for (int64_t l = 0; l < 3; l++) {
        assert_int_equal(results[mep_study_index(&s, 0, 2, 0, l)].segments > 0, LENGTHS[l] <= LENGTH);
        assert_int_equal(results[mep_study_index(&s, 0, 0, 1, l)].tokens, 160);
    }
    s.eval.max_tokens = 32;
    assert_ok(mep_study_results(scratch_path("grow"), &s, results)); /* without these settings */
    assert_int_equal(results[0].segments, 0);
}

/* The settings of a call with one encoding only. */
static mep_study_settings one_encoding(int64_t encoding)
{
    mep_study_settings s = small_study();
    s.encodings = ENCODINGS + encoding;
    s.encoding_count = s.seed_count = 1;
    return s;
}

static void expect_all(const char *folder, const mep_study_settings *asked, int64_t tokens)
{
    mep_study_lists *lists;
    mep_eval_result results[MOST];
    assert_ok(mep_study_lists_read(&lists, scratch_path(folder), asked));
    const mep_study_settings *all = mep_study_lists_settings(lists);
    assert_int_equal(all->encoding_count, 2);
    assert_ok(mep_study_results(scratch_path(folder), all, results));
    for (int64_t e = 0; e < 2; e++) {
        assert_int_equal(mep_study_encoding_index(scratch_path(folder), ENCODINGS[e]), e);
        for (int64_t l = 0; l < all->length_count; l++)
            assert_int_equal(results[mep_study_index(all, 0, e, 0, l)].tokens, tokens);
    }
    assert_int_equal(mep_study_encoding_index(scratch_path(folder), "rotary"), -1);
    mep_study_lists_free(&lists);
}

/* A study that is asked for something else keeps the results of earlier calls together with the new ones, on the same
 * tokens. */
static void test_union(void **state)
{
    (void)state;
    mep_study_settings first = one_encoding(0), second = one_encoding(1);
    run_study("union", &first);
    watch w = run_study("union", &second);
    assert_int_equal(w.runs_done, 1);
    expect_all("union", &second, 288);
    second.eval.max_tokens = 160; /* other tokens: the first encoding is evaluated again, but not trained */
    w = run_study("union", &second);
    assert_int_equal(w.trained, 0);
    assert_int_equal(w.evaluated, 2 * 2);
    expect_all("union", &second, 160);
    second.length_count = 3; /* one more length, for both */
    watch stopped = {.stop_at = 2};
    assert_int_equal(mep_study_run(scratch_path("union"), &second, look, &stopped), MEP_INTERRUPTED);
    w = run_study("union", &second);
    assert_int_equal(w.trained, 0);
    assert_true(w.evaluated > 0);
    expect_all("union", &second, 160);
    second.length_count = 1; /* the same tokens as with the longer lengths */
    w = run_study("union", &second);
    assert_int_equal(w.trained + w.evaluated, 0);
    expect_all("union", &second, 160);

    /* The runs of a study of a version without lists are found. */
    char *path = NULL, *text = NULL, *lists = NULL;
    int64_t size = 0;
    assert_ok(mep_path_join(&path, scratch_path("union"), "study.json"));
    assert_ok(mep_file_read(path, 1 << 20, &text, &size));
    assert_non_null(lists = strstr(text, ",\n  \"encodings\""));
    snprintf(lists, 4, "\n}\n");
    assert_ok(mep_file_write_atomic(path, text, (int64_t)strlen(text)));
    run_study("union", &second);
    expect_all("union", &second, 160);
    mep_free(&text);
    mep_free(&path);

    static const char *const spaced[] = {"exp:c=0.5+gauss"}; /* the same encoding */
    second.encodings = spaced;
    w = run_study("union", &second);
    assert_int_equal(w.trained + w.evaluated, 0);
}

/* Two spellings of an encoding are one encoding of a study, made in two calls: nothing is trained again, and its
 * results are found by either. */
static void test_spelling(void **state)
{
    (void)state;
    static const char *const spelled[][2] = {{"exp", "1*exp"}, {"exp", "alibi"}, {"exp+gauss", "gauss + 1.0*exp"}};
    for (int i = 0; i < 3; i++) {
        mep_eval_result results[MOST];
        mep_study_lists *all = NULL;
        mep_study_settings s = one_encoding(0);
        char name[32];
        snprintf(name, sizeof name, "spelling%d", i);
        s.encodings = &spelled[i][0];
        watch w = run_study(name, &s);
        assert_int_equal(w.trained, STEPS);
        s.encodings = &spelled[i][1];
        w = run_study(name, &s);
        assert_int_equal(w.trained, 0);
        assert_int_equal(w.evaluated, 0);
        assert_int_equal(w.runs_done, 1);
        assert_ok(mep_study_results(scratch_path(name), &s, results));
        assert_true(results[0].segments > 0);
        assert_int_equal(mep_study_encoding_index(scratch_path(name), spelled[i][1]), 0);
        assert_ok(mep_study_lists_read(&all, scratch_path(name), &s));
        assert_int_equal(mep_study_lists_settings(all)->encoding_count, 1);
        assert_string_equal(mep_study_lists_settings(all)->encodings[0], spelled[i][0]);
        assert_string_equal(mep_study_lists_asked(all)[0], spelled[i][0]);
        mep_study_lists_free(&all);
    }
}

/* What a callback does to the study in its folder at one of its calls. */
typedef struct meddler {
    const mep_study_settings *settings;
    int64_t calls, at;
    char from[MEP_PATH_SIZE], to[MEP_PATH_SIZE], last[MEP_PATH_SIZE];
} meddler;

static int start_again(void *context, const mep_study_progress *p)
{
    meddler *m = context;
    if (m->calls++ != m->at) return 0;
    assert_int_equal(mep_study_run(p->folder, m->settings, NULL, NULL), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), "is being written by process"));
    return 0;
}

static int move_study(void *context, const mep_study_progress *p)
{
    meddler *m = context;
    snprintf(m->last, sizeof m->last, "%s", p->folder);
    if (m->calls++ == m->at) assert_int_equal(rename(m->from, m->to), 0);
    return 0;
}

/* The second of two simultaneous studies in a folder is refused. */
static void test_two_at_once(void **state)
{
    (void)state;
    mep_study_settings s = one_encoding(0);
    for (int64_t at = 0; at < 6; at++) { /* in training, in evaluation and at the end of the run */
        meddler m = {.settings = &s, .at = at};
        char name[32];
        snprintf(name, sizeof name, "at-once-%lld", (long long)at);
        assert_ok(mep_study_run(scratch_path(name), &s, start_again, &m));
        assert_true(m.calls > at);
        assert_ok(mep_study_run(scratch_path(name), &s, NULL, NULL));
    }
}

/* A study that is moved during its work continues in the new location, and nothing appears under its old name. */
static void test_moved(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    mep_eval_result whole[MOST], moved[MOST];
    run_study("unmoved", &s);
    assert_ok(mep_study_results(scratch_path("unmoved"), &s, whole));
    for (int64_t at = 0; at < 9; at++) {
        meddler m = {.at = at};
        snprintf(m.from, sizeof m.from, "%s", scratch_path("moving"));
        snprintf(m.to, sizeof m.to, "%s-%lld", scratch_path("moved"), (long long)at);
        mep_status status = mep_study_run(m.from, &s, move_study, &m);
        if (status != MEP_OK) fail_msg("moved at call %lld: %s", (long long)at, mep_error_message());
        assert_string_equal(m.last, m.to);
        assert_false(mep_folder_exists(m.from));
        assert_ok(mep_study_results(m.to, &s, moved));
        for (int64_t i = 0; i < 8; i++) assert_true(moved[i].segments > 0 && moved[i].loss == whole[i].loss);
    }
}

static void test_corpora(void **state)
{
    (void)state;
    char one[512], two[512], path[MEP_PATH_SIZE];
    snprintf(one, sizeof one, "%s", scratch_path("one"));
    snprintf(two, sizeof two, "%s", scratch_path("two"));
    const char *corpora[] = {one, two};
    mep_eval_result results[MOST];
    mep_study_settings s = small_study();
    s.corpora = corpora;
    s.corpus_count = 2;
    s.encoding_count = 1;
    watch w = run_study("corpora", &s);
    assert_int_equal(w.runs_done, 4);
    assert_ok(mep_study_results(scratch_path("corpora"), &s, results));
    double first = results[mep_study_index(&s, 0, 0, 0, 0)].loss,
           second = results[mep_study_index(&s, 1, 0, 0, 0)].loss;
    assert_true(first > 0 && second > 0 && first != second);
    assert_ok(mep_study_run_folder("f", &s, 1, 0, 1, path));
    assert_string_equal(path, "f/two/alibi-seed8");
    assert_ok(mep_study_corpus_folder("f", &s, 0, path));
    assert_string_equal(path, "f/one");
    /* indices outside of the lists */
    mep_train_settings run;
    mep_measure measure;
    assert_int_equal(mep_study_corpus_folder("f", &s, 2, path), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_study_run_folder("f", &s, 0, 1, 0, path), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_study_run_settings(&s, 0, 0, -1, &run), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "no seed number -1"));
    assert_int_equal(mep_study_measure(scratch_path("corpora"), &s, -1, 0, 0, "copy", &measure), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_study_measure(scratch_path("corpora"), &s, 0, 5, 0, "copy", &measure), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_study_index(&s, 0, 1, 0, 0), -1);
    s.corpus_count = 1;
    expect_failure("corpora", &s, "also has the corpus \"two\"");
    assert_ok(mep_study_run_folder("f", &s, 0, 0, 0, path));
    assert_string_equal(path, "f/alibi-seed7");
    corpora[1] = one;
    s.corpus_count = 2;
    expect_failure("corpora", &s, "two corpora are called \"one\"");
}

static void test_other_settings(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    s.encoding_count = 1;
    run_study("fixed", &s);
    s.train.learning_rate = 0.004;
    expect_failure("fixed", &s, "study.json: was made with learning_rate 0.002, now it is 0.004");
    s = small_study();
    s.train.model.hidden_size = 32;
    expect_failure("fixed", &s, "was made with hidden_size 16, now it is 32");
    s = small_study();
    s.train.dtype = MEP_BFLOAT16;
    expect_failure("fixed", &s, "was made with dtype \"float32\", now it is \"bfloat16\"");

    s = small_study();
    snprintf(s.train.init, sizeof s.train.init, "elsewhere");
    expect_failure("fixed", &s, "study.json: was made with init \"\", now it is \"elsewhere\"");

    /* A run that does not belong to the study. */
    char path[MEP_PATH_SIZE], other[MEP_PATH_SIZE];
    s = small_study();
    assert_ok(mep_study_run_folder(scratch_path("fixed"), &s, 0, 1, 0, path));
    assert_ok(mep_study_run_folder(scratch_path("fixed"), &s, 0, 0, 1, other));
    assert_int_equal(rename(other, path), 0);
    expect_failure("fixed", &s, "was made with the seed 8");

    /* The data changes. */
    char changing[512];
    const char *corpora[] = {changing};
    snprintf(changing, sizeof changing, "%s", scratch_path("changing"));
    s = small_study();
    s.corpora = corpora;
    s.encoding_count = s.seed_count = 1;
    write_dataset(scratch_path("changing.train"), 5);
    write_dataset(scratch_path("changing.valid"), 6);
    run_study("changed", &s);
    write_dataset(scratch_path("changing.valid"), 7);
    expect_failure("changed", &s, "the data of \"changing\" has changed");
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const twice[] = {"alibi", "alibi"}, *const spaced[] = {"exp+gauss", "exp + gauss"},
                             *const wrong[] = {"alibie"};
    static const uint64_t same[] = {1, 1};
    static const int64_t lengths[] = {8, 8}, zero[] = {0}, longer[] = {TOKENS + 1};
    char nowhere[512];
    const char *missing[] = {nowhere};
    snprintf(nowhere, sizeof nowhere, "%s", scratch_path("missing"));
    mep_study_settings s = small_study();
    s.encodings = twice;
    expect_failure("none", &s, "share the folder alibi");
    s.encodings = spaced;
    expect_failure("none", &s, "share the folder exp+gauss");
    static const char *const spelled[][2] = {{"exp+gauss", "gauss + exp"},
                                             {"exp + gauss", "0.5*gauss+0.5*exp"},
                                             {"alibi", "exp"},
                                             {"mep", "exp + exp_half + gauss"}};
    for (int i = 0; i < 4; i++) {
        s.encodings = spelled[i];
        expect_failure("none", &s, "are the same; leave one out");
        assert_non_null(strstr(mep_error_message(), spelled[i][0]));
        assert_non_null(strstr(mep_error_message(), spelled[i][1]));
    }
    s.encodings = wrong;
    s.encoding_count = 1;
    expect_failure("none", &s, "alibie");
    s.encoding_count = 0;
    expect_failure("none", &s, "at least one corpus, encoding, seed and length");
    s = small_study();
    s.seeds = same;
    expect_failure("none", &s, "the seed 1 is given twice");
    s = small_study();
    s.lengths = lengths;
    expect_failure("none", &s, "the test length 8 is given twice");
    s.lengths = zero;
    s.length_count = 1;
    expect_failure("none", &s, "the test length 0 is too small");
    s.lengths = longer;
    s.eval.max_tokens = 0;
    expect_failure("none", &s, "one.valid: 3000 tokens to evaluate on are too few for the length 3001");
    s = small_study();
    s.train.length = s.train.model.max_position_embeddings = 2 * TOKENS;
    expect_failure("none", &s, "one.train: has 3001 tokens, but a sequence of length 6000 needs");
    s = small_study();
    s.train.model.vocab_size = 100; /* the end-of-document token is 256 */
    expect_failure("none", &s, "one.train: has tokens up to 256");
    s = small_study();
    s.train.model.num_attention_heads = 3;
    expect_failure("none", &s, "num_attention_heads");
    s = small_study();
    s.corpora = missing;
    expect_failure("none", &s, "missing.train");
    assert_false(mep_folder_exists(scratch_path("none")));
}

static mep_status usable(void)
{
    return MEP_OK;
}

/* Attention of a device that supports heads of 8 channels only. */
static mep_status make_plan(mep_attention_plan **plan, const mep_attention_settings *settings)
{
    static int place;
    *plan = (mep_attention_plan *)&place;
    return settings->head_dim == 8 ? MEP_OK : mep_fail(MEP_ERROR_UNSUPPORTED, "heads of 8 channels, please");
}

static void forget_plan(mep_attention_plan **plan)
{
    *plan = NULL;
}

static mep_status take_terms(mep_attention_plan *plan, const mep_attention_terms *terms)
{
    (void)plan, (void)terms;
    return MEP_OK;
}

/* A study keeps its device, which is checked before its folder is created. A study.json without a device means the CPU.
 */
static void test_device(void **state)
{
    (void)state;
    const mep_device_memory fake = {.check = usable};
    const mep_attention_backend attention = {.create = make_plan, .destroy = forget_plan, .set_terms = take_terms};
    const mep_backend kept = cuda_row;
    mep_study_settings s = small_study();
    s.encoding_count = s.seed_count = 1;
    s.train.dtype = s.eval.dtype = MEP_BFLOAT16;
    run_study("on_cpu", &s);
    s.train.device = MEP_DEVICE_CUDA;
    assert_int_equal(mep_study_run(scratch_path("on_cuda"), &s, NULL, NULL), MEP_ERROR_UNSUPPORTED);
    assert_false(mep_folder_exists(scratch_path("on_cuda")));
    cuda_row.missing = NULL, cuda_row.memory = &fake, cuda_row.attention = &attention;
    s.train.model.num_attention_heads = 4; /* of 4 channels */
    assert_int_equal(mep_study_run(scratch_path("on_cuda"), &s, NULL, NULL), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "heads of 8 channels"));
    assert_false(mep_folder_exists(scratch_path("on_cuda")));
    s.train.model.num_attention_heads = 2;
    expect_failure("on_cpu", &s, "study.json: was made with device \"cpu\", now it is \"cuda\"");
    s.eval.device = MEP_DEVICE_CUDA, s.eval.dtype = MEP_FLOAT32;
    expect_failure("on_cpu", &s, "bfloat16, not in float32");

    /* only one of its runs was moved */
    char run[MEP_PATH_SIZE];
    s = small_study();
    s.encoding_count = s.seed_count = 1;
    s.train.dtype = s.eval.dtype = MEP_BFLOAT16;
    assert_ok(mep_study_run_folder(scratch_path("on_cpu"), &s, 0, 0, 0, run));
    assert_ok(mep_train_set_device(run, MEP_DEVICE_CUDA));
    expect_failure("on_cpu", &s, "was made with device \"cuda\", now it is \"cpu\"");
    cuda_row = kept;
}

/* A damaged eval.json is an error that names the file. */
static void test_damaged(void **state)
{
    (void)state;
    char run[MEP_PATH_SIZE];
    char *path = NULL;
    mep_eval_result results[MOST];
    mep_study_settings s = small_study();
    s.encoding_count = s.seed_count = 1;
    run_study("damaged", &s);
    assert_ok(mep_study_run_folder(scratch_path("damaged"), &s, 0, 0, 0, run));
    assert_ok(mep_path_join(&path, run, "eval.json"));
    assert_ok(mep_file_write_atomic(path, "{\"results\": ", 12));
    assert_int_equal(mep_study_results(scratch_path("damaged"), &s, results), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "eval.json"));
    expect_failure("damaged", &s, "eval.json");
    assert_ok(mep_file_write_atomic(path, "{}", 2)); /* other settings: evaluated again */
    watch w = run_study("damaged", &s);
    assert_int_equal(w.trained, 0);
    assert_int_equal(w.evaluated, 2);
    mep_free(&path);
}

/* An unknown key in a file of a study is refused by name. */
static void test_unknown_keys(void **state)
{
    (void)state;
    static const struct {
        const char *file, *key, *other;
    } flips[] = {{"study.json", "\"init\"", "\"inid\""},
                 {"study.json", "\"beta1\"", "\"beta3\""},
                 {"alibi-seed7/eval.json", "\"stride\"", "\"strife\""},
                 {"alibi-seed7/eval.json", "\"loss\"", "\"lost\""},
                 {"alibi-seed7/train.json", "\"init\"", "\"inid\""}};
    mep_study_settings s = small_study();
    s.encoding_count = s.seed_count = 1;
    run_study("keys", &s);
    for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
        char path[MEP_PATH_SIZE], *text = NULL, *changed = NULL, *at = NULL;
        int64_t size = 0;
        snprintf(path, sizeof path, "%s/%s", scratch_path("keys"), flips[i].file);
        assert_ok(mep_file_read(path, 1 << 20, &text, &size));
        assert_ok(mep_copy_string(&changed, text));
        assert_non_null(at = strstr(changed, flips[i].key));
        memcpy(at, flips[i].other, strlen(flips[i].other));
        assert_ok(mep_file_write_atomic(path, changed, size));
        char name[32] = "";
        snprintf(name, sizeof name, "%.*s", (int)strlen(flips[i].other) - 2, flips[i].other + 1);
        expect_failure("keys", &s, i == 1 ? "beta1" : name);
        assert_ok(mep_file_write_atomic(path, text, size));
        mep_free(&text);
        mep_free(&changed);
    }
    run_study("keys", &s);
}

static void test_summary(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    mep_eval_result results[12];
    mep_study_cell cells[6];
    s.encoding_count = 3;
    memset(results, 0, sizeof results);
    /* encoding 0: 3 and 5, then 7; encoding 1: 4 and 4.5, nothing; encoding 2: infinite */
    const double given[3][2][2] = {{{3, 7}, {5, 0}}, {{4, 0}, {4.5, 0}}, {{INFINITY, INFINITY}, {4, INFINITY}}};
    for (int64_t e = 0; e < 3; e++)
        for (int64_t n = 0; n < 2; n++)
            for (int64_t l = 0; l < 2; l++) {
                mep_eval_result *r = &results[mep_study_index(&s, 0, e, n, l)];
                r->perplexity = given[e][n][l];
                r->segments = given[e][n][l] > 0;
            }
    mep_study_summarize(&s, results, 0, cells);
    assert_int_equal(cells[0].seeds, 2);
    assert_true(fabs(cells[0].mean - 4) <= 1e-15 && fabs(cells[0].deviation - sqrt(2)) <= 1e-15 && cells[0].best);
    assert_true(cells[1].seeds == 1 && cells[1].mean == 7 && isnan(cells[1].deviation) && cells[1].best);
    assert_true(fabs(cells[2].mean - 4.25) <= 1e-15 && !cells[2].best);
    assert_true(cells[3].seeds == 0 && isnan(cells[3].mean) && !cells[3].best);
    assert_true(isinf(cells[4].mean) && !cells[4].best && isinf(cells[5].mean) && !cells[5].best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),  cmocka_unit_test(test_continue),     cmocka_unit_test(test_grow),
        cmocka_unit_test(test_corpora),  cmocka_unit_test(test_refusals),     cmocka_unit_test(test_other_settings),
        cmocka_unit_test(test_damaged),  cmocka_unit_test(test_unknown_keys), cmocka_unit_test(test_union),
        cmocka_unit_test(test_spelling), cmocka_unit_test(test_two_at_once),  cmocka_unit_test(test_moved),
        cmocka_unit_test(test_summary),  cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, make_data, remove_data);
}
