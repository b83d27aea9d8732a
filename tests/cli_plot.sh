#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep plot: pictures of tables, of runs and of biases, with and without gnuplot; wrong inputs. Usage: cli_plot.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/cli.sh"
scripts=$(dirname "$MEP")/gnuplot # in the build folder

cat > results.csv << 'END'
encoding,seed,length,perplexity,stderr,tokens
mep,1,512,20.0,0.1,1000
mep,2,512,22.0,0.1,1000
mep,1,1024,19.0,0.1,1000
"t5:buckets=64,max=256",1,512,20.5,0.1,1000
"t5:buckets=64,max=256",1,1024,inf,0.1,1000
END

# Without gnuplot the data and the script are kept.
PATH=/nonexistent "$MEP" plot results.csv --train-length 512 > out 2> err
[ $? = 1 ] || wrong 'a missing gnuplot is not noticed'
said err 'gnuplot-nox'
said results.dat '512 21 1.41421'
said results.dat '1024 19 0'
said results.dat "'t5:buckets=64,max=256'"
said results.gp 'train_length = 512'
said results.gp 'set logscale x 2'
said results.gp "labels[2] = ['mep', 't5:buckets=64,max=256']"
said results.gp 'bars = 1'
[ ! -e results.png ] || wrong 'a picture without gnuplot'

# draw ARGUMENT ...: without gnuplot; the tests check the data and the script.
draw() {
    checks=$((checks + 1))
    PATH=/nonexistent "$MEP" plot "$@" > out 2> err
    [ $? = 1 ] || wrong "mep plot $*: a missing gnuplot is not noticed"
    said err 'gnuplot-nox'
}
# lacks FILE TEXT
lacks() {
    checks=$((checks + 1))
    ! grep -qF -e "$2" "$1" || wrong "\"$2\" is in $1"
}
# line STEP LOSS [MORE]: a line of metrics.jsonl
line() {
    echo "{\"step\": $1, \"loss\": $2, \"learning_rate\": 0.001, \"grad_norm\": 1.5, \"tokens_per_second\": 4e4${3:-}}"
}

# A run of which only the log exists: 40 steps, validation of two corpora, one step skipped.
mkdir -p logged/short logged/long
i=1
while [ $i -le 40 ]; do
    case $i in
    20 | 40) line $i 3.5 ", \"valid_loss\": 3.25, \"valid_losses\": {\"data/books.valid\": 3, \"it's\": 3.5}" ;;
    30) line $i null ', "skipped_for": "loss"' ;;
    *) line $i $((i % 2 + 3)) ;;
    esac
    i=$((i + 1))
done > logged/short/metrics.jsonl
draw logged/short
said logged/short/training.dat '1 4'
said logged/short/training.dat '30 nan'
said logged/short/training.dat "'loss (nats per token)': 'books.valid'"
said logged/short/training.dat '40 3.25'
said logged/short/training.gp "= ['training', 'validation, mean', 'books.valid', 'it''s', 'skipped: 1 step', '', '']"
said logged/short/training.gp "'short: step 40'"
said logged/short/training.gp "x_heading = 'step'"
said logged/short/training.gp "= ['line', 'marks', 'marks', 'marks', 'crosses', 'line', 'line']"
draw logged/short/metrics.jsonl --smooth 10 --show valid_loss,loss --out sm.png
said sm.dat '5.5 3.5 3 4'
said sm.gp "x_heading = 'step; training curves are means of 10 steps, bands from their lowest to their highest'"
said sm.gp "'band'"
said sm.gp "'validation loss (nats per token)'"
said sm.gp "'training loss (nats per token)'"

# Many lines become at most 100 points, and the axis says so. A skipped step is not part of its mean.
awk 'BEGIN { for (i = 1; i <= 20000; i++) printf "{\"step\": %d, \"loss\": %s}\n", i, (i == 150 ? "null" : (i > 100 && i <= 200) ? 2 : 3) }' \
    > logged/long/metrics.jsonl
