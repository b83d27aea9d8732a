#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep import and mep export: Hugging Face folders in and out, --position on the way, training from them, and what is
# refused. Usage: cli_import.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"
families=$tests/golden/families

# A text of the few tokens of the fixtures: bytes below 61 are punctuation and digits.
i=0
while [ $i -lt 400 ]; do
    echo "$i + $i * ($i - 1) / 2, $((i * i)); 0123456789."
    i=$((i + 1))
done > numbers.txt
expect 0 prepare --out numbers --no-eod numbers.txt

# perplexity MODEL ARGUMENT ...: of the numbers, as printed
perplexity() {
    model=$1
    shift
    expect 0 eval --model "$model" --data numbers --lengths 64 --tokens 640 --quiet --json "$@"
    sed -n 's/.*"perplexity": *//p' out
}

for family in neox neox_sequential bloom mpt gpt2; do
    expect 0 import "$families/$family" "own-$family"
    said out "own-$family: mep, 2 layers, hidden 24, 3 heads, vocabulary 61, position "
    refuse 2 '--seed is for the parameters of --position' export "own-$family" "hf-$family" --seed 3
    expect 0 export "own-$family" "hf-$family" --quiet
    [ ! -s out ] || wrong '--quiet still prints'
    type=$family
    case $family in neox*) type=gpt_neox ;; esac
    said "hf-$family/config.json" "\"model_type\": \"$type\""
    [ ! -e "hf-$family/modeling_mep.py" ] || wrong "$family needs no Python file"
    in_place=$(perplexity "$families/$family")
    [ -n "$in_place" ] || wrong "$family has no perplexity"
    [ "$(perplexity "own-$family")" = "$in_place" ] || wrong "$family is another model when imported"
    [ "$(perplexity "hf-$family")" = "$in_place" ] || wrong "$family is another model when exported"
    swapped=$(perplexity "$families/$family" --position mep)
    [ "$swapped" != "$in_place" ] || wrong "--position changes nothing in $family"
    expect 0 import "$families/$family" "mep-$family" --position mep
    [ "$(perplexity "mep-$family")" = "$swapped" ] || wrong "$family with mep is another model when imported"
    expect 0 export "mep-$family" "py-$family"
    said out "py-$family: mep, "
    said "py-$family/config.json" '"auto_map"'
    for file in "$tests/../src/io/python/modeling_mep.py" "py-$family/modeling_mep.py"; do
        sed '/^# ---- Kernels/,/^# ---- End/d' "$file"
    done > both
    lines=$(sed '/^# ---- Kernels/,/^# ---- End/d' "py-$family/modeling_mep.py" | wc -l)
    [ "$(head -n "$lines" both)" = "$(tail -n "$lines" both)" ] || wrong 'modeling_mep.py is not written'
    said "py-$family/modeling_mep.py" '"kerple_log": Row(kernel_kerple_log, {}, {'
    [ -s "py-$family/configuration_mep.py" ] || wrong 'configuration_mep.py is not written'
done

# Families of the shape of Llama, and two that are only read: with their own encoding the same model, with another one
# another model.
for family in llama mistral qwen2 qwen3 smollm3 olmo2 falcon baichuan; do
    expect 0 import "$families/$family" "own-$family"
    said out "own-$family: mep, 2 layers, hidden 24, "
    in_place=$(perplexity "$families/$family")
    [ -n "$in_place" ] || wrong "$family has no perplexity"
    [ "$(perplexity "own-$family")" = "$in_place" ] || wrong "$family is another model when imported"
    swapped=$(perplexity "$families/$family" --position mep)
    [ "$swapped" != "$in_place" ] || wrong "--position changes nothing in $family"
    expect 0 export "own-$family" "hf-$family" --quiet
    type=$family
    case $family in falcon | baichuan) type=mep ;; esac
    said "hf-$family/config.json" "\"model_type\": \"$type\""
    [ "$(perplexity "hf-$family")" = "$in_place" ] || wrong "$family is another model when exported"
    expect 0 export "$families/$family" "py-$family" --position "rotary|mep/forget" --quiet
    [ -s "py-$family/modeling_mep.py" ] || wrong 'modeling_mep.py is not written'
