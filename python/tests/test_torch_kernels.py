# SPDX-License-Identifier: MIT
"""The two sets of CPU kernels of torch.ops.libmep.attention, in C and in Python: the same bits, the same refusals, the
same errors for users; tensors are released; how the set is chosen."""
import os
import subprocess
import sys
import unittest
import unittest.mock
import weakref
from pathlib import Path

import libmep

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None
import libmep.torch
from libmep import _operators as operators
from test_torch_operators import arguments
from test_torch_terms import NAMES, TERM_TENSORS, TWO_SIDED, problem, run

both = unittest.skipIf(libmep.torch.KERNELS == "python", "this PyTorch has no C interface for kernels, or "
                                                         "LIBMEP_TORCH_KERNELS is \"python\"")


def python_kernels():
    return unittest.mock.patch.object(operators, "KERNELS", "python")


def changed(call, **others):
    """Positional arguments of the operator with some others."""
    names = ("q", "k", "v", *TERM_TENSORS, "starts", "ends", "window", "bidirectional", "scale", "tolerance")
    call = dict(zip(names, call))
    for name, change in others.items():
        call[name] = change(call[name]) if callable(change) else change
    return tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in call.values())


class Kernels(unittest.TestCase):
    @both
    def test_same_bits(self):
        """Every term alone and all together, forward and backward, in both types; also where no gradient is wanted."""
        for names in ([], *([name] for name in NAMES), NAMES, ["bidirectional", *TWO_SIDED]):
            for dtype in (torch.float32, torch.bfloat16):
                tensors, other, dout = problem(names)
                tensors = {name: x.to(dtype) if name in "qkv" else x for name, x in tensors.items()}
                found = run(libmep.torch.attention, tensors, other, dout.to(dtype))
                with python_kernels():
                    right = run(libmep.torch.attention, tensors, other, dout.to(dtype))
                self.assertEqual(set(found), {*tensors, "out"})
                for name, x in right.items():
                    self.assertTrue(torch.equal(found[name], x), (names, dtype, name))
                    self.assertEqual(found[name].stride(), x.stride(), (names, name))
                with torch.inference_mode():
                    self.assertTrue(torch.equal(libmep.torch.attention(**tensors, **other), right["out"]))

    @both
    def test_any_strides(self):
        """Tensors whose axes have other orders, gaps, or a stride of 0."""
        def spread(x):
            return torch.stack([x, x], -1)[..., 0] if x.dim() < 4 else x.transpose(0, 2).contiguous().transpose(0, 2)
        for names in (NAMES, ["bidirectional", *TWO_SIDED]):
            call = changed(arguments(names))
            strided = [spread(x) if isinstance(x, torch.Tensor) else x for x in call]
            self.assertTrue(any(not x.is_contiguous() for x in strided[3:11] if x is not None and x.dim() < 4))
            right = operators._attention.redispatch(operators.CPU, *call)
            with python_kernels():
                expected = operators._cpu_forward(*strided)
            found = operators._attention.redispatch(operators.CPU, *strided)
            for x, y, z in zip(found, right, expected):
                self.assertTrue(torch.equal(x, y) and torch.equal(x, z))
                self.assertEqual(x.stride(), z.stride())
            wanted = [x is not None for x in call[3:11]]
            def gradients(call, out, lse, dout):
                return operators._cpu_backward(dout, *call[:3], out, lse, *call[3:13], wanted, *call[13:])
            dout = torch.randn_like(right[0])
            base = gradients(call, *right, dout)
            spread_lse = torch.stack([right[1]] * 2, -1)[..., 0]
            for x, y in zip(base, gradients(strided, spread(right[0]), spread_lse, spread(dout)), strict=True):
                self.assertTrue(torch.equal(x, y))
        q, k, v, *rest = changed(arguments([]))
        k, v = k[:1, :1].expand_as(k), v[:1, :1].expand_as(v)
        self.assertTrue(torch.equal(operators._cpu_forward(q, k, v, *rest)[0],
                                    operators._cpu_forward(q, k.contiguous(), v.contiguous(), *rest)[0]))

    def wrong(self):
        """(name of the argument, arguments that are refused because of it)"""
        every, sided = arguments(NAMES), arguments(["bidirectional", *TWO_SIDED])
        for name in ("q", "k", "v", *TERM_TENSORS[:-1], "starts"):
            yield name, changed(every, **{name: lambda x: x.half() if x.is_floating_point() else x.int()})
            yield name, changed(every, **{name: lambda x: x[None]})
        for name in ("v", *TERM_TENSORS[:-1], "starts"):
            name, change = ("profiles", lambda x: x[..., 1:]) if name == "bank" else (name, lambda x: x[:-1])
            yield name, changed(every, **{name: change})
        for name in ("q", "k", "v", "profiles", "mixture"):
            yield name, changed(every, **{name: lambda x: x.mT.contiguous().mT})
        first = {"q": lambda x: x[:, :, :0], "table": lambda x: x[:, :9], "log_kernels": lambda x: x[..., :9],
                 "bank": None, "profiles": None, "mixture": None, "window": -1, "bidirectional": True,
                 "ends": torch.zeros(2, 37, dtype=torch.int64), "table_ahead": torch.zeros_like(every[3])}
        for name, value in first.items():
            yield name, changed(every, **{name: value})
        yield "log_kernels", changed(every, log_kernels=None)
        yield "k", changed(every, k=lambda x: x[:, :, :9], v=lambda x: x[:, :, :9])
        yield "k", changed(every, k=lambda x: x[:, :1].expand(-1, 3, -1, -1))
        yield "q", changed(sided, q=lambda x: x[:, :, 1:], starts=None, ends=None)
        for name, value in (("table", None), ("table_ahead", lambda x: x[:, 1:]), ("ends", lambda x: x[:, 1:]),
                            ("gate", torch.zeros(2, 4, 37, dtype=torch.float64))):
            yield name, changed(sided, **{name: value})

    @both
    def test_refusals(self):
        """What the kernel in Python refuses, that in C refuses too. Users get the error of the former."""
        count = 0
        for name, call in self.wrong():
            with self.assertRaises((TypeError, ValueError), msg=(name, count)) as right:
                operators._forward(*call)
            with self.assertRaises(RuntimeError, msg=(name, count)) as found:
                operators._attention.redispatch(operators.CPU, *call)
            self.assertRegex(str(found.exception), r"libmep.torch.attention reports|window must be 0 or more")
            for mode in (torch.no_grad, torch.inference_mode):
                with mode(), self.assertRaises(type(right.exception)) as error:
                    operators.attend(*call)
                self.assertEqual(str(error.exception), str(right.exception))
                self.assertIsNone(error.exception.__cause__ or error.exception.__context__)
            count += 1
        self.assertGreater(count, 50)

    @both
    def test_refusals_of_the_backward_pass(self):
        call = changed(arguments(NAMES))
        out, lse = operators._cpu_forward(*call)
        def backward(dout=out, out=out, lse=lse, wanted=tuple(x is not None for x in call[3:11])):
            return dout, *call[:3], out, lse, *call[3:13], list(wanted), *call[13:]
        operators._attention_backward.redispatch(operators.CPU, *backward())
        for others in ({"dout": out.double()}, {"dout": out[:, :, 1:]}, {"dout": out.mT.contiguous().mT},
                       {"out": out[:1]}, {"out": out.bfloat16()}, {"lse": lse.double()}, {"lse": lse[..., 1:]},
                       {"wanted": [True]}, {"wanted": [True] * 8}):
            with self.assertRaises((TypeError, ValueError)):
                operators._backward(*backward(**others))
            with self.assertRaises(RuntimeError):
                operators._attention_backward.redispatch(operators.CPU, *backward(**others))

    def test_errors_of_the_library(self):
        """A MepError, whose message is that of the operator's RuntimeError too."""
        call = changed(arguments(["table"]), table=lambda x: x.index_fill(1, torch.tensor(3), torch.nan))
        for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
            with mode(), self.assertRaisesRegex(libmep.MepError, "the bias of head 0 at distance 3 is nan"):
                operators.attend(*call)
        with torch.inference_mode(), self.assertRaisesRegex(RuntimeError, "the bias of head 0 at distance 3 is nan"):
            torch.ops.libmep.attention(*call)
        fine = changed(call, table=lambda x: x.nan_to_num())
        self.assertTrue(operators.attend(*fine).isfinite().all())

    def test_terms_of_the_last_call(self):
        """A plan is used again with the terms of the new call: others at the same address, or none."""
        call = changed(arguments(["table", "sink"]))
        table, first = call[3], operators.attend(*call)
        for change in (lambda: table.zero_(), lambda: table.neg_(), lambda: table.zero_()):
            change()
            self.assertTrue(torch.equal(operators.attend(*call), operators.attend(*changed(call, table=table.clone()))))
        self.assertTrue(torch.equal(operators.attend(*call), operators.attend(*changed(call, table=None))))
        self.assertFalse(torch.equal(operators.attend(*call), first))
        self.assertFalse(torch.equal(operators.attend(*changed(call, sink=None)), operators.attend(*call)))
        self.assertFalse(torch.equal(operators.attend(*changed(call, window=3)), operators.attend(*call)))

    def test_tensors_are_released(self):
        """After a call, and after one that is refused or fails, nothing but the caller has its tensors."""
        def use(change):
            call = list(changed(arguments(NAMES)))
            alive = [weakref.ref(x) for x in call if isinstance(x, torch.Tensor)]
            change(call)
            for mode in (torch.no_grad, torch.inference_mode):
                try:
                    with mode():
                        out, lse = torch.ops.libmep.attention(*call)
                        wanted = [x is not None for x in call[3:11]]
                        found = torch.ops.libmep.attention_backward(out, *call[:3], out, lse, *call[3:13], wanted,
                                                                    *call[13:])
                    alive += [weakref.ref(x) for x in (out, lse, *found)]
                    del out, lse, found
                except (RuntimeError, ValueError):
                    continue
            return alive
        for change in (lambda call: None, lambda call: call.__setitem__(13, -1),
                       lambda call: call[3].fill_(torch.nan)):
            alive = use(change)
            self.assertGreaterEqual(len(alive), 11)
            self.assertEqual([x() is None for x in alive], [True] * len(alive))


