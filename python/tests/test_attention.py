# SPDX-License-Identifier: MIT
"""Attention against the golden files and the formula in NumPy: element types, strides, memory that is not copied,
threads, wrong arrays."""
import pickle
import threading
import unittest
import weakref

import numpy as np

import libmep
from libmep import _arrays
from support import GOLDEN, GOLDEN2, attention, check, from_bfloat16, safetensors, to_bfloat16

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None


def problem(batch=2, heads=3, queries=70, keys=70, channels=16, seed=0):
    """q, k, v, dout, float32, and the table of a bias that differs with the head."""
    rng = np.random.default_rng(seed)
    q, k, v, dout = (rng.standard_normal((batch, heads, n, channels)).astype(np.float32)
                     for n in (queries, keys, keys, queries))
    return q, k, v, dout, libmep.Bias("mep", heads, channels).table(keys)


class Golden(unittest.TestCase):
    def test_forward_and_backward(self):
        count = 0
        for path in sorted(GOLDEN.glob("attention_*.safetensors")):
            t, meta = safetensors(path)
            q, k, v, dout = (t[name].astype(np.float32) for name in ("q", "k", "v", "dout"))
            plan = libmep.Attention(q.shape[1], q.shape[3], k.shape[2], scale=float(meta["scale"]))
            if "bias" in t:
                plan.set_bias(t["bias"])
            out, lse = plan.forward(q, k, v)
            results = (out, lse, *plan.backward(q, k, v, out, lse, dout))
            names = ("out", "lse", "dq", "dk", "dv")
            for name, result in zip(names, results):
                check(self, result, t[name], 5e-6, f"{path.name} {name}")
            count += 1
        self.assertGreaterEqual(count, 5)


