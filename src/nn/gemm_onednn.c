/* SPDX-License-Identifier: MIT */
/*
 * A tile of a matrix product by oneDNN (API 2.x): the only file that calls it. Primitives are kept by shape. They are
 * made and run for one thread each, because oneDNN's choice of blocking, and so the last bits, depends on the number of
 * threads.
 */
#include "nn/gemm.h"

#if MEP_HAVE_ONEDNN

#include <stdio.h>
#include <string.h>

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

/* What a primitive depends on. No padding: compared as bytes. */
typedef struct key {
    int64_t rows, columns, depth, a_stride, b_stride;
    int32_t dtype, a_transposed, b_transposed, packed, accumulate, zero;
} key;

/* The arguments of a primitive, one set a thread; where their data is, is said before each call. */
enum { SOURCE, WEIGHTS, SUMS, SCRATCH, ARGUMENTS };
static const int ARGUMENT_NAMES[ARGUMENTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};

typedef struct entry {
    key key;
    dnnl_primitive_t primitive; /* NULL: oneDNN has none, which is remembered too */
    dnnl_memory_desc_t shape[ARGUMENTS];
    dnnl_exec_arg_t (*arguments)[ARGUMENTS]; /* [threads] */
    int64_t threads;
} entry;

enum { ENTRIES = 512 };
static entry *cache[ENTRIES];
static int cached;
static dnnl_engine_t engine;

/* Scratchpads, one a thread of the team, each of scratch_size bytes, and streams. */
static char **scratch;
static dnnl_stream_t *streams;
static int64_t scratch_threads, scratch_size;

static const char *name(void)
{
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

static key key_of(const mep_gemm_tile *t)
{
    key k;
    memset(&k, 0, sizeof k);
    k.rows = t->rows, k.columns = t->columns, k.depth = t->depth;
    k.a_stride = t->a.stride, k.b_stride = t->b.stride;
    k.dtype = (int32_t)t->a.dtype, k.packed = t->b.packed, k.accumulate = t->accumulate;
    k.a_transposed = t->a.transposed, k.b_transposed = t->b.transposed;
    return k;
}

static entry *find(const key *k)
{
    for (int i = 0; i < cached; i++)
        if (memcmp(&cache[i]->key, k, sizeof *k) == 0) return cache[i];
    return NULL;
}

static void forget(entry *e)
{
    for (int64_t t = 0; t < e->threads; t++)
        for (int i = 0; i < ARGUMENTS; i++) dnnl_memory_destroy(e->arguments[t][i].memory);
    mep_free(&e->arguments);
    if (e->primitive != NULL) dnnl_primitive_destroy(e->primitive);
    mep_free(&e);
}

static void forget_all(void)
{
    for (int i = 0; i < cached; i++) forget(cache[i]);
    cached = 0;
}

static dnnl_status_t describe(dnnl_memory_desc_t *md, int64_t rows, int64_t columns, int32_t dtype, int64_t stride,
                              int transposed)
{
    dnnl_dims_t dims = {rows, columns}, strides = {transposed ? 1 : stride, transposed ? stride : 1};
    return dnnl_memory_desc_init_by_strides(md, 2, dims, dtype == MEP_FLOAT32 ? dnnl_f32 : dnnl_bf16, strides);
}

/* Columns of a packed B: panels of 64 columns (nn/pack.h). */
static dnnl_status_t describe_packed(dnnl_memory_desc_t *md, int64_t rows, int64_t columns, int32_t dtype)
{
    dnnl_dims_t dims = {rows, columns};
    return dtype == MEP_FLOAT32 ? dnnl_memory_desc_init_by_tag(md, 2, dims, dnnl_f32, dnnl_BA16a64b)
                                : dnnl_memory_desc_init_by_tag(md, 2, dims, dnnl_bf16, dnnl_BA16a64b2a);
}

static dnnl_status_t make_primitive(const key *k, const_dnnl_primitive_attr_t attributes, entry *e)
{
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t description;
    dnnl_memory_desc_t *shape = e->shape;
    dnnl_status_t status = describe(&shape[SOURCE], k->rows, k->depth, k->dtype, k->a_stride, k->a_transposed);
    if (status == dnnl_success)
        status = k->packed ? describe_packed(&shape[WEIGHTS], k->depth, k->columns, k->dtype)
                           : describe(&shape[WEIGHTS], k->depth, k->columns, k->dtype, k->b_stride, k->b_transposed);
    /* A single row's stride means nothing, but with one that is not its length oneDNN takes its general product, which
     * is twice as quick there as the kernels for contiguous results. */
    int64_t stride = k->rows == 1 && !k->packed ? k->columns + 1 : k->columns;
    if (status == dnnl_success) status = describe(&shape[SUMS], k->rows, k->columns, MEP_FLOAT32, stride, 0);
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&matmul, &shape[SOURCE], &shape[WEIGHTS], NULL, &shape[SUMS]);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(&description, &matmul, attributes, engine, NULL);
    if (status != dnnl_success) return status;
    shape[SCRATCH] = *dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    status = dnnl_primitive_create(&e->primitive, description);
    dnnl_primitive_desc_destroy(description);
    return status;
}

/* The engine, with instructions no higher than the CPU level in force at the first product (oneDNN takes a limit once
 * only). */
