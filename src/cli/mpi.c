/* SPDX-License-Identifier: MIT */
/*
 * Whether the process is one of several, and the loading of MPI if it is.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/mpi.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

int64_t mep_mpi_started(void)
{
    /* set by: mpirun of Open MPI; mpirun of MPICH and its relatives, and srun --mpi=pmi2. srun --mpi=pmix sets
       SLURM_STEP_NUM_TASKS */
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};
    for (int i = 0; names[i] != NULL; i++)
        if (getenv(names[i]) != NULL) return strtoll(getenv(names[i]), NULL, 10);
    if (getenv("PMIX_RANK") == NULL) return 1;
    return getenv("SLURM_STEP_NUM_TASKS") != NULL ? strtoll(getenv("SLURM_STEP_NUM_TASKS"), NULL, 10) : 0;
}

#if MEP_HAVE_MPI

#include <dlfcn.h>

/* libmep-mpi.so is found by the program's run path, and stays loaded. MPI loads parts of itself that look for its
 * names, hence RTLD_GLOBAL. Returns NULL, with a message, if it cannot be loaded. */
static const mep_mpi_module *load(void)
{
    static const mep_mpi_module *module;
    if (module != NULL) return module;
    void *object = dlopen("libmep-mpi.so", RTLD_NOW | RTLD_GLOBAL);
    if (object != NULL) module = dlsym(object, "mep_mpi_entry");
    if (module == NULL) mep_fail(MEP_ERROR_UNSUPPORTED, "MPI cannot be loaded: %s", dlerror());
    return module;
}

#else

static const mep_mpi_module *load(void)
{
    mep_fail(MEP_ERROR_UNSUPPORTED, "this build has no MPI; install libopenmpi-dev and configure with MEP_MPI=ON");
    return NULL;
}

#endif

static int is_joined; /* MPI is started */

mep_status mep_mpi_open(mep_dist **group)
{
    char text[512];
    mep_dist_settings settings = {0};
    const mep_mpi_module *module = load();
    if (module == NULL) return mep_fail_in(MEP_ERROR_UNSUPPORTED, "started as one of several processes, but ");
    if (module->join(&settings, text, sizeof text) != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "MPI cannot be started: %s", text);
    is_joined = 1;
    return mep_dist_create(group, &settings);
}

void mep_mpi_close(mep_dist **group, int code, int at_once)
{
    if (is_joined) load()->leave(code, at_once);
    is_joined = 0;
    mep_dist_destroy(group);
}

const char *mep_mpi_name(void)
{
    static char text[600];
    const mep_mpi_module *module = load();
    if (module != NULL) return module->name();
    snprintf(text, sizeof text, "none: %s", mep_error_message());
    return text;
}
