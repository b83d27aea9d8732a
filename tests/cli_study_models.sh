#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The trained models of docs/study/models: they can be read, continue a text, know English, and do not fail beyond their
# training length of 128. Usage: cli_study_models.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"

expect 0 prepare -q --out text "$tests/../docs/tutorial.md"
seen=0
for model in "$tests"/../docs/study/models/*/; do
    expect 0 info "$model"
    expect 0 generate --model "$model" --prompt 'It was ' -n 40 --seed 1
    seen=1
    expect 0 eval --model "$model" --data text --lengths 128,2K --quiet
    checks=$((checks + 1))
    awk '$1 == 128 { short = $2 }
        $1 == 2048 { long = $2 }
        END { exit !(short > 2 && short < 30 && long > 2 && long < 1.02 * short) }' out || wrong "$model: $(cat out)"

    # A window has no parameters; another encoding has, which are not trained.
    spec=$(sed -n 's/.*"position_encoding": "\(.*\)".*/\1/p' "$model/config.json")
    expect 0 eval --model "$model" --data text --lengths 128 --position "$spec/window=64"
    checks=$((checks + 1))
    ! grep -q 'note:' err || wrong "$model: a note about a window"
    expect 0 eval --model "$model" --data text --lengths 128 --position nope/profiles
    said err "other parameters of the encoding are not in $model and not trained"
done
[ $seen = 1 ] || wrong "no model"
finish
