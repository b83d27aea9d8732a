# SPDX-License-Identifier: MIT
"""AutoTokenizer of exported folders against their tokenizer.json and `mep tokenizer encode`.
hf_tokenizer.py PROGRAM CASES.json PAIRS: lines in pairs, a folder and the name of the tokenizer that it was made with"""
import json
import subprocess
import sys

from tokenizers import Tokenizer
from transformers import AutoTokenizer

program, cases, pairs = sys.argv[1:]
texts = json.load(open(cases, encoding="utf-8"))["texts"]
END = "<|endoftext|>"  # in a text it is the token there, and bytes here


def encode_here(name, text):
    out = subprocess.run([program, "tokenizer", "encode", "--tokenizer", name], input=text.encode(), capture_output=True,
                         check=True)
    return [int(word) for word in out.stdout.split()]


def check(folder, name):
    auto = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    plain = Tokenizer.from_file(f"{folder}/tokenizer.json")
    compared = 0
    for i, text in enumerate(texts):
        ids = auto.encode(text, add_special_tokens=False)
        assert ids == plain.encode(text, add_special_tokens=False).ids, (folder, text)
        if name == "bytes" and END not in text:
            assert ids == list(text.encode()), (folder, text)
        if i % 8 == 0 and END not in text:
            assert ids == encode_here(name, text), (folder, text)
            compared += 1
    assert len(texts) > 20 and compared > 2, "no texts were compared"
    generation = json.load(open(f"{folder}/generation_config.json", encoding="utf-8"))
    if auto.eos_token is not None:
        assert auto.eos_token_id == generation["eos_token_id"], folder
    if name in ("bytes", "bpe.json"):
        assert auto.eos_token == END, folder


lines = open(pairs).read().splitlines()
assert len(lines) > 40, "folders are missing"
for at in range(0, len(lines), 2):
    check(lines[at], lines[at + 1])
