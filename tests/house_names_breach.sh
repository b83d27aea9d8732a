#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The check of file names finds two files with the same name, and does not pass an empty tree.
# Usage: house_names_breach.sh CHECK_NAMES.sh
set -eu
check=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/src/base" "$folder/src/cli/gnuplot" "$folder/include/mep"

fails() { # fails TEXT: the check fails and prints TEXT
    if sh "$check" "$folder" > "$folder/output" 2>&1; then
        echo "the check passed; it should have printed: $1"
        exit 1
    fi
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}

fails 'nothing was checked'
: > "$folder/src/base/model.c"
: > "$folder/include/mep/model.h"
sh "$check" "$folder" | grep -qx '2 names'
: > "$folder/src/cli/model.h"
fails 'the same name: include/mep/model.h src/cli/model.h'
rm "$folder/src/cli/model.h"
: > "$folder/src/cli/model.c"
fails 'the same name: src/base/model.c src/cli/model.c'
