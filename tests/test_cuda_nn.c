/* SPDX-License-Identifier: MIT */
/*
 * The network's table for CUDA compared with the CPU's, entry by entry, from the same inputs: odd sizes, both types,
 * memory that is not aligned, and all forms of products that models use. Both copies of every array are compared,
 * including those that a call must not change.
 */
#include "cuda_device.h"

#include <math.h>

#include "base/backend.h"
#include "base/bf16.h"
#include "base/random.h"
#include "nn/network.h"

enum { ROWS = 300, WIDTH = 1100, MOST_ARRAYS = 32 };

/* The same values in host memory, for the CPU, and on the device. */
typedef struct array {
    int64_t count, size; /* bytes per value */
    void *host, *memory, *device;
} array;

static mep_network_state *cpu, *cuda;
static const mep_network *on_cpu = &mep_network_cpu, *on_cuda;
static array arrays[MOST_ARRAYS];
static int arrays_count;
static long long checks;

/* Add an array of values that are copied to the device, `skip` values after an aligned address. */
static array *add_array(const void *values, int64_t count, int64_t size, int64_t skip)
{
    assert_true(arrays_count < MOST_ARRAYS);
    array *a = &arrays[arrays_count++];
    *a = (array){count, size, malloc((size_t)(count * size)), NULL, NULL};
    memcpy(a->host, values, (size_t)(count * size));
    check(mep_device_alloc(MEP_DEVICE_CUDA, &a->memory, (count + skip) * size));
    a->device = (char *)a->memory + skip * size;
    check(mep_device_write(MEP_DEVICE_CUDA, a->device, values, count * size));
    return a;
}

static int release_arrays(void **state)
{
    (void)state;
    while (arrays_count > 0) {
        array *a = &arrays[--arrays_count];
        free(a->host);
        mep_device_free(MEP_DEVICE_CUDA, &a->memory);
    }
    return 0;
}

static array *of_type(mep_dtype dtype, float *values, int64_t count, int64_t skip)
{
    mep_bf16 *halves = calloc((size_t)count, sizeof *halves);
    for (int64_t i = 0; i < count; i++) halves[i] = mep_bf16_from_float(values[i]);
    array *a = dtype == MEP_FLOAT32 ? add_array(values, count, sizeof *values, skip)
                                    : add_array(halves, count, sizeof *halves, skip);
    free(halves);
    free(values);
    return a;
}

