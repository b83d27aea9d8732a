# SPDX-License-Identifier: MIT
"""torch.ops.libmep.* as operators: opcheck, torch.compile, torch.export, autocast, other devices, layouts of compiled
graphs."""
import unittest
import unittest.mock

import libmep
from support import check

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None
import libmep.torch
from libmep import _operators as operators
from torch._subclasses.fake_tensor import FakeTensorMode
from test_torch_terms import NAMES, TERM_TENSORS, TWO_SIDED, plain, problem, run


def arguments(names, **sizes):
    """Positional arguments of torch.ops.libmep.attention, tensors that want gradients."""
    tensors, other, _ = problem(names, **sizes)
    found = [tensors[name].requires_grad_() if name in tensors else None for name in ("q", "k", "v", *TERM_TENSORS)]
    return (*found, other.get("starts"), other.get("ends"), other.get("window", 0), other.get("bidirectional", False),
            other.get("scale", 0.0), 0.0)


class Operators(unittest.TestCase):
    def setUp(self):
        torch._dynamo.reset()

    def test_opcheck_attention(self):
        for names in ([], ["table"], ["heads", "gate", "starts"], NAMES, ["bidirectional", *TWO_SIDED]):
            result = torch.library.opcheck(torch.ops.libmep.attention.default, arguments(names))
            self.assertEqual(set(result.values()), {"SUCCESS"})
            self.assertGreaterEqual(len(result), 4)

    def test_opcheck_backward(self):
        for names in ([], NAMES, ["bidirectional", *TWO_SIDED]):
            call = arguments(names)
            with torch.no_grad():
                call = [x.detach() if isinstance(x, torch.Tensor) else x for x in call]
                out, lse = torch.ops.libmep.attention(*call)
            wanted = [x is not None for x in call[3:11]]
            call = torch.randn_like(out), *call[:3], out, lse, *call[3:13], wanted, *call[13:]
            result = torch.library.opcheck(torch.ops.libmep.attention_backward.default, call)
            self.assertEqual(set(result.values()), {"SUCCESS"})

    def test_opcheck_tables(self):
        for spec in ("mep", "mep_param", "kerple_log"):
            module = libmep.torch.DistanceBias(spec, 4, 16)
            call = module._like, list(module.parameters()), module.spec, 4, 16, 30
            result = torch.library.opcheck(torch.ops.libmep.bias_table.default, call)
            self.assertEqual(set(result.values()), {"SUCCESS"})
            parameters = [x.detach() for x in module.parameters()]
            result = torch.library.opcheck(torch.ops.libmep.bias_table_backward.default,
                                           (torch.randn(4, 30), parameters, module.spec, 4, 16))
            self.assertEqual(set(result.values()), {"SUCCESS"})

    def test_log_sum_of_exponentials(self):
        """The second result, which is not differentiable."""
        tensors, _, _ = problem(["table"])
        q = tensors["q"].requires_grad_()
        out, lse = torch.ops.libmep.attention(q, *(tensors[name] for name in ("k", "v", "table")))
        self.assertEqual((out.requires_grad, lse.requires_grad, lse.shape, lse.dtype),
                         (True, False, (2, 4, 37), torch.float32))
        plan = libmep.Attention(4, 16, 37).set_bias(tensors["table"].numpy())
        expected = plan.forward(*(tensors[name].detach().numpy() for name in "qkv"))[1]
        self.assertTrue(torch.equal(lse, torch.from_numpy(expected)))

    def test_tensors_are_used_in_place(self):
        """The library gets the addresses and strides of the caller's tensors, forward and backward. That is tested for
        the kernels in C by tests/test_torch_kernels.c."""
        calls, make = [], operators.Call
        def spy(**fields):
            calls.append(make(**fields))
            return calls[-1]
        x = torch.randn(2, 37, 3, 4, 16, requires_grad=True)  # batch, length, (q, k, v), heads, channels
        q, k, v = x.transpose(1, 3).unbind(2)
        with unittest.mock.patch.object(operators, "KERNELS", "python"), \
                unittest.mock.patch.object(operators, "Call", spy):
            libmep.torch.attention(q, k, v).sum().backward()
        self.assertEqual(len(calls), 2)
        for call in calls:
            for name, tensor in (("q", q), ("k", k), ("v", v)):
                view = getattr(call, name)
                self.assertEqual((view.data, view.batch_stride, view.head_stride, view.token_stride),
                                 (tensor.data_ptr(), *tensor.stride()[:3]), name)

    def test_meta(self):
        tensors, other, _ = problem(NAMES)
        other["starts"] = other["starts"].to("meta")
        out = libmep.torch.attention(**{name: x.to("meta") for name, x in tensors.items()}, **other)
        self.assertEqual((out.device.type, out.shape), ("meta", tensors["q"].shape))

    def test_another_device_is_refused(self):
        with FakeTensorMode():
            x, table = torch.empty(1, 2, 4, 8), torch.empty(2, 4, device="cuda")
            for call, words in (((x.cuda(), x, x), "q is on cuda:0"), ((x, x.cuda(), x), "k is on cuda:0"),
                                ((x, x, x, table), "table is on cuda:0")):
                with self.assertRaisesRegex(ValueError, words):
                    libmep.torch.attention(*call)

    def test_autocast(self):
        """q, k and v in bfloat16, the terms in their own types; gradients in the types of the inputs. float16 is
        computed in float32."""
        tensors, other, dout = problem(NAMES)
        half = {name: x.bfloat16() if name in "qkv" else x for name, x in tensors.items()}
        right = run(libmep.torch.attention, half, other, dout.bfloat16())
        def autocast(dtype):
            def call(**arguments):
                with torch.autocast("cpu", dtype):
                    return libmep.torch.attention(**arguments)
            return call
        found = run(autocast(torch.bfloat16), tensors, other, dout.bfloat16())
        for name, x in found.items():
            self.assertTrue(torch.equal(x, right[name].to(x.dtype)), name)
            self.assertEqual(x.dtype, torch.bfloat16 if name == "out" else tensors[name].dtype)
        mixed = {name: x.bfloat16() if name in ("q", "table", "profiles", "mixture", "sink") else x
                 for name, x in tensors.items()}
        self.assertEqual(autocast(torch.bfloat16)(**mixed, **other).dtype, torch.bfloat16)
        found, right = (run(f, tensors, other, dout) for f in (autocast(torch.float16), libmep.torch.attention))
        for name, x in found.items():
            self.assertTrue(torch.equal(x, right[name]), name)


