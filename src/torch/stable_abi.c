/* SPDX-License-Identifier: MIT */
/*
 * The functions of PyTorch's library, found by name.
 */
#include "torch/stable_abi.h"

#include <string.h>

#include "base/error.h"

torch_functions mep_torch;

/* A function's address as a member of the table. ISO C has no conversion of a void * to it. */
static void store(void *member, void *address)
{
    memcpy(member, &address, sizeof address);
}

mep_status mep_torch_find(torch_functions *t, mep_torch_find_fn find, void *context)
{
    struct {
        const char *name;
        void *member;
    } all[] = {
#define ROW(result, name, parameters) {"aoti_torch_" #name, &t->name},
        AOTI_FUNCTIONS(ROW)
#undef ROW
#define ROW(result, name, parameters) {"torch_" #name, &t->name},
            TORCH_FUNCTIONS(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        void *address = find(context, all[i].name);
        if (address == NULL)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "this PyTorch has no function %s: 2.10 or later is needed",
                            all[i].name);
        store(all[i].member, address);
    }
    store(&t->delete_stable_value, find(context, "torch_delete_stable_ivalue"));
    store(&t->cxx_delete, find(context, "_ZdlPv"));
    if (t->delete_stable_value == NULL && t->cxx_delete == NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "this PyTorch has no function torch_delete_stable_ivalue");
    if (t->abi_version() < TORCH_RULES) return mep_fail(MEP_ERROR_UNSUPPORTED, "this PyTorch is older than 2.10");
    return MEP_OK;
}
