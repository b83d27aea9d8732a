#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every command refuses data that was changed after it was prepared, or that has a number that is not a token id. Usage: cli_changed_data.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

tiny_train run --steps 4 --quiet
cp text.valid.bin good.bin
sed 's/fox/cat/' good.bin | tr 'q' 'k' > text.valid.bin
changed='text.valid.bin or text.valid.idx has changed since it was prepared'
refuse 1 "$changed" info text.valid
refuse 1 "$changed" eval --quiet --model run --data text.valid --lengths 16
# shellcheck disable=SC2086
refuse 1 "$changed" train --quiet --data text.valid --out other --steps 2 $TINY
# shellcheck disable=SC2086
refuse 1 "$changed" train --quiet --data text.train --valid text.valid --out other --steps 2 $TINY
# shellcheck disable=SC2086
refuse 1 "$changed" compare --quiet --data text --out study --positions alibi --steps 2 --lengths 16 $TINY
cp good.bin text.valid.bin
expect 0 eval --quiet --model run --data text.valid --lengths 16

# A misspelled key of PREFIX.json, which would drop the checksum.
cp text.valid.json good.json
sed 's/checksum/checksun/' good.json > text.valid.json
refuse 1 'text.valid.json: the key "checksun" is unknown' eval --quiet --model run --data text.valid --lengths 16
cp good.json text.valid.json

# A negative number among tokens of 32 bits, in a dataset of another program: it has no PREFIX.json.
printf 'MMIDIDX\0\0\001\0\0\0\0\0\0\0\004\001\0\0\0\0\0\0\0\002\0\0\0\0\0\0\0' > m.idx
printf '\003\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\001\0\0\0\0\0\0\0' >> m.idx
printf '\001\0\0\0\377\377\377\377\002\0\0\0' > m.bin
for command in 'info m' 'eval --quiet --model run --data m --lengths 1'; do
    # shellcheck disable=SC2086
    refuse 1 'm.bin: token 1 is -1, which is not a token id' $command
done
finish