static float *normal(const char *name, int64_t count, float scale)
{
    float *values = calloc((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = scale * (float)mep_random_normal(7, mep_random_stream(name), (uint64_t)i);
    return values;
}

/* Random integers from -2 to 2: sums of products of them are exact in any order, and in bfloat16 while below 256. */
static float *whole(const char *name, int64_t count)
{
    float *values = calloc((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)((int)(5 * mep_random_uniform(8, mep_random_stream(name), (uint64_t)i)) - 2);
    return values;
}

static array *floats(const char *name, int64_t count)
{
    return of_type(MEP_FLOAT32, normal(name, count, 1), count, 0);
}

static array *tokens_below(int64_t vocab, int64_t count)
{
    int32_t *tokens = calloc((size_t)count, sizeof *tokens);
    for (int64_t i = 0; i < count; i++)
        tokens[i] = (int32_t)((double)vocab * pow(mep_random_uniform(9, 0, (uint64_t)i), 2));
    array *a = add_array(tokens, count, sizeof *tokens, 0);
    free(tokens);
    return a;
}

static mep_activation host(const array *a, mep_dtype dtype)
{
    return (mep_activation){a->host, dtype};
}

static mep_activation device(const array *a, mep_dtype dtype)
{
    return (mep_activation){a->device, dtype};
}

static double value(const void *data, int64_t size, int64_t i)
{
    return size == 2 ? (double)mep_bf16_to_float(((const mep_bf16 *)data)[i]) : (double)((const float *)data)[i];
}

/* All values of all arrays of floats: |device - CPU| <= bound (|CPU| + scale), or neither is a number. */
static void compare(const char *what, double bound, double scale)
{
    for (int n = 0; n < arrays_count; n++) {
        const array *a = &arrays[n];
        void *found = malloc((size_t)(a->count * a->size));
        check(mep_device_read(MEP_DEVICE_CUDA, found, a->device, a->count * a->size));
        for (int64_t i = 0; i < a->count; i++, checks++) {
            double x = value(found, a->size, i), y = value(a->host, a->size, i);
            if (isnan(y) ? !isnan(x) : !(fabs(x - y) <= bound * (fabs(y) + scale)))
                fail_msg("%s: array %d[%lld of %lld]: %.9g, expected %.9g", what, n, (long long)i, (long long)a->count,
                         x, y);
        }
        free(found);
    }
    release_arrays(NULL);
}

static int set_up(void **state)
{
    (void)state;
    on_cuda = mep_backend_of(MEP_DEVICE_CUDA)->network;
    assert_non_null(on_cuda);
    check(on_cpu->create(&cpu, ROWS, WIDTH));
    check(on_cuda->create(&cuda, ROWS, WIDTH));
    assert_non_null(on_cuda->stream(cuda));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    on_cpu->destroy(&cpu);
    on_cuda->destroy(&cuda);
    assert_null(cuda);
    on_cuda->destroy(&cuda);
    printf("%lld values compared\n", checks);
    return checks < 500000;
}

/* ---- Products ---- */

/* The options of a product. */
typedef struct options {
    mep_dtype inputs, outputs;
    int a_transposed, b_transposed, bias, accumulate;
    enum { NONE, SEPARATE, IN_PLACE } residual, gelu; /* in place: C's memory */
    int gelu_input, gelu_tanh;
    int64_t skip; /* values between an aligned address and A, B, C */
} options;

static mep_matrix matrix(void *data, mep_dtype dtype, int64_t stride, int transposed)
{
    return (mep_matrix){data, dtype, stride, transposed, 0};
}

/* The largest |sum| of a product. Bias, residual and C, which is accumulated to, have values up to 2. */
static double largest_sum(const mep_gemm *g)
{
    int64_t a_size = mep_dtype_size(g->a.dtype), b_size = mep_dtype_size(g->b.dtype);
    double largest = 0;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < g->k; p++)
                sum += value(g->a.data, a_size, g->a.transposed ? p * g->a.stride + i : i * g->a.stride + p) *
                       value(g->b.data, b_size, g->b.transposed ? j * g->b.stride + p : p * g->b.stride + j);
            if (fabs(sum) > largest) largest = fabs(sum);
        }
    return largest + 3 * 2;
}

/* The size that the errors of a product with GELU are relative to, in addition to the value. GELU has an absolute error
 * of up to 4e-6 (half of erf's 5e-7 on each side, times |x| < 6, where erf is not 1 yet). Its slope Phi(x) + x phi(x)
 * has one of 5e-7, also where it is 0, and is multiplied by the sum. compare() allows 2e-6 of this. */
static double gelu_scale(const mep_gemm *g)
{
    return 2 + (g->slope_input != NULL && g->c.dtype == MEP_FLOAT32 ? largest_sum(g) / 4 : 0);
}

/* op(A) [m x k] op(B) [k x n] with `gap` values between rows. */
static void check_product(int64_t m, int64_t n, int64_t k, int64_t gap, options o)
{
    int64_t a_rows = o.a_transposed ? k : m, a_stride = (o.a_transposed ? m : k) + gap;
    int64_t b_rows = o.b_transposed ? n : k, b_stride = (o.b_transposed ? k : n) + gap, stride = n + gap;
    array *a = of_type(o.inputs, whole("a", a_rows * a_stride), a_rows * a_stride, o.skip);
    array *b = of_type(o.inputs, whole("b", b_rows * b_stride), b_rows * b_stride, o.skip);
    array *c = of_type(o.outputs, whole("c", m * stride), m * stride, o.skip);
    array *bias = of_type(MEP_FLOAT32, whole("bias", n), n, 1);
    array *residual = of_type(MEP_FLOAT32, whole("residual", m * stride), m * stride, 0);
    array *gelu = of_type(o.outputs, whole("gelu", m * stride), m * stride, 0);
    array *input = of_type(o.outputs, normal("input", m * stride, 2), m * stride, 0);
    double scale = 2;
    for (int which = 0; which < 2; which++) {
        void *at[7];
        for (int i = 0; i < 7; i++) at[i] = which == 0 ? arrays[i].host : arrays[i].device;
        mep_gemm g = {.m = m,
                      .n = n,
                      .k = k,
                      .accumulate = o.accumulate,
                      .epilogue = o.gelu_tanh ? MEP_EPILOGUE_GELU_TANH : MEP_EPILOGUE_GELU};
        g.a = matrix(at[a - arrays], o.inputs, a_stride, o.a_transposed);
        g.b = matrix(at[b - arrays], o.inputs, b_stride, o.b_transposed);
        g.c = matrix(at[c - arrays], o.outputs, stride, 0);
        if (o.bias) g.bias = at[bias - arrays];
        if (o.residual != NONE) g.residual = at[(o.residual == IN_PLACE ? c : residual) - arrays];
        if (o.gelu != NONE) g.activated = at[(o.gelu == IN_PLACE ? c : gelu) - arrays];
        if (o.gelu_input) g.slope_input = at[input - arrays];
        if (which == 0) scale = gelu_scale(&g);
        check(which == 0 ? on_cpu->gemm(cpu, &g) : on_cuda->gemm(cuda, &g));
    }
    char text[256];
    snprintf(
        text, sizeof text,
        "%lld x %lld x %lld + %lld%s%s%s%s, residual %d, gelu %d%s%s, %s to %s: A, B, C, bias, residual, gelu, input",
        (long long)m, (long long)n, (long long)k, (long long)gap, o.a_transposed ? ", A^T" : "",
        o.b_transposed ? ", B^T" : "", o.bias ? ", bias" : "", o.accumulate ? ", accumulate" : "", o.residual, o.gelu,
        o.gelu_tanh ? " by tanh" : "", o.gelu_input ? ", gelu'" : "", mep_dtype_name(o.inputs),
        mep_dtype_name(o.outputs));
    int exact = o.gelu == NONE && !o.gelu_input;
    compare(text, exact ? 0 : o.outputs == MEP_FLOAT32 ? 2e-6 : 1.0 / 128, scale);
}

/* Every combination, most of which no model uses; integers, so that everything except GELU is exact. */
static void test_products(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {{1, 5, 7, 0}, {9, 1, 3, 2}, {13, 20, 33, 0}, {6, 11, 30, 3}, {32, 16, 24, 8}};
    static const mep_dtype types[][2] = {
        {MEP_FLOAT32, MEP_FLOAT32}, {MEP_BFLOAT16, MEP_BFLOAT16}, {MEP_BFLOAT16, MEP_FLOAT32}};
    int count = 0;
    for (int type = 0; type < 3; type++)
        for (int what = 0; what < 2 * 2 * 2 * 2 * 2; what++)
            for (int residual = NONE; residual <= IN_PLACE; residual++)
                for (int gelu = NONE; gelu <= IN_PLACE; gelu++, count++) {
                    const int64_t *size = sizes[count % 5];
                    if (residual == IN_PLACE && types[type][1] != MEP_FLOAT32) continue; /* a residual is float32 */
                    options o = {types[type][0], types[type][1], what & 1,  what >> 1 & 1, what >> 2 & 1, what >> 3 & 1,
                                 residual,       gelu,           what >> 4, count % 7 % 2, count % 3};
                    check_product(size[0], size[1], size[2], size[3], o);
                }
}

/* The products of a layer and of the output layer, in both directions, in the forms of src/model; larger, with rounded
 * sums. */
static void test_model_products(void **state)
{
    (void)state;
    enum { TOKENS = 70, HIDDEN = 64, WIDE = 256, VOCAB = 257 };
    static const mep_dtype types[] = {MEP_FLOAT32, MEP_BFLOAT16};
    for (int t = 0; t < 2; t++) {
        mep_dtype type = types[t];
        const options forward = {type, type, 0, 1, 1, 0, NONE, NONE, 0, 0, 0};
        options dense = forward, in_place, up = forward, session_up, last;
        dense.outputs = MEP_FLOAT32, dense.residual = SEPARATE;
        in_place = dense, in_place.residual = IN_PLACE;
        up.gelu = SEPARATE;
        session_up = up, session_up.gelu = IN_PLACE, session_up.gelu_tanh = 1;
        last = forward, last.outputs = MEP_FLOAT32, last.bias = 0;
        check_product(TOKENS, 3 * HIDDEN, HIDDEN, 0, forward);
        check_product(TOKENS, HIDDEN, HIDDEN, 0, dense);
        check_product(TOKENS, HIDDEN, WIDE, 0, in_place);
        check_product(TOKENS, WIDE, HIDDEN, 0, up);
        check_product(TOKENS, WIDE, HIDDEN, 0, session_up);
        check_product(1, WIDE, HIDDEN, 0, session_up);
        check_product(TOKENS, VOCAB, HIDDEN, 0, last);
        check_product(1, VOCAB, HIDDEN, 0, last);
        options input = {type, type, 0, 0, 0, 0, NONE, NONE, 0, 0, 0}, before_gelu = input, weight = input, again;
        before_gelu.gelu_input = 1;
        weight.outputs = MEP_FLOAT32, weight.a_transposed = 1;
        again = weight, again.accumulate = 1, again.skip = 1;
        check_product(TOKENS, HIDDEN, 3 * HIDDEN, 0, input);
        check_product(TOKENS, WIDE, HIDDEN, 0, before_gelu);
        check_product(TOKENS, HIDDEN, VOCAB, 0, input);
        check_product(WIDE, HIDDEN, TOKENS, 0, weight);
        check_product(VOCAB, HIDDEN, TOKENS, 0, again);
    }
}

/* A bias is added before the sums are rounded to bfloat16: 16 x 16 + 1 x 1 + 1 = 258, though 257 would become 256. */
static void test_rounding(void **state)
{
    (void)state;
    enum { M = 3, N = 4, K = 2 };
    float *a = calloc(M * K, sizeof *a), *b = calloc(K * N, sizeof *b), *ones = calloc(N, sizeof *ones);
    for (int i = 0; i < M * K; i++) a[i] = i % K == 0 ? 16 : 1;
    for (int i = 0; i < K * N; i++) b[i] = i / N == 0 ? 16 : 1;
    for (int i = 0; i < N; i++) ones[i] = 1;
    const array *left = of_type(MEP_BFLOAT16, a, M * K, 0), *right = of_type(MEP_BFLOAT16, b, K * N, 0);
    const array *bias = of_type(MEP_FLOAT32, ones, N, 0), *c = of_type(MEP_BFLOAT16, normal("c", M * N, 1), M * N, 0);
    for (int i = 0; i < M * N; i++) ((mep_bf16 *)c->host)[i] = mep_bf16_from_float(258);
    mep_gemm g = {.m = M, .n = N, .k = K, .bias = bias->device};
    g.a = matrix(left->device, MEP_BFLOAT16, K, 0);
    g.b = matrix(right->device, MEP_BFLOAT16, N, 0);
    g.c = matrix(c->device, MEP_BFLOAT16, N, 0);
    check(on_cuda->gemm(cuda, &g));
    compare("rounding", 0, 0);
}

/* More shapes than the table remembers, twice. */
static void test_many_shapes(void **state)
{
    (void)state;
    options o = {.inputs = MEP_BFLOAT16, .outputs = MEP_FLOAT32, .bias = 1};
    for (int time = 0; time < 2; time++)
        for (int64_t m = 1; m < 150; m++) check_product(m, 3, 2, 0, o);
}

static void test_refused_products(void **state)
{
    (void)state;
    array *a = floats("a", WIDTH + 1), *b = floats("b", WIDTH + 1);
    mep_gemm g = {.m = 1, .n = WIDTH + 1, .k = 1, .bias = b->device};
    g.a = matrix(a->device, MEP_FLOAT32, 1, 0);
    g.b = matrix(b->device, MEP_FLOAT32, WIDTH + 1, 0);
    g.c = matrix(a->device, MEP_FLOAT32, WIDTH + 1, 0);
    assert_int_equal(on_cuda->gemm(cuda, &g), MEP_ERROR_ARGUMENT);
    g.bias = NULL;
    g.b.packed = 1;
    assert_int_equal(on_cuda->gemm(cuda, &g), MEP_ERROR_UNSUPPORTED);
    g.b.packed = 0;
    g.c.dtype = MEP_BFLOAT16; /* of float32 */
    assert_int_equal(on_cuda->gemm(cuda, &g), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "1 x 1 by 1 x 1101"));
    compare("refused products", 0, 0);
}

