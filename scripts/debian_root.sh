# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# New Debian roots for scripts that build and test in them (test_distributions.sh, build_wheel.sh, test_wheel.sh): a shell
# file to source, with $source set to the repository. debootstrap makes the roots from the mirror of this machine's apt; they
# are kept in build/roots with the packages and the cache of the compiler. Mounts and processes are in separate namespaces
# and end with the job. Needs the user root. Exit code 77: this machine cannot run the jobs.
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

# Exits with code 77 if this machine cannot make roots.
check_machine() {
    [ "$(id -u)" = 0 ] || skip 'chroot and mount need the user root'
    for tool in debootstrap unshare apt-get; do command -v $tool > /dev/null || skip "there is no $tool"; done
    unshare --mount --pid --ipc --fork true 2> /dev/null || skip 'this machine does not allow namespaces'
    [ -n "$(mirror)" ] || skip "the apt of this machine has no mirror of Debian"
    mkdir -p "$cache"
}

# make_root SUITE: make $cache/SUITE.
make_root() {
    [ -d "$cache/$1" ] && return
    echo "== $1: making a root from $(mirror)"
    rm -rf "$cache/$1.new"
    # A release that is newer than this machine's debootstrap is made as unstable is.
    recipe=/usr/share/debootstrap/scripts/$1
    [ -e "$recipe" ] || recipe=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase --include=ca-certificates "$1" "$cache/$1.new" "$(mirror)" "$recipe" > "$cache/$1.log" 2>&1 ||
        { rm -rf "$cache/$1.new"; skip "debootstrap of $1 failed (build/roots/$1.log)"; }
    mv "$cache/$1.new" "$cache/$1"
}

# copy_root SUITE NAME: make $cache/NAME, a copy of the root with this tree in /mep, and set $root.
copy_root() {
    make_root "$1"
    root=$cache/$2
    rm -rf "$root"
    mkdir -p "$cache/packages-$1/partial" "$cache/ccache"
    cp -a "$cache/$1" "$root"
    mkdir "$root/ccache" "$root/mep"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    # The certificates of this machine: those of its network may be among them.
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    apt_settings > "$root/etc/apt/apt.conf.d/90host" || true
    echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/90root" # a temporary root needs no fsync
    tar -C "$source" --exclude=./build --exclude=./runs --exclude=./data --exclude=./.git -cf - . | tar -C "$root/mep" -xf -
}

# run_in_root SUITE COMMANDS: run the commands in $root, in namespaces; returns their exit code.
run_in_root() {
    unshare --mount --pid --ipc --fork --kill-child sh -euc '
        source=$1 cache=$2 root=$3
        . "$source/scripts/debian_root.sh"
        enter "$4" "$5"' sh "$source" "$cache" "$root" "$1" "$2" < /dev/null &
    trap 'kill -KILL $!; exit 1' INT TERM HUP # unshare ignores the signals that can be ignored
    wait $!
}

# enter SUITE COMMANDS: in the namespaces of the job, in which its mounts are visible only to itself.
enter() {
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    for name in null zero full random urandom tty; do mount --bind "/dev/$name" "$root/dev/$name"; done
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount --bind "$cache/packages-$1" "$root/var/cache/apt/archives"
    mount --bind "$cache/ccache" "$root/ccache"
    # A root of the namespace, not a chroot: tests/hosts.sh needs it to make machines
    cd "$root"
    pivot_root . mnt
    umount -l mnt
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb OMP_WAIT_POLICY=passive \
        DEBIAN_FRONTEND=noninteractive CCACHE_DIR=/ccache CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache \
        PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} ${PIP_DEFAULT_TIMEOUT:+PIP_DEFAULT_TIMEOUT="$PIP_DEFAULT_TIMEOUT"} \
        sh -euc "$INSTALL_FUNCTION
        $2"
}

# For the commands of a job: install PACKAGE ...
INSTALL_FUNCTION='install() { apt-get install -y -q --no-install-recommends "$@" > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }; }'
