#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep tokenizer: training, encoding, decoding; and the copies of the tokenizer in a dataset, a run and a
# checkpoint. Usage: cli_tokenizer.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
. "$tests/tiny.sh"

# piped FILE ARGUMENT ...: like expect 0, with FILE as the standard input.
piped() {
    input=$1
    shift
    checks=$((checks + 1))
    "$MEP" "$@" < "$input" > out 2> err || wrong "mep $*: exit code $?"
}

# ids TEXT TOKENIZER IDS: TEXT has these tokens, and their bytes are TEXT.
ids() {
    printf '%s' "$1" > input
    piped input tokenizer encode -t "$2"
    [ "$(cat out)" = "$3" ] || wrong "tokens of \"$1\": not $3"
    cp out tokens
    expect 0 tokenizer decode --tokenizer "$2" tokens
    cmp -s out input || wrong "\"$1\" does not come back"
}

# Training: always the same bytes, for any order of the inputs.
expect 0 tokenizer train --out bpe.json --vocab-size 300 text.txt
said out 'bpe.json: 300 tokens from'
head -n 200 text.txt > a.txt
tail -n +201 text.txt > b.txt
expect 0 tokenizer train --quiet -o again.json -n 300 b.txt a.txt
[ ! -s err ] || wrong '--quiet still prints on stderr'
cmp -s bpe.json again.json || wrong 'another order of the text gives another tokenizer'
refuse 1 'bpe.json exists' tokenizer train --out bpe.json text.txt
# A file that cannot be written is reported before the work: there is no progress line.
refuse 1 'cannot create missing/x.json' tokenizer train --out missing/x.json text.txt
mkdir taken
refuse 1 'taken: it exists and is not a regular file' tokenizer train --out taken text.txt
rmdir taken
expect 0 tokenizer train -q --out odd.json -n 300 --special '<a,b>' --special ' c;d' text.txt
said odd.json '"<a,b>"'
said odd.json '" c;d"'
expect 0 tokenizer train -q --force --out special.json -n 300 --special '<pad>' --special '</s>' text.txt
expect 0 tokenizer info special.json
said out 'end of document   1 </s>'
said out 'vocabulary        300'
said out 'added tokens      2'
ids 'a<pad></s>b' special.json '66 0 1 67'

# Golden tables; bytes.
ids 'a b' bytes '97 32 98'
expect 0 tokenizer info bytes
said out 'end of document   256'
ids '' "$tests/golden/tokenizer_gpt2.json" ''
expect 0 tokenizer info "$tests/golden/tokenizer_neox.json"
said out 'normalizer        NFC'
printf 'ab\377\376c' > input
piped input tokenizer encode -t bpe.json -
cp out tokens
piped tokens tokenizer decode -t bpe.json
cmp -s out input || wrong 'bytes that are no UTF-8 do not come back'

# vocab.json with merges.txt, by the folder and by the file: the same tokens.
mkdir tables
"$MEP" tokenizer encode -t bpe.json text.txt > expected
sed -n '/^    "vocab": {/,/^    }/p' bpe.json | sed '1s/.*/{/; $s/.*/}/' > tables/vocab.json
{ echo '#version: 0.2'; sed -n '/^    "merges": \[/,/^    \]/p' bpe.json | sed '1d; $d; s/^ *"//; s/",*$//; s/\\"/"/g; s/\\\\/\\/g'; } > tables/merges.txt
for name in tables tables/vocab.json; do
    expect 0 tokenizer encode -t $name text.txt
    cmp -s out expected || wrong "$name gives other tokens"
done
cp tables/vocab.json tables/small-vocab.json
cp tables/merges.txt tables/small-merges.txt
refuse 1 'name the file' tokenizer info tables
expect 0 tokenizer encode -t tables/small-vocab.json text.txt
cmp -s out expected || wrong 'small-vocab.json gives other tokens'

# A dataset has a copy, which is found by its prefix.
expect 0 prepare -q --out data/bpe --valid 0.2 --tokenizer bpe.json text.txt
cmp -s bpe.json data/bpe.train.tokenizer.json || wrong 'no copy next to the training data'
cmp -s bpe.json data/bpe.valid.tokenizer.json || wrong 'no copy next to the validation data'
[ ! -e data/bpe.whole.tokenizer.json ] || wrong 'data/bpe.whole.tokenizer.json is left'
mkdir moved
for ending in bin idx json tokenizer.json; do
    cp data/bpe.train.$ending moved/x.$ending
done
expect 0 info moved/x
said out 'moved/x.tokenizer.json'

