/* SPDX-License-Identifier: MIT */
/*
 * A note about a position encoding with which the model was not trained.
 */
#include "cli/untrained.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "mep/bias.h"

static int learns(const mep_model *model)
{
    mep_parameter p;
    for (int64_t i = 0; i < mep_model_parameter_count(model); i++)
        if (mep_model_get_parameter(model, i, &p) == MEP_OK && strcmp(p.group, "position") == 0) return 1;
    return 0;
}

void mep_cli_note_untrained(const char *command, const char *folder, const char *position, const mep_model *model)
{
    mep_model_config own;
    mep_position *trained = NULL;
    if (position == NULL || !learns(model) || mep_model_read_config(folder, &own) != MEP_OK) return;
    if (mep_position_create(&trained, own.position_encoding) != MEP_OK) return;
    int same = mep_position_same(trained, mep_model_get_position(model));
    mep_position_destroy(&trained);
    if (same) return;
    mep_cli_print(stderr,
                  "mep %s: note: the model was trained with \"%s\"; parameters of \"%s\" that it does not have keep "
                  "their initial values until mep train --init trains them\n",
                  command, own.position_encoding, position);
}
