# SPDX-License-Identifier: MIT
"""What an installed package must do: an attention call, a tiny model, and a clear message for each library that its
build lacks. scripts/test_wheel.sh runs this in an empty environment; the other tests need a complete build."""
import os
import tempfile
import unittest
from pathlib import Path

import numpy as np

import libmep
from support import GOLDEN, attention, check

TINY = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 32, "position_encoding": "mep"}
# What each library is needed for.
NEEDS = {
    "jansson": [lambda folder: libmep.Model.load(GOLDEN / "gpt_mep"),
                lambda folder: tiny().save(folder / "model"),
                lambda folder: tiny().export(folder / "exported"),
                lambda folder: libmep.Dataset(folder / "text"),
                lambda folder: tokenizer(folder, None)],
    "PCRE2": [lambda folder: tokenizer(folder, None)],
    "utf8proc": [lambda folder: tokenizer(folder, "NFC")],
    "libarchive": [], "zlib": [],  # read corpora, which is not part of the Python package
}


def tiny():
    return libmep.Model.create({**libmep.preset("nano"), **TINY}, 3)


def tokenizer(folder, normalizer):
    """A byte-level BPE without merges, from a file."""
    codes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    codes += [256 + i for i in range(256 - len(codes))]
    vocab = ", ".join(f'"{chr(c)}": {i}' if chr(c) not in '"\\' else f'"\\{chr(c)}": {i}' for i, c in enumerate(codes))
    normal = "null" if normalizer is None else f'{{"type": "{normalizer}"}}'
    level = '{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}'
    path = folder / "tokenizer.json"
    path.write_text(f'{{"version": "1.0", "added_tokens": [], "normalizer": {normal}, "pre_tokenizer": {level}, '
                    f'"decoder": {level}, "model": {{"type": "BPE", "vocab": {{{vocab}}}, "merges": []}}}}',
                    encoding="utf-8")
    return libmep.Tokenizer.open(path)


class Package(unittest.TestCase):
    def test_attention(self):
        rng = np.random.default_rng(0)
        q, k, v, dout = (rng.standard_normal((2, 4, 100, 32)).astype(np.float32) for _ in "qkvo")
        table = libmep.Bias("mep", 4, 32).table(100)
        plan = libmep.Attention(heads=4, head_dim=32, max_length=100)
        plan.set_bias(table)
        out, lse = plan.forward(q, k, v)
        found = (out, lse, *plan.backward(q, k, v, out, lse, dout))
        for name, x, y in zip("out lse dq dk dv dbias".split(), found, attention(q, k, v, table, dout)):
            check(self, x, y, 1e-5, name)

    def test_model(self):
        model = tiny()
        tokens = list(b"a tiny model")
        logits = model.logits(tokens)
        self.assertEqual(logits.shape, (len(tokens), TINY["vocab_size"]))
        self.assertTrue(np.isfinite(logits).all())
        generated = model.generate(tokens, max_tokens=5, temperature=0)
        self.assertEqual(generated[0], logits[-1].argmax())

    def test_libraries(self):
        missing = libmep.missing_libraries()
        self.assertLessEqual(set(missing), set(NEEDS))
        if "MEP_MISSING" in os.environ:  # what this build must lack, "" for nothing
            self.assertEqual(", ".join(missing), os.environ["MEP_MISSING"])
        for name, calls in NEEDS.items():
            for call in calls if name in missing else []:
                with tempfile.TemporaryDirectory() as folder, self.assertRaises(libmep.MepError) as caught:
                    call(Path(folder))
                self.assertEqual(caught.exception.status, "MEP_ERROR_UNSUPPORTED")
                lacks = [f"this build of libmep has no {other}: " in str(caught.exception) for other in missing]
                self.assertEqual(sum(lacks), 1, caught.exception)
                self.assertNotIn("\n", str(caught.exception))

    @unittest.skipIf(libmep.missing_libraries(), "this build lacks libraries")
    def test_files(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "model").mkdir()
            tiny().save(folder / "model")
            again = libmep.Model.load(folder / "model")
            np.testing.assert_array_equal(again.logits([1, 2, 3]), tiny().logits([1, 2, 3]))
            bpe = tokenizer(folder, "NFC")
            self.assertEqual(b"".join(bpe.decode([t]) for t in bpe.encode("e\u0301 1")), "\u00e9 1".encode())


if __name__ == "__main__":
    unittest.main()
