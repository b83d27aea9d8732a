#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs the tests of a build when OpenMP gives fewer threads than the library requests: with OMP_THREAD_LIMIT=1, then with
# OMP_DYNAMIC=true and one busy loop per core, because OpenMP then uses the load average.
# Usage: test_environments.sh BUILD
set -eu
build=$1
echo "== OMP_THREAD_LIMIT=1"
OMP_THREAD_LIMIT=1 ctest --test-dir "$build" --output-on-failure -j 2

loops=
trap 'kill $loops 2> /dev/null || true' EXIT
for core in $(seq "$(nproc)"); do
    timeout 7200 sh -c 'while :; do :; done' &
    loops="$loops $!"
done
echo "== OMP_DYNAMIC=true next to $core busy loops"
sleep 60 # until the load average shows them
OMP_DYNAMIC=true ctest --test-dir "$build" --output-on-failure -j 2
