/* SPDX-License-Identifier: MIT */
/*
 * Mixtures of datasets: their names and weights, the turns they take, and evaluation.
 */
#include "train/mixture.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/random.h"

/* ---- Names and weights ---- */

/* The next "PREFIX=WEIGHT" of a list: the '=' that ends the prefix, and the weight. NULL where there is none. */
static const char *find_weight(const char *text, double *weight, const char **end)
{
    for (const char *equals = strchr(text, '='); equals != NULL; equals = strchr(equals + 1, '=')) {
        char *behind = NULL;
        *weight = mep_number_parse(equals + 1, &behind);
        if (behind == equals + 1 || (*behind != ',' && *behind != '\0')) continue;
        *end = behind;
        return equals;
    }
    return NULL;
}

static mep_status add_corpus(mep_mixture *m, const char *name, int length, double weight)
{
    if (m->count == MEP_MIXTURE_MOST)
        return mep_fail(MEP_ERROR_ARGUMENT, "a mixture of more than %d corpora; merge some of them", MEP_MIXTURE_MOST);
    if (length == 0 || !(weight > 0) || !isfinite(weight))
        return mep_fail(MEP_ERROR_ARGUMENT, "\"%.*s=%g\": a corpus of a mixture needs a prefix and a weight above 0",
                        length, name, weight);
    MEP_TRY(mep_format(&m->names[m->count], "%.*s", length, name));
    m->weights[m->count++] = weight;
    return MEP_OK;
}

/* A spec without a weight is one prefix, whatever characters it has. */
static mep_status parse(mep_mixture *m, const char *spec)
{
    const char *last = strrchr(spec, '='), *end = spec;
    double weight = 1, sum = 0;
    if (last == NULL || find_weight(last, &weight, &end) == NULL) {
        if (last != NULL && find_weight(spec, &weight, &end) != NULL) /* another corpus of it has one */
            return mep_fail(MEP_ERROR_ARGUMENT, "\"%s\": \"%s\" is not a weight; write PREFIX=WEIGHT,PREFIX=WEIGHT",
                            spec, last + 1);
        return add_corpus(m, spec, (int)strlen(spec), 1);
    }
    for (const char *at = spec; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        const char *equals = find_weight(at, &weight, &end);
        if (equals == NULL)
            return mep_fail(MEP_ERROR_ARGUMENT, "\"%s\": \"%s\" has no weight; write PREFIX=WEIGHT,PREFIX=WEIGHT", spec,
                            at);
        MEP_TRY(add_corpus(m, at, (int)(equals - at), weight));
        sum += weight;
    }
    for (int64_t i = 0; i < m->count; i++) {
        m->weights[i] /= sum;
        if (!(m->weights[i] > 0)) /* their sum is infinite, or this one nothing beside it */
            return mep_fail(MEP_ERROR_ARGUMENT, "\"%s\": the weights are too large or too far apart", spec);
    }
    return MEP_OK;
}

mep_status mep_mixture_parse(mep_mixture *m, const char *spec)
{
    *m = (mep_mixture){0};
    mep_status status = parse(m, spec);
    if (status != MEP_OK) mep_mixture_close(m);
    return status;
}

/* The spec with names cut before their last slash and a suffix; weights as they were written. */
static mep_status rename_all(const char *spec, int without_folders, const char *suffix, char out[MEP_DATA_SIZE])
{
    mep_mixture m;
    int used = 0;
    const char *at = spec;
    MEP_TRY(mep_mixture_parse(&m, spec));
    for (int64_t i = 0; i < m.count && used < MEP_DATA_SIZE; i++) {
        const char *slash = without_folders ? strrchr(m.names[i], '/') : NULL;
        const char *weight = at + strlen(m.names[i]), *comma = strchr(weight, ',');
        int length = comma != NULL && i + 1 < m.count ? (int)(comma - weight) + 1 : (int)strlen(weight);
        used += snprintf(out + used, (size_t)(MEP_DATA_SIZE - used), "%s%s%.*s", slash != NULL ? slash + 1 : m.names[i],
                         suffix, length, weight);
        at = weight + length;
    }
    mep_mixture_close(&m);
    if (used < MEP_DATA_SIZE) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the names of the data are longer than %d characters", MEP_DATA_SIZE - 1);
}

mep_status mep_mixture_append(const char *spec, const char *suffix, char out[MEP_DATA_SIZE])
{
    return rename_all(spec, 0, suffix, out);
}

mep_status mep_mixture_title(const char *spec, char out[MEP_DATA_SIZE])
{
    return rename_all(spec, 1, "", out);
}

/* ---- Opening ---- */

mep_status mep_mixture_open(mep_mixture *m, const char *spec, const char *split, mep_split part)
{
    const char *shares = split != NULL && split[0] != '\0' ? split : NULL;
    MEP_TRY(mep_mixture_parse(m, spec));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < m->count && status == MEP_OK; i++)
        status = mep_dataset_open_split(&m->data[i], m->names[i], shares, part);
    if (status == MEP_OK) status = mep_mixture_check_tokenizers(m, m);
    if (status != MEP_OK) mep_mixture_close(m);
    return status;
}

