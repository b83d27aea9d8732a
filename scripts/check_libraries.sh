#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the library compiles, without warnings, where no library of others is installed but OpenMP
# (MEP_OPTIONAL_LIBRARIES): configures for that, and reads every file with the compiler without generating code. What such a
# library does is tested by python/tests/test_package.py (make test-wheel).
# Usage: check_libraries.sh REPOSITORY CC
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake -G Ninja -S "$1" -B "$folder" -DCMAKE_C_COMPILER="$2" -DMEP_TESTS=OFF -DMEP_MPI=OFF -DMEP_WERROR=ON \
    -DMEP_OPTIONAL_LIBRARIES=ON -DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON \
    -DCMAKE_C_COMPILE_OBJECT='<CMAKE_C_COMPILER> <DEFINES> <INCLUDES> <FLAGS> -fsyntax-only <SOURCE>' > "$folder/log" 2>&1 ||
    { cat "$folder/log"; exit 1; }
grep '^-- Left out' "$folder/log" || { echo 'no library is left out: nothing was checked'; exit 1; }
cmake --build "$folder" --target mep_objects > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
count=$(grep -c 'mep_objects\.dir/src/' "$folder/.ninja_log") || { echo 'no file was checked'; exit 1; }
echo "$count files"
