#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The import law: a room of src/ may include the headers of the rooms in this table, its own, and the public headers of
# those. docs/architecture.md has the table with its reasons. Prints FILE:LINE for each breach and fails.
# Usage: check_rooms.sh [REPOSITORY]
set -eu
cd "${1:-$(dirname "$0")/..}"

law='
base:
bias: base
attention: base
nn: base
model: base bias attention nn dist
tokenizer: base
corpus: base tokenizer
dataset: base tokenizer corpus
io: base bias model
eval: base dist tokenizer dataset model
train: base bias attention nn model tokenizer dataset io dist eval
dist: base
cuda: base nn attention
backends: base nn attention cuda
bench: base bias attention nn model eval train
cli: base bias attention nn model tokenizer corpus dataset io eval train dist cuda bench
'
# Public headers by the room that implements them.
public='status:base types:base device:base bias:bias attention:attention data:tokenizer model:model eval:eval train:train study:train io:io'

find include/mep src -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | LC_ALL=C sort | xargs awk -v law="$law" -v public="$public" '
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
FNR == 1 {
    files++
    split(FILENAME, path, "/")
    room = path[1] == "include" ? "include" : path[2]
    if (room != "include" && !(room in room_of)) breach("no room \"" room "\" in the table of scripts/check_rooms.sh")
}
/^[ \t]*#[ \t]*include[ \t]*<(cuda|cublas)/ { if (room != "cuda") breach("CUDA is called in src/cuda alone") }
/^[ \t]*#[ \t]*include[ \t]*<mpi\.h>/ { if (FILENAME != "src/dist/mpi_module.c") breach("MPI is called in src/dist/mpi_module.c alone") }
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
    else if (!((room, target) in may)) breach("room " room " may not include " quoted[2])
}
END {
    if (files == 0 || includes == 0) { print "no files found: nothing was checked"; exit 1 }
    if (bad) exit 1
    printf "%d files, %d includes: the rooms keep the law\n", files, includes
}'
