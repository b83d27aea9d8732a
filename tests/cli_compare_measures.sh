#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep compare with measures and a baseline: tables, CSV, the page, measures that are added to a finished study, stops, and
# wrong inputs. Usage: cli_compare_measures.sh PROGRAM
. "$(dirname "$0")/cli.sh"

i=0
while [ $i -lt 1500 ]; do
    echo "line $i of this text, and $((i * 7 % 100)) more"
    i=$((i + 1))
done > text.txt
"$MEP" prepare --quiet --out text --valid 0.2 text.txt > out || exit 1
tiny='--preset nano --num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 4 --threads 1'
short="$tiny --steps 8 --lengths 16,32 --eval-tokens 1000"

# ---- One seed, then measures, then seeds ----

# shellcheck disable=SC2086
expect 0 compare --data text --out study $short --positions alibi,mep
said out 'effective length for'
checks=$((checks + 2))
grep -q 'measures' study/study.json && wrong 'study.json has measures without any'
[ ! -e study/measures.csv ] && [ ! -e study/differences.csv ] || wrong 'files that were not asked for'
# shellcheck disable=SC2086
expect 0 compare --data text --out study $short --positions alibi,mep --measures perplexity,copy-gain --gaps 4,20 \
    --baseline alibi --samples 6 --copy-tokens 4
checks=$((checks + 1))
grep -q 'train ' err && wrong 'a finished run was trained again'
said err 'mep copy'
said out 'gain minus that of alibi at'
said study/results.md 'There is one seed'
said study/measures.csv 'mep,1235,copy,32,20,,,gain,'
said study/differences.csv 'mep,alibi,perplexity,32,,loss,'
if command -v gnuplot > /dev/null; then
    said out 'study/differences.png'
    # the baseline is a line at 0, and the other curve has the numbers of differences.csv
    checks=$((checks + 1))
    awk 'NF == 3 && !/^#/ { print $1, $2 }' study/differences.dat > drawn
    { printf '16 0\n32 0\n' && sed -n 's/^mep,alibi,perplexity,\([0-9]*\),,loss,\([^,]*\),.*/\1 \2/p' study/differences.csv; } > wanted
    cmp -s drawn wanted || wrong "other curves of differences: $(cat drawn)"
fi
checks=$((checks + 3))
[ "$(head -n 1 study/measures.csv)" = 'encoding,seed,measure,length,at,layer,head,name,value,stderr,samples' ] ||
    wrong 'another heading of measures.csv'
[ "$(grep -c ',copy,' study/measures.csv)" = 12 ] || wrong "not 2 x 2 x 3 numbers: $(cat study/measures.csv)"
# the paired difference of one seed is that of the two values, and its standard error is over the segments
awk -F, 'NR == 1 { exit !($8 == "stderr" && $12 == "stderr_samples") }
    $9 != 1 || $10 != "" || ($6 == "loss" && !($8 == $12 && $8 > 0)) { exit 1 }' study/differences.csv ||
    wrong "other differences: $(cat study/differences.csv)"
# shellcheck disable=SC2086
expect 0 compare --data text --out study $short --positions 'exp + gauss' --baseline alibi \
    --measures 'by-position,context,blindness;mqar:pairs=2,queries=1;induction'
said study/measures.csv 'exp + gauss,1235,copy,16,4,,,gain,'
said study/measures.csv '"mqar:pairs=2,queries=1",32,,,,exact,'
said study/measures.csv 'alibi,1235,blindness,32,,0,1,d99,'
said study/results.md '## Task mqar:pairs=2,queries=1'
said study/results.md '## Effective length'
said out 'exp + gauss'
cp study/measures.csv before.csv
touch before
# shellcheck disable=SC2086
expect 0 compare --data text --out study $short --positions alibi,mep --baseline alibi
checks=$((checks + 2))
cmp -s before.csv study/measures.csv || wrong 'a call without measures changed measures.csv'
[ -z "$(find study -newer before -path '*seed*' -type f)" ] || wrong 'a call without work wrote into the runs'
# shellcheck disable=SC2086
expect 0 compare --data text --out study $short --positions alibi,mep --seeds 2 --baseline alibi --measures copy
said study/results.md 'sqrt(a² + b²)'
said study/differences.csv ',2,'
said study/results.md '±'
# better is written only beyond two standard errors, and the other way round
checks=$((checks + 1))
awk -F, 'NR > 1 && $8 != "" && $7 != 0 && ($6 == "loss" || $6 == "gain") {
    far = ($7 < 0 ? -$7 : $7) > 2 * $8
    good = ($6 == "loss") == ($7 < 0) ? "better" : "worse"
    if ($13 != (far ? good : "")) exit 1
    seen++ } END { exit !(seen > 8) }' study/differences.csv || wrong "verdicts: $(cat study/differences.csv)"