done
expect 0 info "$families/smollm3"
said out 'model_type               smollm3'
said out 'rotary|nope/window=24'
expect 0 train --data numbers --out olmo --init "$families/olmo2" --position mep --steps 2 --length 32 --batch-size 4 \
    --dtype float32 --quiet
said olmo/train.json '"post_norm": true'

# Shards and bfloat16: the same model, or the rounded model, which does not change when it is rounded again.
for family in neox_sequential bloom gpt2; do
    expect 0 export "own-$family" "shards-$family" --shard-size 9KB
    [ -s "shards-$family/model.safetensors.index.json" ] || wrong "$family is not written in shards"
    [ ! -e "shards-$family/model.safetensors" ] || wrong "$family is written in one file"
    said "shards-$family/config.json" '"torch_dtype": "float32"'
    [ "$(perplexity "shards-$family")" = "$(perplexity "own-$family")" ] || wrong "$family in shards is another model"
    expect 0 export "own-$family" "half-$family" --dtype bfloat16 --shard-size 1MB
    [ -s "half-$family/model.safetensors" ] || wrong "$family is not written in one file"
    said "half-$family/config.json" '"torch_dtype": "bfloat16"'
    expect 0 import "half-$family" "half-own-$family" --dtype bfloat16 --shard-size 5kB
    expect 0 export "half-own-$family" "half-again-$family" --dtype bfloat16 --quiet
    cmp -s "half-$family/model.safetensors" "half-again-$family/model.safetensors" || wrong "$family is rounded twice"
    [ "$(perplexity "half-own-$family")" = "$(perplexity "half-$family")" ] || wrong "$family in bfloat16 is another model"
done
refuse 2 'is not a size such as' export own-bloom no --shard-size many
refuse 2 '"float16" is not one of float32, bfloat16' export own-bloom no --dtype float16
mkdir half-done
cp shards-bloom/model.safetensors.index.json half-done
refuse 1 'already contains a model' export own-bloom half-done
cp shards-bloom/config.json half-done
refuse 1 'is missing, which model.safetensors.index.json names' info half-done

# The output of info, and text from a folder that is not imported.
expect 0 info "$families/bloom"
said out 'model_type               bloom'
said out 'alibi'
expect 0 generate --model "$families/gpt2" --tokenizer bytes --prompt '12 + 3' --max-tokens 20 --temperature 0 --quiet

# Training continues from a folder: its sizes, another encoding; a checkpoint before the first step is the folder's model.
expect 0 train --data numbers --out more --init "$families/bloom" --position mep --steps 3 --length 32 --batch-size 4 \
    --dtype float32 --learning-rate 1e-3 --save-every 1
said out 'hidden 24, 3 heads, vocabulary 61: 16.0k parameters'
said out 'position  mep'
said more/train.json '"embedding_layer_norm": true'
said more/train.json '"max_position_embeddings": 2048'
expect 0 train --data numbers --out same --init own-bloom --steps 1 --length 32 --batch-size 4 --dtype float32 \
    --learning-rate 0 --quiet
said same/train.json '"position_encoding": "alibi"'
[ "$(perplexity same)" = "$(perplexity own-bloom)" ] || wrong '--init does not begin with the weights'
refuse 1 'same: already contains a run' export same same
refuse 1 'same: already contains a run' import own-bloom same
[ ! -e same/config.json ] || wrong 'a model is written into a run'
expect 0 export same hf-same
said out 'hf-same: bloom, '
perplexity more > /dev/null
expect 0 train --data numbers --out longer --init own-gpt2 --steps 1 --length 32 --batch-size 4 --quiet --position t5

# A run that was stopped before its first checkpoint starts again from the folder.
expect 0 train --data numbers --out again --init own-bloom --steps 2 --length 32 --batch-size 4 --dtype float32 --quiet
cp -r again stopped
rm -r stopped/checkpoint-2
expect 0 train --resume stopped --quiet
cmp -s again/checkpoint-2/model.safetensors stopped/checkpoint-2/model.safetensors || wrong 'the resumed run is another'

