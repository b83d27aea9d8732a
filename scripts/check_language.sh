#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that texts of the project do not contain the phrases of scripts/phrases.txt. Prints FILE:LINE, the phrase and what
# to write instead, and fails. Usage: check_language.sh [REPOSITORY [FOLDER OR FILE ...]]
set -eu
list=$(cd "$(dirname "$0")" && pwd)/phrases.txt
cd "${1:-$(dirname "$0")/..}"
[ $# = 0 ] || shift
[ $# != 0 ] || set -- ./*.md CMakeLists.txt Makefile cmake docs examples fuzz include python scripts src tests
files=$(find "$@" -type f ! -path 'tests/golden/*' ! -path 'fuzz/corpus/*' ! -path '*/__pycache__/*' \
    ! -name phrases.txt ! -name '*.png' ! -name '*.gz' ! -name '*.xz' ! -name '*.zst' ! -name '*.bin' ! -name '*.idx' | LC_ALL=C sort)
[ -n "$files" ] || { echo 'no files found: nothing was checked'; exit 1; }

tab=$(printf '\t')
found=$(mktemp)
trap 'rm -f "$found"' EXIT
phrases=0 errors=0
while IFS=$tab read -r phrase instead; do
    case $phrase in '' | \#*) continue ;; esac
    phrases=$((phrases + 1))
    # shellcheck disable=SC2086
    grep -nHIiwoE -e "$phrase" $files > "$found" || continue
    sed "s|\$|: write: $instead|; s|^\./||" "$found"
    errors=1
done < "$list"
[ "$phrases" != 0 ] || { echo "no phrases in $list: nothing was checked"; exit 1; }
[ "$errors" = 0 ] || exit 1
echo "$phrases phrases"
