#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep train, eval and compare on two machines, alpha and beta, that share only a network and one folder (hosts.sh):
# the bits of one machine, files that are missing or old on one of them, a machine that dies, a network
# that fails. Needs root, and namespaces with networks. Usage: cli_hosts.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
"$1" version | grep -q '^processes *none' && { echo "this build has no MPI: nothing tested"; exit 77; }
command -v mpirun > /dev/null || { echo "mpirun is missing: nothing tested"; exit 77; }
. "$tests/hosts.sh"
hosts_enter "$tests/cli_hosts.sh" "$1"
. "$tests/cli.sh"
. "$tests/tiny.sh"
. "$tests/mpi.sh"
hosts_start alpha beta

mpi_settings "$folder/disk"
export OMPI_MCA_plm_rsh_agent="$folder/agent" PRTE_MCA_plm_ssh_agent="$folder/agent"
printf 'alpha slots=1\nbeta slots=2\n' > hostfile

# across CODE ARGUMENT ...: the program in 3 processes, one on alpha and two on beta, in the folder disk of each
across() {
    code=$1
    shift
    checks=$((checks + 1))
    # shellcheck disable=SC2016
    on alpha sh -c 'cd disk && exec timeout 120 mpirun --hostfile ../hostfile -np 3 "$@"' sh "$MEP" "$@" \
        > out 2> err < /dev/null
    got=$?
    [ "$got" = "$code" ] || wrong "mep $* on two machines: exit code $got, not $code"
}

# ---- Missing or old files on beta ----
set -- --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 6 --dtype float32 --quiet
on alpha sh -c 'cp text.train.* text.valid.* disk'
across 1 train --data text.train --out run "$@" --steps 20
said err 'mep train: process 1 of 3 on beta: cannot open text.train.idx'
on beta sh -c 'for i in bin idx json; do cp text.valid.$i disk/text.train.$i && cp text.train.$i disk/text.valid.$i; done'
across 1 train --data text.train --out run "$@" --steps 20
said err 'mep train: process 1 of 3 on beta: text.train: differs from the copy of process 0'
on alpha test ! -e disk/run || wrong 'a refused run leaves a folder'
on beta sh -c 'cp text.train.* disk'

# ---- The bits of one machine; the run's folder is on alpha alone ----
across 0 train --data text.train --out run "$@" --steps 20
checks=$((checks + 1))
mpirun -np 3 "$MEP" train --data text.train --out one "$@" --steps 20 > out 2> err || wrong '3 processes on one machine fail'
on alpha cmp -s disk/run/checkpoint-20/model.safetensors one/checkpoint-20/model.safetensors ||
    wrong 'training on two machines differs from training on one'
on beta test ! -e disk/run || wrong 'a run has a folder on beta'

across 1 eval --model run --data text.valid
said err 'mep eval: process 1 of 3 on beta: run: no such folder'
across 1 eval --model ../one --data text.valid --lengths 64
said err 'mep eval: process 1 of 3 on beta: text.valid: differs from the copy of process 0'
on beta sh -c 'cp text.valid.* disk'
expect 0 eval --model one --data text.valid --lengths 64,1000 --json --quiet
grep -E 'loss|stderr' out > numbers
across 0 eval --model ../one --data text.valid --lengths 64,1000 --json --quiet --split-sequence
grep -E 'loss|stderr' out | cmp -s - numbers || wrong 'evaluation on two machines differs from that on one'
on beta "$MEP" train --data text.train --out disk/run "$@" --seed 7 --steps 5 > out 2> err || wrong 'a run on beta fails'
across 1 eval --model run --data text.valid --lengths 64
said err 'mep eval: process 1 of 3 on beta: run: differs from the copy of process 0'

# ---- A study needs a common folder; folders of the same name on each machine are refused ----
on beta mkdir disk/study
across 1 compare --data text --out study "$@" --steps 5 --positions alibi,t5,rotary --lengths 16
said err 'on beta: study: is not the folder of process 0'
across 0 compare --data text --out ../study "$@" --steps 5 --positions alibi,t5,rotary --lengths 16
[ "$(wc -l < study/results.csv)" = 4 ] || wrong 'the study has not 3 results'
[ "$(find study -name '.seen*')" = '' ] || wrong 'the study keeps a folder that is for its beginning'

