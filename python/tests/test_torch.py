# SPDX-License-Identifier: MIT
"""The autograd functions against PyTorch's own gradients of the plain formulas, and a whole model in PyTorch against
the golden files."""
import copy
import json
import math
import pickle
import threading
import unittest

import numpy as np

import libmep
from support import GOLDEN, check, distance, distances, safetensors

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None
import libmep.torch
from torch.nn import functional


def plain_attention(q, k, v, table=None, scale=None):
    """The formula, with the whole matrix of scores."""
    d = torch.from_numpy(distances(q.shape[2], k.shape[2]))
    scores = q @ k.transpose(2, 3) * (scale or 1 / math.sqrt(q.shape[3]))
    if table is not None:
        scores = scores + table[:, d.clamp(min=0)].to(scores.dtype)
    return scores.masked_fill(d < 0, -torch.inf).softmax(-1) @ v


def problem(batch=2, heads=3, queries=65, keys=65, channels=32, dtype=torch.float32, table=None, seed=0):
    """[q, k, v, table] that want gradients, and the gradient of out."""
    torch.manual_seed(seed)
    q, k, v, dout = (torch.randn(batch, heads, n, channels).to(dtype) for n in (queries, keys, keys, queries))
    table = torch.randn(heads, keys + 7) if table is None else table
    return [x.requires_grad_() for x in (q, k, v, table)], dout


def gradients(function, inputs, dout, to=None):
    """(out, gradients of the inputs), computed in the type `to` where it is given."""
    inputs = [x.detach().clone().to(to or x.dtype).requires_grad_() for x in inputs]
    out = function(*inputs)
    out.backward(dout.to(out.dtype))
    return [out.detach()] + [x.grad for x in inputs]


def numbers(tensor):
    return tensor.detach().double().numpy()


NAMES = ("out", "dq", "dk", "dv", "dtable")


def bfloat16_is_right():
    """Whether PyTorch's own products are right: under OMP_THREAD_LIMIT=1, PyTorch 2.15 computes wrong ones in bfloat16
    on CPUs with bfloat16 arithmetic."""
    torch.manual_seed(0)
    x, w = torch.rand(50, 64), torch.rand(64, 64)
    return bool(distance(numbers(x.bfloat16() @ w.bfloat16()), numbers(x @ w)) < 0.05)


