#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep bench: the form of every benchmark at small sizes: columns, rows, JSON, wrong inputs, Ctrl-C. Figures are not
# checked. Usage: cli_bench.sh PROGRAM
. "$(dirname "$0")/cli.sh"
SMALL='--repeats 2 --ceiling 32 --quiet'
HEADS='--heads 2 --head-dim 16'

# rows COUNT HEADING: the CSV in out has this heading and this many rows, all with the same number of cells.
rows() {
    checks=$((checks + 1))
    [ "$(head -1 out)" = "$2" ] || wrong "the heading is not $2"
    awk -F, -v rows="$1" 'NR == 1 { n = NF } NF != n || NR > 1 && /nan|inf/ { bad = 1 } END { exit bad || NR != rows + 1 }' out ||
        wrong "not $1 whole rows"
}

# column NUMBER CONDITION: every row's cell, as a number x, meets the condition; "12.3 (11.8)" is 12.3.
column() {
    checks=$((checks + 1))
    awk -F, "NR > 1 { x = \$$1 + 0; if (!($2)) exit 1 }" out || wrong "column $1: not every number is $2"
}

# is_json NAME COUNT KEY: out is an object of this benchmark, its brackets match, and KEY is above 0 in COUNT cases.
is_json() {
    checks=$((checks + 1))
    said out "\"bench\": \"$1\""
    for key in version processor cpu_level threads compiler build repeats seconds; do
        said out "\"$key\": "
    done
    awk -v key="\"$3\":" -v count="$2" '$1 == key && $2 + 0 > 0 { n++ } END { exit n != count }' out ||
        wrong "\"$3\" is not above 0 in $2 cases"
    awk '{ gsub(/"[^"]*"/, "s"); n = length($0)
           for (i = 1; i <= n; i++) {
               c = substr($0, i, 1)
               if (c ~ /[{[]/) open[++depth] = c == "{" ? "}" : "]"
               if (c ~ /[]}]/ && open[depth--] != c) bad = 1
           } }
         /,$/ { comma = NR } /^ *[]}]/ && comma == NR - 1 { bad = 1 }
         END { exit bad || depth != 0 || NR == 0 }' out || wrong 'this is not JSON'
}

# Attention: 2 types x 2 lengths x 2 passes x (none once, mep and mep_param with all blocks and with skipped blocks).
heading='level,dtype,length,pass,encoding,skip,GFLOP/s,ceiling,fraction,/ none,computed %,MB,ms,samples'
# shellcheck disable=SC2086
expect 0 bench attention --lengths 16,40 $HEADS $SMALL --format csv
rows 40 "$heading"
column 9 'x >= 0'
column 11 'x > 0 && x <= 100'
column 14 'x == 2'
checks=$((checks + 1))
awk -F, '$5 == "none" && ($10 != "1.000" || $6 != "off") { exit 1 }' out || wrong 'none is not one of itself'
# shellcheck disable=SC2086
expect 0 bench attention --lengths 2K --positions 'mep;exp:c=0.5 + gauss' $HEADS --dtype float32 --levels c --skip exact \
    --tolerance 0.01 --forward --seconds 0 $SMALL --format csv
rows 2 "$heading"
column 11 'x < 100'
column 14 'x == 1'
said out 'c,float32,2048,forward,exp:c=0.5 + gauss,exact,'
# Score terms, each with its gradients, and shared heads of keys and values.
# shellcheck disable=SC2086
expect 0 bench attention --lengths 130 --positions none --positions nope/forget --positions 'mep/weights=query' \
    --positions 'nope/profiles:rank=3' --positions 't5/sink/window=64' --positions 'mep/learn=weights' $HEADS \
    --num-key-value-heads 1 --skip off $SMALL --format csv
rows 24 "$heading"
for position in nope/forget mep/weights=query nope/profiles:rank=3 t5/sink/window=64; do
    said out ",backward,$position,off,"
done
column 14 'x == 2'
# shellcheck disable=SC2086
expect 0 bench attention --lengths 64 --positions mep $HEADS --dtype bfloat16 --skip off $SMALL --json
is_json attention 2 gflops_median
[ "$(grep -c '"time_of_none": null' out)" = 2 ] || wrong 'a ratio to nothing'
said out '"head_dim": 16'
# shellcheck disable=SC2086
expect 0 bench attention --lengths 8 --positions none $HEADS --dtype float32 --repeats 1 --ceiling 16
said out 'processor'
said out '---'
said err 'bench attention  2/2  100%'

# Decoding.
# shellcheck disable=SC2086
expect 0 bench decode --lengths 1,1K $HEADS --repeats 2 --quiet --format csv
rows 16 'keys in,dtype,keys,encoding,tokens/s,GB/s,ceiling,fraction,ms,samples'
# shellcheck disable=SC2086
expect 0 bench decode --lengths 64 --positions alibi --batch-size 2 $HEADS --repeats 1 --quiet --json
is_json decode 4 tokens_per_second
expect 0 bench decode --lengths 100 --heads 4 --num-key-value-heads 2 --head-dim 8 --repeats 1 --quiet --json
is_json decode 8 tokens_per_second
said out '"kv_heads": 2'
refuse 1 'kv_heads is 3; it must divide the 2 heads' bench decode --heads 2 --num-key-value-heads 3 --lengths 16 --quiet