/* ---- Rows ---- */

static void check_layer_norm(int64_t rows, int64_t width, mep_dtype dtype, int with_bias)
{
    int64_t n = rows * width;
    array *x = floats("x", n), *weight = floats("weight", width), *bias = floats("bias", width);
    array *y = of_type(dtype, normal("y", n, 1), n, 0), *mean = floats("mean", rows), *rstd = floats("rstd", rows);
    const mep_layer_norm forward[] = {{.rows = rows,
                                       .width = width,
                                       .x = x->host,
                                       .weight = weight->host,
                                       .bias = with_bias ? bias->host : NULL,
                                       .eps = 1e-5f,
                                       .mean = mean->host,
                                       .rstd = rstd->host},
                                      {.rows = rows,
                                       .width = width,
                                       .x = x->device,
                                       .weight = weight->device,
                                       .bias = with_bias ? bias->device : NULL,
                                       .eps = 1e-5f,
                                       .mean = mean->device,
                                       .rstd = rstd->device}};
    on_cpu->layer_norm_forward(cpu, &forward[0], host(y, dtype));
    on_cuda->layer_norm_forward(cuda, &forward[1], device(y, dtype));
    compare("layer norm", dtype == MEP_FLOAT32 ? 1e-6 : 1.0 / 128, 4);

    x = floats("x", n), weight = floats("weight", width), mean = floats("mean", rows), rstd = floats("rstd", rows);
    array *dy = of_type(dtype, normal("dy", n, 1), n, 0), *dx = floats("dx", n);
    array *dweight = floats("dweight", width), *dbias = floats("dbias", width);
    const mep_layer_norm backward[] = {
        {.rows = rows, .width = width, .x = x->host, .weight = weight->host, .mean = mean->host, .rstd = rstd->host},
        {.rows = rows,
         .width = width,
         .x = x->device,
         .weight = weight->device,
         .mean = mean->device,
         .rstd = rstd->device}};
    const mep_layer_norm_gradient gradient[] = {
        {.dy = host(dy, dtype), .dx = dx->host, .dweight = dweight->host, .dbias = with_bias ? dbias->host : NULL},
        {.dy = device(dy, dtype),
         .dx = dx->device,
         .dweight = dweight->device,
         .dbias = with_bias ? dbias->device : NULL}};
    on_cpu->layer_norm_backward(cpu, &backward[0], &gradient[0]);
    on_cuda->layer_norm_backward(cuda, &backward[1], &gradient[1]);
    compare("layer norm backward", 2e-6, 4 + sqrt((double)rows));

    array *values = of_type(dtype, normal("values", n, 1), n, 0), *sum = floats("sum", width);
    on_cpu->column_sum(cpu, rows, width, host(values, dtype), sum->host);
    on_cuda->column_sum(cuda, rows, width, device(values, dtype), sum->device);
    compare("column sum", 2e-6, 1 + sqrt((double)rows));
}

