/* SPDX-License-Identifier: MIT */
/*
 * Fused attention of the CUDA back end against the float64 reference: shapes about the edges of tiles, few queries,
 * every size of head, biases that let far blocks be skipped, gradients of the bias, the same bits in every run. Without
 * a GPU the kernels run under the emulator of tests/emulator, in several orders of their threads.
 */
#include "attention/fire.h"
#include "attention_problem.h"
#include "cuda_device.h"

/* A copy of `bytes` at `host` on the device; NULL for NULL. */
static void *to_device(const void *host, size_t bytes)
{
    void *device = NULL;
    if (host == NULL) return NULL;
    check(mep_device_alloc(MEP_DEVICE_CUDA, &device, (int64_t)bytes));
    check(mep_device_write(MEP_DEVICE_CUDA, device, host, (int64_t)bytes));
    return device;
}

static void from_device(void *host, void *device, size_t bytes)
{
    check(mep_device_read(MEP_DEVICE_CUDA, host, device, (int64_t)bytes));
    mep_device_free(MEP_DEVICE_CUDA, &device);
}

static size_t tensor_bytes(const tensor *t)
{
    return (size_t)t->count * sizeof(mep_bf16) + 2 * CANARY;
}

/* Forward and backward on the device, into a result like that of the CPU. */
static result run_on_device(const problem *p, int skip_far, int learned)
{
    int64_t table_size = p->heads * p->keys;
    size_t rows = (size_t)(p->batch * p->heads * p->queries);
    result r = {.lse = calloc(rows, sizeof(float)), .dbias = doubles(table_size)};
    const double *inputs[] = {p->q, p->dout, NULL, NULL, p->k, p->v, NULL, NULL};
    tensor *tensors[] = {&r.q, &r.dout, &r.out, &r.dq, &r.k, &r.v, &r.dk, &r.dv};
    mep_tensor_view views[8];
    void *memory[8];
    for (int i = 0; i < 8; i++) {
        tensor *t = tensors[i];
        *t = make_tensor(MEP_BFLOAT16, p->batch, p->heads, i < 4 ? p->queries : p->keys, p->head_dim, inputs[i]);
        memory[i] = to_device(t->memory, tensor_bytes(t));
        views[i] = t->view;
        views[i].data = (char *)memory[i] + CANARY;
    }
    float *table = calloc((size_t)table_size, sizeof *table);
    for (int64_t i = 0; i < table_size; i++) table[i] = (float)p->bias[i], r.dbias[i] = 1;
    float *lse = to_device(r.lse, rows * sizeof(float));
    double *dbias = to_device(learned ? r.dbias : NULL, (size_t)table_size * sizeof *r.dbias);

    mep_attention_settings settings;
    mep_attention_defaults(&settings);
    settings.heads = p->heads, settings.head_dim = p->head_dim, settings.max_length = p->keys;
    settings.dtype = MEP_BFLOAT16, settings.scale = p->scale, settings.skip_far = skip_far;
    settings.device = MEP_DEVICE_CUDA;
    mep_attention *plan;
    check(mep_attention_create(&plan, &settings));
    const mep_attention_terms terms = {.table = table, .table_length = p->keys};
    const mep_attention_call call = {.batch = p->batch,
                                     .queries = p->queries,
                                     .keys = p->keys,
                                     .q = views[0],
                                     .k = views[4],
                                     .v = views[5],
                                     .out = views[2],
                                     .lse = lse};
    const mep_attention_gradient gradient = {
        .dout = views[1], .dq = views[3], .dk = views[6], .dv = views[7], .dtable = dbias};
    check(mep_attention_set_terms(plan, &terms));
    check(mep_attention_forward(plan, &call));
    r.fraction = mep_attention_computed_fraction(plan);
    check(mep_attention_backward(plan, &call, &gradient));
    check(mep_device_wait(MEP_DEVICE_CUDA));
    mep_attention_destroy(&plan);
    assert_null(plan);

    for (int i = 0; i < 8; i++) from_device(tensors[i]->memory, memory[i], tensor_bytes(tensors[i]));
    from_device(r.lse, lse, rows * sizeof(float));
    if (learned) from_device(r.dbias, dbias, (size_t)table_size * sizeof *r.dbias);
    for (int64_t i = 0; i < table_size; i++) r.dbias[i] -= 1;
    free(table);
    return r;
}

/* Solve the problem with its inputs rounded, and compare. */
static void check_on_device(problem *p)
{
    double *inputs[] = {p->q, p->dout, p->k, p->v};
    for (int n = 0; n < 4; n++)
        for (int64_t i = 0; i < (n < 2 ? query_values(p) : key_values(p)); i++)
            inputs[n][i] = (double)mep_bf16_to_float(mep_bf16_from_float((float)inputs[n][i]));
    solve(p);
    solve_sizes(p);
    result r = run_on_device(p, 1, 1);
    compare_result(p, &r, MEP_BFLOAT16);
    free_result(&r);
}