# ---- A process with another CPU level is reported. Scripts choose by the process: `mpirun ... : ...` of Open MPI 5.0.7 crashes ----
checks=$((checks + 1))
# shellcheck disable=SC2016
on alpha sh -c 'cd disk && exec mpirun -np 2 --host alpha,beta sh -c "$@"' sh \
    '[ "$OMPI_COMM_WORLD_RANK" = 0 ] && level=c || level=avx2; MEP_CPU=$level exec "$0" "$@"' \
    "$MEP" eval --model ../one --data text.valid --lengths 64 > out 2> err || wrong 'two CPU levels do not work together'
if "$MEP" version | grep -q 'the machine has c;'; then :; else said err 'note: process 1 on beta computes with avx2'; fi

# ---- Another version is refused: the program with another number written into it ----
version=$("$MEP" version | sed -n 's/^mep //p')
LC_ALL=C sed "s/$(echo "$version" | sed 's/[.]/[.]/g')/9${version#?}/g" "$MEP" > other && chmod +x other
ln -s "$(dirname "$MEP")/libmep-mpi.so" libmep-mpi.so
checks=$((checks + 1))
# shellcheck disable=SC2016
mpirun -np 2 sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || exec ./other "$@"; exec "$0" "$@"' \
    "$MEP" eval --model one --data text.valid > out 2> err &&
    wrong 'two versions work together'
said err "is mep 9${version#?}, process 0 is mep $version; install the same one"

# ---- beta dies, or its network is cut: all end, and one machine continues from the last checkpoint ----
die() { # die MACHINE: kill everything on it but what holds it up
    holder=$(cat "pid.$1")
    network=$(readlink "/proc/$holder/ns/net")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/net" 2> /dev/null)" = "$network" ] || continue
        [ "${process#/proc/}" = "$holder" ] || kill -KILL "${process#/proc/}" 2> /dev/null
    done
}
cut() {
    on "$1" ip link set eth0 down
}
wait_for_end() { # of all processes of the program: Open MPI 5 ends them a moment after mpirun
    i=0
    while [ $i -lt 200 ] && readlink /proc/[0-9]*/exe | grep -qxF "$(readlink -f "$MEP")"; do
        sleep 0.1
        i=$((i + 1))
    done
}
# notices after some 4 seconds of silence, by default after minutes
export OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=2
export PRTE_MCA_oob_tcp_keepalive_time=2 PRTE_MCA_oob_tcp_keepalive_intvl=1 PRTE_MCA_oob_tcp_keepalive_probes=2
for how in die cut; do
    checks=$((checks + 1))
    # shellcheck disable=SC2016
    on alpha sh -c 'cd disk && exec timeout 120 mpirun --hostfile ../hostfile -np 3 "$@"' sh \
        "$MEP" train --data text.train --out $how "$@" --steps 1000000 --save-every 5 > out 2> err < /dev/null &
    job=$!
    i=0
    until on alpha sh -c "ls disk/$how/checkpoint-*/state.json" > list 2> /dev/null || [ $i = 600 ]; do
        sleep 0.1
        i=$((i + 1))
    done
    $how beta
    wait $job
    code=$?
    if grep -aq '^PRTE has lost communication' err; then # Open MPI 5 ends with 0 then, and sends no SIGTERM before
        [ $code != 124 ] || wrong "$how: mpirun does not end"
    else
        [ $code != 0 ] && [ $code != 124 ] || wrong "$how: mpirun ends with $code"
        said err 'only what was saved before is kept'
    fi
    wait_for_end
    code=0
    on alpha timeout --preserve-status -s INT 5 "$MEP" train --resume "disk/$how" > out 2> err || code=$?
    [ $code = 130 ] || wrong "$how: the run cannot be resumed"
done
finish