static void test_layer_norm(void **state)
{
    (void)state;
    check_layer_norm(ROWS, 72, MEP_BFLOAT16, 1);
    check_layer_norm(5, WIDTH, MEP_FLOAT32, 0);
    check_layer_norm(65, 31, MEP_FLOAT32, 1);
}

static void check_embedding(int64_t batch, int64_t length, int64_t width, int64_t vocab, int with_position)
{
    int64_t count = batch * length;
    array *table = floats("table", vocab * width), *position = floats("position", length * width);
    array *x = floats("x", count * width), *tokens = tokens_below(vocab, count);
    const mep_embedding e = {.count = count, .length = length, .width = width, .tokens = tokens->host};
    const mep_embedding on_device = {.count = count, .length = length, .width = width, .tokens = tokens->device};
    on_cpu->embedding_forward(cpu, &e, table->host, with_position ? position->host : NULL, x->host);
    on_cuda->embedding_forward(cuda, &on_device, table->device, with_position ? position->device : NULL, x->device);
    check(on_cpu->embedding_order(cpu, count, tokens->host));
    check(on_cuda->embedding_order(cuda, count, tokens->host));
    array *dtable = floats("dtable", vocab * width), *dposition = floats("dposition", length * width);
    on_cpu->embedding_backward(cpu, &e, x->host, dtable->host, with_position ? dposition->host : NULL);
    on_cuda->embedding_backward(cuda, &on_device, x->device, dtable->device, with_position ? dposition->device : NULL);
    compare("embedding", 2e-6, 1 + sqrt((double)count));
}

