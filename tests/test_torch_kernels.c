/* SPDX-License-Identifier: MIT */
/*
 * The kernels of PyTorch's operators against a small imitation of PyTorch's C functions, which counts what is owned:
 * registration, the bits of direct calls, strides without copies, refusals, failures of every function, threads.
 */
#include "torch_imitation.h"

#include <math.h>
#include <pthread.h>

#include "base/memory.h"
#include "base/random.h"
#include "mep/attention.h"
#include "mep/torch.h"

/* ---- Registration, which succeeds once per process ---- */

static void refuse_without(const char *name)
{
    missing = name;
    assert_int_equal(mep_torch_register(find, &version), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), name));
    assert_null(forward_kernel);
    missing = "";
}

static void test_register(void **state)
{
    (void)state;
#define ROW(result, name, parameters) refuse_without("aoti_torch_" #name);
    AOTI_FUNCTIONS(ROW)
#undef ROW
#define ROW(result, name, parameters) refuse_without("torch_" #name);
    TORCH_FUNCTIONS(ROW)
#undef ROW
    version = TORCH_RULES - 1;
    assert_int_equal(mep_torch_register(find, &version), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "older than 2.10"));
    version = TORCH_RULES + 1;
    for (int i = 1; i <= 3; i++) {
        to_fail = i;
        assert_int_equal(mep_torch_register(find, &version), MEP_ERROR_UNSUPPORTED);
        assert_int_equal(owned, 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mep_torch_register(find, &version), MEP_OK);
        assert_int_equal(owned, 1); /* the library object, of the first call */
    }
    owned = 0;
    assert_non_null(forward_kernel);
    assert_non_null(backward_kernel);
}

/* ---- A problem ---- */

enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, QUERIES = 37, KEYS = 50, CHANNELS = 16, RANK = 3, EXTENT = 20, KERNELS = 2 };
enum { DISTANCES = KEYS + 3 };

/* The values of all tensors, whose handles are made for each call. */
typedef struct problem {
    struct torch_tensor_object tensors[TENSORS];
    uint8_t wanted[TERMS];
    int64_t window;
} problem;

static void set_tensor(problem *p, int tensor, int32_t dtype, int64_t dim, const int64_t *sizes, const int64_t *strides,
                       uint64_t seed)
{
    struct torch_tensor_object *t = &p->tensors[tensor];
    int64_t extent = 1, stride = 1;
    *t = (struct torch_tensor_object){.dim = dim, .dtype = dtype, .device = CPU};
    for (int64_t i = dim - 1; i >= 0; i--) {
        t->sizes[i] = sizes[i];
        t->strides[i] = strides != NULL ? strides[i] : stride;
        stride *= sizes[i];
        extent += (sizes[i] - 1) * t->strides[i];
    }
    t->data = calloc((size_t)extent, (size_t)bytes_of(dtype));
    assert_non_null(t->data);
    for (int64_t i = 0; i < extent; i++) {
        double x = mep_random_uniform(seed, (uint64_t)tensor, (uint64_t)i) - 0.5;
        if (dtype == FLOAT32) ((float *)t->data)[i] = (float)x;
        if (dtype == FLOAT64) ((double *)t->data)[i] = x;
        if (dtype == INT64) ((int64_t *)t->data)[i] = (int64_t)(20 * (x + 0.5));
    }
}

/* [batch, heads, tokens, channels] in memory as [batch, tokens, heads, channels] with gaps. */
static void set_heads(problem *p, int tensor, int64_t heads, int64_t tokens, int64_t channels, uint64_t seed)
{
    const int64_t sizes[] = {BATCH, heads, tokens, channels};
    const int64_t strides[] = {tokens * heads * 2 * channels, 2 * channels, heads * 2 * channels, 1};
    set_tensor(p, tensor, FLOAT32, 4, sizes, strides, seed);
}

