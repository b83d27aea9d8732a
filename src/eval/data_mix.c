/* SPDX-License-Identifier: MIT */
/*
 * The names, weights and datasets of a data mix.
 */
#include "eval/data_mix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/number.h"

/* ---- Names and weights ---- */

/* Find the next "PREFIX=WEIGHT" of a list. Returns the '=' that ends the prefix, or NULL if there is none. *end is the
 * end of the weight. */
static const char *find_weight(const char *text, double *weight, const char **end)
{
    for (const char *equals = strchr(text, '='); equals != NULL; equals = strchr(equals + 1, '=')) {
        char *after = NULL;
        *weight = mep_number_parse(equals + 1, &after);
        if (after == equals + 1 || (*after != ',' && *after != '\0')) continue;
        *end = after;
        return equals;
    }
    return NULL;
}

static mep_status add_corpus(mep_data_mix *m, const char *name, int length, double weight)
{
    if (m->count == MEP_DATA_MIX_MOST)
        return mep_fail(MEP_ERROR_ARGUMENT, "a data mix of more than %d corpora; merge some of them",
                        MEP_DATA_MIX_MOST);
    if (length == 0 || !(weight > 0) || !isfinite(weight))
        return mep_fail(MEP_ERROR_ARGUMENT, "\"%.*s=%g\": a corpus of a data mix needs a prefix and a weight above 0",
                        length, name, weight);
    MEP_TRY(mep_format(&m->names[m->count], "%.*s", length, name));
    m->weights[m->count++] = weight;
    return MEP_OK;
}

/* A spec without a weight is one prefix, whatever characters it contains. */
static mep_status parse(mep_data_mix *m, const char *spec)
{
    const char *last = strrchr(spec, '='), *end = spec;
    double weight = 1, sum = 0;
    if (last == NULL || find_weight(last, &weight, &end) == NULL) {
        if (last != NULL && find_weight(spec, &weight, &end) != NULL) /* another corpus has a weight */
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
        if (!(m->weights[i] > 0)) /* the sum is infinite, or this weight vanishes in it */
            return mep_fail(MEP_ERROR_ARGUMENT, "\"%s\": the weights are too large or too far apart", spec);
    }
    return MEP_OK;
}

mep_status mep_data_mix_parse(mep_data_mix **mix, const char *spec)
{
    MEP_TRY(MEP_ALLOC(mix, 1));
    mep_status status = parse(*mix, spec);
    if (status != MEP_OK) mep_data_mix_close(mix);
    return status;
}

/* Write the spec with a suffix after every name, and optionally without the folders. Weights keep their spelling. */
static mep_status rename_all(const char *spec, int without_folders, const char *suffix, char out[MEP_DATA_SIZE])
{
    mep_data_mix *m = NULL;
    int used = 0;
    const char *at = spec;
    MEP_TRY(mep_data_mix_parse(&m, spec));
    for (int64_t i = 0; i < m->count && used < MEP_DATA_SIZE; i++) {
        const char *slash = without_folders ? strrchr(m->names[i], '/') : NULL;
        const char *weight = at + strlen(m->names[i]), *comma = strchr(weight, ',');
        int length = comma != NULL && i + 1 < m->count ? (int)(comma - weight) + 1 : (int)strlen(weight);
        used += snprintf(out + used, (size_t)(MEP_DATA_SIZE - used), "%s%s%.*s",
                         slash != NULL ? slash + 1 : m->names[i], suffix, length, weight);
        at = weight + length;
    }
    mep_data_mix_close(&m);
    if (used < MEP_DATA_SIZE) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the names of the data are longer than %d characters", MEP_DATA_SIZE - 1);
}

mep_status mep_data_mix_append(const char *spec, const char *suffix, char out[MEP_DATA_SIZE])
{
    MEP_REQUIRE(spec, suffix, out);
    return rename_all(spec, 0, suffix, out);
}

mep_status mep_data_mix_title(const char *spec, char out[MEP_DATA_SIZE])
{
    MEP_REQUIRE(spec, out);
    return rename_all(spec, 1, "", out);
}

/* ---- Opening ---- */

