#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs EleutherAI's lm-evaluation-harness on small models, with the C library (python -m libmep.lm_eval --model libmep) and
# with transformers on the exported folder (--model hf), and compares every response: the tasks of python/tests/lm_eval_tasks,
# and RULER's niah_single_1 at 4096 and 8192 tokens. No task needs a network. $PYTHON needs NumPy, lm_eval[hf,ruler] and
# PyTorch; without them the script prints what is missing and exits with code 77.
# Usage: check_lm_eval.sh [LIBMEP.so PROGRAM], by default those of build/release
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
library=$(realpath "${1:-$source/build/release/libmep.so}")
mep=$(realpath "${2:-$source/build/release/mep}")
python=${PYTHON:-python3}
for module in numpy torch transformers accelerate lm_eval wonderwords nltk; do
    "$python" -c "import $module" 2> /dev/null || { echo "skipped: $python has no module $module"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export LIBMEP_LIBRARY="$library" PYTHONPATH="$source/python" PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 \
    HF_MODULES_CACHE="$folder/modules" HF_DATASETS_CACHE="$folder/datasets" TOKENIZERS_PARALLELISM=false \
    OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
cd "$folder"

# run NAME COMMAND ...: its output is shown if it fails
run() {
    name=$1
    shift
    echo "== $name"
    "$@" > "$name.log" 2>&1 || { tail -n 40 "$name.log"; echo "$name failed"; exit 1; }
}

# evaluate NAME MODEL FOLDER MAX_LENGTH OPTION ...: responses in NAME/
evaluate() {
    name=$1 model=$2 pretrained=$3 length=$4
    shift 4
    arguments="pretrained=$pretrained,max_length=$length"
    [ "$model" != hf ] || arguments="$arguments,trust_remote_code=True,dtype=float32"
    run "$name" "$python" -m libmep.lm_eval run --model "$model" --model_args "$arguments" --device cpu --batch_size 2 \
        --output_path "$name" --log_samples "$@"
    sed -n '/^|/p' "$name.log"
}

i=0
while [ $i -lt 400 ]; do
    echo "$i: the quick brown fox jumps over the lazy dog, and one of the special magic numbers for it is: $((i * 7919))."
    i=$((i + 1))
done > text.txt
run tokenizer "$mep" tokenizer train --vocab-size 400 --out tokenizer.json text.txt
for position in mep rotary; do
    run "data_$position" "$mep" prepare --tokenizer tokenizer.json --out "$position" text.txt
    run "train_$position" "$mep" train --data "$position" --out "run_$position" --position "$position" --dtype float32 \
        --num-hidden-layers 1 --hidden-size 32 --num-attention-heads 2 --length 64 --batch-size 8 --steps 60 \
        --learning-rate 1e-2 --quiet
    run "export_$position" "$mep" export "run_$position" "hf_$position" --quiet
    for model in libmep hf; do
        evaluate "local_${model}_$position" $model "hf_$position" 1200 --include_path "$source/python/tests/lm_eval_tasks" \
            --tasks libmep_choices,libmep_texts,libmep_prompts,libmep_niah
    done
done
for model in libmep hf; do
    evaluate "ruler_$model" $model hf_mep 8192 --tasks niah_single_1 --samples '{"niah_single_1": [0, 500]}' \
        --metadata '{"max_seq_lengths": [4096, 8192], "tokenizer": "hf_mep"}'
done

"$python" - << 'EOF'
import glob
import json
import sys


def responses(folder):
    """{(task, document): responses} of a run."""
    found = {}
    for path in glob.glob(f"{folder}/**/samples_*.jsonl", recursive=True):
        for line in open(path, encoding="utf-8"):
            sample = json.loads(line)
            found[path.split("samples_")[1].rsplit("_", 1)[0], sample["doc_id"]] = sample["resps"]
    return found


def is_same(one, other):
    if isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    try:
        one, other = float(one), float(other)
        return abs(one - other) <= 1e-3 + 1e-5 * abs(other)
    except ValueError:
        return one == other


failures = 0
for name in ("local_{}_mep", "local_{}_rotary", "ruler_{}"):
    right, found = responses(name.format("hf")), responses(name.format("libmep"))
    if not right or right.keys() != found.keys():
        sys.exit(f"{name.format('libmep')}: other documents than those of hf, or none")
    different = [key for key in right if not is_same(found[key], right[key])]
    print(f"{name.format('libmep')}: {len(right) - len(different)} of {len(right)} documents as with hf", *different[:5])
    failures += len(different)
sys.exit(failures != 0)
EOF
