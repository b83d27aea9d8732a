/* SPDX-License-Identifier: MIT */
/*
 * Reading and checking the arguments of PyTorch's operators.
 */
#include "torch/arguments.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static const char *const names[TENSORS] = {"dout",  "q",           "k",        "v",    "out",     "lse",
                                           "table", "gate",        "profiles", "bank", "mixture", "log_kernels",
                                           "sink",  "table_ahead", "starts",   "ends"};

const char *mep_torch_name(int tensor)
{
    return names[tensor];
}

/* ---- The stack ---- */

static void delete_value(stable_value *value)
{
    if (mep_torch.delete_stable_value != NULL) {
        mep_torch.delete_stable_value(value);
    } else {
        mep_torch.cxx_delete(value);
    }
}

static torch_tensor_handle take_optional(stable_value value)
{
    stable_value *address = (stable_value *)(uintptr_t)value;
    if (address == NULL) return NULL;
    torch_tensor_handle tensor = (torch_tensor_handle)(uintptr_t)*address;
    delete_value(address);
    return tensor;
}

static double to_double(stable_value value)
{
    double x;
    memcpy(&x, &value, sizeof x);
    return x;
}

/* The flags of the list `wanted`, which is freed. */
static mep_status take_wanted(torch_arguments *a, stable_value value)
{
    torch_list_handle list = (torch_list_handle)(uintptr_t)value;
    stable_value flag = 0;
    size_t size = 0;
    int wrong = mep_torch.list_size(list, &size) != 0 || size != TERMS;
    for (size_t i = 0; !wrong && i < TERMS; i++) {
        wrong = mep_torch.list_get_item(list, i, &flag) != 0;
        a->wanted[i] = (flag & 0xff) != 0;
    }
    mep_torch.delete_list(list);
    return wrong ? mep_fail(MEP_ERROR_ARGUMENT, "wanted must have %d elements", (int)TERMS) : MEP_OK;
}

/* All that is owned is taken before anything can fail. */
static mep_status take_arguments(torch_arguments *a, const stable_value *stack, int backward)
{
    mep_status status = MEP_OK;
    for (int i = backward ? DOUT : Q; i <= (backward ? LSE : V); i++)
        a->tensors[i].handle = (torch_tensor_handle)(uintptr_t)*stack++;
    for (int i = TABLE; i <= ENDS; i++) a->tensors[i].handle = take_optional(*stack++);
    if (backward) status = take_wanted(a, *stack++);
    a->window = (int64_t)stack[0];
    a->bidirectional = (stack[1] & 0xff) != 0;
    a->scale = to_double(stack[2]);
    a->tolerance = to_double(stack[3]);
    return status;
}

void mep_torch_release(torch_arguments *a)
{
    for (int i = 0; i < TENSORS; i++) {
        if (a->tensors[i].handle != NULL) mep_torch.delete_tensor_object(a->tensors[i].handle);
        mep_free(&a->tensors[i].copy);
    }
    *a = (torch_arguments){.dtype = MEP_FLOAT32};
}

/* ---- Checks ---- */

static mep_status refuse(int tensor, const char *what)
{
    return mep_fail(MEP_ERROR_ARGUMENT, "%s: %s. libmep.torch.attention reports what is expected", names[tensor], what);
}

static mep_status describe(torch_arguments *a, int tensor)
{
    torch_argument *x = &a->tensors[tensor];
    int64_t *sizes = NULL, *strides = NULL;
    int32_t device = 0;
    if (mep_torch.get_device_type(x->handle, &device) != 0 || device != mep_torch.device_type_cpu())
        return refuse(tensor, "the tensor is not on the CPU");
    if (mep_torch.get_dtype(x->handle, &x->dtype) != 0 || mep_torch.get_dim(x->handle, &x->dim) != 0 ||
        mep_torch.get_sizes(x->handle, &sizes) != 0 || mep_torch.get_strides(x->handle, &strides) != 0 ||
        mep_torch.get_const_data_ptr(x->handle, &x->data) != 0)
        return refuse(tensor, "the tensor is not dense");
    x->sizes = sizes;
    x->strides = strides;
    return MEP_OK;
}