static void test_embedding(void **state)
{
    (void)state;
    check_embedding(4, 33, 20, 50, 1);
    check_embedding(1, ROWS, 36, 1000, 0); /* in another order than before */
    check_embedding(1, 1, 5, 1, 1);
    int32_t tokens[ROWS + 1] = {0};
    assert_int_equal(on_cuda->embedding_order(cuda, ROWS + 1, tokens), MEP_ERROR_ARGUMENT);
}

/* The logits, which a call may overwrite, are not compared where the gradient is elsewhere. */
static void check_cross_entropy(int64_t rows, int64_t vocab, mep_dtype dtype, int with_gradient, int in_place)
{
    int64_t n = rows * vocab;
    array *targets = tokens_below(vocab, rows), *losses = floats("losses", rows);
    if (rows > 1) ((int32_t *)targets->host)[rows - 2] = MEP_TARGET_NONE;
    check(mep_device_write(MEP_DEVICE_CUDA, targets->device, targets->host, rows * 4));
    array *gradient = of_type(dtype, normal("gradient", n, 1), n, 0);
    array *logits = of_type(MEP_FLOAT32, normal("logits", n, 4), n, 0), *to = in_place ? logits : gradient;
    mep_activation none = {NULL, dtype};
    const mep_cross_entropy_call calls[] = {{.rows = rows,
                                             .vocab = vocab,
                                             .logits = logits->host,
                                             .targets = targets->host,
                                             .scale = 0.5f,
                                             .gradient = with_gradient ? host(to, dtype) : none,
                                             .losses = losses->host},
                                            {.rows = rows,
                                             .vocab = vocab,
                                             .logits = logits->device,
                                             .targets = targets->device,
                                             .scale = 0.5f,
                                             .gradient = with_gradient ? device(to, dtype) : none,
                                             .losses = losses->device}};
    on_cpu->cross_entropy(cpu, &calls[0]);
    on_cuda->cross_entropy(cuda, &calls[1]);
    if (to != logits && with_gradient) check(mep_device_read(MEP_DEVICE_CUDA, logits->host, logits->device, n * 4));
    compare("cross entropy", dtype == MEP_FLOAT32 ? 1e-6 : 1.0 / 128, 1);
}

