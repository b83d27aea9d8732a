/* SPDX-License-Identifier: MIT */
/*
 * A note about parameters that no training has changed.
 */
#ifndef MEP_CLI_UNTRAINED_H
#define MEP_CLI_UNTRAINED_H

#include "mep/model.h"

/* Print a note on stderr if `model`, loaded from `folder` with another encoding than its own, has parameters that the
 * folder does not have. */
void mep_cli_note_untrained(const char *command, const char *folder, const mep_model *model);

#endif
