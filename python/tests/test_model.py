# SPDX-License-Identifier: MIT
"""Models against the golden files and against the command line program."""
import gc
import json
import subprocess
import tempfile
import unittest
import weakref
from pathlib import Path

import numpy as np

import libmep
from support import GOLDEN, GOLDEN_FAMILIES, PROGRAM, check, from_bfloat16, safetensors, to_bfloat16

TINY = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 32}


def tiny(position="mep", seed=3):
    return libmep.Model.create({**libmep.preset("nano"), **TINY, "position_encoding": position}, seed)


def log_softmax(logits):
    logits = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


class Golden(unittest.TestCase):
    def test_logits_and_losses(self):
        count = 0
        for folder in sorted(GOLDEN.glob("gpt_*")):
            t, _ = safetensors(folder / "expected.safetensors")
            model = libmep.Model.load(folder)
            tokens = t["tokens"][0]
            logits = model.logits(tokens[:, :-1])
            check(self, logits, t["logits"], 1e-5, folder.name)
            losses = model.losses(tokens[:, :-1], tokens[:, 1:])
            self.assertAlmostEqual(losses.mean(), t["losses"][0], delta=1e-5)
            likelihoods = np.take_along_axis(log_softmax(logits), tokens[:, 1:, None], -1)[..., 0]
            check(self, losses, -likelihoods, 1e-5, folder.name)
            check(self, model.logits(tokens[1, :-1]), logits[1], 1e-5, "one sequence is the batch's row")
            count += 1
        self.assertGreaterEqual(count, 5)

    def test_long(self):
        """Far beyond the training length, with the golden parameters written into the model's own memory."""
        folder = GOLDEN / "gpt_mep_param"
        t, _ = safetensors(folder / "expected.safetensors")
        model = libmep.Model.load(folder)
        for name, values in model.parameters.items():
            values[...] = t["final." + name]
        tokens = t["long_tokens"]
        self.assertAlmostEqual(model.losses(tokens[:, :-1], tokens[:, 1:]).mean(), t["long_loss"][0], delta=1e-4)


class Parameters(unittest.TestCase):
    def test_are_the_model_s_memory(self):
        model = libmep.Model.load(GOLDEN / "gpt_mep_param")
        stored, _ = safetensors(GOLDEN / "gpt_mep_param" / "model.safetensors")
        parameters = model.parameters
        self.assertEqual(set(parameters), set(stored))
        for name, values in parameters.items():
            np.testing.assert_array_equal(values, stored[name].astype(np.float32), name)
        again = model.parameters["embed_out.weight"]
        self.assertTrue(np.shares_memory(again, parameters["embed_out.weight"]))
        before = model.logits([1, 2, 3])
        again *= 2
        np.testing.assert_array_equal(model.logits([1, 2, 3]), 2 * before)

    def test_outlive_the_object(self):
        model = tiny()
        alive, parameters = weakref.ref(model._handle), model.parameters
        part = parameters["embed_out.weight"][1:, 2]
        del model, parameters
        gc.collect()
        self.assertIsNotNone(alive())
        np.testing.assert_array_equal(part, tiny().parameters["embed_out.weight"][1:, 2])
        del part
        gc.collect()
        self.assertIsNone(alive())

    def test_configuration(self):
        config = tiny("exp + 0.5*gauss").config
        self.assertEqual({name: config[name] for name in TINY}, TINY)
        self.assertEqual(config["position_encoding"], "exp + 0.5*gauss")
        with self.assertRaisesRegex(TypeError, "unknown setting 'hidden'; settings: vocab_size, hidden_size"):
            libmep.Model.create({"hidden": 3})
        with self.assertRaisesRegex(libmep.MepError, "huge"):
            libmep.preset("huge")
        with self.assertRaises(libmep.MepError):
            libmep.Model.create({**libmep.preset("nano"), "num_attention_heads": 7})
        self.assertIn("position='exp + 0.5*gauss'", repr(tiny("exp + 0.5*gauss")))

    def test_save_and_load(self):
        model = tiny("kerple_log")
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            again = libmep.Model.load(folder)
        np.testing.assert_array_equal(again.logits([5, 6, 7]), model.logits([5, 6, 7]))
        with self.assertRaisesRegex(libmep.MepError, "nosuch") as caught:
            libmep.Model.load("nosuch")
        with self.assertRaisesRegex(TypeError, "unknown setting 'shards'; settings: dtype, shard_size"):
            model.save("nosuch", shards=3)
        self.assertFalse(Path("nosuch").exists())
        self.assertEqual(caught.exception.status, "MEP_ERROR_IO")