static void new_problem(problem *p)
{
    const uint64_t seed = 5;
    *p = (problem){.window = 45};
    set_heads(p, DOUT, HEADS, QUERIES, CHANNELS, seed);
    set_heads(p, Q, HEADS, QUERIES, CHANNELS, seed);
    set_heads(p, K, KV_HEADS, KEYS, CHANNELS, seed);
    set_heads(p, V, KV_HEADS, KEYS, CHANNELS, seed);
    set_heads(p, PROFILES, HEADS, QUERIES, RANK, seed);
    set_heads(p, MIXTURE, HEADS, QUERIES, KERNELS, seed);
    set_tensor(p, TABLE, FLOAT32, 2, (int64_t[]){HEADS, DISTANCES}, NULL, seed);
    set_tensor(p, GATE, FLOAT64, 3, (int64_t[]){BATCH, HEADS, KEYS}, NULL, seed);
    set_tensor(p, BANK, FLOAT32, 2, (int64_t[]){RANK, EXTENT}, NULL, seed);
    set_tensor(p, LOG_KERNELS, FLOAT32, 3, (int64_t[]){HEADS, KERNELS, DISTANCES}, NULL, seed);
    set_tensor(p, SINK, FLOAT32, 1, (int64_t[]){HEADS}, NULL, seed);
    set_tensor(p, STARTS, INT64, 2, (int64_t[]){BATCH, QUERIES}, NULL, seed);
    for (int i = 0; i < TERMS; i++) p->wanted[i] = p->tensors[TABLE + i].data != NULL;
}

static void free_problem(problem *p)
{
    for (int i = 0; i < TENSORS; i++) free(p->tensors[i].data);
}

/* ---- Calls of the kernels ---- */

static torch_tensor_handle new_handle(const struct torch_tensor_object *t)
{
    torch_tensor_handle handle = new_object(sizeof *handle);
    *handle = *t;
    return handle;
}

static stable_value bits_of(double x)
{
    stable_value value;
    memcpy(&value, &x, sizeof value);
    return value;
}

/* The arguments on the stack: every owned object is new, and belongs to the kernel. */
static void push_arguments(const problem *p, stable_value *stack, int backward)
{
    for (int i = backward ? DOUT : Q; i <= (backward ? LSE : V); i++)
        *stack++ = (stable_value)(uintptr_t)new_handle(&p->tensors[i]);
    for (int i = TABLE; i <= ENDS; i++) {
        stable_value *value = NULL;
        if (p->tensors[i].data != NULL) {
            value = new_object(sizeof *value);
            *value = (stable_value)(uintptr_t)new_handle(&p->tensors[i]);
        }
        *stack++ = (stable_value)(uintptr_t)value;
    }
    if (backward) {
        torch_list_handle list = new_object(sizeof *list);
        for (int i = 0; i < TERMS; i++) list->items[list->size++] = p->wanted[i];
        *stack++ = (stable_value)(uintptr_t)list;
    }
    *stack++ = (stable_value)p->window;
    *stack++ = 0;
    *stack++ = bits_of(0.3);
    *stack++ = bits_of(0.0);
}

/* Call a kernel, in which call number `failing` of PyTorch's functions fails; whether it returned. */
static int call_kernel(const problem *p, stable_value stack[21], int backward, int64_t failing)
{
    push_arguments(p, stack, backward);
    to_fail = failing;
    if (setjmp(thrown) != 0) {
        to_fail = 0;
        return 0;
    }
    (backward ? backward_kernel : forward_kernel)(stack, backward ? 21 : 17, backward ? 1 : 2);
    return 1;
}

static torch_tensor_handle handle_of(stable_value value)
{
    return (torch_tensor_handle)(uintptr_t)value;
}

/* Compute out and lse for the backward call. */
static void attend(problem *p)
{
    stable_value stack[21];
    if (!call_kernel(p, stack, 0, 0)) fail_msg("%s", message);
    for (int i = 0; i < 2; i++) {
        struct torch_tensor_object *t = handle_of(stack[i]);
        free(p->tensors[OUT + i].data);
        p->tensors[OUT + i] = *t;
        p->tensors[OUT + i].owns_data = 0;
        delete_object(t);
    }
    assert_int_equal(owned, 0);
}

static void free_list(stable_value value)
{
    torch_list_handle list = (torch_list_handle)(uintptr_t)value;
    for (size_t i = 0; i < list->size; i++) delete_tensor_object(handle_of(list->items[i]));
    delete_list(list);
}

/* ---- Direct calls ---- */

