#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fire in training beyond its threshold, resuming, evaluation, generation, info and compare. Usage: cli_fire.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

# 2 steps and a resumed third give the bits of 3 steps; the threshold is below the length of 96.
tiny_train straight --position fire:max=20 --length 96 --steps 3 --seed 5
said out 'fire:max=20, 131 learned parameters'
tiny_train parts --position fire:max=20 --length 96 --steps 3 --seed 5 --save-every 1 --keep 0
rm -rf parts/checkpoint-3
expect 0 train --resume parts
checks=$((checks + 1))
cmp straight/checkpoint-3/model.safetensors parts/checkpoint-3/model.safetensors || wrong 'a resumed run has other bits'

expect 0 info straight
said out 'fire:max=20'
expect 0 eval --model straight --data text.valid --lengths 16,256 --tokens 512 --quiet
said out '256'
expect 0 generate --model straight --prompt 'The quick brown fox jumps over' --max-tokens 150 --temperature 0
mv out cached
expect 0 generate --model straight --prompt 'The quick brown fox jumps over' --max-tokens 150 --temperature 0
checks=$((checks + 1))
cmp -s out cached || wrong 'another text'
refuse 1 'has no reach' generate --model straight --prompt The --endless --temperature 0

# As the encoding of a model that has none, with new parameters; the default threshold is the training length.
tiny_train plain --position nope --steps 1
expect 0 eval --model plain --position fire --data text.valid --lengths 64 --tokens 128
said err 'other parameters of the encoding are not in plain and not trained'
expect 0 train --init plain --position 'fire/sink' --out swapped --data text.train --steps 1 --batch-size 2

# shellcheck disable=SC2086
expect 0 compare --data text --out study --preset nano $TINY --steps 2 --lengths 16,64 --eval-tokens 256 \
    --positions 'fire;fire:max=4;nope' --quiet
checks=$((checks + 1))
[ "$(grep -c '^fire' study/results.csv)" = 4 ] || wrong 'a study without fire'

refuse 2 'must be from 1 to 2147483648' train --out bad --data text.train $TINY --steps 1 --position fire:max=0
refuse 2 'needs a mixture of two kernels' train --out bad --data text.train $TINY --steps 1 --position fire/weights=query
finish
