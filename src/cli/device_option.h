/* SPDX-License-Identifier: MIT */
/*
 * The options --device and --dtype, which depend on each other. A command fails before any work if the device cannot be
 * used.
 */
#ifndef MEP_CLI_DEVICE_OPTION_H
#define MEP_CLI_DEVICE_OPTION_H

#include "cli/args.h"
#include "mep/device.h"

/* The names of mep_device: "cpu", "cuda", NULL. */
extern const char *const mep_cli_devices[];

/* A row of a table of options; D points to the choice. */
#define MEP_CLI_DEVICE_ROW(D)                                                                                          \
    MEP_OPT_CHOICE("--device", 0, "DEVICE", (D), mep_cli_devices,                                                      \
                   "device to compute on: cpu; or cuda, an NVIDIA GPU, in bfloat16 and in one process")

/* Words of --dtype, the type to compute in: "float32", "bfloat16", "auto", NULL. */
enum { MEP_CLI_FLOAT32, MEP_CLI_BFLOAT16, MEP_CLI_AUTO };
extern const char *const mep_cli_dtypes[];

/* For help pages: the default of --dtype if that of the CPU is float32, and the meaning of auto. */
#define MEP_CLI_DTYPE_DEFAULT "float32; bfloat16 on cuda"
#define MEP_CLI_DTYPE_AUTO "(auto: bfloat16 on cuda and on CPUs with bfloat16 arithmetic, float32 on others)"

/* Check that this number of processes can use the device. Returns MEP_ARGS_GO, or the exit code after one line on
 * stderr. */
int mep_cli_check_device(const char *command, mep_device device);

/* After the parsing: find the type for `choice`, an index of mep_cli_dtypes, which the option `name` ("--dtype") has
 * set. On cuda it is bfloat16, and float32 on the command line is refused. auto is bfloat16 if mep_dtype_auto is in all
 * processes, and float32 otherwise. Returns MEP_ARGS_GO, or the exit code after one line on stderr. */
int mep_cli_choose_dtype(const char *command, const mep_option *options, const char *name, mep_device device,
                         int choice, mep_dtype *dtype);

/* The reason for the type of a training: " (auto: ...)" or " (slow here: ...)"; "" if it needs no explanation. */
enum { MEP_CLI_DTYPE_REASON = 96 };
void mep_cli_dtype_reason(int is_auto, mep_device device, mep_dtype dtype, char text[MEP_CLI_DTYPE_REASON]);

#endif
