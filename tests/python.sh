#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tests of the Python package (python/tests) with this library and program. The interpreter is $PYTHON, or else the
# first one that has NumPy; without one the tests are skipped, and without torch those of libmep.torch.
# Usage: python.sh LIBMEP.so PROGRAM REPOSITORY, all absolute
set -eu
tests=$3/python/tests
export LIBMEP_LIBRARY="$1" MEP_PROGRAM="$2" PYTHONPATH="$3/python" PYTHONDONTWRITEBYTECODE=1
cd "$tests" # not a build folder, whose libmep.so Python would take for a module
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

for python in ${PYTHON:-python3 /usr/bin/python3}; do
    "$python" -c 'import numpy' 2> /dev/null || continue
    "$python" -c 'import sys, numpy; print("Python", sys.version.split()[0], "NumPy", numpy.__version__)'
    "$python" -c 'import torch; print("torch", torch.__version__)' 2> /dev/null || echo 'no torch: its part is skipped'
    code=0
    output=$("$python" -m unittest discover -s "$tests" 2>&1) || code=$?
    echo "$output"
    case $output in *"Ran 0 tests"*) echo "no tests were found in $tests"; exit 1 ;; esac
    exit $code
done
[ -z "${PYTHON:-}" ] || { echo "$PYTHON has no NumPy"; exit 1; }
echo 'skipped: no Python 3 with NumPy (Debian package python3-numpy)'
exit 77
