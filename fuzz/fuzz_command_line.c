/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a command line, one argument per line; the first byte selects the subcommand. The
 * linker replaces mep_args_parse by __wrap_mep_args_parse (CMake: -Wl,--wrap), which parses with the subcommand's own
 * table and then ends the subcommand: nothing is executed. Invalid arguments give exit code 2 and one printable line on
 * stderr.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "fuzz.h"

enum { ARGUMENTS = 80, COMMANDS = 13 };

int __real_mep_args_parse(const mep_usage *usage, int argc, char **argv, int *count);
int __wrap_mep_args_parse(const mep_usage *usage, int argc, char **argv, int *count);

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} SUBCOMMANDS[COMMANDS] = {
    {"bias", mep_cli_bias},         {"tokenizer", mep_cli_tokenizer}, {"prepare", mep_cli_prepare},
    {"train", mep_cli_train},       {"eval", mep_cli_eval},           {"compare", mep_cli_compare},
    {"generate", mep_cli_generate}, {"import", mep_cli_import},       {"export", mep_cli_export},
    {"info", mep_cli_info},         {"plot", mep_cli_plot},           {"bench", mep_cli_bench},
    {"version", mep_cli_version},
};

static int parsed; /* the table accepted the arguments */

static void check_option(const mep_option *option)
{
    switch (option->kind) {
    case MEP_OPTION_INT:
    case MEP_OPTION_LENGTH:
        if (*option->target.integer < option->min || *option->target.integer > option->max) abort();
        break;
    case MEP_OPTION_BYTES:
        if (*option->target.integer < 1) abort();
        break;
    case MEP_OPTION_REAL:
        if (!(*option->target.real >= option->low && *option->target.real <= option->high)) abort();
        break;
    case MEP_OPTION_TEXT:
        if (*option->target.text == NULL) abort();
        break;
    case MEP_OPTION_CHOICE:
        for (int i = 0; i <= *option->target.choice; i++)
            if (option->choices[i] == NULL) abort();
        break;
    case MEP_OPTION_LENGTHS:
        if (option->target.lengths->count < 1 || option->target.lengths->count > MEP_ARGS_LIST) abort();
        break;
    case MEP_OPTION_TEXTS:
        if (option->target.texts->count < 1 || option->target.texts->count > MEP_ARGS_LIST) abort();
        for (int64_t i = 0; i < option->target.texts->count; i++)
            if (option->target.texts->values[i][0] == '\0') abort();
        break;
    case MEP_OPTION_FLAG:
    case MEP_OPTION_GROUP:
    case MEP_OPTION_END:
        break;
    }
}

int __wrap_mep_args_parse(const mep_usage *usage, int argc, char **argv, int *count)
{
    int code = __real_mep_args_parse(usage, argc, argv, count);
    parsed = code == MEP_ARGS_GO;
    if (!parsed) return code;
    if (*count < usage->min_arguments || *count > usage->max_arguments) abort();
    for (const mep_option *option = usage->options; option->kind != MEP_OPTION_END; option++)
        if (option->given) check_option(option);
    return MEP_EXIT_FAILED;
}

/* Exit code 2 comes with one line on stderr, --help with none. */
static void check_end(int code, char *said)
{
    size_t length = strlen(said);
    if (parsed) {
        if (code != MEP_EXIT_FAILED || length > 0) abort();
    } else if (code == MEP_EXIT_USAGE) {
        if (length == 0 || said[length - 1] != '\n') abort();
        said[length - 1] = '\0';
        check_line(said);
    } else if (code != MEP_EXIT_OK || length > 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGUMENTS + 2] = {NULL}, *said = NULL, *printed = NULL;
    size_t said_size, printed_size;
    int argc = 1;
    if (size < 1) return 0;
    int command = data[0] % COMMANDS;
    char *text = text_of(data + 1, size - 1), name[16];
    argv[0] = strcpy(name, SUBCOMMANDS[command].name);
    for (char *next = text; next != NULL && *next != '\0' && argc <= ARGUMENTS;) {
        argv[argc++] = next;
        next = strchr(next, '\n');
        if (next != NULL) *next++ = '\0';
    }
    FILE *out = stdout, *err = stderr; /* glibc allows to assign these */
    stdout = open_memstream(&printed, &printed_size);
    stderr = open_memstream(&said, &said_size);
    parsed = 0;
    int code = SUBCOMMANDS[command].run(argc, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = out;
    stderr = err;
    check_end(code, said);
    free(said);
    free(printed);
    free(text);
    return 0;
}
