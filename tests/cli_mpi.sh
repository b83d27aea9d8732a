#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep train, eval and compare under mpirun, on one machine: failures that end all processes, and a process that is stopped or killed.
# Usage: cli_mpi.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/mpi.sh"
mpi_required
. "$tests/tiny.sh"
mpi_settings "$folder"
tiny_train one --steps 2 --quiet

# ---- Failures: one line, an exit code, no hang ----
only() { # only TEXT: the program's one line on stderr has it
    said err "$1"
    [ "$(grep -c 'mep [a-z]*:' err)" = 1 ] || wrong "not one line of the program: $1"
}
group 2 2 eval --model one
only '--data PREFIX is missing'
group 2 1 eval --model nosuch --data text.valid
only 'nosuch: no such folder'
group 2 2 prepare --out x text.txt
said err 'it works in one process'
[ ! -e x.bin ] || wrong 'mep prepare in two processes writes'
# shellcheck disable=SC2086
group 2 2 train --data text.train --out bad $(unless_given "$TINY" --dtype) --dtype bfloat16 --device cuda
only '--device cuda works in one process'
group 2 2 eval --model one --data text.valid --device cuda
only '--device cuda works in one process'
# shellcheck disable=SC2086
group 3 1 train --data text.train --out bad $TINY --steps 5
only '3 processes cannot divide 4 sequences per step evenly'
[ ! -e bad ] || wrong 'a refused run leaves a folder'
group 2 1 train --data text.train --out text.txt/x --steps 5
only 'process 0 of 2 on '
said err 'cannot make the folder text.txt/x'

# ---- One is stopped, one is killed ----
wait_for_checkpoint() { # wait_for_checkpoint RUN: until it has one, a minute at most; the next ones take its place
    i=0
    until ls "$1"/checkpoint-*/state.json > list 2> /dev/null || [ $i = 1200 ]; do sleep 0.05; i=$((i + 1)); done
}
for signal in USR1 KILL; do
    checks=$((checks + 1))
    # each process writes its number to a file
    # shellcheck disable=SC2016,SC2086
    timeout 120 mpirun -np 3 sh -c 'echo $$ > pid.$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
        "$MEP" train --data text.train --out "$signal" $(unless_given "$TINY" --batch-size) --batch-size 6 --steps 1000000 --save-every 5 > out 2> err < /dev/null &
    job=$!
    wait_for_checkpoint "$signal"
    kill -$signal "$(cat pid.1)"
    wait $job
    code=$?
    [ $code != 0 ] && [ $code != 124 ] || wrong "$signal to a process: mpirun ends with $code"
    rm -f pid.*
    [ $signal = KILL ] || said err 'continue: mep train --resume USR1'
    [ $signal = USR1 ] || said err 'signal 9 (Killed)' # Open MPI 5 breaks the line before it
    set -- "$signal"/checkpoint-*/state.json
    [ -s "$1" ] || wrong "$signal: no checkpoint is left"
    # it continues from there to its next checkpoint
    before=$(ls -d "$signal"/checkpoint-*)
    "$MEP" train --resume "$signal" > out 2> err < /dev/null &
    job=$!
    i=0
    until [ "$(ls -d "$signal"/checkpoint-*)" != "$before" ] || [ $i = 1200 ]; do sleep 0.05; i=$((i + 1)); done
    kill -INT $job
    wait $job
    code=$?
    [ $code = 130 ] || wrong "mep train --resume $signal: exit code $code, not 130"
done
# ---- Measures are divided too, with the same numbers ----
for measure in '--by-position --lengths 16,32' '--copy-gain 8,16 --copy-tokens 4 --samples 9' '--blindness --lengths 32 --samples 40'; do
    # shellcheck disable=SC2086
    expect 0 eval --model one --data text.valid --quiet --format csv $measure
    cp out alone
    # shellcheck disable=SC2086
    group 3 0 eval --model one --data text.valid --quiet --format csv $measure
    cmp -s out alone || wrong "3 processes have other numbers: $measure"
done
expect 0 eval --model one --quiet --format csv --task induction --lengths 64 --samples 9
cp out alone
group 3 0 eval --model one --quiet --format csv --task induction --lengths 64 --samples 9
cmp -s out alone || wrong "3 processes have other numbers of a task"
finish
