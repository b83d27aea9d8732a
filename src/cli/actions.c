/* SPDX-License-Identifier: MIT */
/*
 * The choice of an action, and the help page that lists all of them.
 */
#include "cli/actions.h"

#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"

enum { TEXT = 1024 };

/* Parse a command line without an action: --help, or a mistake. */
static int parse_rest(const mep_action_list *list, int argc, char **argv)
{
    char notes[TEXT] = "", choice[TEXT] = "", names[TEXT] = ""; /* choice: a|b|c, names: a, b or c */
    mep_option options[] = {MEP_OPT_END};
    int count;
    for (const mep_action *a = list->actions; a->name != NULL; a++) {
        int is_first = a == list->actions, is_last = a[1].name == NULL;
        size_t used = strlen(notes);
        snprintf(notes + used, TEXT - used, "  %-10s %s\n", a->name, a->summary);
        used = strlen(choice);
        snprintf(choice + used, TEXT - used, "%s%s", is_first ? "" : "|", a->name);
        used = strlen(names);
        snprintf(names + used, TEXT - used, "%s%s", is_first ? "" : is_last ? " or " : ", ", a->name);
    }
    mep_usage usage = {.command = list->command,
                       .arguments = choice,
                       .summary = list->summary,
                       .notes = notes,
                       .options = options,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (count == 0) return mep_cli_usage(list->command, "the %s is missing: %s", list->kind, names);
    return mep_cli_usage(list->command, "there is no %s \"%s\"; use %s", list->kind, argv[1], names);
}

int mep_actions_run(const mep_action_list *list, int argc, char **argv)
{
    for (const mep_action *a = list->actions; argc > 1 && a->name != NULL; a++)
        if (strcmp(argv[1], a->name) == 0) return a->run(argc - 1, argv + 1);
    return parse_rest(list, argc, argv);
}
