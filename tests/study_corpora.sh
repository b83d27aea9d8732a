#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The script that makes the corpora of the study: the examples in it, and what it refuses. Its sources are on the network,
# so their checksums are compared where it runs.
# Usage: study_corpora.sh SCRIPT
set -eu
script=$1
command -v python3 > /dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1

python3 -m doctest "$script"

# refused MESSAGE OPTION ...: the script fails with this message and leaves no file.
refused() {
    message=$1
    shift
    if python3 "$script" "$work/out" "$@" 2> "$work/err" > /dev/null; then echo "accepted: $*"; exit 1; fi
    grep -qF "$message" "$work/err" || { echo "no message \"$message\":"; cat "$work/err"; exit 1; }
    [ -z "$(ls -A "$work/out")" ] || { echo "left: $(ls -A "$work/out")"; exit 1; }
}
refused 'there is no corpus verse' --only verse
refused 'latex: its source cannot be read' --only latex --latex "$work/err"
refused 'code: its source cannot be read' --only code --code "$work/nothing.tar.xz"

# A source of another version: an archive with one file.
mkdir -p "$work/linux/lib"
seq 1 900 | sed 's/.*/static int unused_&;/' > "$work/linux/lib/file.c"
tar -C "$work" -czf "$work/other.tar.gz" linux
refused 'code.train has another checksum' --only code --code "$work/other.tar.gz"
