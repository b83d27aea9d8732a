#!/bin/sh
# SPDX-License-Identifier: MIT
#
# scripts/setup.sh on a machine that has nothing and no apt-get: it names what is missing, by Fedora's names where there
# is dnf, and fails; what can be done without does not fail. A clang in CC needs its OpenMP library. apt-get is never
# allowed to remove a package. Usage: house_setup.sh SETUP
set -eu
setup=$1 sh=$(command -v sh)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin"

# says CODE TEXT WHAT: the exit code of setup.sh WHAT, and a text in what it says
says() {
    code=0
    (PATH=$folder/bin && "$sh" "$setup" "$3") > "$folder/out" 2>&1 || code=$?
    [ "$code" = "$1" ] || { echo "setup.sh $3: exit code $code, not $1"; cat "$folder/out"; exit 1; }
    grep -qF -e "$2" "$folder/out" || { echo "setup.sh $3 does not say \"$2\":"; cat "$folder/out"; exit 1; }
}

# tool NAME [COMMAND]: the machine has it
tool() {
    printf '#!/bin/sh\n%s\n' "${2:-}" > "$folder/bin/$1"
    chmod +x "$folder/bin/$1"
}
unset CC CLANG

says 1 'missing (names of Debian packages): cmake ninja-build gcc pkg-config libjansson-dev libarchive-dev' build
says 2 'build, demo, test or clang, not "x"' x
for name in dnf cmake ninja gcc; do tool $name; done
says 1 'dnf install pkgconf-pkg-config jansson-devel libarchive-devel zlib-devel pcre2-devel utf8proc-devel, then' build
says 1 'libomp-devel' clang
tool pkg-config # has every module
says 0 'dnf install gnuplot dejavu-sans-fonts, then' demo
tool clang-19 'exit 1' # has no OpenMP
CC=$folder/bin/clang-19 says 1 'missing: libomp-19-devel; as root: dnf install libomp-19-devel' build
CC=clang-19 CLANG=clang-19 says 1 'dnf install libomp-19-devel, then' clang
# shellcheck disable=SC2016
tool apt-get '[ "$1" = update ] || { echo "apt-get $*" >&2; exit 100; }'
tool id 'echo 0'
ln -s "$(command -v env)" "$folder/bin/env"
CC=clang-19 says 1 '--no-remove libomp-19-dev' build
CC=clang-19 says 1 'not installed: libomp-19-dev' build
tool clang-19
CC=clang-19 PATH=$folder/bin "$sh" "$setup" build > "$folder/out" 2>&1
[ ! -s "$folder/out" ] || { echo "setup.sh build is not silent where nothing is missing:"; cat "$folder/out"; exit 1; }
echo '10 machines'