class Folders(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_another_encoding(self):
        bloom, tokens = GOLDEN_FAMILIES / "bloom", np.arange(50) % 61
        own = libmep.Model.load(bloom)
        self.assertEqual(own.config["position_encoding"], "alibi")
        swapped = libmep.Model.load(bloom, position="mep")
        self.assertEqual(swapped.config["position_encoding"], "mep")
        self.assertEqual(libmep.Model.load(bloom, position="alibi").new_parameters, [])
        self.assertEqual(libmep.Model.load(bloom, position="kerple_log").new_parameters,
                         ["position_bias.kerple_log.p", "position_bias.kerple_log.a"])
        self.assertGreater(np.abs(swapped.logits(tokens) - own.logits(tokens)).max(), 1e-3)
        np.testing.assert_array_equal(libmep.Model.load(bloom, "exp").logits(tokens), own.logits(tokens))
        drawn = [libmep.Model.load(bloom, "kerple_log", seed).parameters["position_bias.kerple_log.p"].tolist()
                 for seed in (1, 1, 2)]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
        with self.assertRaisesRegex(libmep.MepError, 'unknown kernel "gaus"'):
            libmep.Model.load(bloom, "gaus")

    def test_export(self):
        tokens = np.arange(50) % 61
        for name in ("neox", "bloom", "mpt", "gpt2"):
            model = libmep.Model.load(GOLDEN_FAMILIES / name)
            out = self.folder / "a" / name
            self.assertEqual(model.export(out, shard_size=9000), {"neox": "gpt_neox"}.get(name, name))
            self.assertGreaterEqual(len(list(out.glob("model-0*-of-0*.safetensors"))), 2)
            np.testing.assert_array_equal(libmep.Model.load(out).logits(tokens), model.logits(tokens))
            with self.assertRaisesRegex(libmep.MepError, "choose another folder"):
                model.export(out)
        self.assertEqual(libmep.Model.load(GOLDEN_FAMILIES / "bloom", "mep").export(self.folder / "b"), "mep")
        self.assertTrue((self.folder / "b" / "modeling_mep.py").exists())

    def test_bfloat16(self):
        model = tiny("kerple_log")
        self.assertEqual(model.export(self.folder, dtype="bfloat16"), "mep")
        self.assertEqual(json.loads((self.folder / "config.json").read_text())["torch_dtype"], "bfloat16")
        written = libmep.Model.load(self.folder).parameters
        for name, values in model.parameters.items():
            np.testing.assert_array_equal(written[name], from_bfloat16(to_bfloat16(values)), name)
        with self.assertRaisesRegex(ValueError, "float32 and bfloat16 are possible"):
            model.save(self.folder, dtype="float16")


class Computing(unittest.TestCase):
    def test_sizes_in_any_order(self):
        """One workspace is kept and made anew where it is too small: the results are those of a fresh model."""
        model, rng = tiny(), np.random.default_rng(0)
        for shape, dtype in (((9,), "float32"), ((2, 5), "float32"), ((1, 40), "float32"), ((3, 3), "bfloat16"),
                             ((2, 2), "float32")):
            tokens = rng.integers(0, 257, shape)
            logits = model.logits(tokens, dtype)
            self.assertEqual(logits.shape, (*shape, 257))
            np.testing.assert_array_equal(logits, tiny().logits(tokens, dtype))
            self.assertEqual(model.losses(tokens, tokens, dtype).shape, shape)

    def test_devices(self):
        """The default device is cpu. Where cuda cannot be used, every call that names it says why; elsewhere the
        results are close."""
        model, tokens = tiny(), [1, 2, 3]
        np.testing.assert_array_equal(model.logits(tokens, device="cpu"), model.logits(tokens))
        workspace = model._session
        model.logits(tokens, "float32", device="cpu")  # the defaults, named
        self.assertIs(model._session, workspace)
        libmep.check_device("cpu")
        with self.assertRaisesRegex(ValueError, "device 'tpu': cpu and cuda are possible"):
            model.logits(tokens, device="tpu")
        try:
            libmep.check_device("cuda")
        except libmep.MepError as error:
            self.assertIn("CUDA", str(error))
            self.assertEqual(error.status, "MEP_ERROR_UNSUPPORTED")
            for call in (model.logits, lambda t, **k: model.losses(t, t, **k), model.generate):
                with self.assertRaisesRegex(libmep.MepError, "CUDA"):
                    call(tokens, device="cuda")
        else:
            check(self, model.logits(tokens, device="cuda"), model.logits(tokens), 0.05, "cuda")
            with self.assertRaisesRegex(libmep.MepError, "bfloat16"):
                model.logits(tokens, "float32", device="cuda")

    def test_wrong_tokens(self):
        model = tiny()
        for wrong, kind in (([257], libmep.MepError), ([-1], libmep.MepError), ([], ValueError),
                            ([0.5], TypeError), ([1 << 40], ValueError), (np.zeros((1, 1, 1), int), ValueError)):
            with self.assertRaises(kind):
                model.logits(wrong)
        with self.assertRaises(ValueError):
            model.losses([1, 2], [1, 2, 3])
        with self.assertRaisesRegex(libmep.MepError, "32 positions"):
            tiny("learned").logits(np.zeros(33, int))


class Generating(unittest.TestCase):
    def test_greedy_is_the_likeliest_of_the_logits(self):
        model, text = tiny(), [1, 2, 3]
        made = model.generate(text, max_tokens=12, temperature=0.0)
        self.assertEqual((made.dtype, made.size), (np.int32, 12))
        for token in made:
            self.assertEqual(token, model.logits(text)[-1].argmax())
            text.append(int(token))

    def test_callbacks(self):
        model, seen = tiny(), []
        made = model.generate([1], lambda token: seen.append(token) or len(seen) == 5, max_tokens=libmep.ENDLESS)
        self.assertEqual((made.tolist(), len(seen)), (seen, 5))

        def broken(token):
            raise KeyboardInterrupt(str(token))
        with self.assertRaises(KeyboardInterrupt):
            model.generate([1], broken)
        inside = model.generate([1], lambda token: model.logits([token]).shape != (1, 257), max_tokens=3)
        self.assertEqual(inside.size, 3)

    def test_settings(self):
        model = tiny()
        first = model.generate([1], max_tokens=30, seed=1)
        np.testing.assert_array_equal(first, model.generate([1], max_tokens=30, seed=1))
        self.assertFalse(np.array_equal(first, model.generate([1], max_tokens=30, seed=2)))
        self.assertLess(model.generate([1], max_tokens=50, vocab_limit=10).max(), 10)
        self.assertEqual(model.generate([1], max_tokens=0).size, 0)
        with self.assertRaisesRegex(TypeError, "unknown setting 'max_token'; settings: max_tokens"):
            model.generate([1], max_token=3)
        with self.assertRaises(libmep.MepError):
            model.generate([])
        with self.assertRaises(libmep.MepError):
            model.generate([1], temperature=-1.0)

    @unittest.skipIf(PROGRAM is None, "MEP_PROGRAM does not name the program")
    def test_equals_the_program_s(self):
        tokenizer = libmep.Tokenizer("bytes")
        with tempfile.TemporaryDirectory() as folder:
            for position in ("mep", "rotary", "kerple_log"):
                tiny(position).save(folder)
                options = ["--prompt", "the quick", "-n", "50", "--seed", "4", "-t", "0.9", "-k", "60", "--quiet"]
                text = subprocess.run([PROGRAM, "generate", "--model", folder, *options], capture_output=True,
                                      check=True).stdout
                made = libmep.Model.load(folder).generate(
                    tokenizer.encode("the quick"), max_tokens=50, seed=4, temperature=0.9, top_k=60,
                    vocab_limit=257, stop_token=tokenizer.end_of_document)
                self.assertEqual(text, b"the quick" + tokenizer.decode(made) + b"\n")
                self.assertGreaterEqual(made.size, 20)


@unittest.skipIf(PROGRAM is None, "MEP_PROGRAM does not name the program")
class Data(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.documents = ["Line %d: the quick brown fox." % i for i in range(60)]
        for i, text in enumerate(self.documents):
            (self.folder / f"{i:02}.txt").write_text(text)
        subprocess.run([PROGRAM, "prepare", "--out", self.folder / "data" / "text",
                        *sorted(self.folder.glob("*.txt"))], capture_output=True, check=True)
        self.data = libmep.Dataset(self.folder / "data" / "text")

    def test_dataset(self):
        tokenizer = libmep.Tokenizer.open(self.data.tokenizer)
        self.assertEqual((tokenizer.name, self.data.documents, self.data.vocab_size), ("bytes", 60, 257))
        self.assertEqual(len(self.data), sum(len(text) + 1 for text in self.documents))
        for index in (0, 31, 59):
            tokens = self.data.document(index)
            self.assertEqual(tokenizer.decode(tokens).decode(), self.documents[index])
            self.assertEqual(tokens[-1], tokenizer.end_of_document)
        with self.assertRaises(IndexError):
            self.data.document(60)
        with self.assertRaisesRegex(TypeError, "index must be an integer, not float"):
            self.data.document(1.5)
        with self.assertRaisesRegex(TypeError, "start must be an integer, not str"):
            self.data.read("0", 1)
        with self.assertRaises(libmep.MepError):
            self.data.read(len(self.data) - 3, 4)
        with self.assertRaises(ValueError):
            self.data.read(0, -1)

    def test_evaluate(self):
        model, calls = tiny(), []
        result = model.evaluate(self.data, 64, lambda *values: calls.append(values))
        tokens = self.data.read(0, 64 * result["segments"] + 1)
        losses = model.losses(tokens[:-1].reshape(-1, 64), tokens[1:].reshape(-1, 64))
        self.assertEqual(result["tokens"], losses.size)
        self.assertAlmostEqual(result["loss"], losses.astype(np.float64).mean(), delta=1e-5)
        self.assertAlmostEqual(result["perplexity"], np.exp(result["loss"]), delta=1e-6)
        self.assertGreaterEqual(len(calls), 1)
        with self.assertRaises(libmep.MepError) as caught:
            model.evaluate(self.data, on_batch=lambda *values: True, length=64, batch_tokens=64)
        self.assertEqual(caught.exception.status, "MEP_INTERRUPTED")
        with self.assertRaises(ZeroDivisionError):
            model.evaluate(self.data, 64, lambda *values: 1 / 0)

    def test_evaluate_lengths(self):
        model, lengths = tiny(), (16, 64, 256)
        results = model.evaluate(self.data, lengths)
        self.assertEqual([result["length"] for result in results], list(lengths))
        with self.assertRaisesRegex(ValueError, "lengths must be integers"):
            model.evaluate(self.data, [16.5])
        self.assertEqual({result["tokens"] for result in results}, {(len(self.data) - 1) // 256 * 256})
        whole = model.evaluate(self.data, 256, max_tokens=results[0]["tokens"])
        self.assertEqual(whole["loss"], results[2]["loss"])
        self.assertEqual([r["tokens"] for r in model.evaluate(self.data, [16, 64], max_tokens=100)], [96, 64])
        self.assertEqual(model.evaluate(self.data, []), [])
        with self.assertRaisesRegex(TypeError, r"must be a Dataset, not str: libmep.Dataset\(prefix\) opens it"):
            model.evaluate("data/books.valid", 64)
        with self.assertRaisesRegex(TypeError, "both"):
            model.evaluate(self.data, 64, length=64)
        with self.assertRaisesRegex(libmep.MepError, "too few for one segment of length 1000000"):
            model.evaluate(self.data, [64, 10**6])

    def test_evaluate_is_the_program_s(self):
        with tempfile.TemporaryDirectory() as folder:
            tiny().save(folder)
            command = [PROGRAM, "eval", "--model", folder, "--data", self.folder / "data" / "text"]
            output = subprocess.run([*command, "--lengths", "32,128", "--json", "--quiet"], capture_output=True,
                                    check=True).stdout
            results = libmep.Model.load(folder).evaluate(self.data, (32, 128))
        printed = json.loads(output)["results"]
        self.assertEqual(len(results), len(printed))
        for found, expected in zip(results, printed):
            self.assertEqual((found["length"], found["tokens"]), (expected["length"], expected["tokens"]))
            self.assertAlmostEqual(found["loss"], expected["loss"], delta=1e-12)


if __name__ == "__main__":
    unittest.main()
