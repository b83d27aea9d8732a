/* SPDX-License-Identifier: MIT */
/*
 * A block divided over processes (threads, here): every value is in one bucket and has one owner, shards consist of
 * complete chunks; gathering, collecting and scattering; gradients are added in pairs, and the first transfers begin
 * before the last gradients are final.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "thread_group.h"
#include "train/reduction.h"

enum { BUCKETS = 2 + 2 + 1 + 1 }; /* embedding, layers, final norm, position bias */

/* A model whose embedding needs several buckets. */
static mep_model *wide_model(void)
{
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = 40000, c.num_hidden_layers = 2, c.tie_word_embeddings = 1;
    snprintf(c.position_encoding, sizeof c.position_encoding, "mep_param");
    assert_int_equal(mep_model_describe(&model, &c), MEP_OK);
    assert_int_equal(mep_model_allocate(model), MEP_OK);
    return model;
}

static void test_cover(void **state)
{
    (void)state;
    mep_model *model = wide_model();
    char *seen = calloc((size_t)model->size, 1);
    for (int64_t size = 1; size <= 5; size++) {
        mep_dist group = {.size = size};
        mep_shards *s;
        int64_t own = 0;
        memset(seen, 0, (size_t)model->size);
        for (group.rank = 0; group.rank < size; group.rank++) {
            assert_int_equal(mep_shards_create(&s, model, &group), MEP_OK);
            int ordered[BUCKETS] = {0};
            assert_int_equal(s->count, BUCKETS);
            for (int64_t i = 0; i < s->count; i++) {
                mep_range own_shard = s->own[i], bucket = s->bucket[i];
                assert_true(own_shard.count == 0 || (own_shard.first - bucket.first) % MEP_CHUNK == 0);
                ordered[s->order[i]]++;
                assert_true(own_shard.count <= s->most && own_shard.first >= bucket.first &&
                            own_shard.first + own_shard.count <= bucket.first + bucket.count);
                for (int64_t n = 0; n < own_shard.count; n++) seen[own_shard.first + n]++;
            }
            own += s->size;
            for (int i = 0; i < BUCKETS; i++) assert_int_equal(ordered[i], 1);
            mep_range bias = s->bucket[s->order[BUCKETS - 1]], final_norm = s->bucket[s->order[0]];
            assert_int_equal(bias.first, mep_tensor_offset(model, model->first[POSITION_BIAS]));
            assert_int_equal(final_norm.first, mep_tensor_offset(model, model->first[FINAL_NORM_WEIGHT]));
            mep_shards_destroy(&s);
        }
        assert_int_equal(own, model->size);
        for (int64_t i = 0; i < model->size; i++) assert_int_equal(seen[i], 1);
    }
    free(seen);
    mep_model_destroy(&model);
}

typedef struct job {
    const mep_model *model;
    double early; /* minimum over processes: bytes sent before the last gradients were final */
    int wrong[MOST_THREADS];
    pthread_mutex_t lock;
} job;

/* A value that depends on the process and the index. Sums of such values depend on their order. */
static float value(int64_t rank, int64_t i)
{
    return (float)(1 + i % 97) * (rank % 2 == 0 ? 1.0F : -1.0F) * (rank == 1 ? 1e6F : 1.1F) + (float)rank;
}

/* The sum over `count` processes: that of the largest power of two below it, plus that of the rest. */
static float sum_of(int64_t first, int64_t count, int64_t i)
{
    int64_t half = 1;
    if (count == 1) return value(first, i);
    while (2 * half < count) half *= 2;
    return sum_of(first, half, i) + sum_of(first + half, count - half, i);
}

static int check_sums(const mep_shards *s, const float *block)
{
    for (int64_t p = 0; p < s->count; p++)
        for (int64_t i = s->own[p].first; i < s->own[p].first + s->own[p].count; i++)
            if (sum_of(0, s->group->size, i) != block[i]) return 1;
    return 0;
}

static int check_moving(const mep_shards *s, float *block, float *own, int64_t n)
{
    int wrong = mep_shards_gather(s, block) != MEP_OK; /* every process has all sums */
    for (int64_t i = 0; i < n; i++) wrong |= sum_of(0, s->group->size, i) != block[i];
    for (int64_t i = 0; i < n; i++) block[i] = s->group->rank == 0 ? (float)(i % 1000003) : -1;
    wrong |= mep_shards_scatter(s, block, own) != MEP_OK;
    int64_t at = 0;
    for (int64_t p = 0; p < s->count; p++)
        for (int64_t i = 0; i < s->own[p].count; i++) wrong |= own[at++] != (float)((s->own[p].first + i) % 1000003);
    for (int64_t i = 0; i < s->size; i++) own[i] += 1;
    wrong |= mep_shards_collect(s, own, block) != MEP_OK;
    for (int64_t i = 0; i < n && s->group->rank == 0; i++) wrong |= block[i] != (float)(i % 1000003) + 1;
    return wrong;
}

