#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The measures of mep eval, mep prepare --synthetic and mep bias --sight: tables, CSV, JSON, training with masks, and
# wrong inputs. Usage: cli_measures.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

tiny_train run --steps 20 --quiet
evaluate='eval --model run --data text.valid --quiet'

# columns NAME ...: the heading of the table in out.
columns() {
    checks=$((checks + 1))
    [ "$(head -n 1 out | xargs)" = "$*" ] || wrong "the heading is not $*"
}

# By position: a row for each bin of each length; each bin ends at twice the position of the one before.
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 16,64 --by-position
columns length position loss +- bits_per_byte +- samples
[ "$(awk '$1 == 64 && NF == 7 { print $2 }' out | xargs)" = '1 2 4 8 16 32 64' ] || wrong 'other bins'
[ "$(awk '$1 == 16 && NF == 7 { print $2 }' out | xargs)" = '1 2 4 8 16' ] || wrong 'other bins'
awk 'NF == 7 && $1 + 0 > 0 { d = $3 / log(2) - $5; if (d > 1e-4 || d < -1e-4) exit 1 }' out || wrong 'a token is a byte'
said out 'effective length: 64 or more (loss within 2 % of that at the training length 16)'
# The bins together are the loss of the evaluation.
mean=$(awk '$1 == 64 && NF == 7 { sum += $3 * ($2 - last); last = $2 } END { print sum / 64 }' out)
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 64
checks=$((checks + 1))
awk -v mean="$mean" '$1 == 64 { d = $4 - mean; good = d < 2e-5 && d > -2e-5 } END { exit !good }' out ||
    wrong "the mean over the bins is $mean"
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 64 --by-position --bins 3 --format csv
[ "$(awk -F, 'NR > 1 { print $2 }' out | xargs)" = '4 16 64' ] || wrong '--bins is not kept'
checks=$((checks + 1))
! grep -q effective out || wrong 'CSV has more than the table'
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 16,32 --by-position --json
for text in '"measure": "by-position"' '"position": 16.0' '"name": "loss"' '"stderr": ' '"training_length": 16' \
    '"effective_length": {' '"bits_per_byte"'; do
    said out "$text"
done

# Gain from context, copy gain.
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 64 --context-gain --samples 40
columns length context loss +- gain +- top_gain +- samples
[ "$(awk 'NR > 2 { print $2 }' out | xargs)" = '8 16 32 64' ] || wrong 'other contexts'
# shellcheck disable=SC2086
expect 0 $evaluate --copy-gain 0,16,64 --copy-tokens 8 --samples 40 --format csv
columns length,gap,first,+-,second,+-,gain,+-,samples
[ "$(awk -F, 'NR > 1 { print $1, $2, $9 }' out | xargs)" = '24 0 40 40 16 40 88 64 40' ] || wrong 'other gaps'
awk -F, 'NR > 1 { d = $3 - $5 - $7; if (d > 2e-5 || d < -2e-5) exit 1 }' out || wrong 'the gain is no difference'
cp out first
# shellcheck disable=SC2086
expect 0 $evaluate --by-position --lengths 8,64 --within 0.9
said out 'effective length: 64 or more (loss within 90 % of that at the length 8)'
# shellcheck disable=SC2086
expect 0 $evaluate --copy-gain 0,16,64 --copy-tokens 8 --samples 40 --format csv --batch-tokens 1 --threads 2
cmp -s out first || wrong 'batches or threads change the copy gain'
# shellcheck disable=SC2086
expect 0 $evaluate --copy-gain 0,16,64 --copy-tokens 8 --samples 40 --format csv --seed 2
! cmp -s out first || wrong '--seed changes nothing'

# The passkey at every depth and length.
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 128,160 --task passkey --samples 3 --depths 0,0.5,1 --format csv
columns length,depth,exact,+-,saved,+-,samples
[ "$(awk -F, 'NR > 1 { print $1, $2, $7 }' out | xargs)" = '128 0 3 128 0.5 3 128 1 3 160 0 3 160 0.5 3 160 1 3' ] ||
    wrong 'other depths and lengths'

# Blindness, a row for each layer and head; a steep bias leaves most keys without a weight.
tiny_train near --steps 1 --quiet --position 'exp:c=512'
expect 0 eval --model near --data text.valid --quiet --lengths 64 --blindness --samples 32
columns length layer head zero +- d50 +- d90 +- d99 +- samples
[ "$(awk 'NR > 2 && NF >= 8 { print $2 $3 }' out | xargs)" = '00 01' ] || wrong 'not every head'
awk 'NR == 3 && $4 < 0.9 { exit 1 }' out || wrong 'a steep bias is not blind'

