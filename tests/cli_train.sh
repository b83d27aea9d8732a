#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep train: a run, its files, a stop and its bit-identical continuation, and wrong inputs. Usage: cli_train.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

# A run, its files and its last line.
tiny_train run --steps 6 --valid text.valid --valid-tokens 64
said out 'model     1 layers, hidden 16, 2 heads, vocabulary 320: 13.6k parameters'
said out 'position  mep'
said out 'memory    about '
said out 'training  6 steps of 4 x 16 tokens: 384 tokens'
said out ' after step 6, took '
said out '; evaluate it: mep eval --model run --data text.valid'
said err 'train  6/6  100%  loss '
for file in train.json metrics.jsonl checkpoint-6/config.json checkpoint-6/model.safetensors checkpoint-6/state.json; do
    [ -s "run/$file" ] || wrong "no run/$file"
done
said run/train.json '"valid_every": 1'
said run/checkpoint-6/config.json '"intermediate_size": 64'
[ "$(wc -l < run/metrics.jsonl)" = 6 ] || wrong 'metrics.jsonl does not have one line per step'
[ "$(grep -c valid_loss run/metrics.jsonl)" = 6 ] || wrong 'metrics.jsonl has not six validation losses'
tiny_train quiet --steps 3 --quiet --valid-every 2 --valid text.valid
[ ! -s err ] || wrong '--quiet still prints on stderr'
[ "$(wc -l < out)" = 1 ] || wrong '--quiet prints more than the last line'
[ "$(grep -c valid_loss quiet/metrics.jsonl)" = 2 ] || wrong 'validation losses not at steps 2 and 3'

# The preset is applied first, in any order, and then every option.
expect 0 train --steps 2 --num-hidden-layers 1 --length 8 --batch-size 6 --preset nano --data text.train --out preset \
    --intermediate-size 32 --vocab-size 300 --position 'exp:c=0.5 + t5' --seed 7 --learning-rate 0.01 \
    --min-learning-rate 0.001 --warmup 0.5 --beta1 0.8 --beta2 0.9 --eps 1e-6 --weight-decay 0.1 --max-grad-norm 2 \
    --dtype float32 --recompute --save-every 1 --keep 0 --threads 1 --initializer-range 0.0625
for text in '"hidden_size": 128' '"num_hidden_layers": 1' '"intermediate_size": 32' '"vocab_size": 300' '"length": 8' \
    '"batch_size": 6' '"micro_batch_size": 6' '"steps": 2' '"seed": "7"' '"min_learning_rate": 0.001' '"warmup": 0.5' \
    '"beta2": 0.9' '"weight_decay": 0.1' '"max_grad_norm": 2.0' '"dtype": "float32"' '"recompute": true' '"keep": 0' \
    '"initializer_range": 0.0625' \
    't5'; do
    said preset/train.json "$text"
done
[ -d preset/checkpoint-1 ] || wrong '--keep 0 keeps not all checkpoints'

# Llama blocks, by options and by a preset; sizes that do not fit are refused.
tiny_train llama --steps 2 --block llama --num-key-value-heads 1 --qk-norm head --qkv-bias --post-norm \
    --tie-word-embeddings
said out 'model     1 Llama layers, hidden 16, 2 heads (1 of keys and values), vocabulary 320: '
for text in '"block": "llama"' '"num_key_value_heads": 1' '"intermediate_size": 64' '"qk_norm": "head"' \
    '"qkv_bias": true' '"post_norm": true' '"tie_word_embeddings": true'; do
    said llama/checkpoint-2/config.json "$text"
