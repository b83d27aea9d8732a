# SPDX-License-Identifier: MIT
"""Replaces a FlexAttention call with a learned bias per head and distance by libmep's attention, on the CPU.

FlexAttention has no backward pass on the CPU, so the bias cannot train there. The same bias is a table for libmep.
Prints how far the outputs differ, the times of the forward passes, and the loss while the table learns ALiBi's bias.

    python flex_attention.py [--length 512] [--heads 8] [--steps 20] [--compile]
"""
import argparse
import time

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import libmep.torch


def causal(batch, head, q_index, k_index):
    return q_index >= k_index


def before(flex_attention, q, k, v, table, mask):
    """FlexAttention: a score_mod with the bias, and a causal block mask."""
    def score_mod(score, batch, head, q_index, k_index):
        return score + table[head, (q_index - k_index).abs()]

    return flex_attention(q, k, v, score_mod=score_mod, block_mask=mask)


def after(q, k, v, table):
    """libmep: the bias is a table of the distance; the causal mask is implied."""
    return libmep.torch.attention(q, k, v, table)


def seconds(function, *arguments):
    function(*arguments)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("length", 512), ("heads", 8), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--compile", action="store_true", help="compile FlexAttention, which needs a C++ compiler")
    a = parser.parse_args()
    torch.manual_seed(0)
    flex = torch.compile(flex_attention) if a.compile else flex_attention
    mask = create_block_mask(causal, None, None, a.length, a.length, device="cpu")
    q, k, v = torch.randn(3, 1, a.heads, a.length, 64)
    goal = torch.from_numpy(libmep.Bias("alibi", a.heads, 64).table(a.length))
    with torch.no_grad():
        target = after(q, k, v, goal)
        print(f"largest difference of the outputs: {(before(flex, q, k, v, goal, mask) - target).abs().max():.1e}")
        print(f"forward: FlexAttention{' compiled' if a.compile else ''} "
              f"{1e3 * seconds(before, flex, q, k, v, goal, mask):.1f} ms, "
              f"libmep {1e3 * seconds(after, q, k, v, goal):.1f} ms")

    table = torch.nn.Parameter(torch.zeros(a.heads, a.length))
    optimizer = torch.optim.Adam([table], 0.1)
    for step in range(a.steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(after(q, k, v, table), target)
        loss.backward()
        optimizer.step()
        if step in (0, a.steps - 1):
            print(f"step {step + 1}: loss {loss.item():.2e}")


if __name__ == "__main__":
    main()
