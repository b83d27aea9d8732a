# SPDX-License-Identifier: MIT
"""Tokenizers: bytes, and a byte-level BPE of two merges in Hugging Face's form."""
import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

import libmep
from support import GOLDEN


class Bytes(unittest.TestCase):
    def test_round_trip(self):
        tokenizer = libmep.Tokenizer.open("bytes")
        self.assertEqual((tokenizer.name, tokenizer.vocab_size, tokenizer.end_of_document), ("bytes", 257, 256))
        self.assertIsNone(tokenizer.json)
        for text in ("", "plain", "Größe 漢字 \0 end", bytes(range(256))):
            raw = text.encode() if isinstance(text, str) else text
            tokens = tokenizer.encode(text)
            self.assertEqual((tokens.dtype, tokens.tolist()), (np.int32, list(raw)))
            self.assertEqual(tokenizer.decode(tokens), raw)
        self.assertEqual(tokenizer.decode([72, 105, 256]), b"Hi")

    def test_wrong(self):
        with self.assertRaisesRegex(libmep.MepError, "nosuch"):
            libmep.Tokenizer("nosuch")
        for wrong in ([257], [-1]):
            with self.assertRaises(libmep.MepError):
                libmep.Tokenizer().decode(wrong)
        for wrong in (5, ["a"], None):
            with self.assertRaises(TypeError):
                libmep.Tokenizer().encode(wrong)

    def test_repr(self):
        self.assertEqual(repr(libmep.Tokenizer()), "Tokenizer('bytes', vocab_size=257)")


class BytePairs(unittest.TestCase):
    def test_golden(self):
        """Token for token what Hugging Face's library gives, and the tokenizer.json is the file that was read."""
        golden = json.loads((GOLDEN / "tokenizer_cases.json").read_text())
        count = 0
        for path in sorted(GOLDEN.glob("tokenizer_*.json")):
            name = path.stem.split("_", 1)[1]
            if name == "cases":
                continue
            tokenizer = libmep.Tokenizer.open(path)
            self.assertEqual(tokenizer.json, path.read_bytes())
            for text, tokens in zip(golden["texts"], golden[name]["ids"]):
                self.assertEqual(tokenizer.encode(text).tolist(), tokens, (name, text))
                count += 1
        self.assertGreaterEqual(count, 100)

    def test_special_tokens(self):
        """Llama 2's form: <s> before every text, and a blank before its first word that decoding removes again."""
        tokenizer = libmep.Tokenizer(GOLDEN / "llama2_tokenizer")
        self.assertEqual((tokenizer.special_tokens, libmep.Tokenizer().special_tokens), (([1], []), ([], [])))
        for text in ("the quick fox", " two  blanks\t\U0001f642", "", "a<s>b"):
            tokens = tokenizer.encode(text)
            self.assertEqual(tokenizer.encode(text, add_special_tokens=True).tolist(), [1, *tokens.tolist()])
            self.assertEqual(tokenizer.encode(text, add_special_tokens=True).dtype, np.int32)
        text = "the quick\n \U0001f642"
        self.assertEqual(tokenizer.decode(tokenizer.encode(text)).decode(), text)
        self.assertEqual((tokenizer.decode([]), tokenizer.decode([], continued=True)), (b"", b""))
        words = tokenizer.encode("the quick")
        self.assertEqual(tokenizer.decode(words, continued=True), b" the quick")
        self.assertEqual(b"".join(tokenizer.decode([word], continued=True) for word in words), b" the quick")

    def test_vocab_and_merges(self):
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        letters = {byte: chr(byte) for byte in printable}
        letters.update({byte: chr(256 + i) for i, byte in enumerate(others)})
        pieces = [letters[byte] for byte in range(256)] + ["th", "the", "<|endoftext|>"]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
            (Path(folder) / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
            tokenizer = libmep.Tokenizer.open(Path(folder))
        self.assertEqual((tokenizer.vocab_size, tokenizer.end_of_document), (259, 258))
        self.assertEqual(tokenizer.encode("the path").tolist(), [257, 32, ord("p"), ord("a"), 256])
        self.assertEqual(tokenizer.decode(tokenizer.encode("the path, größe")).decode(), "the path, größe")
        self.assertEqual(json.loads(tokenizer.json)["model"]["type"], "BPE")


if __name__ == "__main__":
    unittest.main()
