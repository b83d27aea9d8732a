/* SPDX-License-Identifier: MIT */
/*
 * mep bench: measures the speed of this build on this machine. Each benchmark has a file bench_NAME.c with its options;
 * src/bench measures.
 */
#include "cli/actions.h"
#include "cli/bench_job.h"
#include "cli/cli.h"

static const mep_action BENCHES[] = {
    {"attention", "fused attention, forward and backward, by encoding, length, type and CPU level",
     mep_cli_bench_attention},
    {"decode", "attention of one query after many keys", mep_cli_bench_decode},
    {"gemm", "the matrix products of a model", mep_cli_bench_gemm},
    {"train", "complete training steps, or evaluation", mep_cli_bench_train},
    {.name = NULL},
};

int mep_cli_bench(int argc, char **argv)
{
    const mep_action_list list = {
        .command = "bench",
        .summary = "Measure the speed of this build on this machine, always with a ceiling in the same run. `mep bench "
                   "attention --help` and so on print the options.",
        .kind = "benchmark",
        .actions = BENCHES};
    return mep_actions_run(&list, argc, argv);
}