done
expect 0 eval --model llama --data text.valid --lengths 16,32 -q
expect 0 generate --model llama --prompt ab -n 4
expect 0 train --data text.train --out llama4 --preset nano-llama --steps 1 --length 8 --batch-size 2
said llama4/train.json '"intermediate_size": 352'
expect 0 train --data text.train --init llama --out llama5 --steps 1 --length 16 --batch-size 2
said out '1 Llama layers'
expect 2 train --data text.train --init llama --out llama6 --steps 1 --block llama
said err 'leave out --block'
expect 2 train --data text.train --init llama --out llama6 --steps 1 --post-norm
said err 'leave out --post-norm'
expect 2 train --data text.train --init llama --out llama6 --steps 1 --initializer-range 0.1
said err 'leave out --initializer-range'
expect 2 train --data text.train --out llama6 --steps 1 --initializer-range 2
said err '--initializer-range'
expect 2 train --data text.train --out llama6 --preset nano-llama --num-key-value-heads 3
said err 'num_key_value_heads'
expect 2 train --data text.train --out llama6 --num-key-value-heads 2
said err 'num_key_value_heads'
[ ! -e llama6 ] || wrong 'a refused run leaves a folder'

# --dtype auto, the default: bfloat16 if the CPU has arithmetic for it; the run keeps its type.
level=$("$MEP" version | awk '/CPU level/ { print $3 }')
[ -n "$level" ] || wrong 'mep version names no CPU level'
AUTO=$(echo "$TINY" | sed 's/ --dtype float32//')
# shellcheck disable=SC2086
expect 0 train --data text.train --out auto $AUTO --steps 1
case $level in
*_bf16) said out 'computing in bfloat16 on 1 thread (auto: the CPU has bfloat16 arithmetic)' ;;
*) said out "computing in float32 on 1 thread (auto: the CPU level $level has no bfloat16 arithmetic)" ;;
esac
# shellcheck disable=SC2086
expect 0 train --data text.train --out wide $AUTO --steps 2 --dtype bfloat16
rm -r wide/checkpoint-2
at_level c expect 0 train --resume wide
said out 'computing in bfloat16 on 1 thread (slow here: the CPU level c has no bfloat16 arithmetic)'
for choice in '' '--dtype auto'; do
    # shellcheck disable=SC2086
    at_level c expect 0 train --data text.train --out narrow $AUTO --steps 1 $choice
    said out 'computing in float32 on 1 thread (auto: the CPU level c has no bfloat16 arithmetic)'
    said narrow/train.json '"dtype": "float32"'
    rm -r narrow
done
# shellcheck disable=SC2086
at_level c expect 0 train --data text.train --out narrow $AUTO --steps 1 --dtype float32
checks=$((checks + 1))
! grep -qF auto: out || wrong 'a type that was given is called auto'

# Gradients in parts: other bits than in one part, and a line about it; the run keeps the setting.
tiny_train parts --steps 6 --gradient-parts 4 --valid text.valid --valid-tokens 64
said out 'gradients in 4 parts: the same bits in 4, 2, 1 processes'
said parts/train.json '"gradient_parts": 4'
said parts/checkpoint-6/state.json '"gradient_parts": 4'
said run/train.json '"gradient_parts": 1'
cmp -s run/checkpoint-6/model.safetensors parts/checkpoint-6/model.safetensors &&
    wrong '--gradient-parts does nothing'
refuse 2 '--split 1,0,0 leaves nothing to validate on' train --data text.train --split 1,0,0 --out x --valid-every 1
refuse 2 'batch_size 48 is not a multiple of micro_batch_size 32' train --data text.train --out x --batch-size 48 \
    --micro-batch-size 32
refuse 2 'leave out --gradient-parts' train --resume parts --gradient-parts 2

# A stopped and continued run is bit-identical to one without a stop.
tiny_train whole --steps 1500
checks=$((checks + 1))
# shellcheck disable=SC2086
"$MEP" train --data text.train --out part $TINY --steps 1500 > out 2> err < /dev/null &
pid=$!
while [ ! -s part/metrics.jsonl ] && kill -0 $pid 2> /dev/null; do sleep 0.02; done
kill -INT $pid
wait $pid
[ $? = 130 ] || wrong 'Ctrl-C does not end with 130'
said err 'continue: mep train --resume part'
set -- part/checkpoint-*
[ -s "$1/state.json" ] || wrong 'Ctrl-C saves no checkpoint'
expect 0 train --resume part --threads 1
said out 'resumed   after step '
cmp -s whole/checkpoint-1500/model.safetensors part/checkpoint-1500/model.safetensors ||
    wrong 'the continued run differs from the whole one'