static mep_tensor_view view(const struct torch_tensor_object *t)
{
    return (mep_tensor_view){t->data, t->strides[0], t->strides[1], t->strides[2]};
}

static mep_attention *new_plan(const problem *p, mep_attention_call *call)
{
    const struct torch_tensor_object *t = p->tensors;
    mep_attention *plan = NULL;
    mep_attention_settings settings;
    mep_attention_defaults(&settings);
    settings.heads = HEADS;
    settings.kv_heads = KV_HEADS;
    settings.head_dim = CHANNELS;
    settings.max_length = 64;
    settings.scale = 0.3;
    assert_int_equal(mep_attention_create(&plan, &settings), MEP_OK);
    const mep_attention_terms terms = {.table = (float *)t[TABLE].data,
                                       .table_length = DISTANCES,
                                       .window = p->window,
                                       .sink = (float *)t[SINK].data,
                                       .bank = (float *)t[BANK].data,
                                       .rank = RANK,
                                       .extent = EXTENT,
                                       .log_kernels = (float *)t[LOG_KERNELS].data,
                                       .kernels = KERNELS,
                                       .log_kernels_length = DISTANCES};
    assert_int_equal(mep_attention_set_terms(plan, &terms), MEP_OK);
    *call = (mep_attention_call){.batch = BATCH,
                                 .queries = QUERIES,
                                 .keys = KEYS,
                                 .q = view(&t[Q]),
                                 .k = view(&t[K]),
                                 .v = view(&t[V]),
                                 .starts = (int64_t *)t[STARTS].data,
                                 .gate = (double *)t[GATE].data,
                                 .profiles = view(&t[PROFILES]),
                                 .mixture = view(&t[MIXTURE])};
    return plan;
}

/* Element number n of a tensor, in the order of its axes. */
static const char *element(const struct torch_tensor_object *t, int64_t n)
{
    int64_t offset = 0;
    for (int64_t i = t->dim - 1; i >= 0; i--) {
        offset += n % t->sizes[i] * t->strides[i];
        n /= t->sizes[i];
    }
    return t->data + offset * bytes_of(t->dtype);
}

static void assert_same(const char *what, const struct torch_tensor_object *found,
                        const struct torch_tensor_object *right)
{
    int64_t count = 1;
    assert_int_equal(found->dim, right->dim);
    assert_int_equal(found->dtype, right->dtype);
    for (int64_t i = 0; i < right->dim; i++) {
        assert_int_equal(found->sizes[i], right->sizes[i]);
        count *= right->sizes[i];
    }
    for (int64_t n = 0; n < count; n++)
        if (memcmp(element(found, n), element(right, n), (size_t)bytes_of(right->dtype)) != 0)
            fail_msg("%s: element %lld differs", what, (long long)n);
}

static torch_tensor_handle like(const struct torch_tensor_object *t)
{
    torch_tensor_handle new;
    assert_int_equal(empty_strided(t->dim, t->sizes, t->strides, t->dtype, CPU, 0, &new), 0);
    return new;
}