class Terms(unittest.TestCase):
    """Score terms; each golden file has one call with some of them, and one has all."""

    NAMES = {"r": "profiles", "a": "mixture"}

    def golden(self, path):
        """(plan, q, k, v and terms of the call as keywords, dout, expected values by name)"""
        t, meta = safetensors(path)
        t = {self.NAMES.get(name, name): value for name, value in t.items()}
        t.update({"d" + new: t.pop("d" + old) for old, new in self.NAMES.items() if "d" + old in t})
        plan = libmep.Attention(t["q"].shape[1], t["q"].shape[3], t["k"].shape[2], scale=float(meta["scale"]),
                                kv_heads=int(meta["kv_heads"]))
        plan.set_terms(**{name: t[name] for name in ("table", "sink", "bank", "log_kernels") if name in t},
                       window=int(meta["window"]))
        inputs = {name: t[name].astype(np.float64 if name == "gate" else np.float32)
                  for name in ("q", "k", "v", "gate", "profiles", "mixture") if name in t}
        return plan, inputs, t.pop("dout").astype(np.float32), t

    def test_golden(self):
        seen = set()
        for path in sorted(GOLDEN2.glob("terms_*.safetensors")):
            plan, inputs, dout, t = self.golden(path)
            out, lse = plan.forward(**inputs)
            found = plan.gradients(**inputs, out=out, lse=lse, dout=dout)
            check(self, out, t["out"], 5e-6, f"{path.name} out")
            check(self, lse, t["lse"], 5e-6, f"{path.name} lse")
            self.assertEqual({"d" + name for name in found},
                             {name for name in t if name.startswith("d") and not name.startswith("dparam.")})
            for name, value in found.items():
                check(self, value, t["d" + name], 1e-5, f"{path.name} d{name}")
            seen |= set(found)
        self.assertEqual(seen, {"q", "k", "v", "table", "gate", "sink", "profiles", "bank", "mixture", "log_kernels"})

    def test_bidirectional(self):
        """Against the causal formula: a query that sees its own and later keys only is causal in the reversed order."""
        q, k, v, dout, table = problem()
        plan = libmep.Attention(3, 16, 70, bidirectional=True).set_terms(np.zeros((3, 70)), table_ahead=table)
        starts = np.broadcast_to(np.arange(70), (2, 70))
        out, lse = plan.forward(q, k, v, starts=starts)
        found = plan.gradients(q, k, v, out, lse, dout, starts=starts)
        table = table.copy()
        table[:, 0] = 0
        right = attention(*(x[:, :, ::-1] for x in (q, k, v)), table, dout[:, :, ::-1])
        check(self, out[:, :, ::-1], right[0], 5e-6)
        for name, expected in zip(("q", "k", "v"), right[2:5]):
            check(self, found[name][:, :, ::-1], expected, 5e-6, name)
        check(self, found["table_ahead"][:, 1:], right[5][:, 1:], 5e-6)
        check(self, found["table"][:, 0], right[5][:, 0], 5e-6)
        with self.assertRaisesRegex(ValueError, "table_ahead must have the shape of table"):
            plan.set_terms(table, table_ahead=table[:, :9])
        with self.assertRaisesRegex(libmep.MepError, "table_ahead is of bidirectional plans"):
            libmep.Attention(3, 16, 70).set_terms(table, table_ahead=table)

    def test_selected_gradients_and_copies(self):
        """Fewer gradients are the same bits, and so are those of a pickle; backward is the part that it says."""
        plan, inputs, dout, _ = self.golden(GOLDEN2 / "terms_all.safetensors")
        out, lse = plan.forward(**inputs)
        rest = {**inputs, "out": out, "lse": lse, "dout": dout}
        found = plan.gradients(**rest)
        some = pickle.loads(pickle.dumps(plan)).gradients(**rest, terms=("sink", "mixture"))
        self.assertEqual(list(some), ["q", "k", "v", "sink", "mixture"])
        for name, value in some.items():
            np.testing.assert_array_equal(value, found[name], name)
        for name, value in zip(("q", "k", "v", "table"), plan.backward(**rest)):
            np.testing.assert_array_equal(value, found[name], name)

    def test_starts(self):
        """Two documents packed into a sequence have the values of the documents alone, in any form of the array."""
        q, k, v, dout, table = problem(queries=128, keys=128)
        plan = libmep.Attention(3, 16, 128).set_bias(table)
        starts = np.stack([np.where(np.arange(128) < 64, 0, 64)] * 2)
        for x in (starts, starts.tolist(), np.asfortranarray(starts)):
            out, lse = plan.forward(q, k, v, starts=x)
            results = (out, lse, *plan.backward(q, k, v, out, lse, dout, starts=x)[:3])
            for part in (slice(64), slice(64, 128)):
                alone = [a[:, :, part] for a in (q, k, v, dout)]
                out, lse = plan.forward(*alone[:3])
                for one, other in zip(results, (out, lse, *plan.backward(*alone[:3], out, lse, alone[3]))):
                    check(self, one[:, :, part], other, 1e-6)
        with self.assertRaisesRegex(TypeError, "starts must be integers"):
            plan.forward(q, k, v, starts=["a"])
        with self.assertRaisesRegex(ValueError, r"starts has the shape \[2, 5\]"):
            plan.forward(q, k, v, starts=starts[:, :5])
        with self.assertRaisesRegex(libmep.MepError, "starts"):
            plan.forward(q, k, v, starts=starts - 1)

    def test_neutral_terms(self):
        """A gate of zeros, a bank of zeros, a sink of -inf, a window of the length: the bits of the call without."""
        q, k, v, dout, table = problem()
        plan = libmep.Attention(3, 16, 70).set_bias(table)
        out, lse = plan.forward(q, k, v)
        right = (out, lse, *plan.backward(q, k, v, out, lse, dout))
        for terms, call in (({}, {"gate": np.zeros((2, 3, 70))}),
                            ({"bank": np.zeros((2, 9))}, {"profiles": np.ones((2, 3, 70, 2), np.float32)}),
                            ({"sink": np.full(3, -np.inf)}, {}), ({"window": 70}, {}),
                            ({}, {"starts": np.zeros((2, 70), np.int64)})):
            plan.set_terms(table, **terms)
            out, lse = plan.forward(q, k, v, **call)
            for one, other in zip((out, lse, *plan.backward(q, k, v, out, lse, dout, **call)), right):
                np.testing.assert_array_equal(one, other, str([*terms, *call]))
        np.testing.assert_array_equal(plan.set_terms(table, window=9).set_bias(table).forward(q, k, v)[0],
                                      plan.set_terms(table, window=9).forward(q, k, v)[0], "the window stays")

    def test_wrong(self):
        plan, inputs, dout, _ = self.golden(GOLDEN2 / "terms_all.safetensors")
        out, lse = plan.forward(**inputs)
        one = {"table": np.zeros((4, 37))}
        for terms, words in (({"table": np.zeros((3, 37))}, r"table has the shape \[3, 37\], expected \[4, length\]"),
                             ({"sink": np.zeros((4, 1))}, r"sink has the shape \[4, 1\], expected \[4\]"),
                             ({"bank": np.zeros(4)}, r"bank has the shape \[4\], expected \[rank, extent\]"),
                             ({"log_kernels": np.zeros((4, 37))}, r"log_kernels .* \[4, kernels, length\]"),
                             ({"window": -1}, "window is -1")):
            with self.assertRaisesRegex(ValueError, words):
                plan.set_terms(**terms)
        with self.assertRaisesRegex(TypeError, "window must be an integer"):
            plan.set_terms(window=2.5)
        np.testing.assert_array_equal(plan.forward(**inputs)[0], out, "the terms stay as they were")
        for changes, kind, words in (
                ({"profiles": None}, ValueError, "profiles is missing"),
                ({"profiles": inputs["profiles"].astype(float)}, TypeError, "profiles is float64, expected float32"),
                ({"profiles": inputs["profiles"][..., :2]}, ValueError, "profiles has the shape"),
                ({"mixture": np.asfortranarray(inputs["mixture"])}, ValueError, "last axis of mixture has the stride"),
                ({"gate": inputs["gate"][:, :2]}, ValueError, "gate has the shape"),
                ({"gate": inputs["gate"] * np.nan}, libmep.MepError, r"gate\[0, 0\].* nan"),
                ({"k": inputs["q"]}, ValueError, r"k has the shape \[2, 4, 37, 16\], expected \[2, 2, 37, 16\]")):
            with self.assertRaisesRegex(kind, words):
                plan.forward(**{**inputs, **changes})
        with self.assertRaisesRegex(ValueError, "terms names 'bias', which the call does not have; it has table, sink"):
            plan.gradients(**inputs, out=out, lse=lse, dout=dout, terms=["bias"])
        with self.assertRaisesRegex(ValueError, "profiles is given without bank"):
            plan.set_terms(**one).forward(**inputs)
        with self.assertRaisesRegex(libmep.MepError, "kv_heads is 3; it must divide the 4 heads"):
            libmep.Attention(4, 16, 37, kv_heads=3)


