/* SPDX-License-Identifier: MIT */
/*
 * The program `mep`: finds the subcommand and calls it. A new subcommand is a file, a line in cli.h and a line here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/cpu_quota.h"
#include "cli/processes.h"
#include "cli/wait_policy.h"

static const mep_command COMMANDS[] = {
    {.name = "bias", .summary = "print values, slopes and parameters of a distance bias", .run = mep_cli_bias},
    {.name = "tokenizer", .summary = "train a tokenizer, or try one on text", .run = mep_cli_tokenizer},
    {.name = "prepare", .summary = "make a token dataset from text", .run = mep_cli_prepare},
    {.name = "train", .summary = "train a model, or continue a run", .run = mep_cli_train, .divides = 1},
    {.name = "eval", .summary = "measure the perplexity of a model at any length", .run = mep_cli_eval, .divides = 1},
    {.name = "compare", .summary = "train and test several position encodings", .run = mep_cli_compare, .divides = 1},
    {.name = "generate", .summary = "continue a text", .run = mep_cli_generate},
    {.name = "import", .summary = "convert a Hugging Face model to one of mep", .run = mep_cli_import},
    {.name = "export", .summary = "convert a model to a Hugging Face folder", .run = mep_cli_export},
    {.name = "info", .summary = "describe a run, a model or a dataset", .run = mep_cli_info},
    {.name = "plot", .summary = "draw runs, results and distance biases", .run = mep_cli_plot},
    {.name = "bench", .summary = "measure the speed of this build on this machine", .run = mep_cli_bench},
    {.name = "version", .summary = "version, compiler, CPU level, GPU and MPI", .run = mep_cli_version},
    {.name = NULL},
};

static void print_commands(FILE *file)
{
    fputs("mep COMMAND [ARGUMENT ...]\n\n"
          "Train language models on short text and use them on long text. Their attention has biases that are\n"
          "mixtures of kernels of the distance between tokens (MEP, ALiBi, KERPLE, T5 and their sums).\n\n"
          "Commands:\n",
          file);
    for (const mep_command *command = COMMANDS; command->name != NULL; command++)
        fprintf(file, "  %-10s %s\n", command->name, command->summary);
    fputs("\n`mep COMMAND --help` and `mep help COMMAND` print the options of a command.\n", file);
}

static const mep_command *find(const char *name)
{
    for (const mep_command *command = COMMANDS; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0) return command;
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *nearest = NULL;
    int64_t best = 3;
    for (const mep_command *command = COMMANDS; command->name != NULL; command++) {
        int64_t distance = mep_edit_distance(name, command->name);
        if (distance >= best) continue;
        best = distance;
        nearest = command->name;
    }
    mep_cli_print(stderr, "mep: there is no command \"%s\"; ", name);
    if (nearest != NULL) fprintf(stderr, "did you mean %s? ", nearest);
    fputs("`mep --help` lists them\n", stderr);
    return MEP_EXIT_USAGE;
}

static int run(const mep_command *command, int argc, char **argv)
{
    int code = mep_cli_join(command->name, command->divides);
    if (code == MEP_EXIT_OK) code = mep_cli_finish(command->name, command->run(argc, argv));
    return mep_cli_leave(code);
}

enum { HELP_WORDS = 8 };

static int help(int argc, char **argv)
{
    char flag[] = "--help";
    if (argc < 2) {
        print_commands(stdout);
        return mep_cli_finish("help", MEP_EXIT_OK);
    }
    const mep_command *command = find(argv[1]);
    if (command == NULL) return unknown_command(argv[1]);
    char *arguments[HELP_WORDS + 2] = {argv[1]}; /* words after the command choose a page of it: bench attention */
    int count = 1;
    for (; count < argc - 1 && count <= HELP_WORDS; count++) arguments[count] = argv[count + 1];
    arguments[count] = flag;
    return run(command, count + 1, arguments);
}

/* The library ignores an unknown level, and amx_bf16 where it is missing; the program reports them. A known level that
 * is higher than the machine's is lowered. */
static int check_cpu_level(void)
{
    const char *wanted = getenv("MEP_CPU");
    if (wanted == NULL || *wanted == '\0') return MEP_EXIT_OK;
    for (int level = MEP_CPU_C; level < MEP_CPU_LEVELS; level++) {
        if (strcmp(wanted, mep_cpu_level_text((mep_cpu_level)level)) != 0) continue;
        const char *missing = level == MEP_CPU_AMX_BF16 ? mep_cpu_level_missing(MEP_CPU_AMX_BF16) : NULL;
        if (missing == NULL) return MEP_EXIT_OK;
        mep_cli_print(stderr, "mep: MEP_CPU=%s: %s; leave MEP_CPU out, or use a lower level\n", wanted, missing);
        return MEP_EXIT_USAGE;
    }
    mep_cli_print(stderr, "mep: MEP_CPU=%s is not a CPU level of this architecture; use", wanted);
    for (int level = MEP_CPU_C; level < MEP_CPU_LEVELS; level++)
        fprintf(stderr, "%s %s",
                level == MEP_CPU_C           ? ""
                : level < MEP_CPU_LEVELS - 1 ? ","
                                             : " or",
                mep_cpu_level_text((mep_cpu_level)level));
    fputc('\n', stderr);
    return MEP_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    mep_cli_wait_policy(argv);
    mep_cli_limit_threads();
    if (check_cpu_level() != MEP_EXIT_OK) return MEP_EXIT_USAGE;
    if (argc < 2) {
        print_commands(stderr);
        return MEP_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0) name = "version";
    const mep_command *command = find(name);
    return command == NULL ? unknown_command(name) : run(command, argc - 1, argv + 1);
}
