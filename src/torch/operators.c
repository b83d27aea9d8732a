/* SPDX-License-Identifier: MIT */
/*
 * The CPU kernels of the PyTorch operators libmep::attention and libmep::attention_backward. Schemas, autograd,
 * autocast and fake kernels are registered by python/libmep/_operators.py.
 */
#include "torch/operators.h"

#include <string.h>

#include "attention/kernels.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "torch/arguments.h"
#include "torch/idle_plans.h"

/* ---- Results ---- */

static mep_status new_tensor(torch_tensor_handle *tensor, int64_t dim, const int64_t *sizes, const int64_t *strides,
                             int32_t dtype, void **data)
{
    if (mep_torch.empty_strided(dim, sizes, strides, dtype, mep_torch.device_type_cpu(), 0, tensor) == 0) {
        if (mep_torch.get_mutable_data_ptr(*tensor, data) == 0) return MEP_OK;
        mep_torch.delete_tensor_object(*tensor);
    }
    *tensor = NULL;
    return mep_fail(MEP_ERROR_MEMORY, "PyTorch could not make a tensor");
}

static mep_status new_contiguous(torch_tensor_handle *tensor, int64_t dim, const int64_t *sizes, int32_t dtype,
                                 void **data)
{
    int64_t strides[MOST_AXES], size = 1;
    for (int64_t i = dim - 1; i >= 0; i--) {
        strides[i] = size;
        size *= sizes[i];
    }
    return new_tensor(tensor, dim, sizes, strides, dtype, data);
}

/* A tensor of x's shape and type. Its axes have the same order in memory as those of x; the last axis is contiguous. */
static mep_status new_like(torch_tensor_handle *tensor, const torch_argument *x, mep_tensor_view *view)
{
    int64_t strides[MOST_AXES] = {0, 0, 0, 1}, size = x->sizes[3];
    int order[] = {2, 1, 0};
    for (int i = 1; i < 3; i++)
        for (int j = i; j > 0 && x->strides[order[j]] < x->strides[order[j - 1]]; j--) {
            int axis = order[j];
            order[j] = order[j - 1];
            order[j - 1] = axis;
        }
    for (int i = 0; i < 3; i++) {
        strides[order[i]] = size;
        size *= x->sizes[order[i]];
    }
    *view = (mep_tensor_view){NULL, strides[0], strides[1], strides[2]};
    return new_tensor(tensor, MOST_AXES, x->sizes, strides, x->dtype, &view->data);
}

/* ---- Calls ---- */

static mep_tensor_view view_of(const torch_argument *x)
{
    return (mep_tensor_view){(void *)(uintptr_t)x->data, x->strides[0], x->strides[1], x->strides[2]};
}

static mep_attention_terms terms_of(const torch_arguments *a)
{
    const torch_argument *x = a->tensors;
    mep_attention_terms terms = {.table = x[TABLE].data,
                                 .table_ahead = x[TABLE_AHEAD].data,
                                 .window = a->window,
                                 .sink = x[SINK].data,
                                 .bank = x[BANK].data,
                                 .log_kernels = x[LOG_KERNELS].data};
    if (mep_torch_has(a, TABLE)) terms.table_length = x[TABLE].sizes[1];
    if (mep_torch_has(a, BANK)) terms.rank = x[BANK].sizes[0], terms.extent = x[BANK].sizes[1];
    if (mep_torch_has(a, LOG_KERNELS))
        terms.kernels = x[LOG_KERNELS].sizes[1], terms.log_kernels_length = x[LOG_KERNELS].sizes[2];
    return terms;
}

/* A plan for these arguments, for the present number of threads, with room for the keys rounded up to a block. */
static mep_status take_plan(idle_plan **plan, const torch_arguments *a)
{
    const plan_key key = {.heads = a->heads,
                          .kv_heads = a->kv_heads,
                          .head_dim = a->head_dim,
                          .max_length = round_up(a->keys, BLOCK_KEYS),
                          .dtype = a->dtype,
                          .bidirectional = a->bidirectional,
                          .threads = mep_set_threads(0),
                          .scale = a->scale,
                          .tolerance = a->tolerance};
    const mep_attention_terms terms = terms_of(a);
    return mep_torch_take_plan(plan, &key, &terms);
}

