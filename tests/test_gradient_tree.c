/* SPDX-License-Identifier: MIT */
/*
 * The gradient accumulation tree: the same tree of pairs for every number of processes (threads, here), with the
 * promised number of blocks; losses and squares are added in a fixed order; which numbers of processes can sum how many
 * parts.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "thread_group.h"
#include "train/gradient_tree.h"
#include "train/sums.h"

enum { PARTS_MOST = 24, SEQUENCES = 24, LENGTH = 3 };

/* A model with buckets of several chunks and of less than one. */
static mep_model *small_model(void)
{
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = 700, c.hidden_size = 32, c.num_attention_heads = 4, c.intermediate_size = 64;
    c.num_hidden_layers = 2;
    snprintf(c.position_encoding, sizeof c.position_encoding, "mep_param");
    assert_int_equal(mep_model_describe(&model, &c), MEP_OK);
    assert_int_equal(mep_model_allocate(model), MEP_OK);
    return model;
}

/* A value that depends on the part and the index. Sums of such values depend on their order. */
static float value(int64_t part, int64_t i)
{
    return (float)(1 + (i + part) % 97) * (part % 3 == 0 ? 1e6F : 1.1F) * (part % 2 == 0 ? 1.0F : -1.0F);
}

/* The sum of parts first .. first + count - 1: that of the largest power of two below count, plus that of the rest. */
static float sum_of(int64_t first, int64_t count, int64_t i)
{
    int64_t half = 1;
    if (count == 1) return value(first, i);
    while (2 * half < count) half *= 2;
    return sum_of(first, half, i) + sum_of(first + half, count - half, i);
}

typedef struct job {
    const mep_model *model;
    int64_t parts;
    int unknown;             /* process 0 has no losses */
    int wrong[MOST_THREADS]; /* the line */
    double loss[MOST_THREADS], square[MOST_THREADS];
} job;

#define CHECK(X)                                                                                                       \
    if (!(X)) *wrong = __LINE__

/* A backward pass that finishes all tensors in its order. */
static void compute(const job *j, mep_gradient_tree *tree, int64_t index, int64_t part)
{
    const mep_model *m = j->model;
    float *block = mep_gradient_tree_begin(tree, index);
    for (int64_t i = 0; i < m->size; i++) block[i] = value(part, i);
    mep_gradient_tree_final(tree, m->first[FINAL_NORM_WEIGHT], m->first[POSITION_BIAS]);
    for (int64_t l = m->config.num_hidden_layers - 1; l >= 0; l--)
        mep_gradient_tree_final(tree, mep_layer_range(m, l).first, mep_layer_range(m, l).end);
    mep_gradient_tree_final(tree, 0, m->section[SECTION_LAYERS]);
    mep_gradient_tree_final(tree, m->first[POSITION_BIAS], m->count);
}

static void run_sums(job *j, mep_dist *g, const mep_shards *s, const float *gradients, int *wrong)
{
    mep_adamw *optimizer = NULL;
    mep_sums *sums = NULL;
    mep_adamw_settings settings = {0};
    float losses[SEQUENCES * LENGTH];
    int64_t own = SEQUENCES / g->size;
    for (int64_t i = 0, n = g->rank * own * LENGTH; i < own * LENGTH; i++, n++)
        losses[i] = ldexpf(value(n % 5, n), (int)(n % 7) * 10); /* magnitudes whose sums are rounded even in float64 */
    CHECK(mep_adamw_create_ranges(&optimizer, s->own, s->count, &settings, mep_context_cpu) == MEP_OK);
    CHECK(mep_sums_create(&sums, s, own) == MEP_OK);
    mep_adamw_squares(optimizer, gradients);
    CHECK(mep_sums_run(sums, LENGTH, j->unknown && g->rank == 0 ? NULL : losses, optimizer->squares, &j->loss[g->rank],
                       &j->square[g->rank]) == MEP_OK);
    mep_sums_destroy(&sums);
    mep_adamw_destroy(&optimizer);
}

