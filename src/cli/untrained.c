/* SPDX-License-Identifier: MIT */
/*
 * A note about a position encoding with which the model was not trained.
 */
#include "cli/untrained.h"

#include <stdio.h>

#include "cli/cli.h"
#include "mep/bias.h"

static int learns(const mep_model *model)
{
    const mep_bias *bias = mep_model_get_bias(model);
    return bias != NULL ? mep_bias_param_values(bias) > 0
                        : mep_position_get_kind(mep_model_get_position(model)) == MEP_POSITION_LEARNED;
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
                  "mep %s: note: the model was trained with \"%s\"; parameters of \"%s\" that it does not have are "
                  "random until mep train --init trains them\n",
                  command, own.position_encoding, position);
}
