#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep eval: the table, the JSON, which tokens are scored, and wrong inputs. Usage: cli_eval.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

tiny_train run --steps 20 --quiet
tiny_train learned --steps 2 --quiet --position learned

# Every length scores the same tokens: the largest multiple of the longest length that the data has.
expect 0 eval --model run --data text.valid
[ "$(awk 'NR > 2 { print $1 }' out | xargs)" = '16 32 64 128 256' ] || wrong 'not 1, 2, 4, 8, 16 times the length'
[ "$(awk 'NR > 2 { print $6 % 256, ($6 > 3000) }' out | sort -u)" = '0 1' ] || wrong 'the tokens are no multiple of 256'
[ "$(awk 'NR > 2 { print $6 }' out | sort -u | wc -l)" = 1 ] || wrong 'lengths score different tokens'
said err 'length 16  '
expect 0 eval --model run --data text.valid --lengths 16,64 --tokens 160 --quiet
[ ! -s err ] || wrong '--quiet still prints on stderr'
[ "$(awk 'NR > 2 { print $1, $(NF - 1) }' out | xargs)" = '16 160 64 128' ] || wrong '--tokens is not kept'
awk 'NR > 2 && !($2 > 2 && $2 < 400 && $4 > 0.7 && $4 < 6) { exit 1 }' out || wrong 'a perplexity that cannot be'

# One segment has no standard error: null. A checkpoint is a model too.
expect 0 eval --model run/checkpoint-20 --data text.valid.bin --lengths 16 --tokens 16 --json --quiet
for text in '"model": "run/checkpoint-20"' '"data": "text.valid.bin"' '"length": 16' '"perplexity": ' '"stderr": null' \
    '"loss": ' '"tokens": 16' '"segments": 1' '"seconds": '; do
    said out "$text"
done

# The middle of a window that moves by 8: as many tokens as the data; --last: 4 of each segment.
expect 0 eval --model run --data text.valid --lengths 16 --stride 8 --tokens 160 --json --quiet
said out '"tokens": 160'
said out '"segments": 19'
expect 0 eval --model run --data text.valid --lengths 16 --last 4 --tokens 160 --json --quiet
said out '"tokens": 40'
said out '"segments": 10'

# The batch and skipped blocks do not change the result; bfloat16 is close.
expect 0 eval --model run --data text.valid --lengths 64 --tokens 640 --json --quiet
perplexity=$(awk -F ': ' '/perplexity/ { print $2 + 0 }' out)
expect 0 eval --model run --data text.valid --lengths 64 --tokens 640 --json --quiet --batch-tokens 1 --tolerance 1e-7
awk -F ': ' -v want="$perplexity" '/perplexity/ { d = $2 / want - 1; if (d < 1e-5 && d > -1e-5) good = 1 } END { exit !good }' out ||
    wrong "the batch changes the perplexity $perplexity"
expect 0 eval --model run --data text.valid --lengths 64 --tokens 640 --json --quiet --dtype bfloat16
awk -F ': ' -v want="$perplexity" '/perplexity/ { d = $2 / want - 1; if (d < 1e-2 && d > -1e-2) good = 1 } END { exit !good }' out ||
    wrong "bfloat16 is far from the perplexity $perplexity"

# --last: the same tokens at every length, the last ones of the segments of the longest length; an encoding that reaches
# only a few tokens has the same loss at all longer lengths.
expect 0 eval --model run --data text.valid --lengths 16,64,128 --last 16 --tokens 640 --quiet
[ "$(awk 'NR > 2 { print $1, $(NF - 1) }' out | xargs)" = '16 80 64 80 128 80' ] || wrong '--last scores other tokens'
tiny_train near --steps 20 --quiet --position 'exp:c=1024'
expect 0 eval --model near --data text.valid --lengths 16,64,128,256,512 --last 16 --quiet --json
[ "$(grep '"loss"' out | sed 1d | sort -u | wc -l)" = 1 ] || wrong 'lengths beyond the reach differ'
[ "$(grep '"loss"' out | sort -u | wc -l)" = 2 ] || wrong 'a context makes no difference'
expect 0 eval --model near --data text.valid=2,text.train=1 --lengths 64,128,256 --last 16 --tokens 2K --quiet
[ "$(awk 'NR > 2 { print $2, $4, $5, $NF }' out | sort -u | wc -l)" = 3 ] || wrong 'a mixture scores other tokens'
refuse 1 '--last 17 is more than the length 16' eval --model run --data text.valid --lengths 32,16 --last 17
refuse 1 '--lengths: 16 is given twice' eval --model run --data text.valid --lengths 16,32,16
refuse 1 '--stride 17 is more than the length 16' eval --model run --data text.valid --lengths 32,16 --stride 17
refuse 2 'leave out one of them' eval --model run --data text.valid --lengths 16 --stride 8 --last 4

# Lengths that "learned" does not support are refused before any computation.
expect 0 eval --model learned --data text.valid
[ "$(wc -l < out)" = 3 ] || wrong '"learned" is evaluated at more than its own length'
tiny_train sink --steps 1 --quiet --position learned/sink
expect 0 eval --model sink --data text.valid --by-position
refuse 1 '"learned" has 16 positions and cannot read 32 tokens' eval --model learned --data text.valid --lengths 32
refuse 1 '"learned" has 16 positions and cannot read 32 tokens' eval --model learned --data text.valid --lengths 16,32