/* This number of axes, none of them empty. */
static mep_status check_axes(const torch_arguments *a, int tensor, int64_t dim)
{
    const torch_argument *x = &a->tensors[tensor];
    int wrong = x->dim != dim;
    for (int64_t i = 0; !wrong && i < dim; i++) wrong = x->sizes[i] < 1;
    return wrong ? refuse(tensor, "the shape is not possible") : MEP_OK;
}

/* This type and shape; `rows`: the last axis must be contiguous. */
static mep_status check_tensor(const torch_arguments *a, int tensor, int32_t dtype, int64_t dim, const int64_t *sizes,
                               int rows)
{
    const torch_argument *x = &a->tensors[tensor];
    if (x->dtype != dtype) return refuse(tensor, "the type is not possible");
    if (x->dim != dim || memcmp(x->sizes, sizes, (size_t)dim * sizeof *sizes) != 0)
        return refuse(tensor, "the shape is not possible");
    if (rows && sizes[dim - 1] != 1 && x->strides[dim - 1] != 1)
        return refuse(tensor, "the last axis is not contiguous");
    return MEP_OK;
}

static mep_status check_inputs(torch_arguments *a)
{
    const torch_argument *q = &a->tensors[Q], *k = &a->tensors[K];
    if (q->dtype != mep_torch.dtype_float32() && q->dtype != mep_torch.dtype_bfloat16())
        return refuse(Q, "the type is not possible");
    MEP_TRY(check_axes(a, Q, MOST_AXES));
    MEP_TRY(check_axes(a, K, MOST_AXES));
    a->dtype = q->dtype == mep_torch.dtype_float32() ? MEP_FLOAT32 : MEP_BFLOAT16;
    a->batch = q->sizes[0], a->heads = q->sizes[1], a->queries = q->sizes[2], a->head_dim = q->sizes[3];
    a->kv_heads = k->sizes[1], a->keys = k->sizes[2];
    if (a->heads % a->kv_heads != 0 || a->queries > a->keys) return refuse(K, "the shape is not possible");
    const int64_t shape[] = {a->batch, a->kv_heads, a->keys, a->head_dim};
    MEP_TRY(check_tensor(a, Q, q->dtype, MOST_AXES, q->sizes, 1));
    MEP_TRY(check_tensor(a, K, q->dtype, MOST_AXES, shape, 1));
    return check_tensor(a, V, q->dtype, MOST_AXES, shape, 1);
}

/* [heads, ..., at least `keys` distances], float32. */
static mep_status check_table(const torch_arguments *a, int tensor, int64_t dim)
{
    const torch_argument *x = &a->tensors[tensor];
    MEP_TRY(check_axes(a, tensor, dim));
    if (x->sizes[0] != a->heads || x->sizes[dim - 1] < a->keys) return refuse(tensor, "the shape is not possible");
    return check_tensor(a, tensor, mep_torch.dtype_float32(), dim, x->sizes, 0);
}

/* Rows [batch, heads, queries, n] of float32, with the table that has the n rows. */
static mep_status check_rows(const torch_arguments *a, int rows, int table, int64_t n)
{
    if (mep_torch_has(a, rows) != mep_torch_has(a, table))
        return refuse(mep_torch_has(a, rows) ? table : rows, "the tensor is missing");
    if (!mep_torch_has(a, rows)) return MEP_OK;
    const int64_t shape[] = {a->batch, a->heads, a->queries, n};
    return check_tensor(a, rows, mep_torch.dtype_float32(), MOST_AXES, shape, 1);
}

static mep_status check_terms(const torch_arguments *a)
{
    const torch_argument *x = a->tensors;
    const int32_t float32 = mep_torch.dtype_float32();
    const int64_t gate[] = {a->batch, a->heads, a->keys};
    if (mep_torch_has(a, TABLE)) MEP_TRY(check_table(a, TABLE, 2));
    if (mep_torch_has(a, GATE)) MEP_TRY(check_tensor(a, GATE, mep_torch.dtype_float64(), 3, gate, 0));
    if (mep_torch_has(a, BANK)) {
        MEP_TRY(check_axes(a, BANK, 2));
        MEP_TRY(check_tensor(a, BANK, float32, 2, x[BANK].sizes, 0));
    }
    MEP_TRY(check_rows(a, PROFILES, BANK, mep_torch_has(a, BANK) ? x[BANK].sizes[0] : 0));
    if (mep_torch_has(a, LOG_KERNELS)) MEP_TRY(check_table(a, LOG_KERNELS, 3));
    MEP_TRY(check_rows(a, MIXTURE, LOG_KERNELS, mep_torch_has(a, LOG_KERNELS) ? x[LOG_KERNELS].sizes[1] : 0));
    if (mep_torch_has(a, SINK)) MEP_TRY(check_tensor(a, SINK, float32, 1, &a->heads, 0));
    if (!mep_torch_has(a, TABLE_AHEAD)) return MEP_OK;
    if (!mep_torch_has(a, TABLE)) return refuse(TABLE, "the tensor is missing");
    return check_tensor(a, TABLE_AHEAD, float32, 2, x[TABLE].sizes, 0);
}

