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

/* Copy a spec without its windows, which have no parameters. */
static void leave_out_windows(const char *spec, char out[MEP_POSITION_SIZE])
{
    static const char window[] = "/window=";
    size_t used = 0;
    for (const char *at = spec; *at != '\0' && used + 1 < MEP_POSITION_SIZE;) {
        int skip = strncmp(at, window, sizeof window - 1) == 0;
        if (skip)
            at += 1 + strcspn(at + 1, "/|");
        else
            out[used++] = *at++;
    }
    out[used] = '\0';
}

/* Whether two specs differ by more than windows. */
static int differ(const char *one, const char *other)
{
    mep_position *a = NULL, *b = NULL;
    char text[2][MEP_POSITION_SIZE];
    leave_out_windows(one, text[0]);
    leave_out_windows(other, text[1]);
    int known = mep_position_create(&a, text[0]) == MEP_OK && mep_position_create(&b, text[1]) == MEP_OK;
    int same = known && mep_position_same(a, b);
    mep_position_destroy(&a);
    mep_position_destroy(&b);
    return known && !same;
}

void mep_cli_note_untrained(const char *command, const char *folder, const char *position, const mep_model *model)
{
    mep_model_config own;
    if (position == NULL || !learns(model) || mep_model_read_config(folder, &own) != MEP_OK) return;
    if (!differ(own.position_encoding, mep_position_spec(mep_model_get_position(model)))) return;
    mep_cli_print(stderr,
                  "mep %s: note: the model was trained with \"%s\"; parameters of \"%s\" that it does not have keep "
                  "their initial values until mep train --init trains them\n",
                  command, own.position_encoding, position);
}