static void test_shapes(void **state)
{
    (void)state;
    static const int64_t sizes[][5] = {{1, 1, 1, 1, 64},     {2, 3, 7, 7, 8},      {1, 2, 64, 64, 64},
                                       {1, 1, 65, 65, 128},  {1, 2, 127, 127, 32}, {2, 1, 129, 129, 64},
                                       {1, 3, 9, 200, 96},   {1, 1, 100, 163, 80}, {1, 1, 1, 130, 64},
                                       {1, 1, 257, 257, 64}, {1, 1, 64, 96, 128},  {1, 1, 150, 321, 16}};
    static const char *const specs[] = {NULL, "mep", "kerple_power"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t *n = sizes[i];
        problem p = random_problem(n[0], n[1], n[2], n[3], n[4], 1, specs[i % 3]);
        check_on_device(&p);
        free_problem(&p);
    }
}

static void test_scales(void **state)
{
    (void)state;
    static const double scales[] = {0.3, -0.5, 1e-3};
    for (int i = 0; i < 3; i++) {
        problem p = random_problem(1, 1, 80, 120, 24, 1, "mep");
        p.scale = scales[i];
        check_on_device(&p);
        free_problem(&p);
    }
}

/* A problem whose bias falls fast, less so for the first head. */
static problem falling_problem(void)
{
    problem p = random_problem(1, 2, 700, 700, 16, 1, NULL);
    for (int64_t h = 0; h < p.heads; h++)
        for (int64_t d = 0; d < p.keys; d++) p.bias[h * p.keys + d] = -(h == 0 ? 0.9 : 2.5) * (double)d;
    return p;
}

/* The same bits in every run, in any order of threads, warps and blocks. */
static void test_order(void **state)
{
    (void)state;
    problem problems[] = {random_problem(1, 2, 200, 300, 64, 1, "mep_param"),
                          random_problem(1, 1, 600, 650, 16, 1, "mep_param"), falling_problem()};
    for (int i = 0; i < 3; i++) {
        problem *p = &problems[i];
        result first = run_on_device(p, 1, 1);
        for (unsigned long seed = 1; seed < 6; seed++) {
            cuda_emulator_seed(seed);
            result other = run_on_device(p, 1, 1);
            assert_same(&first, &other, p);
            free_result(&other);
        }
        cuda_emulator_seed(0);
        free_result(&first);
        free_problem(p);
    }
}

/* Skipping far blocks changes nothing. */
static void test_skip(void **state)
{
    (void)state;
    problem p = falling_problem();
    result all = run_on_device(&p, 0, 1), near = run_on_device(&p, 1, 1);
    assert_same(&all, &near, &p);
    assert_true(all.fraction == 1);
    if (!(near.fraction > 0.2 && near.fraction < 0.6)) fail_msg("%g of the blocks were computed", near.fraction);
    free_result(&all);
    free_result(&near);
    free_problem(&p);
}

/* A key that is NaN is not skipped. */
static void test_nan(void **state)
{
    (void)state;
    problem p = falling_problem();
    p.k[0] = NAN;
    result r = run_on_device(&p, 1, 1);
    for (int64_t i = 0; i < p.queries; i++) assert_true(isnan(r.lse[i]) && !isnan(r.lse[p.queries + i]));
    free_result(&r);
    free_problem(&p);
}

/* Without a gradient of the bias the other gradients are the same. */
static void test_not_learned(void **state)
{
    (void)state;
    problem p = random_problem(1, 1, 400, 520, 64, 1, "mep");
    result learned = run_on_device(&p, 1, 1), fixed = run_on_device(&p, 1, 0);
    assert_true(same_bits(&learned.dq, &fixed.dq));
    assert_true(same_bits(&learned.dk, &fixed.dk));
    assert_true(same_bits(&learned.dv, &fixed.dv));
    free_result(&learned);
    free_result(&fixed);
    free_problem(&p);
}

static void test_refused(void **state)
{
    (void)state;
    mep_attention *plan;
    mep_attention_settings s;
    mep_attention_defaults(&s);
    s.device = MEP_DEVICE_CUDA;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_ERROR_ARGUMENT); /* float32 */
    s.dtype = MEP_BFLOAT16, s.head_dim = 136;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_ERROR_UNSUPPORTED);
    s.head_dim = 64;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_OK);
    const mep_fire fire = {.pieces = 1};
    assert_int_equal(mep_attention_set_fire(plan, &fire, NULL), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "does not compute fire"));
    mep_tensor_view view = {(void *)64, 64, 64, 64}, odd = {(void *)8, 64, 64, 64}; /* refused before they are read */
    mep_attention_call call = {
        .batch = 1, .queries = 1, .keys = s.max_length + 1, .q = view, .k = view, .v = view, .out = view};
    assert_int_equal(mep_attention_forward(plan, &call), MEP_ERROR_ARGUMENT);
    call.keys = 1, call.q = odd;
    assert_int_equal(mep_attention_forward(plan, &call), MEP_ERROR_ARGUMENT);
    mep_attention_destroy(&plan);
    s.device = (mep_device)7;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_ERROR_ARGUMENT);
}

int main(void)
{
    tensor_gap = 8;
    rounds_products = 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_scales),
                                       cmocka_unit_test(test_order),  cmocka_unit_test(test_skip),
                                       cmocka_unit_test(test_nan),    cmocka_unit_test(test_not_learned),
                                       cmocka_unit_test(test_refused)};
    if (!device_is_there()) return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%lld values compared\n", (long long)checks);
    return failed;
}
