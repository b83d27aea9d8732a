#!/bin/sh
# SPDX-License-Identifier: MIT
#
# scripts/setup.sh on a machine that has nothing and no apt-get: it names what is missing, by Fedora's names where there
# is dnf, and fails; what can be done without does not fail. Usage: house_setup.sh SETUP
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

says 1 'missing (names of Debian packages): cmake ninja-build gcc pkg-config libjansson-dev libarchive-dev' build
says 2 'build, demo, test or clang, not "x"' x
for tool in dnf cmake ninja gcc; do printf '#!/bin/sh\n' > "$folder/bin/$tool" && chmod +x "$folder/bin/$tool"; done
says 1 'dnf install pkgconf-pkg-config jansson-devel libarchive-devel zlib-devel pcre2-devel utf8proc-devel, then' build
says 1 'libomp-devel' clang
printf '#!/bin/sh\n' > "$folder/bin/pkg-config" && chmod +x "$folder/bin/pkg-config" # has every module
says 0 'dnf install gnuplot dejavu-sans-fonts, then' demo
echo '5 machines'
