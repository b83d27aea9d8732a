#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Rotary positions with options: at test time, in training, generation, comparison and export, with both blocks; and
# wrong options. Usage: cli_rotary.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

# loss MODEL LENGTH [POSITION]: print the loss.
loss() {
    position=${3:+--position $3}
    # shellcheck disable=SC2086
    expect 0 eval --model "$1" --data text.valid --lengths "$2" --tokens 512 --json --quiet $position
    awk -F '[:, ]+' '/"loss"/ { print $3 }' out
}

# is WHAT A B: equal texts. differs WHAT A B: different ones. Both are losses, so not empty.
is() {
    checks=$((checks + 1))
    [ -n "$2" ] && [ "$2" = "$3" ] || wrong "$1: $2, not $3"
}
differs() {
    checks=$((checks + 1))
    [ -n "$2" ] && [ -n "$3" ] && [ "$2" != "$3" ] || wrong "$1: both $2"
}

for block in gpt_neox llama; do
    tiny_train $block --steps 20 --quiet --position rotary --block $block
    near=$(loss $block 16)
    far=$(loss $block 128)

    # A scaling that does nothing, and those that change the rotation.
    is "$block, factor 1" "$(loss $block 128 rotary:scaling=linear,factor=1)" "$far"
    is "$block, dynamic in the length of training" "$(loss $block 16 rotary:scaling=dynamic,factor=8)" "$near"
    for scaling in linear,factor=8 ntk,factor=8 dynamic,factor=8 yarn,factor=8,original=16 \
        llama3,factor=8,original=16,high_freq_factor=8 \
        longrope,factor=8,short_factor=1:1:1:1,long_factor=1:2:4:8; do
        differs "$block, $scaling" "$(loss $block 128 "rotary:scaling=$scaling")" "$far"
    done
    differs "$block, another base" "$(loss $block 16 rotary:base=100)" "$near"

    # Training with options and per layer, from a model and from nothing; the run keeps them.
    expect 0 train --init $block --position rotary:scaling=yarn,factor=8,original=16 --data text.train --out $block-yarn \
        --length 32 --batch-size 4 --steps 3 --quiet
    grep -qF '"position_encoding": "rotary:scaling=yarn,factor=8,original=16"' $block-yarn/checkpoint-3/config.json ||
        wrong "$block: the checkpoint does not keep the scaling"
    yarn=$(loss $block-yarn 128)
    is "$block, the run's own scaling" "$(loss $block-yarn 128 rotary:original=16,factor=8,scaling=yarn)" "$yarn"
    differs "$block, without it" "$(loss $block-yarn 128 rotary)" "$yarn"
    tiny_train $block-layers --steps 2 --quiet --position 'rotary:base=100|rotary:fraction=0.5|nope' --block $block \
        --num-hidden-layers 3
    loss $block-layers 64 > /dev/null
    expect 0 generate --model $block-layers --prompt Line --max-tokens 40 --temperature 0 --quiet
    expect 0 generate --model $block --prompt Line --max-tokens 40 --temperature 0 --quiet \
        --position rotary:scaling=dynamic,factor=4
done

# As a GPT-NeoX of transformers, with its keys, and read back.
expect 0 export gpt_neox-yarn exported --quiet
for text in '"model_type": "gpt_neox"' '"rope_type": "yarn"' '"original_max_position_embeddings": 16' '"rope_scaling"'; do
    grep -qF "$text" exported/config.json || wrong "the exported config.json has no $text"
done
is 'the exported model' "$(loss exported 128)" "$(loss gpt_neox-yarn 128)"
for block in gpt_neox llama; do
    expect 0 export $block-layers $block-exported --quiet
    grep -qF '"rotary:fraction=0.5": {' $block-exported/config.json || wrong "$block: no frequencies of an entry"
    is "$block, exported layers" "$(loss $block-exported 64)" "$(loss $block-layers 64)"
done

# A comparison of scalings, each in a folder of its own.
# shellcheck disable=SC2086
expect 0 compare --data text --out study $TINY --steps 2 --lengths 16,32 --eval-tokens 64 --quiet \
    --positions 'rotary;rotary:scaling=linear,factor=2;rotary:scaling=yarn,factor=2,original=16'
said out 'rotary:scaling=yarn,factor=2,original=16'

# Help pages list the options, completely.
for command in train compare bias; do
    expect 0 $command --help
    said out '  attention_factor=A         of yarn and longrope; default: by their formulas'
    said out '"rotary:scaling=yarn,factor=8,original=512".'
done

refuse 1 'unknown scaling "yarm"; scalings: linear, ntk, dynamic, yarn' eval --model gpt_neox --data text.valid \
    --position rotary:scaling=yarm
refuse 1 'scaling=yarn needs "factor"' eval --model gpt_neox --data text.valid --position rotary:scaling=yarn
refuse 1 'rotates 4 pairs of channels, but short_factor and long_factor have 1 numbers' eval --model gpt_neox \
    --data text.valid --position rotary:scaling=longrope,factor=2,short_factor=1,long_factor=2
finish