draw logged/long --show loss
said logged/long/training.gp 'means of 200 steps'
said logged/long/training.dat "'training loss (nats per token)'"
checks=$((checks + 1))
[ "$(grep -c '^[0-9]*[05]0*.5 ' logged/long/training.dat)" = 100 ] || wrong '20,000 steps are not 100 points'
draw logged/long --show loss --smooth 100
said logged/long/training.dat '150.5 2 2 2'

# Several: the losses of each, named by their folders; the complete path if these are equal.
draw logged/short logged/long
said training.gp "'Training of 2 runs'"
said training.gp "= ['short, 1 skipped', 'long', '', '']"
said training.gp "'validation loss (nats per token)'"
mkdir -p other/long
(line 1 5; line 2 4; line 3 3; line 2 6; printf '{"step": 3, "lo') > other/long/metrics.jsonl
draw logged/long other/long/ --smooth 1
said training.gp "'other/long, last line damaged'"
said training.dat '2 6'
lacks training.dat '3 3 '
(cd other/long && draw . --out ../../here.png)
said here.gp "'long: step 2, last line damaged'"
long=$(printf 'a-folder-with-a-name-of-many-words%.0s-' 1 2 3)
mkdir "$long" && cp logged/short/metrics.jsonl "$long"
draw "$long" --show loss
said "$long/training.gp" "'a-folder-with-a-name-o...h-a-name-of-many-words-: step 40'"

# Unusual steps, a single one, and numbers that do not fit on an axis.
mkdir -p odd
line 9223372036854775807 1e308 > odd/metrics.jsonl
draw odd --show grad_norm
said odd/training.dat '1.5'
line 1 5 > odd/metrics.jsonl
draw odd
said odd/training.gp 'points[3] = [1, 1, 1]'

# Files of the user are not overwritten.
echo 'my own numbers' > own.dat
refuse 1 'own.dat exists and is not a file of this program' plot logged/short --out own.png
said own.dat 'my own numbers'

if command -v gnuplot > /dev/null; then
    expect 0 plot results.csv --train-length 512
    said out 'results.png'
    checks=$((checks + 1))
    [ "$(od -An -tu1 -j16 -N8 results.png | xargs)" = '0 0 4 176 0 0 2 238' ] || wrong 'results.png is not 1200 x 750'
    mkdir -p "a folder's"
    expect 0 plot --bias 'mep;alibi' --bias "exp:c=0.5 + gauss" --heads 4 --max-distance 1K -o "a folder's/it's.png"
    [ -s "a folder's/it's.png" ] || wrong 'no picture in a folder with a quote'
    said "a folder's/it's.dat" '1024 '
    expect 0 plot --bias mep --heads 1 --max-distance 1 --out one.png
    # Values that differ only in the ninth digit.
    printf 'encoding,length,perplexity\nmep,16,306.240001\nmep,32,306.240002\n' > alike.csv
    expect 0 plot alike.csv
    # Many long names: below the curves, and the picture is higher, so that the curves keep their height.
    expect 0 plot --bias 'mep;alibi;exp:c=0.5 + t5:buckets=64,max=256' --heads 8 --head 1,2,3,4,5,6 --out many.png
    checks=$((checks + 1))
    [ "$(od -An -tu1 -j16 -N8 many.png | xargs)" = '0 0 4 176 0 0 4 206' ] || wrong 'many.png is not 1200 x 1230'
    expect 0 plot logged/short
    said out 'logged/short/training.png'
    checks=$((checks + 1))
    [ "$(od -An -tu1 -j16 -N4 logged/short/training.png | xargs)" = '0 0 4 176' ] || wrong 'a picture of a run is not 1200 wide'
    expect 0 plot logged/short logged/long other/long odd --show loss,valid_loss,grad_norm,learning_rate,tokens_per_second
    said out 'training.png'
    checks=$((checks + 1))
    LC_ALL=C "$MEP" plot odd > out 2> err || wrong 'a locale without UTF-8 gets no picture'
    [ ! -s err ] || wrong 'gnuplot has something to say'
