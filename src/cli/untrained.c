/* SPDX-License-Identifier: MIT */
/*
 * A note about parameters that no training has changed.
 */
#include "cli/untrained.h"

#include <stdio.h>

#include "cli/cli.h"

void mep_cli_note_untrained(const char *command, const char *folder, const mep_model *model)
{
    mep_parameter p, first = {.name = NULL};
    int64_t others = -1;
    for (int64_t i = 0; i < mep_model_parameter_count(model); i++) {
        if (!mep_model_parameter_is_new(model, i) || mep_model_get_parameter(model, i, &p) != MEP_OK) continue;
        if (++others == 0) first = p;
    }
    if (first.name == NULL) return;
    if (others == 0)
        mep_cli_print(stderr, "mep %s: note: %s is", command, first.name);
    else
        mep_cli_print(stderr, "mep %s: note: %s and %lld other parameter%s of the encoding are", command, first.name,
                      (long long)others, others == 1 ? "" : "s");
    mep_cli_print(stderr, " not in %s and not trained; mep train --init trains them\n", folder);
}