static mep_attention_call call_of(const torch_arguments *a)
{
    const torch_argument *x = a->tensors;
    mep_attention_call call = {.batch = a->batch,
                               .queries = a->queries,
                               .keys = a->keys,
                               .q = view_of(&x[Q]),
                               .k = view_of(&x[K]),
                               .v = view_of(&x[V]),
                               .starts = x[STARTS].data,
                               .ends = x[ENDS].data,
                               .gate = x[GATE].data};
    if (mep_torch_has(a, PROFILES)) call.profiles = view_of(&x[PROFILES]);
    if (mep_torch_has(a, MIXTURE)) call.mixture = view_of(&x[MIXTURE]);
    return call;
}

static mep_status forward(const torch_arguments *a, torch_tensor_handle results[2])
{
    mep_attention_call call = call_of(a);
    idle_plan *plan = NULL;
    void *lse = NULL;
    MEP_TRY(new_like(&results[0], &a->tensors[Q], &call.out));
    MEP_TRY(new_contiguous(&results[1], 3, a->tensors[Q].sizes, mep_torch.dtype_float32(), &lse));
    call.lse = lse;
    MEP_TRY(take_plan(&plan, a));
    mep_status status = mep_attention_forward(plan->plan, &call);
    if (status == MEP_OK) {
        mep_torch_give_plan(&plan);
    } else {
        mep_torch_destroy_plan(&plan);
    }
    return status;
}

/* ---- Gradients ---- */

/* The library's sums of a table's gradient, in float64. A table may have more distances than there are keys. */
typedef struct table_sums {
    double *values;
    int64_t rows, columns;
} table_sums;

static mep_status new_sums(table_sums *sums, const torch_arguments *a, int term)
{
    const torch_argument *x = &a->tensors[term];
    int64_t count = 0;
    sums->rows = 1;
    for (int64_t i = 0; i < x->dim - 1; i++) sums->rows *= x->sizes[i];
    sums->columns = term == TABLE || term == TABLE_AHEAD || term == LOG_KERNELS ? a->keys : x->sizes[x->dim - 1];
    MEP_TRY(mep_multiply(sums->rows, sums->columns, 1, &count));
    return MEP_ALLOC(&sums->values, count);
}

/* The gradient in float32, 0 at distances that no key has. */
static mep_status finish_sums(torch_tensor_handle *tensor, const torch_argument *x, const table_sums *sums)
{
    void *data = NULL;
    MEP_TRY(new_contiguous(tensor, x->dim, x->sizes, x->dtype, &data));
    int64_t columns = x->sizes[x->dim - 1];
    float *out = data;
    for (int64_t r = 0; r < sums->rows; r++)
        for (int64_t c = 0; c < columns; c++)
            *out++ = c < sums->columns ? (float)sums->values[r * sums->columns + c] : 0;
    return MEP_OK;
}

/* Where the gradient of a term is written: its tensor, or sums that become its tensor. */
static mep_status add_gradient(const torch_arguments *a, int term, mep_attention_gradient *g, table_sums *sums,
                               torch_tensor_handle *tensor)
{
    const torch_argument *x = &a->tensors[term];
    void *data = NULL;
    switch (term) {
    case PROFILES:
        return new_like(tensor, x, &g->dprofiles);
    case MIXTURE:
        return new_like(tensor, x, &g->dmixture);
    case GATE:
        MEP_TRY(new_contiguous(tensor, x->dim, x->sizes, x->dtype, &data));
        g->dgate = data;
        return MEP_OK;
    default:
        break;
    }
    MEP_TRY(new_sums(sums, a, term));
    if (term == TABLE) g->dtable = sums->values;
    if (term == TABLE_AHEAD) g->dtable_ahead = sums->values;
    if (term == BANK) g->dbank = sums->values;
    if (term == LOG_KERNELS) g->dlog_kernels = sums->values;
    if (term == SINK) g->dsink = sums->values;
    return MEP_OK;
}

