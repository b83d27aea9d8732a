#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The study of docs/study: trains and tests every position encoding of TIER (docs/study/TIER.txt) on every corpus of the
# folder DATA, seed by seed, so that a part of the study is a complete table. A second call continues. The corpora are
# files NAME.train.* and NAME.valid.* of a form that mep prepare reads (.txt, .jsonl, also .gz, .xz, .zst).
#
# A TIER with a split divides NAME.train for training and test, and does not read NAME.valid. One with a line "synthetic"
# makes its data, those of a retrieval task (mep prepare --synthetic), and needs no DATA.
# The measures of TIER other than the perplexity are taken of all runs, or, if there are lines "measured", of the first
# seed for the encodings of these lines. Differences are those to its baseline.
# "windows" are numbers W of keys: runs that have weights are tested at the longest length with only the last W keys for
# each query, as with a cache of that size, or with all ("none"), on the first "window-tokens" tokens [eval-tokens]. A tier
# with a split has none.
#
# Usage: study.sh PROGRAM TIER [keep]
# Environment: DATA, folder of the corpora; OUT, folder of the results [runs/study]; CORPORA, names of corpora [all];
# ENCODING, one encoding instead of all; PROCESSES, number of processes that divide the runs, under mpirun [1]; THREADS,
# threads of a process [all cores]; RESULTS, a folder of results without weights, as docs/study/results: runs with
# results there are not trained again, and new results are added to it after each table. "keep" only adds those that
# are there now, also while the study runs.
set -eu
mep=$1
tier=$2
out=${OUT:-runs/study}
settings=$(dirname "$0")/../docs/study/$tier.txt

fail() {
    echo "study: $*" >&2
    exit 1
}

[ -r "$settings" ] || fail "there is no $settings; tiers: $(cd "$(dirname "$settings")" && ls *.txt | sed 's/\.txt$//' | tr '\n' ' ')"
setting() { sed -n "s/^$1 //p" "$settings"; }
if [ -z "$(setting synthetic)" ]; then
    [ -n "${DATA:-}" ] || fail 'DATA is missing: the folder of the corpora, with NAME.train.* and NAME.valid.* for each'
    [ -d "$DATA" ] || fail "there is no folder $DATA"
fi

[ -z "$(setting windows)" ] || [ -z "$(setting split)" ] || fail "$settings: a tier with a split has no windows"

corpora=${CORPORA:-$(setting corpora)}
[ -n "$corpora" ] || corpora=$(cd "$DATA" && ls | sed -n 's/\.train\..*//p' | sort -u)
[ -n "$corpora" ] || fail "$DATA has no file NAME.train.*"

# prepare CORPUS PART: the dataset OUT/data/CORPUS.PART, as bytes, or of the tier's task: training is seed 1 of it, valid,
# a fiftieth as large, seed 2.
prepare() {
    prefix=$out/data/$1.$2
    [ ! -e "$prefix.json" ] || return 0
    if [ -n "$(setting synthetic)" ]; then
        sequences=$(setting sequences) seed=1
        [ "$2" = train ] || { sequences=$(((sequences + 49) / 50)) seed=2; }
        "$mep" prepare --out "$prefix" --synthetic "$(setting synthetic)" --length "$(setting length)" \
            --sequences "$sequences" --seed "$seed"
        return
    fi
    for file in "$DATA/$1.$2".*; do
        [ -r "$file" ] || fail "there is no file $DATA/$1.$2.*"
        "$mep" prepare "$file" --out "$prefix"
    done
}

# known NAME: take the results of study NAME that are in RESULTS and not in OUT.
known() {
    [ -n "${RESULTS:-}" ] && [ -d "$RESULTS/$1" ] || return 0
    mkdir -p "$out/$1"
    (cd "$RESULTS/$1" && find . -type f -name '*.json') | while read -r file; do
        [ -e "$out/$1/$file" ] || { mkdir -p "$out/$1/$(dirname "$file")" && cp "$RESULTS/$1/$file" "$out/$1/$file"; }
    done
    [ -e "$out/$1/windows.csv" ] || [ ! -e "$RESULTS/$1/windows.csv" ] || cp "$RESULTS/$1/windows.csv" "$out/$1/"
}

# default_paths FILE: its text with the default OUT in place of OUT, which can be a path of one machine.
default_paths() { sed "s|\([\" ]\)$out/|\1runs/study/|g" "$1"; }

# keep_tables NAME: add the settings and tables of study NAME to RESULTS.
keep_tables() {
    [ -n "${RESULTS:-}" ] || return 0
    mkdir -p "$RESULTS/$1"
    for file in study.json results.csv differences.csv measures.csv windows.csv; do
        [ ! -e "$out/$1/$file" ] || default_paths "$out/$1/$file" > "$RESULTS/$1/$file"
    done
}

