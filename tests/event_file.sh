#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tensorboard package reads our event files, and of a resumed run each step once. The interpreter is $PYTHON, or else
# the first one that has tensorboard; without one the test is skipped. Usage: event_file.sh TEST_EVENT_FILE
set -eu
for python in ${PYTHON:-python3 /usr/bin/python3}; do
    "$python" -c 'import tensorboard' 2> /dev/null || continue
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    "$1" "$folder"
    PYTHONDONTWRITEBYTECODE=1 "$python" "$(dirname "$0")/event_file.py" "$folder"
    exit 0
done
echo 'skipped: no Python 3 with tensorboard (PYTHON=FILE names an interpreter)'
exit 77
