# SPDX-License-Identifier: MIT
"""Copies and pickles of every object, and processes: what a parent has used works in forked and spawned children."""
import copy
import functools
import multiprocessing
import os
import pickle
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import numpy as np

import libmep
from libmep import _library
from support import GOLDEN, GOLDEN_FAMILIES, PROGRAM, exit_code

SECONDS = 300  # until a child counts as hanging
METHODS = [method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()]


def inputs(queries=300):
    return [np.random.default_rng(i).standard_normal((1, 4, queries, 32)).astype(np.float32) for i in range(4)]


def new_attention():
    return libmep.Attention(4, 32, 300, tolerance=1e-6).set_bias(libmep.Bias("mep", 4, 32).table(300))


def attend(attention):
    """All results, in one array."""
    q, k, v, dout = inputs()
    out, lse = attention.forward(q, k, v)
    return np.concatenate([x.ravel() for x in (out, lse, *attention.backward(q, k, v, out, lse, dout))])


def score(model):
    """Logits of a batch, and tokens made from them."""
    ids = np.arange(80).reshape(2, 40) % 61
    return np.concatenate([model.logits(ids).ravel(), model.generate(ids[0], max_tokens=8, seed=3)])


def tabulate(bias):
    return bias.table(500)


def encode(tokenizer):
    return tokenizer.encode("the quick brown fox, größer")


def read(dataset):
    return dataset.read(1, len(dataset) - 1)


def load_and_score():
    return score(libmep.Model.load(GOLDEN / "gpt_mep_param"))


class Counting(libmep.Dataset):
    """A user's class, with an attribute of its own."""

    def __init__(self, prefix, count):
        super().__init__(prefix)
        self.count = count