# Bits per byte next to the perplexity.
# shellcheck disable=SC2086
expect 0 $evaluate --lengths 16
said out 'bits/byte'
awk '$1 == 16 { d = $4 / log(2) - $5; if (d > 2e-5 || d < -2e-5) exit 1 }' out || wrong 'a token is a byte'

# A synthetic task: data with a mask, training on the answers alone, and the task at longer lengths.
expect 0 prepare --out recall --synthetic mqar:pairs=1,queries=1 --length 8 --sequences 4K --quiet
said out 'recall: 4000 sequences of 8 tokens of the task mqar:pairs=1,queries=1; train with --length 8, test with mep eval --task mqar:pairs=1,queries=1'
[ "$(wc -c < recall.mask)" = 32001 ] || wrong 'the mask has not one byte for each token'
said recall.json '"mask": true'
expect 0 prepare --out made/recall --synthetic induction --length 8 --sequences 2 --quiet
expect 0 info made/recall
said out 'mask                     yes'
refuse 1 'recall.bin exists' prepare --out recall --synthetic mqar --quiet
refuse 2 '--threads is for text' prepare --out x --synthetic mqar --threads 2
touch stopped.journal
refuse 1 'stopped.journal belongs to stopped work' prepare --out stopped --synthetic mqar --quiet
expect 0 prepare --out stopped --synthetic mqar --sequences 9 --quiet --force
checks=$((checks + 1))
[ ! -e stopped.journal ] || wrong 'a journal without its work is left'
# Measures of losses would read tokens that are not trained; the heads' weights are those of all tokens.
for measure in --by-position --context-gain '--copy-gain 4 --copy-tokens 4' '--task passkey'; do
    # shellcheck disable=SC2086
    refuse 1 'the data has a mask: only answers are trained' eval --model run --data recall --quiet $measure
done
expect 0 eval --model run --data recall --quiet --blindness --lengths 8
expect 0 train --data recall --out recalls --num-hidden-layers 2 --hidden-size 32 --num-attention-heads 4 --length 8 \
    --batch-size 64 --steps 150 --learning-rate 1e-2 --dtype float32 --position rotary --quiet
expect 0 eval --model recalls --task mqar:pairs=1,queries=1 --lengths 8,64 --quiet --format csv --samples 100
columns length,exact,+-,loss,+-,samples
awk -F, '$1 == 8 && $2 < 0.9 { exit 1 }' out || wrong 'the task is not learned'
expect 0 eval --model recalls --data recall --lengths 8 --tokens 32000 --quiet
awk '$1 == 8 { good = $4 < 1 && $6 == 4000 } END { exit !good }' out || wrong 'not the answers are evaluated'

# Pictures: the data and the script are there without gnuplot too, and the script draws again.
no_gnuplot=$(mktemp -d)
draw() { # draw NAME ARGUMENT ...
    name=$1
    shift
    checks=$((checks + 1))
    PATH=$no_gnuplot "$MEP" eval --model run --quiet --picture "$name.png" "$@" > out 2> err && wrong 'a missing gnuplot is not noticed'
    said err 'gnuplot-nox'
    [ -s "$name.dat" ] && [ -s "$name.gp" ] || wrong "no $name.dat or $name.gp"
    command -v gnuplot > /dev/null || return 0
    LC_ALL=C.UTF-8 gnuplot "$name.gp" > out 2> err || wrong "$name.gp does not draw"
    [ ! -s err ] || wrong "$name.gp makes gnuplot print something"
    [ -s "$name.png" ] || wrong "no $name.png"
}
draw positions --data text.valid --lengths 16,64 --by-position
[ "$(grep -c '^# .length' positions.dat)" = 2 ] || wrong 'not one curve per length'
draw copies --data text.valid --copy-gain 0,16,64 --copy-tokens 8 --samples 10
draw keys --data text.valid --task passkey --lengths 128,160 --samples 2
[ "$(grep -c '^[0-9]' keys.dat)" = 10 ] || wrong 'not one cell for each length and depth'
draw heads --data text.valid --blindness --lengths 16,32 --samples 8
[ "$(grep -c '^[0-9]' heads.dat)" = 2 ] || wrong 'not one cell for each head at the longest length'
draw contexts --data text.valid --context-gain --lengths 32 --samples 10
draw recall_task --task mqar --lengths 32,64 --samples 10
rm -rf "$no_gnuplot"

# What a bias lets heads see.
expect 0 bias --position alibi --heads 8 --sight
[ "$(awk '$1 ~ /^[0-9]+$/ && NF == 4 { print $2, $4 }' out | head -n 1)" = '175 finite' ] || wrong 'another reach'
expect 0 bias --position t5 --heads 1 --sight --json --length 64
said out '"reach": null'
said out '"converges": false'

# Wrong inputs, one line each.
refuse 1 "the length 64 is shorter than the passkey's own text" eval --model run --data text.valid --quiet --task passkey \
    --lengths 64
