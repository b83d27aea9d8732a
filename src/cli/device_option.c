/* SPDX-License-Identifier: MIT */
/*
 * The requirements of --device, and the meaning of --dtype auto.
 */
#include "cli/device_option.h"

#include <stdio.h>

#include "base/device_memory.h"
#include "cli/cli.h"
#include "cli/processes.h"

const char *const mep_cli_devices[] = {"cpu", "cuda", NULL};
const char *const mep_cli_dtypes[] = {"float32", "bfloat16", "auto", NULL};

int mep_cli_check_device(const char *command, mep_device device)
{
    if (!mep_device_is_host(device) && mep_cli_processes() > 1)
        return mep_cli_usage(command, "--device %s works in one process; start it without mpirun",
                             mep_device_name(device));
    return mep_device_check(device) == MEP_OK ? MEP_ARGS_GO : mep_cli_fail(command);
}

int mep_cli_choose_dtype(const char *command, const mep_option *options, const char *name, mep_device device,
                         int choice, mep_dtype *dtype)
{
    *dtype = choice == MEP_CLI_FLOAT32 ? MEP_FLOAT32 : MEP_BFLOAT16;
    if (!mep_device_computes_in(device, MEP_FLOAT32)) {
        *dtype = MEP_BFLOAT16;
        if (!mep_args_given(options, name) || choice != MEP_CLI_FLOAT32) return MEP_ARGS_GO;
        return mep_cli_usage(command, "--device %s computes in bfloat16; leave out %s float32, or take --device cpu",
                             mep_device_name(device), name);
    }
    if (choice != MEP_CLI_AUTO) return MEP_ARGS_GO;
    int is_float32 = mep_dtype_auto(device) == MEP_FLOAT32;
    if (mep_dist_any(mep_cli_group(), &is_float32) != MEP_OK) return mep_cli_fail(command);
    if (is_float32) *dtype = MEP_FLOAT32;
    return MEP_ARGS_GO;
}

void mep_cli_dtype_reason(int is_auto, mep_device device, mep_dtype dtype, char text[MEP_CLI_DTYPE_REASON])
{
    int is_slow = dtype == MEP_BFLOAT16 && mep_dtype_auto(device) != MEP_BFLOAT16;
    text[0] = '\0';
    if (!mep_device_is_host(device) || (!is_auto && !is_slow)) return;
    if (dtype == MEP_BFLOAT16 && !is_slow)
        snprintf(text, MEP_CLI_DTYPE_REASON, " (auto: the CPU has bfloat16 arithmetic)");
    else if (mep_dtype_auto(device) != MEP_BFLOAT16)
        snprintf(text, MEP_CLI_DTYPE_REASON, " (%s: the CPU level %s has no bfloat16 arithmetic)",
                 is_slow ? "slow here" : "auto", mep_cpu_level_name());
    else
        snprintf(text, MEP_CLI_DTYPE_REASON, " (auto: another process's CPU has no bfloat16 arithmetic)");
}
