#!/bin/sh
# SPDX-License-Identifier: MIT
#
# No circles inside a room: the files of src/ROOM call each other, or use each other's variables, in one direction only.
# The calls are read from the objects of a build folder; an object without a source file is of an older tree and is
# skipped. Calls between rooms follow the import law (check_rooms.sh). Prints the files of each circle and fails.
# Usage: check_circles.sh BUILD REPOSITORY
set -eu
build=$1
repository=$2

objects=$(find "$build" -path '*.dir/src/*' -name '*.o' | LC_ALL=C sort | while read -r object; do
    source=${object##*.dir/}
    [ ! -e "$repository/${source%.o}" ] || echo "$object"
done)
if [ -z "$objects" ]; then
    echo "$build: no objects found: nothing was checked"
    exit 1
fi

# Lines "FILE TYPE SYMBOL", then "CALLER CALLEE".
symbols=$(echo "$objects" | xargs nm -A -P -g | sed -n 's|^.*\.dir/\(src/[^:]*\)\.o: \([^ ]*\) \([A-Za-z]\).*|\1 \3 \2|p')
if [ -z "$symbols" ]; then
    echo "$build: no symbols found: nothing was checked"
    exit 1
fi
calls=$(echo "$symbols" | awk '
function room(file) { sub("/[^/]*$", "", file); return file }
$2 == "U" { users[$3] = users[$3] " " $1; next }
{ definers[$3] = definers[$3] " " $1 }
END {
    for (symbol in definers) {
        n = split(users[symbol], user, " ")
        m = split(definers[symbol], definer, " ")
        for (i = 1; i <= n; i++)
            for (k = 1; k <= m; k++)
                if (user[i] != definer[k] && room(user[i]) == room(definer[k])) print user[i], definer[k]
    }
}' | LC_ALL=C sort -u)
echo "$calls" | tsort > /dev/null
echo "$(echo "$objects" | wc -l) objects, $(echo "$calls" | wc -l) calls between files of a room, no circle"