# The files of the tokenizer are copied.
mkdir with
cp "$families/mpt/config.json" "$families/mpt/model.safetensors" with
cp "$tests/golden/tokenizer_gpt2.json" with/tokenizer.json
echo '{}' > with/tokenizer_config.json
expect 0 import with kept
cmp -s with/tokenizer.json kept/tokenizer.json || wrong 'tokenizer.json is not copied'
expect 0 export kept out-kept
[ -s out-kept/tokenizer_config.json ] || wrong 'tokenizer_config.json is not copied'
tiny_train bytes --steps 1 --quiet
expect 0 export bytes hf-bytes
said hf-bytes/generation_config.json '"eos_token_id": 256'
said hf-bytes/tokenizer_config.json '"tokenizer_class": "PreTrainedTokenizerFast"'
said hf-bytes/tokenizer_config.json '"eos_token": "<|endoftext|>"'
said out-kept/tokenizer_config.json '"tokenizer_class": "PreTrainedTokenizerFast"' # it had none
expect 0 tokenizer info hf-bytes
said out 'bytes'
expect 0 import hf-bytes back
expect 0 eval --model back --data text.valid --lengths 16 --tokens 64 --quiet # of the same tokenizer
expect 0 train --data text.train --out further --init back --steps 1 --length 16 --batch-size 4 --dtype float32 --quiet
expect 0 export back hf-back --quiet
cmp -s hf-bytes/tokenizer.json hf-back/tokenizer.json || wrong 'the tokenizer of bytes does not come back'

# A failure leaves no file that blocks the next command, and changes no file of the user: a tokenizer that cannot be
# read, a full disk (here a limit on files, whose signal is ignored), a signal, a file that would be replaced.
mkdir mine
echo mine > mine/README.md
cp -r hf-bytes torn
echo '{' > torn/tokenizer.json
expect 1 export torn mine
expect 1 export torn anew
[ ! -e anew ] || wrong 'a failed export leaves a folder'
(trap '' XFSZ; ulimit -f 1; "$MEP" export bytes mine > out 2> err) && wrong 'export ignores a full disk'
said err 'mine/'
(ulimit -f 1; "$MEP" export bytes mine > out 2> err) && wrong 'export survives a signal'
[ "$(ls mine)" = README.md ] || wrong 'a failed export leaves files'
cp mine/README.md mine/tokenizer_config.json
refuse 1 'mine: already contains tokenizer_config.json' export bytes mine
[ "$(cat mine/tokenizer_config.json)" = mine ] || wrong 'export replaces a file'
rm mine/tokenizer_config.json
[ "$(ls mine)" = README.md ] || wrong 'a refused export leaves files'
expect 0 export bytes mine --quiet
[ "$(cat mine/README.md)" = mine ] && [ -s mine/config.json ] || wrong 'export into a folder with other files'
[ "$(ls -A mine | grep -v README.md)" = "$(ls -A hf-bytes)" ] || wrong 'export leaves files of its own'
expect 1 train --data numbers --out no --init with --steps 1 --length 8 --quiet
said err 'was prepared with the tokenizer bytes'

refuse 1 'already contains a model' import with kept
refuse 1 'nosuch: no such folder' import nosuch out2
refuse 1 'holds no model.safetensors' export . out2
refuse 2 'needs MODEL OUT' import with
refuse 1 'unknown kernel "nonsense"' eval --model with --data numbers --position nonsense
refuse 2 'leave out --hidden-size' train --data numbers --out no --init with --hidden-size 32
expect 1 train --data numbers --out no --init "$families/gpt2" --length 300 --steps 1 --batch-size 1 --quiet
said err '"learned" has 256 positions'
sed 's/"qk_ln": false/"qk_ln": true/' "$families/mpt/config.json" > with/config.json
refuse 1 'mpt "attn_config.qk_ln" is true' eval --model with --data numbers
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 15\n' > pointer
cp "$families/mpt/config.json" with/config.json
cp pointer with/model.safetensors
refuse 1 'with/model.safetensors is a pointer of Git LFS' eval --model with --data numbers
cp pointer with/tokenizer.json
refuse 1 'with/tokenizer.json is a pointer of Git LFS' prepare --tokenizer with --out no numbers.txt
mv with/model.safetensors with/other
refuse 1 'holds no model.safetensors' import with out2
[ ! -e out2 ] || wrong 'a folder was made for a model that is none'
finish
