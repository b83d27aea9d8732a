# SPDX-License-Identifier: MIT
"""The score terms of libmep.torch.attention: each, every combination of two, and all, against PyTorch's gradients of
the plain formula in float64; wrong arguments."""
import itertools
import math
import unittest

import numpy as np

import libmep
from support import check, distances

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None
import libmep.torch

TERM_TENSORS = ("table", "gate", "profiles", "bank", "mixture", "log_kernels", "sink", "table_ahead")
BATCH, HEADS, CHANNELS, RANK, EXTENT, KERNELS = 2, 4, 16, 3, 21, 2


def plain(q, k, v, table=None, gate=None, profiles=None, bank=None, mixture=None, log_kernels=None, sink=None, window=0,
          scale=0.0, starts=None, bidirectional=False, table_ahead=None, ends=None):
    """The formula, with the whole matrix of scores."""
    queries, keys, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    d = torch.from_numpy(distances(queries, keys))
    near = d.abs() if bidirectional else d.clamp(min=0)
    scores = q @ k.transpose(2, 3) * (scale or 1 / math.sqrt(q.shape[3]))
    if table is not None:
        ahead = table if table_ahead is None else table_ahead
        scores = scores + torch.where(d < 0, ahead[:, near], table[:, near])
    if gate is not None:
        scores = scores + gate[:, :, keys - queries:, None] - gate[:, :, None]
    if bank is not None:
        far = torch.nn.functional.pad(bank, (0, keys))[:, near]
        scores = scores + torch.einsum("bhim,mij->bhij", profiles, far)
    if mixture is not None:
        logs = mixture.log_softmax(-1)[:, :, :, None] + log_kernels[:, :, near].permute(0, 2, 3, 1)
        scores = scores + logs.logsumexp(-1)
    hidden = (d.abs() >= window) if window else torch.zeros_like(d, dtype=torch.bool)
    hidden = hidden if bidirectional else hidden | (d < 0)
    if starts is not None:
        early = torch.arange(keys) < starts[:, None, :, None]
        hidden = hidden | (early & (d != 0))
    if ends is not None:
        late = torch.arange(keys) >= ends[:, None, :, None]
        hidden = hidden | (late & (d != 0))
    scores = scores.masked_fill(hidden, -torch.inf)
    if sink is not None:
        scores = torch.cat([scores, sink[:, None, None].expand(q.shape[0], -1, queries, 1)], -1)
    return scores.softmax(-1)[..., :keys] @ v


def term(name, queries, keys):
    """The arguments of a term, random, by name."""
    rows = BATCH, HEADS, queries
    return {"table": lambda: {"table": torch.randn(HEADS, keys + 3)},
            "gate": lambda: {"gate": -torch.rand(BATCH, HEADS, keys, dtype=torch.float64).cumsum(-1)},
            "profiles": lambda: {"profiles": torch.randn(*rows, RANK), "bank": torch.randn(RANK, EXTENT)},
            "mixture": lambda: {"mixture": torch.randn(*rows, KERNELS),
                                "log_kernels": -torch.rand(HEADS, KERNELS, keys + 5).cumsum(-1)},
            "sink": lambda: {"sink": torch.randn(HEADS)},
            "window": lambda: {"window": 11},
            "scale": lambda: {"scale": 0.7},
            "starts": lambda: {"starts": torch.randint(0, keys, (BATCH, queries))},
            "table_ahead": lambda: {"table": torch.randn(HEADS, keys + 3), "table_ahead": torch.randn(HEADS, keys + 3)},
            "ends": lambda: {"ends": torch.randint(0, keys + 1, (BATCH, queries))},
            "bidirectional": lambda: {"bidirectional": True},
            "heads": lambda: {}}[name]()


NAMES = ("table", "gate", "profiles", "mixture", "sink", "window", "scale", "heads", "starts")
TWO_SIDED = ("table", "table_ahead", "sink", "window", "scale", "heads", "starts", "ends")


def problem(names, queries=37, keys=37, dtype=torch.float32):
    """(tensors by name, other arguments by name, dout) of a call with these terms; "heads" groups the heads."""
    torch.manual_seed(len(names) + queries)
    kv_heads = 2 if "heads" in names else HEADS
    tensors = {name: torch.randn(BATCH, h, n, CHANNELS).to(dtype)
               for name, h, n in (("q", HEADS, queries), ("k", kv_heads, keys), ("v", kv_heads, keys))}
    other = {}
    for name in names:
        for key, value in term(name, queries, keys).items():
            (tensors if key in TERM_TENSORS else other)[key] = value
    if other.get("bidirectional"):
        other.update({name: torch.minimum(other[name], torch.arange(queries)) for name in other if name == "starts"})
        other.update({name: torch.maximum(other[name], torch.arange(queries) + 1) for name in other if name == "ends"})
    return tensors, other, torch.randn(BATCH, HEADS, queries, CHANNELS).to(dtype)