/* Everything except the embedding is final: wait for the first transfer, up to 10 seconds. */
static void overlap(job *j, mep_reduction *reduction, const mep_dist *g)
{
    const mep_model *m = j->model;
    const struct timespec moment = {0, 1000000};
    double until = mep_now() + 10, least = 0;
    mep_reduction_final(reduction, m->first[FINAL_NORM_WEIGHT], m->first[POSITION_BIAS]);
    for (int64_t l = 1; l >= 0; l--)
        mep_reduction_final(reduction, mep_layer_range(m, l).first, mep_layer_range(m, l).end);
    for (; least == 0 && mep_now() < until; nanosleep(&moment, NULL)) {
        pthread_mutex_lock(&post.lock);
        least = post.carried[g->rank];
        pthread_mutex_unlock(&post.lock);
    }
    pthread_mutex_lock(&j->lock);
    j->early = least < j->early ? least : j->early;
    pthread_mutex_unlock(&j->lock);
}

static void reduce(mep_dist *g, void *context)
{
    job *j = context;
    mep_shards *s = NULL;
    mep_reduction *reduction = NULL;
    float *block = NULL, *own = NULL;
    int *wrong = &j->wrong[g->rank];
    *wrong |= mep_shards_create(&s, j->model, g) != MEP_OK;
    *wrong |= mep_alloc(&block, j->model->size, sizeof *block) != MEP_OK;
    *wrong |= mep_alloc(&own, s->size, sizeof *own) != MEP_OK;
    *wrong |= mep_reduction_create(&reduction, j->model, s, block) != MEP_OK;
    for (int round = 0; round < 2 && !*wrong; round++) {
        for (int64_t i = 0; i < j->model->size; i++) block[i] = value(g->rank, i);
        if (round == 0 && g->size > 1) overlap(j, reduction, g);
        *wrong |= mep_reduction_finish(reduction) != MEP_OK || check_sums(s, block);
        *wrong |= check_moving(s, block, own, j->model->size);
    }
    mep_reduction_destroy(&reduction);
    mep_shards_destroy(&s);
    mep_free(&block);
    mep_free(&own);
}

static void test_reduction(void **state)
{
    (void)state;
    mep_model *model = wide_model();
    for (int64_t size = 1; size <= 5; size++) {
        job j = {.model = model, .early = INFINITY, .lock = PTHREAD_MUTEX_INITIALIZER};
        memset(post.carried, 0, sizeof post.carried);
        run_group(size, reduce, &j);
        for (int64_t r = 0; r < size; r++) assert_false(j.wrong[r]);
        assert_true(j.early > 0);
    }
    mep_model_destroy(&model);
}

/* Without a thread of its own, and where a transfer fails. */
static void broken_reduction(mep_dist *g, void *context)
{
    job *j = context;
    mep_shards *s = NULL;
    mep_reduction *reduction = NULL;
    float *block = NULL;
    g->any_thread = j->wrong[MOST_THREADS - 1];
    mep_status status = mep_shards_create(&s, j->model, g);
    if (status == MEP_OK) status = mep_alloc(&block, j->model->size, sizeof *block);
    if (status == MEP_OK) status = mep_reduction_create(&reduction, j->model, s, block);
    if (status == MEP_OK) status = mep_reduction_finish(reduction);
    j->wrong[g->rank] = status != MEP_ERROR_IO || !g->broken || strstr(mep_error_message(), "on strike") == NULL;
    mep_reduction_destroy(&reduction);
    mep_shards_destroy(&s);
    mep_free(&block);
}

static void test_broken(void **state)
{
    (void)state;
    mep_model *model = wide_model();
    for (int threads = 0; threads < 2; threads++) {
        job j = {.model = model};
        j.wrong[MOST_THREADS - 1] = threads;
        set_strikes(1);
        run_group(3, broken_reduction, &j);
        set_strikes(0);
        for (int r = 0; r < 3; r++) assert_false(j.wrong[r]);
    }
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cover), cmocka_unit_test(test_reduction),
                                       cmocka_unit_test(test_broken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
