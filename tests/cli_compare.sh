#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep compare: a tiny study from start to end, stopped and continued, extended, and wrong inputs.
# Usage: cli_compare.sh PROGRAM
. "$(dirname "$0")/cli.sh"

# A text with a pattern to learn: numbered lines.
i=0
while [ $i -lt 1500 ]; do
    echo "line $i of this text, and $((i * 7 % 100)) more"
    i=$((i + 1))
done > text.txt
"$MEP" prepare --quiet --out text --valid 0.2 text.txt > out || exit 1
head -n 700 text.txt > other.txt
"$MEP" prepare --quiet --out other --valid 0.2 other.txt > out || exit 1
tiny='--preset nano --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16'
tiny="$tiny --batch-size 4 --threads 1"
short="$tiny --steps 12 --lengths 16,32,64 --eval-tokens 2000 --positions alibi,mep,rotary --seeds 2"

# ---- A complete study ----

# shellcheck disable=SC2086
expect 0 compare --data text --out whole $short
said out 'trained at 16, tested at'
said out ' ± '
said out 'whole/results.csv'
said err '6/6 rotary seed 1236 test at length'
said whole/results.md '| trained at 16, tested at |'
said whole/results.md '**'
said whole/results.md '## Method'
said whole/results.md "mep compare --data text --out whole --preset nano"
checks=$((checks + 3))
[ "$(head -n 1 whole/results.csv)" = 'encoding,seed,length,perplexity,stderr,tokens' ] ||
    wrong 'another heading of results.csv'
[ "$(wc -l < whole/results.csv)" = 19 ] || wrong 'results.csv has not 18 rows'
# 1984 = 31 * 64 tokens at every length
[ "$(awk -F, 'NR > 1 && $6 == 1984 && $4 > 1 && $4 < 400 && $5 > 0' whole/results.csv | wc -l)" = 18 ] ||
    wrong "odd numbers: $(cat whole/results.csv)"
if command -v gnuplot > /dev/null; then
    said out 'whole/perplexity.png'
    said out 'whole/kernels.png'
    said whole/perplexity.gp "unit = 'bytes'"
    [ -s whole/perplexity.png ] && [ -s whole/kernels.png ] || wrong 'no pictures'
fi

# --dtype auto, the default, is the fastest type of the CPU; a study keeps its type on another machine.
level=$("$MEP" version | awk '/CPU level/ { print $3 }')
[ -n "$level" ] || wrong 'mep version names no CPU level'
case $level in *_bf16) type=bfloat16 reason='the CPU has bfloat16' ;; *) type=float32 reason='the CPU level' ;; esac
said err "training in $type (auto: $reason"
said whole/study.json "\"dtype\": \"$type\""
# shellcheck disable=SC2086
expect 0 compare --data text --out moved $tiny --steps 2 --lengths 16 --eval-tokens 64 --positions alibi --dtype bfloat16
# shellcheck disable=SC2086
at_level c expect 0 compare --data text --out moved $tiny --steps 2 --lengths 16 --eval-tokens 64 --positions alibi,mep
said err 'training in bfloat16 (slow here: the CPU level c has no bfloat16 arithmetic)'
# shellcheck disable=SC2086
at_level c refuse 1 'was made with dtype "bfloat16", now it is "float32"' compare --data text --out moved $tiny --steps 2 \
    --lengths 16 --eval-tokens 64 --positions alibi --dtype float32
# shellcheck disable=SC2086
at_level c expect 0 compare --data text --out forced $tiny --steps 1 --lengths 16 --eval-tokens 64 --positions alibi --quiet
said forced/study.json '"dtype": "float32"'
[ ! -s err ] || wrong 'compare --quiet still prints on stderr'

# The same command again does no work.
cp whole/results.csv first.csv
touch before
# shellcheck disable=SC2086
expect 0 compare --data text --out whole $short
checks=$((checks + 1))
cmp -s first.csv whole/results.csv || wrong 'a second call changed results.csv'
[ -z "$(find whole -newer before -path '*seed*' -type f)" ] || wrong 'a second call wrote into the runs'

