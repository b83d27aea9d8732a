#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The frame of the command line: help, exit codes, wrong words. Usage: cli_frame.sh PROGRAM
. "$(dirname "$0")/cli.sh"

expect 0 --help
said out 'Commands:'
cp out help.txt
expect 0 help
cmp -s out help.txt || wrong 'mep help differs from mep --help'
expect 2
refuse 2 'there is no command "trian"' trian
refuse 2 'did you mean version?' verson
refuse 2 'there is no command "nothing"' help nothing

# Every listed command has a help page, which is the same for both commands and has at most 100 columns, and refuses an unknown option.
commands=$(awk '/^  / { print $1 }' help.txt)
[ -n "$commands" ] || wrong 'no commands are listed'
for command in $commands; do
    expect 0 "$command" --help
    said out "mep $command"
    said out '--help'
    [ "$(sed '/^  -h, --help/q' out | wc -L)" -le 100 ] || wrong "mep $command --help is wider than 100 columns"
    cp out page.txt
    expect 0 help "$command"
    cmp -s out page.txt || wrong "mep help $command differs from mep $command --help"
    refuse 2 "mep $command: there is no option --no-such-option" "$command" --no-such-option
    refuse 2 "see mep $command --help" "$command" -Z
done

# An empty value, such as that of an unset variable, is refused by name if a name is needed.
for option in train:--data train:--out train:--resume train:--valid train:--init train:--position train:--split \
    eval:--model eval:--data eval:--position generate:--model generate:--prompt-file generate:--tokenizer compare:--out \
    prepare:--out prepare:--tokenizer plot:--out bias:--position bias:--params import:--position export:--position; do
    refuse 2 "${option#*:}: an empty value; it needs" "${option%%:*}" "${option#*:}" ''
    refuse 2 "${option#*:}: an empty value; it needs" "${option%%:*}" "${option#*:}="
done
for command in prepare import export info plot generate train 'tokenizer encode'; do
    # shellcheck disable=SC2086
    refuse 2 'an argument is empty' $command ''
done

expect 0 version
said out 'CPU level'
expect 0 --version
expect 0 version --json
said out '"version": "'
refuse 2 'takes no value' version --json=1
refuse 2 'did you mean --json?' version --jason
refuse 2 'takes no argument "x"' version x
at_level c expect 0 version
said out 'CPU level         c '
case $(uname -m) in aarch64) foreign=avx2 own='c or neon' ;; *) foreign=neon own='c, avx2, avx512, avx512_bf16 or amx_bf16' ;; esac
at_level $foreign refuse 2 "MEP_CPU=$foreign is not a CPU level of this architecture; use $own" version
# amx_bf16 is not lowered to the machine's level: where it is missing, the reason is printed.
if [ "$(uname -m)" = x86_64 ]; then
    if MEP_CPU=amx_bf16 "$MEP" version > /dev/null 2>&1; then
        at_level amx_bf16 expect 0 version
        said out 'CPU level         amx_bf16 '
    else
        at_level amx_bf16 refuse 2 'MEP_CPU=amx_bf16: the ' version
        said err 'leave MEP_CPU out, or use a lower level'
    fi
fi

if [ -w /dev/full ]; then
    checks=$((checks + 1))
    "$MEP" version > /dev/full 2> err
    [ $? = 1 ] || wrong 'a full disk is not noticed'
    said err 'cannot write to the standard output'
fi
finish