fi

# A script is usable alone: the one next to a picture, and those of the build, whose variables have defaults.
if command -v gnuplot > /dev/null; then
    mkdir alone
    cp results.dat results.gp alone
    (cd alone && gnuplot results.gp) > out 2> err || wrong 'results.gp does not draw results.png again'
    checks=$((checks + 1))
    cmp -s results.png alone/results.png || wrong 'results.gp draws another picture than mep plot'
    for kind in perplexity:results kernels:one training:training; do
        script=${kind%:*}
        cp "$scripts/$script.gp" alone
        cp "${kind#*:}.dat" "alone/$script.dat"
        checks=$((checks + 1))
        (cd alone && LC_ALL=C.UTF-8 gnuplot "$script.gp") > out 2> err || wrong "$script.gp does not work alone"
        [ -s "alone/$script.png" ] || wrong "$script.gp draws nothing"
        [ ! -s err ] || wrong "$script.gp makes gnuplot print something"
    done
fi

# Runs with settings, and what they have learned.
. "$tests/tiny.sh"
tiny_train run --steps 3 --position 'mep/learn=slopes' --valid text.valid --valid-every 1 --seed 7
tiny_train 'run 2' --steps 2 --position alibi
draw run --x-axis tokens --show loss,valid_loss
said run/training.gp "'run (mep/learn=slopes): step 3 of 3'"
said run/training.gp "x_heading = 'tokens trained on'"
said run/training.dat '192 '
draw run 'run 2'
said training.gp "['run, mep/learn=slopes', 'run 2, alibi', "
draw --model run --model 'run 2' --bias mep --out learned.png
said learned.gp "= ['run', 'run 2', 'mep', 'run, before training']"
said learned.gp 'head 1 of 2'
said learned.gp 'train_length = 16'
# Terms of layers: profiles, and the decay by a gate's bias of 5, d log sigmoid(5).
tiny_train terms --steps 1 --learning-rate 1e-9 --position 'nope/profiles:rank=2,extent=9/forget'
draw --model terms --term profiles --out profiles.png
said profiles.gp "= ['layer 1, profile 1', 'layer 1, profile 2']"
said profiles.gp "y_heading = 'profile P(d)"
draw --model terms --term forget --head 2 --max-distance 8 --out forget.png
said forget.gp "= ['layer 1, head 2']"
checks=$((checks + 1))
awk '/^8 / { found = $2 > -0.05373 && $2 < -0.05371 } END { exit !found }' forget.dat || wrong 'the decay of a gate'
refuse 2 'terms: its position encoding, nope/profiles:rank=2,extent=9/forget, is not a distance bias' plot --model terms
refuse 2 'run: its position encoding, mep/learn=slopes, has no profiles' plot --model run --term profiles
refuse 2 'terms: layer 9 has no profiles' plot --model terms --term profiles --layer 9
refuse 2 '--head: there is no profile 3 of 2' plot --model terms --term profiles --head 3
refuse 2 '--term profiles is drawn for one --model' plot --bias mep --term profiles
refuse 2 '--layer is for --term' plot --model run --layer 1
draw --bias 'fire:max=16;mep' --heads 2 --head 1 --max-distance 64 --query-position 16,40 --out positions.png
said positions.gp "= ['fire:max=16, query at 16', 'fire:max=16, query at 40', 'mep']"
said positions.gp 'styles[3] = [1, 2, 3]'
checks=$((checks + 1))
[ "$(grep -c '^64 ' positions.dat)" = 1 ] || wrong 'a distance beyond the position of the query is drawn'
draw --model run
said bias.gp "'head 2, before training'"
said bias.dat '64 '

