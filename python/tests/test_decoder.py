# SPDX-License-Identifier: MIT
"""Decoders: logits of sequences in steps against those of the whole text, greedy texts, wrong arguments."""
import copy
import pickle
import unittest

import numpy as np

import libmep
from test_model import tiny


class Decoding(unittest.TestCase):
    def test_steps(self):
        ids = np.random.default_rng(0).integers(0, 257, 90)
        for position in ("mep", "rotary", "nope/forget"):
            model = tiny(position)
            expected = model.logits(ids)
            decoder = libmep.Decoder(model, sequences=3, max_tokens=90, chunk=16)
            self.assertTrue(np.array_equal(decoder.append(0, ids[:50], rows=None), expected[:50]))
            self.assertTrue(np.array_equal(decoder.append(2, ids[:7]), expected[6:7]))
            self.assertEqual(decoder.append(1, ids[:3], rows=0).shape, (0, 257))
            for _ in range(20):
                chosen = [2, 0, 1]
                at = [decoder.length(i) for i in chosen]
                self.assertTrue(np.array_equal(decoder.step(chosen, ids[at]), expected[at]))
            decoder.clear(0)
            self.assertEqual(decoder.length(0), 0)
            self.assertTrue(np.array_equal(decoder.append(0, ids, 1)[0], expected[-1]))

    def test_greedy(self):
        model = tiny("mep")
        prompt = np.arange(20)
        decoder, made = libmep.Decoder(model), []
        logits = decoder.append(0, prompt)
        for _ in range(30):
            made.append(int(np.argmax(logits[-1])))
            logits = decoder.step([0], made[-1:])
        self.assertEqual(made, model.generate(prompt, max_tokens=30, temperature=0.0).tolist())

    def test_copies(self):
        """Two continuations of a prompt that is read once."""
        model, prompt = tiny("mep"), np.arange(40)
        decoder = libmep.Decoder(model, sequences=3)
        decoder.append(0, prompt)
        decoder.append(2, prompt[:3])
        for i in (1, 2):
            decoder.copy(i, 0)
        logits = decoder.step([0, 1, 2], [5, 6, 7])
        for i, token in enumerate((5, 6, 7)):
            self.assertTrue(np.array_equal(logits[i], model.logits([*prompt, token])[-1]))
        decoder.clear(1)
        decoder.copy(0, 1)
        self.assertEqual(decoder.length(0), 0)

    def test_refused(self):
        decoder = libmep.Decoder(tiny(), sequences=2, max_tokens=10)
        for error, text, call in (
                (TypeError, "model must be a Model, not str", lambda: libmep.Decoder("model")),
                (TypeError, "no setting|unknown|sequence_count", lambda: libmep.Decoder(tiny(), sequence_count=2)),
                (ValueError, "one sequence at a time", lambda: decoder.append(0, [[1, 2]])),
                (ValueError, "one token of each sequence", lambda: decoder.step([0, 1], [5])),
                (libmep.MepError, "there is no sequence 2", lambda: decoder.append(2, [1])),
                (libmep.MepError, "there is no sequence 7", lambda: decoder.copy(0, 7)),
                (TypeError, "to must be an integer", lambda: decoder.copy("0", 1)),
                (libmep.MepError, "in the step twice", lambda: decoder.step([1, 1], [5, 5])),
                (libmep.MepError, "cannot have 11 more", lambda: decoder.append(0, range(11))),
                (libmep.MepError, "rows from 0 to count", lambda: decoder.append(0, [1], rows=2)),
                (IndexError, "no sequence 5; the decoder has 2", lambda: decoder.length(5)),
                (TypeError, "cannot be copied or pickled", lambda: pickle.dumps(decoder)),
                (TypeError, "cannot be copied or pickled", lambda: copy.deepcopy(decoder))):
            with self.subTest(text), self.assertRaisesRegex(error, text):
                call()
        self.assertEqual(decoder.length(0), 0)


if __name__ == "__main__":
    unittest.main()
