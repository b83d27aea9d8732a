#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep plot: pictures from tables and from biases, with and without gnuplot; wrong inputs. Usage: cli_plot.sh PROGRAM
. "$(dirname "$0")/cli.sh"

cat > results.csv << 'END'
encoding,seed,length,perplexity,stderr,tokens
mep,1,512,20.0,0.1,1000
mep,2,512,22.0,0.1,1000
mep,1,1024,19.0,0.1,1000
"t5:buckets=64,max=256",1,512,20.5,0.1,1000
"t5:buckets=64,max=256",1,1024,inf,0.1,1000
END

# Without gnuplot the data and the script stay.
PATH=/nonexistent "$MEP" plot results.csv --train-length 512 > out 2> err
[ $? = 1 ] || wrong 'a missing gnuplot is not noticed'
said err 'gnuplot-nox'
said results.dat '512 21 1.41421'
said results.dat '1024 19 0'
said results.dat "'t5:buckets=64,max=256'"
said results.gp 'training length 512'
said results.gp 'set logscale x 2'
said results.gp 'perplexity (bars: standard deviation over seeds)'
[ ! -e results.png ] || wrong 'a picture without gnuplot'

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
    # Values that differ by less than the digits of a script.
    printf 'encoding,length,perplexity\nmep,16,306.240001\nmep,32,306.240002\n' > alike.csv
    expect 0 plot alike.csv
    # Many long names: below the curves, and the picture is higher, so that the curves keep their room.
    expect 0 plot --bias 'mep;alibi;exp:c=0.5 + t5:buckets=64,max=256' --heads 8 --head 1,2,3,4,5,6 --out many.png
    said many.gp 'size 1200,1230'
    said many.gp 'maxcols 1'
fi

refuse 2 'either a table of results or --bias' plot
refuse 2 'either a table of results or --bias' plot results.csv --bias mep
refuse 2 'one argument too many: "b.csv"' plot a.csv b.csv
refuse 2 '--heads: "0" is not a whole number from 1 to 4096' plot --bias mep --heads 0
refuse 2 'there is no head 9 of 8' plot --bias mep --head 1,9
refuse 2 '--head goes with --bias' plot results.csv --head 1
refuse 1 'no-such.csv' plot no-such.csv
refuse 1 'ends in .png' plot results.csv --out results.pdf
refuse 1 'nosuchkernel' plot --bias nosuchkernel

bad() { # bad TEXT CONTENT: a table that is refused
    printf "$2" > bad.csv
    refuse 1 "$1" plot bad.csv
}
bad 'bad.csv: an empty file' ''
bad 'no column "encoding"' 'a,b\n1,2\n'
bad 'no column "perplexity"' 'encoding,length\nmep,2\n'
bad 'has no rows' 'encoding,length,perplexity\n'
bad 'line 3 has 2 cells where the heading has 3' 'encoding,length,perplexity\nmep,512,20\nmep,512\n'
bad '"x" is no number' 'encoding,length,perplexity\nmep,512,x\n'
bad 'the length is not from 1' 'encoding,length,perplexity\nmep,0,20\n'
bad 'no finite value' 'encoding,length,perplexity\nmep,512,inf\n'
bad 'no finite value of at most 10000' 'encoding,length,perplexity\nmep,512,20000\n'
bad 'zero byte' 'encoding,length\0,perplexity\n'
finish