mep_status mep_data_mix_open(mep_data_mix **mix, const char *spec, const char *split, mep_split part)
{
    MEP_REQUIRE(mix);
    *mix = NULL;
    MEP_REQUIRE(spec);
    const char *used = split != NULL && split[0] != '\0' ? split : NULL;
    mep_status status = mep_data_mix_parse(mix, spec);
    if (status != MEP_OK) return status;
    mep_data_mix *m = *mix;
    for (int64_t i = 0; i < m->count && status == MEP_OK; i++)
        status = mep_dataset_open_split(&m->data[i], m->names[i], used, part);
    if (status == MEP_ERROR_IO && strchr(spec, ',') != NULL && strchr(spec, '=') == NULL)
        status = mep_fail_in(status, "a data mix has weights, A=0.7,B=0.3: ");
    if (status == MEP_OK) status = mep_data_mix_check_tokenizers(m, m);
    if (status != MEP_OK) mep_data_mix_close(mix);
    return status;
}

mep_status mep_data_mix_empty(mep_data_mix **mix)
{
    return MEP_ALLOC(mix, 1);
}

void mep_data_mix_close(mep_data_mix **mix)
{
    if (mix == NULL || *mix == NULL) return;
    for (int64_t i = 0; i < (*mix)->count; i++) {
        mep_dataset_close(&(*mix)->data[i]);
        mep_free(&(*mix)->names[i]);
    }
    mep_free(mix);
}

mep_status mep_data_mix_verify(const mep_data_mix *m)
{
    MEP_REQUIRE_AS("mix", m);
    for (int64_t i = 0; i < m->count; i++) MEP_TRY(mep_dataset_verify(m->data[i]));
    return MEP_OK;
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
                          "%s and %s: were prepared with two tokenizers, %s and %s; prepare both with the same one",
                          a_name, b_name, first, second);
    mep_tokenizer_destroy(&x);
    mep_tokenizer_destroy(&y);
    return status;
}

mep_status mep_data_mix_check_tokenizers(const mep_data_mix *a, const mep_data_mix *b)
{
    for (int64_t i = 0; i < b->count; i++) MEP_TRY(check_pair(a->data[0], a->names[0], b->data[i], b->names[i]));
    return MEP_OK;
}

/* ---- Corpora, sizes and checksums ---- */

int64_t mep_data_mix_count(const mep_data_mix *m)
{
    return m != NULL ? m->count : 0;
}

static int has_corpus(const mep_data_mix *m, int64_t index)
{
    return m != NULL && index >= 0 && index < m->count;
}

const char *mep_data_mix_name(const mep_data_mix *m, int64_t index)
{
    return has_corpus(m, index) ? m->names[index] : "";
}

double mep_data_mix_weight(const mep_data_mix *m, int64_t index)
{
    return has_corpus(m, index) ? m->weights[index] : 0;
}

const mep_dataset *mep_data_mix_dataset(const mep_data_mix *m, int64_t index)
{
    return has_corpus(m, index) ? m->data[index] : NULL;
}

int64_t mep_data_mix_tokens(const mep_data_mix *m)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < mep_data_mix_count(m); i++) sum += mep_dataset_tokens(m->data[i]);
    return sum;
}

int64_t mep_data_mix_least_tokens(const mep_data_mix *m)
{
    int64_t least = mep_dataset_tokens(mep_data_mix_dataset(m, 0));
    for (int64_t i = 1; i < mep_data_mix_count(m); i++) least = min_i64(least, mep_dataset_tokens(m->data[i]));
    return least;
}

int64_t mep_data_mix_vocab_size(const mep_data_mix *m)
{
    int64_t most = 0;
    for (int64_t i = 0; i < mep_data_mix_count(m); i++) most = max_i64(most, mep_dataset_vocab_size(m->data[i]));
    return most;
}

void mep_data_mix_checksums(const mep_data_mix *m, char text[MEP_DATA_MIX_CHECKSUMS])
{
    int used = 0;
    snprintf(text, MEP_DATA_MIX_CHECKSUMS, "%016d", 0);
    for (int64_t i = 0; i < m->count; i++)
        used += snprintf(text + used, (size_t)(MEP_DATA_MIX_CHECKSUMS - used), "%s%016" PRIx64, i > 0 ? "," : "",
                         mep_dataset_checksum(m->data[i]));
}