# keep NAME: add the tables of study NAME, and its runs with results (and measures) but without their weights, to RESULTS.
keep() {
    [ -n "${RESULTS:-}" ] || return 0
    keep_tables "$1"
    for folder in "$out/$1"/*/; do
        [ -e "$folder/eval.json" ] || continue
        to=$RESULTS/$1/$(basename "$folder")
        mkdir -p "$to" && cp "$folder/eval.json" "$to/"
        for file in "$folder"/measure-*.json; do
            [ ! -e "$file" ] || cp "$file" "$to/"
        done
        default_paths "$folder/train.json" > "$to/train.json"
    done
}

if [ "${3:-}" = keep ]; then
    [ -n "${RESULTS:-}" ] || fail 'RESULTS is missing: the folder to keep results in'
    for corpus in $corpora; do keep "$tier-$corpus"; done
    exit 0
fi

mkdir -p "$out/data"
for corpus in $corpora; do
    prepare "$corpus" train
    [ -n "$(setting split)" ] || prepare "$corpus" valid
done

# compare NAME CORPUS SEEDS KIND: study NAME of the encodings in the lines KIND of the tier.
compare() {
    name=$1 data=$out/data/$2 count=$3 kind=$4
    set --
    [ -z "$(setting split)" ] || { set -- "$@" --split "$(setting split)" && data=$data.train; }
    for key in lengths dtype initializer-range batch-size; do
        [ -z "$(setting $key)" ] || set -- "$@" "--$key" "$(setting $key)"
    done
    if [ -n "$(setting measures)" ] && { [ "$kind" = measured ] || [ -z "$(setting measured)" ]; }; then
        set -- "$@" --measures "$(setting measures)" --samples "$(setting samples)"
    fi
    if [ -n "${ENCODING:-}" ]; then
        set -- "$@" --positions "$ENCODING"
    else
        while read -r key value; do
            [ "$key" != "$kind" ] || set -- "$@" --positions "$value"
        done < "$settings"
        [ -z "$(setting baseline)" ] || set -- "$@" --baseline "$(setting baseline)"
    fi
    $run "$mep" compare --data "$data" --out "$out/$name" --seeds "$count" --quiet --preset "$(setting preset)" \
        --steps "$(setting steps)" --length "$(setting length)" --eval-tokens "$(setting eval-tokens)" \
        --threads "${THREADS:-0}" "$@"
}

# has_weights RUN: whether a finished run still has its weights. spec_of RUN: its position encoding.
has_weights() { [ -e "$1/eval.json" ] && ls -d "$1"/checkpoint-* > /dev/null 2>&1; }
spec_of() { sed -n 's/.*"position_encoding": "\(.*\)".*/\1/p' "$1/train.json"; }

# measure NAME CORPUS: study NAME-measures, unless RESULTS has its tables (remove them to measure again); its files, of
# megabytes, are not kept. A study measures all of its runs, so these have a folder of their own. Runs of study NAME that
# have weights are copied, not trained again. 1235 is mep compare's first seed.
measure() {
    [ -z "${RESULTS:-}" ] || [ ! -e "$RESULTS/$1-measures/measures.csv" ] || return 0
    for folder in "$out/$1"/*-seed1235; do
        copy=$out/$1-measures/$(basename "$folder")
        [ ! -e "$copy" ] && has_weights "$folder" || continue
        spec=$(spec_of "$folder")
        [ "$spec" = "${ENCODING:-}" ] || { [ -z "${ENCODING:-}" ] && grep -qxF "measured $spec" "$settings"; } || continue
        mkdir -p "$copy.new" && cp -r "$folder/." "$copy.new" && mv "$copy.new" "$copy"
    done
    compare "$1-measures" "$2" 1 measured
    keep_tables "$1-measures"
}

# windows NAME CORPUS: NAME/windows.csv, the loss at the longest length with each number of the tier's line "windows".
windows() {
    [ -n "$(setting windows)" ] || return 0
    table=$out/$1/windows.csv
    longest=$(setting lengths)
    longest=${longest##*,}
    longest=${longest:-$((32 * $(setting length)))}
    tokens=$(setting window-tokens)
    tokens=${tokens:-$(setting eval-tokens)}
    [ -e "$table" ] || echo encoding,seed,length,window,loss,perplexity > "$table"
    for folder in "$out/$1"/*-seed*; do
        has_weights "$folder" || continue
        spec=$(spec_of "$folder")
        seed=${folder##*-seed}
        case $spec in
            */window=*) continue ;;
            *,*) row="\"$spec\",$seed,$longest" ;;
            *) row="$spec,$seed,$longest" ;;
        esac
        for window in $(setting windows | tr , ' '); do
            ! row="$row,$window," awk 'index($0, ENVIRON["row"]) == 1 {found = 1} END {exit !found}' "$table" || continue
            position=$(echo "$spec" | sed "s#|#/window=$window|#g")/window=$window
            [ "$window" != none ] || position=$spec
            echo "study: $1, $position, seed $seed"
            result=$($run "$mep" eval --model "$folder" --data "$out/data/$2.valid" --position "$position" \
                --lengths "$longest" --tokens "$tokens" --threads "${THREADS:-0}" --quiet --json)
            number() { echo "$result" | sed -n "s/.*\"$1\": \([^,]*\).*/\1/p"; }
            echo "$row,$window,$(number loss),$(number perplexity)" >> "$table"
        done
    done
    keep_tables "$1"
}

run=
[ "${PROCESSES:-1}" = 1 ] || run="mpirun -np $PROCESSES"
seeds=1
while [ "$seeds" -le "$(setting seeds)" ]; do
    for corpus in $corpora; do
        echo "study: $tier, $corpus, seeds: $seeds of $(setting seeds)"
        known "$tier-$corpus"
        compare "$tier-$corpus" "$corpus" "$seeds" encoding
        keep "$tier-$corpus"
        windows "$tier-$corpus" "$corpus"
        [ "$seeds" = 1 ] && [ -n "$(setting measured)" ] || continue
        echo "study: $tier, $corpus, measures of the first seed"
        measure "$tier-$corpus" "$corpus"
    done
    seeds=$((seeds + 1))
done
