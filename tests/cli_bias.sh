#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mep bias: its JSON compared with known values, parameters from a file, tables, wrong inputs. Usage: cli_bias.sh PROGRAM
. "$(dirname "$0")/cli.sh"

# Two heads have the slopes 1/16 and 1/256, and alibi is -slope d.
expect 0 bias --position alibi --heads 2 --distances 0,1,16,2147483648 --json
said out '"slopes"'
said out '0.0625'
said out '0.00390625'
said out '-134217728'
said out '-8388608'

# kerple_log with p = 2, a = 3 and 1: -2 log(1 + a d), to 17 digits.
echo '{"kerple_log.p": [2, 2], "kerple_log.a": [3, 1]}' > params.json
expect 0 bias --position kerple_log --heads 2 --distances 1 --params params.json --json
said out '-2.7725887222397811'
said out '-1.3862943611198906'

expect 0 bias --position mep --heads 4
said out 'distance'
expect 0 bias --position 'mep/learn=weights,slopes' --heads 3 --length 5 --json
[ ! -s err ] || wrong 'learned weights are part of the bias'
expect 0 bias --position 'alibi/window=64/sink' --heads 4
said err 'modifiers are not part of the bias: of "alibi/sink/window=64" only "alibi" is printed'

# fire depends on the position of the query beyond its threshold. With w2 = 0 only b2 is left.
expect 0 bias --position fire --heads 2 --train-length 64 --length 100
said out 'beyond position 64 it depends on the position of the query too'
said out 'for the first query at or beyond it that has the distance'
expect 0 bias --position fire:max=64 --heads 2 --query-position 100
said out 'these are the values for a query at position 100'
grep -q '^ *64 ' out || wrong 'no distance 64'
checks=$((checks + 1))
! grep -q '^128 ' out || wrong 'a distance beyond the position'
ones() { awk -v n="$1" -v x="$2" 'BEGIN { for (i = 0; i < n; i++) printf "%s%s", i ? ", " : "", x }'; }
echo "{\"fire.c\": 0.3, \"fire.w1\": [$(ones 32 1)], \"fire.b1\": [$(ones 32 0)]," > params.json
echo "\"fire.w2\": [[$(ones 32 0)], [$(ones 32 0)]], \"fire.b2\": [1.25, -2.5]}" >> params.json
expect 0 bias --position fire --heads 2 --params params.json --query-position 1K --distances 7,1000 --json
said out '"threshold": 512, "query_position": 1024, "distances": [7, 1000]'
said out '"bias": [[1.25, 1.25], [-2.5, -2.5]]'
# w2 = 1/32: relu(x) of x = log(1 + 0.3 d) / log(1 + 0.3 p), 1 at the first key.
echo "{\"fire.c\": -0.3, \"fire.w1\": [$(ones 32 1)], \"fire.b1\": [$(ones 32 0)]," > params.json
echo "\"fire.w2\": [[$(ones 32 0.03125)]], \"fire.b2\": [0]}" >> params.json
expect 0 bias --position fire --heads 1 --params params.json --query-position 2000 --distances 0,2000 --json
said out '"bias": [[0, 1]]'
expect 0 bias --position fire --heads 2 --sight
refuse 2 '--query-position: alibi does not depend on the position' bias --position alibi --query-position 5
refuse 2 'a query at position 10 has distances from 0 to 10, but one is 11' \
    bias --position fire --query-position 10 --distances 11
refuse 2 'leave out --query-position' bias --position fire --sight --query-position 10
refuse 2 'fire cannot be part of a mixture; use it alone' bias --position 'fire + alibi'
echo '{"fire.c": [0.3]}' > params.json
refuse 1 '"fire.c" must be a number' bias --position fire --params params.json

refuse 2 'character 7: unknown kernel "gaus"' bias --position 'exp + gaus' --heads 2
refuse 2 'kerple_log' bias --position 'exp + gaus' --heads 2
refuse 2 'character 7: expected a number' bias --position 'exp:c=' --heads 2
refuse 2 'must be' bias --position 't5:buckets=1' --heads 2
refuse 2 '--heads' bias --position mep --heads 0
refuse 1 'nosuch.json' bias --position kerple_log --heads 2 --params nosuch.json
echo '{"kerple_log.p": [2], "kerple_log.a": [3, 1]}' > params.json
refuse 1 'kerple_log.p' bias --position kerple_log --heads 2 --params params.json
echo '{"kerple_log.a": [3, 1]}' > params.json
refuse 1 'kerple_log.p' bias --position kerple_log --heads 2 --params params.json
echo '{"kerple_log.p": [2, 2], "kerple_log.a": [3, 1], "t5.table": [1]}' > params.json
refuse 1 't5.table' bias --position kerple_log --heads 2 --params params.json
echo '{"kerple_log.p": [2, "x"], "kerple_log.a": [3, 1]}' > params.json
refuse 1 'kerple_log.p' bias --position kerple_log --heads 2 --params params.json
echo 'no json' > params.json
refuse 1 'params.json' bias --position kerple_log --heads 2 --params params.json
refuse 2 '"rotary" is not a distance bias; specify a mixture' bias --position rotary --heads 2
refuse 2 '--sight uses --length; leave out --distances' bias --sight --distances 4

finish
