#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the shared library exports exactly the functions that the public headers declare with MEP_API.
# Usage: check_exports.sh LIBMEP.so INCLUDE_FOLDER
set -eu
library=$1
headers=$2
[ -r "$library" ] || { echo "there is no library $library"; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# A declaration runs from MEP_API at the start of a line to its semicolon; the name is the first word before a parenthesis.
cat "$headers"/mep/*.h | awk '
/^MEP_API/ { inside = 1; text = "" }
inside { text = text " " $0 }
inside && /;/ { inside = 0; if (match(text, /mep_[a-z0-9_]+\(/)) print substr(text, RSTART, RLENGTH - 1) }
' | LC_ALL=C sort -u > "$folder/declared"
# OpenMP makes a visible lock for each named critical section, and clang for reductions.
nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//; /^\.gomp_critical_user_\(mep_\|\.reduction\)/d' | LC_ALL=C sort -u > "$folder/exported"

if ! [ -s "$folder/declared" ]; then
    echo "no MEP_API function was found in $headers: nothing was checked"
    exit 1
fi
LC_ALL=C comm -23 "$folder/declared" "$folder/exported" | sed 's/^/declared but not exported: /' > "$folder/wrong"
LC_ALL=C comm -13 "$folder/declared" "$folder/exported" | sed 's/^/exported but not in a public header: /' >> "$folder/wrong"
cat "$folder/wrong"
[ ! -s "$folder/wrong" ] && echo "$(wc -l < "$folder/declared") functions declared and exported"
