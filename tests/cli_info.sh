#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep info: runs, checkpoints, models, datasets, and other paths. Usage: cli_info.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

tiny_train run --steps 4 --quiet --position mep_param

expect 0 info run
for text in 'kind                     run' 'checkpoint               run/checkpoint-4' 'steps_done               4' \
    'batch_size               4' 'hidden_size              16' 'position_encoding        mep_param' \
    'layer_norms              96' 'attention                1088' 'mlp                      2128' \
    'position                 68' 'total                    13620' 't5.table                 32 x 2 values, from ' \
    'kerple_log.p             2 values, from ' 'grad_norm'; do
    said out "$text"
done
expect 0 info run --json
for text in '"kind": "run"' '"steps_done": 4' '"total": 13620' '"kerple_log.a": {' '"hidden_size": 16' '"last": {'; do
    said out "$text"
done
printf '{"step": 5, "lo' >> run/metrics.jsonl # torn, as a power cut or a full disk can leave it
expect 0 info run
said out 'grad_norm'
said out 'step                     4'
echo >> run/metrics.jsonl # the same with an end
expect 0 info run
said out 'step                     4'
expect 0 info run/checkpoint-4
said out 'kind                     checkpoint'
rm -r run/checkpoint-4
expect 0 info run
said out 'steps_done               0'

for path in text.valid text.valid.bin text.valid.idx; do
    expect 0 info $path
    said out 'kind                     dataset'
    said out 'documents                1'
    said out 'dtype                    uint16'
    said out 'tokenizer                bytes'
    said out 'largest_token            256'
    said out 'vocab_size               257'
done
expect 0 info text.valid --json
tokens=$(awk -F '[:,] *' '/"tokens"/ { print $2 }' out)
[ "$((tokens * 2))" = "$(wc -c < text.valid.bin)" ] || wrong "$tokens tokens are not half the bytes of text.valid.bin"
said text.valid.json "$(awk -F '"' '/"checksum"/ { print $4 }' out)"

# A changed byte is noticed; a dataset without a description is accepted.
cp text.valid.idx other.idx
sed 's/fox/cat/' text.valid.bin | tr 'q' 'k' > other.bin
expect 0 info other
said out 'tokenizer                -'
cp text.valid.json other.json
refuse 1 'other.bin or other.idx has changed since it was prepared' info other
head -c 100 text.valid.bin > other.bin
refuse 1 'other.bin' info other

refuse 2 'needs PATH' info
refuse 1 'nosuch: neither a folder nor the prefix of a dataset' info nosuch
refuse 1 'text.txt: neither a folder nor the prefix' info text.txt
refuse 1 'holds no model.safetensors and no checkpoint' info .
mkdir shards && touch shards/pytorch_model.bin.index.json
refuse 1 'writes a folder with pytorch_model.bin again as safetensors' info shards
echo '{}' > run/train.json
refuse 1 'run/train.json' info run
finish
