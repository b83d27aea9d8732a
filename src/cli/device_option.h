/* SPDX-License-Identifier: MIT */
/*
 * The options --device and --dtype, which depend on each other. A device that cannot be used ends a command before any
 * work.
 */
#ifndef MEP_CLI_DEVICE_OPTION_H
#define MEP_CLI_DEVICE_OPTION_H

#include "cli/args.h"
#include "mep/device.h"

/* "cpu", "cuda", NULL: a mep_device each */
extern const char *const mep_cli_devices[];

/* A row of a table of options; D is where the choice goes. */
#define MEP_CLI_DEVICE_ROW(D)                                                                                          \
    MEP_OPT_CHOICE("--device", 0, "DEVICE", (D), mep_cli_devices,                                                      \
                   "where to compute: cpu; or cuda, an NVIDIA GPU, in bfloat16 and in one process")

/* Words of --dtype, the type to compute in: "float32", "bfloat16", "auto", NULL. */
enum { MEP_CLI_FLOAT32, MEP_CLI_BFLOAT16, MEP_CLI_AUTO };
extern const char *const mep_cli_dtypes[];

/* For help pages: the default of --dtype where that of the CPU is float32, and what auto is. */
#define MEP_CLI_DTYPE_DEFAULT "float32; bfloat16 on cuda"
#define MEP_CLI_DTYPE_AUTO "(auto: bfloat16 on cuda and on CPUs with bfloat16 arithmetic, else float32)"

/* The device can be used, by the processes that there are. MEP_ARGS_GO, or the exit code after one line on stderr. */
int mep_cli_check_device(const char *command, mep_device device);

/* After the parsing: the type of a choice among mep_cli_dtypes that the option `name` ("--dtype") has set. On cuda it
 * is bfloat16, and float32 on the command line is refused; auto is mep_dtype_auto, float32 unless it is bfloat16 for
 * all processes. MEP_ARGS_GO, or the exit code after one line on stderr. */
int mep_cli_choose_dtype(const char *command, const mep_option *options, const char *name, mep_device device,
                         int choice, mep_dtype *dtype);

/* Why the type of a training is what it is, " (auto: ...)" or " (slow here: ...)"; "" where there is nothing to say.
 */
enum { MEP_CLI_DTYPE_REASON = 96 };
void mep_cli_dtype_reason(int is_auto, mep_device device, mep_dtype dtype, char text[MEP_CLI_DTYPE_REASON]);

#endif
