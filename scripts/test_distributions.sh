#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds and tests this tree in new Debian roots (debian_root.sh), as a new user does. A job SUITE:COMPILER runs `make`, `make
# demo STEPS=60` and `make test` in a copy of a minimal root that has only `make`, clang if it is the compiler, and ccache for
# speed. A job SUITE:arm64 builds the library and the program for 64-bit Arm with a cross compiler and runs the main tests
# under QEMU. Exit code 77: this machine cannot run the jobs. Usage: test_distributions.sh [SUITE:COMPILER ...]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
. "$source/scripts/debian_root.sh"

# commands COMPILER: print the commands of a job.
commands() {
    echo 'cd /mep'
    case $1 in
    arm64)
        echo 'dpkg --add-architecture arm64
        apt-get update -q > /dev/null
        install make ccache cmake ninja-build pkg-config gcc-aarch64-linux-gnu qemu-user-static libgomp1:arm64 \
            libjansson-dev:arm64 libarchive-dev:arm64 zlib1g-dev:arm64 libpcre2-dev:arm64 libutf8proc-dev:arm64 libcmocka-dev:arm64
        cmake --preset arm64 > /dev/null
        cmake --build build/arm64
        ctest --test-dir build/arm64 --output-on-failure -j 2 \
            -R "^test_(base|bias.*|attention|attention_golden|nn|product(_c)?|decode_bits|model(_c)?|model_golden(_c)?)$"'
        ;;
    *)
        echo 'apt-get update -q > /dev/null
        install make ccache'
        case $1 in clang*) echo "export CLANG=$1 CC=$1 && sh scripts/setup.sh clang" ;; esac
        echo 'make
        make demo STEPS=60
        make test'
        ;;
    esac
}

# job SUITE COMPILER
job() {
    copy_root "$1" "work-$1-$2"
    echo "== $1, $2"
    run_in_root "$1" "$(commands "$2")" || { echo "$1, $2: failed; its root is kept in $root" >&2; exit 1; }
    rm -rf "$root"
}

check_machine
[ $# -gt 0 ] || set -- trixie:gcc trixie:clang bookworm:gcc bookworm:clang
for pair in "$@"; do job "${pair%%:*}" "${pair#*:}"; done