static void test_cross_entropy(void **state)
{
    (void)state;
    check_cross_entropy(6, 257, MEP_FLOAT32, 1, 1);
    check_cross_entropy(6, 257, MEP_FLOAT32, 0, 0);
    check_cross_entropy(5, 512, MEP_BFLOAT16, 1, 0);
    check_cross_entropy(2, 50257, MEP_BFLOAT16, 1, 0);
    check_cross_entropy(1, 1, MEP_FLOAT32, 1, 0);
}

static void test_rotary(void **state)
{
    (void)state;
    enum { COUNT = 10, LENGTH = 5, FIRST = 3, HEADS = 3, DIMS = 12, HEAD = 20 };
    static const mep_dtype types[] = {MEP_FLOAT32, MEP_BFLOAT16};
    for (int i = 0; i < 4; i++) {
        mep_dtype type = types[i % 2];
        int64_t n = COUNT * 3 * HEADS * HEAD, angles = (FIRST + LENGTH) * DIMS / 2;
        array *x = of_type(type, normal("x", n, 1), n, 0), *cosine = floats("c", angles), *sine = floats("s", angles);
        mep_rotary c = {.rows = COUNT,
                        .length = LENGTH,
                        .first = FIRST,
                        .heads = HEADS,
                        .dims = DIMS,
                        .cosine = cosine->host,
                        .sine = sine->host,
                        .inverse = i / 2,
                        .x = host(x, type),
                        .row_stride = 3 * HEADS * HEAD,
                        .head_stride = 3 * HEAD};
        on_cpu->rotary_apply(cpu, &c);
        c.cosine = cosine->device, c.sine = sine->device, c.x = device(x, type);
        on_cuda->rotary_apply(cuda, &c);
        compare("rotary", type == MEP_FLOAT32 ? 1e-6 : 1.0 / 128, 1);
    }
}

