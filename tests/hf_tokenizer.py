# SPDX-License-Identifier: MIT
"""AutoTokenizer of exported folders against their tokenizer.json and `mep tokenizer encode` and `decode`.
hf_tokenizer.py PROGRAM CASES.json PAIRS: lines in pairs, a folder and the name of the tokenizer that it was made with"""
import glob
import json
import subprocess
import sys

from tokenizers import Tokenizer
from transformers import AutoTokenizer

program, cases, pairs = sys.argv[1:]
texts = json.load(open(cases, encoding="utf-8"))["texts"]
END = "<|endoftext|>"  # in a text it is the token there, and bytes here


def encode_here(name, text, *options):
    out = subprocess.run([program, "tokenizer", "encode", "--tokenizer", name, *options], input=text.encode(),
                         capture_output=True, check=True)
    return [int(word) for word in out.stdout.split()]


def decode_here(name, ids):
    text = " ".join(str(i) for i in ids)
    return subprocess.run([program, "tokenizer", "decode", "--tokenizer", name], input=text.encode(), capture_output=True,
                          check=True).stdout


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
            assert auto.encode(text) == encode_here(name, text, "--special-tokens"), (folder, text)
            if "tokenizer_neox" not in name:  # it has an added token "Ġ", which Hugging Face's decoder makes a blank
                assert auto.decode(ids).encode() == decode_here(name, ids), (folder, text)
            compared += 1
    assert len(texts) > 20 and compared > 2, "no texts were compared"
    generation = json.load(open(f"{folder}/generation_config.json", encoding="utf-8"))
    if auto.eos_token is not None:
        assert auto.eos_token_id == generation["eos_token_id"], folder
    if name.startswith("llama2"):  # its folder named LlamaTokenizer, which reads the text after a token otherwise
        assert auto.encode("a<s>b") == encode_here(name, "a<s>b", "--special-tokens"), folder
    if name in ("bytes", "bpe.json"):
        assert auto.eos_token == END, folder


def check_family(path):
    """A tokenizer.json of a Llama-shaped model, on all texts joined, live."""
    plain = Tokenizer.from_file(path)
    golden = json.load(open(cases.replace("tokenizer_cases", "llama_tokenizers"), encoding="utf-8"))
    text = "\n".join(golden["texts"] + texts)
    ids = plain.encode(text, add_special_tokens=False).ids
    assert ids == encode_here(path, text), path
    assert plain.encode(text).ids == encode_here(path, text, "--special-tokens"), path
    assert plain.decode(ids, skip_special_tokens=False).encode() == decode_here(path, ids), path


families = glob.glob("family-*.json")
assert len(families) > 20, "tokenizers of families are missing"
for family in families:
    check_family(family)
lines = open(pairs).read().splitlines()
assert len(lines) > 40, "folders are missing"
for at in range(0, len(lines), 2):
    check(lines[at], lines[at + 1])
