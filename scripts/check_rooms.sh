#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The import law. A file of src/ROOM may include the headers of its own room, those of the rooms in the table below, and
# the public headers that these rooms implement. An entry "io/files.h" permits that header of a room. The public headers
# themselves include nothing of src/. An `extern` declaration must be in a header of the room that defines the symbol.
# The table must equal that of docs/architecture.md, which says what each room contains. Prints FILE:LINE for each
# breach and fails.
# Usage: check_rooms.sh [REPOSITORY]
set -eu
cd "${1:-$(dirname "$0")/..}"

law='
base:
dist: base
bias: base
attention: base
nn: base
torch: base attention
cuda: base attention nn
backends: base attention nn cuda
model: base bias attention nn dist
tokenizer: base
corpus: base tokenizer
dataset: base tokenizer corpus
io: base bias model
eval: base dist tokenizer dataset model
train: base bias attention nn model tokenizer dataset io dist eval
bench: base bias attention nn model eval train
cli: base bench io/event_file.h io/files.h io/json.h io/file_transaction.h
'
# Public headers, by the room that implements them. cli may include all of them.
public='status:base types:base device:base bias:bias attention:attention torch:torch data:tokenizer dist:dist model:model decoder:model eval:eval
        measure:eval train:train study:train'

# The rows "ROOM: ROOMS" with sorted words, of a law on stdin.
sort_law() {
    while read -r room rooms; do
        [ -n "$room" ] || continue
        # shellcheck disable=SC2086
        printf '%s%s\n' "$room" "$(printf ' %s\n' $rooms | LC_ALL=C sort | tr -d '\n')"
    done | LC_ALL=C sort
}

document=docs/architecture.md
if [ ! -f $document ]; then
    echo "$document is missing: it has the table of rooms"
    exit 1
fi
here=$(echo "$law" | sort_law)
there=$(sed -n 's/^| `src\/\([a-z]*\)\/` |.*|\([^|]*\)|$/\1: \2/p' $document | tr -d '`,' | sort_law)
if [ "$here" != "$there" ]; then
    echo "$document: the table of rooms is not the one of scripts/check_rooms.sh; they differ in:"
    printf '%s\n%s\n' "$here" "$there" | LC_ALL=C sort | uniq -u
    exit 1
fi

files=$(find include/mep src -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | LC_ALL=C sort)
if [ -z "$files" ]; then
    echo "no files found: nothing was checked"
    exit 1
fi
# The files are read twice: first for the rooms that define symbols.
# shellcheck disable=SC2086
awk -v law="$law" -v public="$public" '
BEGIN {
    rows = split(law, row, "\n")
    for (i = 1; i <= rows; i++) {
        if (split(row[i], part, ":") < 2) continue
        room_of[part[1]] = 1
        may[part[1], part[1]] = 1
        n = split(part[2], word, " ")
        for (k = 1; k <= n; k++) may[part[1], word[k]] = 1
    }
    n = split(public, word, " ")
    for (k = 1; k <= n; k++) { split(word[k], part, ":"); owner[part[1]] = part[2] }
}
function breach(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
# The symbols of a declaration: identifiers before "[", "(", ",", ";" or "=".
function symbols(text, found,    n) {
    n = 0
    sub(/__attribute__.*/, ";", text)
    while (match(text, /[A-Za-z_][A-Za-z0-9_]*[ ]*(\[[^]]*\])*[ ]*[(,;=]/)) {
        found[++n] = substr(text, RSTART, RLENGTH)
        sub(/[^A-Za-z0-9_].*/, "", found[n])
        if (substr(text, RSTART + RLENGTH - 1, 1) == "(" || substr(text, RSTART + RLENGTH - 1, 1) == "=") break
        text = substr(text, RSTART + RLENGTH)
    }
    return n
}
function check_extern(text,    found, n, i, name) {
    n = symbols(text, found)
    for (i = 1; i <= n; i++) {
        name = found[i]
        if (name == "environ" || name == "kmp_set_blocktime") continue # of the C and the OpenMP library
        externs++
        if ((name in defined_in) && defined_in[name] != room)
            breach("extern " name ": it belongs to the room " defined_in[name] "; include its header")
        else if (!(name in defined_in) && FILENAME !~ /\.(h|cuh)$/)
            breach("extern " name ": declare it in a header of the room that defines it")
    }
}
FNR == 1 {
    pass = FILENAME in seen ? 2 : 1
    seen[FILENAME] = 1
    split(FILENAME, path, "/")
    room = path[1] == "include" ? "include" : path[2]
    pending = ""
    if (pass == 2) {
        count++
        if (room != "include" && !(room in room_of)) breach("no room \"" room "\" in the table of scripts/check_rooms.sh")
    }
}
pass == 1 {
    if (FILENAME ~ /\.(c|cu)$/ && /^[a-z]/ && !/^(extern|static|typedef|return|else|if|for|while|switch|case|goto)/ && /[(=;]/) {
        n = symbols($0, found)
        for (i = 1; i <= n; i++) if (found[i] ~ /^mep_/) defined_in[found[i]] = room
    }
    next
}
/^[ \t]*extern[ \t]+[^"]/ && !/__shared__/ { pending = $0; if (/;/) { check_extern(pending); pending = "" } next }
pending != "" { pending = pending " " $0; if (/;/) { check_extern(pending); pending = "" } next }
/^[ \t]*#[ \t]*include[ \t]*<(cuda|cublas)/ { if (room != "cuda") breach("CUDA is called in src/cuda alone") }
/^[ \t]*#[ \t]*include[ \t]*<mpi\.h>/ { if (FILENAME != "src/cli/mpi_module.c") breach("MPI is called in src/cli/mpi_module.c alone") }
/^[ \t]*#[ \t]*include[ \t]*"/ {
    includes++
    split($0, quoted, "\"")
    if (split(quoted[2], part, "/") != 2) { breach("include \"ROOM/FILE.h\", not \"" quoted[2] "\""); next }
    if (part[1] != "mep") target = part[1]
    else {
        name = part[2]; sub(/\.h$/, "", name)
        if (room == "include" || room == "cli") next
        if (!(name in owner)) { breach("mep/" part[2] " has no room in scripts/check_rooms.sh"); next }
        target = owner[name]
    }
    if (room == "include") breach("a public header includes " quoted[2] " of src/")
    else if (!((room, target) in may) && !((room, quoted[2]) in may)) breach("room " room " may not include " quoted[2])
}
END {
    if (count == 0 || includes == 0) { print "no files found: nothing was checked"; exit 1 }
    if (bad) exit 1
    printf "%d files, %d includes, %d externs: the rooms keep the law\n", count, includes, externs
}' $files $files