expect 0 train --resume part
said out 'all of its 1500 steps are already done'

# A damaged checkpoint: the file is named, and --fall-back continues from the previous one, with the same bits.
tiny_train saves --steps 8 --save-every 2 --quiet
cp -r saves broken
rm -r broken/checkpoint-8 && cp -r broken/checkpoint-6 broken/checkpoint-4
sed 's/"step": 6/"step": 4/; s/"checksum": "[0-9a-f]*"/"checksum": "0"/' saves/checkpoint-6/state.json \
    > broken/checkpoint-6/state.json
refuse 1 'broken/checkpoint-6/state.json is damaged' train --resume broken --quiet
said err '--fall-back uses the last complete checkpoint'
refuse 1 'broken has no complete checkpoint, and nothing was changed' train --resume broken --quiet --fall-back
cp saves/checkpoint-6/* broken/checkpoint-6/ && cp -r saves/checkpoint-8 broken/checkpoint-7
expect 0 train --resume broken --fall-back --quiet
said err 'set aside 1 damaged checkpoint after step 6, as broken/checkpoint-*.damaged'
[ -d broken/checkpoint-7.damaged ] || wrong 'the damaged checkpoint is lost'
cmp -s saves/checkpoint-8/model.safetensors broken/checkpoint-8/model.safetensors ||
    wrong 'the run that fell back differs from the whole one'
[ "$(grep -c '"step"' broken/metrics.jsonl)" = 8 ] || wrong 'metrics.jsonl has not each step once'
refuse 2 '--fall-back is for --resume RUN' train --fall-back --out x --data text.train

# Two processes in one folder: the second one is refused and names the first one.
checks=$((checks + 2))
# shellcheck disable=SC2086
"$MEP" train --data text.train --out busy $TINY --steps 1000000 --save-every 1000000 > out 2> err < /dev/null &
pid=$!
while [ ! -s busy/metrics.jsonl ] && kill -0 $pid 2> /dev/null; do sleep 0.02; done
"$MEP" train --resume busy > second.out 2> second.err < /dev/null
[ $? = 1 ] || wrong 'a second process in the folder does not end with 1'
grep -q "mep train: busy is being written by process $pid on" second.err || wrong "second: $(cat second.err)"
[ ! -s second.out ] || wrong "second: $(cat second.out)"
"$MEP" train --resume busy --device cpu > second.out 2> second.err < /dev/null && wrong 'its settings can be changed'
expect 0 info busy
kill -KILL $pid
wait $pid 2> /dev/null
: > out
"$MEP" train --resume busy > out 2> err < /dev/null &
pid=$!
until grep -q resumed out || ! kill -0 $pid 2> /dev/null; do sleep 0.02; done
kill -INT $pid
wait $pid
[ $? = 130 ] || wrong 'a run whose process was killed cannot be resumed'

# More memory than there is: one line that says what to change.
ASAN_OPTIONS=${ASAN_OPTIONS:-}:allocator_may_return_null=1
TSAN_OPTIONS=${TSAN_OPTIONS:-}:allocator_may_return_null=1
UBSAN_OPTIONS=${UBSAN_OPTIONS:-}:allocator_may_return_null=1
export ASAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS
refuse 1 'a smaller --micro-batch-size, or --recompute, needs less: cannot allocate' train --data text.train --out big \
    --hidden-size 16384 --num-attention-heads 128 --num-hidden-layers 1000 --quiet
[ ! -e big ] || wrong 'a run without memory leaves a folder'

# The action for numbers that are not finite can be set at the start and when a run is resumed.
tiny_train nans --steps 4 --save-every 2 --on-nan dump --quiet
said nans/train.json '"on_nan": "dump"'
rm -r nans/checkpoint-4
expect 0 train --resume nans --on-nan skip --quiet
said nans/train.json '"on_nan": "skip"'
refuse 2 'is not one of stop, skip, dump' train --resume nans --on-nan no

# Wrong inputs.
echo short > s.txt
bad() { # bad CODE TEXT ARGUMENT ...: refused, and the folder x is not made
    code=$1
    text=$2
    shift 2
    # shellcheck disable=SC2086
    refuse "$code" "$text" train --out x $(unless_given "--data text.train $TINY --steps 2" "$@") --quiet "$@"
    [ ! -e x ] || wrong "mep train $*: leaves a folder"
    rm -rf x
}
refuse 2 '--data PREFIX is missing' train --out x
refuse 2 '--out RUN is missing' train --data text.train
bad 2 'hidden_size 16 is not a multiple of num_attention_heads 3' --num-attention-heads 3
bad 2 'rotary rotates pairs of channels' --position rotary --hidden-size 6
bad 2 'unknown kernel "rubbish"' --position rubbish
bad 2 'unknown preset "huge"' --preset huge
bad 2 'hidden_size must be from 1 to' --hidden-size 1M
bad 2 'not an integer from 1 to' --batch-size 0
bad 2 'batch_size 4 is not a multiple of micro_batch_size 3' --micro-batch-size 3
bad 2 'batch_size 4 is not a multiple of gradient_parts 3' --gradient-parts 3
bad 2 'min_learning_rate must be from 0 to' --min-learning-rate 1
bad 2 '--valid PREFIX is missing' --valid-every 1
bad 2 'is not one of float32, bfloat16' --dtype float16
bad 1 'cannot open nosuch.idx' --data nosuch
bad 1 'cannot open nosuch.idx' --valid nosuch
bad 1 'needs 102401; use a shorter --length' --length 100K
bad 1 "vocab_size is 64" --vocab-size 64
# shellcheck disable=SC2086
{
    expect 0 prepare --out short --no-eod s.txt
    refuse 1 'a sequence of length 16 needs' train --data text.train --valid short --out y $TINY --steps 1 --quiet
    refuse 1 'a sequence of length 16 needs' train --data text.train --valid short --out y $TINY --steps 1 # before any header
    refuse 1 'run: already contains a run' train --data text.train --out run $TINY --steps 6 --quiet
    refuse 1 'cannot make the folder text.txt' train --data text.train --out text.txt $TINY --steps 6 --quiet
    refuse 1 'cannot make the folder text.txt/x' train --data text.train --out text.txt/x $TINY --steps 6 --quiet
}
# shellcheck disable=SC2086
refuse 1 'run: was made with learning_rate 0.002, now it is 0.001; choose another folder' \
    train --data text.train --out run $TINY --steps 6 --learning-rate 0.001 --quiet
# A key that train.json leaves out has its default.
tiny_train range --initializer-range 0.02 --steps 1 --quiet
# shellcheck disable=SC2086
refuse 1 'range: was made with initializer_range 0.02, now it is 0.03; choose another folder' \
    train --data text.train --out range $TINY --steps 1 --initializer-range 0.03 --quiet
refuse 2 'leave out --steps' train --resume run --steps 9
refuse 2 'leave out --data' train --resume run --data text.train
refuse 1 'nosuch: is not a run' train --resume nosuch
mkdir -p of_study && echo '{}' > of_study/study.json
refuse 1 'of_study: is the folder of a study' train --data text.train --out of_study $TINY --steps 1 --quiet

# A changed text of the same name and a damaged train.json are detected. Neither loses a checkpoint.
cp -r run changed
sed 's/"steps": 6/"steps": 8/' run/train.json > changed/train.json
for end in bin idx json; do cp text.train.$end kept.$end && cp text.valid.$end text.train.$end; done
refuse 1 'is not the data that' train --resume changed --quiet
for end in bin idx json; do mv kept.$end text.train.$end; done
sed 's/"steps": 6/"steps": "6"/' run/train.json > changed/train.json
refuse 1 '"steps" must be an integer' train --resume changed
[ -s changed/checkpoint-6/model.safetensors ] || wrong 'a refused continuation removed the checkpoint'
finish