# One more encoding: the table has all of them, and each has its color in all pictures, even if another has no curve.
grown="$tiny --steps 12 --eval-tokens 2000"
# shellcheck disable=SC2086
expect 0 compare --data text --out grown $grown --lengths 16,32,64 --positions rotary,mep
said out 'so far, after run 1 of 2:'
checks=$((checks + 1))
[ "$(sed -n '/so far/,/^$/p' out | wc -l)" = 2 ] && [ "$(grep -c '^rotary  *[0-9]' out)" = 2 ] && [ "$(grep -c '^mep  *[0-9]' out)" = 1 ] ||
    wrong 'the table so far is another'
# shellcheck disable=SC2086
expect 0 compare --data text --out grown $grown --lengths 16,32 --positions alibi
said err '1/1 alibi'
checks=$((checks + 1))
[ "$(cut -d, -f1 grown/results.csv | uniq -c | tr -s ' \n' ' ')" = ' 1 encoding 3 rotary 3 mep 3 alibi ' ] ||
    wrong "not all is in the table: $(cat grown/results.csv)"
said grown/results.md '| mep '
line_type() { # line_type SCRIPT LABEL
    awk -F '[][]' -v label="'$2'" '
        /^array labels/ { n = split($4, labels, ", ") }
        /^array styles/ { split($4, styles, ", "); for (i = 1; i <= n; i++) if (labels[i] == label) printf "%s", styles[i] }
    ' "$1"
}
if command -v gnuplot > /dev/null; then
    expect 0 plot grown/results.csv --out by-hand.png
    expect 0 plot grown/mep-seed1235 grown/alibi-seed1235 --show valid_loss
    expect 0 plot --model grown/mep-seed1235 --model grown/alibi-seed1235 --out biases.png
    checks=$((checks + 1))
    types="$(line_type grown/perplexity.gp mep) $(line_type grown/kernels.gp mep) $(line_type by-hand.gp mep)"
    types="$types $(line_type training.gp mep-seed1235) $(line_type biases.gp mep-seed1235)"
    types="$types; $(line_type grown/perplexity.gp alibi) $(line_type grown/kernels.gp alibi) $(line_type by-hand.gp alibi)"
    types="$types $(line_type training.gp alibi-seed1235) $(line_type biases.gp alibi-seed1235)"
    [ "$types" = '2 2 2 2 2; 3 3 3 3 3' ] || wrong "line types: $types"
fi

# The page has the command as a shell reads it, with any characters in its words.
mkdir -p "it's"
cp text.*.* "it's"
# shellcheck disable=SC2086
expect 0 compare --data "it's/text" --out quoted $tiny --steps 1 --lengths 16 --eval-tokens 64 --positions 'exp + gauss'
command=$(sed -n 's/^    mep \(compare .*\)/\1/p' quoted/results.md)
eval "set -- $command"
checks=$((checks + 1))
[ "$3" = "it's/text" ] || wrong "the shell reads \"$3\" in: $command"

# ---- Stopped and continued ----