static void test_values(void **state)
{
    (void)state;
    enum { N = 3 * MEP_CHUNK + 5 };
    array *x = floats("x", N), *y = of_type(MEP_FLOAT32, normal("y", N, 1), N, 1), *z = floats("z", N);
    array *half = of_type(MEP_BFLOAT16, normal("half", N, 1), N, 0);
    on_cpu->add(cpu, N, x->host, y->host);
    on_cuda->add(cuda, N, x->device, y->device);
    on_cpu->clear(cpu, N / 2, x->host);
    on_cuda->clear(cuda, N / 2, x->device);
    on_cpu->convert(cpu, N - 3, host(half, MEP_BFLOAT16), host(z, MEP_FLOAT32));
    on_cuda->convert(cuda, N - 3, device(half, MEP_BFLOAT16), device(z, MEP_FLOAT32));
    on_cpu->convert(cpu, N - 1, host(y, MEP_FLOAT32), host(half, MEP_BFLOAT16));
    on_cuda->convert(cuda, N - 1, device(y, MEP_FLOAT32), device(half, MEP_BFLOAT16));
    compare("values", 0, 0);
}

static void test_copy(void **state)
{
    (void)state;
    static const int64_t cases[][4] = {{7, 16, 40, 24}, {1, 100, 0, 0}, {1, 4, 0, 0}, {0, 8, 8, 8}, {5, 6, 6, 50}};
    for (int i = 0; i < 5; i++) {
        const int64_t *c = cases[i];
        array *from = floats("from", 100), *to = of_type(MEP_FLOAT32, normal("to", 100, 1), 100, 1);
        on_cpu->copy(cpu, c[0], c[1], from->host, c[2], to->host, c[3]);
        on_cuda->copy(cuda, c[0], c[1], from->device, c[2], to->device, c[3]);
        compare("copy", 0, 0);
    }
}

/* ---- The optimizer ---- */

static void test_squares(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, MEP_CHUNK, MEP_CHUNK - 1, 40 * MEP_CHUNK + 7, 3};
    for (int i = 0; i < 5; i++) {
        double expected[41], found[41];
        array *x = floats("x", sizes[i]);
        check(on_cpu->squares(cpu, sizes[i], x->host, expected));
        check(on_cuda->squares(cuda, sizes[i], x->device, found));
        for (int64_t c = 0; c < mep_chunks(sizes[i]); c++, checks++)
            assert_true(fabs(found[c] - expected[c]) <= 1e-12 * expected[c]);
        compare("squares", 0, 0);
    }
}