static void test_same_bits(void **state)
{
    (void)state;
    problem p;
    mep_attention_call call;
    stable_value stack[21];
    new_problem(&p);
    attend(&p);
    mep_attention *plan = new_plan(&p, &call);
    torch_tensor_handle out = like(&p.tensors[OUT]), lse = like(&p.tensors[LSE]);
    call.out = view(out);
    call.lse = (float *)lse->data;
    assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
    assert_same("out", &p.tensors[OUT], out);
    assert_same("lse", &p.tensors[LSE], lse);
    /* Like q in memory, without the gaps. */
    assert_int_equal(p.tensors[OUT].strides[1], CHANNELS);
    assert_int_equal(p.tensors[OUT].strides[2], HEADS * CHANNELS);

    assert_true(call_kernel(&p, stack, 1, 0));
    torch_list_handle list = (torch_list_handle)(uintptr_t)stack[0];
    static const int order[] = {Q, K, V, TABLE, GATE, PROFILES, BANK, MIXTURE, LOG_KERNELS, SINK};
    enum { RESULTS = sizeof order / sizeof *order };
    assert_int_equal(list->size, RESULTS);
    torch_tensor_handle right[RESULTS];
    double sums[4][HEADS * KERNELS * KEYS] = {{0}};
    for (int i = 0; i < RESULTS; i++) right[i] = like(&p.tensors[order[i]]);
    mep_attention_gradient g = {.dout = view(&p.tensors[DOUT]),
                                .dq = view(right[0]),
                                .dk = view(right[1]),
                                .dv = view(right[2]),
                                .dtable = sums[0],
                                .dsink = sums[1],
                                .dgate = (double *)right[4]->data,
                                .dprofiles = view(right[5]),
                                .dmixture = view(right[7]),
                                .dbank = sums[2],
                                .dlog_kernels = sums[3]};
    assert_int_equal(mep_attention_backward(plan, &call, &g), MEP_OK);
    const struct {
        int result;
        int64_t rows, columns, keys;
        double *sums;
    } tables[] = {{3, HEADS, DISTANCES, KEYS, sums[0]},
                  {6, RANK, EXTENT, EXTENT, sums[2]},
                  {8, HEADS * KERNELS, DISTANCES, KEYS, sums[3]},
                  {9, 1, HEADS, HEADS, sums[1]}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (int64_t n = 0; n < tables[i].rows * tables[i].columns; n++) {
            int64_t row = n / tables[i].columns, column = n % tables[i].columns;
            ((float *)right[tables[i].result]->data)[n] =
                column < tables[i].keys ? (float)tables[i].sums[row * tables[i].keys + column] : 0;
        }
    for (int i = 0; i < RESULTS; i++) {
        assert_same(mep_torch_name(order[i]), handle_of(list->items[i]), right[i]);
        delete_tensor_object(right[i]);
    }
    free_list(stack[0]);
    delete_tensor_object(out);
    delete_tensor_object(lse);
    assert_int_equal(owned, 0);
    mep_attention_destroy(&plan);
    free_problem(&p);
}

/* A call like the one before it allocates nothing in the library: no copy of a tensor, no plan. */
static void test_no_copies(void **state)
{
    (void)state;
    problem p;
    new_problem(&p);
    attend(&p);
    mep_fail_allocation(0);
    attend(&p);
    assert_int_equal(mep_fail_allocation(0), 0);
    ((float *)p.tensors[TABLE].data)[3] += 1; /* other terms, in the memory that the plan has */
    attend(&p);
    assert_int_equal(mep_fail_allocation(0), 0);
    free_problem(&p);
}

/* Tables with gaps are copied. */
static void test_tables_with_gaps(void **state)
{
    (void)state;
    problem p, spread;
    new_problem(&p);
    new_problem(&spread);
    static const int tables[] = {TABLE, GATE, BANK, LOG_KERNELS, SINK, STARTS};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct torch_tensor_object *t = &spread.tensors[tables[i]], old = *t;
        int64_t strides[MOST_AXES], stride = 3;
        for (int64_t axis = 0; axis < old.dim; axis++) { /* the first axis is the last in memory */
            strides[axis] = stride;
            stride *= old.sizes[axis];
        }
        set_tensor(&spread, tables[i], old.dtype, old.dim, old.sizes, strides, 6);
        int64_t count = 1;
        for (int64_t axis = 0; axis < old.dim; axis++) count *= old.sizes[axis];
        for (int64_t n = 0; n < count; n++)
            memcpy((char *)(uintptr_t)element(t, n), element(&old, n), (size_t)bytes_of(old.dtype));
        free(old.data);
    }
    attend(&p);
    attend(&spread);
    assert_same("out", &spread.tensors[OUT], &p.tensors[OUT]);
    assert_same("lse", &spread.tensors[LSE], &p.tensors[LSE]);
    free_problem(&p);
    free_problem(&spread);
}

/* ---- Failures ---- */

static void refuse(problem *p, int backward, const char *words)
{
    stable_value stack[21];
    if (call_kernel(p, stack, backward, 0)) fail_msg("not refused: %s", words);
    if (strstr(message, words) == NULL) fail_msg("\"%s\" instead of \"%s\"", message, words);
    assert_int_equal(owned, 0);
}