void mep_mixture_close(mep_mixture *m)
{
    for (int64_t i = 0; i < m->count; i++) {
        mep_dataset_close(&m->data[i]);
        mep_free(&m->names[i]);
    }
    mep_free(&m->turn);
    mep_free(&m->before);
    *m = (mep_mixture){0};
}

mep_status mep_mixture_verify(const mep_mixture *m)
{
    for (int64_t i = 0; i < m->count; i++) MEP_TRY(mep_dataset_verify(m->data[i]));
    return MEP_OK;
}

mep_status mep_mixture_open_train(mep_mixture *m, const mep_train_settings *s)
{
    return mep_mixture_open(m, s->data, s->split, MEP_SPLIT_TRAIN);
}

mep_status mep_mixture_open_valid(mep_mixture *m, const mep_train_settings *s)
{
    *m = (mep_mixture){0};
    if (s->valid[0] != '\0') return mep_mixture_open(m, s->valid, NULL, MEP_SPLIT_VALID);
    return mep_train_has_valid(s) ? mep_mixture_open(m, s->data, s->split, MEP_SPLIT_VALID) : MEP_OK;
}

static mep_status check_pair(const mep_dataset *a, const char *a_name, const mep_dataset *b, const char *b_name)
{
    mep_tokenizer *x = NULL, *y = NULL;
    const char *first = mep_dataset_tokenizer(a), *second = mep_dataset_tokenizer(b);
    if (a == b || first[0] == '\0' || second[0] == '\0') return MEP_OK;
    mep_status status = mep_tokenizer_open(&x, first);
    if (status == MEP_OK) status = mep_tokenizer_open(&y, second);
    if (status == MEP_OK && !mep_tokenizer_equal(x, y))
        status = mep_fail(MEP_ERROR_ARGUMENT,
                          "%s and %s: were prepared with two tokenizers, %s and %s; prepare both with the same", a_name,
                          b_name, first, second);
    mep_tokenizer_destroy(&x);
    mep_tokenizer_destroy(&y);
    return status;
}

mep_status mep_mixture_check_tokenizers(const mep_mixture *a, const mep_mixture *b)
{
    for (int64_t i = 0; i < b->count; i++) MEP_TRY(check_pair(a->data[0], a->names[0], b->data[i], b->names[i]));
    return MEP_OK;
}

/* ---- Turns ---- */

/* Whole shares of a period, as near to the weights as such can be: rounded down, and what is missing to those that lost
 * most by it. */
static mep_status set_shares(mep_mixture *m)
{
    int32_t given = 0;
    double lost[MEP_MIXTURE_MOST];
    for (int64_t i = 0; i < m->count; i++) {
        double exact = m->weights[i] * MEP_MIXTURE_PERIOD;
        m->share[i] = (int32_t)exact;
        lost[i] = exact - m->share[i];
        given += m->share[i];
    }
    for (; given < MEP_MIXTURE_PERIOD; given++) {
        int64_t most = 0;
        for (int64_t i = 1; i < m->count; i++)
            if (lost[i] > lost[most]) most = i;
        m->share[most]++;
        lost[most] -= 1;
    }
    for (int64_t i = 0; i < m->count; i++)
        if (m->share[i] == 0)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: its weight is less than 1/%d of the mixture; leave it out",
                            m->names[i], MEP_MIXTURE_PERIOD);
    return MEP_OK;
}

/* How far a corpus that has had `taken` of its sequences lags behind its share after n of all, times the period. */
static int64_t lag(const mep_mixture *m, int64_t corpus, int64_t n, int32_t taken)
{
    return m->share[corpus] * n - (int64_t)taken * MEP_MIXTURE_PERIOD;
}

static void take_turns(mep_mixture *m)
{
    int32_t taken[MEP_MIXTURE_MOST] = {0};
    for (int64_t n = 0; n < MEP_MIXTURE_PERIOD; n++) {
        int64_t next = 0, at = n > 0 ? n : 1; /* the first turn is that of the largest share */
        for (int64_t i = 1; i < m->count; i++)
            if (lag(m, i, at, taken[i]) > lag(m, next, at, taken[next])) next = i;
        m->turn[n] = (uint8_t)next;
        m->before[n] = taken[next]++;
    }
}

mep_status mep_mixture_order(mep_mixture *m, int64_t length, uint64_t seed)
{
    for (int64_t i = 0; i < m->count; i++) {
        uint64_t own = i == 0 ? seed : mep_random_bits(seed, mep_random_stream("corpus"), (uint64_t)i);
        MEP_TRY(mep_sampler_init(&m->samplers[i], m->data[i], m->names[i], length, own));
    }
    if (m->count < 2) return MEP_OK;
    MEP_TRY(set_shares(m));
    MEP_TRY(mep_alloc(&m->turn, MEP_MIXTURE_PERIOD, sizeof *m->turn));
    MEP_TRY(mep_alloc(&m->before, MEP_MIXTURE_PERIOD, sizeof *m->before));
    take_turns(m);
    return MEP_OK;
}

