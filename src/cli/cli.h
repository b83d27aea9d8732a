/* SPDX-License-Identifier: MIT */
/*
 * The subcommands of the program `mep`, and how they end. A subcommand is one file command_NAME.c with one entry point
 * mep_cli_NAME, which is declared here and listed in main.c; argv[0] is its name. Its options are a table for args.h.
 */
#ifndef MEP_CLI_CLI_H
#define MEP_CLI_CLI_H

#include <stdio.h>

#include "mep/dist.h"
#include "mep/status.h"

/* Exit codes of the program. */
enum { MEP_EXIT_OK = 0, MEP_EXIT_FAILED = 1, MEP_EXIT_USAGE = 2, MEP_EXIT_INTERRUPTED = 130 };

typedef struct mep_command {
    const char *name;
    const char *summary; /* one line for `mep --help` */
    int (*run)(int argc, char **argv);
    int divides; /* 1: it divides its work over the processes that mpirun has started */
} mep_command;

int mep_cli_bias(int argc, char **argv);
int mep_cli_tokenizer(int argc, char **argv);
int mep_cli_prepare(int argc, char **argv);
int mep_cli_train(int argc, char **argv);
int mep_cli_eval(int argc, char **argv);
int mep_cli_compare(int argc, char **argv);
int mep_cli_generate(int argc, char **argv);
int mep_cli_import(int argc, char **argv);
int mep_cli_export(int argc, char **argv);
int mep_cli_plot(int argc, char **argv);
int mep_cli_bench(int argc, char **argv);
int mep_cli_info(int argc, char **argv);
int mep_cli_version(int argc, char **argv);

/* Print a line (printf form) on stderr, unless the processes of mep_cli_complain_in do not know of the failure yet or
 * this is not the first of them. mep_cli_complaint returns the last line, printed or not; "" before the first. */
void mep_cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *mep_cli_complaint(void);

/* The group that complaints belong to; NULL: this process alone. It stays valid until there is another one. */
void mep_cli_complain_in(const mep_dist *group);

/* Print "mep COMMAND: <mep_error_message()>" on stderr; returns MEP_EXIT_FAILED. */
int mep_cli_fail(const char *command);

/* Print "mep COMMAND: MESSAGE; see mep COMMAND --help" on stderr; returns MEP_EXIT_USAGE. For errors that the table of
 * options does not detect, such as two options that exclude each other. */
int mep_cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for the current failure of an item of a list of encodings, which may be two with a comma between them. */
int mep_cli_refuse_encoding(const char *command, const char *spec);

/* Print text that may quote a file, a name or a token: each line is made printable (mep_one_line). */
void mep_cli_print(FILE *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Flush stdout. Returns `code`, or MEP_EXIT_FAILED after a message if a write has failed (a full disk, a closed pipe).
 * The main function calls it after the subcommand. */
int mep_cli_finish(const char *command, int code);

#endif
