#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The demo: trains four position encodings at length 128 on real text, tests them up to length 4096, and writes a table
# and pictures to runs/demo. The text is the Perl manual of Debian's package perl-doc, or that of CORPUS, a file or folder
# (also .gz, .zst and .xz). STEPS sets the number of training steps. A second call continues the demo; with another text
# or other steps it starts a new one and renames the old folder. Usage: demo.sh PROGRAM
set -eu
mep=$1
corpus=${CORPUS:-}
steps=${STEPS:-500}
out=runs/demo
texts=build/demo-text

fail() {
    echo "demo: $*" >&2
    exit 1
}

# Download perl-doc without installing it, and keep its pages; perltoc and perluniprops are generated lists, not prose.
fetch_manual() {
    command -v apt-get > /dev/null ||
        fail 'there is no apt-get to download a text; give one: make demo CORPUS=FILE'
    echo 'downloading the Perl manual (Debian package perl-doc, 8 MB; it is not installed)'
    rm -rf "$texts/new"
    mkdir -p "$texts/new/package"
    (
        cd "$texts/new"
        as_root=
        [ "$(id -u)" = 0 ] || as_root=sudo
        apt-get download perl-doc > log 2>&1 ||
            { $as_root apt-get update -q > log 2>&1 && apt-get download perl-doc > log 2>&1; } ||
            { cat log >&2; exit 1; }
        dpkg-deb -x perl-doc_*.deb package
        rm -f package/usr/share/perl/*/pod/perltoc.pod package/usr/share/perl/*/pod/perluniprops.pod
        mv package/usr/share/perl/*/pod perl-doc
    ) || fail 'cannot download the package perl-doc; give another text: make demo CORPUS=FILE'
    mv "$texts/new/perl-doc" "$texts/perl-doc"
    rm -rf "$texts/new"
}

if [ -z "$corpus" ]; then
    corpus=$texts/perl-doc
    [ -d "$corpus" ] || fetch_manual
    text=perl-doc
else
    [ -r "$corpus" ] || fail "there is no readable file or folder $corpus"
    text=$(ls -ldL --time-style=full-iso -- "$corpus")
fi
name=$(basename "$corpus" | sed 's/\.\(gz\|zst\|xz\)$//; s/\.\(txt\|json\|jsonl\|tar\)$//; s/[^A-Za-z0-9._-]/_/g')

# The input of this demo; a runs/demo with another input is renamed.
printf 'steps %s\ntext %s\n' "$steps" "$text" > build/demo.now
if [ -d "$out" ] && ! cmp -s build/demo.now "$out/demo.txt"; then
    number=1
    while [ -e "$out-$number" ]; do number=$((number + 1)); done
    mv "$out" "$out-$number"
    echo "the previous demo in $out (with another text or other steps) is now in $out-$number"
fi
mkdir -p "$out/data"
mv build/demo.now "$out/demo.txt"

data=$out/data/$name
[ -e "$data.valid.json" ] || "$mep" prepare --force --out "$data" --valid 0.1 -- "$corpus"
echo "training 4 models for $steps steps each; an estimate of the time follows after a few seconds; STEPS makes it shorter:"
echo '    make demo STEPS=60'
exec "$mep" compare --data "$data" --out "$out" --preset nano --positions alibi,mep,mep_param,rotary \
    --length 128 --steps "$steps" --lengths 128,256,512,1K,2K,4K --eval-tokens 65536