int64_t mep_mixture_place(const mep_mixture *m, int64_t index, int64_t *before)
{
    if (m->count == 1) {
        *before = index;
        return 0;
    }
    int64_t period = index / MEP_MIXTURE_PERIOD, n = index % MEP_MIXTURE_PERIOD, corpus = m->turn[n];
    *before = period * m->share[corpus] + m->before[n];
    return corpus;
}

mep_status mep_mixture_read(const mep_mixture *m, int64_t index, int32_t *inputs, int32_t *targets)
{
    int64_t before = 0, corpus = mep_mixture_place(m, index, &before);
    return mep_sampler_read(&m->samplers[corpus], before, inputs, targets);
}

/* ---- Questions ---- */

int64_t mep_mixture_tokens(const mep_mixture *m)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < m->count; i++) sum += mep_dataset_tokens(m->data[i]);
    return sum;
}

int64_t mep_mixture_documents(const mep_mixture *m)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < m->count; i++) sum += mep_dataset_documents(m->data[i]);
    return sum;
}

int64_t mep_mixture_least_tokens(const mep_mixture *m)
{
    int64_t least = mep_dataset_tokens(m->data[0]);
    for (int64_t i = 1; i < m->count; i++)
        if (mep_dataset_tokens(m->data[i]) < least) least = mep_dataset_tokens(m->data[i]);
    return least;
}

int64_t mep_mixture_vocab_size(const mep_mixture *m)
{
    int64_t most = 0;
    for (int64_t i = 0; i < m->count; i++)
        if (mep_dataset_vocab_size(m->data[i]) > most) most = mep_dataset_vocab_size(m->data[i]);
    return most;
}

void mep_mixture_checksums(const mep_mixture *m, char text[MEP_MIXTURE_CHECKSUMS])
{
    int used = 0;
    snprintf(text, MEP_MIXTURE_CHECKSUMS, "%016d", 0);
    for (int64_t i = 0; i < m->count; i++)
        used += snprintf(text + used, (size_t)(MEP_MIXTURE_CHECKSUMS - used), "%s%016" PRIx64, i > 0 ? "," : "",
                         mep_dataset_checksum(m->data[i]));
}

/* ---- Evaluation ---- */

typedef struct evaluation {
    mep_eval_fn progress;
    void *context;
    const mep_mixture *mixture;
    const mep_eval_result *sum;
    int64_t corpus, done; /* tokens of the corpora before */
    double weight;        /* of the corpora before */
} evaluation;

/* The total is a guess as long as there are corpora to come. */
static int report(void *context, int64_t done, int64_t total, double loss)
{
    const evaluation *e = context;
    double weight = isnan(loss) ? 0 : e->mixture->weights[e->corpus]; /* NaN: no batch of this corpus is done */
    double sum = e->sum->loss + (isnan(loss) ? 0 : weight * loss), mean = sum / (e->weight + weight);
    return e->progress(e->context, e->done + done, e->done + total * (e->mixture->count - e->corpus), mean);
}

mep_status mep_mixture_evaluate(mep_dist *group, int split, mep_model *model, const mep_mixture *m,
                                const mep_eval_settings *settings, mep_eval_fn progress, void *context,
                                mep_eval_result *result, mep_eval_result *each)
{
    mep_eval_result sum = {.length = settings->length};
    evaluation e = {progress, context, m, &sum, 0, 0, 0};
    double variance = 0;
    if (m->count == 1) {
        mep_status status = mep_evaluate_in(group, split, model, m->data[0], settings, progress, context, result);
        if (status == MEP_OK && each != NULL) each[0] = *result;
        return status;
    }
    for (; e.corpus < m->count; e.corpus++) {
        mep_eval_result one = {0};
        double weight = m->weights[e.corpus];
        mep_status status = mep_evaluate_in(group, split, model, m->data[e.corpus], settings,
                                            progress != NULL ? report : NULL, &e, &one);
        if (status == MEP_INTERRUPTED) return status;
        if (status != MEP_OK) return mep_fail_in(status, "%s: ", m->names[e.corpus]);
        if (each != NULL) each[e.corpus] = one;
        double deviation = weight * one.standard_error / one.perplexity; /* of the mean loss */
        variance += deviation * deviation;
        sum.loss += weight * one.loss;
        sum.segments += one.segments;
        sum.tokens += one.tokens;
        sum.seconds += one.seconds;
        e.done += one.segments * settings->length;
        e.weight += weight;
    }
    sum.perplexity = exp(sum.loss);
    sum.standard_error = sum.perplexity * sqrt(variance);
    *result = sum;
    return MEP_OK;
}
