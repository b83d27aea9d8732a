# SPDX-License-Identifier: MIT
"""Wrong arguments of every call: a TypeError or ValueError that names the argument, before the library sees it."""
import unittest

import numpy as np

import libmep

BIG = 2**64 + 4  # 4, where only the low bits are kept
TINY = {**libmep.preset("nano"), "vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 32}


class Arguments(unittest.TestCase):
    def refuse(self, kind, words, function, *arguments, **settings):
        with self.assertRaisesRegex(kind, words):
            function(*arguments, **settings)

    def test_bias(self):
        self.refuse(TypeError, "spec must be a str, not int", libmep.Bias, 5, 4)
        self.refuse(ValueError, "spec has a NUL character", libmep.Bias, "mep\0", 4)
        self.refuse(TypeError, "heads must be an integer, not float", libmep.Bias, "mep", 4.0)
        self.refuse(ValueError, f"heads is {BIG}, which is out of range", libmep.Bias, "mep", BIG)
        self.refuse(ValueError, "head_dim is .* out of range", libmep.Bias, "t5", 4, BIG)
        self.refuse(ValueError, "seed is -1, which is out of range", libmep.Bias, "t5", 4, 64, -1)
        self.refuse(TypeError, "heads must be an integer", libmep.alibi_slopes, 2.5)
        bias = libmep.Bias("kerple_log", np.int64(4))
        self.assertEqual(repr(bias), "Bias('kerple_log', heads=4, head_dim=64)")
        self.refuse(TypeError, "length must be an integer, not float", bias.table, 10.5)
        self.refuse(TypeError, "length must be an integer, not float", bias.table, 10.5, "float64")
        self.refuse(libmep.MepError, "the length of a bias table must be from 1 to", bias.table, 2**50)
        self.refuse(ValueError, "distances must be integers", bias.at, [1.5])
        self.refuse(ValueError, "distances has a number that does not fit", bias.at, np.array([2**63], np.uint64))
        self.refuse(ValueError, "distances must be a rectangular array", bias.at, [[1], [2, 3]])
        self.refuse(TypeError, "bound must be a number, not str", bias.reach, "1", 10)
        self.refuse(libmep.MepError, "bound", bias.reach, float("nan"), 10)
        self.refuse(TypeError, "max_distance must be an integer", bias.reach, 1, 10.5)
        self.refuse(TypeError, "dtable must be real numbers, not complex128", bias.backward, np.ones((4, 3), complex))
        self.refuse(TypeError, "parameters must be a dict, not list", bias.set_parameters, [1])
        self.refuse(TypeError, "kerple_log.p must be real numbers, not complex128", bias.set_parameters,
                    {"kerple_log.p": np.ones(4, complex)})
        self.refuse(TypeError, "kerple_log.p must be real numbers", bias.set_parameters, {"kerple_log.p": ["a"] * 4})

    def test_attention(self):
        self.refuse(TypeError, "heads must be an integer, not float", libmep.Attention, 4.0, 8, 16)
        self.refuse(ValueError, "max_length is .* out of range", libmep.Attention, 4, 8, BIG)
        self.refuse(TypeError, "scale must be a number, not str", libmep.Attention, 4, 8, 16, scale="1")
        self.refuse(libmep.MepError, "tolerance", libmep.Attention, 4, 8, 16, tolerance=float("nan"))
        plan, x = libmep.Attention(4, np.int64(8), 16), np.ones((1, 4, 16, 8), np.float32)
        self.refuse(TypeError, "table must be real numbers, not complex128", plan.set_bias, np.ones((4, 16), complex))
        self.refuse(TypeError, "table must be real numbers", plan.set_bias, "mep")
        self.refuse(libmep.MepError, "the bias of head 0 at distance 0 is nan", plan.set_bias, np.full((4, 16), np.nan))
        self.refuse(TypeError, "q must be a NumPy array or a torch tensor, not NoneType", plan.forward, None, x, x)
        self.refuse(TypeError, "k must be a NumPy array or a torch tensor, not list", plan.forward, x, [1], x)
        self.refuse(ValueError, r"q and k have the shapes \[0, 4, 16, 8\] .*; each axis must be 1 or more",
                    plan.forward, x[:0], x[:0], x[:0])
        for inputs in ((x, x * 2, x), (x * 2, x, x * 2), (x * 2, x * 2, x)):
            self.refuse(ValueError, "out is also an input", plan.forward, *inputs, out=x)

    def test_strided_tables(self):
        """What has another type or is not contiguous is copied, never misread."""
        table = libmep.Bias("mep", 4, 8).table(16)
        x = np.random.default_rng(0).standard_normal((1, 4, 16, 8)).astype(np.float32)
        plan = libmep.Attention(4, 8, 16)
        right = plan.set_bias(table).forward(x, x, x)[0]
        for same in (np.asfortranarray(table), np.repeat(table, 2, 1)[:, ::2], table.astype(float), table.tolist()):
            np.testing.assert_array_equal(plan.set_bias(same).forward(x, x, x)[0], right)

    def test_model(self):
        self.refuse(TypeError, "name must be a str, not int", libmep.preset, 5)
        self.refuse(TypeError, "settings must be a dict, not NoneType", libmep.Model.create, None)
        self.refuse(TypeError, "hidden_size must be an integer", libmep.Model.create, {**TINY, "hidden_size": 32.0})
        self.refuse(ValueError, "hidden_size is .* out of range", libmep.Model.create, {**TINY, "hidden_size": BIG})
        self.refuse(TypeError, "position_encoding must be a str", libmep.Model.create, {**TINY, "position_encoding": 5})
        self.refuse(ValueError, "position_encoding has 9000 bytes, and 8191 are possible", libmep.Model.create,
                    {**TINY, "position_encoding": "x" * 9000})
        self.refuse(ValueError, "seed is .* out of range", libmep.Model.create, TINY, -1)
        self.refuse(TypeError, "folder must be a path", libmep.Model.load, 5)
        self.refuse(ValueError, "folder has a NUL character", libmep.Model.load, "a\0b")
        self.refuse(TypeError, "position must be a str", libmep.Model.load, "x", position=5)
        model = libmep.Model.create(TINY)
        for call in (model.save, model.export):
            self.refuse(TypeError, "folder must be a path", call, None)
        self.refuse(ValueError, "tokens must be a rectangular array of integers", model.logits, [[1, 2], [3]])
        self.refuse(TypeError, "tokens must be integers, not object", model.logits, None)
        self.refuse(TypeError, "tokens must be integers, not text: Tokenizer.encode", model.logits, "hello")
        self.refuse(TypeError, "tokens must be integers, not text", model.logits, ["a", "b"])
        self.refuse(ValueError, r"tokens have the shape \[0\]: at least 1 token", model.logits, [])
        self.refuse(TypeError, "targets must be integers, not float64", model.losses, [1], [0.5])
        self.refuse(TypeError, "tolerance must be a number, not str", model.logits, [1], tolerance="0")

    def test_generate(self):
        model = libmep.Model.create(TINY)
        self.refuse(ValueError, r"the prompt has the shape \[2, 2\]", model.generate, [[1, 2], [3, 4]])
        self.refuse(TypeError, "prompt must be integers", model.generate, [0.5])
        self.refuse(TypeError, "on_token must be a function, not int", model.generate, [1], 5)
        for settings, kind, words in (
                ({"max_tokens": 2.5}, TypeError, "max_tokens must be an integer, not float"),
                ({"seed": -1}, ValueError, "seed is -1"),
                ({"stop_token": 2**32 + 1}, ValueError, "stop_token is 4294967297, which is out of range"),
                ({"temperature": "hot"}, TypeError, "temperature must be a number, not str"),
                ({"temperature": None}, TypeError, "temperature must be a number, not NoneType"),
                ({"temperature": float("nan")}, libmep.MepError, "temperature"),
                ({"top_p": float("nan")}, libmep.MepError, "top_p")):
            self.refuse(kind, words, model.generate, [1], **settings)
        made = model.generate([1], max_tokens=np.int64(2), temperature=np.float32(0.5), top_k=np.int32(3))
        self.assertEqual(made.size, 2)

    def test_data(self):
        self.refuse(TypeError, "name must be a path", libmep.Tokenizer, 5)
        self.refuse(TypeError, "prefix must be a path", libmep.Dataset, 5)
        tokenizer = libmep.Tokenizer()
        self.refuse(TypeError, "text must be a str or bytes, not ndarray", tokenizer.encode, np.array([72, 105]))
        self.refuse(TypeError, "text must be a str or bytes, not NoneType", tokenizer.encode, None)
        self.refuse(TypeError, "text must be a str or bytes, not list", tokenizer.encode, ["a"])
        self.refuse(ValueError, r"tokens have the shape \[2, 1\]: decode takes one", tokenizer.decode, [[72], [105]])
        self.assertEqual(tokenizer.encode(np.frombuffer(b"Hi", np.uint8)).tolist(), [72, 105])
        self.assertEqual(tokenizer.decode(72), b"H")

    def test_threads(self):
        self.refuse(TypeError, "n must be an integer, not float", libmep.set_threads, 2.5)
        self.refuse(ValueError, "n is .* out of range", libmep.set_threads, 2**40)
        self.refuse(ValueError, "n is -1; it must be at least 1", libmep.set_threads, -1)
        before = libmep.set_threads()
        self.addCleanup(libmep.set_threads, before)
        self.assertLessEqual(libmep.set_threads(10**6), 4096, "more could not be started")


if __name__ == "__main__":
    unittest.main()
