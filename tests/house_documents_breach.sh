#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The check of the documents finds every kind of wrong reference and does not pass an empty tree.
# Usage: house_documents_breach.sh CHECK_DOCUMENTS.sh
set -eu
check=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/docs" "$folder/src/base"

fails() { # fails TEXT: the check fails and prints TEXT
    if sh "$check" "$folder" > "$folder/output" 2>&1; then
        echo "the check passed; it should have said: $1"
        exit 1
    fi
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}

fails 'nothing was checked'
: > "$folder/src/base/a.c"
printf 'all:\n\ttrue\n' > "$folder/Makefile"
printf '# Guide\n[page](page.md#a-heading-of-c)\n' > "$folder/docs/README.md"
printf '# Page\n## A heading, of `C`\n`src/base/a.c`, `a.c`, `base/a.c`, `make all`, [x](https://example.org/none)\n' > "$folder/docs/page.md"
sh "$check" "$folder" > "$folder/output"
grep -qF '5 references' "$folder/output"

breach() { # breach LINE TEXT: a page with this line fails with TEXT
    printf '# Extra\n%s\n' "$1" > "$folder/EXTRA.md"
    fails "EXTRA.md:2: $2"
    rm "$folder/EXTRA.md"
}
breach '[x](docs/none.md)' 'no file ./docs/none.md'
breach '[x](docs/page.md#none)' 'no heading #none in docs/page.md'
breach 'see `src/base/b.c`' 'no file src/base/b.c'
breach 'see `b.c`' 'no file b.c'
breach 'see `base/b.c`' 'no file base/b.c'
breach 'run `make none`' 'no target none in the Makefile'
breach '    make none' 'no target none in the Makefile'
printf '# Lost\n' > "$folder/docs/lost.md"
fails 'docs/README.md:1: does not list lost.md'
