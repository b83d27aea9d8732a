#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the names of source files and headers are unique in src/, include/ and examples/. Prints the files with the
# same name and fails. Usage: check_names.sh [REPOSITORY]
set -eu
cd "${1:-$(dirname "$0")/..}"
files=$(find src include examples -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.gp' -o -name '*.py' \) | LC_ALL=C sort)
[ -n "$files" ] || { echo 'no files found: nothing was checked'; exit 1; }
echo "$files" | awk -F/ '
{ files[$NF] = files[$NF] " " $0; count[$NF]++ }
END {
    for (name in count) if (count[name] > 1) { print "the same name:" files[name]; bad = 1 }
    if (bad) exit 1
    print NR " names"
}'
