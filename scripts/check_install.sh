#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs into a temporary prefix, then builds and runs every example against the installed files: by pkg-config, and by
# CMake's find_package with the shared and with the static library. An example that needs arguments says so ("usage: ...",
# exit code 2) when it is run without.
# Usage: check_install.sh BUILD_FOLDER REPOSITORY C_COMPILER
set -eu
build=$1
source=$2
compiler=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix

cmake --install "$build" --prefix "$prefix" > "$folder/install.log"
"$prefix/bin/mep" version > /dev/null
package=$(find "$prefix" -name mep.pc)
PKG_CONFIG_PATH=$(dirname "$package")
export PKG_CONFIG_PATH
libraries=$(pkg-config --variable=libdir mep)

run() { # run PROGRAM: it succeeds, or asks for its arguments
    code=0
    "$1" > "$folder/output" 2>&1 || code=$?
    cat "$folder/output"
    [ $code = 0 ] || { [ $code = 2 ] && grep -q '^usage: ' "$folder/output"; } || { echo "$1: exit code $code"; exit 1; }
}

count=0
for example in "$source"/examples/*.c; do
    name=$(basename "$example" .c)
    # shellcheck disable=SC2046
    "$compiler" -std=c17 -Wall -Wextra -Werror "$example" -o "$folder/$name" $(pkg-config --cflags --libs mep) -lm
    echo "== $name (pkg-config)"
    LD_LIBRARY_PATH=$libraries run "$folder/$name"
    count=$((count + 1))
done

cmake -S "$source/tests/install" -B "$folder/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler" \
    -DEXAMPLES="$source/examples" > "$folder/cmake.log" || { cat "$folder/cmake.log"; exit 1; }
cmake --build "$folder/cmake" > "$folder/build.log" || { cat "$folder/build.log"; exit 1; }
for example in "$source"/examples/*.c; do
    name=$(basename "$example" .c)
    for kind in shared static; do
        echo "== $name (CMake, mep::$kind)"
        run "$folder/cmake/${name}_$kind"
    done
done
echo "$count examples built in three ways and run"
