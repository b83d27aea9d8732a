#!/bin/sh
# SPDX-License-Identifier: MIT
#
# State belongs to handles: the shared library has no writable variable of the process except those of the list below, which
# has the reason for each. Constants, thread-local variables and variables of compilers do not count.
# Usage: check_state.sh LIBMEP.so
set -eu
library=$1
[ -r "$library" ] || { echo "no library $library"; exit 1; }

# NAME  where it is, who locks it, and why it is not in a handle
allowed='
current         base/cpu.c: the CPU level in force, atomic; all kernels of a process use the same one
allocations     base/memory.c: number of allocations, atomic; for tests
failing         base/memory.c: the allocation that fails, atomic; for tests
held            base/lock.c: the open lock files of the process, which a child of fork() closes; under held_mutex
held_capacity   base/lock.c: its size
held_count      base/lock.c: the number of files
held_mutex      base/lock.c: mutex of the three
help            bias/position_help.c: a text that is written once
used            bias/position_help.c: its length
help_once       bias/position_help.c: once_flag of the two
idle_mutex      torch/idle_plans.c: mutex of idle_plans
idle_plans      torch/idle_plans.c: plans between calls of the PyTorch operators, whose kernels have no context
mep_dist_alone  dist/dist_group.c: the group of one process; nothing changes it
mep_torch       torch/stable_abi.c: the functions of PyTorch that the kernels call; written once, under register_mutex
register_mutex  torch/register.c: mutex of mep_torch and registered
registered      torch/register.c: the kernels that PyTorch has; under register_mutex
'
found=$(objdump -t "$library" | awk '
    { section = ""; for (i = 2; i < NF; i++) if ($i ~ /^\.(data|bss)$/) section = $i }
    section != "" && $NF !~ /^[._]/ && $(NF - 1) !~ /^0+$/ { sub(/\.[0-9]+$/, "", $NF); if ($NF != "completed") print $NF }' |
    LC_ALL=C sort -u)
[ -n "$found" ] || { echo "no variables found in $library: nothing was checked"; exit 1; }
wrong=0
for name in $found; do
    echo "$allowed" | grep -q "^$name " ||
        { echo "$name is a variable of the process: move it into a handle, or list it in $0 with its reason"; wrong=1; }
done
[ $wrong = 0 ] || exit 1
echo "$(echo "$found" | wc -l) variables of the process, all listed"