def run(function, tensors, other, dout, to=None):
    """{"out": ..., and the gradient of each tensor}, computed in the type `to` where it is given."""
    inputs = {name: x.detach().clone().to(to or x.dtype).requires_grad_() for name, x in tensors.items()}
    out = function(**inputs, **other)
    out.backward(dout.to(out.dtype))
    return {"out": out.detach(), **{name: x.grad for name, x in inputs.items()}}


class Terms(unittest.TestCase):
    def compare(self, names, tolerance, dtype=torch.float32, **sizes):
        tensors, other, dout = problem(names, dtype=dtype, **sizes)
        found = run(libmep.torch.attention, tensors, other, dout)
        right = run(plain, tensors, other, dout, torch.float64)
        for name, expected in right.items():
            if name != "out":
                self.assertEqual((found[name].dtype, found[name].shape), (tensors[name].dtype, tensors[name].shape))
            check(self, found[name].double().numpy(), expected.numpy(), tolerance, f"{names} {sizes} {name}")

    def test_one_term(self):
        for name in NAMES:
            self.compare([name], 1e-5)

    def test_two_terms(self):
        count = 0
        for names in itertools.combinations(NAMES, 2):
            self.compare(names, 1e-5)
            count += 1
        self.assertEqual(count, 36)

    def test_all_terms(self):
        for sizes in ({}, {"queries": 9, "keys": 53}, {"queries": 1, "keys": 70}, {"queries": 130, "keys": 200}):
            self.compare(NAMES, 1e-5, **sizes)

    def test_bidirectional(self):
        for names in (*itertools.combinations(TWO_SIDED, 1), *itertools.combinations(TWO_SIDED, 2), TWO_SIDED):
            self.compare(["bidirectional", *names], 1e-5)
            self.compare(["bidirectional", *names], 1e-5, queries=130, keys=130)

    def test_bfloat16(self):
        for names in ([], *([name] for name in NAMES), NAMES, ("bidirectional", *TWO_SIDED)):
            self.compare(names, 3e-2, torch.bfloat16)

    def test_gate_in_float32(self):
        tensors, other, dout = problem(["gate"])
        right = run(libmep.torch.attention, tensors, other, dout)
        tensors["gate"] = tensors["gate"].float()
        found = run(libmep.torch.attention, tensors, other, dout)
        self.assertEqual(found["gate"].dtype, torch.float32)
        check(self, found["gate"].numpy(), right["gate"].numpy(), 1e-5)

    def test_only_what_is_asked_for(self):
        """Each tensor alone gets the gradient that it gets together with the others, to the bit."""
        tensors, other, dout = problem(NAMES)
        right = run(libmep.torch.attention, tensors, other, dout)
        for wanted in tensors:
            inputs = {name: x.clone().requires_grad_(name == wanted) for name, x in tensors.items()}
            libmep.torch.attention(**inputs, **other).backward(dout)
            self.assertEqual([name for name, x in inputs.items() if x.grad is not None], [wanted])
            self.assertTrue(torch.equal(inputs[wanted].grad, right[wanted]), wanted)

    def test_strides_give_the_same_bits(self):
        """q, k, v, profiles and mixture as slices, tables that are transposed."""
        tensors, other, dout = problem(NAMES)
        right = run(libmep.torch.attention, tensors, other, dout)
        def strided(name, x):
            if x.dim() == 4:
                return torch.cat([x, x], -1).transpose(1, 2).contiguous().transpose(1, 2)[..., :x.shape[-1]]
            return x.mT.contiguous().mT if x.dim() > 1 else x
        inputs = {name: strided(name, x).requires_grad_() for name, x in tensors.items()}
        self.assertFalse(any(x.is_contiguous() for name, x in inputs.items() if name != "sink"))
        out = libmep.torch.attention(**inputs, **other)
        self.assertTrue(torch.equal(out, right["out"]))
        out.backward(dout)
        for name, x in inputs.items():
            self.assertTrue(torch.equal(x.grad, right[name]), name)

    def test_wrong(self):
        tensors, other, _ = problem(NAMES)
        t = tensors
        for changes, kind, words in (
                ({"table": t["table"].double()}, TypeError, "table is torch.float64, expected torch.float32"),
                ({"table": t["table"][:, :20]}, ValueError, "table covers 20 distances and the call has 37 keys"),
                ({"table": t["table"][0]}, ValueError, r"table has the shape \[40\], expected \[heads, distances\]"),
                ({"gate": t["gate"].bfloat16()}, TypeError, "gate is torch.bfloat16, expected torch.float64"),
                ({"gate": t["gate"][:, :2]}, ValueError, r"gate has the shape \[2, 2, 37\], expected \[2, 4, 37\]"),
                ({"gate": t["gate"] * math.nan}, libmep.MepError, r"gate\[0, 0\].* nan"),
                ({"profiles": t["profiles"].bfloat16()}, TypeError, "profiles is torch.bfloat16"),
                ({"profiles": t["profiles"][..., :2]}, ValueError, "profiles has the shape"),
                ({"profiles": t["profiles"].mT.contiguous().mT}, ValueError, "last axis of profiles has the stride 37"),
                ({"profiles": None}, ValueError, "profiles is missing: bank is given"),
                ({"bank": None}, ValueError, "bank is missing: profiles is given"),
                ({"bank": t["bank"].bfloat16()}, TypeError, "bank is torch.bfloat16"),
                ({"bank": t["bank"][0]}, ValueError, r"bank has the shape \[21\], expected \[rank, extent\]"),
                ({"mixture": t["mixture"].double()}, TypeError, "mixture is torch.float64"),
                ({"mixture": t["mixture"][:, :, :9]}, ValueError, "mixture has the shape"),
                ({"mixture": None}, ValueError, "mixture is missing: log_kernels is given"),
                ({"log_kernels": None}, ValueError, "log_kernels is missing: mixture is given"),
                ({"log_kernels": t["log_kernels"][:3]}, ValueError, "log_kernels has 3 heads, expected the 4 of q"),
                ({"log_kernels": t["log_kernels"][..., :9]}, ValueError, "log_kernels covers 9 distances"),
                ({"sink": t["sink"].double()}, TypeError, "sink is torch.float64"),
                ({"sink": t["sink"][:3]}, ValueError, r"sink has the shape \[3\], expected \[4\]"),
                ({"sink": [0.0] * 4}, TypeError, "sink must be a torch tensor, not list"),
                ({"sink": t["sink"] * math.nan}, libmep.MepError, "sink"),
                ({"window": -2}, ValueError, "window is -2"),
                ({"starts": other["starts"].int()}, TypeError, "starts is torch.int32, expected torch.int64"),
                ({"starts": other["starts"][:, :9]}, ValueError, r"starts has the shape \[2, 9\]"),
                ({"starts": other["starts"] - 99}, libmep.MepError, "starts"),
                ({"starts": 0}, TypeError, "starts must be a torch tensor"),
                ({"k": t["k"].repeat(1, 2, 1, 1)[:, :3]}, ValueError, "k has 3 heads, which must divide the 4 of q"),
                ({"v": t["v"].double()}, TypeError, "v is torch.float64"),
                ({"q": t["q"].half()}, TypeError, "q is torch.float16"),
                ({"q": t["q"][:0]}, ValueError, r"q has the shape \[0, 4, 37, 16\]"),
                ({"k": t["k"].to("meta")}, ValueError, "k is on meta and q on cpu"),
                ({"table": t["table"].to("meta")}, ValueError, "table is on meta and q on cpu"),
                ({"starts": other["starts"].to("meta")}, ValueError, "starts is on meta and q on cpu"),
                ({"q": t["q"].detach().to_sparse()}, TypeError, "q is torch.sparse_coo, expected a dense tensor"),
                ({"window": 2.5}, TypeError, "window must be an integer, not float"),
                ({"bidirectional": "yes"}, TypeError, "bidirectional must be a bool, not str"),
                ({"scale": "1"}, TypeError, "scale must be a number, not str"),
                ({"tolerance": None}, TypeError, "tolerance must be a number, not NoneType"),
                ({"tolerance": 2.0}, libmep.MepError, "tolerance")):
            with self.assertRaisesRegex(kind, words):
                libmep.torch.attention(**{**tensors, **other, **changes})
        self.assertTrue(libmep.torch.attention(**tensors, **other).isfinite().all(), "later calls work")

    def test_settings_of_other_types(self):
        tensors, _, _ = problem(("table",))
        same = {"scale": None, "window": np.int64(9), "tolerance": 0, "bidirectional": np.bool_(False)}
        self.assertTrue(torch.equal(libmep.torch.attention(**tensors, **same),
                                    libmep.torch.attention(**tensors, scale=0.0, window=9)))

    def test_wrong_direction(self):
        for names, changes, words in (
                ((), {"ends": torch.zeros(2, 37, dtype=torch.int64)}, "ends is not possible with bidirectional=False"),
                (("table_ahead",), {}, "table_ahead is not possible with bidirectional=False"),
                (("bidirectional", "gate"), {}, "gate is not possible with bidirectional=True"),
                (("bidirectional", "profiles"), {}, "bank is not possible with bidirectional=True"),
                (("bidirectional", "mixture"), {}, "log_kernels is not possible with bidirectional=True"),
                (("bidirectional", "table_ahead"), {"table": None}, "table is missing: table_ahead is given"),
                (("bidirectional", "table_ahead"), {"table_ahead": torch.zeros(4, 37)}, "table_ahead has the shape")):
            tensors, other, _ = problem(names)
            with self.assertRaisesRegex(ValueError, words):
                libmep.torch.attention(**{**tensors, **other, **changes})
        tensors, other, _ = problem(("bidirectional",), queries=9)
        with self.assertRaisesRegex(ValueError, "q has 9 queries and k has 37 keys: bidirectional"):
            libmep.torch.attention(**tensors, **other)


if __name__ == "__main__":
    unittest.main()