# ---- The page ----

said study/results.html '<!DOCTYPE html>'
said study/results.html 'Effective length'
said study/results.html 'minus that of alibi at'
checks=$((checks + 2))
grep -qiE '<script|<link|<img|src=' study/results.html && wrong 'the page refers to other files'
[ "$(grep -c '<h2>' study/results.html)" -ge 8 ] || wrong 'sections are missing'
if command -v gnuplot > /dev/null; then
    said out 'study/measure-copy.png'
    checks=$((checks + 3))
    [ -s study/measure-mqar_pairs=2_queries=1.png ] && [ -s study/measure-copy.svg ] || wrong 'no pictures'
    [ "$(grep -c '<svg' study/results.html)" -ge 7 ] || wrong 'no pictures in the page'
    twice=$(grep -o " id=['\"][^'\"]*" study/results.html | sort | uniq -d)
    [ -z "$twice" ] || wrong "identifiers that are not unique: $twice"
fi
# every name is escaped
mkdir -p 'a&<b>'
cp text.train.* text.valid.* 'a&<b>'
for part in train valid; do
    for file in 'a&<b>'/text.$part.*; do mv "$file" "a&<b>/x<i>&y.$part.${file##*."$part".}"; done
done
# shellcheck disable=SC2086
expect 0 compare --data 'a&<b>/x<i>&y' --out escaped $tiny --steps 1 --lengths 16 --eval-tokens 64 --positions alibi --quiet
said escaped/results.html 'Perplexity on x&lt;i&gt;&amp;y</h1>'
checks=$((checks + 1))
grep -q '<i>' escaped/results.html && wrong 'a name is not escaped'

# ---- Stopped and continued ----

long="$tiny --steps 2 --lengths 16,32 --eval-tokens 1000 --positions alibi,mep --samples 40 --copy-tokens 4"
long="$long --measures by-position,copy,context --gaps 4,16,40,80"
# shellcheck disable=SC2086
expect 0 compare --data text --out straight $long --quiet
for after in 0.05 0.1 0.2 0.4; do
    # shellcheck disable=SC2086
    timeout -s INT $after "$MEP" compare --data text --out stopped $long --quiet > out 2> err
done
# shellcheck disable=SC2086
expect 0 compare --data text --out stopped $long --quiet
checks=$((checks + 1))
cmp -s straight/measures.csv stopped/measures.csv || wrong 'measures.csv differs after stops'

# ---- Wrong inputs ----

one="--data text --out x $tiny --lengths 16,32"
# shellcheck disable=SC2086
refuse 1 '--baseline rotary: is no encoding of this study' compare $one --positions alibi,mep --baseline rotary
# shellcheck disable=SC2086
refuse 1 'unknown measure "perplex"' compare $one --measures perplex
# shellcheck disable=SC2086
refuse 1 "passkey: the length 16 is shorter than the passkey's own text" compare $one --measures passkey
# shellcheck disable=SC2086
refuse 1 '--depths 0,2: a depth must be a number from 0 to 1' compare $one --measures passkey --depths 0,2
# shellcheck disable=SC2086
refuse 1 'copy: the data has' compare $one --measures copy --gaps 16M
# shellcheck disable=SC2086
refuse 1 'shorter than 3 copies of 32 tokens' compare $one --measures copy
# shellcheck disable=SC2086
refuse 2 '--gaps is for --measures copy' compare $one --gaps 4
# shellcheck disable=SC2086
refuse 2 '--depths is for --measures passkey' compare $one --depths 0
# shellcheck disable=SC2086
refuse 2 '--samples is for --measures context,copy,passkey,blindness,mqar,induction' compare $one --samples 4
# shellcheck disable=SC2086
refuse 2 '--samples is for --measures' compare $one --samples 4 --measures by-position
# shellcheck disable=SC2086
refuse 2 '--bins is for --measures by-position' compare $one --bins 4 --measures perplexity,copy-gain
# shellcheck disable=SC2086
refuse 1 'mqar' compare $one --measures mqar:pairs=1000
# shellcheck disable=SC2086
refuse 1 'multiple of 8' compare --data text --out x $tiny --lengths 20 --measures context
checks=$((checks + 1))
[ ! -e x ] || wrong 'a refused study left its folder'
finish
