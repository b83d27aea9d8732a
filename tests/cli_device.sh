#!/bin/sh
# SPDX-License-Identifier: MIT
#
# --device. Without a GPU every command refuses cuda in one line, before it makes anything. With a GPU or its emulator:
# a run on it, its losses compared with those of the CPU, and the commands that use it.
# Usage: cli_device.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

# On every machine: the CPU is the default and is named; a run without a device belongs to the CPU.
"$MEP" version --json > version.txt
said version.txt '"gpu": "'
tiny_train run --steps 2 --quiet
said run/train.json '"device": "cpu"'
expect 0 info run
said out '  device                   cpu'
sed '/"device"/d' run/train.json > old.json
cp old.json run/train.json
expect 0 train --resume run
expect 0 train --resume run --device cpu
said run/train.json '"device": "cpu"'
sed 's/"device": "cpu"/"device": "tpu"/' run/train.json > bad.json
cp bad.json run/train.json
refuse 1 'run/train.json: "device" must be cpu or cuda, found "tpu"' train --resume run
cp old.json run/train.json
expect 0 bench train --length 8 --batch-size 2 --dtype bfloat16 --repeats 1 --ceiling 16 --quiet --json
said out '"device": "cpu"'

# What cuda cannot do, with or without a GPU. float32 is the default of most of these commands.
TINY_CUDA=$(echo "$TINY" | sed 's/ --dtype float32//')
no_float32='computes in bfloat16; leave out'
# shellcheck disable=SC2086
refuse 2 "$no_float32 --dtype float32" train --data text.train --out new $TINY --device cuda
refuse 2 "$no_float32 --dtype float32" eval --model run --data text.valid --device cuda --dtype float32
refuse 2 "$no_float32 --dtype float32" generate --model run --device cuda --dtype float32
# shellcheck disable=SC2086
refuse 2 "$no_float32 --dtype float32" compare --data text --out new $TINY --device cuda
# shellcheck disable=SC2086
refuse 2 "$no_float32 --eval-dtype float32" compare --data text --out new $TINY_CUDA --device cuda --eval-dtype float32
for bench in attention gemm train; do
    refuse 2 "$no_float32 --dtype float32" bench $bench --device cuda --dtype float32,bfloat16
done
refuse 2 'leave it out with --device cuda' bench attention --device cuda --levels c
refuse 2 'there is no option --device' bench decode --device cuda
refuse 2 '--device: "gpu" is not one of cpu, cuda' eval --model run --data text.valid --device gpu
[ ! -e new ] || wrong 'a refused command leaves a folder'

if grep -q '"gpu": "none' version.txt; then
    reason=$(sed 's/.*"gpu": "none: \([^"]*\)".*/\1/' version.txt)
    cp run/train.json before.json
    # shellcheck disable=SC2086
    refuse 1 "mep train: $reason" train --data text.train --out new $TINY_CUDA --device cuda
    # shellcheck disable=SC2086
    refuse 1 "mep compare: $reason" compare --data text --out new $TINY_CUDA --device cuda --seeds 1
    refuse 1 "mep eval: $reason" eval --model run --data text.valid --device cuda
    refuse 1 "mep generate: $reason" generate --model run --device cuda
    for bench in attention gemm train; do
        refuse 1 "mep bench $bench: $reason" bench $bench --device cuda
    done
    refuse 1 "mep train: $reason" train --resume run --device cuda --on-nan skip
    cmp -s run/train.json before.json || wrong 'a refused --resume changes the run'
    [ ! -e new ] || wrong 'a refused command leaves a folder'

    # A run from a machine with a GPU: its files can be read, and it can be moved to the CPU.
    # shellcheck disable=SC2086
    expect 0 train --data text.train --out from $TINY_CUDA --dtype bfloat16 --steps 3 --quiet
    rm -r from/checkpoint-3
    sed 's/"device": "cpu"/"device": "cuda"/' from/train.json > gpu.json
    cp gpu.json from/train.json
    expect 0 info from
    said out '  device                   cuda'
    refuse 1 "from computes on cuda (--device moves it): $reason" train --resume from
    cmp -s from/train.json gpu.json || wrong 'a refused --resume changes the run'
    expect 0 train --resume from --device cpu --quiet
    said from/train.json '"device": "cpu"'
    expect 0 eval --model from --data text.valid --lengths 16 --quiet
    finish
    exit
