/* SPDX-License-Identifier: MIT */
/*
 * What --device demands of the machine and of the other options.
 */
#include "cli/device.h"

#include "cli/cli.h"
#include "cli/processes.h"

const char *const mep_cli_devices[] = {"cpu", "cuda", NULL};

int mep_cli_check_device(const char *command, mep_device device)
{
    if (device != MEP_DEVICE_CPU && mep_cli_group()->size > 1)
        return mep_cli_usage(command, "--device %s works in one process; start it without mpirun",
                             mep_device_name(device));
    return mep_device_check(device) == MEP_OK ? MEP_ARGS_GO : mep_cli_fail(command);
}

int mep_cli_fit_dtype(const char *command, const mep_option *options, const char *name, mep_device device, int *dtype)
{
    enum { FLOAT32, BFLOAT16 };
    if (device == MEP_DEVICE_CPU) return MEP_ARGS_GO;
    if (mep_args_given(options, name) && *dtype == FLOAT32)
        return mep_cli_usage(command, "--device %s computes in bfloat16; leave out %s float32, or take --device cpu",
                             mep_device_name(device), name);
    *dtype = BFLOAT16;
    return MEP_ARGS_GO;
}