class Choice(unittest.TestCase):
    """LIBMEP_TORCH_KERNELS."""

    def run_python(self, *command, kernels):
        environment = dict(os.environ, LIBMEP_TORCH_KERNELS=kernels)
        return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=500,
                              cwd=Path(__file__).parent)

    def test_values(self):
        for kernels in ("python", *(["c"] if libmep.torch.KERNELS == "c" else [])):
            result = self.run_python("-c", "import libmep.torch; print(libmep.torch.KERNELS)", kernels=kernels)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, kernels + "\n", ""))
        result = self.run_python("-c", "import libmep.torch", kernels="cuda")
        self.assertIn('LIBMEP_TORCH_KERNELS is "cuda": "c" and "python" are possible', result.stderr)

    def test_a_pytorch_without_the_functions(self):
        script = ("import ctypes, torch\nopen_library = ctypes.CDLL\n"
                  "def open_another(path, *rest):  # the program, which has no function of PyTorch\n"
                  "    return open_library(None if path == torch._C.__file__ else path, *rest)\n"
                  "ctypes.CDLL = open_another\nimport libmep.torch; print(libmep.torch.KERNELS)")
        result = self.run_python("-c", script, kernels="")
        self.assertEqual((result.returncode, result.stdout), (0, "python\n"), result.stderr)
        result = self.run_python("-c", script, kernels="c")
        self.assertRegex(result.stderr, 'ImportError: LIBMEP_TORCH_KERNELS is "c": this PyTorch has no function aoti_')

    @both
    def test_operators_in_python(self):
        """opcheck, torch.compile, torch.export and autocast with the kernels in Python."""
        graphs = ("compile_traces_one_graph", "export", "plain_formula")
        tests = [f"test_torch_operators.{name}" for name in ("Operators", *(f"Graphs.test_{name}" for name in graphs))]
        result = self.run_python("-m", "unittest", *tests, kernels="python")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stderr, r"Ran 1\d tests")


if __name__ == "__main__":
    unittest.main()
