#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The study of docs/study: trains and tests every position encoding of TIER (docs/study/TIER.txt) on every corpus of the
# folder DATA, seed by seed, so that a part of the study is a complete table. A second call continues. The corpora are
# files NAME.train.* and NAME.valid.* of a form that mep prepare reads (.txt, .jsonl, also .gz, .xz, .zst).
#
# Usage: study.sh PROGRAM TIER
# Environment: DATA, folder of the corpora; OUT, folder of the results [runs/study]; CORPORA, names of corpora [all];
# PROCESSES, number of processes that divide the runs, under mpirun [1]; THREADS, threads of a process [all cores].
set -eu
mep=$1
tier=$2
out=${OUT:-runs/study}
settings=$(dirname "$0")/../docs/study/$tier.txt

fail() {
    echo "study: $*" >&2
    exit 1
}

[ -r "$settings" ] || fail "there is no $settings; tiers: $(cd "$(dirname "$settings")" && ls tier*.txt | tr '\n' ' ')"
[ -n "${DATA:-}" ] || fail 'DATA is missing: the folder of the corpora, with NAME.train.* and NAME.valid.* for each'
[ -d "$DATA" ] || fail "there is no folder $DATA"
setting() { sed -n "s/^$1 //p" "$settings"; }

corpora=${CORPORA:-$(setting corpora)}
[ -n "$corpora" ] || corpora=$(cd "$DATA" && ls | sed -n 's/\.train\..*//p' | sort -u)
[ -n "$corpora" ] || fail "$DATA has no file NAME.train.*"

# prepare CORPUS PART: the dataset OUT/data/CORPUS.PART, as bytes.
prepare() {
    prefix=$out/data/$1.$2
    [ ! -e "$prefix.json" ] || return 0
    for file in "$DATA/$1.$2".*; do
        [ -r "$file" ] || fail "there is no file $DATA/$1.$2.*"
        "$mep" prepare "$file" --out "$prefix"
    done
}

mkdir -p "$out/data"
for corpus in $corpora; do
    prepare "$corpus" train
    prepare "$corpus" valid
done

# The options of mep compare.
set -- --quiet --preset "$(setting preset)" --steps "$(setting steps)" --length "$(setting length)" \
    --eval-tokens "$(setting eval-tokens)" --threads "${THREADS:-0}"
while read -r key value; do
    [ "$key" != encoding ] || set -- "$@" --positions "$value"
done < "$settings"
run=
[ "${PROCESSES:-1}" = 1 ] || run="mpirun -np $PROCESSES"

seeds=1
while [ "$seeds" -le "$(setting seeds)" ]; do
    for corpus in $corpora; do
        echo "study: $tier, $corpus, seeds: $seeds of $(setting seeds)"
        $run "$mep" compare --data "$out/data/$corpus" --out "$out/$tier-$corpus" --seeds "$seeds" "$@"
    done
    seeds=$((seeds + 1))
done
