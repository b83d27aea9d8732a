/* SPDX-License-Identifier: MIT */
/*
 * The --help page of a subcommand, printed from its table of options.
 */
#ifndef MEP_CLI_HELP_H
#define MEP_CLI_HELP_H

#include <stdio.h>

#include "cli/args.h"

/* Print the page to `file`, at most 100 columns wide. The defaults are the values of the targets. */
void mep_help_print(const mep_usage *usage, FILE *file);

#endif
