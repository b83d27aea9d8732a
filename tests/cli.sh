# SPDX-License-Identifier: MIT
#
# Helpers of cli_*.sh, which test the program from outside. Sourced with the path of the program as $1. Each test runs in
# its own folder, which is removed at the end.
set -u
MEP=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
# cpu_level FORM: the level in force (\1) or that of the machine without MEP_CPU (\2).
cpu_level() { "$MEP" version 2> /dev/null | sed -n "s/^CPU level *\([a-z0-9_]*\) (the machine has \([a-z0-9_]*\).*/$1/p"; }
# As in level.c.
if [ -n "${MEP_CPU:-}" ]; then
    [ "$MEP_CPU" = "$(cpu_level '\1')" ] || { echo "skipped: this machine has no CPU level $MEP_CPU" && exit 77; }
    if [ -n "${MEP_TEST_OTHER_LEVEL:-}" ] && [ "$MEP_CPU" = "$(cpu_level '\2')" ]; then
        echo "skipped: $MEP_CPU is the CPU level of this machine without MEP_CPU"
        exit 77
    fi
fi
checks=0
failures=0

wrong() {
    failures=$((failures + 1))
    echo "FAILED: $*"
    sed 's/^/    stdout: /' out
    sed 's/^/    stderr: /' err
}

# expect CODE ARGUMENT ...: the program ends with this exit code; its output is in the files out and err.
expect() {
    code=$1
    shift
    checks=$((checks + 1))
    "$MEP" "$@" > out 2> err < /dev/null
    got=$?
    [ "$got" = "$code" ] || wrong "mep $*: exit code $got, not $code"
}

# said FILE TEXT: the file (out or err) of the last call has this text.
said() {
    checks=$((checks + 1))
    grep -qF -e "$2" "$1" || wrong "no \"$2\" in $1"
}

# refuse CODE TEXT ARGUMENT ...: the program fails with one line on stderr that has the text, and prints nothing on stdout.
refuse() {
    code=$1
    text=$2
    shift 2
    expect "$code" "$@"
    said err "$text"
    [ "$(wc -l < err)" = 1 ] || wrong "mep $*: not one line on stderr"
    [ ! -s out ] || wrong "mep $*: output on stdout"
}

# at_level LEVEL COMMAND ...: the command with MEP_CPU set to this CPU level.
at_level() {
    kept_level=${MEP_CPU:-}
    export MEP_CPU="$1"
    shift
    "$@"
    export MEP_CPU="$kept_level"
}

finish() {
    echo "$checks checks, $failures failures"
    [ "$failures" = 0 ] && [ "$checks" -gt 0 ]
}
