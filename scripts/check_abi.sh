#!/bin/sh
# SPDX-License-Identifier: MIT
#
# MEP_ABI_VERSION must be raised when a public declaration changes. tests/abi.txt has the number and the declarations of
# include/mep/, one per line, without comments and macros. With the same number no line may change or disappear; --write
# adds new lines. After a change: raise MEP_ABI_VERSION, then call with --write.
# Usage: check_abi.sh [--write] [REPOSITORY]
set -eu
write=
[ "${1:-}" != --write ] || { write=1; shift; }
cd "${1:-$(dirname "$0")/..}"
list=tests/abi.txt

# Declarations: text up to a ';' outside braces.
declarations() {
    awk '
    FNR == 1 { skip = 0 }
    /^#ifdef __cplusplus/ { skip = 1 }
    !skip && !/^[ \t]*#/ { text = text " " $0 }
    /^#endif/ { skip = 0 }
    END {
        while ((i = index(text, "/*")) > 0) {
            rest = substr(text, i + 2)
            text = substr(text, 1, i - 1) " " substr(rest, index(rest, "*/") + 2)
        }
        gsub(/MEP_API /, "", text)
        n = split(text, part, ";")
        for (i = 1; i <= n; i++) {
            whole = whole part[i] ";"
            depth += gsub(/{/, "{", part[i]) - gsub(/}/, "}", part[i])
            if (depth > 0) continue
            gsub(/[ \t]+/, " ", whole)
            sub(/^ /, "", whole)
            if (length(whole) > 2) print whole
            whole = ""
        }
    }' include/mep/*.h
}

number=$(sed -n 's/^#define MEP_ABI_VERSION \([0-9]*\)$/\1/p' include/mep/types.h)
now=$(echo "MEP_ABI_VERSION $number"; declarations | LC_ALL=C sort)
count=$(echo "$now" | wc -l)
[ -n "$number" ] && [ "$count" -gt 100 ] || { echo "only $count declarations were found; the check does not work"; exit 1; }
if [ -n "$write" ]; then
    echo "$now" > $list
    echo "$list: ABI $number, $((count - 1)) declarations"
    exit 0
fi
gone=$(echo "$now" | LC_ALL=C awk 'NR == FNR { there[$0] = 1; next } !($0 in there)' - $list)
new=$(echo "$now" | LC_ALL=C awk 'NR == FNR { there[$0] = 1; next } !($0 in there)' $list -)
case $gone in
'') ;;
"MEP_ABI_VERSION "*) echo "MEP_ABI_VERSION was raised: call sh scripts/check_abi.sh --write"; exit 1 ;;
*)
    echo "$gone"
    echo "These declarations of $list have changed: raise MEP_ABI_VERSION (include/mep/types.h), and ABI_VERSION of"
    echo "python/libmep/_library.py, then call sh scripts/check_abi.sh --write"
    exit 1 ;;
esac
[ -z "$new" ] || { echo "$new"; echo "New declarations: call sh scripts/check_abi.sh --write"; exit 1; }
echo "ABI $number: $((count - 1)) declarations"
