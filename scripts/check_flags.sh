#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the flags of a Release build are -O3 -g1, or those of the user: configures twice and reads the commands.
# Usage: check_flags.sh REPOSITORY CC
set -eu
repository=$1 cc=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# compiled_with NAME FLAGS [OPTION ...]: configure with the options, and check that a file of the library is compiled with
# the flags.
compiled_with() {
    build=$folder/$1 flags=$2
    shift 2
    cmake -S "$repository" -B "$build" -DCMAKE_C_COMPILER="$cc" -DMEP_TESTS=OFF "$@" > "$folder/log" 2>&1 ||
        { cat "$folder/log"; exit 1; }
    grep '"command": .*version\.c' "$build/compile_commands.json" > "$folder/command" ||
        { echo "no command in $build/compile_commands.json"; exit 1; }
    grep -qe " $flags " "$folder/command" || { echo "not compiled with \"$flags\":"; cat "$folder/command"; exit 1; }
}

compiled_with default '-O3 -g1'
compiled_with named '-O1 -g0' -DCMAKE_C_FLAGS_RELEASE='-O1 -g0'
if grep -qe '-O3' "$folder/command"; then
    echo "the project's flags are added to those of the user:"
    cat "$folder/command"
    exit 1
fi
echo '2 configurations'
