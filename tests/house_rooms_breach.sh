#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The check of the import law finds every kind of breach, names its line, and does not pass an empty tree.
# Usage: house_rooms_breach.sh CHECK_ROOMS.sh
set -eu
check=$1
document=$(dirname "$check")/../docs/architecture.md
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/include/mep" "$folder/src/base" "$folder/src/bias" "$folder/src/cuda" "$folder/src/cli" "$folder/docs"

fails() { # fails TEXT: the check fails and prints TEXT
    if sh "$check" "$folder" > "$folder/output" 2>&1; then
        echo "the check passed; it should have printed: $1"
        exit 1
    fi
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}
passes() { # passes TEXT: the check succeeds and prints TEXT
    sh "$check" "$folder" > "$folder/output" 2>&1 || { cat "$folder/output"; exit 1; }
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}

# The table of the document.
fails 'docs/architecture.md is missing'
sed 's/^\(| `src\/bias\/` .*| \)base |$/\1base nn |/' "$document" > "$folder/docs/architecture.md"
fails 'bias: base nn'
grep -v '^| `src/eval/`' "$document" > "$folder/docs/architecture.md"
fails 'eval: base'
cp "$document" "$folder/docs"

fails 'nothing was checked'
printf '#include "base/a.h"\n#include "mep/bias.h"\n' > "$folder/src/bias/good.c"
printf '#include "mep/dist.h"\n#include "io/files.h"\n' > "$folder/src/cli/good.c"
passes '2 files, 4 includes'

breach() { # breach FILE LINE TEXT: the line in the file is found and named
    printf '/* first line */\n%s\n' "$2" > "$folder/$1"
    fails "$1:2: $3"
    rm "$folder/$1"
}
breach src/base/x.c '#include "bias/bias_internal.h"' 'room base may not include bias/bias_internal.h'
breach src/base/x.c '#include "mep/bias.h"' 'room base may not include mep/bias.h'
breach src/base/x.h '# include "x.h"' 'include "ROOM/FILE.h", not "x.h"'
breach src/cuda/x.cu '#include "bias/bias_internal.h"' 'room cuda may not include bias/bias_internal.h'
breach src/cuda/x.cuh '#include "bias/bias_internal.h"' 'room cuda may not include bias/bias_internal.h'
breach src/cli/x.c '#include "train/run.h"' 'room cli may not include train/run.h'
breach src/cli/x.c '#include "io/checkpoint.h"' 'room cli may not include io/checkpoint.h'
breach src/bias/x.c '#include "mep/unknown.h"' 'mep/unknown.h has no room'
breach src/bias/x.c '#include <mpi.h>' 'MPI is called in src/cli/mpi_module.c alone'
breach include/mep/x.h '#include "base/error.h"' 'a public header includes base/error.h of src/'

# Symbols of another room.
printf 'const int mep_table[] = {\n    1,\n};\nint mep_count(void)\n{\n    return 1;\n}\n' > "$folder/src/cuda/table.c"
printf 'extern const int mep_table[];\nextern const int mep_unknown;\n' > "$folder/src/cuda/table.h"
passes '2 externs'
breach src/base/x.c 'extern const int mep_table[];' 'extern mep_table: it belongs to the room cuda'
breach src/base/x.h 'extern const int mep_other, mep_table[];' 'extern mep_table: it belongs to the room cuda'
breach src/base/x.c 'extern int mep_count(void);' 'extern mep_count: it belongs to the room cuda'
breach src/base/x.c '    extern const int mep_unknown;' 'extern mep_unknown: declare it in a header'
printf 'extern char **environ;\n' > "$folder/src/base/x.c"
passes '2 externs'

mkdir "$folder/src/attic"
printf 'int x;\n' > "$folder/src/attic/x.c"
fails 'src/attic/x.c:1: no room "attic"'
