#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep prepare: files, the boundaries of --valid and --split, wrong inputs, stopped work that continues to the same
# bytes, and no files that remain.
# Usage: cli_prepare.sh PROGRAM
. "$(dirname "$0")/cli.sh"

# holds PREFIX DOCUMENTS TOKENS: the dataset exists with its three files.
holds() {
    checks=$((checks + 1))
    { [ -f "$1.bin" ] && [ -f "$1.idx" ] && grep -qF "\"documents\": $2," "$1.json" &&
        grep -qF "\"tokens\": $3," "$1.json"; } ||
        wrong "$1 does not hold $2 documents of $3 tokens: $(cat "$1.json" 2>&1)"
}

# none_of PREFIX: no name of a file starts with it.
none_of() {
    checks=$((checks + 1))
    ls "$1"* > found 2> /dev/null && wrong "left behind: $(cat found)"
}

# document SIZE: a line of JSON with a text of SIZE letters.
document() {
    printf '{"text": "%s"}\n' "$(head -c "$1" /dev/zero | tr '\0' x)"
}

document 99 > two.jsonl
document 9 >> two.jsonl
printf 'some words\n' > words.txt
mkdir empty

expect 0 prepare --out whole two.jsonl words.txt
holds whole 3 122
said out 'whole.bin: 3 documents, 122 tokens, 0.975 bytes of text per token'
expect 0 prepare -q --no-eod --out bare two.jsonl words.txt
holds bare 3 119
[ -s err ] && wrong 'mep prepare --quiet prints on stderr'

# The split point: 99 + 1 and 9 + 1 tokens. For a tenth, 11 of 110, the boundary at 10 is near.
expect 0 prepare -q --out cut --valid 0.1 two.jsonl
holds cut.train 1 100
holds cut.valid 1 10
none_of cut.whole
# For a half no boundary is near: the first document is divided.
expect 0 prepare -q -f --out cut --valid 0.5 two.jsonl
holds cut.train 1 55
holds cut.valid 2 55
expect 0 prepare -q --out one --valid 0.1 words.txt
holds one.train 1 11
holds one.valid 1 1

# Existing files are kept unless --force is given; an input is always kept.
cp whole.bin before.bin
refuse 1 'whole.bin exists; choose another --out, or --force' prepare --out whole words.txt
refuse 1 'cut.train.bin exists' prepare --out cut --valid 0.1 words.txt
cmp -s whole.bin before.bin || wrong 'whole.bin has changed'
expect 0 prepare -q --force --out whole words.txt
holds whole 1 12
cp two.jsonl two.json
refuse 1 'two.json is an input' prepare -q --force --out two two.json
cmp -s two.jsonl two.json || wrong 'an input has changed'

# A dataset in a folder of its inputs would be an input of the next command, which resumes or replaces it.
mkdir -p corpus/deep
cp words.txt corpus
refuse 1 'corpus/x would be in the input folder corpus' prepare --out corpus/x two.jsonl corpus
refuse 1 'corpus/deep/x.whole would be in the input folder corpus/.' prepare --out corpus/deep/x --valid 0.1 corpus/.
(cd corpus && "$MEP" prepare --out x . > ../out 2> ../err)
said err 'x would be in the input folder .'
[ "$(ls corpus corpus/deep)" = "$(printf 'corpus:\ndeep\nwords.txt\n\ncorpus/deep:')" ] || wrong 'files among the inputs'
expect 0 prepare -q --out corpus_x corpus
holds corpus_x 1 12

refuse 2 '--out PREFIX is missing' prepare words.txt
refuse 2 'needs INPUT' prepare --out x
for path in made/ . made/..; do # would be the hidden file made/.bin
    refuse 2 "\"$path\" has no name" prepare --out "$path" words.txt
