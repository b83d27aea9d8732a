#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The check of circles finds one of functions and one of variables, skips objects of removed files, and does not pass an
# empty folder or objects without symbols.
# Usage: house_circles_breach.sh CHECK_CIRCLES.sh COMPILER
set -eu
check=$1
compiler=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build=$folder/build/CMakeFiles/objects.dir

# file ROOM/NAME.c TEXT: a source and its object.
file() {
    mkdir -p "$folder/src/$(dirname "$1")" "$build/src/$(dirname "$1")"
    echo "$2" > "$folder/src/$1"
    "$compiler" -c "$folder/src/$1" -o "$build/src/$1.o"
}
passes() { # passes TEXT: the check succeeds and prints TEXT
    sh "$check" "$folder/build" "$folder" > "$folder/output" 2>&1 || { cat "$folder/output"; exit 1; }
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}
fails() { # fails TEXT: the check fails and prints TEXT
    if sh "$check" "$folder/build" "$folder" > "$folder/output" 2>&1; then
        echo "the check passed; it should have printed: $1"
        exit 1
    fi
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}

mkdir -p "$build"
fails 'nothing was checked'
file base/a.c 'typedef int unused;'
fails 'no symbols found'
file base/a.c 'int b(void); int a(void); int a(void) { return b(); }'
file base/b.c 'int b(void); int b(void) { return 1; }'
file nn/c.c 'int a(void); int c(void); int c(void) { return a(); }'
passes '3 objects, 1 calls between files of a room, no circle'

file base/b.c 'int a(void); int b(void); int b(void) { return a(); }'
fails 'src/base/a.c'
rm "$folder/src/base/b.c"
passes '2 objects'

# Between two rooms, this check says nothing.
file base/a.c 'extern int d; int a(void); int a(void) { return d; }'
file nn/d.c 'int c(void); int d = 1; int e(void); int e(void) { return 1; }'
passes '3 objects'
file nn/c.c 'int e(void); int c(void); int c(void) { return e(); }'
file nn/d.c 'int c(void); int e(void); int (*d)(void) = c; int e(void) { return 1; }'
fails 'src/nn/c.c'
