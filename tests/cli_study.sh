#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The driver of the study: prepares corpora, trains and tests, continues, and refuses wrong inputs.
# Usage: cli_study.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"

mkdir -p tree/scripts tree/docs/study corpora
cp "$tests/../scripts/study.sh" tree/scripts/
cat > tree/docs/study/tiny.txt << 'END'
# a study of seconds
preset nano
dtype float32
steps 2
length 16
seeds 2
eval-tokens 512
baseline alibi
measures by-position,copy
samples 4
windows 8,100000,none
encoding alibi
encoding exp + uniform/weights=query
encoding nope
measured alibi
measured nope
END
for name in one two; do
    seq 1 3000 | sed "s/^/$name /" > "corpora/$name.train.txt"
    seq 5000 5600 | sed "s/^/$name /" > "corpora/$name.valid.txt"
done

# study TIER: run the driver; its output is in out and err.
study() {
    code=0
    DATA=corpora OUT=runs THREADS=1 sh tree/scripts/study.sh "$MEP" "$1" > out 2> err < /dev/null || code=$?
}

study tiny
[ $code = 0 ] || wrong "study.sh: exit code $code"
said out 'study: tiny, one, seeds: 2 of 2'
grep -q '"dtype": "float32"' runs/tiny-one/study.json || wrong 'the dtype of a tier is not used'
for name in one two; do
    [ "$(grep -c '^alibi,' "runs/tiny-$name/results.csv")" = 12 ] || wrong "$name: alibi has not 2 seeds of 6 lengths"
    [ "$(grep -c '^exp + uniform/weights=query,' "runs/tiny-$name/results.csv")" = 12 ] ||
        wrong "$name: the second encoding is not complete"
    grep -q '^nope,' "runs/tiny-$name/differences.csv" || wrong "$name: no differences to the baseline"
    [ "$(cut -d, -f1-3 "runs/tiny-$name-measures/measures.csv" | sort -u | grep 'copy\|position' | tr '\n' ' ')" = \
        'alibi,1235,by-position alibi,1235,copy nope,1235,by-position nope,1235,copy ' ] ||
        wrong "$name: other measures than those of two encodings and the first seed"
    cmp -s "runs/tiny-$name/nope-seed1235/metrics.jsonl" "runs/tiny-$name-measures/nope-seed1235/metrics.jsonl" ||
        wrong "$name: a run is trained again for its measures"
done
# With windows that hold all keys the loss is that of the table; with smaller ones it is another.
table=runs/tiny-one/windows.csv
[ "$(wc -l < "$table")" = 19 ] || wrong 'windows.csv has not 3 windows of 3 encodings and 2 seeds'
for width in 8 100000 none; do
    sed -n "s/^exp + uniform\/weights=query,1236,512,$width,\([^,]*\),.*/\1/p" "$table" > "loss-$width"
    [ -s "loss-$width" ] || wrong "windows.csv has not the window $width"
done
grep -q "\"loss\": $(cat loss-100000)," 'runs/tiny-one/exp+uniform_weights=query-seed1236/eval.json' ||
    wrong 'a window of all keys gives another loss'
cmp -s loss-none loss-100000 || wrong 'a window of all keys gives another loss than none'
! cmp -s loss-8 loss-100000 || wrong 'a window of 8 keys gives the loss of all'
cp runs/tiny-one/windows.csv windows-before.csv
cp runs/tiny-one/results.csv before.csv
stamp=$(ls -l --time-style=full-iso runs/tiny-one/alibi-seed1235/metrics.jsonl)
study tiny
[ $code = 0 ] || wrong "a second call: exit code $code"
cmp -s before.csv runs/tiny-one/results.csv || wrong 'a second call changes results'
cmp -s windows-before.csv runs/tiny-one/windows.csv || wrong 'a second call tests windows again'
[ "$stamp" = "$(ls -l --time-style=full-iso runs/tiny-one/alibi-seed1235/metrics.jsonl)" ] ||
    wrong 'a second call trains again'

