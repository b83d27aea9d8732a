#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that every public header compiles alone, without a warning. Usage: check_headers.sh c|c++ COMPILER INCLUDE_FOLDER
# Exit code 77 (skipped) if the compiler is missing.
set -eu
language=$1
compiler=$2
headers=$3
standard=c17
[ "$language" = c++ ] && standard=c++17
if ! command -v "$compiler" > /dev/null; then
    echo "skipped: no compiler $compiler for $language; install g++ or clang"
    exit 77
fi
count=0
for header in "$headers"/mep/*.h; do
    name=mep/$(basename "$header")
    printf '#include "%s"\n#include "%s"\n' "$name" "$name" |
        "$compiler" -x "$language" -std=$standard -Wall -Wextra -Wpedantic -Werror -I "$headers" -fsyntax-only - || {
        echo "$name does not compile alone as $standard"
        exit 1
    }
    count=$((count + 1))
done
echo "$count headers compile alone as $standard"