class Attention(unittest.TestCase):
    def test_float32(self):
        for shape in ({}, {"queries": 1, "keys": 65}, {"queries": 17, "keys": 200}, {"channels": 5, "heads": 1},
                      {"queries": 400, "keys": 400, "batch": 1}):
            inputs, dout = problem(**shape)
            right = gradients(plain_attention, inputs, dout, torch.float64)
            for name, x, expected in zip(NAMES, gradients(libmep.torch.attention, inputs, dout), right):
                check(self, numbers(x), numbers(expected), 5e-6, name)

    def test_bfloat16(self):
        """As near the float64 gradient of the same values as PyTorch's own bfloat16 is, and a bit."""
        if not bfloat16_is_right():
            self.skipTest("PyTorch's products in bfloat16 are wrong here")
        inputs, dout = problem(queries=130, keys=130, dtype=torch.bfloat16)
        right = gradients(plain_attention, inputs, dout, torch.float64)
        plain = gradients(plain_attention, inputs, dout)
        for name, x, own, expected in zip(NAMES, gradients(libmep.torch.attention, inputs, dout), plain, right):
            self.assertEqual(x.dtype, own.dtype)
            error, theirs = distance(numbers(x), numbers(expected)), distance(numbers(own), numbers(expected))
            self.assertTrue(error <= 1.2 * theirs and error <= 2e-2, f"{name}: {error:.3g}, PyTorch's {theirs:.3g}")

    def test_finite_differences(self):
        """The slope of a loss along a random direction, for each input."""
        inputs, dout = problem(queries=40, keys=40)
        found = gradients(libmep.torch.attention, inputs, dout)[1:]
        torch.manual_seed(1)
        for i, gradient in enumerate(found):
            direction, sides = torch.randn_like(inputs[i]), []
            for step in (1e-2, -1e-2):
                moved = [x.detach() for x in inputs]
                moved[i] = moved[i] + step * direction
                sides.append((libmep.torch.attention(*moved).double() * dout).sum().item())
            slope = (gradient.double() * direction).sum().item()
            self.assertTrue(abs((sides[0] - sides[1]) / 2e-2 - slope) <= 2e-3 * max(1, abs(slope)), NAMES[i + 1])

    def test_scale_and_no_bias(self):
        inputs, dout = problem()
        found = gradients(lambda *x: libmep.torch.attention(*x, scale=0.7), inputs[:3], dout)
        right = gradients(lambda *x: plain_attention(*x, scale=0.7), inputs[:3], dout, torch.float64)
        for name, x, expected in zip(NAMES, found, right):
            check(self, numbers(x), numbers(expected), 5e-6, name)

    def test_only_what_is_asked_for(self):
        inputs, dout = problem()
        right = gradients(libmep.torch.attention, inputs, dout)[1:]
        for wanted in range(4):
            tensors = [x.detach().requires_grad_(i == wanted) for i, x in enumerate(inputs)]
            libmep.torch.attention(*tensors).backward(dout)
            self.assertEqual([x.grad is not None for x in tensors], [i == wanted for i in range(4)])
            self.assertTrue(torch.equal(tensors[wanted].grad, right[wanted]))

    def test_layouts_give_the_same_bits(self):
        """Slices of a fused [batch, length, heads, (q, k, v), channels]; gradients of stride 0, and with channels that
        are not contiguous."""
        inputs, dout = problem()
        right = gradients(libmep.torch.attention, inputs, dout)
        fused = torch.stack([x.detach().transpose(1, 2) for x in inputs[:3]], 3).requires_grad_()
        q, k, v = (x.transpose(1, 2) for x in fused.unbind(3))
        table = inputs[3].detach().requires_grad_()
        out = libmep.torch.attention(q, k, v, table)
        self.assertTrue(out.transpose(1, 2).is_contiguous(), "the layout of q is kept")
        out.backward(dout)
        dq, dk, dv = (x.transpose(1, 2) for x in fused.grad.unbind(3))
        for name, x, expected in zip(NAMES, (out, dq, dk, dv, table.grad), right):
            self.assertTrue(torch.equal(x, expected), name)
        scattered = dout.mT.contiguous().mT
        self.assertNotEqual(scattered.stride(-1), 1)
        for x, expected in zip(gradients(libmep.torch.attention, inputs, scattered), right):
            self.assertTrue(torch.equal(x, expected))
        ones = gradients(libmep.torch.attention, inputs, torch.ones_like(dout))
        inputs[0].grad = None
        libmep.torch.attention(*inputs).sum().backward()
        self.assertTrue(torch.equal(inputs[0].grad, ones[1]))

    def test_the_plan_takes_tensors_where_they_lie(self):
        (q, k, v, table), dout = problem(keys=65)
        plan = libmep.Attention(3, 32, 65).set_bias(table.detach().numpy())
        target = torch.zeros(2, 65, 3, 32).transpose(1, 2)
        address = target.data_ptr()
        out, lse = plan.forward(q, k, v, out=target)
        self.assertEqual((out.data_ptr(), lse.dtype, lse.shape), (address, torch.float32, (2, 3, 65)))
        self.assertTrue(torch.equal(out, libmep.torch.attention(q, k, v, table)))
        dbias = plan.backward(q, k, v, out, lse, dout)[3]
        self.assertEqual((dbias.dtype, dbias.shape), (torch.float64, (3, 65)))
        half = [x.to(torch.bfloat16) for x in (q, k, v)]
        numpy_out, _ = libmep.Attention(3, 32, 65, torch.bfloat16).set_bias(table.detach().numpy()).forward(
            *(x.detach().view(torch.uint16).numpy() for x in half))
        np.testing.assert_array_equal(
            numpy_out, libmep.torch.attention(*half, table).detach().view(torch.uint16).numpy())

    def test_keys_shared_by_heads(self):
        """Multi-query attention: expanded keys are read where they lie, and their gradient is the sum of the heads."""
        inputs, dout = problem()
        k, v = (x.detach()[:, :1].clone().requires_grad_() for x in inputs[1:3])
        def shared(function):
            return lambda q, k, v, table: function(q, k.expand(-1, 3, -1, -1), v.expand(-1, 3, -1, -1), table)
        tensors = [inputs[0], k, v, inputs[3]]
        for name, x, expected in zip(NAMES, gradients(shared(libmep.torch.attention), tensors, dout),
                                     gradients(shared(plain_attention), tensors, dout, torch.float64)):
            check(self, numbers(x), numbers(expected), 5e-6, name)

    def test_threads(self):
        """Graphs of several threads, forward and backward: the same bits as alone."""
        inputs, dout = problem()
        right, wrong = gradients(libmep.torch.attention, inputs, dout), []
        def work():
            for _ in range(10):
                got = gradients(libmep.torch.attention, inputs, dout)
                if not all(torch.equal(*pair) for pair in zip(got, right)):
                    wrong.append(1)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_wrong(self):
        q, k, v, table = problem()[0]
        for arguments, kind, words in (
                ((q.double(), k.double(), v.double()), TypeError, "q is torch.float64: torch.float32 and"),
                ((q, k.bfloat16(), v), TypeError, "k is torch.bfloat16, expected torch.float32"),
                ((q[0], k, v), ValueError, r"expected \[batch, heads, queries, head_dim\]"),
                ((q, k[:, :2], v), ValueError, "k has 2 heads, which must divide the 3 of q"),
                ((q, k, v[:, :1]), ValueError, r"v has the shape \[2, 1, 65, 32\], expected \[2, 3, 65, 32\]"),
                ((q, k, v, table[:2]), ValueError, "table has 2 heads, expected the 3 of q"),
                ((q, k, v, table.double()), TypeError, "table is torch.float64"),
                ((q, k, v, table[:, :9]), ValueError, "table covers 9 distances and the call has 65 keys"),
                ((q, k[:, :, :9], v[:, :, :9]), ValueError, "q has 65 queries and k has 9 keys"),
                ((q, k.mT.contiguous().mT, v), ValueError, "the last axis of k has the stride 65"),
                ((q.detach().numpy(), k, v), TypeError, "q must be a torch tensor, not ndarray"),
                ((q, k, None), TypeError, "v must be a torch tensor, not NoneType"),
                ((q, k, v, table.detach().numpy()), TypeError, "table must be a torch tensor, not ndarray")):
            with self.assertRaisesRegex(kind, words):
                libmep.torch.attention(*arguments)

    def test_second_derivatives_are_refused(self):
        q, k, v, table = problem()[0]
        bias = libmep.torch.DistanceBias("t5", 3)
        for loss, x in ((libmep.torch.attention(q, k, v, table), q), (bias(9).square(), bias.t5.table)):
            first, = torch.autograd.grad(loss.sum(), x, create_graph=True)
            with self.assertRaisesRegex(RuntimeError, "no second derivatives"):
                first.sum().backward()

    def test_forward_mode_is_refused(self):
        """A tangent is not lost in silence, in forward mode and in torch.func."""
        q, k, v, table = (x.detach() for x in problem()[0])
        bias = libmep.torch.DistanceBias("kerple_log", 3)
        with torch.autograd.forward_ad.dual_level():
            for call in (lambda: libmep.torch.attention(torch.autograd.forward_ad.make_dual(q, q), k, v),
                         lambda: libmep.torch.attention(q, k, v, torch.autograd.forward_ad.make_dual(table, table)),
                         lambda: torch.func.functional_call(bias, {"kerple_log.p": torch.autograd.forward_ad.make_dual(
                             bias.kerple_log.p.detach(), torch.ones(3))}, 5)):
                with self.assertRaisesRegex(RuntimeError, "no forward-mode derivatives"):
                    call()
            self.assertEqual(libmep.torch.attention(q, k, v).shape, q.shape)
        with self.assertRaisesRegex(RuntimeError, "no forward-mode derivatives"):
            torch.func.jvp(lambda q: libmep.torch.attention(q, k, v), (q,), (q,))
        with self.assertRaisesRegex(RuntimeError, "cannot be differentiated by torch.func"):
            torch.func.grad(lambda q: libmep.torch.attention(q, k, v).sum())(q)


