#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The check of the import law finds every kind of breach, names its place, and does not pass an empty tree.
# Usage: house_rooms_breach.sh CHECK_ROOMS.sh
set -eu
check=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/include/mep" "$folder/src/base" "$folder/src/bias" "$folder/src/cuda"

fails() { # fails TEXT: the check fails and prints TEXT
    if sh "$check" "$folder" > "$folder/output" 2>&1; then
        echo "the check passed; it should have said: $1"
        exit 1
    fi
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}

fails 'nothing was checked'
printf '#include "base/a.h"\n#include "mep/bias.h"\n' > "$folder/src/bias/good.c"
sh "$check" "$folder" > "$folder/output"
grep -qF '1 files, 2 includes' "$folder/output"

breach() { # breach FILE LINE TEXT: the line in the file is found and named
    printf '/* first line */\n%s\n' "$2" > "$folder/$1"
    fails "$1:2: $3"
    rm "$folder/$1"
}
breach src/base/x.c '#include "bias/bias.h"' 'room base may not include bias/bias.h'
breach src/base/x.c '#include "mep/bias.h"' 'room base may not include mep/bias.h'
breach src/base/x.h '# include "x.h"' 'include "ROOM/FILE.h", not "x.h"'
breach src/cuda/x.cu '#include "bias/bias.h"' 'room cuda may not include bias/bias.h'
breach src/cuda/x.cuh '#include "bias/bias.h"' 'room cuda may not include bias/bias.h'
breach src/bias/x.c '#include "mep/unknown.h"' 'mep/unknown.h has no room'
breach src/bias/x.c '#include <mpi.h>' 'MPI is called in src/dist/mpi_module.c alone'
breach include/mep/x.h '#include "base/error.h"' 'a public header includes base/error.h of src/'
mkdir "$folder/src/attic"
printf 'int x;\n' > "$folder/src/attic/x.c"
fails 'src/attic/x.c:1: no room "attic"'
