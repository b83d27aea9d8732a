# SPDX-License-Identifier: MIT
"""Biases against the golden numbers, the formulas in NumPy, and finite differences."""
import json
import pickle
import unittest

import numpy as np

import libmep
from support import GOLDEN, attention, check, safetensors


def golden_spec(kernels, weights=None):
    """The golden files call exp with c = 1/2 exp_half; without weights all are equal."""
    names = [{"exp_half": "exp:c=0.5"}.get(name, name) for name in kernels]
    return " + ".join(f"{weight!r}*{name}" for weight, name in zip(weights or [1] * len(names), names))


class Values(unittest.TestCase):
    def test_golden_biases(self):
        golden = json.loads((GOLDEN / "bias.json").read_text())
        count = 0
        for case in golden["cases"]:
            spec = golden_spec(case["kernels"], case.get("weights"))
            bias = libmep.Bias(spec, case["heads"], case["head_dim"])
            bias.set_parameters({name: np.array(value) for name, value in case["params"].items()})
            check(self, bias.at(golden["distances"]), case["bias"], 1e-12, spec)
            check(self, bias.slopes, case["slopes"], 1e-14, spec)
            count += 1
        self.assertGreaterEqual(count, 40)

    def test_formula(self):
        d = np.arange(300.0)
        bias = libmep.Bias("exp + 3*gauss", 6)
        s = bias.slopes[:, None]
        check(self, bias.table(300, np.float64), np.log((np.exp(-s * d) + 3 * np.exp(-s * d * d)) / 4), 1e-12)

    def test_tables(self):
        bias = libmep.Bias("mep", 4)
        single, double = bias.table(257), bias.table(257, np.float64)
        self.assertEqual((single.dtype, double.dtype, single.shape), (np.float32, np.float64, (4, 257)))
        np.testing.assert_array_equal(single, double.astype(np.float32))
        self.assertEqual(bias.at([[0, 1], [2, 1 << 31]]).shape, (4, 2, 2))
        with self.assertRaises(ValueError):
            bias.table(4, np.float16)
        with self.assertRaises(libmep.MepError):
            bias.table(-1)
        with self.assertRaises(libmep.MepError):
            bias.at([-1])

    def test_fire(self):
        bias = libmep.Bias("fire", 3, seed=4, train_length=64)
        p, d = bias.parameters, np.arange(101.0)
        self.assertEqual((bias.threshold, libmep.Bias("mep", 3).threshold), (64, None))
        self.assertEqual(pickle.loads(pickle.dumps(bias)).threshold, 64)
        for position in (64, 100, 5000):
            x = np.log1p(p["fire.c"] * d[:position + 1]) / np.log1p(p["fire.c"] * max(position, 64))
            hidden = np.maximum(0, x[:, None] * p["fire.w1"] + p["fire.b1"])
            check(self, bias.at(d[:position + 1], position), p["fire.w2"] @ hidden.T + p["fire.b2"][:, None], 1e-12)
        check(self, bias.table(65), bias.at(d[:65], 64), 1e-6)
        with self.assertRaisesRegex(libmep.MepError, "distances from 0 to 10"):
            bias.at(d, 10)

    def test_distances_are_whole_numbers(self):
        bias = libmep.Bias("mep", 4)
        np.testing.assert_array_equal(bias.at([0.0, 3.0]), bias.at([0, 3]))
        self.assertEqual(bias.at([]).shape, (4, 0))
        for wrong in ([1.5], 0.1, [np.nan], [np.inf], [1e30]):
            with self.assertRaisesRegex(ValueError, "integers"):
                bias.at(wrong)
        with self.assertRaisesRegex(TypeError, "integers"):
            bias.at(["1"])

    def test_reach(self):
        bias = libmep.Bias("alibi", 8)
        reach = bias.reach(-20.0, 1 << 20)
        np.testing.assert_array_equal(reach, np.ceil(20 / bias.slopes))

    def test_slopes(self):
        np.testing.assert_array_equal(libmep.alibi_slopes(8), 2.0 ** -np.arange(1, 9))
        with self.assertRaises(libmep.MepError):
            libmep.alibi_slopes(0)