class Formula(unittest.TestCase):
    def compare(self, arrays, plan, tolerance, to=lambda x: x, back=lambda x: x):
        """Every result of the plan against the formula on the values that the plan saw."""
        q, k, v, dout, table = arrays
        plan.set_bias(table)
        q, k, v, dout = (to(x) for x in (q, k, v, dout))
        out, lse = plan.forward(q, k, v)
        results = (out, lse, *plan.backward(q, k, v, out, lse, dout))
        expected = attention(back(q), back(k), back(v), table, back(dout))
        for name, result, right in zip(("out", "lse", "dq", "dk", "dv", "dbias"), results, expected):
            result = back(result) if name in ("out", "dq", "dk", "dv") else result
            check(self, result, right, tolerance, name)
        return results

    def test_shapes(self):
        for shape in ({}, {"queries": 1, "keys": 1}, {"queries": 1, "keys": 90}, {"queries": 33, "keys": 200},
                      {"batch": 1, "heads": 1, "channels": 5}, {"heads": 2, "queries": 300, "keys": 300}):
            arrays = problem(**shape)
            b, h, _, d = arrays[0].shape
            self.compare(arrays, libmep.Attention(h, d, arrays[1].shape[2]), 5e-6)

    def test_no_bias_and_scale(self):
        q, k, v, dout, table = problem()
        plan = libmep.Attention(3, 16, 70, scale=0.5)
        out, lse = plan.forward(q, k, v)
        expected = attention(q, k, v, None, dout, scale=0.5)
        check(self, out, expected[0], 5e-6)
        check(self, plan.set_bias(table).forward(q, k, v)[0], attention(q, k, v, table, scale=0.5)[0], 5e-6)
        np.testing.assert_array_equal(plan.set_bias(None).forward(q, k, v)[0], out)

    def test_bfloat16_as_uint16(self):
        out = self.compare(problem(), libmep.Attention(3, 16, 70, "bfloat16"), 2e-2, to_bfloat16, from_bfloat16)[0]
        self.assertEqual(out.dtype, np.uint16)

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_bfloat16_of_ml_dtypes(self):
        plan = libmep.Attention(3, 16, 70, ml_dtypes.bfloat16)
        out = self.compare(problem(), plan, 2e-2, lambda x: x.astype(ml_dtypes.bfloat16),
                           lambda x: x.astype(np.float32))[0]
        self.assertEqual(out.dtype, ml_dtypes.bfloat16)
        q, k, v, _, _ = (to_bfloat16(x) for x in problem())
        np.testing.assert_array_equal(out.view(np.uint16), plan.forward(q, k, v)[0])

    def test_skipping(self):
        q, k, v, dout, _ = problem(1, 2, 2000, 2000)
        table = np.ascontiguousarray(libmep.Bias("alibi", 2).table(2000) * 64)
        results = []
        for skip in (True, False):
            plan = libmep.Attention(2, 16, 2000, skip_far=skip).set_bias(table)
            results.append(plan.forward(q, k, v)[0])
            self.assertEqual(plan.computed_fraction < 0.5, skip)
        np.testing.assert_array_equal(*results)
        plan = libmep.Attention(2, 16, 2000, tolerance=1e-3).set_bias(table)
        check(self, plan.forward(q, k, v)[0], results[0], 4e-3)

    def test_dbias_is_added_to_or_left_out(self):
        q, k, v, dout, table = problem()
        plan = libmep.Attention(3, 16, 70).set_bias(table)
        out, lse = plan.forward(q, k, v)
        fresh = plan.backward(q, k, v, out, lse, dout)[3]
        given = np.ones((3, 70))
        self.assertIs(plan.backward(q, k, v, out, lse, dout, dbias=given)[3], given)
        check(self, given - 1, fresh, 1e-12)
        self.assertIsNone(plan.backward(q, k, v, out, lse, dout, dbias=False)[3])