class DistanceBias(unittest.TestCase):
    def formula(self, module, length):
        """mep_param's table by its formula in float64, from parameters that want gradients."""
        d = torch.arange(length, dtype=torch.float64)
        s = torch.from_numpy(libmep.alibi_slopes(module.heads))[:, None]
        table, p, a = (module.get_parameter(name).detach().double().requires_grad_()
                       for name in ("t5.table", "kerple_log.p", "kerple_log.a"))
        bucket = torch.where(d < 16, d, (16 + (d.clamp(min=16) / 16).log() / math.log(8) * 16).floor().clamp(max=31))
        logs = [-s * d * d, -s * d, math.sqrt(module.head_dim) * table[bucket.long()].T,
                -p[:, None] * torch.log(1 + a[:, None] * d)]
        return torch.logsumexp(torch.stack(logs), 0) - math.log(4), {"t5.table": table, "kerple_log.p": p,
                                                                     "kerple_log.a": a}

    def test_gradient_of_the_table(self):
        module = libmep.torch.DistanceBias("mep_param", 6, 32, seed=2)
        torch.manual_seed(0)
        weight = torch.randn(6, 150)
        found = module(150)
        (found * weight).sum().backward()
        expected, parameters = self.formula(module, 150)
        (expected * weight).sum().backward()
        check(self, numbers(found), numbers(expected), 1e-7)
        for name, parameter in parameters.items():
            check(self, numbers(module.get_parameter(name).grad), numbers(parameter.grad), 1e-6, name)

    def test_gradient_through_attention(self):
        module = libmep.torch.DistanceBias("mep_param", 3, 32, seed=2)
        (q, k, v, _), dout = problem()
        libmep.torch.attention(q, k, v, module(65)).backward(dout)
        table, parameters = self.formula(module, 65)
        plain_attention(q.double(), k.double(), v.double(), table).backward(dout.double())
        for name, parameter in parameters.items():
            check(self, numbers(module.get_parameter(name).grad), numbers(parameter.grad), 5e-6, name)

    def test_names_are_a_checkpoint_s(self):
        for spec in ("mep_param", "mep/learn=weights,slopes", "exp + exp:c=0.5/learn=slopes", "alibi"):
            model = libmep.Model.create({**libmep.preset("nano"), "vocab_size": 257, "position_encoding": spec})
            names = [name for name in model.parameters if name.startswith("position_bias.")]
            module = torch.nn.ModuleDict({"position_bias": libmep.torch.DistanceBias(spec, 8, 16)})
            self.assertEqual(sorted(module.state_dict()), sorted(names))
            self.assertEqual({name: tuple(value.shape) for name, value in module.state_dict().items()},
                             {name: model.parameters[name].shape for name in names})

    def test_parameters_come_back_into_their_ranges(self):
        module = libmep.torch.DistanceBias("kerple_log", 4, 32)
        with torch.no_grad():
            module.kerple_log.p[1] = -3.0
        version = module.kerple_log.a._version
        table = module(20)
        self.assertAlmostEqual(module.kerple_log.p[1].item(), 0.01, places=8)
        self.assertEqual(module.kerple_log.a._version, version, "what lies within is not written")
        table.sum().backward()
        self.assertTrue(torch.isfinite(module.kerple_log.p.grad).all())
        with torch.no_grad():
            module.kerple_log.p[0] = math.nan
        with self.assertRaises(libmep.MepError):
            module(20)

    def test_copies_and_lengths(self):
        module = libmep.torch.DistanceBias("mep_param", 4, 32, seed=9)
        for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            self.assertTrue(torch.equal(again(33), module(33)))
        self.assertTrue(torch.equal(module(100)[:, :33], module(33)))
        half = copy.deepcopy(module).bfloat16()
        half(33).sum().backward()
        self.assertEqual((half(33).dtype, half.t5.table.grad.dtype), (torch.float32, torch.bfloat16))
        fixed = libmep.torch.DistanceBias("mep", 4)
        self.assertFalse(fixed(10).requires_grad)
        self.assertIn("'mep', heads=4, head_dim=64", repr(fixed))
        with self.assertRaises(libmep.MepError):
            libmep.torch.DistanceBias("rotary", 4)
        fire = libmep.torch.DistanceBias("fire:max=64", 4)
        self.assertEqual(tuple(fire(65).shape), (4, 65))
        with self.assertRaisesRegex(ValueError, "depends on the position of queries beyond 64"):
            fire(66)

    def test_two_graphs_at_once(self):
        """The gradient is that of the values at the time of the call."""
        module = libmep.torch.DistanceBias("kerple_log", 2, 32, seed=1)
        first, second = module(10), module(20)
        (first.sum() + second[:, 10:].sum()).backward()
        both = module.kerple_log.p.grad.clone()
        module.zero_grad()
        module(20).sum().backward()
        check(self, numbers(both), numbers(module.kerple_log.p.grad), 1e-6)
        late = module(10).sum()
        with torch.no_grad():
            module.kerple_log.p += 1
        with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
            late.backward()

    def test_learns(self):
        """Attention's bias alone, learned from another encoding's outputs."""
        torch.manual_seed(0)
        q, k, v = (torch.randn(2, 2, 48, 16) for _ in range(3))
        target = libmep.torch.attention(q, k, v, torch.from_numpy(libmep.Bias("alibi", 2, 16).table(48)))
        module = libmep.torch.DistanceBias("t5", 2, 16)
        optimizer = torch.optim.Adam(module.parameters(), 0.05)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = functional.mse_loss(libmep.torch.attention(q, k, v, module(48)), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        self.assertTrue(losses[-1] < 0.05 * losses[0], (losses[0], losses[-1]))


class Windows(torch.utils.data.Dataset):
    """What a DataLoader's worker computes with objects of the parent."""

    def __init__(self):
        self.attention = libmep.Attention(3, 32, 65).set_bias(libmep.Bias("alibi", 3, 32).table(65))
        self.bias = libmep.torch.DistanceBias("mep_param", 3, 32, seed=2)
        self.tokenizer = libmep.Tokenizer("bytes")

    def __len__(self):
        return 8

    def __getitem__(self, index):
        inputs, dout = problem(seed=index)
        q, k, v = (x.detach() for x in inputs[:3])
        fixed = self.attention.forward(*(x.numpy() for x in (q, k, v)))[0]
        learned = gradients(lambda q, k, v: libmep.torch.attention(q, k, v, self.bias(65)), [q, k, v], dout)
        return torch.from_numpy(fixed), *learned, torch.from_numpy(self.tokenizer.encode(f"sample {index}"))


class Workers(unittest.TestCase):
    def test_data_loader(self):
        """Workers of a DataLoader, forked and spawned after the parent has computed, give what the parent gives."""
        data = Windows()
        right = [data[i] for i in range(len(data))]
        torch.mm(*torch.randn(2, 600, 600)).exp()  # torch's threads too
        for method, workers in (("fork", 2), ("spawn", 1)):
            loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers, timeout=300,
                                                 multiprocessing_context=method)
            found = list(loader)
            self.assertEqual(len(found), len(right), method)
            for one, other in zip(found, right):
                for x, y in zip(one, other):
                    self.assertTrue(torch.equal(x, y), method)


