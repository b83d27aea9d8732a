#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the libraries that libmep uses as static libraries for a wheel, from the sources of a Debian suite: zlib, liblzma
# and zstd (for libarchive), libarchive with the formats that libmep reads, jansson, PCRE2 and utf8proc. Their licences are
# copied to LICENSES. Runs in the root of scripts/build_wheel.sh.
# Usage: libraries.sh SUITE PREFIX LICENSES
set -eu
suite=$1
prefix=$2
licenses=$3
work=/tmp/libraries # always the same, for ccache
rm -rf "$work"
export PKG_CONFIG_LIBDIR="$prefix/lib/pkgconfig"
mkdir -p "$work" "$licenses"

# unpack PACKAGE LICENSE: the Debian source of PACKAGE, unpacked as the current folder; keep its licence.
unpack() {
    mkdir "$work/$1"
    cd "$work/$1"
    apt-get source -q "$1/$suite" > log 2>&1 || { cat log; exit 1; }
    cd "$(find . -mindepth 1 -maxdepth 1 -type d)"
    echo "== $(basename "$PWD")"
    cp "$2" "$licenses/$1.txt"
}

# build FOLDER OPTION ...: build and install with CMake.
build() {
    folder=$1
    shift
    cmake -S "$folder" -B mep-build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" \
        -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_POLICY_VERSION_MINIMUM=3.5 \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF "$@" > log 2>&1 || { cat log; exit 1; }
    cmake --build mep-build -j "${JOBS:-$(nproc)}" > log 2>&1 || { cat log; exit 1; }
    cmake --install mep-build > log 2>&1 || { cat log; exit 1; }
}

unpack zlib debian/copyright
{ CFLAGS="-O3 -fPIC" ./configure --static --prefix="$prefix" && make install; } > log 2>&1 || { cat log; exit 1; }
unpack xz-utils COPYING
build . -DENABLE_NLS=OFF -DBUILD_TESTING=OFF
unpack libzstd LICENSE
build build/cmake -DZSTD_BUILD_PROGRAMS=OFF -DZSTD_BUILD_SHARED=OFF -DZSTD_BUILD_TESTS=OFF -DZSTD_LEGACY_SUPPORT=OFF
unpack libarchive COPYING
build . -DENABLE_ZLIB=ON -DENABLE_LZMA=ON -DENABLE_ZSTD=ON -DENABLE_ACL=OFF -DENABLE_BZip2=OFF -DENABLE_CNG=OFF \
    -DENABLE_EXPAT=OFF -DENABLE_ICONV=OFF -DENABLE_LIBB2=OFF -DENABLE_LIBXML2=OFF -DENABLE_LZ4=OFF -DENABLE_LZO=OFF \
    -DENABLE_NETTLE=OFF -DENABLE_OPENSSL=OFF -DENABLE_PCREPOSIX=OFF -DENABLE_XATTR=OFF -DENABLE_CAT=OFF -DENABLE_CPIO=OFF \
    -DENABLE_TAR=OFF -DENABLE_TEST=OFF -DENABLE_WERROR=OFF
rm -f "$prefix"/lib/libarchive.so* # it always builds both
unpack jansson LICENSE
build . -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF
unpack pcre2 LICENCE
build . -DPCRE2_SUPPORT_JIT=ON -DPCRE2_BUILD_TESTS=OFF -DPCRE2_BUILD_PCRE2GREP=OFF -DPCRE2_STATIC_PIC=ON
unpack utf8proc LICENSE.md
build .
