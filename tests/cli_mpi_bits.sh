#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep train, eval and compare under mpirun, on one machine: the bits of one process if gradients are summed in the same
# parts; only one process prints. Usage: cli_mpi_bits.sh PROGRAM [long]; `long`: more steps, more numbers of processes.
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/mpi.sh"
mpi_required
. "$tests/tiny.sh"
mpi_settings "$folder"
long=${2:-}
steps=20
[ -z "$long" ] || steps=400

# close RUN RUN: the same losses at every step to 1e-6
close() {
    checks=$((checks + 1))
    paste "$1/metrics.jsonl" "$2/metrics.jsonl" | awk '
        { gsub(/[{},"]/, " "); n = 0
          for (i = 1; i < NF; i++) if ($i == "loss:" || $i == "loss") { v = $(i + 1) == ":" ? $(i + 2) : $(i + 1); x[n++] = v }
          d = x[0] / x[1] - 1; if (n != 2 || !(d < 1e-6 && d > -1e-6)) bad = 1; lines++ }
        END { exit bad || lines < 2 }' || wrong "the losses of $1 and $2 differ"
}

# ---- Training ----
set -- --steps $steps --valid text.valid --valid-tokens 200 --valid-every 10 --save-every 10 --keep 0 --position mep_param
tiny_train one "$@"
for n in 2 4; do
    # shellcheck disable=SC2086
    group $n 0 train --data text.train --out "run$n" $TINY "$@"
    said out "processes $n on 1 machine, each for $((4 / n)) of 4 sequences per step"
    [ "$(grep -c '^model ' out)" = 1 ] || wrong 'more than one process prints'
    [ "$(wc -l < "run$n/metrics.jsonl")" = $steps ] || wrong 'not one line per step'
    close one "run$n"
done

# same RUN RUN: the same bits of the parameters and moments, the same digits of losses and norms
same() {
    checks=$((checks + 1))
    for file in model optimizer; do
        cmp -s "$1/checkpoint-$steps/$file.safetensors" "$2/checkpoint-$steps/$file.safetensors" ||
            wrong "$file.safetensors of $1 and $2 differ"
    done
    for run in "$1" "$2"; do sed 's/, "[a-z]*_\(per_second\|seconds\)": [^,}]*//g' "$run/metrics.jsonl"; done | sort | uniq -c > counts
    [ "$(awk '$1 == 2' counts | wc -l)" = $steps ] || wrong "the losses of $1 and $2 differ"
}

# gradients in 4 parts: the bits of 4 processes in 2 and in one
tiny_train parts1 "$@" --gradient-parts 4
said out 'gradients in 4 parts: the same bits in 4, 2, 1 processes'
same run4 parts1
# shellcheck disable=SC2086
group 2 0 train --data text.train --out parts2 $TINY "$@" --gradient-parts 4
same run4 parts2

# a checkpoint of 4 processes is continued by any of these with the bits of a run without a stop
cp -r run4 part4
rm -rf part4/checkpoint-[2-9]* part4/checkpoint-1[0-9][0-9]
for n in 1 2 ${long:+4}; do
    cp -r part4 "more$n"
    group "$n" 0 train --resume "more$n"
    said out 'resumed   after step 10'
    same run4 "more$n"
done
# .. and one of 1 process by 2 with the losses of one process within rounding, and a note about it
cp -r one other
rm -rf other/checkpoint-[2-9]* other/checkpoint-1[0-9][0-9]
group 2 0 train --resume other
said err '2 processes cannot sum the gradients of other in their original order (possible: 1)'
close one other

# ---- Evaluation: the numbers of one process to the last digit ----
for last in '' '--last 48'; do
    # shellcheck disable=SC2086
    set -- --model one --data text.valid --lengths 64,200,1000 --json --quiet $last
    expect 0 eval "$@"
    grep -v seconds out > numbers
    for n in 2 ${long:+3 4}; do
        for split in '' --split-sequence; do
            # shellcheck disable=SC2086
            group $n 0 eval "$@" $split
            grep -v seconds out | cmp -s - numbers || wrong "eval $last in $n processes $split differs"
        done
    done
done

# ---- A study: the same table ----
set -- --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 4 --dtype float32 \
    --steps $steps --positions alibi,rotary,t5 --lengths 16,64 --quiet
expect 0 compare --data text --out study1 "$@"
group 2 0 compare --data text --out study2 "$@"
[ "$(grep -c 'results.csv' out)" = 1 ] || wrong 'more than one process prints'
cmp -s study1/results.csv study2/results.csv || wrong 'the results of the study differ'
cmp -s study1/t5-seed1235/checkpoint-$steps/model.safetensors study2/t5-seed1235/checkpoint-$steps/model.safetensors ||
    wrong 'a model of the study differs'

finish
