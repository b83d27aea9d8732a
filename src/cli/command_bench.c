/* SPDX-License-Identifier: MIT */
/*
 * mep bench: how fast this build is on this machine. Each benchmark has a file of its own, bench_NAME.c; what is
 * measured and how is src/bench's business.
 */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/bench_job.h"
#include "cli/cli.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} BENCHES[] = {{"attention", "fused attention, forward and backward, by encoding, length, type and CPU level",
                mep_cli_bench_attention},
               {"decode", "attention of one query at the end of many keys", mep_cli_bench_decode},
               {"gemm", "the matrix products of a model", mep_cli_bench_gemm},
               {"train", "whole training steps, or evaluation", mep_cli_bench_train}};
enum { BENCH_COUNT = sizeof BENCHES / sizeof *BENCHES };

static int parse_frame(int argc, char **argv)
{
    char notes[1024] = "";
    mep_option options[] = {MEP_OPT_END};
    int count;
    for (int i = 0; i < BENCH_COUNT; i++) {
        size_t used = strlen(notes);
        snprintf(notes + used, sizeof notes - used, "  %-10s %s\n", BENCHES[i].name, BENCHES[i].summary);
    }
    mep_usage usage = {.command = "bench",
                       .arguments = "attention|decode|gemm|train",
                       .summary = "Measure this build on this machine, always beside a ceiling in the same run. `mep "
                                  "bench attention --help` tells more of attention, and so on.",
                       .notes = notes,
                       .options = options,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (count == 0) return mep_cli_usage("bench", "say what to measure: attention, decode, gemm or train");
    return mep_cli_usage("bench", "there is no benchmark \"%s\"", argv[1]);
}

int mep_cli_bench(int argc, char **argv)
{
    for (int i = 0; argc > 1 && i < BENCH_COUNT; i++)
        if (strcmp(argv[1], BENCHES[i].name) == 0) return BENCHES[i].run(argc - 1, argv + 1);
    return parse_frame(argc, argv);
}
