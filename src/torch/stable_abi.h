/* SPDX-License-Identifier: MIT */
/*
 * The C functions of PyTorch's library (the "stable ABI" of LibTorch) that this room calls, found at run time by name.
 * No header of PyTorch is read, and libmep is not linked to it. Functions that return an int32_t return 0 on success.
 *
 * Ownership: the kernel of an operator owns the tensors and lists of its arguments and the stable_value of every
 * optional argument that is present. Tensors and lists among its results belong to PyTorch afterwards.
 */
#ifndef MEP_TORCH_STABLE_ABI_H
#define MEP_TORCH_STABLE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mep/torch.h"

/* An argument or result of an operator in 64 bits: an int64_t, the bits of a double, a bool, a torch_tensor_handle, a
 * torch_list_handle; of an optional argument the address of such a value, or 0 where it is absent. */
typedef uint64_t stable_value;

typedef struct torch_tensor_object *torch_tensor_handle;
typedef struct torch_list_object *torch_list_handle;
typedef struct torch_library_object *torch_library_handle;

/* A kernel replaces its arguments on the stack by its results. */
typedef void (*torch_kernel)(stable_value *stack, uint64_t arguments, uint64_t results);

/* The rules for stable_value that this room follows are those of PyTorch 2.10: major version, minor version, 0... A
 * newer PyTorch keeps them for kernels that name this version. */
#define TORCH_RULES ((UINT64_C(2) << 56) | (UINT64_C(10) << 48))

/* F(result, name, parameters): the name is that in PyTorch's library, without the prefix aoti_torch_ or torch_. */
#define AOTI_FUNCTIONS(F)                                                                                              \
    F(uint64_t, abi_version, (void))                                                                                   \
    F(int32_t, device_type_cpu, (void))                                                                                \
    F(int32_t, dtype_float32, (void))                                                                                  \
    F(int32_t, dtype_bfloat16, (void))                                                                                 \
    F(int32_t, dtype_float64, (void))                                                                                  \
    F(int32_t, dtype_int64, (void))                                                                                    \
    F(int32_t, get_device_type, (torch_tensor_handle, int32_t *))                                                      \
    F(int32_t, get_dtype, (torch_tensor_handle, int32_t *))                                                            \
    F(int32_t, get_dim, (torch_tensor_handle, int64_t *))                                                              \
    F(int32_t, get_sizes, (torch_tensor_handle, int64_t **))                                                           \
    F(int32_t, get_strides, (torch_tensor_handle, int64_t **))                                                         \
    F(int32_t, empty_strided,                                                                                          \
      (int64_t dim, const int64_t *sizes, const int64_t *strides, int32_t dtype, int32_t device, int32_t index,        \
       torch_tensor_handle *))                                                                                         \
    F(int32_t, delete_tensor_object, (torch_tensor_handle))                                                            \
    F(int32_t, library_init_impl, (const char *, const char *, const char *, uint32_t, torch_library_handle *))        \
    F(int32_t, delete_library_object, (torch_library_handle))                                                          \
    F(void, check, (bool condition, const char *function, const char *file, uint32_t line, const char *message))

#define TORCH_FUNCTIONS(F)                                                                                             \
    F(int32_t, library_impl, (torch_library_handle, const char *, torch_kernel, uint64_t))                             \
    F(int32_t, get_const_data_ptr, (torch_tensor_handle, const void **))                                               \
    F(int32_t, get_mutable_data_ptr, (torch_tensor_handle, void **))                                                   \
    F(int32_t, new_list_reserve_size, (size_t, torch_list_handle *))                                                   \
    F(int32_t, list_size, (torch_list_handle, size_t *))                                                               \
    F(int32_t, list_get_item, (torch_list_handle, size_t, stable_value *))                                             \
    F(int32_t, list_push_back, (torch_list_handle, stable_value))                                                      \
    F(int32_t, delete_list, (torch_list_handle))

#define MEMBER(result, name, parameters) result(*name) parameters;
typedef struct torch_functions {
    AOTI_FUNCTIONS(MEMBER)
    TORCH_FUNCTIONS(MEMBER)
    int32_t (*delete_stable_value)(stable_value *); /* of 2.13 and later; else NULL */
    void (*cxx_delete)(void *);                     /* the C++ operator, where the other is NULL */
} torch_functions;
#undef MEMBER

/* Set by mep_torch_register before the first kernel runs, and constant then. */
extern torch_functions mep_torch;

/* Find all functions. MEP_ERROR_UNSUPPORTED where one is missing or PyTorch is older than its rules. */
mep_status mep_torch_find(torch_functions *functions, mep_torch_find_fn find, void *context);

#endif