static mep_status check_bounds(const torch_arguments *a)
{
    const int64_t shape[] = {a->batch, a->queries};
    for (int i = STARTS; i <= ENDS; i++)
        if (mep_torch_has(a, i)) MEP_TRY(check_tensor(a, i, mep_torch.dtype_int64(), 2, shape, 0));
    if (a->window < 0) return mep_fail(MEP_ERROR_ARGUMENT, "window must be 0 or more");
    const int causal[] = {GATE, BANK, LOG_KERNELS}, both[] = {TABLE_AHEAD, ENDS};
    for (int i = 0; a->bidirectional && i < 3; i++)
        if (mep_torch_has(a, causal[i])) return refuse(causal[i], "the term is for causal attention");
    for (int i = 0; !a->bidirectional && i < 2; i++)
        if (mep_torch_has(a, both[i])) return refuse(both[i], "the argument is for bidirectional attention");
    if (a->bidirectional && a->queries != a->keys) return refuse(K, "the shape is not possible");
    return MEP_OK;
}

static mep_status check_backward(const torch_arguments *a)
{
    const torch_argument *q = &a->tensors[Q];
    MEP_TRY(check_tensor(a, DOUT, q->dtype, MOST_AXES, q->sizes, 1));
    MEP_TRY(check_tensor(a, OUT, q->dtype, MOST_AXES, q->sizes, 1));
    MEP_TRY(check_tensor(a, LSE, mep_torch.dtype_float32(), 3, q->sizes, 0));
    for (int i = 0; i < TERMS; i++)
        if (a->wanted[i] && !mep_torch_has(a, TABLE + i)) return refuse(TABLE + i, "the tensor is missing");
    return MEP_OK;
}

/* ---- Contiguous values ---- */

/* The library takes all but q, k, v, out, dout, profiles and mixture as arrays without gaps. */
static mep_status make_contiguous(torch_argument *x)
{
    int64_t size = x->dtype == mep_torch.dtype_float32() ? 4 : 8, count = 1, shape[3] = {1, 1, 1}, step[3] = {0, 0, 0};
    int contiguous = 1;
    for (int64_t i = x->dim - 1; i >= 0; i--) {
        contiguous = contiguous && (x->sizes[i] == 1 || x->strides[i] == count);
        count *= x->sizes[i];
        shape[3 - x->dim + i] = x->sizes[i];
        step[3 - x->dim + i] = x->strides[i] * size;
    }
    if (contiguous) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&x->copy, count * size));
    char *out = x->copy;
    for (int64_t i = 0; i < shape[0]; i++)
        for (int64_t j = 0; j < shape[1]; j++)
            for (int64_t n = 0; n < shape[2]; n++, out += size)
                memcpy(out, (const char *)x->data + i * step[0] + j * step[1] + n * step[2], (size_t)size);
    x->data = x->copy;
    return MEP_OK;
}

mep_status mep_torch_read(torch_arguments *a, const stable_value *stack, int backward)
{
    *a = (torch_arguments){.dtype = MEP_FLOAT32};
    MEP_TRY(take_arguments(a, stack, backward));
    for (int i = 0; i < TENSORS; i++)
        if (mep_torch_has(a, i)) MEP_TRY(describe(a, i));
    MEP_TRY(check_inputs(a));
    MEP_TRY(check_terms(a));
    MEP_TRY(check_bounds(a));
    if (backward) MEP_TRY(check_backward(a));
    const int arrays[] = {LSE, TABLE, GATE, BANK, LOG_KERNELS, SINK, TABLE_AHEAD, STARTS, ENDS};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (mep_torch_has(a, arrays[i])) MEP_TRY(make_contiguous(&a->tensors[arrays[i]]));
    return MEP_OK;
}
