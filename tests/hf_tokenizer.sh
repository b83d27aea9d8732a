#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Exported tokenizers in Hugging Face's transformers: AutoTokenizer gives the ids of mep's own tokenizer. The
# interpreter is $PYTHON, otherwise the first one with transformers; without one the test is skipped.
# Usage: hf_tokenizer.sh PROGRAM
tests=$(cd "$(dirname "$0")" && pwd)
found=
for python in ${PYTHON:-python3 /usr/bin/python3}; do
    [ -n "$found" ] || ! "$python" -c 'import transformers, tokenizers' 2> /dev/null || found=$python
done
[ -n "$found" ] || { echo 'skipped: no Python 3 with transformers (PYTHON=FILE names an interpreter)'; exit 77; }
. "$tests/cli.sh"
. "$tests/tiny.sh"
export HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1

# try NAME TOKENIZER [POSITION ...]: a run of each family that this program trains, exported, imported and exported again
try() {
    name=$1
    tokenizer=$2
    shift 2
    expect 0 prepare --tokenizer "$tokenizer" --out "$name" text.txt
    set -- "$name" "$tokenizer" "${@:-rotary learned mep}"
    # shellcheck disable=SC2086
    for position in $3; do
        run=$1-$position
        # shellcheck disable=SC2086
        expect 0 train --data "$1" --out "$run" $TINY --position $position --steps 1 --quiet
        expect 0 export "$run" "hf-$run" --quiet
        # As on the hub: the class of Llama, which replaces parts of tokenizer.json.
        case $1 in llama2*) cp "$tests/golden/llama2_tokenizer/tokenizer_config.json" "hf-$run/" ;; esac
        expect 0 import "hf-$run" "own-$run" --quiet
        expect 0 export "own-$run" "again-$run" --quiet
        case $1 in llama2*) ;; *) printf '%s\n%s\n' "hf-$run" "$2" >> pairs ;; esac
        printf '%s\n%s\n' "again-$run" "$2" >> pairs
    done
}

"$found" -c 'import transformers; print("transformers", transformers.__version__)'
expect 0 tokenizer train --out bpe.json --vocab-size 300 text.txt
try bytes bytes
try trained bpe.json
for name in gpt2 neox bloom llama odd; do
    try "$name" "$tests/golden/tokenizer_$name.json"
done

# A vocab.json with merges.txt becomes a tokenizer.json.
"$found" - bpe.json << 'END'
import json
import sys
model = json.load(open(sys.argv[1]))["model"]
json.dump(model["vocab"], open("vocab.json", "w"))
open("merges.txt", "w").write("".join(" ".join(m) + "\n" for m in (m.split() if isinstance(m, str) else m for m in model["merges"])))
END
try tables vocab.json
# The tokenizers of Llama-shaped models.
"$found" - "$tests/golden" << 'END'
import json
import sys
golden = json.load(open(sys.argv[1] + "/llama_tokenizers.json"))
models = {"bytes": json.load(open(sys.argv[1] + "/tokenizer_gpt2.json"))["model"], "characters": golden["characters"]}
for family in golden["families"]:
    changes = family["changes"]
    if "with" in changes or "without" in changes:
        continue
    model = dict(models[family["kind"]], **changes)
    root = dict(family["sections"], version="1.0", truncation=None, padding=None, model=model)
    json.dump(root, open("family-%s.json" % family["name"].replace(" ", "-"), "w"))
END
cp "$tests/golden/llama2_tokenizer/tokenizer.json" llama2-tokenizer.json
try llama2 llama2-tokenizer.json rotary
for name in llama-3 qwen-2 smollm mistral-0.3 metaspace-split; do
    try "$name" "family-$name.json" rotary
done
checks=$((checks + 1))
"$found" "$tests/hf_tokenizer.py" "$MEP" "$tests/golden/tokenizer_cases.json" pairs > out 2> err < /dev/null ||
    wrong 'AutoTokenizer gives other ids'
finish
