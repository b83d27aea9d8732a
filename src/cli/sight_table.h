/* SPDX-License-Identifier: MIT */
/*
 * mep bias --sight: how far a position bias lets each head look.
 */
#ifndef MEP_CLI_SIGHT_TABLE_H
#define MEP_CLI_SIGHT_TABLE_H

#include "mep/bias.h"

/* Print a table, or one JSON object, with a row for each head. `length` is that of the mass. */
mep_status mep_cli_print_sight(const mep_bias *bias, int64_t length, int json);

#endif
