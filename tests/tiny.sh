# SPDX-License-Identifier: MIT
#
# A small text, its datasets and a tiny model, for the tests of commands that train or use models. Sourced after cli.sh.
TINY='--num-hidden-layers 1 --hidden-size 16 --num-attention-heads 2 --length 16 --batch-size 4 --dtype float32'
export OMP_NUM_THREADS=1

i=0
while [ $i -lt 400 ]; do
    echo "Line $i: the quick brown fox jumps over the lazy dog."
    i=$((i + 1))
done > text.txt
expect 0 prepare --out text --valid 0.2 text.txt

# unless_given DEFAULTS ARGUMENT ...: print the options and values of DEFAULTS that the arguments do not have.
unless_given() {
    defaults=$1
    shift
    given=" $* "
    # shellcheck disable=SC2086
    set -- $defaults
    while [ $# -gt 1 ]; do
        case $given in *" $1 "*) ;; *) printf '%s %s ' "$1" "$2" ;; esac
        shift 2
    done
}

# tiny_train RUN ARGUMENT ...: train on the text into RUN.
tiny_train() {
    run=$1
    shift
    # shellcheck disable=SC2046
    expect 0 train --out "$run" $(unless_given "--data text.train $TINY" "$@") "$@"
}
