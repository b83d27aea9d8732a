#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep generate: prompts from all sources, the same text for the same seed, the search for the tokenizer, wrong inputs.
# Usage: cli_generate.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

tiny_train run --steps 20 --quiet
tiny_train learned --steps 2 --quiet --position learned

# The prompt first, then as many bytes as asked for, then a newline.
expect 0 generate --model run --prompt 'the quick' --max-tokens 20 --temperature 0
said out 'the quick'
[ "$(wc -c < out)" = 30 ] || wrong 'not the prompt, 20 bytes and a newline'
said err '20 tokens, the first after '
cp out first
printf 'the quick' > prompt.txt
expect 0 generate --model run --prompt-file prompt.txt -n 20 -t 0 --quiet
[ ! -s err ] || wrong '--quiet still prints on stderr'
cmp -s out first || wrong 'a prompt from a file gives another text'
for word in - --prompt-file=-; do
    checks=$((checks + 1))
    "$MEP" generate --model run/checkpoint-20 -n 20 -t 0 -q $word < prompt.txt > out 2> err || wrong 'standard input'
    cmp -s out first || wrong 'a prompt from the standard input gives another text'
done
expect 0 generate --model run --prompt 'the quick' -n 20 -k 1 --seed 3 --quiet
cmp -s out first || wrong '--top-k 1 is not the likeliest token'
expect 0 generate --model run --prompt 'the quick' -n 20 --top-p 1e-9 --seed 3 --quiet
cmp -s out first || wrong '--top-p 1e-9 is not the likeliest token'

# Seeds; no prompt; no tokens; any bytes.
expect 0 generate --model run -n 40 --seed 1 --quiet
cp out one
expect 0 generate --model run -n 40 --seed 1 --quiet
cmp -s out one || wrong 'the same seed gives another text'
expect 0 generate --model run -n 40 --seed 2 --quiet
cmp -s out one && wrong 'another seed gives the same text'
expect 0 generate --model run --prompt abc -n 0
[ "$(cat out)" = abc ] || wrong '-n 0 does not print the prompt alone'
printf '\377\000\376' > bytes
expect 0 generate --model run --prompt-file bytes -n 4 --dtype bfloat16
[ "$(od -An -tx1 -N3 out | xargs)" = 'ff 00 fe' ] || wrong 'the bytes of the prompt are changed'

# Without end: up to the number of tokens, or until it is stopped (--foreground: one signal, not two); encodings without a
# window are refused.
expect 0 generate --model run --endless -n 700 --seed 1
said err '700 tokens, the first after '
expect 0 generate --model run --endless -n 700 --seed 1 --tolerance 1e-3
said err '700 tokens, the first after '
checks=$((checks + 1))
status=0
timeout --foreground -s INT 2 "$MEP" generate --model run --endless > out 2> err || status=$?
[ "$status" = 124 ] && [ "$(tail -c 1 out | od -An -tu1 | xargs)" = 10 ] && [ "$(wc -c < out)" -gt 256 ] ||
    wrong "Ctrl-C does not end a text without end in order (exit code $status)"
said err 'tokens/s'
refuse 1 'a layer of the encoding "learned" has no distance bias: it reads 2^31 tokens at most' generate --model learned --endless

# A signal ends the reading of a long prompt, which takes minutes, and the wait for a prompt on the standard input.
cp text.txt long
while [ "$(wc -c < long)" -lt 5000000 ]; do
    cat long long > twice
    mv twice long
done
tiny_train slow --steps 1 --quiet --position rotary
stops() { # stops SIGNAL ARGUMENT ...: generate ends within seconds of the signal, with 130 and no text
    checks=$((checks + 1))
    signal=$1
    shift
    "$MEP" generate --model slow "$@" > out 2> err < pipe &
    pid=$!
    sleep 2
    began=$(date +%s)
    kill -s "$signal" $pid
    status=0
    wait $pid || status=$?
    [ $status = 130 ] && [ $(($(date +%s) - began)) -le 10 ] && [ ! -s out ] ||
        wrong "generate $*: exit code $status, $(($(date +%s) - began)) s after the signal $signal"
}
mkfifo pipe
sleep 600 > pipe &
sleeper=$!
stops TERM --prompt-file long
stops INT --prompt-file long
said err 'stop'
# ThreadSanitizer, whose tests have TSAN_OPTIONS, delivers a signal only after the call of fread.
[ -n "${TSAN_OPTIONS:-}" ] || stops INT -
kill $sleeper

# A model without a run whose vocabulary has the size of bytes, and one whose vocabulary has another size.
cp -r run/checkpoint-20 alone
expect 0 generate --model alone --prompt 'the quick' -n 20 -t 0 --quiet
cmp -s out first || wrong 'the model alone gives another text'
tiny_train wide --steps 1 --quiet --vocab-size 512
cp -r wide/checkpoint-1 wide_alone
expect 0 generate --model wide --prompt 'the quick' -n 20 --quiet
refuse 1 'the tokenizer of its 512 tokens is not known' generate --model wide_alone --prompt a

refuse 2 '--model FOLDER is missing' generate
refuse 2 '--top-k has no effect with --temperature 0' generate --model run --prompt a -t 0 -k 5
refuse 2 '--top-p has no effect' generate --model run --prompt a -t 0 --top-p 0.5
refuse 2 'write the prompt after --prompt' generate --model run hello
refuse 2 'give one prompt' generate --model run --prompt a -
refuse 2 '--temperature: "-1" is not' generate --model run --temperature -1
refuse 2 '--top-p: "0" is not' generate --model run --top-p 0
refuse 2 '--tolerance: "1" is not' generate --model run --tolerance 1
refuse 1 'nosuch: no such folder' generate --model nosuch
refuse 1 'cannot open nosuch' generate --model run --prompt-file nosuch
refuse 1 'Is a directory' generate --model run --prompt-file .
refuse 1 '"learned" has 16 positions' generate --model learned --prompt 'much too long for its positions'
finish
