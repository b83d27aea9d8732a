/* SPDX-License-Identifier: MIT */
/*
 * The passkey: five digits hidden in text of the data, asked for at the end. Each trial is two segments, which differ
 * in the answer alone: the key, and another one in which every digit is wrong. The likeliest tokens of the first
 * segment are the key exactly where greedy decoding writes the key, because each is chosen after the key's tokens
 * before it.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/random.h"
#include "eval/scorer.h"
#include "tokenizer/tokenizer.h"

enum { DIGITS = 5, TEXT = 128 };

#define HIDDEN " The pass key is %s. Remember it. %s is the pass key."
#define QUESTION " What is the pass key? The pass key is"

typedef struct tokens {
    int32_t *values;
    int64_t count;
} tokens;

typedef struct trial {
    tokens hidden, answer[2]; /* the key, and the wrong one */
    int64_t filler;           /* tokens of other text */
    int64_t start;            /* first of them in the data */
} trial;

typedef struct passkey {
    const mep_measure_call *call;
    double depth;
    mep_tokenizer *tokenizer;
    tokens question;
    trial *trials;                 /* [samples] */
    int64_t answers;               /* the most tokens that a key has */
    int32_t *text;                 /* [length + 1] */
    double *exact, *saved, *right; /* [samples]; `right` is the loss on the key */
} passkey;

/* ---- Trials ---- */

static mep_status encode(const passkey *p, const char *text, tokens *t)
{
    return mep_tokenizer_encode_rest(p->tokenizer, text, (int64_t)strlen(text), &t->values, &t->count);
}

/* The key of a trial, and one with other digits in all places. */
static void draw_keys(const passkey *p, int64_t index, char key[DIGITS + 1], char wrong[DIGITS + 1])
{
    uint64_t stream = mep_random_stream("passkey"), seed = p->call->settings->seed;
    for (int i = 0; i < DIGITS; i++) {
        uint64_t place = 2 * (uint64_t)(index * DIGITS + i);
        uint64_t digit = mep_random_bits(seed, stream, place) % 10;
        key[i] = (char)('0' + (int)digit);
        wrong[i] = (char)('0' + (int)((digit + 1 + mep_random_bits(seed, stream, place + 1) % 9) % 10));
    }
    key[DIGITS] = wrong[DIGITS] = '\0';
}

/* Draw the two keys of a trial, encode its texts, and choose the text around them. */
static mep_status make_trial(passkey *p, int64_t index)
{
    char key[2][DIGITS + 1], text[TEXT];
    trial *t = &p->trials[index];
    draw_keys(p, index, key[0], key[1]);
    snprintf(text, sizeof text, HIDDEN, key[0], key[0]);
    MEP_TRY(encode(p, text, &t->hidden));
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, " %s", key[i]);
        MEP_TRY(encode(p, text, &t->answer[i]));
    }
    int64_t answer = max_i64(t->answer[0].count, t->answer[1].count), length = p->call->settings->length;
    int64_t needed = t->hidden.count + p->question.count + answer - 1, count = mep_measure_tokens(p->call);
    p->answers = max_i64(p->answers, answer);
    t->filler = length - needed;
    if (t->filler < 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the length %lld is shorter than the passkey's own text of %lld tokens; use longer lengths",
                        (long long)length, (long long)needed);
    if (t->filler > count)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens, too few to hide a passkey in %lld; use shorter lengths or more text",
                        (long long)count, (long long)t->filler);
    uint64_t bits = mep_random_bits(p->call->settings->seed, mep_random_stream("passkey text"), (uint64_t)index);
    t->start = (int64_t)(bits % (uint64_t)(count - t->filler + 1));
    return MEP_OK;
}

/* ---- Segments ---- */

static void append(int32_t **at, const tokens *t)
{
    memcpy(*at, t->values, (size_t)t->count * sizeof **at);
    *at += t->count;
}

/* Compose a segment (a mep_scorer.read): trial segment / 2, and after the question its right key or, for odd segments,
 * the other key. */
static mep_status read(void *context, int64_t segment, int32_t *inputs, int32_t *targets, int64_t *answers)
{
    passkey *p = context;
    const trial *t = &p->trials[segment / 2];
    const tokens *answer = &t->answer[segment % 2];
    int64_t length = p->call->settings->length, before = (int64_t)(p->depth * (double)t->filler + 0.5);
    int32_t *at = p->text;
    MEP_TRY(mep_dataset_read(p->call->data, t->start, before, at));
    at += before;
    append(&at, &t->hidden);
    MEP_TRY(mep_dataset_read(p->call->data, t->start + before, t->filler - before, at));
    at += t->filler - before;
    append(&at, &p->question);
    int64_t first = at - p->text;
    append(&at, answer);
    while (at < p->text + length + 1) *at++ = answer->values[0]; /* after a shorter key; not scored */
    for (int64_t i = 0; i < p->answers; i++) answers[i] = min_i64(first - 1 + i, length - 1);
    for (int64_t i = 0; i < length; i++) {
        inputs[i] = p->text[i];
        targets[i] = p->text[i + 1];
    }
    return MEP_OK;
}