/* Types, shapes, strides and devices of every tensor. The tests in Python have more. */
static void test_refusals(void **state)
{
    (void)state;
    problem p;
    char words[100];
    new_problem(&p);
    attend(&p);
    for (int i = 0; i < TENSORS; i++) {
        struct torch_tensor_object *t = &p.tensors[i], old = *t;
        if (t->data == NULL) continue;
        snprintf(words, sizeof words, "%s: ", mep_torch_name(i));
        t->dtype = 11;
        refuse(&p, 1, words);
        *t = old;
        t->device = 1;
        refuse(&p, 1, words);
        *t = old;
        t->dim -= 1;
        refuse(&p, 1, words);
        *t = old;
        t->strides[t->dim - 1] = 2;
        if (t->dim == MOST_AXES) refuse(&p, 1, words);
        *t = old;
    }
    p.window = -1;
    refuse(&p, 0, "window");
    p.window = 0;
    p.wanted[TABLE_AHEAD - TABLE] = 1;
    refuse(&p, 1, "table_ahead: ");
    p.wanted[TABLE_AHEAD - TABLE] = 0;
    ((float *)p.tensors[TABLE].data)[3] = NAN;
    refuse(&p, 0, "the bias of head 0 at distance 3");
    ((float *)p.tensors[TABLE].data)[3] = 0;
    attend(&p);
    free_problem(&p);
}

/* Every call of PyTorch's functions that can fail, and every allocation, fails once. Nothing is leaked. */
static void test_failures(void **state)
{
    (void)state;
    problem p;
    stable_value stack[21];
    new_problem(&p);
    attend(&p);
    for (int backward = 0; backward < 2; backward++) {
        int64_t n = 1;
        for (; !call_kernel(&p, stack, backward, n); n++) assert_int_equal(owned, 0);
        assert_true(n > 50);
        to_fail = 0;
        if (backward) {
            free_list(stack[0]);
        } else {
            for (int i = 0; i < 2; i++) delete_tensor_object(handle_of(stack[i]));
        }
        assert_int_equal(owned, 0);
    }
    int failed = 0, returned = 0;
    for (int64_t n = 1; !returned; n++) {
        p.window = n; /* another plan is not needed: other terms are prepared again */
        mep_set_threads(1 + (int)(n % 2));
        mep_fail_allocation(n);
        returned = call_kernel(&p, stack, 1, 0);
        failed += !returned;
        mep_fail_allocation(0);
        if (!returned) assert_int_equal(owned, 0);
    }
    free_list(stack[0]);
    assert_true(failed > 2);
    assert_int_equal(owned, 0);
    free_problem(&p);
}

/* PyTorch before 2.13 frees values of optional arguments by the C++ operator. */
static void test_older_pytorch(void **state)
{
    (void)state;
    problem p;
    new_problem(&p);
    mep_torch.delete_stable_value = NULL;
    attend(&p);
    mep_torch.delete_stable_value = delete_value;
    free_problem(&p);
}

/* ---- Threads ---- */

static void *call_often(void *argument)
{
    const problem *shared = argument;
    problem p = *shared;
    mep_set_threads(1);
    for (int i = 0; i < 20; i++) {
        stable_value stack[21];
        p.window = i % 3 == 0 ? 7 : shared->window; /* calls take each other's plans */
        if (!call_kernel(&p, stack, 0, 0)) return "failed";
        int same = 1;
        for (int64_t n = 0; p.window == shared->window && n < BATCH * HEADS * QUERIES * CHANNELS; n++)
            same = same && memcmp(element(handle_of(stack[0]), n), element(&shared->tensors[OUT], n), 4) == 0;
        for (int r = 0; r < 2; r++) delete_tensor_object(handle_of(stack[r]));
        if (!same) return "other bits";
    }
    return owned == 0 ? NULL : "leaked";
}

static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    problem p;
    pthread_t threads[THREADS];
    new_problem(&p);
    attend(&p);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, call_often, &p), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong != NULL) fail_msg("%s", (char *)wrong);
    }
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register),         cmocka_unit_test(test_same_bits), cmocka_unit_test(test_no_copies),
        cmocka_unit_test(test_tables_with_gaps), cmocka_unit_test(test_refusals),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_older_pytorch),    cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