# Results without weights: nothing is trained again, and the table is the same; a new encoding is trained too.
mkdir kept
export RESULTS=kept
OUT=runs DATA=corpora sh tree/scripts/study.sh "$MEP" tiny keep > out 2> err || wrong 'keep fails'
[ -z "$(find kept -name '*.safetensors')" ] || wrong 'weights are kept'
[ "$(find kept -name eval.json | wc -l)" = 12 ] || wrong 'not all results are kept'
study tiny
[ "$(find kept -name eval.json | wc -l)" = 12 ] || wrong 'files of the other measures are kept'
grep -q '^nope,1235,copy' kept/tiny-two-measures/measures.csv || wrong 'the table of the other measures is not kept'
mv runs trained
study tiny
[ $code = 0 ] || wrong "from kept results: exit code $code"
cmp -s before.csv runs/tiny-one/results.csv || wrong 'kept results give another table'
cmp -s windows-before.csv runs/tiny-one/windows.csv || wrong 'windows without weights are lost'
[ -z "$(find runs -name '*.safetensors')" ] || wrong 'a run with kept results is trained again'
ENCODING=exp_half study tiny
[ $code = 0 ] || wrong "one more encoding: exit code $code"
[ "$(grep -c '^exp_half,' kept/tiny-two/results.csv)" = 12 ] || wrong 'the new encoding is not in the kept table'
[ "$(grep -c '^alibi,' kept/tiny-two/results.csv)" = 12 ] || wrong 'the kept encoding is not in the table'
[ -z "$(find runs/tiny-one/alibi* -name '*.safetensors')" ] || wrong 'a kept run is trained for one more encoding'
unset RESULTS

study large
[ $code = 1 ] || wrong "an unknown tier: exit code $code"
said err 'there is no'
DATA='' sh tree/scripts/study.sh "$MEP" tiny > out 2> err && wrong 'no DATA is accepted'
said err 'DATA is missing'
DATA=nowhere sh tree/scripts/study.sh "$MEP" tiny > out 2> err && wrong 'a missing folder is accepted'
said err 'there is no folder nowhere'
rm corpora/one.valid.txt
DATA=corpora OUT=other sh tree/scripts/study.sh "$MEP" tiny > out 2> err && wrong 'a corpus without a test text is accepted'
said err 'there is no file corpora/one.valid.'
# A tier with a split reads the train files alone.
sed -e 's/^seeds 2/seeds 1\nsplit 60,40,0\nlengths 16,64/' -e '/^measure/d; /^windows/d' \
    tree/docs/study/tiny.txt > tree/docs/study/divided.txt
mkdir documents
seq 1 2000 | sed 's/.*/{"text": "document &"}/' > documents/many.train.jsonl
DATA=documents OUT=divided sh tree/scripts/study.sh "$MEP" divided > out 2> err || wrong 'a tier with a split fails'
[ "$(grep -c '^nope,' divided/divided-many/results.csv)" = 2 ] || wrong 'a tier with a split has not its two lengths'
[ -z "$(find divided/data -name '*valid*')" ] || wrong 'a tier with a split reads a valid file'
(cat tree/docs/study/divided.txt && echo 'windows 8') > tree/docs/study/both.txt
DATA=documents OUT=both sh tree/scripts/study.sh "$MEP" both > out 2> err && wrong 'windows of a split are accepted'
said err 'a tier with a split has no windows'
# A tier of a task makes its data and needs no corpora; all of its runs are measured, and the measures are kept.
cat > tree/docs/study/task.txt << 'END'
synthetic mqar:pairs=2,queries=2
sequences 400
corpora pairs
preset nano
dtype bfloat16
initializer-range 0.0625
steps 2
length 16
lengths 16,64
seeds 2
eval-tokens 64
measures mqar:pairs=2,queries=2
samples 4
encoding alibi
encoding nope
END
RESULTS=taken OUT=task DATA='' sh tree/scripts/study.sh "$MEP" task > out 2> err || wrong 'a tier of a task fails'
grep -q '"dtype": "bfloat16"' task/task-pairs/study.json || wrong 'the dtype of a tier of a task is not used'
grep -q '"initializer_range": 0.0625' task/task-pairs/nope-seed1236/train.json || wrong 'the initializer range of a tier is not used'
[ "$(grep -c '^nope,1236,"mqar:pairs=2,queries=2",' taken/task-pairs/measures.csv)" = 4 ] || wrong 'a run of a task is not measured'
mv task trained-task
RESULTS=taken OUT=task DATA='' sh tree/scripts/study.sh "$MEP" task > out 2> err || wrong 'a tier of a task with kept results fails'
cmp -s trained-task/task-pairs/measures.csv task/task-pairs/measures.csv || wrong 'kept measures give another table'
[ -z "$(find task -name '*.safetensors')" ] || wrong 'a run of a task with kept results is trained again'

# Every tier of the repository is one that mep compare accepts.
for tier in "$tests"/../docs/study/*.txt; do
    sed -n 's/^encoding //p' "$tier" > encodings
    [ -s encodings ] || wrong "$tier has no encodings"
    while read -r spec; do
        expect 0 train --data runs/data/one.train --out "run-$(grep -n -x -F "$spec" encodings | cut -d: -f1)" --steps 1 \
            --length 8 --batch-size 1 --hidden-size 16 --num-attention-heads 2 --num-hidden-layers 2 --position "$spec"
    done < encodings
    rm -rf run-*
done
finish
