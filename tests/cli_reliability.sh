#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep train under external failures: signals, a closed pipe, a full disk, a folder without permission, removed data. The
# command prints a clear line and saves its state if possible, and the continued run has the bits of a run without a
# failure. Usage: cli_reliability.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"
STEPS=1500

tiny_train whole --steps $STEPS --quiet
cp text.train.bin kept.bin

# begin RUN ARGUMENT ...: train on text.train in the background ($pid) until the first step is done.
begin() {
    run=$1
    shift
    # shellcheck disable=SC2086
    "$MEP" train --data text.train --out "$run" $(unless_given "$TINY --steps $STEPS" "$@") "$@" > out 2> err < /dev/null &
    pid=$!
    while [ ! -s "$run/metrics.jsonl" ] && kill -0 $pid 2> /dev/null; do sleep 0.02; done
}

# ends CODE WHAT: the run in the background ends with this exit code.
ends() {
    checks=$((checks + 1))
    wait $pid
    got=$?
    [ "$got" = "$1" ] || wrong "$2: exit code $got, not $1"
}

# disturb CODE WHAT RUN COMMAND: a run in the background, with COMMAND after its first step, ends with this exit code.
# If it ended before COMMAND (on a busy machine), it starts again.
disturb() {
    for try in 1 2 3 4 5 6; do
        rm -rf "$3" away
        cp kept.bin text.train.bin
        begin "$3"
        eval "$4"
        got=0
        wait $pid || got=$?
        [ $got = 0 ] && [ $try != 6 ] || break
    done
    checks=$((checks + 1))
    [ "$got" = "$1" ] || wrong "$2: exit code $got, not $1"
}

# same RUN: when finished, its model is that of the complete run, and its log has each step once.
same() {
    checks=$((checks + 1))
    cmp -s whole/checkpoint-$STEPS/model.safetensors "$1/checkpoint-$STEPS/model.safetensors" ||
        wrong "$1 differs from the run that was left alone"
    [ "$(wc -l < "$1/metrics.jsonl")" = $STEPS ] || wrong "$1/metrics.jsonl has not each step once"
    rm -rf "$1"
}

# Signals. SIGHUP stays ignored if it is ignored from the start (nohup), which may also apply to this test.
signals='INT TERM'
[ -z "$(sh -c 'kill -HUP $$; echo ignored' 2> /dev/null)" ] && signals='INT TERM HUP'
for signal in $signals; do
    disturb 130 "SIG$signal" stopped 'kill -"$signal" $pid'
    said err 'everything is saved in stopped; continue: mep train --resume stopped'
    expect 0 train --resume stopped --quiet
    same stopped
done
trap '' HUP
begin nohup
kill -HUP $pid
ends 0 'a SIGHUP that is ignored'
same nohup

# A closed pipe does not end the training.
# shellcheck disable=SC2086
"$MEP" train --data text.train --out pipe $TINY --steps $STEPS 2>&1 < /dev/null | true
same pipe

# Data: the run keeps removed files open until its end; a truncated file ends the run after it has saved.
begin removed
rm text.train.bin
ends 0 'data that is removed during the run'
cp kept.bin text.train.bin
same removed
disturb 1 'data that is cut short during the run' cut ': > text.train.bin'
said err 'text.train.bin became shorter while it was in use; restore it; saved after step '
refuse 1 'text.train.bin is empty' train --resume cut --quiet
cp kept.bin text.train.bin
set -- cut/checkpoint-*
[ -s "$1/state.json" ] || wrong 'nothing was saved when the data was cut short'
expect 0 train --resume cut --quiet
same cut

# If the folder of a run is renamed, the run continues in it. If it is removed, the run ends.
for try in 1 2 3 4 5 6; do # it may have been at its end before it was moved
    rm -rf moved away
    begin moved
    kill -STOP $pid; mv moved away; echo > moved; kill -CONT $pid
    got=0
    wait $pid || got=$?
    ! grep -q 'folder is now' err || break
done
checks=$((checks + 1))
[ $got = 0 ] || wrong "a run whose folder is moved: exit code $got, not 0"
said err "the run's folder is now $(pwd -P)/away"
said out "away: loss"
rm moved && mv away moved
same moved
disturb 1 'a run whose folder is removed' gone 'kill -STOP $pid; rm -r gone; kill -CONT $pid'
said err 'gone: was removed, or moved to another file system'
said err '; nothing could be saved'
[ ! -e gone ] || wrong 'the folder that was removed is there again'