static mep_status run_backward(const torch_arguments *a, mep_attention_gradient *gradient)
{
    mep_attention_call call = call_of(a);
    idle_plan *plan = NULL;
    call.out = view_of(&a->tensors[OUT]);
    call.lse = (float *)(uintptr_t)a->tensors[LSE].data; /* only read */
    MEP_TRY(take_plan(&plan, a));
    mep_status status = mep_attention_backward(plan->plan, &call, gradient);
    if (status == MEP_OK) {
        mep_torch_give_plan(&plan);
    } else {
        mep_torch_destroy_plan(&plan);
    }
    return status;
}

enum { MOST_RESULTS = 3 + TERMS };

/* results[0..2]: dq, dk, dv; results[3 + i]: of term i, NULL where it is not wanted. */
static mep_status backward(const torch_arguments *a, torch_tensor_handle results[MOST_RESULTS])
{
    mep_attention_gradient gradient = {.dout = view_of(&a->tensors[DOUT])};
    table_sums sums[TERMS] = {{NULL, 0, 0}};
    mep_status status = MEP_OK;
    MEP_TRY(new_like(&results[0], &a->tensors[Q], &gradient.dq));
    MEP_TRY(new_like(&results[1], &a->tensors[K], &gradient.dk));
    MEP_TRY(new_like(&results[2], &a->tensors[V], &gradient.dv));
    for (int i = 0; i < TERMS; i++)
        if (a->wanted[i]) MEP_TRY_OR(status, add_gradient(a, TABLE + i, &gradient, &sums[i], &results[3 + i]), end);
    MEP_TRY_OR(status, run_backward(a, &gradient), end);
    for (int i = 0; i < TERMS; i++)
        if (sums[i].values != NULL)
            MEP_TRY_OR(status, finish_sums(&results[3 + i], &a->tensors[TABLE + i], &sums[i]), end);
end:
    for (int i = 0; i < TERMS; i++) mep_free(&sums[i].values);
    return status;
}

/* ---- Kernels ---- */

static void delete_results(torch_tensor_handle *results, int count)
{
    for (int i = 0; i < count; i++)
        if (results[i] != NULL) mep_torch.delete_tensor_object(results[i]);
}

/* Throws a C++ exception, which PyTorch turns into a RuntimeError: everything is freed before. */
static void throw_error(const char *operator_name)
{
    mep_torch.check(false, operator_name, "libmep", 0, mep_error_message());
}

void mep_torch_attention(stable_value *stack, uint64_t arguments, uint64_t results)
{
    (void)arguments, (void)results; /* those of the schema */
    torch_tensor_handle found[2] = {NULL, NULL};
    torch_arguments a;
    mep_status status = mep_torch_read(&a, stack, 0);
    if (status == MEP_OK) status = forward(&a, found);
    mep_torch_release(&a);
    if (status != MEP_OK) {
        delete_results(found, 2);
        throw_error("libmep::attention");
        return;
    }
    for (int i = 0; i < 2; i++) stack[i] = (stable_value)(uintptr_t)found[i];
}

/* The results that are not NULL, in a list of PyTorch, which owns them then. */
static mep_status make_list(torch_list_handle *list, torch_tensor_handle results[MOST_RESULTS])
{
    int failed = mep_torch.new_list_reserve_size(MOST_RESULTS, list) != 0;
    if (failed) return mep_fail(MEP_ERROR_MEMORY, "PyTorch could not make a list");
    for (int i = 0; !failed && i < MOST_RESULTS; i++)
        if (results[i] != NULL) failed = mep_torch.list_push_back(*list, (stable_value)(uintptr_t)results[i]) != 0;
    if (!failed) return MEP_OK;
    mep_torch.delete_list(*list); /* without what it contains */
    return mep_fail(MEP_ERROR_MEMORY, "PyTorch could not extend a list");
}

void mep_torch_attention_backward(stable_value *stack, uint64_t arguments, uint64_t results)
{
    (void)arguments, (void)results;
    torch_tensor_handle found[MOST_RESULTS] = {NULL};
    torch_list_handle list = NULL;
    torch_arguments a;
    mep_status status = mep_torch_read(&a, stack, 1);
    if (status == MEP_OK) status = backward(&a, found);
    mep_torch_release(&a);
    if (status == MEP_OK) status = make_list(&list, found);
    if (status != MEP_OK) {
        delete_results(found, MOST_RESULTS);
        throw_error("libmep::attention_backward");
        return;
    }
    stack[0] = (stable_value)(uintptr_t)list;
}