/* Score a segment (a mep_scorer.take): the loss of its key and, for the right key, whether each token is the likeliest.
 */
static void take(void *context, int64_t segment, const float *losses, const int32_t *likeliest)
{
    passkey *p = context;
    int64_t index = segment / 2;
    const trial *t = &p->trials[index];
    const tokens *answer = &t->answer[segment % 2];
    double loss = 0;
    int is_exact = 1;
    for (int64_t i = 0; i < answer->count; i++) {
        loss += (double)losses[i];
        is_exact &= likeliest[i] == answer->values[i];
    }
    if (segment % 2 == 0) {
        p->exact[index] = is_exact;
        p->right[index] = loss;
    } else {
        p->saved[index] = loss - p->right[index];
    }
}

/* ---- The measure ---- */

/* Every digit must come back from its tokens. */
static mep_status check_digits(const passkey *p)
{
    for (char digit[2] = "0"; digit[0] <= '9'; digit[0]++) {
        tokens t = {0};
        char found[TEXT] = "";
        size_t used = 0;
        MEP_TRY(encode(p, digit, &t));
        for (int64_t i = 0; i < t.count; i++) {
            const char *text = NULL;
            int64_t size = 0;
            if (mep_tokenizer_decode(p->tokenizer, t.values[i], &text, &size) != MEP_OK) continue;
            if (used + (size_t)size < sizeof found) memcpy(found + used, text, (size_t)size);
            used += (size_t)size;
        }
        mep_tokens_free(&t.values);
        if (used != 1 || found[0] != digit[0])
            return mep_fail(MEP_ERROR_ARGUMENT, "the tokenizer %s has no token for the digit %s; the passkey needs all",
                            mep_tokenizer_name(p->tokenizer), digit);
    }
    return MEP_OK;
}

static mep_status open_tokenizer(passkey *p)
{
    const char *name = mep_dataset_tokenizer(p->call->data);
    if (name[0] == '\0')
        return mep_fail(MEP_ERROR_ARGUMENT, "the dataset does not name its tokenizer, which the passkey's text needs; "
                                            "prepare the text with mep prepare");
    MEP_TRY(mep_tokenizer_open(&p->tokenizer, name));
    MEP_TRY(check_digits(p));
    return encode(p, QUESTION, &p->question);
}

static mep_status open_measure(passkey *p)
{
    const mep_measure_settings *s = p->call->settings;
    if (!(p->depth >= 0 && p->depth <= 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "the depth of a passkey must be from 0 to 1, found %g", p->depth);
    MEP_TRY(mep_measure_check(p->call));
    MEP_TRY(open_tokenizer(p));
    MEP_TRY(MEP_ALLOC(&p->trials, s->samples));
    MEP_TRY(MEP_ALLOC(&p->text, s->length + 1));
    MEP_TRY(MEP_ALLOC(&p->exact, s->samples));
    MEP_TRY(MEP_ALLOC(&p->saved, s->samples));
    MEP_TRY(MEP_ALLOC(&p->right, s->samples));
    for (int64_t i = 0; i < s->samples; i++) MEP_TRY(make_trial(p, i));
    return MEP_OK;
}

static void close_measure(passkey *p)
{
    for (int64_t i = 0; p->trials != NULL && i < p->call->settings->samples; i++) {
        mep_tokens_free(&p->trials[i].hidden.values);
        for (int k = 0; k < 2; k++) mep_tokens_free(&p->trials[i].answer[k].values);
    }
    mep_tokens_free(&p->question.values);
    mep_tokenizer_destroy(&p->tokenizer);
    mep_free(&p->trials);
    mep_free(&p->text);
    mep_free(&p->exact);
    mep_free(&p->saved);
    mep_free(&p->right);
}

static mep_status run(passkey *p, mep_measure_draft *draft)
{
    const mep_measure_settings *s = p->call->settings;
    const mep_scorer scorer = {.call = p->call,
                               .what = "the passkey task",
                               .length = s->length,
                               .segments = 2 * s->samples,
                               .answers = p->answers,
                               .read = read,
                               .take = take,
                               .context = p};
    MEP_TRY(mep_scorer_run(&scorer));
    MEP_TRY(mep_measure_add_samples(draft, "exact", p->depth, p->exact, s->samples));
    return mep_measure_add_samples(draft, "saved", p->depth, p->saved, s->samples);
}

mep_status mep_measure_passkey(const mep_measure_call *call, double depth, mep_measure *measure)
{
    mep_measure_call own;
    MEP_REQUIRE(call, measure);
    MEP_TRY(mep_measure_open(&own, call, MEP_MEASURE_LOSSES));
    passkey p = {.call = &own, .depth = depth};
    mep_measure_draft draft;
    MEP_TRY(mep_measure_begin(&draft, measure, "passkey", "depth", own.settings->length));
    mep_status status = mep_dist_agree(own.group, open_measure(&p));
    if (status == MEP_OK && !own.check_only) status = run(&p, &draft);
    close_measure(&p);
    return mep_measure_end(&draft, status, measure);
}
