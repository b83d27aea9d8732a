#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tests of the Python package (python/tests) and of exported folders, with this library and program. PART is
#   compile        every Python file of the repository, and of an exported model, compiles: needs only Python 3
#   numpy          all tests that need no more than NumPy
#   torch          libmep.torch
#   transformers   what `mep export` writes, and libmep.transformers, in transformers on torch
#   lm_eval        libmep.lm_eval
# and without PART all of them run, as far as their modules are there. The interpreter is $PYTHON, or else the first one
# that has what PART needs; without one the tests are skipped.
# Usage: python.sh LIBMEP.so PROGRAM REPOSITORY [PART], all paths absolute
set -eu
tests=$3/python/tests
export LIBMEP_LIBRARY="$1" MEP_PROGRAM="$2" PYTHONPATH="$3/python" PYTHONDONTWRITEBYTECODE=1
cd "$tests" # not a build folder, whose libmep.so Python would take for a module
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

compile='import sys
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        compile(file.read(), path, "exec")'

# run_tests PYTHON PATTERN ...: the tests of the files that match
run_tests() {
    python=$1
    shift
    code=0
    output=$("$python" -m unittest "$@" 2>&1) || code=$?
    echo "$output"
    case $output in *"Ran 0 tests"*) echo "no tests were found in $tests"; exit 1 ;; esac
    exit $code
}

modules=$(ls test_*.py | sed 's/\.py$//')
case ${4:-} in
compile) needs='sys' ;;
numpy) needs='numpy' modules=$(echo "$modules" | grep -v -e '^test_torch' -e '^test_transformers' -e '^test_lm_eval') ;;
torch) needs='numpy, torch' modules=$(echo "$modules" | grep '^test_torch') ;;
transformers) needs='numpy, torch, transformers' modules=$(echo "$modules" | grep '^test_transformers') ;;
lm_eval) needs='numpy, lm_eval' modules=test_lm_eval ;;
'') needs='numpy' ;;
*) echo "no part \"$4\""; exit 2 ;;
esac
for python in ${PYTHON:-python3 /usr/bin/python3}; do
    "$python" -c "import $needs" 2> /dev/null || continue
    if [ "${4:-}" = compile ]; then
        exported=$(mktemp -d)
        trap 'rm -rf "$exported"' EXIT
        "$2" export "$3/tests/golden/gpt_mep" "$exported/model" --quiet
        [ -s "$exported/model/modeling_mep.py" ] || { echo 'mep export wrote no modeling_mep.py'; exit 1; }
        find "$3/python" "$3/src" "$3/scripts" "$3/tests" "$exported" -name '*.py' \
            -exec "$python" -W error -c "$compile" {} +
        exit 0
    fi
    "$python" -c "import sys, $needs
print('Python', *(f'{m} {sys.modules[m].__version__}' for m in '$needs'.split(', ')), sys.version.split()[0])"
    run_tests "$python" $modules
done
echo "skipped: no Python 3 that has $needs (PYTHON=FILE names an interpreter)"
exit 77
