#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Another position encoding for a model (--position of eval, generate, import and train --init): which parameters of the
# old one are kept, which are dropped, and how the new ones begin; in both blocks. Usage: cli_swap.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

# loss MODEL [POSITION [LENGTH]]: print the loss.
loss() {
    position=${2:+--position $2}
    # shellcheck disable=SC2086
    expect 0 eval --model "$1" --data text.valid --lengths ${3:-32} --tokens 512 --json --quiet $position
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
    tiny_train $block --steps 20 --quiet --position rotary --block $block --num-hidden-layers 2 --learning-rate 3e-3
    own=$(loss $block)

    # Parameters of the new encoding have the values that change nothing where there are such.
    is "$block, a window of the length" "$(loss $block rotary/window=32)" "$own"
    is "$block, two names of one encoding" "$(loss $block 'rotary|rotary')" "$own"
    for position in mep nope 'rotary|nope' rotary/window=4 rotary/forget rotary/sink rotary/scale=logn:8 bam \
        mep/weights=query alibi/scale=ssmax/window=8 nope/profiles:rank=2,extent=8 learned/sink; do
        differs "$block, $position" "$(loss $block "$position" 16)" "$(loss $block rotary 16)"
    done
    is "$block, weights of the query begin as the mixture" "$(loss $block mep/weights=query | cut -c 1-7)" \
        "$(loss $block mep | cut -c 1-7)"
    expect 0 eval --model $block --data text.valid --lengths 32 --tokens 64 --position 'rotary/forget|nope'
    said err "position_bias.forget.weight and 1 other parameter of the encoding are not in $block and not trained"
    expect 0 eval --model $block --data text.valid --lengths 32 --tokens 64 --position 'rotary|nope'
    ! grep -q note err || wrong "$block: a note about parameters that there are not"
    expect 0 generate --model $block --prompt Line --max-tokens 20 --temperature 0 --quiet --position mep/forget/window=8

    # Imported with the other encoding, it is the model of --position; training changes it and keeps the encoding.
    expect 0 import $block $block-forget --position 'rotary|nope/forget' --quiet
    is "$block, imported" "$(loss $block-forget)" "$(loss $block 'rotary|nope/forget')"
    expect 0 train --init $block --position 'rotary|nope/forget' --data text.train --out $block-run --length 32 \
        --batch-size 4 --steps 5 --learning-rate 1e-2 --dtype float32 --quiet
    said $block-run/checkpoint-5/config.json '"position_encoding": "rotary|nope/forget"'
    trained=$(loss $block-run)
    differs "$block, trained" "$trained" "$(loss $block-forget)"

    # What both encodings have is kept, in the layers that have it in both; the rest is dropped.
    is "$block, the other name" "$(loss $block-run 'rotary|nope/forget:bias=5')" "$trained"
    differs "$block, initial gates" "$(loss $block-run 'rotary|nope/forget')" "$(loss $block-run 'nope|nope/forget')"
    expect 0 import $block-run $block-back --position rotary --quiet
    expect 0 import $block-back $block-again --position 'rotary|nope/forget' --quiet
    differs "$block, dropped gates" "$(loss $block-again)" "$trained"
    expect 0 import $block-run $block-added --position 'rotary/window=32|nope/forget/window=32' --quiet
    is "$block, kept gates" "$(loss $block-added)" "$trained"
    expect 0 train --init $block-run --position mep/weights=query --data text.train --out $block-query --length 32 \
        --batch-size 4 --steps 3 --learning-rate 1e-1 --dtype float32 --quiet
    query=$(loss $block-query)
    is "$block, weights of the query are kept" "$(loss $block-query mep/weights=query/window=32)" "$query"
    is "$block, weights of the query are dropped" \
        "$(loss $block-query exp+gauss+uniform/weights=query | cut -c 1-7)" \
        "$(loss $block-query exp+gauss+uniform | cut -c 1-7)"

    # A swapped model is exported with what its new encoding has.
    expect 0 export $block-added $block-hf --quiet
    is "$block, exported" "$(loss $block-hf)" "$trained"
    [ -s $block-hf/modeling_mep.py ] || wrong "$block: no modeling_mep.py"
done

# Specs that do not fit the model or each other: one line.
refuse 1 'has 3 entries, but the model has 2 layers' eval --model llama --data text.valid --position 'rotary|nope|mep'
refuse 1 '"weights=query" needs a mixture' eval --model llama --data text.valid --position rotary/weights=query
refuse 1 'different mixtures' eval --model llama --data text.valid --position 'mep|alibi'
refuse 1 'are for all layers' eval --model llama --data text.valid --position 'rotary|learned'
refuse 1 'unknown modifier "gate"' import llama no --position mep/gate
refuse 2 'unknown modifier "gate"' train --init llama --data text.train --out no --position mep/gate
refuse 1 'rotates pairs of channels' eval --model llama --data text.valid --position rotary:partial=0.1
finish
