#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs a wheel or the sources of the Python package (build_wheel.sh) into an empty virtual environment, with NumPy alone,
# and runs its tests there. WHERE is an interpreter of this machine, python3.12 for example, or debian:SUITE for a new Debian
# root (debian_root.sh). Sources are built with pip's CMake and Ninja; in a Debian root there is only a C compiler, and then the
# tests are those that need no other library. Exit code 77: not possible here, or no network.
# Usage: test_wheel.sh FILE [WHERE ...]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
. "$source/scripts/debian_root.sh"

# in_python FILE PYTHON: install and test.
in_python() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    "$2" -m venv "$folder/venv" || skip "$2 cannot make a virtual environment"
    python=$folder/venv/bin/python
    "$python" -m pip download -q --no-deps -d "$folder" numpy > "$folder/log" 2>&1 || { cat "$folder/log"; skip 'pip has no network'; }
    "$python" -m pip install -q --find-links "$folder" "$1" > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
    "$python" -m pip list --format freeze | tr '\n' ' '
    modules=$(cd "$source/python/tests" && ls test_*.py | sed 's/\.py$//' | grep -v -e '^test_torch' -e '^test_transformers' -e '^test_lm_eval')
    [ -z "${MEP_MISSING:-}" ] || modules='test_package test_attention test_arguments test_library'
    cd "$source/python/tests" # not the repository, whose package is another one
    echo
    # shellcheck disable=SC2086
    env -u LIBMEP_LIBRARY -u MEP_PROGRAM -u PYTHONPATH PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest $modules
}

# in_debian FILE SUITE
in_debian() {
    name=$(basename "$1")
    copy_root "$2" "work-$2-wheel"
    cp "$1" "$root/$name"
    packages=python3-venv
    missing=
    case $name in *.tar.gz) packages="$packages gcc libc6-dev" missing='jansson, libarchive, zlib, PCRE2, utf8proc' ;; esac
    run_in_root "$2" "
        apt-get update -q > /dev/null
        install ccache $packages
        export MEP_MISSING='$missing'
        sh /mep/scripts/test_wheel.sh /$name python3" || { echo "$1: failed in $2; its root is kept in $root" >&2; exit 1; }
    rm -rf "$root"
}

file=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- python3
for where in "$@"; do
    echo "== $(basename "$file") in $where"
    case $where in
    debian:*) (check_machine && in_debian "$file" "${where#debian:}") || exit ;;
    *) (in_python "$file" "$where") || exit ;;
    esac
done