# Products: 5 maps x 3 passes x 2 types.
# shellcheck disable=SC2086
expect 0 bench gemm --preset gpt2 --batch-size 2 --length 4 --vocab-size 64 $SMALL --format csv
rows 30 'product,pass,m,n,k,dtype,GFLOP/s,ceiling,fraction,ms,samples'
said out 'up,input gradient,8,768,3072,float32,'
said out 'output,weight gradient,64,768,8,bfloat16,'
# shellcheck disable=SC2086
expect 0 bench gemm --preset nano --batch-size 1 --length 4 --dtype float32 $SMALL --json
is_json gemm 15 gflops_ceiling

# Training: nano's 4 layers have 4 (4 128^2 + 2 128 512) weights in products and the output 320 128.
heading='dtype,parameters,batch,length,tokens/s,GFLOP/s,ceiling,fraction,MB,seconds,samples'
# shellcheck disable=SC2086
expect 0 bench train --length 8 --batch-size 2 $SMALL --format csv
rows 2 "$heading"
# shellcheck disable=SC2086
expect 0 bench train --length 8 --batch-size 2 --position kerple_log --dtype float32 $SMALL --json
is_json train 1 tokens_per_second_median
checks=$((checks + 1))
awk -F'[:,]' '/"gflops":/ { rate = $2 } /"seconds":/ { seconds = $2 }
     END { weights = 4 * (4 * 128 * 128 + 2 * 128 * 512) + 320 * 128
           work = 2 * (6 * weights * 8 + 3.5 * 4 * 2 * 8 * 8 * 128)
           x = rate * seconds * 1e9 / work; exit !(x > 0.999 && x < 1.001) }' out || wrong 'the count of operations'
# shellcheck disable=SC2086
expect 0 bench train --eval --length 32 --position learned --vocab-size 64 $SMALL --format csv
rows 2 "$heading"
said out ',1,32,'

# Wrong inputs, and the help pages.
for bench in attention decode gemm train; do
    expect 0 bench "$bench" --help
    said out "mep bench $bench"
    said out '--json'
    [ "$(sed '/^  -h, --help/q' out | wc -L)" -le 100 ] || wrong "mep bench $bench --help is wider than 100 columns"
    refuse 2 "see mep bench $bench --help" bench "$bench" --no-such-option
    refuse 2 'is not one of float32, bfloat16' bench "$bench" --dtype float16
    refuse 2 'float32 is given twice' bench "$bench" --dtype float32,float32
    refuse 2 'exclude each other' bench "$bench" --json --format csv
    refuse 2 'takes no argument "x"' bench "$bench" x
done
refuse 2 'the benchmark is missing: attention, decode, gemm or train' bench
refuse 2 'there is no benchmark "gem"' bench gem
refuse 2 'no benchmark "speed"' bench speed
refuse 2 'rotary" is not an encoding with score terms' bench attention --positions none,rotary
refuse 2 'nope/forget" is not a distance bias alone' bench decode --positions nope/forget
refuse 2 'rotary" is not a distance bias alone' bench decode --positions none,rotary
refuse 1 'kv_heads is 3; it must divide the 2 heads' bench attention --heads 2 --num-key-value-heads 3 --lengths 16 --quiet --ceiling 16
refuse 2 'unknown kernel "gaus"' bench decode --positions gaus
refuse 2 'is not one of c, ' bench attention --levels sse
refuse 2 'is not one of off, exact' bench attention --skip never
refuse 2 '--lengths' bench attention --lengths 0
refuse 2 '--repeats' bench gemm --repeats 0
refuse 2 'presets: nano' bench gemm --preset huge
refuse 2 'gpt2' bench train --preset huge
refuse 2 'unknown kernel "gaus"' bench train --position gaus
refuse 1 'does not fit 64 bits' bench attention --lengths 64M --heads 65536 --head-dim 65536 --batch-size 1M --quiet --ceiling 16

# Ctrl-C. It is ignored from before the fork until the program has its handler, which prints a line.
checks=$((checks + 1))
: > err
trap '' INT
# shellcheck disable=SC2086
"$MEP" bench attention --lengths 8 --positions none $HEADS --seconds 1e6 --repeats 1000 --ceiling 16 \
    > out 2> err < /dev/null &
pid=$!
while ! grep -q 'stopping' err && kill -INT $pid 2> /dev/null; do sleep 0.5; done
wait $pid
[ $? = 130 ] || wrong 'Ctrl-C does not end with 130'
said err 'mep bench attention: stopped after 0 of 4 cases'

finish