class Block(torch.nn.Module):
    """Attention with every kind of term between linear layers."""

    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(64, 128)  # 4 heads of 16 channels, 2 key/value heads
        self.out, self.forget = torch.nn.Linear(64, 64), torch.nn.Linear(64, 4)
        self.bias = libmep.torch.DistanceBias("mep_param", 4, 16)
        self.sink = torch.nn.Parameter(torch.zeros(4))

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 8, 16).transpose(1, 2).split((4, 2, 2), 1)
        gate = torch.nn.functional.logsigmoid(self.forget(x)).transpose(1, 2).double().cumsum(-1)
        out = libmep.torch.attention(q, k, v, self.bias(length), gate=gate, sink=self.sink, window=20)
        return self.out(out.transpose(1, 2).reshape(batch, length, 64))


class Graphs(unittest.TestCase):
    def setUp(self):
        torch._dynamo.reset()
        torch.manual_seed(0)
        self.block = Block()

    def gradients(self, module, x):
        self.block.zero_grad()
        x = x.clone().requires_grad_()
        module(x).square().sum().backward()
        return {"x": x.grad, **{name: p.grad.clone() for name, p in self.block.named_parameters()}}

    def compare(self, compiled, x, tolerance):
        check(self, compiled(x).detach().numpy(), self.block(x).detach().numpy(), tolerance)
        found, right = self.gradients(compiled, x), self.gradients(self.block, x)
        for name, expected in right.items():
            check(self, found[name].numpy(), expected.numpy(), tolerance, name)

    def test_compile_traces_one_graph(self):
        for dynamic in (False, True):
            torch._dynamo.reset()
            compiled = torch.compile(self.block, fullgraph=True, backend="aot_eager", dynamic=dynamic)
            for length in (33, 50):
                self.compare(compiled, torch.randn(2, length, 64), 1e-5)

    def test_compile_with_inductor(self):
        compiled = torch.compile(self.block, fullgraph=True)
        x = torch.randn(2, 33, 64)
        try:
            compiled(x)
        except torch._inductor.exc.InductorError as error:
            self.skipTest(f"inductor does not work here: {str(error).splitlines()[0]}")
        self.compare(compiled, x, 1e-5)

    def test_strides_in_compiled_graphs(self):
        """Views of one fused tensor stay views: what the compiled call gets has a contiguous last axis."""
        def call(x):
            q, k, v = (x * 2).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
            return libmep.torch.attention(q, k, v)
        x = torch.randn(2, 33, 192)
        self.assertTrue(torch.equal(torch.compile(call, fullgraph=True, backend="aot_eager")(x), call(x)))

    def test_errors_in_compiled_graphs(self):
        compiled = torch.compile(libmep.torch.attention, fullgraph=True, backend="aot_eager")
        x = torch.randn(1, 4, 9, 16)
        with self.assertRaisesRegex(Exception, "table covers 5 distances and the call has 9 keys"):
            compiled(x, x, x, torch.zeros(4, 5))

    def test_autocast_in_compiled_graphs(self):
        compiled = torch.compile(self.block, fullgraph=True, backend="aot_eager")
        x = torch.randn(2, 33, 64)
        with torch.autocast("cpu", torch.bfloat16):
            found, right = compiled(x), self.block(x)
        self.assertEqual(found.dtype, torch.bfloat16)
        check(self, found.detach().float().numpy(), right.detach().float().numpy(), 1e-2)

    def test_export(self):
        x = torch.randn(2, 33, 64)
        program = torch.export.export(self.block, (x,))
        self.assertIn("libmep.attention", str(program.graph))
        self.assertTrue(torch.equal(program.module()(x), self.block(x)))
        length = torch.export.Dim("length", min=2, max=500)
        program = torch.export.export(self.block, (x,), dynamic_shapes=({1: length},))
        for n in (33, 130):
            x = torch.randn(2, n, 64)
            self.assertTrue(torch.equal(program.module()(x), self.block(x)), n)

    def test_plain_formula(self):
        """The compiled call's gradients are those of the plain formula in float64, for all terms at once."""
        tensors, other, dout = problem(NAMES)
        compiled = torch.compile(libmep.torch.attention, fullgraph=True, backend="aot_eager")
        right = run(plain, tensors, other, dout, torch.float64)
        for name, x in run(compiled, tensors, other, dout).items():
            check(self, x.numpy(), right[name].numpy(), 1e-5, name)


if __name__ == "__main__":
    unittest.main()
