/* SPDX-License-Identifier: MIT */
/*
 * Loading cuBLASLt: from the system's library path, or from the folder where the build found it.
 */
#include "cuda/cublaslt.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define LIBRARY "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

static const struct {
    const char *name;
    size_t at; /* in mep_cublaslt */
} symbols[] = {
    {"cublasLtCreate", offsetof(mep_cublaslt, create)},
    {"cublasLtDestroy", offsetof(mep_cublaslt, destroy)},
    {"cublasLtGetStatusString", offsetof(mep_cublaslt, status_string)},
    {"cublasLtMatrixLayoutCreate", offsetof(mep_cublaslt, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(mep_cublaslt, layout_destroy)},
    {"cublasLtMatmulDescCreate", offsetof(mep_cublaslt, operation_create)},
    {"cublasLtMatmulDescDestroy", offsetof(mep_cublaslt, operation_destroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(mep_cublaslt, operation_set)},
    {"cublasLtMatmulPreferenceCreate", offsetof(mep_cublaslt, preference_create)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(mep_cublaslt, preference_destroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(mep_cublaslt, preference_set)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(mep_cublaslt, heuristic)},
    {"cublasLtMatmul", offsetof(mep_cublaslt, matmul)},
};

static mep_status load(mep_cublaslt *functions)
{
    void *object = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) object = dlopen(MEP_CUDA_LIBRARIES "/" LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "products on CUDA need cuBLASLt: install CUDA's libraries, or name the folder of " LIBRARY
                        " in LD_LIBRARY_PATH (%s)",
                        dlerror());
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *function = dlsym(object, symbols[i].name);
        if (function == NULL)
            return mep_fail(MEP_ERROR_UNSUPPORTED, LIBRARY " has no %s; install that of CUDA " TEXT(CUBLAS_VER_MAJOR),
                            symbols[i].name);
        memcpy((char *)functions + symbols[i].at, &function, sizeof function);
    }
    return MEP_OK;
}

const mep_cublaslt *mep_cublaslt_load(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static mep_cublaslt functions;
    static int loaded;
    pthread_mutex_lock(&lock);
    if (!loaded) loaded = load(&functions) == MEP_OK;
    const mep_cublaslt *found = loaded ? &functions : NULL;
    pthread_mutex_unlock(&lock);
    return found;
}
