/* SPDX-License-Identifier: MIT */
/*
 * A word to those who take another position encoding than the model was trained with.
 */
#ifndef MEP_CLI_UNTRAINED_H
#define MEP_CLI_UNTRAINED_H

#include "mep/model.h"

/* Where `position` (as a user gave it; NULL: none) is another encoding than that of the model in `folder`, and has
 * parameters to learn, say on stderr that they have not been trained. `model` was loaded with it. */
void mep_cli_note_untrained(const char *command, const char *folder, const char *position, const mep_model *model);

#endif