class Memory(unittest.TestCase):
    def test_views_are_used_where_they_lie(self):
        """The address and the strides that the library gets are the array's own; results in every layout are the same
        bits as those of contiguous arrays."""
        q, k, v, dout, table = problem()
        plan = libmep.Attention(3, 16, 70).set_bias(table)
        right = plan.forward(q, k, v)
        right += plan.backward(q, k, v, *right, dout)
        fused = np.empty((2, 70, 3, 3, 16), np.float32)  # [batch, length, heads, (q, k, v), channels]
        for i, x in enumerate((q, k, v)):
            fused[:, :, :, i] = x.transpose(0, 2, 1, 3)
        slices = [fused[:, :, :, i].transpose(0, 2, 1, 3) for i in range(3)]
        bhld_view = _arrays.view("k", slices[1], (2, 3, 70, 16), 0)
        self.assertEqual(bhld_view.data, fused.ctypes.data + 16 * 4)
        self.assertEqual((bhld_view.batch_stride, bhld_view.head_stride, bhld_view.token_stride),
                         (70 * 144, 48, 144))
        blhd = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for x in (q, k, v)]
        for arrays in (slices, blhd):
            out, lse = plan.forward(*arrays)
            self.assertTrue(out.transpose(0, 2, 1, 3).flags.c_contiguous, "the layout of q is kept")
            results = (out, lse, *plan.backward(*arrays, out, lse, dout))
            for one, other in zip(results, right):
                np.testing.assert_array_equal(one, other)

    def test_a_view_keeps_its_array(self):
        alive = weakref.ref(array := np.zeros((1, 1, 1, 1), np.float32))
        view = _arrays.view("q", array, array.shape, 0)
        del array
        self.assertIsNotNone(alive())
        del view
        self.assertIsNone(alive())

    def test_writes_into_the_given_array(self):
        q, k, v, dout, table = problem()
        plan = libmep.Attention(3, 16, 70).set_bias(table)
        whole = np.zeros((2, 70, 2, 3, 16), np.float32)
        target = whole[:, :, 1].transpose(0, 2, 1, 3)
        out, _ = plan.forward(q, k, v, out=target)
        self.assertIs(out, target)
        self.assertTrue(np.shares_memory(out, whole))
        np.testing.assert_array_equal(whole[:, :, 1].transpose(0, 2, 1, 3), plan.forward(q, k, v)[0])
        self.assertFalse(whole[:, :, 0].any(), "what is between is not touched")

    def test_broadcast_keys(self):
        """Keys and values shared by all heads are given once, with stride 0."""
        q, k, v, dout, table = problem()
        k, v = (np.broadcast_to(x[:, :1], x.shape) for x in (k, v))
        plan = libmep.Attention(3, 16, 70).set_bias(table)
        out, lse = plan.forward(q, k, v)
        dk = plan.backward(q, k, v, out, lse, dout)[1]
        check(self, out, attention(q, k, v, table)[0], 5e-6)
        check(self, dk, attention(q, k, v, table, dout)[3], 5e-6)

    def test_reversed_tokens(self):
        q, k, v, _, table = problem()
        plan = libmep.Attention(3, 16, 70).set_bias(table)
        backwards = [np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1] for x in (q, k, v)]
        self.assertLess(backwards[0].strides[2], 0)
        np.testing.assert_array_equal(plan.forward(*backwards)[0], plan.forward(q, k, v)[0])

    def test_layouts_of_new_arrays(self):
        x = np.empty((2, 70, 3, 16), np.float32)
        for view in (x, x.transpose(0, 2, 1, 3), x.transpose(2, 1, 0, 3), x[:, :, :, :1],
                     np.broadcast_to(x[:, :1], x.shape)):
            new = _arrays.empty_like(view)
            self.assertEqual((new.shape, new.strides[3]), (view.shape, 4))


