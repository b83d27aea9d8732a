# SPDX-License-Identifier: MIT
#
# The environment of mpirun in tests, for Open MPI 4 (OMPI_MCA_orte_...) and 5 (PRTE_MCA_...): it runs as root, with more
# processes than cores, whose waiting processes yield; it fills the slots of one host after another, and prints nothing.
# Its leaks are ignored. All mpiruns of a user share one folder in /tmp; here they use the given folder. Source this file,
# then call mpi_settings FOLDER.
mpi_settings() {
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_orte_tmpdir_base="$1" PRTE_MCA_prte_tmpdir_base="$1"
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=slot:oversubscribe
    export OMPI_MCA_mpi_yield_when_idle=1
    export OMPI_MCA_btl_base_warn_component_unused=0 OMPI_MCA_btl_vader_single_copy_mechanism=none
    export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
}

# mpi_required: skip the test if the program $MEP or the machine has no MPI.
mpi_required() {
    "$MEP" version | grep -q '^processes *none' && { echo "this build has no MPI: nothing tested"; exit 77; }
    command -v mpirun > /dev/null || { echo "mpirun is missing: nothing tested"; exit 77; }
}

# group N CODE ARGUMENT ...: the program in N processes, as `expect` in one
group() {
    n=$1
    code=$2
    shift 2
    checks=$((checks + 1))
    timeout 120 mpirun -np "$n" "$MEP" "$@" > out 2> err < /dev/null
    got=$?
    [ "$got" = "$code" ] || wrong "mpirun -np $n mep $*: exit code $got, not $code"
}