class GPT(torch.nn.Module):
    """The golden model (GPT-NeoX's block, sequential residual) in PyTorch with libmep's attention; parameters by their
    Hugging Face names in one dictionary."""

    def __init__(self, folder):
        super().__init__()
        self.config = json.loads((folder / "config.json").read_text())
        stored, _ = safetensors(folder / "model.safetensors")
        self.heads = self.config["num_attention_heads"]
        channels = self.config["hidden_size"] // self.heads
        self.position_bias = libmep.torch.DistanceBias(self.config["position_encoding"], self.heads, channels)
        with torch.no_grad():
            for name, parameter in self.position_bias.named_parameters():
                parameter.copy_(torch.tensor(stored.pop("position_bias." + name)))
        self.weights = {name: torch.tensor(value).float().requires_grad_() for name, value in stored.items()}

    def linear(self, x, name):
        return functional.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def norm(self, x, name):
        return functional.layer_norm(x, x.shape[-1:], self.weights[name + ".weight"], self.weights[name + ".bias"])

    def forward(self, tokens):
        batch, length = tokens.shape
        table = self.position_bias(length)
        x = functional.embedding(tokens, self.weights["gpt_neox.embed_in.weight"])
        for i in range(self.config["num_hidden_layers"]):
            layer = f"gpt_neox.layers.{i}."
            fused = self.linear(self.norm(x, layer + "input_layernorm"), layer + "attention.query_key_value")
            q, k, v = (part.transpose(1, 2) for part in fused.view(batch, length, self.heads, 3, -1).unbind(3))
            out = libmep.torch.attention(q, k, v, table).transpose(1, 2).reshape(batch, length, -1)
            x = x + self.linear(out, layer + "attention.dense")
            middle = functional.gelu(self.linear(self.norm(x, layer + "post_attention_layernorm"),
                                                 layer + "mlp.dense_h_to_4h"))
            x = x + self.linear(middle, layer + "mlp.dense_4h_to_h")
        return functional.linear(self.norm(x, "gpt_neox.final_layer_norm"), self.weights["embed_out.weight"])