# A run and its checkpoints need neither the data nor the file of the tokenizer.
TINY="$TINY --data"
# shellcheck disable=SC2086
expect 0 train --out run --steps 4 --quiet $TINY moved/x --valid data/bpe.valid
cmp -s bpe.json run/tokenizer.json || wrong 'no copy in the run'
expect 0 generate --model run --prompt 'the quick' -n 8 -t 0 -q
cp out first
mkdir elsewhere
mv moved data bpe.json tables elsewhere
expect 0 generate --model run --prompt 'the quick' -n 8 -t 0 -q
cmp -s out first || wrong 'the run alone gives another text'
cp -r run/checkpoint-4 alone
expect 0 generate --model alone --prompt 'the quick' -n 8 -t 0 -q
cmp -s out first || wrong 'the checkpoint alone gives another text'
expect 0 eval --model alone --data elsewhere/data/bpe.valid --lengths 16 -q
refuse 1 'was prepared with the tokenizer bytes' eval --model alone --data text.valid --lengths 16
expect 1 train --out other --steps 1 $TINY elsewhere/data/bpe.train --valid text.valid
said err 'two tokenizers'

# A dataset of bytes that replaces it removes the copy.
expect 0 prepare -q --force --out elsewhere/data/bpe.train text.txt
[ ! -e elsewhere/data/bpe.train.tokenizer.json ] || wrong 'the old copy is left next to a dataset of bytes'

# Llama 2's form: a blank before the text, tokens of bytes, and <s> before every text.
llama=$tests/golden/llama2_tokenizer
for text in 'the quick<s>' '<0x41> fox' ' two  blanks' "$(printf 'a\tb\303\251\360\237\231\202')"; do
    printf '%s' "$text" > input
    piped input tokenizer encode -t "$llama"
    cp out tokens
    expect 0 tokenizer decode -t "$llama" tokens
    cmp -s out input || wrong "\"$text\" does not come back"
    piped input tokenizer encode --special-tokens -t "$llama"
    [ "$(cat out)" = "1 $(cat tokens)" ] || wrong 'there is no <s> before the text'
done
expect 0 tokenizer info "$llama"
said out 'kind              BPE of characters'
said out 'before a text     1 <s>'
said out 'end of document   2 </s>'
piped input tokenizer encode -s -t bytes
[ "$(cat out)" = '97 9 98 195 169 240 159 153 130' ] || wrong 'bytes have tokens around a text'

# A dataset has <s> before and </s> after each document; a text of more than a slice has one of each.
i=0
while [ $i -lt 15 ]; do
    cat text.txt text.txt text.txt text.txt
    i=$((i + 1))
done > long.txt
expect 0 prepare -q --out llama --tokenizer "$llama" long.txt
"$MEP" tokenizer encode -s -t "$llama" long.txt > expected
count=$(wc -w < expected)
expect 0 info llama
said out "$((count + 1))"
od -An -v -tu2 llama.bin | tr -s ' \n' ' ' | sed 's/^ //; s/ $//' > out
[ "$(cat out)" = "$(cat expected) 2" ] || wrong 'the slices of a long text have other tokens'
# shellcheck disable=SC2086
expect 0 train --out llama-run --steps 2 --quiet ${TINY% --data} --data llama
expect 0 generate --model llama-run --prompt 'the quick' -n 4 -t 0 -q
expect 0 generate --model llama-run -n 4 -t 0 -q

refuse 2 'the action is missing' tokenizer
refuse 2 'there is no action "tarin"; use train, encode, decode or info' tokenizer tarin
refuse 2 '--tokenizer FILE is missing' tokenizer encode text.txt
refuse 2 '--vocab-size' tokenizer train --vocab-size 12 text.txt
refuse 1 'is not a tokenizer' tokenizer encode -t nosuch text.txt
refuse 1 'cannot open nosuch.txt' tokenizer encode -t bytes nosuch.txt
echo '12 word' > tokens
refuse 1 '"word" is not a token' tokenizer decode -t bytes tokens
echo 257 > tokens
refuse 1 'token 257 does not exist' tokenizer decode -t bytes tokens
echo '{"model": {"type": "WordPiece"}}' > wrong.json
refuse 1 'wrong.json: the model is of type "WordPiece"' tokenizer info wrong.json
mkdir sentencepiece
echo model > sentencepiece/tokenizer.model
refuse 1 'sentencepiece/tokenizer.model is a SentencePiece model' tokenizer info sentencepiece
echo 'no json' > wrong.json
refuse 1 'wrong.json: is not a tokenizer.json: line 1: ' prepare --out x --tokenizer wrong.json text.txt
finish