static dnnl_status_t make_engine(void)
{
    static const dnnl_cpu_isa_t limits[] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core,
                                            dnnl_cpu_isa_all};
    if (engine != NULL) return dnnl_success;
    dnnl_set_max_cpu_isa(limits[mep_cpu_level_get()]); /* a host that has set its own keeps it */
    return dnnl_engine_create(&engine, dnnl_cpu, 0);
}

static dnnl_status_t make_entry(const key *k, entry *e)
{
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t post;
    dnnl_status_t status = make_engine();
    if (status != dnnl_success || dnnl_primitive_attr_create(&attributes) != dnnl_success) return dnnl_out_of_memory;
    status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (k->accumulate && status == dnnl_success) {
        status = dnnl_post_ops_create(&post);
        if (status == dnnl_success) status = dnnl_post_ops_append_sum(post, 1.0f);
        if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, post);
        if (status == dnnl_success) dnnl_post_ops_destroy(post);
    }
    if (status == dnnl_success) status = make_primitive(k, attributes, e);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

/* Scratchpads of at least `size` bytes and streams for as many threads as a team can have. */
static mep_status grow_scratch(int64_t size)
{
    int64_t threads = omp_get_max_threads();
    if (size <= scratch_size && threads <= scratch_threads) return MEP_OK;
    if (threads > scratch_threads) {
        MEP_TRY(mep_grow(&scratch, scratch_threads, threads, sizeof *scratch));
        MEP_TRY(mep_grow(&streams, scratch_threads, threads, sizeof *streams));
        scratch_threads = threads;
    }
    scratch_size = size > scratch_size ? size : scratch_size;
    for (int64_t t = 0; t < scratch_threads; t++) {
        mep_free(&scratch[t]);
        mep_status status = mep_alloc(&scratch[t], scratch_size, 1);
        if (status == MEP_OK && streams[t] == NULL &&
            dnnl_stream_create(&streams[t], engine, dnnl_stream_default_flags) != dnnl_success)
            status = mep_fail(MEP_ERROR_MEMORY, "oneDNN has no memory for a stream");
        if (status == MEP_OK) continue;
        scratch_size = -1; /* so that the next call tries all of them again */
        return status;
    }
    return MEP_OK;
}

/* Arguments for as many threads as a team can have. */
static mep_status grow_arguments(entry *e)
{
    int64_t threads = omp_get_max_threads();
    if (threads <= e->threads) return MEP_OK;
    MEP_TRY(mep_grow(&e->arguments, e->threads, threads, sizeof *e->arguments));
    for (; e->threads < threads; e->threads++)
        for (int i = 0; i < ARGUMENTS; i++) {
            dnnl_exec_arg_t *a = &e->arguments[e->threads][i];
            a->arg = ARGUMENT_NAMES[i];
            if (dnnl_memory_create(&a->memory, &e->shape[i], engine, DNNL_MEMORY_NONE) == dnnl_success) continue;
            while (i-- > 0) dnnl_memory_destroy(e->arguments[e->threads][i].memory);
            return mep_fail(MEP_ERROR_MEMORY, "oneDNN has no memory for the arguments of a product");
        }
    return MEP_OK;
}

static mep_status new_entry(const key *k, entry **made)
{
    entry *e = NULL;
    MEP_TRY(mep_alloc(&e, 1, sizeof *e));
    e->key = *k;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t status = make_entry(k, e);
    omp_set_num_threads(threads);
    if (status != dnnl_success && status != dnnl_unimplemented) {
        mep_free(&e);
        return mep_fail(MEP_ERROR_MEMORY, "oneDNN cannot make a product of %lld x %lld x %lld (status %d)",
                        (long long)k->rows, (long long)k->depth, (long long)k->columns, (int)status);
    }
    *made = cache[cached++] = e;
    return MEP_OK;
}

static mep_status prepare_tile(const mep_gemm_tile *tile)
{
    key k = key_of(tile);
    entry *e = find(&k);
    if (e == NULL) MEP_TRY(new_entry(&k, &e));
    if (e->primitive == NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "oneDNN has no product of %s matrices here",
                        mep_dtype_name(tile->a.dtype));
    MEP_TRY(grow_arguments(e));
    return grow_scratch((int64_t)dnnl_memory_desc_get_size(&e->shape[SCRATCH]));
}

/* Packed operands are those of oneDNN's AVX-512 kernels. */
static int packs(mep_dtype dtype)
{
    return mep_cpu_level_get() >= (dtype == MEP_FLOAT32 ? MEP_CPU_AVX512 : MEP_CPU_AVX512_BF16);
}

static mep_status prepare(const mep_gemm_tile *tiles, int count)
{
    if (cached + count > ENTRIES) forget_all();
    for (int i = 0; i < count; i++) MEP_TRY(prepare_tile(&tiles[i]));
    return MEP_OK;
}

static mep_status run(const mep_gemm_tile *t, float *sums)
{
    key k = key_of(t);
    const entry *e = find(&k);
    int thread = omp_get_thread_num();
    void *data[ARGUMENTS] = {t->a.data, t->b.data, sums, scratch[thread]};
    dnnl_exec_arg_t *arguments = e->arguments[thread];
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < ARGUMENTS && status == dnnl_success; i++)
        status = dnnl_memory_set_data_handle_v2(arguments[i].memory, data[i], streams[thread]);
    if (status == dnnl_success) status = dnnl_primitive_execute(e->primitive, streams[thread], ARGUMENTS, arguments);
    return status == dnnl_success ? MEP_OK : MEP_ERROR_MEMORY;
}

const mep_gemm_backend_table mep_gemm_onednn = {name, packs, prepare, run};

#endif