/* The same bits in pieces as in one call. */
static void test_adamw(void **state)
{
    (void)state;
    enum { N = 2 * MEP_CHUNK + 100 };
    static const int64_t ends[] = {3, 10, MEP_CHUNK + 1, 2 * MEP_CHUNK, N};
    const mep_adamw_step step = {1e-3f, 0.9f,    0.95f, 1e-8f, 0.1f, (float)(1 - 0.9), (float)(1 - 0.95),
                                 0.19f, 0.0975f, 0.25f};
    float *m = normal("m", N, 0.1f), *v = normal("v", N, 0.1f);
    for (int64_t i = 0; i < N; i++) v[i] *= v[i];
    array *p = floats("p", N), *gradient = floats("gradient", N), *mean, *square, *pieces[3];
    float *m_again = normal("m", N, 0.1f), *v_again = calloc(N, sizeof *v_again);
    memcpy(v_again, v, N * sizeof *v);
    mean = of_type(MEP_FLOAT32, m, N, 0), square = of_type(MEP_FLOAT32, v, N, 0);
    pieces[0] = floats("p", N);
    pieces[1] = of_type(MEP_FLOAT32, m_again, N, 0), pieces[2] = of_type(MEP_FLOAT32, v_again, N, 0);
    on_cpu->adamw(cpu, 5, N - 3, &step, p->host, gradient->host, mean->host, square->host);
    on_cuda->adamw(cuda, 5, N - 3, &step, p->device, gradient->device, mean->device, square->device);
    for (int i = 0; i < 5; i++) {
        int64_t first = i == 0 ? 0 : ends[i - 1];
        on_cpu->adamw(cpu, first, ends[i], &step, pieces[0]->host, gradient->host, pieces[1]->host, pieces[2]->host);
        on_cuda->adamw(cuda, first, ends[i], &step, pieces[0]->device, gradient->device, pieces[1]->device,
                       pieces[2]->device);
    }
    float *whole_p = calloc(N, sizeof *whole_p), *pieces_p = calloc(N, sizeof *pieces_p);
    check(mep_device_read(MEP_DEVICE_CUDA, whole_p, p->device, N * sizeof *whole_p));
    check(mep_device_read(MEP_DEVICE_CUDA, pieces_p, pieces[0]->device, N * sizeof *pieces_p));
    assert_memory_equal(whole_p + 5, pieces_p + 5, (N - 8) * sizeof *whole_p);
    free(whole_p);
    free(pieces_p);
    compare("adamw", 1e-6, 0.1);
}

#ifdef MEP_CUDA_EMULATED
/* The next call that reads or waits finds the error of a void function's kernel and clears it. A GPU cannot be used by
 * the program after this. Sanitizers report wrong pointers of kernels themselves. */
static void test_errors_are_found(void **state)
{
    (void)state;
    float copy[4];
    array *x = floats("x", 4);
#ifndef MEP_SANITIZED
    double sum;
    on_cuda->add(cuda, 4, NULL, x->device);
    assert_int_equal(mep_device_read(MEP_DEVICE_CUDA, copy, x->device, sizeof copy), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "not in device memory"));
    check(mep_device_read(MEP_DEVICE_CUDA, copy, x->device, sizeof copy));
    on_cuda->add(cuda, 4, NULL, x->device);
    assert_int_equal(mep_device_wait(MEP_DEVICE_CUDA), MEP_ERROR_UNSUPPORTED);
    check(mep_device_wait(MEP_DEVICE_CUDA));
    assert_int_equal(on_cuda->squares(cuda, 4, NULL, &sum), MEP_ERROR_UNSUPPORTED);
    check(mep_device_wait(MEP_DEVICE_CUDA));
#endif
    on_cuda->copy(cuda, 2, 8, x->device, 4, x->device, 4); /* errors before a kernel starts */
    assert_int_equal(mep_device_read(MEP_DEVICE_CUDA, copy, x->device, sizeof copy), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "start the program again"));
    check(mep_device_wait(MEP_DEVICE_CUDA));
}

/* An algorithm is chosen once per shape. */
static void test_choices(void **state)
{
    (void)state;
    options o = {.inputs = MEP_BFLOAT16, .outputs = MEP_BFLOAT16, .bias = 1};
    unsigned long before = cuda_emulator_choices();
    for (int time = 0; time < 5; time++)
        for (int64_t k = 40; k < 44; k++) check_product(4, 4, k, 0, o);
    assert_int_equal(cuda_emulator_choices() - before, 4);
}
#endif

#define TEST(f) cmocka_unit_test_teardown(f, release_arrays)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_products),
        TEST(test_model_products),
        TEST(test_rounding),
        TEST(test_many_shapes),
        TEST(test_refused_products),
        TEST(test_layer_norm),
        TEST(test_embedding),
        TEST(test_cross_entropy),
        TEST(test_rotary),
        TEST(test_values),
        TEST(test_copy),
        TEST(test_squares),
        TEST(test_adamw),
#ifdef MEP_CUDA_EMULATED
        TEST(test_errors_are_found),
        TEST(test_choices),
#endif
    };
    return device_is_there() ? cmocka_run_group_tests(tests, set_up, tear_down) : 77;
}
