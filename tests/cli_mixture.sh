#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Mixtures and splits in train, eval and compare: what is accepted, recorded and refused.
# Usage: cli_mixture.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

mkdir data
i=0
while [ $i -lt 1000 ]; do
    echo "{\"text\": \"document $i of a thousand, and every document is of nearly the same size\"}"
    i=$((i + 1))
done > many.jsonl
expect 0 prepare -q --out data/many many.jsonl
expect 0 prepare -q --out data/parts --split 949,50,1 many.jsonl
for part in '.train 949' '.valid 50' '.test 1'; do
    checks=$((checks + 1))
    grep -qF "\"documents\": ${part#* }," "data/parts${part% *}.json" || wrong "another number of documents in $part"
done
sed 's/.*/{"text": "&"}/' text.txt > lines.jsonl
expect 0 prepare -q --out data/text lines.jsonl

train() { # train RUN ARGUMENT ...
    run=$1
    shift
    # shellcheck disable=SC2086
    expect 0 train --out "$run" $TINY "$@"
}

# A split without validation data: the command that the last line prints works.
train only --data data/many --split 1 --steps 1
said out '--data data/many --split 1 --part train'
# shellcheck disable=SC2086
refuse 1 'only: was made with split "1", now it is not set; choose another folder' \
    train --data data/many --out only $TINY --steps 1 --quiet
expect 0 eval --model only --data data/many --split 1 --part train --lengths 16 --tokens 64 --quiet

# The parts of --split are those that mep prepare --split writes.
train whole --data data/many --split 949,50,1 --steps 20 --valid-tokens 0
said out 'documents: 949, the training part of 949,50,1'
said out '--data data/many --split 949,50,1'
said whole/train.json '"split": "949,50,1"'
train parts --data data/parts.train --valid data/parts.valid --steps 20 --valid-tokens 0
checks=$((checks + 1))
cmp -s whole/checkpoint-20/model.safetensors parts/checkpoint-20/model.safetensors || wrong 'the split trains otherwise'
valid_of() { grep -o '"valid_loss": [0-9.]*' "$1/metrics.jsonl" | tail -n 1; }
[ -n "$(valid_of whole)" ] && [ "$(valid_of whole)" = "$(valid_of parts)" ] || wrong 'the split validates otherwise'
for part in train valid test; do
    checks=$((checks + 1))
    expect 0 eval --model whole --data data/many --split 949,50,1 --part $part --lengths 16 --json --quiet
    grep -E 'perplexity|tokens' out > a
    expect 0 eval --model whole --data data/parts.$part --lengths 16 --json --quiet
    grep -E 'perplexity|tokens' out > b
    cmp -s a b || wrong "--part $part is not $part: $(cat a b)"
done
expect 0 eval --model whole --data data/many --split 949,50,1 --lengths 16 --json --quiet
grep -E 'perplexity|tokens' out > a
expect 0 eval --model whole --data data/parts.valid --lengths 16 --json --quiet
grep -E 'perplexity|tokens' out > b
cmp -s a b || wrong 'the default part is not the validation part'

# A mixture: both corpora are recorded, and a resumed run is bit-identical.
mixture='data/many=0.75,data/text=0.25'
train mixed --data $mixture --steps 300
said out 'data      75% data/many: '
said out 'data      25% data/text: '
said mixed/train.json "\"data\": \"$mixture\""
checks=$((checks + 1))
grep -qE '"data_checksum": "[0-9a-f]{16},[0-9a-f]{16}"' mixed/train.json || wrong 'not a checksum a corpus'
# shellcheck disable=SC2086
"$MEP" train --data $mixture --out stopped $TINY --steps 300 > out 2> err < /dev/null &
pid=$!
while [ ! -s stopped/metrics.jsonl ] && kill -0 $pid 2> /dev/null; do sleep 0.02; done
kill -INT $pid
wait $pid
expect 0 train --resume stopped
cmp -s mixed/checkpoint-300/model.safetensors stopped/checkpoint-300/model.safetensors || wrong 'a resume differs'
expect 0 eval --model mixed --data $mixture --lengths 16 --tokens 320 --json --quiet
said out '"tokens": 640'
said out '"data": "data/text"'
expect 0 eval --model mixed --data $mixture --lengths 16,32 --tokens 320 --quiet
checks=$((checks + 1))
awk 'NR > 2 && $NF == "mean" { mean = $(NF - 3) } NR > 2 && $NF == "data/many" { sum = 0.75 * $(NF - 3) }
    NR > 2 && $NF == "data/text" { sum += 0.25 * $(NF - 3); rows++; if (sum - mean > 2e-5 || mean - sum > 2e-5) exit 1 }
    END { if (rows != 2) exit 1 }' out || wrong "the rows of the corpora have not the mean: $(cat out)"
train both --data $mixture --split 8,2 --steps 3 --valid-tokens 160
said both/metrics.jsonl '"valid_loss"'
said both/metrics.jsonl '"valid_losses": {"data/many": '

# A study on a split, and on a mixture of splits: one table each.
tiny='--preset nano --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 4 --threads 1'
# shellcheck disable=SC2086
expect 0 compare --data "data/many;data/many=2,data/text=1" --split 8,2 --out study $tiny --steps 3 --lengths 16,32 \
    --positions alibi,mep --eval-tokens 320 --quiet
said study/many/results.md 'in `many` (the training part of the split 8,2)'
said study/many/results.md 'in `many` (the validation part of the split 8,2)'
said 'study/many=2,text=1/results.csv' 'mep,1235,32,'
said study/study.json '"split": "8,2"'
checks=$((checks + 1))
awk -F, 'NR > 1 && $6 != 640 { exit 1 }' 'study/many=2,text=1/results.csv' || wrong 'not 320 tokens of each corpus'
# shellcheck disable=SC2086
refuse 1 'was made with split' compare --data "data/many;data/many=2,data/text=1" --split 9,2 --out study $tiny --steps 3 \
    --lengths 16 --positions alibi --quiet
expect 0 prepare -q --out data/words --valid 0.2 text.txt
# shellcheck disable=SC2086
expect 0 compare --data data/parts=1,data/words=1 --out mixture $tiny --steps 3 --lengths 16 --positions alibi --quiet
said mixture/results.md 'in `parts.train=1,words.train=1`'

refuse 2 'the split "9;1" is not up to three proportions' train --data data/many --split '9;1' --out x
refuse 2 'has no tokens for training' train --data data/many --split 0,1 --out x
# shellcheck disable=SC2086
refuse 1 'leaves nothing to test on' compare --data data/many --split 1 --out x $tiny --lengths 16
refuse 2 '--split A,B,C is missing' eval --model whole --data data/many --part test
refuse 1 'a data mix has weights, A=0.7,B=0.3: cannot open data/many,data/text.idx' train --data data/many,data/text --out x
refuse 1 'cannot open nosuch.idx' train --data data/many=1,nosuch=1 --out x
refuse 2 'needs a prefix and a weight above 0' train --data data/many=1,data/text=0 --out x
refuse 2 '"abc" is not a weight' train --data data/many=0.5,data/text=abc --out x
refuse 2 'leave out --split' train --resume whole --split 1
[ ! -e x ] || wrong 'a refused run left its folder'
finish
