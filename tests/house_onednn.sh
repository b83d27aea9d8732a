#!/bin/sh
# SPDX-License-Identifier: MIT
#
# oneDNN of a version that the library does not know is left out with one line when the build is configured, and refused
# where it is asked for. The libraries here are headers alone. Usage: house_onednn.sh REPOSITORY CC
set -eu
repository=$1 cc=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/oneapi/dnnl"
touch "$folder/libdnnl.so"

# configures CODE LINE OPTION: what a build says to the header in the folder
configures() {
    code=0
    cmake -S "$repository" -B "$folder/build" -DCMAKE_C_COMPILER="$cc" -DMEP_TESTS=OFF -DMEP_MPI=OFF -DMEP_ONEDNN="$3" \
        -DDNNL_INCLUDE_DIR="$folder" -DDNNL_LIBRARY="$folder/libdnnl.so" > "$folder/log" 2>&1 || code=$?
    [ "$code" = "$1" ] && grep -qF -e "$2" "$folder/log" || { echo "not \"$2\" and $1, but $code:"; cat "$folder/log"; exit 1; }
}
header() {
    printf '#define DNNL_VERSION_MAJOR %s\n\n/* minor */\n#define DNNL_VERSION_MINOR %s\n' "$1" "$2" \
        > "$folder/oneapi/dnnl/dnnl_version.h"
}

header 3 7
configures 0 '-- oneDNN 3.7 is left out: only 2.x is used' AUTO
configures 0 '-- Matrix products by oneDNN: 0' AUTO
configures 1 'oneDNN 2.x is needed, and the one here is 3.7' ON
header 20 1
configures 0 '-- oneDNN 20.1 is left out' AUTO
echo '/* as no version has been */' > "$folder/oneapi/dnnl/dnnl_version.h"
configures 0 '-- oneDNN of an unknown version is left out' AUTO
header 2 6
configures 0 '-- Matrix products by oneDNN: 1' AUTO
configures 0 '-- Matrix products by oneDNN: 0' OFF
echo '7 configurations'
