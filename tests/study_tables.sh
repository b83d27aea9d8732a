#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tables of the study's pages are those of its results, and the script that says so finds a wrong digit, a missing row and
# a page without tables. Usage: study_tables.sh SCRIPT
set -eu
script=$1
command -v python3 > /dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1

python3 -m doctest "$script"
python3 "$script"

page=$work/page.md
cat > "$page" << 'END'
# Page

<!-- study_tables.py perplexities small differences -->
| old |

Text.
END
mkdir -p "$work/results/small"
cat > "$work/results/small/results.csv" << 'END'
encoding,seed,length,perplexity,stderr,tokens
a|b,1,128,5,0,1
a|b,1,256,8,0,1
a|b,2,128,6,0,1
a|b,2,256,9,0,1
c,1,128,4,0,1
c,1,256,4,0,1
c,2,128,4.5,0,1
c,2,256,5,0,1
END
cat > "$work/results/small/differences.csv" << 'END'
encoding,baseline,measure,length,at,name,difference,stderr,seeds
a|b,c,perplexity,128,,loss,0.25,0.01,2
a|b,c,perplexity,256,,loss,0.5,0.02,2
END
cat > "$work/expected" << 'END'
# Page

<!-- study_tables.py perplexities small differences -->
| | 128 | 256 | to `c`, 128 | to `c`, 256 |
| --- | ---: | ---: | ---: | ---: |
| `c` | 4.250 | 4.500 |  |  |
| `a\|b` | 5.500 | 8.500 | +0.2500 ± 0.0100 | +0.5000 ± 0.0200 |

Text.
END
python3 "$script" --results "$work/results" --write "$page"
diff "$work/expected" "$page"

# One seed of a study next to one of another.
cat > "$page" << 'END'
<!-- study_tables.py differences 128,256 first=small@1 second=small@2 -->
END
python3 "$script" --results "$work/results" --write "$page"
grep -qxF '| | first, 128 | 256 | second, 128 | 256 |' "$page"
grep -qxF '| `a\|b` | +0.2231 | +0.6931 | +0.2877 | +0.5878 |' "$page"

fails() { # fails SED: the page changed by SED is refused
    sed "$1" "$work/expected" > "$page"
    if python3 "$script" --results "$work/results" "$page" > "$work/output"; then echo "accepted: $1"; exit 1; fi
}
fails 's/5.500/5.501/'
fails '/4.250/d'
fails '/study_tables/d'
