/* SPDX-License-Identifier: MIT */
/*
 * Registers the kernels, once per process.
 */
#define _POSIX_C_SOURCE 200809L
#include "mep/torch.h"

#include <pthread.h>

#include "base/error.h"
#include "torch/operators.h"
#include "torch/stable_abi.h"

static pthread_mutex_t register_mutex = PTHREAD_MUTEX_INITIALIZER;
static torch_library_handle registered; /* the kernels; deleting it would remove them */

static mep_status register_kernels(void)
{
    torch_library_handle library = NULL;
    if (mep_torch.library_init_impl("libmep", "CPU", "libmep", 0, &library) == 0) {
        if (mep_torch.library_impl(library, "attention", mep_torch_attention, TORCH_RULES) == 0 &&
            mep_torch.library_impl(library, "attention_backward", mep_torch_attention_backward, TORCH_RULES) == 0) {
            registered = library;
            return MEP_OK;
        }
        mep_torch.delete_library_object(library);
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED, "PyTorch does not accept the kernels");
}

static mep_status register_once(mep_torch_find_fn find, void *context)
{
    torch_functions found = {.abi_version = NULL};
    if (registered != NULL) return MEP_OK;
    MEP_TRY(mep_torch_find(&found, find, context));
    mep_torch = found;
    return register_kernels();
}

mep_status mep_torch_register(mep_torch_find_fn find, void *context)
{
    MEP_REQUIRE_AS("find", find == NULL ? NULL : &find);
    pthread_mutex_lock(&register_mutex);
    mep_status status = register_once(find, context);
    pthread_mutex_unlock(&register_mutex);
    return status;
}
