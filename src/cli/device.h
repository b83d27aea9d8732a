/* SPDX-License-Identifier: MIT */
/*
 * The option --device, and what it does to --dtype. A device that cannot be used ends a command before any work.
 */
#ifndef MEP_CLI_DEVICE_H
#define MEP_CLI_DEVICE_H

#include "cli/args.h"
#include "mep/device.h"

/* "cpu", "cuda", NULL: a mep_device each */
extern const char *const mep_cli_devices[];

/* A row of a table of options; D is where the choice goes. */
#define MEP_CLI_DEVICE_ROW(D)                                                                                          \
    MEP_OPT_CHOICE("--device", 0, "DEVICE", (D), mep_cli_devices,                                                      \
                   "where to compute: cpu; or cuda, an NVIDIA GPU, in bfloat16 and in one process")

/* The default of a --dtype beside it, where that of the processor is float32. */
#define MEP_CLI_DTYPE_DEFAULT "float32; bfloat16 on cuda"

/* The device can be used, by the processes that there are. MEP_ARGS_GO, or the exit code after one line on stderr. */
int mep_cli_check_device(const char *command, mep_device device);

/* After the parsing: on cuda the choice among mep_train_dtypes that the option `name` ("--dtype") has set becomes
 * bfloat16, unless the command line chose float32, which is refused. MEP_ARGS_GO, or the exit code after one line on
 * stderr. */
int mep_cli_fit_dtype(const char *command, const mep_option *options, const char *name, mep_device device, int *dtype);

#endif