class Objects(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def tokenizer(self):
        shutil.copy(next(iter(sorted(GOLDEN.glob("tokenizer_[!c]*.json")))), self.folder / "tokenizer.json")
        return libmep.Tokenizer(self.folder / "tokenizer.json")

    def dataset(self, words="the quick brown fox\n"):
        if PROGRAM is None:
            self.skipTest("MEP_PROGRAM does not name the program")
        (self.folder / "text.txt").write_text(words * 40)
        for old in self.folder.glob("data.*"):
            old.unlink()
        subprocess.run([PROGRAM, "prepare", "--out", self.folder / "data", self.folder / "text.txt"], check=True,
                       capture_output=True)
        return Counting(self.folder / "data", 7)

    def everything(self):
        """(function, object) of every kind."""
        return [(attend, new_attention()), (tabulate, libmep.Bias("mep_param", 4, 32, seed=5)),
                (score, libmep.Model.load(GOLDEN / "gpt_mep_param")), (encode, self.tokenizer()),
                (encode, libmep.Tokenizer()), (read, self.dataset())]


class Copies(Objects):
    def test_have_the_same_results(self):
        for function, original in self.everything():
            for again in (copy.copy(original), copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
                self.assertIs(type(again), type(original))
                np.testing.assert_array_equal(function(again), function(original))
        self.assertEqual((again.count, len(again)), (7, len(original)))

    def test_every_family(self):
        for folder in sorted(GOLDEN_FAMILIES.glob("*/config.json")):
            model = libmep.Model.load(folder.parent)
            again = copy.deepcopy(model)
            self.assertEqual(again.config, model.config)
            np.testing.assert_array_equal(again.logits([1, 2, 3]), model.logits([1, 2, 3]))

    def test_are_independent(self):
        model, attention = libmep.Model.load(GOLDEN / "gpt_mep_param"), new_attention()
        again, before = copy.deepcopy(model), score(model)
        again.parameters["embed_out.weight"][...] = 0
        np.testing.assert_array_equal(score(model), before)
        other, before = copy.copy(attention), attend(attention)
        other.set_bias(None)
        np.testing.assert_array_equal(attend(attention), before)
        self.assertEqual(repr(attention), "Attention(heads=4, head_dim=32, max_length=300, dtype='float32')")

    def test_of_a_table_that_has_changed(self):
        """The plan has the table as it was when it was set, and so has a copy."""
        table = libmep.Bias("mep", 4, 32).table(300)
        attention = libmep.Attention(4, 32, 300, tolerance=1e-6).set_bias(table)
        table[...] = -1
        np.testing.assert_array_equal(attend(copy.deepcopy(attention)), attend(new_attention()))

    def test_from_another_folder(self):
        """Paths in a pickle do not depend on the folder of the process."""
        self.tokenizer(), self.dataset()
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            pickled = [pickle.dumps(x) for x in (libmep.Tokenizer("tokenizer.json"), libmep.Dataset("data"))]
        finally:
            os.chdir(before)
        tokenizer, dataset = (pickle.loads(data) for data in pickled)
        self.assertEqual((len(encode(tokenizer)) > 0, dataset.documents), (True, 1))

    def test_of_files_that_have_changed(self):
        tokenizer, dataset = self.tokenizer(), self.dataset()
        pickled = pickle.dumps(tokenizer), pickle.dumps(dataset)
        text = (self.folder / "tokenizer.json").read_text()
        (self.folder / "tokenizer.json").write_text(text + "\n")
        self.dataset("other words\n")
        for data in pickled:
            with self.assertRaisesRegex(ValueError, "has changed since the (tokenizer|dataset) was copied or pickled"):
                pickle.loads(data)
        (self.folder / "tokenizer.json").unlink()
        with self.assertRaises(libmep.MepError):
            pickle.loads(pickled[0])

    def test_of_a_handle(self):
        with self.assertRaisesRegex(TypeError, "belongs to this process and cannot be copied or pickled"):
            copy.copy(libmep.Bias("mep", 4)._handle)


class Processes(Objects):
    def in_child(self, method, function, *arguments):
        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.apply_async(function, arguments).get(SECONDS)

    def test_children(self):
        """Objects that the parent has used with several threads, handed to children of every kind."""
        before = libmep.set_threads()
        self.addCleanup(libmep.set_threads, before)
        libmep.set_threads(max(before, 3))
        for function, original in self.everything():
            right = function(original)
            for method in METHODS:
                np.testing.assert_array_equal(self.in_child(method, function, original), right, f"{method} {function}")
        right = load_and_score()
        for method in METHODS:
            np.testing.assert_array_equal(self.in_child(method, load_and_score), right, method)
        with open("/proc/self/maps") as maps: # clang's OpenMP library has threads in a forked child, gcc's has none
            threads = {3 if "/libomp" in maps.read() else 1}
        if {"OMP_THREAD_LIMIT", "OMP_DYNAMIC"} & set(os.environ): # the parent may have had one thread: no limit then
            threads.add(3)
        self.assertIn(self.in_child("fork", libmep.set_threads, 3), threads)
        self.assertGreaterEqual(libmep.set_threads(), 3, "the parent keeps its threads")

    def test_fork_uses_the_parent_s_objects(self):
        """Without a pickle: the child has the parent's own handles."""
        for function, original in self.everything():
            right = function(original)
            self.assertEqual(exit_code(functools.partial(
                lambda f, x, y: np.testing.assert_array_equal(f(x), y), function, original, right)), 0, function)

    def test_fork_with_a_decoder(self):
        """The child goes on with its copy of the parent's caches, and so does the parent."""
        model = libmep.Model.load(GOLDEN / "gpt_mep_param")
        decoder, ids = libmep.Decoder(model, sequences=2), np.arange(20)
        decoder.append(1, ids[:10])

        def go_on():
            np.testing.assert_array_equal(decoder.append(1, ids[10:]), model.logits(ids)[-1:])
        self.assertEqual(exit_code(go_on), 0)
        self.assertEqual(decoder.length(1), 10)
        go_on()

    def test_fork_during_a_call(self):
        """A child gets no object in the middle of a call that another thread of the parent makes, and does not wait for
        it; its other objects work."""
        model, free = (libmep.Model.load(GOLDEN / "gpt_mep_param") for _ in range(2))
        inside, go_on = threading.Event(), threading.Event()
        thread = threading.Thread(target=model.generate, args=([1], lambda token: inside.set() or go_on.wait()))
        thread.start()
        try:
            self.assertTrue(inside.wait(SECONDS))

            def refused():
                with self.assertRaisesRegex(RuntimeError, "in a call on this object when the process forked"):
                    model.logits([1])
                free.logits([1])
            self.assertEqual(exit_code(refused), 0)
        finally:
            go_on.set()
            thread.join()
        self.assertEqual(model.logits([1]).shape, free.logits([1]).shape)

    def test_locks_are_forgotten(self):
        count = len(_library._locks)
        attentions = [new_attention() for _ in range(5)]
        self.assertEqual(len(_library._locks), count + 5)
        del attentions
        self.assertEqual(len(_library._locks), count)


if __name__ == "__main__":
    unittest.main()
