#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs into a temporary prefix, then builds and runs every example with the installed files: with pkg-config, and with
# CMake's find_package for the shared and the static library. Without arguments, an example that needs some prints
# "usage: ..." and exits with code 2. examples/generate_text.c must write the text of `mep generate`, for runs of bytes and
# of a BPE. If there is a C++ compiler, a project in C++ alone is built too.
# Usage: check_install.sh BUILD_FOLDER REPOSITORY C_COMPILER CXX_COMPILER
set -eu
build=$1
source=$2
compiler=$3
cxx=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix

cmake --install "$build" --prefix "$prefix" > "$folder/install.log"
"$prefix/bin/mep" version > /dev/null
for script in perplexity kernels training; do
    [ -s "$prefix/share/mep/gnuplot/$script.gp" ] || { echo "share/mep/gnuplot/$script.gp is not installed"; exit 1; }
done
package=$(find "$prefix" -name mep.pc)
PKG_CONFIG_PATH=$(dirname "$package")
export PKG_CONFIG_PATH
libraries=$(pkg-config --variable=libdir mep)

run() { # run PROGRAM: it succeeds, or prints its usage
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

# generate_text.c on a new run of a tokenizer must write the text of the program, which has the same settings.
check_generate() {
    mep=$prefix/bin/mep
    "$mep" prepare --tokenizer "$1" --out "$folder/data" "$folder/text.txt" > /dev/null 2>&1
    "$mep" train --data "$folder/data" --out "$folder/run" --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 \
        --length 16 --batch-size 4 --dtype float32 --steps 60 --learning-rate 1e-2 --quiet > /dev/null
    "$mep" generate --model "$folder/run" --prompt 'the quick' --max-tokens 200 --temperature 0.8 --quiet \
        > "$folder/expected"
    LD_LIBRARY_PATH=$libraries "$folder/generate_text" "$folder/run" 'the quick' > "$folder/output"
    cmp "$folder/output" "$folder/expected" || { echo "generate_text.c writes a different text for a run of $1"; exit 1; }
    rm -r "$folder/run" "$folder"/data.*
}
i=0
while [ $i -lt 300 ]; do
    echo "$i: the quick brown fox jumps over the lazy dog."
    i=$((i + 1))
done > "$folder/text.txt"
"$prefix/bin/mep" tokenizer train --vocab-size 300 --out "$folder/bpe.json" "$folder/text.txt" > /dev/null 2>&1
check_generate bytes
check_generate "$folder/bpe.json"
echo '== generate_text: same text as mep generate'

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

if command -v "$cxx" > /dev/null; then
    cmake -S "$source/tests/install/cxx" -B "$folder/cxx" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
        > "$folder/cmake.log" || { cat "$folder/cmake.log"; exit 1; }
    cmake --build "$folder/cxx" > "$folder/build.log" || { cat "$folder/build.log"; exit 1; }
    for kind in shared static; do
        echo "== a project in C++ alone, mep::$kind"
        run "$folder/cxx/user_$kind"
    done
else
    echo "there is no C++ compiler: the project in C++ alone is skipped"
fi
echo "$count examples built in three ways and run"