fi

# near COLUMN TOLERANCE FILE FILE: the numbers after "KEY": in the lines of both files differ by at most TOLERANCE.
near() {
    checks=$((checks + 1))
    for file in "$3" "$4"; do
        awk -F "\"$1\": " 'NF > 1 { print $2 + 0 }' "$file" > "$(basename "$file").$1"
    done
    paste "$(basename "$3").$1" "$(basename "$4").$1" |
        awk -v most="$2" '{ d = $1 - $2; if (NF != 2 || d > most || d < -most) bad = 1 } END { exit bad || NR == 0 }' ||
        wrong "$1 of $3 and $4 differ by more than $2"
}

# The same run on both: the losses of every step agree within the rounding of bfloat16.
cuda_train() {
    # shellcheck disable=SC2086
    expect 0 train --data text.train $TINY_CUDA --dtype bfloat16 --steps 6 --micro-batch-size 2 --valid text.valid \
        --valid-tokens 64 --valid-every 3 --position mep_param "$@"
}
cuda_train --device cpu --out on_cpu --quiet
cuda_train --device cuda --out on_cuda
said out 'computing in bfloat16 on cuda'
said on_cuda/train.json '"device": "cuda"'
sed 's/"tokens_per_second": [^,}]*//' on_cpu/metrics.jsonl > cpu.jsonl
sed 's/"tokens_per_second": [^,}]*//' on_cuda/metrics.jsonl > cuda.jsonl
[ "$(wc -l < cuda.jsonl)" = 6 ] || wrong 'not one line per step'
near loss 0.02 cpu.jsonl cuda.jsonl
near valid_loss 0.02 cpu.jsonl cuda.jsonl
near grad_norm 0.1 cpu.jsonl cuda.jsonl
cmp -s cpu.jsonl cuda.jsonl && wrong 'both devices have the same bits: were both the CPU?'

# bfloat16 is the default, even if the preset has another type; a second run has the same bits.
# shellcheck disable=SC2086
expect 0 train --data text.train --out again $TINY_CUDA --steps 6 --micro-batch-size 2 --valid text.valid \
    --valid-tokens 64 --valid-every 3 --position mep_param --device cuda --quiet
said again/train.json '"dtype": "bfloat16"'
cmp -s on_cuda/checkpoint-6/model.safetensors again/checkpoint-6/model.safetensors || wrong 'another run has other bits'

# Stopped after step 3 and continued: bit-identical on the same device, and moved to the other one.
cuda_train --device cuda --out part --quiet --save-every 3 --keep 0
rm -r part/checkpoint-6
cp -r part moved
expect 0 train --resume part
said out 'resumed   after step 3'
cmp -s on_cuda/checkpoint-6/model.safetensors part/checkpoint-6/model.safetensors || wrong 'resuming changes bits'
cmp -s on_cuda/checkpoint-6/optimizer.safetensors part/checkpoint-6/optimizer.safetensors || wrong 'resuming changes moments'
expect 0 train --resume moved --device cpu --quiet
said moved/train.json '"device": "cpu"'
near loss 0.02 moved/metrics.jsonl on_cuda/metrics.jsonl
cp run/train.json before.json
refuse 1 'computes in bfloat16, not in float32' train --resume run --device cuda --on-nan skip
cmp -s run/train.json before.json || wrong 'a refused --resume changes the run'

