/* SPDX-License-Identifier: MIT */
/*
 * Commands that consist of several, such as mep bench: the first argument names one of a list of actions, each with its
 * own options.
 */
#ifndef MEP_CLI_ACTIONS_H
#define MEP_CLI_ACTIONS_H

typedef struct mep_action {
    const char *name, *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the name */
} mep_action;

/* A command and its actions, ended by a name of NULL. */
typedef struct mep_action_list {
    const char *command, *summary; /* for the help page */
    const char *kind;              /* what an action is called in messages */
    const mep_action *actions;
} mep_action_list;

/* Run the action that argv[1] names; otherwise print the help page or what is wrong. Returns the exit code. */
int mep_actions_run(const mep_action_list *list, int argc, char **argv);

#endif