static void work(mep_dist *g, void *context)
{
    job *j = context;
    mep_shards *s = NULL;
    mep_reduction *reduction = NULL;
    mep_gradient_tree *tree = NULL;
    float *block = NULL;
    int *wrong = &j->wrong[g->rank];
    int64_t each = j->parts / g->size;
    CHECK(mep_shards_create(&s, j->model, g) == MEP_OK);
    CHECK(mep_alloc(&block, j->model->size, sizeof *block) == MEP_OK);
    CHECK(mep_reduction_create(&reduction, j->model, s, block) == MEP_OK);
    CHECK(mep_gradient_tree_create(&tree, j->model, each, block, reduction, mep_context_cpu) == MEP_OK);
    for (int round = 0; round < 2; round++) {
        for (int64_t i = 0; i < each; i++) compute(j, tree, i, g->rank * each + i);
        CHECK(mep_reduction_finish(reduction) == MEP_OK);
        for (int64_t p = 0; p < s->count; p++)
            for (int64_t i = s->own[p].first; i < s->own[p].first + s->own[p].count; i++)
                CHECK(block[i] == sum_of(0, j->parts, i));
        run_sums(j, g, s, block, wrong);
    }
    mep_gradient_tree_destroy(&tree);
    mep_reduction_destroy(&reduction);
    mep_shards_destroy(&s);
    mep_free(&block);
}

/* Every number of parts with every number of processes that can sum them. */
static void test_tree(void **state)
{
    (void)state;
    mep_model *model = small_model();
    int runs = 0;
    for (int64_t parts = 1; parts <= PARTS_MOST; parts++) {
        double loss = NAN, square = NAN;
        for (int64_t size = 1; size <= MOST_THREADS; size++) {
            mep_train_settings s = {.gradient_parts = parts};
            job j = {.model = model, .parts = parts};
            if (mep_train_gradient_parts(&s, size) != parts || SEQUENCES % size != 0) continue;
            run_group(size, work, &j);
            runs++;
            if (size == 1) loss = j.loss[0], square = j.square[0];
            for (int64_t r = 0; r < size; r++) {
                if (j.wrong[r] != 0)
                    fail_msg("%d parts, process %d of %d: line %d", (int)parts, (int)r, (int)size, j.wrong[r]);
                assert_true(j.loss[r] == loss && j.square[r] == square);
            }
        }
    }
    assert_int_equal(runs, PARTS_MOST + 16);
    mep_model_destroy(&model);
}

static void test_unknown(void **state)
{
    (void)state;
    mep_model *model = small_model();
    for (int64_t size = 1; size <= 2; size++) {
        job j = {.model = model, .parts = 2, .unknown = 1};
        run_group(size, work, &j);
        for (int64_t r = 0; r < size; r++) assert_true(!j.wrong[r] && isnan(j.loss[r]) && isnan(j.square[r]));
    }
    mep_model_destroy(&model);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        int64_t parts;
        const char *processes;
    } cases[] = {{1, "1"}, {2, "2, 1"}, {3, "3, 1"}, {8, "8, 4, 2, 1"}, {12, "12, 6, 3, 1"}, {35, "35, 1"}};
    static const int64_t levels[] = {0, 0, 1, 2, 2, 3, 3, 3, 3, 4};
    char text[MEP_GRADIENT_PARTS_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_gradient_parts_processes(cases[i].parts, text);
        assert_string_equal(text, cases[i].processes);
    }
    mep_gradient_parts_processes((int64_t)1 << 30, text); /* the longest text */
    assert_string_equal(text + strlen(text) - 7, "4, 2, 1");
    for (int64_t n = 1; n <= 9; n++) assert_int_equal(mep_gradient_tree_levels(n), levels[n]);
    mep_train_settings s = {.gradient_parts = 12};
    static const int64_t expected[] = {0, 12, 2, 12, 4, 5, 12};
    for (int64_t n = 1; n <= 6; n++) assert_int_equal(mep_train_gradient_parts(&s, n), expected[n]);
    s.gradient_parts = 0; /* a run without a number of parts */
    assert_int_equal(mep_train_gradient_parts(&s, 3), 3);
}

/* A process allocates exactly the promised blocks, and none for one part. */
static void test_memory(void **state)
{
    (void)state;
    mep_model *model = small_model();
    for (int64_t parts = 1; parts <= 9; parts++) {
        mep_gradient_tree *p;
        mep_fail_allocation(0);
        assert_int_equal(mep_gradient_tree_create(&p, model, parts, NULL, NULL, mep_context_cpu), MEP_OK);
        assert_int_equal(mep_fail_allocation(0), 1 + mep_gradient_tree_levels(parts));
        mep_gradient_tree_destroy(&p);
    }
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tree), cmocka_unit_test(test_unknown),
                                       cmocka_unit_test(test_numbers), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
