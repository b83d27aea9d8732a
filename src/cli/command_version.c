/* SPDX-License-Identifier: MIT */
/*
 * mep version: prints the version and the parts of this build, and what it uses on this machine.
 */
#include <stdio.h>

#include <jansson.h>
#include <omp.h>

#include "base/cpu.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/mpi.h"
#include "io/json.h"
#include "mep/types.h"

#define TEXT(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
#if defined(__clang__)
#define COMPILER "clang " VERSION_TEXT(__clang_major__, __clang_minor__, __clang_patchlevel__)
#else
#define COMPILER "gcc " VERSION_TEXT(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__)
#endif

/* The GPU that --device cuda uses, or "none" and the reason. */
static const char *gpu_name(void)
{
    static char text[MEP_DEVICE_TEXT + 8];
    if (mep_device_describe(MEP_DEVICE_CUDA, text) != MEP_OK)
        snprintf(text, sizeof text, "none: %s", mep_error_message());
    return text;
}

static void print_text(void)
{
    printf("mep %s\n", mep_version());
    printf("compiler          %s\n", COMPILER);
    printf("CPU level         %s (the machine has %s; MEP_CPU selects another)\n", mep_cpu_level_name(),
           mep_cpu_level_text(mep_cpu_level_detected()));
    printf("threads           %d (OpenMP; OMP_NUM_THREADS sets them)\n", omp_get_max_threads());
    printf("processes         %s\n", mep_mpi_name());
    printf("GPU               %s\n", gpu_name());
}

static int print_json(void)
{
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s}", "version", mep_version(), "compiler", COMPILER, "cpu_level",
                  mep_cpu_level_name(), "cpu_level_detected", mep_cpu_level_text(mep_cpu_level_detected()), "threads",
                  omp_get_max_threads(), "processes", mep_mpi_name(), "gpu", gpu_name());
    if (root == NULL) {
        (void)mep_json_out_of_memory();
        return mep_cli_fail("version");
    }
    json_dumpf(root, stdout, 0);
    putchar('\n');
    json_decref(root);
    return MEP_EXIT_OK;
}

int mep_cli_version(int argc, char **argv)
{
    int json = 0, count;
    mep_option options[] = {
        MEP_OPT_FLAG("--json", 0, &json, "print one JSON object"),
        MEP_OPT_END,
    };
    mep_usage usage = {.command = "version",
                       .arguments = "",
                       .summary =
                           "Print the version, the compiler, the CPU level in use, the number of threads, MPI and "
                           "the GPU.",
                       .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (json) return print_json();
    print_text();
    return MEP_EXIT_OK;
}