class Model(unittest.TestCase):
    def test_compile(self):
        """torch.compile leaves the calls to the library between its graphs; autocast hands them bfloat16."""
        model = GPT(GOLDEN / "gpt_mep_param")
        tokens = torch.randint(0, 61, (2, 20))
        logits = model(tokens)
        self.assertTrue(torch.equal(torch.compile(model, backend="eager")(tokens), logits))
        with torch.autocast("cpu", torch.bfloat16):
            half = model(tokens)
        self.assertEqual(half.dtype, torch.bfloat16)
        if bfloat16_is_right():
            check(self, numbers(half), numbers(logits), 3e-2)

    def test_golden_gradients(self):
        """A PyTorch model with the fused attention has the golden logits and every golden gradient."""
        count = 0
        for position in ("mep", "mep_param", "alibi", "kerple_log", "kerple_power", "t5"):
            t, _ = safetensors(GOLDEN / f"gpt_{position}" / "expected.safetensors")
            model = GPT(GOLDEN / f"gpt_{position}")
            tokens = torch.tensor(t["tokens"][0])
            logits = model(tokens[:, :-1])
            check(self, numbers(logits), t["logits"], 1e-5, position)
            functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
            parameters = {**model.weights, **dict(model.named_parameters())}
            self.assertEqual({"grad." + name for name in parameters}, {n for n in t if n.startswith("grad.")})
            for name, parameter in parameters.items():
                expected = t["grad." + name]
                error = np.abs(numbers(parameter.grad) - expected).max()
                self.assertTrue(error <= 1e-5 * np.abs(expected).max() + 1e-7, f"{position} {name}: {error}")
                count += 1
        self.assertGreaterEqual(count, 150)


if __name__ == "__main__":
    unittest.main()