class Parameters(unittest.TestCase):
    def test_names_shapes_and_ranges(self):
        bias = libmep.Bias("mep_param", 4, 32, seed=7)
        self.assertEqual({name: value.shape for name, value in bias.parameters.items()},
                         {"t5.table": (32, 4), "kerple_log.p": (4,), "kerple_log.a": (4,)})
        self.assertTrue(np.any(libmep.Bias("mep_param", 4, 32).parameters["t5.table"] != bias.parameters["t5.table"]))
        before = bias.parameters
        bias.set_parameters({"kerple_log.p": [-1, 0.5, 1, 2]})
        np.testing.assert_array_equal(bias.parameters["kerple_log.p"], [0.01, 0.5, 1, 2])
        np.testing.assert_array_equal(bias.parameters["t5.table"], before["t5.table"])
        with self.assertRaisesRegex(KeyError, "kerple_log.q"):
            bias.set_parameters({"kerple_log.q": np.zeros(4)})
        with self.assertRaises(ValueError):
            bias.set_parameters({"kerple_log.p": 1.0})
        with self.assertRaises(libmep.MepError):
            bias.set_parameters({"kerple_log.p": [np.nan, 1, 1, 1]})
        self.assertEqual(libmep.Bias("mep", 4).parameters, {})

    def test_gradient_by_finite_differences(self):
        rng = np.random.default_rng(1)
        for spec in ("mep_param", "mep/learn=weights,slopes", "kerple_power", "kerple_log + t5:buckets=8,max=32"):
            bias = libmep.Bias(spec, 3, 16, seed=3)
            values = {name: rng.uniform(0.3, 1.5, value.shape) for name, value in bias.parameters.items()}
            weight = rng.standard_normal((3, 70))
            bias.set_parameters(values)
            gradient = bias.backward(weight)
            for name, value in values.items():
                for index in list(np.ndindex(value.shape))[::7]:
                    sides = []
                    for step in (1e-5, -1e-5):
                        moved = value.copy()
                        moved[index] += step
                        bias.set_parameters({name: moved})
                        sides.append((bias.table(70, np.float64) * weight).sum())
                    bias.set_parameters({name: value})
                    self.assertAlmostEqual(gradient[name][index], (sides[0] - sides[1]) / 2e-5, delta=1e-6)

    def test_golden_chain(self):
        """From a table's gradient to the parameters', by the attention's golden files: dbias is recomputed here."""
        count = 0
        for path in sorted(GOLDEN.glob("attention_*.safetensors")):
            t, meta = safetensors(path)
            names = [name[6:] for name in t if name.startswith("param.")]
            if not names:
                continue
            bias = libmep.Bias(golden_spec(meta["kernels"].split("+")), t["q"].shape[1], t["q"].shape[3])
            bias.set_parameters({name: t["param." + name] for name in names})
            check(self, bias.table(t["k"].shape[2], np.float64), t["bias"], 1e-12, path.name)
            dbias = attention(t["q"], t["k"], t["v"], t["bias"], t["dout"], float(meta["scale"]))[5]
            gradient = bias.backward(dbias)
            for name in names:
                check(self, gradient[name], t["dparam." + name], 1e-10, f"{path.name} {name}")
                count += 1
        self.assertGreaterEqual(count, 6)

    def test_pickle(self):
        bias = libmep.Bias("kerple_log + exp", 4, 32, seed=5)
        bias.set_parameters({"kerple_log.a": [1, 2, 3, 4]})
        again = pickle.loads(pickle.dumps(bias))
        self.assertEqual(repr(again), "Bias('exp + kerple_log', heads=4, head_dim=32)")
        np.testing.assert_array_equal(again.table(50), bias.table(50))

    def test_wrong_gradients(self):
        bias = libmep.Bias("kerple_log", 4)
        for wrong in (np.zeros((3, 5)), np.zeros(5)):
            with self.assertRaises(ValueError):
                bias.backward(wrong)

    def test_more_than_a_bias(self):
        """What a spec adds to the bias is refused, not lost."""
        cases = {"mep/forget": "ForgetGate", "mep/window = 3": "window", "alibi/learn=slopes/sink": "sink",
                 "mep/ profiles:rank=4,extent=64": "Profiles", "exp + gauss/weights=query": "QueryMixture",
                 "mep/scale=ssmax": "scale", "mep|mep/window=8": "several"}
        for spec, words in cases.items():
            with self.assertRaisesRegex(ValueError, words):
                libmep.Bias(spec, 4)
        self.assertEqual(libmep.Bias("mep/learn=weights,slopes", 4).spec, "mep/learn=weights,slopes")


if __name__ == "__main__":
    unittest.main()
