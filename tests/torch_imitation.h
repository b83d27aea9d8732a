/* SPDX-License-Identifier: MIT */
/*
 * A small imitation of the functions of PyTorch that src/torch calls, with tensors that are views of arrays. It counts
 * what is owned, and lets any call fail. It tests nothing itself.
 */
#ifndef MEP_TESTS_TORCH_IMITATION_H
#define MEP_TESTS_TORCH_IMITATION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "torch/arguments.h"
#include "torch/stable_abi.h"

enum { CPU = 0, FLOAT32 = 6, FLOAT64 = 7, INT64 = 4, BFLOAT16 = 15 };

struct torch_tensor_object {
    int64_t dim, sizes[MOST_AXES], strides[MOST_AXES];
    int32_t dtype, device;
    char *data;
    int owns_data;
};

struct torch_list_object {
    size_t size;
    stable_value items[16];
};

static _Thread_local int64_t owned;   /* tensors, lists and values of optional arguments */
static _Thread_local int64_t to_fail; /* the number of the call that fails, from 1; 0: none */
static _Thread_local jmp_buf thrown;
static _Thread_local char message[500];
static uint64_t version = TORCH_RULES;
static const char *missing = "";
static torch_kernel forward_kernel, backward_kernel;

static int32_t fails(void)
{
    return to_fail > 0 && --to_fail == 0;
}

static void *new_object(size_t size)
{
    void *object = calloc(1, size);
    assert_non_null(object);
    owned++;
    return object;
}

static void delete_object(void *object)
{
    free(object);
    owned--;
}

static uint64_t abi_version(void)
{
    return version;
}

static int32_t device_type_cpu(void)
{
    return CPU;
}

static int32_t dtype_float32(void)
{
    return FLOAT32;
}

static int32_t dtype_bfloat16(void)
{
    return BFLOAT16;
}

static int32_t dtype_float64(void)
{
    return FLOAT64;
}

static int32_t dtype_int64(void)
{
    return INT64;
}

static int32_t get_device_type(torch_tensor_handle t, int32_t *device)
{
    *device = t->device;
    return fails();
}

static int32_t get_dtype(torch_tensor_handle t, int32_t *dtype)
{
    *dtype = t->dtype;
    return fails();
}

static int32_t get_dim(torch_tensor_handle t, int64_t *dim)
{
    *dim = t->dim;
    return fails();
}

static int32_t get_sizes(torch_tensor_handle t, int64_t **sizes)
{
    *sizes = t->sizes;
    return fails();
}

static int32_t get_strides(torch_tensor_handle t, int64_t **strides)
{
    *strides = t->strides;
    return fails();
}

static int32_t get_const_data_ptr(torch_tensor_handle t, const void **data)
{
    *data = t->data;
    return fails();
}

static int32_t get_mutable_data_ptr(torch_tensor_handle t, void **data)
{
    *data = t->data;
    return fails();
}

static int64_t bytes_of(int32_t dtype)
{
    return dtype == BFLOAT16 ? 2 : dtype == FLOAT32 ? 4 : 8;
}

static int32_t empty_strided(int64_t dim, const int64_t *sizes, const int64_t *strides, int32_t dtype, int32_t device,
                             int32_t index, torch_tensor_handle *t)
{
    int64_t extent = 1;
    assert_int_equal(index, 0);
    if (fails()) return 1;
    *t = new_object(sizeof **t);
    **t = (struct torch_tensor_object){.dim = dim, .dtype = dtype, .device = device, .owns_data = 1};
    memcpy((*t)->sizes, sizes, (size_t)dim * sizeof *sizes);
    memcpy((*t)->strides, strides, (size_t)dim * sizeof *strides);
    for (int64_t i = 0; i < dim; i++) extent += (sizes[i] - 1) * strides[i];
    (*t)->data = malloc((size_t)(extent * bytes_of(dtype)));
    assert_non_null((*t)->data);
    memset((*t)->data, 0xff, (size_t)(extent * bytes_of(dtype))); /* NaN: every element must be written */
    return 0;
}

static int32_t delete_tensor_object(torch_tensor_handle t)
{
    if (t->owns_data) free(t->data);
    delete_object(t);
    return 0;
}

static int32_t library_init_impl(const char *space, const char *key, const char *file, uint32_t line,
                                 torch_library_handle *library)
{
    (void)file, (void)line;
    assert_string_equal(space, "libmep");
    assert_string_equal(key, "CPU");
    if (fails()) return 1;
    *library = new_object(1);
    return 0;
}

static int32_t delete_library_object(torch_library_handle library)
{
    delete_object(library);
    return 0;
}

static int32_t library_impl(torch_library_handle library, const char *name, torch_kernel kernel, uint64_t rules)
{
    assert_non_null(library);
    assert_true(rules == TORCH_RULES);
    if (fails()) return 1;
    *(strcmp(name, "attention") == 0 ? &forward_kernel : &backward_kernel) = kernel;
    return 0;
}

/* PyTorch throws a C++ exception. */
static void check(bool condition, const char *function, const char *file, uint32_t line, const char *text)
{
    (void)function, (void)file, (void)line;
    if (condition) return;
    snprintf(message, sizeof message, "%s", text);
    longjmp(thrown, 1);
}

static int32_t new_list_reserve_size(size_t size, torch_list_handle *list)
{
    assert_true(size <= 16);
    if (fails()) return 1;
    *list = new_object(sizeof **list);
    return 0;
}

static int32_t list_size(torch_list_handle list, size_t *size)
{
    *size = list->size;
    return fails();
}

static int32_t list_get_item(torch_list_handle list, size_t i, stable_value *value)
{
    assert_true(i < list->size);
    *value = list->items[i];
    return fails();
}

static int32_t list_push_back(torch_list_handle list, stable_value value)
{
    if (fails()) return 1;
    list->items[list->size++] = value;
    return 0;
}

static int32_t delete_list(torch_list_handle list)
{
    delete_object(list);
    return 0;
}

static int32_t delete_value(stable_value *value)
{
    delete_object(value);
    return 0;
}

static void cxx_delete(void *value)
{
    delete_object(value);
}

static void *address_of(void (*function)(void))
{
    void *address;
    memcpy(&address, &function, sizeof address);
    return address;
}

static void *find(void *context, const char *name)
{
    static const struct {
        const char *name;
        void (*function)(void);
    } all[] = {
#define ROW(result, name, parameters) {"aoti_torch_" #name, (void (*)(void))name},
        AOTI_FUNCTIONS(ROW)
#undef ROW
#define ROW(result, name, parameters) {"torch_" #name, (void (*)(void))name},
            TORCH_FUNCTIONS(ROW)
#undef ROW
                {"torch_delete_stable_ivalue", (void (*)(void))delete_value},
        {"_ZdlPv", (void (*)(void))cxx_delete}};
    assert_ptr_equal(context, &version);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(name, all[i].name) == 0 && strcmp(name, missing) != 0) return address_of(all[i].function);
    return NULL;
}

#endif
