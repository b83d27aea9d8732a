# SPDX-License-Identifier: MIT
#
# Machines made of Linux namespaces: each with its own name, network, shared memory, and a disk of its own at
# $folder/disk; programs and libraries are those of the machine underneath. All of it lies within namespaces that
# hosts_enter makes, so that nothing is left behind. Sourced before cli.sh.

# hosts_enter SCRIPT ARGUMENT ...: run the script again where it may make machines; exit code 77 where that cannot be.
hosts_enter() {
    [ -z "${MEP_HOSTS_INSIDE:-}" ] || return 0
    for tool in unshare nsenter ip; do
        command -v $tool > /dev/null || { echo "$tool is missing: nothing tested"; exit 77; }
    done
    unshare --net --uts --mount --ipc --pid --fork --mount-proc \
        sh -c 'ip link add veth0 type veth peer name veth1 && ip link add switch0 type bridge' 2> /dev/null ||
        { echo "namespaces with networks cannot be made here (root can, outside of most containers): nothing tested"; exit 77; }
    MEP_HOSTS_INSIDE=1 exec unshare --net --uts --mount --ipc --pid --fork --kill-child --mount-proc sh "$@"
}

# on MACHINE COMMAND ...: run it there, in this folder
on() {
    machine=$1
    shift
    # shellcheck disable=SC2016
    nsenter --net --uts --mount --ipc --target "$(cat "$folder/pid.$machine")" sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

# hosts_start MACHINE ...: start machines with the addresses 10.0.0.1, 10.0.0.2, ... on one switch
hosts_start() {
    mkdir disk
    ip link set lo up
    ip link add switch0 type bridge
    ip link set switch0 up
    cp /etc/hosts addresses
    mount --bind addresses /etc/hosts
    number=0
    for machine; do
        number=$((number + 1))
        echo "10.0.0.$number $machine" >> addresses
        # shellcheck disable=SC2016
        unshare --net --uts --mount --ipc sh -c 'hostname "$0" && mount -t tmpfs disk disk && mount -t tmpfs shm /dev/shm &&
            ip link set lo up && touch "ready.$0" && exec sleep 1000000' "$machine" > /dev/null &
        echo $! > "pid.$machine"
        until [ -e "ready.$machine" ]; do sleep 0.02; done
        ip link add "to_$machine" type veth peer name eth0 netns $!
        ip link set "to_$machine" master switch0 up
        on "$machine" ip address add "10.0.0.$number/24" dev eth0
        on "$machine" ip link set eth0 up
    done
    # instead of ssh: agent MACHINE COMMAND ...
    cat > agent << END
#!/bin/sh
machine=\$1
shift
exec nsenter --net --uts --mount --ipc --target "\$(cat "$folder/pid.\$machine")" sh -c "cd '$folder/disk' && \$*"
END
    chmod +x agent
}
