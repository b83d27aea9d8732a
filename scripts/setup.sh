#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs the missing Debian packages that the build needs, and prints nothing if there are none. On other systems it
# prints the names of the missing packages, on Fedora its own names. If CC is clang, its OpenMP library is needed too.
# Usage: setup.sh [build | demo | test | clang]
set -eu

wanted='cmake:cmake ninja-build:ninja gcc:gcc pkg-config:pkg-config
libjansson-dev:@jansson libarchive-dev:@libarchive zlib1g-dev:@zlib
libpcre2-dev:@libpcre2-8 libutf8proc-dev:@libutf8proc'
compiler=${CC:-}
case ${1:-build} in
build) ;;
demo) wanted="$wanted gnuplot-nox:gnuplot fonts-dejavu-core:fonts-dejavu-core" ;;
test) wanted="$wanted libcmocka-dev:@cmocka g++:g++ gnuplot-nox:gnuplot fonts-dejavu-core:fonts-dejavu-core
python3-numpy:/usr/lib/python3/dist-packages/numpy libopenmpi-dev:@ompi-c openmpi-bin:mpirun iproute2:ip
locales:/usr/share/i18n/locales/POSIX" ;;
clang) wanted="$wanted libcmocka-dev:@cmocka" compiler=${CLANG:-clang} ;;
*) echo "setup.sh: build, demo, test or clang, not \"$1\"" >&2; exit 2 ;;
esac
compiler=${compiler%% *} # without options
name=${compiler##*/}
case $name in clang*) wanted="$wanted $name:$compiler libomp${name#clang}-dev:=$compiler" ;; esac

# has PART: succeeds if there is the program, the @module of pkg-config, the file, the Debian package, or for =COMPILER its
# OpenMP library.
has() {
    case $1 in
    =*) echo 'int main(void) { return 0; }' | "${1#=}" -fopenmp -include omp.h -x c -o /dev/null - 2> /dev/null ;;
    @*) pkg-config --exists "${1#@}" 2> /dev/null ;;
    /*) [ -e "$1" ] ;;
    *) command -v "$1" > /dev/null || dpkg -s "$1" > /dev/null 2>&1 ;;
    esac
}

# fedora PACKAGE: print its name in Fedora.
fedora() {
    case $1 in
    pkg-config) echo pkgconf-pkg-config ;;
    g++) echo gcc-c++ ;;
    gnuplot-nox) echo gnuplot ;;
    fonts-dejavu-core) echo dejavu-sans-fonts ;;
    libopenmpi-dev) echo openmpi-devel ;;
    openmpi-bin) echo openmpi ;;
    iproute2) echo iproute ;;
    zlib1g-dev) echo zlib-devel ;;
    locales) echo glibc-locale-source ;;
    libpcre2-dev | libutf8proc-dev | libjansson-dev) name=${1#lib} && echo "${name%-dev}-devel" ;;
    *-dev) echo "${1%-dev}-devel" ;;
    *) echo "$1" ;;
    esac
}

missing=
for entry in $wanted; do
    has "${entry#*:}" || missing="$missing ${entry%%:*}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
    if command -v dnf > /dev/null; then
        names=
        for package in $missing; do names="$names $(fedora "$package")"; done
        echo "missing:$names; as root: dnf install$names, then run make again" >&2
    else
        echo "missing (names of Debian packages):$missing; install them, then run make again" >&2
    fi
    # the build works without gnuplot, fonts, NumPy, MPI, ip and locales
    for package in $missing; do
        case $package in gnuplot-nox | fonts-dejavu-core | python3-numpy | libopenmpi-dev | openmpi-bin | iproute2 | locales) ;; *) exit 1 ;; esac
    done
    exit 0
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || { echo "missing:$missing; as root: apt-get install$missing" >&2; exit 1; }
    as_root=sudo
fi
echo "installing$missing"
# apt-get must not remove anything: Debian's OpenMP libraries for two versions of clang conflict.
# shellcheck disable=SC2086
install_packages() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove $missing > /dev/null
}
install_packages 2> /dev/null || { $as_root apt-get update -q > /dev/null && install_packages; } ||
    { echo "not installed:$missing; see what apt-get install$missing would change" >&2; exit 1; }