done
refuse 2 'without .bin or .idx' prepare --out x.idx words.txt
refuse 2 'not a number from 0 to 0.9' prepare --out x --valid 1.5 words.txt
refuse 1 '"words" is not a tokenizer' prepare --out x --tokenizer words words.txt
refuse 1 'cannot read missing.txt' prepare --out x missing.txt
refuse 1 'empty contains no text' prepare --out x empty
printf '{"text": ""}\n{"text": ""}\n' > hollow.jsonl # all its texts are empty: most likely a mistake
for inputs in hollow.jsonl 'hollow.jsonl words.txt'; do
    refuse 1 'hollow.jsonl contains no text: all its documents are empty' prepare -q --out x $inputs
    none_of x
done
refuse 1 'hollow.jsonl contains no text: all its documents are empty' prepare -q --out x words.txt hollow.jsonl two.jsonl
refuse 1 'hollow.jsonl contains no text' prepare -q --resume --out x words.txt hollow.jsonl two.jsonl
expect 0 prepare -q --resume --out x words.txt two.jsonl
holds x 3 122
rm x.*
mkdir partly # a file without texts is no mistake in a folder with some
cp hollow.jsonl words.txt partly
expect 0 prepare -q --out x words.txt partly
holds x 2 24
rm x.*
expect 0 prepare --out made/for/it/x words.txt
[ -s made/for/it/x.bin ] || wrong 'no folder was made'
refuse 1 'words.txt' prepare --out words.txt/x words.txt
printf 'a' > a.txt
refuse 1 'one token cannot be divided' prepare -q --no-eod --out x --valid 0.5 a.txt
printf '{"text": "fine"}\nnot fine\n' > bad.jsonl
refuse 1 'bad.jsonl:2: ' prepare -q --out x --valid 0.1 bad.jsonl
none_of x

# After an error in a file, the work on earlier files is kept.
cp bad.jsonl late.jsonl
refuse 1 'late.jsonl:2: ' prepare -q --out x two.jsonl late.jsonl
said err '--resume continues it'
refuse 1 'x.journal belongs to stopped work; --resume continues it' prepare -q --out x two.jsonl late.jsonl
refuse 1 'another tokenizer or other end-of-document tokens' prepare -q --no-eod --resume --out x two.jsonl late.jsonl
refuse 1 'inputs that were already read have changed' prepare -q --resume --out x words.txt late.jsonl
printf '{"text": "mended"}\n' > late.jsonl
expect 0 prepare -q --resume --out x two.jsonl late.jsonl
expect 0 prepare -q --out straight two.jsonl late.jsonl
same() { # same PREFIX OTHER: the same three files
    checks=$((checks + 1))
    for end in bin idx json; do cmp -s "$1.$end" "$2.$end" || wrong "$1.$end and $2.$end differ"; done
}
same x straight
[ "$(ls x.*)" = "$(printf 'x.bin\nx.idx\nx.json')" ] || wrong "left behind: $(ls x.*)"
rm x.*

# Ctrl-C while the second input, a pipe, is being read. The shell lets background jobs ignore SIGINT; SIGTERM has
# the same effect.
mkfifo pipe
"$MEP" prepare -q --out x two.jsonl pipe > out 2> err < /dev/null &
job=$!
(
    exec 3> pipe # waits until it is opened
    kill -TERM "$job"
    sleep 0.3
    printf 'more' >&3
) &
feeder=$!
wait "$job"
got=$?
kill "$feeder" 2> /dev/null
checks=$((checks + 1))
[ "$got" = 130 ] || wrong "interrupted: exit code $got, not 130"
said err 'interrupted; nothing is kept'
none_of x

# Killed at any moment, several times, it ends with the bytes of a command without interruption; also with other numbers
# of threads.
i=0
while [ $i -lt 300 ]; do
    printf '{"text": "%s %d"}\n' 'line after line of the same text, with a line number' $i
    i=$((i + 1))
done > block
i=0
while [ $i -lt 400 ]; do
    cat block
    i=$((i + 1))
done > many.jsonl
mkdir folder
mv many.jsonl folder/b.jsonl
cp block folder/a.jsonl
cp words.txt folder/c.txt
expect 0 prepare -q --threads 1 --out straight -f folder --split 8,1,1
for threads in 1 2 5; do
    expect 0 prepare -q --threads $threads --out other -f folder --split 8,1,1
    for part in train valid test; do same other.$part straight.$part; done