refuse 1 '--depths 0,1.5: a depth must be a number from 0 to 1' eval --model run --data text.valid --quiet --task passkey \
    --depths 0,1.5
refuse 1 '--depths 0.5,: a depth must be' eval --model run --data text.valid --quiet --task passkey --depths 0.5,
refuse 2 '--task sorting: unknown task; it is one of passkey, mqar, induction' eval --model run --task sorting --quiet
refuse 1 'the length 16 is too short for the task mqar' eval --model run --task mqar --quiet
refuse 1 'too few for a gap of 1048576' eval --model run --data text.valid --quiet --copy-gain 1M
refuse 1 'is a data mix; a measure reads one corpus' eval --model run --data text.valid=1,text.train=1 --quiet --by-position
refuse 1 'not a multiple of 8' eval --model run --data text.valid --quiet --context-gain --lengths 20
refuse 2 'one measure at a time' eval --model run --data text.valid --by-position --context-gain
refuse 2 '--split-sequence are for the perplexity' eval --model run --data text.valid --by-position --last 4
refuse 2 '--format is for the table of a measure' eval --model run --data text.valid --format csv
refuse 2 '--picture is for a measure; mep plot draws' eval --model run --data text.valid --picture x.png
refuse 2 '--bins is for --by-position' eval --model run --data text.valid --bins 3
refuse 2 '--lengths is for a measure without gaps' eval --model run --data text.valid --copy-gain 16 --lengths 32
refuse 2 '--copy-tokens is for --copy-gain' eval --model run --data text.valid --by-position --copy-tokens 3
refuse 2 '--depths is for --task passkey' eval --model run --task mqar --depths 0
refuse 2 '--samples is for a measure' eval --model run --data text.valid --samples 3
refuse 2 '--samples is for a measure other than --by-position' eval --model run --data text.valid --by-position --samples 3
refuse 2 '--tolerance is for measures of losses' eval --model run --data text.valid --blindness --tolerance 0.1
refuse 2 '--within is for a measure whose values have a direction' eval --model run --data text.valid --blindness --within 0.1
refuse 2 '--task nosuch: unknown task' eval --model run --data text.valid --task nosuch
refuse 1 '--lengths: 32 is given twice' eval --model run --data text.valid --by-position --lengths 32,32
refuse 2 '--copy-gain: 3 is given twice' eval --model run --data text.valid --copy-gain 3,3
refuse 2 '--seed is for a measure with random choices' eval --model run --data text.valid --blindness --seed 3
refuse 2 '--data is for measures of text; mqar and induction make their own' eval --model run --task mqar --data text.valid
refuse 2 '--split is for measures of text' eval --model run --task mqar --split 1,1
refuse 2 '--json and --format exclude each other' eval --model run --data text.valid --by-position --json --format csv
refuse 2 'must end in .png' eval --model run --data text.valid --by-position --lengths 16 --quiet --picture x.svg
refuse 2 '--data PREFIX is missing' eval --model run --by-position
refuse 2 '--data PREFIX is missing' eval --model run --task passkey
refuse 1 'is not an option of the task mqar' prepare --out x --synthetic mqar:keys=3
refuse 1 'is not an option of the task induction; its options: none' prepare --out x --synthetic induction:pairs=3
refuse 2 '--sequences is for --synthetic' prepare --out x text.txt --sequences 3
refuse 1 'more queries (3) than pairs (2)' prepare --out x --synthetic mqar:pairs=2,queries=3
refuse 2 '--synthetic makes its data itself; leave out text.txt' prepare --out x --synthetic mqar text.txt
refuse 2 '--valid is for text, not for --synthetic' prepare --out x --synthetic mqar --valid 0.1
: > empty.txt
refuse 1 'empty.txt' prepare --out x --quiet empty.txt
[ -z "$(ls x.* 2> /dev/null)" ] || wrong 'refused data leaves files'

# A signal keeps the lengths that are finished.
cp text.txt long.txt
while [ "$(wc -c < long.txt)" -lt 450000 ]; do
    cat long.txt long.txt > twice
    mv twice long.txt
done
expect 0 prepare --quiet --out long long.txt
tiny_train slow --steps 1 --quiet --position rotary
checks=$((checks + 1))
: > err
"$MEP" eval --model slow --data long --lengths 256,400K --by-position > out 2> err < /dev/null &
pid=$!
while ! grep -q took err && kill -0 $pid 2> /dev/null; do sleep 0.1; done
sleep 2
kill -s INT $pid
status=0
wait $pid || status=$?
[ $status = 130 ] || wrong "exit code $status after a signal"
[ "$(awk 'NF == 7 && $1 + 0 > 0 { print $1 }' out | sort -u)" = 256 ] || wrong 'the finished length is not printed'
said err 'mep eval: the loss by position was stopped'
finish
