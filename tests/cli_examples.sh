#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every example that a help page prints is run, in the order of its page, on small data and with a small model: lines
# that begin with "  mep COMMAND" or "  mpirun -np N mep COMMAND", with their continuations, without the words after a wide gap.
# Usage: cli_examples.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh" # text.train, text.valid
small='--num-hidden-layers 1 --hidden-size 32 --num-attention-heads 8 --length 16 --batch-size 8 --steps 4 --threads 1'
commands='prepare train eval compare generate import export plot'
home=$PWD

# ---- What the examples need ----

# zst FILE: FILE.zst, one block that is not compressed (at most 128 KB), so that the program zstd is not needed
zst() {
    header=$(($(wc -c < "$1") * 8 + 1)) # its size, type 0, the last one
    {
        printf '\050\265\057\375\000\130'
        for byte in $((header % 256)) $((header / 256 % 256)) $((header / 65536)); do
            # shellcheck disable=SC2059
            printf "\\$(printf '%03o' $byte)"
        done
        cat "$1"
    } > "$1.zst"
}

mkdir -p have/books have/pile/train have/runs
cp text.txt have/books/one.txt
cp text.txt have/chapter.txt
sed 's/.*/{"text": "&"}/' text.txt > have/books.jsonl
zst have/books.jsonl
cp have/books.jsonl.zst have/pile/train/00.jsonl.zst
mv text.* have
cd have || exit 1
expect 0 prepare --quiet --out books books.jsonl.zst
expect 0 prepare --quiet --out code books.jsonl.zst
# shellcheck disable=SC2086
expect 0 train --quiet --data text.train --out runs/mep $small
# shellcheck disable=SC2086
expect 0 train --quiet --data text.train --out runs/profiles --position nope/profiles ${small#* * } --num-hidden-layers 4
# shellcheck disable=SC2086
expect 0 compare --quiet --data text --out runs/study $small --lengths 16,32 --eval-tokens 256 \
    --positions alibi,mep,mep_param,rotary
expect 0 export runs/study/rotary-seed1235 bloom-560m
cd "$home" || exit 1

# ---- The examples, as a shell reads them ----

# Remove what one page makes and another needs.
begin() {
    cp -r "$home/have" "$home/of-$1"
    cd "$home/of-$1" || exit 1
    case $1 in
    prepare | tokenizer) rm -f books.bin books.idx books.json ;;
    train) rm -r runs ;;
    compare) rm -r runs && rm -f text.* ;;
    esac
}

# mep COMMAND ARGUMENT ...: the program with small sizes.
mep() {
    command=$1
    shift
    # shellcheck disable=SC2086
    case "$command $*" in
    train*--resume*) set -- "$@" ;;
    train*) set -- "$@" $small ;;
    compare*--measures*) set -- "$@" $small --lengths 128,256 --eval-tokens 256 --copy-tokens 4 --gaps 8 ;;
    compare*) set -- "$@" $small --lengths 128,256 --eval-tokens 256 ;;
    generate*--endless*) set -- "$@" --max-tokens 30 ;;
    generate*) set -- "$@" --max-tokens 5 ;;
    esac
    "$MEP" "$command" "$@"
}

mpirun() { # what is divided is the same in one process; cli_mpi.sh has several
    shift 2
    "$@"
}

# Lengths and counts of the page that are too large for a test.
shrink() {
    sed 's/512,1K,2K,4K,8K,16K/16,32,512/; s/512,64K/16,512/; s/--lengths 512,2K --task/--lengths 128,256 --task/
        s/64,256,1K,4K/8,64,128/; s/--last 256/--last 8/; s/--vocab-size 16384/--vocab-size 300/
        s/--steps 2K//; s/--seeds 5/--seeds 2/'
}

examples() { # examples WORD ...: those of `mep WORD ... --help`
    "$MEP" "$@" --help | awk '/^  (mpirun -np [0-9]+ )?mep [a-z]+ / {
        line = $0
        while (sub(/\\$/, "", line) && (getline more) > 0) {
            sub(/^ +/, "", more)
            line = line more
        }
        print line
    }' | sed 's/    .*//; s/^  *//' | shrink
}

count=0
for page in $commands 'tokenizer train'; do
    # shellcheck disable=SC2086
    examples $page > "$home/examples"
    [ -s "$home/examples" ] || wrong "mep $page --help has no example"
    begin "${page%% *}"
    while IFS= read -r line; do
        case $line in
        'mep plot '*) command -v gnuplot > /dev/null || continue ;;
        'mep prepare '*' --resume') continue ;; # of one that was stopped: cli_prepare.sh
        esac
        count=$((count + 1))
        (eval "$line") > out 2> err < /dev/null || wrong "example of mep $page: $line"
    done < "$home/examples"
    cd "$home" || exit 1
done
checks=$((checks + count))
[ $count -ge 20 ] || wrong "only $count examples were found"
finish
