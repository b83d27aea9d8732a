#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The check of phrases finds each phrase of its list and does not pass an empty folder. Usage: house_language_breach.sh CHECK_LANGUAGE.sh
set -eu
check=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/texts"

fails() { # fails TEXT: the check fails and prints TEXT
    if sh "$check" "$folder" texts > "$folder/output" 2>&1; then
        echo "the check passed; it should have said: $1"
        exit 1
    fi
    grep -qF "$1" "$folder/output" || { echo "expected: $1; got:"; cat "$folder/output"; exit 1; }
}

fails 'nothing was checked'
echo 'one line per run, after the last token' > "$folder/texts/good.c"
sh "$check" "$folder" texts > "$folder/output"

breach() { # breach TEXT PHRASE: a file with this text fails, and the phrase is named
    printf 'first line\n%s\n' "$1" > "$folder/texts/x.c"
    fails "texts/x.c:2:$2: write: "
    rm "$folder/texts/x.c"
}
breach 'a line a'' run' 'line a'' run'
breach 'From 4096'' on' 'From 4096'' on'
breach 'be''side it' 'be''side'
breach 'the'' processor' 'the'' processor'
