#!/bin/sh
# SPDX-License-Identifier: MIT
#
# --tensorboard of mep train and mep compare: the tensorboard package reads every step once, with the numbers of
# metrics.jsonl, also after a run was resumed from an earlier checkpoint. The interpreter is $PYTHON, or else the first
# one that has tensorboard; without one only the files are checked. Usage: cli_tensorboard.sh PROGRAM
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cli.sh"

reader=
for python in ${PYTHON:-python3 /usr/bin/python3}; do
    "$python" -c 'import tensorboard' 2> /dev/null && reader=$python && break
done

# read_steps FOLDER: what tensorboard reads is in the file steps.
read_steps() {
    checks=$((checks + 1))
    PYTHONDONTWRITEBYTECODE=1 "$reader" "$here/tensorboard_steps.py" "$1" > steps 2> err || wrong "cannot read $1"
}

# has_steps TAG STEP ..: the tag has these steps and no others.
has_steps() {
    tag=$1
    shift
    checks=$((checks + 1))
    found=$(sed -n "s|^$tag ||p" steps | tr ' ' '\n' | sed 's/=.*//' | tr '\n' ' ')
    [ "$found" = "$* " ] || wrong "$tag has the steps $found"
}

# same_losses RUN: the losses are those of metrics.jsonl.
same_losses() {
    checks=$((checks + 1))
    sed -n 's|^train/loss ||p' steps | tr ' ' '\n' | sed 's/=/ /' > seen
    sed -n 's/.*"step": \([0-9]*\), "loss": \([0-9.]*\).*/\1 \2/p' "$1/metrics.jsonl" > logged
    paste -d ' ' seen logged | awk '{ d = $2 - $4; if ($1 != $3 || d > 1e-4 || d < -1e-4) bad = 1 }
        END { exit bad || NR != 6 }' || wrong "other losses: $(cat seen logged)"
}

i=0
while [ $i -lt 400 ]; do
    echo "line $i of this text, and $((i * 7 % 100)) more"
    i=$((i + 1))
done > text.txt
"$MEP" prepare --quiet --out text --valid 0.2 text.txt > out || exit 1
tiny='--preset nano --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 4 --threads 1'
tiny="$tiny --steps 6"

# ---- One run ----

# shellcheck disable=SC2086
expect 0 train --data text.train --valid text.valid --out run $tiny --save-every 3 --keep 0 --tensorboard --quiet
checks=$((checks + 1))
[ "$(find run -name 'events.out.tfevents.*' | wc -l)" = 1 ] || wrong 'not one event file'
cp -r run resumed
rm -r resumed/checkpoint-6
expect 0 train --resume resumed --tensorboard --quiet
# shellcheck disable=SC2086
expect 0 train --data text.train --valid text.valid --out late $tiny --save-every 3 --keep 0 --quiet
[ -z "$(find late -name 'events*')" ] || wrong 'events without --tensorboard'
rm -r late/checkpoint-6
expect 0 train --resume late --tensorboard --quiet
expect 0 train --resume late --tensorboard --quiet # it is finished
checks=$((checks + 2))
[ "$(find resumed -name 'events*' | wc -l)" = 2 ] || wrong 'a resumed run has not two event files'
[ "$(find late -name 'events*' | wc -l)" = 1 ] || wrong 'a finished run got another event file'
if [ -n "$reader" ]; then
    for run in run resumed late; do
        read_steps $run
        has_steps train/loss 1 2 3 4 5 6
        has_steps train/learning_rate 1 2 3 4 5 6
        has_steps train/tokens_per_second 1 2 3 4 5 6
        has_steps train/grad_norm 1 2 3 4 5 6
        same_losses $run
        checks=$((checks + 1))
        [ "$(sed -n 's|^valid/loss ||p' steps)" != '' ] && [ "$(sed -n 's|^valid/perplexity ||p' steps)" != '' ] ||
            wrong "no validation in $run"
    done
fi

# ---- A study ----

# shellcheck disable=SC2086
expect 0 compare --data text --out study $tiny --lengths 16 --eval-tokens 320 --positions alibi,rotary --tensorboard --quiet
for run in study/alibi-seed1235 study/rotary-seed1235; do
    checks=$((checks + 1))
    [ "$(find $run -name 'events*' | wc -l)" = 1 ] || wrong "not one event file in $run"
    [ -z "$reader" ] && continue
    read_steps $run
    has_steps train/loss 1 2 3 4 5 6
    same_losses $run
done

[ -n "$reader" ] || echo 'not read back: no Python 3 with tensorboard (PYTHON=FILE names an interpreter)'
finish