# Long enough to be stopped in the middle, three times, at any point of its work.
long="$tiny --steps 1000 --lengths 16,32,64 --eval-tokens 2000 --positions alibi,mep"
# shellcheck disable=SC2086
expect 0 compare --data text --out straight $long
stops=0
for pause in 0.1 0.2 0.3; do
    # shellcheck disable=SC2086
    "$MEP" compare --data text --out stopped $long > out 2> err &
    child=$!
    # only once the handler is installed: a background command of a shell ignores SIGINT until then
    while ! cat stopped/*/metrics.jsonl > /dev/null 2>&1 && kill -0 $child 2> /dev/null; do sleep 0.02; done
    sleep $pause
    kill -INT $child
    wait $child
    code=$?
    [ $code = 130 ] && stops=$((stops + 1))
    checks=$((checks + 1))
    [ $code = 130 ] || [ $code = 0 ] || wrong "stopped, but the exit code is $code"
    [ $code != 130 ] || said err 'the same command continues'
done
checks=$((checks + 1))
[ $stops -gt 0 ] || wrong 'it was never stopped in the middle'
# shellcheck disable=SC2086
expect 0 compare --data text --out stopped $long
checks=$((checks + 1))
cmp -s straight/results.csv stopped/results.csv || wrong 'results.csv differs after stops'

# ---- Several corpora, more encodings, a spec with options ----

# shellcheck disable=SC2086
expect 0 compare --data 'text;other' --out two $tiny --steps 3 --lengths 16,32 --positions alibi
said out 'other'
[ -f two/text/results.csv ] && [ -f two/other/results.md ] || wrong 'no folder for each corpus'
# shellcheck disable=SC2086
expect 0 compare --data ./text,./other --out two $tiny --steps 3 --lengths 16,32 --quiet \
    --positions 'alibi;t5:buckets=16,max=64;learned'
said two/text/results.csv '"t5:buckets=16,max=64",1235,32,'
said two/text/results.csv 'learned,1235,16,'
checks=$((checks + 2))
grep -q 'learned,1235,32' two/text/results.csv && wrong 'learned beyond its positions'
[ ! -s err ] || wrong 'a progress line in spite of --quiet'

# Without gnuplot the tables are still written.
# shellcheck disable=SC2086
PATH=/nonexistent "$MEP" compare --data text --out whole $short > out 2> err
code=$?
checks=$((checks + 1))
[ $code = 0 ] || wrong "without gnuplot: exit code $code"
said err 'gnuplot-nox'
said out 'whole/results.md'

# ---- Numbers that a picture cannot show ----

# With a large vocabulary, after one step, all perplexities are above the limit of a picture; "beyond" has none at all.
# The table is printed in both cases.
one="--preset nano --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --batch-size 2 --steps 1 --threads 1"
# shellcheck disable=SC2086
expect 0 compare --data text --out large $one --length 16 --vocab-size 20032 --lengths 16,32 --eval-tokens 256 \
    --positions mep,alibi
said out 'alibi'
[ ! -e whole/perplexity.png ] || said out 'large/perplexity.png'
# shellcheck disable=SC2086
expect 0 compare --data text --out beyond $one --length 16 --lengths 32 --eval-tokens 256 --positions learned
said out 'learned'

# If gnuplot fails, the table is still printed.
mkdir -p failing
printf '#!/bin/sh\nexit 3\n' > failing/gnuplot
chmod +x failing/gnuplot
# shellcheck disable=SC2086
PATH=$PWD/failing:$PATH "$MEP" compare --data text --out whole $short > out 2> err
code=$?
checks=$((checks + 1))
[ $code = 1 ] || wrong "a failing gnuplot: exit code $code"
said err 'gnuplot failed on whole/perplexity.gp'
said out 'kernels.png'
said out ' ± '

# ---- Wrong inputs ----

refuse 2 '--data PREFIX is missing' compare --out x
refuse 2 '--out DIR is missing' compare --data text
refuse 2 "t5 has no option \"mep\"; options: buckets, max; where an encoding has options, ';' ends it, not a comma" \
    compare --data text --out x --positions t5:buckets=64,mep
refuse 2 'alibie' compare --data text --out x --positions alibie
refuse 2 'unknown preset "tiny"' compare --data text --out x --preset tiny
refuse 2 '--seeds: "0"' compare --data text --out x --seeds 0
refuse 2 '--lengths: "16x"' compare --data text --out x --lengths 16x
refuse 1 'mep prepare --out PREFIX --valid' compare --data nothing --out x --preset nano
refuse 1 'too few for the length 65536' compare --data text --out x --preset nano --lengths 64K
refuse 1 'share the folder alibi' compare --data text --out x --preset nano --lengths 16 --positions alibi,alibi
refuse 1 'num_attention_heads' compare --data text --out x --preset nano --num-attention-heads 7 --lengths 16
[ ! -e x ] || wrong 'a refused study left its folder'
mkdir -p of_run && echo '{}' > of_run/train.json
refuse 1 'of_run: is the folder of a run' compare --data text --out of_run --preset nano --lengths 16
# shellcheck disable=SC2086
refuse 1 'was made with learning_rate 0.002, now it is 0.003' \
    compare --data text --out whole $short --learning-rate 0.003
# shellcheck disable=SC2086
refuse 1 'this study has no corpus "other"' compare --data other --out whole $short
: > file
# shellcheck disable=SC2086
refuse 1 'file' compare --data text --out file/study $short
cmp -s first.csv whole/results.csv || wrong 'refused calls changed results.csv'
finish
