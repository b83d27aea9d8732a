#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks what the documents refer to: relative links and their anchors, files named as `folder/file` or `file.c`, make targets,
# and that docs/README.md lists every page. Prints FILE:LINE for each error and fails. Usage: check_documents.sh [REPOSITORY]
set -eu
external='merge_datasets.py train_gpt2.c' # files of other projects that the documents name
cd "${1:-$(dirname "$0")/..}"
pages=$(find . -maxdepth 1 -name '*.md'; find docs -name '*.md')
[ -n "$pages" ] || { echo 'no documents found: nothing was checked'; exit 1; }

# Lines "link FILE LINE TARGET", "file FILE LINE PATH", "make FILE LINE NAME", "anchor FILE NAME" for all pages.
references=$(mktemp) files=$(mktemp)
trap 'rm -f "$references" "$files"' EXIT
find . \( -path ./build -o -path ./.git \) -prune -o -type f -print > "$files"
# shellcheck disable=SC2086
awk '
FNR == 1 { sub(/^\.\//, "", FILENAME); code = 0 }
/^ *```/ { code = !code; next }
code { next }
/^#+ / {
    name = tolower($0)
    sub(/^#+ /, "", name); gsub(/[^a-z0-9 _-]/, "", name); gsub(/ /, "-", name)
    print "anchor", FILENAME, name
}
{
    rest = $0
    while (match(rest, /\]\([^)]*\)/)) {
        target = substr(rest, RSTART + 2, RLENGTH - 3)
        if (target !~ /^[a-z]+:/) print "link", FILENAME, FNR, target
        rest = substr(rest, RSTART + RLENGTH)
    }
    rest = $0
    while (match(rest, /`[^`]*`/)) {
        word = substr(rest, RSTART + 1, RLENGTH - 2)
        if (word ~ /^(cmake|docs|examples|fuzz|include|python|scripts|src|tests)\/[a-z0-9_\/.]*$/) print "file", FILENAME, FNR, word
        else if (word ~ /^[a-z0-9_\/.]+\.(c|h|cu|cuh|cpp|py|sh|gp|cmake)$/) print "name", FILENAME, FNR, word
        if (word ~ /^make [a-z]/) { split(word, part, " "); print "make", FILENAME, FNR, part[2] }
        rest = substr(rest, RSTART + RLENGTH)
    }
}
/^    make [a-z]/ { print "make", FILENAME, FNR, $2 }
' $pages > "$references"

errors=0 count=0
wrong() {
    echo "$1:$2: $3"
    errors=$((errors + 1))
}
while read -r kind page line target; do
    [ "$kind" != anchor ] || continue
    count=$((count + 1))
    case $kind in
    link)
        path=${target%%#*} anchor=
        case $target in *\#*) anchor=${target#*#} ;; esac
        file=$page
        [ -z "$path" ] || file=$(dirname "$page")/$path
        [ -e "$file" ] || { wrong "$page" "$line" "no file $file"; continue; }
        file=$(realpath --relative-to=. "$file")
        [ -z "$anchor" ] || grep -qxF "anchor $file $anchor" "$references" || wrong "$page" "$line" "no heading #$anchor in $file"
        ;;
    name)
        case " $external " in *" $target "*) continue ;; esac
        grep -q "/$target\$" "$files" || wrong "$page" "$line" "no file $target"
        ;;
    file) [ -e "$target" ] || wrong "$page" "$line" "no file $target" ;;
    make) grep -q "^$target:" Makefile || wrong "$page" "$line" "no target $target in the Makefile" ;;
    esac
done < "$references"
for page in docs/*.md; do
    name=$(basename "$page")
    [ "$name" = README.md ] || grep -q "]($name[)#]" docs/README.md || wrong docs/README.md 1 "does not list $name"
done
[ "$errors" = 0 ] || exit 1
[ "$count" != 0 ] || { echo 'no references found: nothing was checked'; exit 1; }
echo "$count references"
