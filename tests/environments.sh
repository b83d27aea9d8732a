#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Bits do not depend on OpenMP's environment: a few training steps, an evaluation and a generated text are the same with any
# number of threads and whatever team OpenMP grants, in a run that is resumed, and with any number of segments evaluated at a
# time, under every CPU level that the machine has.
# Usage: environments.sh PROGRAM
. "$(dirname "$0")/cli.sh"

i=0
while [ $i -lt 300 ]; do
    echo "Line $i: the quick brown fox jumps over the lazy dog, $((i * 37 % 101)) times."
    i=$((i + 1))
done > text.txt
"$MEP" prepare --quiet --out text --valid 0.3 text.txt > out || exit 1
head -c 150 text.txt > prompt.txt

# Sizes that divide nothing evenly, and rows left over.
model='--num-hidden-layers 2 --hidden-size 48 --num-attention-heads 3 --position mep_param'
train="--data text.train --steps 3 --length 131 --batch-size 5 --micro-batch-size 5 --quiet $model"

# compute FOLDER TYPE: everything that is compared, in FOLDER, under the environment of the caller.
compute() {
    rm -rf "$1" && mkdir "$1"
    # shellcheck disable=SC2086
    expect 0 train --out "$1/run" --dtype "$2" $train
    sed 's/"tokens_per_second": [^,}]*//' "$1/run/metrics.jsonl" > "$1/metrics"
    cp "$1/run/checkpoint-3/model.safetensors" "$1/model"
    expect 0 eval --model "$1/run" --data text.valid --lengths 65,200,777 --dtype "$2" --json --quiet
    grep -v -e seconds -e '"model"' out > "$1/eval"
    expect 0 generate --model "$1/run" --prompt-file prompt.txt -n 30 --seed 7 --dtype "$2" --quiet
    cp out "$1/text"
    rm -r "$1/run"
}

# same WHAT: what was computed is what one thread computed.
same() {
    checks=$((checks + 1))
    for file in metrics model eval text; do
        cmp -s "one/$file" "other/$file" || wrong "$level, $type: $file differs under $1"
    done
}

# divide: what was computed is the same in other divisions of the work.
divide() {
    checks=$((checks + 1))
    # shellcheck disable=SC2086
    expect 0 train --out run --dtype "$type" --save-every 1 --keep 0 $train
    rm -r run/checkpoint-2 run/checkpoint-3
    expect 0 train --resume run --quiet
    cmp -s one/model run/checkpoint-3/model.safetensors || wrong "$level, $type: a resumed run has another model"
    for tokens in 1 400 1600; do
        expect 0 eval --model run --data text.valid --lengths 65,200,777 --dtype "$type" --json --batch-tokens $tokens
        grep -v -e seconds -e '"model"' out | cmp -s one/eval - ||
            wrong "$level, $type: eval differs under --batch-tokens $tokens"
    done
    rm -r run
}

level=$(cpu_level '\2')
case $level in
amx_bf16) levels='c avx2 avx512 avx512_bf16 amx_bf16' ;;
avx512_bf16) levels='c avx2 avx512 avx512_bf16' ;;
avx512) levels='c avx2 avx512' ;;
avx2) levels='c avx2' ;;
neon) levels='c neon' ;;
c) levels=c ;;
*) wrong "mep version names no CPU level: $level" ;;
esac
unset OMP_NUM_THREADS OMP_THREAD_LIMIT OMP_DYNAMIC OMP_MAX_ACTIVE_LEVELS OMP_NESTED
for level in $levels; do
    export MEP_CPU="$level"
    for type in float32 bfloat16; do
        case $type:$level in float32:* | *_bf16) ;; *) continue ;; esac
        export OMP_NUM_THREADS=1
        compute one $type
        unset OMP_NUM_THREADS
        divide
        for setting in OMP_NUM_THREADS=2 OMP_NUM_THREADS=3 OMP_NUM_THREADS=7 OMP_THREAD_LIMIT=1 OMP_DYNAMIC=true \
            OMP_MAX_ACTIVE_LEVELS=0 OMP_NESTED=true; do
            # shellcheck disable=SC2163
            export "$setting"
            case $setting in OMP_NUM_THREADS*) ;; *) export OMP_NUM_THREADS=3 ;; esac
            compute other $type
            same "$setting"
            unset "${setting%%=*}" OMP_NUM_THREADS
        done
    done
done
finish
