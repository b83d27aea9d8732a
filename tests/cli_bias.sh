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