# "before training" is the bias of the seed: the curve of mep for heads of the same size.
draw --bias 'mep/learn=slopes' --heads 2 --head 2 --max-distance 64 --out spec.png
awk '/before training/ { on = /head 2/ } on && /^64 / { print $2 }' bias.dat > before.txt
awk '/^64 / { print $2 }' spec.dat > spec.txt
checks=$((checks + 1))
[ -s spec.txt ] && cmp -s before.txt spec.txt || wrong 'the bias before training is not that of the spec'

refuse 2 'either a table of results, or runs, or --bias or --model' plot
refuse 2 'either a table of results, or runs, or --bias or --model' plot results.csv --bias mep
refuse 2 '"a.csv" is not the folder of a run' plot a.csv b.csv
refuse 2 '"b.csv" is not the folder of a run' plot run b.csv
refuse 2 '--limit cannot be used with runs' plot run --limit 5
refuse 2 '--train-length cannot be used with runs' plot run --train-length 5
refuse 2 '--show cannot be used with a table of results' plot results.csv --show loss
refuse 2 '--smooth cannot be used with --bias or --model' plot --bias mep --smooth 5
refuse 2 '--show: "los" is not one of loss, valid_loss, grad_norm' plot run --show los
refuse 2 '--show: loss is given twice' plot run --show loss,loss
refuse 2 '--x-axis: "seconds" is not one of steps, tokens' plot run --x-axis seconds
refuse 2 'has no train.json' plot logged/short --x-axis tokens
refuse 2 'has no validation losses' plot 'run 2' --show valid_loss
refuse 2 '--heads: the number of heads is that of --model' plot --model run --heads 2
refuse 2 'there is no head 3 of 2' plot --model run --head 3
mkdir -p empty begun study
cp run/train.json begun
echo '{}' > study/study.json
refuse 1 'empty is not a training run: it has no metrics.jsonl' plot empty
refuse 1 'begun: the run has no step yet' plot run begun
refuse 1 'study is a study; name its runs' plot study
refuse 1 'no-such' plot no-such/metrics.jsonl
: > begun/metrics.jsonl
refuse 1 'begun/metrics.jsonl: has no step yet' plot begun
(line 1 5; echo junk; line 2 5) > begun/metrics.jsonl
refuse 1 'begun/metrics.jsonl: line 2 is not valid JSON' plot begun
line 1 null > begun/metrics.jsonl
refuse 1 'no finite value' plot begun --show loss
tiny_train nope --steps 1 --position nope
refuse 2 'nope: its position encoding, nope, is not a distance bias' plot --model nope
refuse 2 '--heads: "0" is not an integer from 1 to 4096' plot --bias mep --heads 0
refuse 2 '--query-position: no bias depends on the position' plot --bias mep --query-position 8
refuse 2 'there is no head 9 of 8' plot --bias mep --head 1,9
refuse 2 '--head cannot be used with a table of results' plot results.csv --head 1
refuse 1 'no-such.csv' plot no-such.csv
refuse 2 'must end in .png' plot results.csv --out results.pdf
refuse 2 'nosuchkernel' plot --bias nosuchkernel

bad() { # bad TEXT CONTENT: a table that is refused
    printf "$2" > bad.csv
    refuse 1 "$1" plot bad.csv
}
bad 'bad.csv: an empty file' ''
bad 'no column "encoding"' 'a,b\n1,2\n'
bad 'no column "perplexity"' 'encoding,length\nmep,2\n'
bad 'has no rows' 'encoding,length,perplexity\n'
bad 'line 3 has 2 cells where the heading has 3' 'encoding,length,perplexity\nmep,512,20\nmep,512\n'
bad '"x" is not a number' 'encoding,length,perplexity\nmep,512,x\n'
bad 'the length is not from 1' 'encoding,length,perplexity\nmep,0,20\n'
bad 'no finite value' 'encoding,length,perplexity\nmep,512,inf\n'
bad 'no finite value of at most 10000' 'encoding,length,perplexity\nmep,512,20000\n'
bad 'zero byte' 'encoding,length\0,perplexity\n'
finish
