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
    int64_t m, n, k, a_stride, b_stride, c_stride;
    int32_t dtype, c_dtype, a_transposed, b_transposed, bias, accumulate;
} key;

typedef struct entry {
    key key;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t a, b, c, bias, scratchpad;
} entry;

enum { ENTRIES = 512 };
static entry *cache[ENTRIES];
static int cached;
static dnnl_engine_t engine;

/* Scratchpads, one a thread of the team, each of scratch_size bytes. */
static char **scratch;
static int64_t scratch_threads, scratch_size;

static const char *name(void)
{
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

static key key_of(const mep_gemm *g, const mep_gemm_tile *t)
{
    key k;
    memset(&k, 0, sizeof k);
    k.m = t->rows, k.n = t->columns, k.k = g->k;
    k.a_stride = g->a.stride, k.b_stride = g->b.stride, k.c_stride = g->c.stride;
    k.dtype = (int32_t)g->a.dtype, k.c_dtype = (int32_t)g->c.dtype;
    k.a_transposed = g->a.transposed, k.b_transposed = g->b.transposed;
    k.bias = g->bias != NULL, k.accumulate = g->accumulate;
    return k;
}

static entry *find(const key *k)
{
    for (int i = 0; i < cached; i++)
        if (memcmp(&cache[i]->key, k, sizeof *k) == 0) return cache[i];
    return NULL;
}

static void forget_all(void)
{
    for (int i = 0; i < cached; i++) {
        dnnl_primitive_destroy(cache[i]->primitive);
        mep_free(&cache[i]);
    }
    cached = 0;
}

static dnnl_status_t describe(dnnl_memory_desc_t *md, int64_t rows, int64_t columns, int32_t dtype, int64_t stride,
                              int transposed)
{
    dnnl_dims_t dims = {rows, columns}, strides = {transposed ? 1 : stride, transposed ? stride : 1};
    return dnnl_memory_desc_init_by_strides(md, 2, dims, dtype == MEP_FLOAT32 ? dnnl_f32 : dnnl_bf16, strides);
}

static dnnl_status_t make_primitive(const key *k, const_dnnl_primitive_attr_t attributes, entry *e)
{
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t description;
    dnnl_status_t status = describe(&e->a, k->m, k->k, k->dtype, k->a_stride, k->a_transposed);
    if (status == dnnl_success) status = describe(&e->b, k->k, k->n, k->dtype, k->b_stride, k->b_transposed);
    if (status == dnnl_success) status = describe(&e->c, k->m, k->n, k->c_dtype, k->c_stride, 0);
    if (status == dnnl_success) status = describe(&e->bias, 1, k->n, MEP_FLOAT32, k->n, 0);
    if (status == dnnl_success) status = dnnl_matmul_desc_init(&matmul, &e->a, &e->b, k->bias ? &e->bias : NULL, &e->c);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(&description, &matmul, attributes, engine, NULL);
    if (status != dnnl_success) return status;
    e->scratchpad = *dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
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

/* Scratchpads of at least `size` bytes for as many threads as a team can have. */
static mep_status grow_scratch(int64_t size)
{
    int64_t threads = omp_get_max_threads();
    if (size <= scratch_size && threads <= scratch_threads) return MEP_OK;
    if (threads > scratch_threads) {
        MEP_TRY(mep_grow(&scratch, scratch_threads, threads, sizeof *scratch));
        scratch_threads = threads;
    }
    scratch_size = size > scratch_size ? size : scratch_size;
    for (int64_t t = 0; t < scratch_threads; t++) {
        mep_free(&scratch[t]);
        mep_status status = mep_alloc(&scratch[t], scratch_size, 1);
        if (status == MEP_OK) continue;
        scratch_size = 0; /* so that the next call tries all of them again */
        return status;
    }
    return MEP_OK;
}

static mep_status prepare_tile(const mep_gemm *gemm, const mep_gemm_tile *tile)
{
    key k = key_of(gemm, tile);
    entry *e = find(&k);
    if (e != NULL) return grow_scratch((int64_t)dnnl_memory_desc_get_size(&e->scratchpad));
    MEP_TRY(mep_alloc(&e, 1, sizeof *e));
    e->key = k;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t status = make_entry(&k, e);
    omp_set_num_threads(threads);
    if (status != dnnl_success) {
        mep_free(&e);
        return mep_fail(status == dnnl_unimplemented ? MEP_ERROR_UNSUPPORTED : MEP_ERROR_MEMORY,
                        "oneDNN cannot multiply %lld x %lld x %lld %s matrices (status %d)", (long long)k.m,
                        (long long)k.k, (long long)k.n, mep_dtype_name(gemm->a.dtype), (int)status);
    }
    cache[cached++] = e;
    return grow_scratch((int64_t)dnnl_memory_desc_get_size(&e->scratchpad));
}

static mep_status prepare(const mep_gemm *gemm, const mep_gemm_tile *tiles, int count)
{
    if (cached + count > ENTRIES) forget_all();
    for (int i = 0; i < count; i++) MEP_TRY(prepare_tile(gemm, &tiles[i]));
    return MEP_OK;
}

static mep_status run_tile(const mep_gemm *g, const mep_gemm_tile *t)
{
    key k = key_of(g, t);
    const entry *e = find(&k);
    struct {
        int argument;
        const dnnl_memory_desc_t *md;
        void *data;
    } parts[] = {{DNNL_ARG_SRC, &e->a, mep_matrix_at(&g->a, t->row, 0)},
                 {DNNL_ARG_WEIGHTS, &e->b, mep_matrix_at(&g->b, 0, t->column)},
                 {DNNL_ARG_DST, &e->c, mep_matrix_at(&g->c, t->row, t->column)},
                 {DNNL_ARG_SCRATCHPAD, &e->scratchpad, scratch[omp_get_thread_num()]},
                 {DNNL_ARG_BIAS, &e->bias, g->bias != NULL ? (void *)(uintptr_t)(g->bias + t->column) : NULL}};
    int count = g->bias != NULL ? 5 : 4, made = 0;
    dnnl_exec_arg_t args[5];
    dnnl_stream_t stream;
    dnnl_status_t status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status != dnnl_success) return MEP_ERROR_MEMORY;
    for (; made < count && status == dnnl_success; made++) {
        args[made].arg = parts[made].argument;
        status = dnnl_memory_create(&args[made].memory, parts[made].md, engine, parts[made].data);
    }
    if (status == dnnl_success)
        status = dnnl_primitive_execute(e->primitive, stream, count, args);
    else
        made--;
    for (int i = 0; i < made; i++) dnnl_memory_destroy(args[i].memory);
    dnnl_stream_destroy(stream);
    return status == dnnl_success ? MEP_OK : MEP_ERROR_MEMORY;
}

const mep_gemm_backend_table mep_gemm_onednn = {name, prepare, run_tile};

#endif
