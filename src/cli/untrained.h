/* SPDX-License-Identifier: MIT */
/*
 * A note about a position encoding with which the model was not trained.
 */
#ifndef MEP_CLI_UNTRAINED_H
#define MEP_CLI_UNTRAINED_H

#include "mep/model.h"

/* Print a note on stderr if `position` (NULL: the model's own) is another encoding than that of the model in `folder`
 * and has learned parameters, which are not trained. `model` was loaded with it. */
void mep_cli_note_untrained(const char *command, const char *folder, const char *position, const mep_model *model);

#endif