done
kills=0
for pause in 0.01 0.02 0.04 0.03 0.05 0.08 0.06 0.1; do
    "$MEP" prepare -q --resume --out killed --split 8,1,1 folder > out 2> err &
    job=$!
    sleep $pause
    kill -KILL $job 2> /dev/null
    wait $job 2> /dev/null
    [ $? = 137 ] && kills=$((kills + 1))
    [ $kills -gt 0 ] && [ ! -f killed.whole.journal ] && [ -f killed.test.idx ] && break
done
checks=$((checks + 1))
[ $kills -gt 0 ] || wrong 'it was never killed'
if [ ! -f killed.test.idx ] || [ -f killed.whole.journal ]; then
    expect 0 prepare -q --resume --out killed --split 8,1,1 folder
fi
for part in train valid test; do same killed.$part straight.$part; done

# --split.
holds straight.train 96241 5450427
expect 0 prepare -q -f --out straight folder --split 1
[ -f straight.train.bin ] || wrong 'no training part'
none_of straight.valid # of the dataset that was replaced: its documents are in the training part now
none_of straight.test

# If a part cannot be written, as on a full disk, only this part is lost.
mkdir room.valid.idx.tmp
refuse 1 'room.valid.idx.tmp: Is a directory' prepare -q --out room --valid 0.1 two.jsonl
said err '--resume continues it'
rmdir room.valid.idx.tmp
expect 0 prepare -q --resume --out room --valid 0.1 two.jsonl
holds room.train 1 100
holds room.valid 1 10
none_of room.whole
# Two processes with one prefix: the second one fails and names the first one, which continues.
mkfifo slow.txt
for parts in '' '--valid 0.5'; do
    # shellcheck disable=SC2086
    "$MEP" prepare -q --out both $parts slow.txt two.jsonl > first.out 2> first.err &
    job=$!
    exec 3> slow.txt # opens when the first process reads
    # shellcheck disable=SC2086
    refuse 1 "both is being written by process $job on " prepare -q --out both $parts words.txt
    # shellcheck disable=SC2086
    refuse 1 "both is being written by process $job on " prepare -q --out both $parts --force words.txt
    echo text >&3
    exec 3>&-
    wait $job || wrong "the first process failed: $(cat first.err)"
    [ ! -e both.lock ] || wrong 'both.lock is left'
done
holds both 3 116
holds both.train 2 58
# Lines that cannot be parsed: an error, or skipped and counted, with the name of the first one.
{ printf '{"text": "one"}\n{"text": "\\ud800"}\n'; printf '{"text": "two"}\nno JSON\n'; } > bad.jsonl
refuse 1 'bad.jsonl:2: ' prepare -q --out skipped bad.jsonl
none_of skipped
expect 0 prepare -q --skip-bad-lines --out skipped bad.jsonl
holds skipped 2 8
said err 'mep prepare: skipped 2 lines that cannot be parsed; the first: bad.jsonl:2: '
expect 0 prepare -q --skip-bad-lines --out skipped --valid 0.5 bad.jsonl
said err 'skipped 2 lines that cannot be parsed; the first: bad.jsonl:2: '
expect 0 prepare -q --skip-bad-lines -f --out skipped two.jsonl
[ ! -s err ] || wrong 'no line was left out'

# No byte of a name controls the terminal: an escape, a C1 control, a direction mark, a byte that is not UTF-8.
name=$(printf 'odd\033\302\233\342\200\256\377')
expect 0 prepare -q --out "$name" words.txt
said out 'odd????.bin: 1 document'
refuse 1 'odd????.bin exists' prepare -q --out "$name" words.txt
refuse 1 'cannot read no???.txt' prepare -q --out x "$(printf 'no\302\205\342\201\246\177.txt')"
refuse 2 '"odd????" is not one of' train --data x --out y --dtype "$name"
refuse 2 '--split and --valid exclude each other' prepare --out y --split 9,1 --valid 0.1 words.txt
refuse 1 'the split "9;1" is not up to three proportions' prepare --out y --split '9;1' words.txt
none_of y
finish