class Threads(unittest.TestCase):
    def test_several_threads(self):
        """Threads that share a plan, and threads with their own, each with its queries: the same bits as alone."""
        q, k, v, _, table = problem(queries=257, keys=257)
        shared = libmep.Attention(3, 16, 257).set_bias(table)
        wrong = []

        def work(plan, q, right):
            for _ in range(30):
                if not np.array_equal(plan.forward(q, k, v)[0], right):
                    wrong.append(plan)

        plans = [shared, shared, shared, libmep.Attention(3, 16, 257).set_bias(table)]
        queries = [q * (i + 1) for i in range(len(plans))]
        right = [shared.forward(x, k, v)[0] for x in queries]
        threads = [threading.Thread(target=work, args=arguments) for arguments in zip(plans, queries, right)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class Wrong(unittest.TestCase):
    def setUp(self):
        self.q, self.k, self.v, self.dout, self.table = problem()
        self.plan = libmep.Attention(3, 16, 70).set_bias(self.table)

    def refuse(self, kind, words, **changes):
        arrays = {"q": self.q, "k": self.k, "v": self.v, **changes}
        with self.assertRaisesRegex(kind, words):
            self.plan.forward(**arrays)

    def test_arrays(self):
        self.refuse(TypeError, "v is float64, expected float32", v=self.v.astype(np.float64))
        self.refuse(TypeError, "q is bfloat16", q=to_bfloat16(self.q))
        self.refuse(TypeError, "v must be a NumPy array or a torch tensor, not list", v=[1])
        self.refuse(ValueError, "v has the shape", v=self.v[:, :2])
        self.refuse(ValueError, "v has the shape", v=self.v[:, :, :69])
        self.refuse(ValueError, "expected batch, heads, length, head_dim", q=self.q[0])
        self.refuse(ValueError, "the last axis of k has the stride", k=np.asfortranarray(self.k))
        odd = np.zeros(self.q.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(self.q.shape)
        self.refuse(ValueError, "q must be aligned", q=odd)
        self.refuse(ValueError, "byte order", q=self.q.astype(">f4"))

    def test_outputs(self):
        out = np.empty_like(self.q)
        out.flags.writeable = False
        self.refuse(ValueError, "out is read-only", out=out)
        one = np.lib.stride_tricks.as_strided(np.empty_like(self.q), strides=(self.q.strides[0], 0, 64, 4))
        self.refuse(ValueError, "out is broadcast", out=one)
        out, lse = self.plan.forward(self.q, self.k, self.v)
        arrays = self.q, self.k, self.v, out, lse, self.dout
        with self.assertRaisesRegex(ValueError, "dbias has the shape"):
            self.plan.backward(*arrays, dbias=np.zeros((3, 69)))
        with self.assertRaisesRegex(TypeError, "dbias is float32, expected float64"):
            self.plan.backward(*arrays, dbias=np.zeros((3, 70), np.float32))
        with self.assertRaisesRegex(ValueError, "lse must be contiguous"):
            self.plan.backward(self.q, self.k, self.v, out, np.asfortranarray(lse), self.dout)

    def test_the_library_s_own_words(self):
        longer = problem(queries=71, keys=71)
        with self.assertRaisesRegex(libmep.MepError, "queries <= keys <= 70") as caught:
            self.plan.set_bias(None).forward(*longer[:3])
        self.assertEqual(caught.exception.status, "MEP_ERROR_ARGUMENT")
        with self.assertRaisesRegex(ValueError, "table covers 50 distances and the call has 70 keys"):
            self.plan.set_bias(self.table[:, :50]).forward(self.q, self.k, self.v)
        self.table[1, 3] = np.nan
        with self.assertRaises(libmep.MepError) as caught:
            self.plan.set_bias(self.table)
        self.assertEqual(caught.exception.status, "MEP_ERROR_NUMERIC")
        with self.assertRaisesRegex(libmep.MepError, "tolerance"):
            libmep.Attention(3, 16, 70, tolerance=2.0)
        with self.assertRaisesRegex(ValueError, "'float16': float32 and bfloat16 are possible"):
            libmep.Attention(3, 16, 70, np.float16)
        with self.assertRaisesRegex(ValueError, r"table has the shape \[70\]"):
            self.plan.set_bias(self.table[0])


if __name__ == "__main__":
    unittest.main()
