# SPDX-License-Identifier: MIT
"""Measures libmep's PyTorch operator against the C library and against PyTorch's scaled_dot_product_attention, on the
CPU, in turn in one process: best and median of the samples, and the median of the ratio to the operator's time.

    python bench_torch.py [--length 1024] [--heads 12] [--head-dim 64] [--batch 4] [--rounds 7] [--overhead]

The C calls read and write prepared arrays, as `mep bench attention` does. The bias is ALiBi's, as a table of the
distance for libmep and as a matrix [heads, length, length] for PyTorch. Then, or with --overhead alone, the overhead of
a call at length 64: the CPU time of the operator minus that of the C calls, without and with gradients, with one
thread. LIBMEP_TORCH_KERNELS=python measures the operator's kernels in Python.
"""
import argparse
import ctypes
import statistics
import time

import torch

import libmep.torch
from libmep import _operators as operators
from libmep._library import lib


class Case:
    """Calls by name, each a function that takes no argument."""

    def __init__(self, batch, heads, length, channels, dtype, backward):
        torch.manual_seed(0)
        q, k, v, dout = (torch.randn(batch, length, heads, channels).to(dtype).transpose(1, 2) for _ in range(4))
        self.inputs, self.dout = [x.requires_grad_(backward) for x in (q, k, v)], dout
        self.table = torch.from_numpy(libmep.Bias("alibi", heads, channels).table(length))
        distance = torch.arange(length)[:, None] - torch.arange(length)
        self.bias = torch.where(distance < 0, -torch.inf, self.table[:, distance.clamp(min=0)]).to(dtype)[None]
        self.backward, self.plans = backward, []
        self.calls = {"C, no bias": self.library(None), "C, table": self.library(self.table),
                      "torch.ops, no bias": self.run(lambda *x: torch.ops.libmep.attention(*x)[0]),
                      "torch.ops, table": self.run(lambda *x: torch.ops.libmep.attention(*x, self.table)[0]),
                      "SDPA, no bias": self.run(lambda *x: sdpa(*x, is_causal=True)),
                      "SDPA, bias as a matrix": self.run(lambda *x: sdpa(*x, attn_mask=self.bias))}

    def run(self, function):
        def call():
            out = function(*self.inputs)
            if self.backward:
                torch.autograd.grad(out, self.inputs, self.dout)
        return call

    def library(self, table):
        """The C calls alone, on arrays that are made once."""
        q, k, v = (x.detach() for x in self.inputs)
        terms = [table] + [None] * 7
        sizes = operators._check(q, k, v, terms)
        out, gradients = operators._like(q), [operators._like(x) for x in (q, k, v)]
        lse = q.new_empty(sizes[:3], dtype=torch.float32)
        plan = operators._take_plan(sizes, q.dtype, terms, 0, False, 0.0, 0.0)
        forward = operators._call(sizes, q, k, v, out, lse, terms, None, None)
        views = dict(zip(("dq", "dk", "dv"), map(operators._view, gradients)))
        backward = operators.Gradient(dout=operators._view(self.dout), **views)
        self.plans.append((plan, q, k, v, out, lse, gradients))
        handle, forward, backward = plan[1].pointer, ctypes.byref(forward), ctypes.byref(backward)

        def call():
            lib.mep_attention_forward(handle, forward)
            if self.backward:
                lib.mep_attention_backward(handle, forward, backward)
        return call


def sdpa(*arguments, **settings):
    return torch.nn.functional.scaled_dot_product_attention(*arguments, **settings)


def sample(call, count, clock):
    start = clock()
    for _ in range(count):
        call()
    return (clock() - start) / count


def measure(case, rounds, seconds=0.2, clock=time.perf_counter):
    """{name: times} of the calls in turn."""
    counts = {}
    for name, call in case.calls.items():
        call()
        counts[name] = max(1, int(seconds / max(sample(call, 1, clock), 1e-6)))
    times = {name: [] for name in case.calls}
    for _ in range(rounds):
        for name, call in case.calls.items():
            times[name].append(sample(call, counts[name], clock))
    return times


def report(title, times):
    print(f"\n{title}\n{'':24}{'best ms':>10}{'median ms':>11}{'/ torch.ops':>13}")
    for name, found in times.items():
        base = times["torch.ops, table" if "table" in name or "matrix" in name else "torch.ops, no bias"]
        ratio = statistics.median(x / y for x, y in zip(found, base))
        print(f"{name:24}{1e3 * min(found):10.3f}{1e3 * statistics.median(found):11.3f}{ratio:13.3f}")


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("length", 1024), ("heads", 12), ("head-dim", 64), ("batch", 4), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--overhead", action="store_true")
    a = parser.parse_args()
    kernels = "C" if libmep.torch.KERNELS == "c" else "Python"
    print(f"libmep {libmep.version()} ({libmep.cpu_level()}), PyTorch {torch.__version__}, kernels in {kernels}, "
          f"{torch.get_num_threads()} threads, length {a.length}, heads {a.heads}, head_dim {a.head_dim}, "
          f"batch {a.batch}")
    for dtype in () if a.overhead else (torch.float32, torch.bfloat16):
        for backward in (False, True):
            case = Case(a.batch, a.heads, a.length, a.head_dim, dtype, backward)
            report(f"{dtype}, {'forward and backward' if backward else 'forward'}", measure(case, a.rounds))
    measure_overhead(a.heads, a.head_dim, 4 * a.rounds)


def measure_overhead(heads, channels, rounds):
    libmep.set_threads(1)
    torch.set_num_threads(1)
    for title, backward, mode in (("forward", False, torch.enable_grad), ("forward in inference mode", False,
                                  torch.inference_mode), ("forward and backward", True, torch.enable_grad)):
        case = Case(1, heads, 64, channels, torch.float32, backward)
        case.calls = {name: call for name, call in case.calls.items() if not name.startswith("SDPA")}
        case.calls["libmep.torch, no bias"] = case.run(libmep.torch.attention)
        case.calls["libmep.torch, table"] = case.run(lambda *x, table=case.table: libmep.torch.attention(*x, table))
        with mode():
            times = measure(case, rounds, 0.02, time.thread_time)
        print(f"\noverhead of a call at length 64, {title}, microseconds:")
        for function in ("torch.ops", "libmep.torch"):
            for kind in ("no bias", "table"):
                found, base = times[f"{function}, {kind}"], times[f"C, {kind}"]
                median = statistics.median(x - y for x, y in zip(found, base))
                print(f"{function + ', ' + kind:24}best - best {1e6 * (min(found) - min(base)):7.1f}, "
                      f"median of differences {1e6 * median:7.1f}")


if __name__ == "__main__":
    main()
