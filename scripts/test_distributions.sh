#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds and tests this tree in new Debian roots, as a new user does. A job SUITE:COMPILER runs `make`, `make demo STEPS=60`
# and `make test` in a copy of a minimal root that has only `make`, clang if it is the compiler, and ccache for speed. A job
# SUITE:arm64 builds the library and the program for 64-bit Arm with a cross compiler and runs the main tests under QEMU.
# debootstrap makes the roots from the mirror of this machine's apt; they are kept in build/roots with the packages and the
# cache of the compiler. Mounts and processes are in separate namespaces and end with the job. Exit code 77: this machine
# cannot run the jobs. Usage: test_distributions.sh [SUITE:COMPILER ...]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
cache=$source/build/roots

skip() {
    echo "skipped: $*" >&2
    exit 77
}

# The mirror of the main archive, and the settings of apt to reach it.
mirror() {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian \(.*\)$/\1/p' | head -n 1
}
apt_settings() {
    apt-config dump Acquire | grep -E '^Acquire::(http|https|ftp|Retries|Check-)'
}

# make_root SUITE: make $cache/SUITE.
make_root() {
    [ -d "$cache/$1" ] && return
    echo "== $1: making a root from $(mirror)"
    rm -rf "$cache/$1.new"
    debootstrap --variant=minbase --include=ca-certificates "$1" "$cache/$1.new" "$(mirror)" > "$cache/$1.log" 2>&1 ||
        { rm -rf "$cache/$1.new"; skip "debootstrap of $1 failed (build/roots/$1.log)"; }
    mv "$cache/$1.new" "$cache/$1"
}

# Runs in the namespaces of the job, in which its mounts are visible only to itself.
enter() {
    root=$1 suite=$2
    shift 2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    for name in null zero full random urandom tty; do mount --bind "/dev/$name" "$root/dev/$name"; done
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount --bind "$cache/packages-$suite" "$root/var/cache/apt/archives"
    mount --bind "$cache/ccache" "$root/ccache"
    # A root of the namespace, not a chroot: tests/hosts.sh needs it to make machines
    cd "$root"
    pivot_root . mnt
    umount -l mnt
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb OMP_WAIT_POLICY=passive \
        CCACHE_DIR=/ccache CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache sh -euc "$1"
}

# commands COMPILER: print the commands of a job.
commands() {
    echo 'export DEBIAN_FRONTEND=noninteractive
        install() { apt-get install -y -q --no-install-recommends "$@" > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }; }
        cd /mep'
    case $1 in
    arm64)
        echo 'dpkg --add-architecture arm64
        apt-get update -q > /dev/null
        install make ccache cmake ninja-build pkg-config gcc-aarch64-linux-gnu qemu-user-static libgomp1:arm64 \
            libjansson-dev:arm64 libarchive-dev:arm64 zlib1g-dev:arm64 libpcre2-dev:arm64 libutf8proc-dev:arm64 libcmocka-dev:arm64
        cmake --preset arm64 > /dev/null
        cmake --build build/arm64
        ctest --test-dir build/arm64 --output-on-failure -j 2 \
            -R "^test_(base|bias.*|attention|attention_golden|nn|product(_c)?|decode_bits|model(_c)?|model_golden(_c)?)$"'
        ;;
    *)
        echo 'apt-get update -q > /dev/null
        install make ccache'
        case $1 in clang*) echo "export CLANG=$1 CC=$1 && sh scripts/setup.sh clang" ;; esac
        echo 'make
        make demo STEPS=60
        make test'
        ;;
    esac
}

# job SUITE COMPILER
job() {
    make_root "$1"
    root=$cache/work-$1-$2
    rm -rf "$root"
    mkdir -p "$cache/packages-$1/partial" "$cache/ccache"
    cp -a "$cache/$1" "$root"
    mkdir "$root/ccache" "$root/mep"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    apt_settings > "$root/etc/apt/apt.conf.d/90host" || true
    echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/90root" # a temporary root needs no fsync
    tar -C "$source" --exclude=./build --exclude=./runs --exclude=./data --exclude=./.git -cf - . | tar -C "$root/mep" -xf -
    echo "== $1, $2"
    unshare --mount --pid --ipc --fork --kill-child "$0" --enter "$root" "$1" "$(commands "$2")" < /dev/null &
    trap 'kill -KILL $!; exit 1' INT TERM HUP # unshare ignores the signals that can be ignored
    wait $! || { echo "$1, $2: failed; its root is kept in $root" >&2; exit 1; }
    rm -rf "$root"
}

if [ "${1:-}" = --enter ]; then
    shift
    enter "$@"
fi
[ "$(id -u)" = 0 ] || skip 'chroot and mount need the user root'
for tool in debootstrap unshare apt-get; do command -v $tool > /dev/null || skip "there is no $tool"; done
unshare --mount --pid --ipc --fork true 2> /dev/null || skip 'this machine does not allow namespaces'
[ -n "$(mirror)" ] || skip "the apt of this machine has no mirror of Debian"
mkdir -p "$cache"
[ $# -gt 0 ] || set -- trixie:gcc trixie:clang bookworm:gcc bookworm:clang
for pair in "$@"; do job "${pair%%:*}" "${pair#*:}"; done