# Evaluation of one model on both, with lengths that end within a block.
for device in cpu cuda; do
    expect 0 eval --model on_cuda --data text.valid --lengths 16,100 --tokens 400 --dtype bfloat16 --device $device --json --quiet
    cp out eval_$device.json
done
near loss 0.02 eval_cpu.json eval_cuda.json
expect 0 eval --model on_cuda --data text.valid --lengths 64 --tokens 64 --device cuda --quiet

# A study, its tables, and a command with another device on its folder.
# shellcheck disable=SC2086
expect 0 compare --data text --out study $TINY_CUDA --steps 2 --positions mep,alibi --lengths 16,32 --eval-tokens 64 \
    --device cuda --quiet
said study/study.json '"device": "cuda"'
said study/mep-seed1235/eval.json '"device": "cuda"'
said study/results.md 'device cuda, '
# shellcheck disable=SC2086
refuse 1 'study/study.json: was made with device "cuda", now it is "cpu"' compare --data text --out study $TINY_CUDA \
    --steps 2 --positions mep --lengths 16,32 --eval-tokens 64

# Heads that attention on CUDA does not support are refused before a folder is made.
heads='head_dim that is a multiple of 8 up to 128, found 4'
# shellcheck disable=SC2086
refuse 1 "$heads" train --data text.train --out new $(unless_given "$TINY_CUDA" --num-attention-heads) --num-attention-heads 4 --device cuda
# shellcheck disable=SC2086
refuse 1 "$heads" compare --data text --out new $(unless_given "$TINY_CUDA" --num-attention-heads) --num-attention-heads 4 --steps 2 --positions mep \
    --lengths 16 --eval-tokens 64 --device cuda
[ ! -e new ] || wrong 'a refused command leaves a folder'

# The form of benchmarks: none, mep and a learned mixture, both passes; batch x length kept.
SMALL='--device cuda --repeats 1 --ceiling 16 --quiet --json'
# shellcheck disable=SC2086
expect 0 bench attention --positions none,mep,mep_param --lengths 64,128 --tokens 128 --heads 2 --head-dim 16 $SMALL
for text in '"device": "cuda"' '"gpu": "' '"gpu_memory_gigabytes_per_second": ' '"level": "cuda"' '"dtype": "bfloat16"' \
    '"batch_size": 2' '"batch_size": 1' '"tokens": 128' '"memory_bytes": null' '"pass": "backward"'; do
    said out "$text"
done
[ "$(grep -c '"time_of_none": [0-9]' out)" = 20 ] || wrong 'not 2 lengths x 2 passes x 5 cases'
# shellcheck disable=SC2086
expect 0 bench train --length 8 --batch-size 1 --vocab-size 64 $SMALL
said out '"tokens_per_second": '
# shellcheck disable=SC2086
expect 0 bench train --eval --length 8 --vocab-size 64 $SMALL
# shellcheck disable=SC2086
expect 0 bench gemm --preset nano --batch-size 1 --length 4 --vocab-size 64 $SMALL
[ "$(grep -c '"product": ' out)" = 15 ] || wrong 'not 5 maps x 3 passes'

# Text: the likeliest tokens of a model that has memorized its line are the same on both.
# shellcheck disable=SC2086
expect 0 train --data text.train --out fluent $TINY_CUDA --dtype bfloat16 --steps 800 --learning-rate 0.02 \
    --initializer-range 0.02 --quiet
for device in cpu cuda; do
    expect 0 generate --model fluent --prompt 'Line 12: the quick ' --max-tokens 20 --temperature 0 --dtype bfloat16 \
        --device $device --quiet
    said out 'Line 12: the quick brown fox '
    cp out text_$device.txt
done
cmp -s text_cpu.txt text_cuda.txt || wrong 'the devices write different texts'
expect 0 generate --model on_cuda --prompt 'Line 1' --max-tokens 4 --device cuda
said err '4 tokens, the first after '
finish