# A signal ends a long segment, which takes minutes; the lengths that were finished are printed. The limit is CPU time, so
# that a busy machine cannot fail the test: the program has used at most 20 s of it since the signal.
children_seconds() { # CPU seconds of all finished children of this shell
    times > times_now
    awk 'NR == 2 { n = split($0, part, /[ms ]+/); for (i = 1; i < n; i += 2) s += 60 * part[i] + part[i + 1]; print s }' times_now
}
used_seconds() { # used_seconds PID: CPU seconds of a running process; 0 if the system does not report them
    awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / tick }' "/proc/$1/stat" 2> /dev/null || echo 0
}
cp text.txt long.txt
while [ "$(wc -c < long.txt)" -lt 450000 ]; do
    cat long.txt long.txt > twice
    mv twice long.txt
done
expect 0 prepare --quiet --out long long.txt
tiny_train slow --steps 1 --quiet --position rotary
for signal in INT TERM; do
    checks=$((checks + 1))
    : > err
    before=$(children_seconds)
    "$MEP" eval --model slow --data long --lengths 256,400K --tokens 400K > out 2> err < /dev/null &
    pid=$!
    while ! grep -q took err && kill -0 $pid 2> /dev/null; do sleep 0.1; done
    sleep 2
    used=$(used_seconds $pid)
    kill -s $signal $pid
    status=0
    wait $pid || status=$?
    spent=$(children_seconds)
    spent=$(awk "BEGIN { print $spent - $before - $used }")
    [ $status = 130 ] && awk "BEGIN { exit !($spent <= 20) }" ||
        wrong "exit code $status, $spent s of CPU time after the signal $signal"
    [ "$(awk 'NR > 2 { print $1, $(NF - 1) }' out)" = '256 409600' ] || wrong 'the finished length is not printed'
    said err 'mep eval: the evaluation was stopped'
done

refuse 2 '--model FOLDER is missing' eval --data text.valid
refuse 2 '--data PREFIX is missing' eval --model run
refuse 2 '--lengths: "0" is not' eval --model run --data text.valid --lengths 16,0
refuse 2 '--tolerance: "2" is not' eval --model run --data text.valid --tolerance 2
refuse 1 'nosuch: no such folder' eval --model nosuch --data text.valid
refuse 1 'cannot open nosuch.idx' eval --model run --data nosuch
refuse 1 'text.train exists' eval --model run --data text
mkdir -p of_study && echo '{}' > of_study/study.json
refuse 1 'name one of the runs in it' eval --model of_study --data text.valid
expect 0 eval --model run --data text.valid --lengths 16 --tokens 64 --position t5
said err 'position_bias.t5.table is not in run and not trained'
expect 0 eval --model run --data text.valid --lengths 16 --tokens 64 --position alibi
checks=$((checks + 1))
! grep -qF 'random numbers' err || wrong 'ALiBi has no parameters to train'
refuse 1 'holds no model.safetensors and no checkpoint' eval --model . --data text.valid
refuse 1 'too few for the length 102400' eval --model run --data text.valid --lengths 16,100K
refuse 1 'has 8 tokens to score with these --tokens, too few for the length 16; use shorter --lengths or more --tokens' \
    eval --model run --data text.valid --lengths 16 --tokens 8

# Another vocabulary.
seq 1 500 > digits.txt
expect 0 prepare --out digits --no-eod digits.txt
# shellcheck disable=SC2086
expect 0 train --data digits --out narrow $TINY --steps 1 --quiet
said narrow/train.json '"vocab_size": 320'
rm -r narrow
# shellcheck disable=SC2086
expect 0 train --data digits --out narrow $TINY --steps 1 --quiet --vocab-size 64
refuse 1 "is not in the model's vocabulary of 64" eval --model narrow --data text.valid --lengths 16

# Models whose configuration is wrong.
model=run/checkpoint-20
damage() { # damage TEXT SED: a config.json changed by SED is refused
    rm -rf bad
    cp -r $model bad
    rm bad/state.json
    sed "$2" $model/config.json > bad/config.json
    refuse 1 "$1" eval --model bad --data text.valid --lengths 16
}
damage '"hidden_size" must be an integer' 's/"hidden_size": 16/"hidden_size": "16"/'
damage 'hidden_size 16 is not a multiple of num_attention_heads 3' 's/heads": 2/heads": 3/'
damage 'model_type "bert" is not supported' 's/"model_type": "mep"/"model_type": "bert"/'
damage 'unknown kernel' 's/"position_encoding": "mep"/"position_encoding": "nonsense"/'
damage 'bad/config.json' 's/{/[/'
damage 'bad/model.safetensors' 's/"hidden_size": 16/"hidden_size": 32/'
head -c 5000 $model/model.safetensors > bad/model.safetensors
cp $model/config.json bad/config.json
refuse 1 'bad/model.safetensors' eval --model bad --data text.valid --lengths 16

# A changed checkpoint: one byte of a tensor, one digit of the configuration.
rm -rf bad && cp -r $model bad
printf '\377' | dd of=bad/model.safetensors bs=1 seek=9000 conv=notrunc 2> /dev/null
refuse 1 'bad/model.safetensors: the tensor "' eval --model bad --data text.valid --lengths 16
said err 'is damaged'
cp $model/model.safetensors bad/model.safetensors
sed 's/"layer_norm_eps": 1/"layer_norm_eps": 2/' $model/config.json > bad/config.json
refuse 1 'bad/config.json is damaged' eval --model bad --data text.valid --lengths 16
finish
