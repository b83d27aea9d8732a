/* SPDX-License-Identifier: MIT */
/*
 * mep bench: measures the speed of this build on this machine. Each benchmark has a file bench_NAME.c with its options;
 * src/bench measures.
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
               {"decode", "attention of one query after many keys", mep_cli_bench_decode},
               {"gemm", "the matrix products of a model", mep_cli_bench_gemm},
               {"train", "complete training steps, or evaluation", mep_cli_bench_train}};
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
                       .summary =
                           "Measure the speed of this build on this machine, always with a ceiling in the same run. "
                           "`mep bench attention --help` and so on print the options.",
                       .notes = notes,
                       .options = options,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (count == 0) return mep_cli_usage("bench", "the benchmark is missing: attention, decode, gemm or train");
    return mep_cli_usage("bench", "there is no benchmark \"%s\"", argv[1]);
}

int mep_cli_bench(int argc, char **argv)
{
    for (int i = 0; argc > 1 && i < BENCH_COUNT; i++)
        if (strcmp(argv[1], BENCHES[i].name) == 0) return BENCHES[i].run(argc - 1, argv + 1);
    return parse_frame(argc, argv);
}