# A log that can no longer be opened: the finished steps are saved, with their lines. A log that cannot be extended: the
# finished steps are saved too.
disturb 1 'a run without its log' log \
    'kill -STOP $pid; mv log/metrics.jsonl away; mkdir log/metrics.jsonl; kill -CONT $pid'
said err 'cannot open log/metrics.jsonl: Is a directory; saved after step '
rmdir log/metrics.jsonl && mv away log/metrics.jsonl
expect 0 train --resume log --quiet
same log
tiny_train log --steps $STEPS --save-every 1000 --keep 0 --quiet
rm -r log/checkpoint-$STEPS
line=$(head -n 1 log/metrics.jsonl)
sed -n 2,1000p log/metrics.jsonl > rest
blanks=$((2000 * 512 - 60 - ${#line} - 1 - $(wc -c < rest))) # a part of the next line fits into 2000 blocks
{ printf '%s%*s}\n' "${line%?}" "$blanks" ''; cat rest; } > padded && mv padded log/metrics.jsonl
checks=$((checks + 1))
[ "$(wc -c < log/metrics.jsonl)" = $((2000 * 512 - 60)) ] || wrong 'the log that was filled has another size'
(
    ulimit -f 2000
    exec "$MEP" train --resume log --quiet > out 2> err < /dev/null
)
[ $? = 1 ] || wrong 'a log that cannot be written is no failure'
said err 'cannot write log/metrics.jsonl: File too large; saved after step 1001'
expect 0 train --resume log --quiet
cmp -s whole/checkpoint-$STEPS/model.safetensors log/checkpoint-$STEPS/model.safetensors ||
    wrong 'the run without one line differs from the run that was left alone'
rm -rf log

# A full disk, here a limit on the size of files: the previous checkpoint is kept, and no incomplete file.
tiny_train full --steps 8 --save-every 2 --hidden-size 256 --quiet
cp -r full reference
rm -r full/checkpoint-8
checks=$((checks + 1))
(
    ulimit -f 1024 # half a megabyte: a sanitizer needs some for itself
    exec "$MEP" train --resume full --quiet > out 2> err < /dev/null
)
[ $? = 1 ] || wrong 'a checkpoint that cannot be written is no failure'
said err 'checkpoint 8 cannot be saved, earlier ones are kept: cannot write full/checkpoint-8.tmp/model.safetensors: File too large'
[ "$(cd full && echo checkpoint-*)" = checkpoint-6 ] || wrong 'not the checkpoint before, and nothing else, is left'
expect 0 train --resume full --quiet
cmp -s reference/checkpoint-8/model.safetensors full/checkpoint-8/model.safetensors || wrong 'full differs'

# The same on a full file system, if this user may mount one.
disk='mkdir disk && mount -t tmpfs -o size=1m tmpfs disk && cp -r full disk/run && rm -r disk/run/checkpoint-8 &&
    { dd if=/dev/zero of=disk/rest bs=1k 2> /dev/null; true; }'
if unshare -rm sh -c "$disk" 2> /dev/null; then
    checks=$((checks + 1))
    rmdir disk
    unshare -rm sh -c "$disk; $MEP train --resume disk/run --quiet > out 2> err; code=\$?; ls disk/run > left
        rm disk/rest; $MEP train --resume disk/run --quiet 2>> err && cp disk/run/checkpoint-8/model.safetensors .
        exit \$code"
    [ $? = 1 ] || wrong 'a full disk is no failure'
    said err 'No space left on device'
    if grep -q tmp left; then wrong 'something half written is left on a full disk'; fi
    cmp -s reference/checkpoint-8/model.safetensors model.safetensors || wrong 'the run on a full disk differs'
else
    echo 'no file system can be mounted here: the full disk is a limit on the size of files only'
fi

# A folder without write permission, which root always has.
if [ "$(id -u)" != 0 ]; then
    rm -r full/checkpoint-8 && chmod 555 full
    refuse 1 'cannot be saved, earlier ones are kept: cannot make the folder' train --resume full --quiet
    chmod 755 full
fi
refuse 1 'cannot make the folder' train --data text.train --out /proc/run --steps 1 --quiet
finish
