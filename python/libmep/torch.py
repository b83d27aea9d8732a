# SPDX-License-Identifier: MIT
"""The fused attention and modules for its score terms, for PyTorch models on the CPU.

    bias = DistanceBias("mep_param", heads=12, head_dim=64)           # a module whose parameters train
    out = attention(q, k, v, bias(k.shape[2]))                        # [batch, heads, length, head_dim]

They are made of the operators torch.ops.libmep.*, which torch.compile(fullgraph=True) and torch.export accept.
"""
from __future__ import annotations

import operator

import numpy as np
import torch

from . import _operators
from ._checks import integer, number
from .bias import Bias

__all__ = ["KERNELS", "DistanceBias", "ForgetGate", "Profiles", "QueryMixture", "attention"]

# Where the operators' CPU kernels are: "c", in the library, or "python", in this package, for PyTorch before 2.10.
KERNELS: str = _operators.KERNELS


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, table: torch.Tensor | None = None,
              scale: float | None = 0.0, tolerance: float = 0.0, *, gate: torch.Tensor | None = None,
              profiles: torch.Tensor | None = None, bank: torch.Tensor | None = None,
              mixture: torch.Tensor | None = None, log_kernels: torch.Tensor | None = None,
              sink: torch.Tensor | None = None, window: int = 0,
              starts: torch.Tensor | None = None, bidirectional: bool = False,
              table_ahead: torch.Tensor | None = None, ends: torch.Tensor | None = None) -> torch.Tensor:
    """Attention with additive score terms, causal or bidirectional: [batch, heads, queries, head_dim], like q.
    Differentiable in every tensor, once. Query i is at position p = i + keys - queries and sees the keys j at
    distances d = p - j >= 0:

        score(i, j) = scale q_i . k_j + table[h, d] + gate[p] - gate[j]
                      + sum_m profiles[i, m] bank[m, d] + log sum_m softmax(mixture[i])_m exp(log_kernels[h, m, d])
        out_i = sum_j exp(score(i, j)) v_j / (exp(sink[h]) + sum_j exp(score(i, j)))

    q            float32 or bfloat16 [batch, heads, queries, head_dim], any strides, the last axis contiguous
    k, v         like q, [batch, kv_heads, keys, head_dim]: kv_heads divides heads, queries <= keys. Query head h reads
                 head h // (heads // kv_heads)
    table        float32 [heads, >= keys]: a bias of the distance
    gate         float32 or float64 [batch, heads, keys]: the cumulative sum of the logarithms of forget gates. float64
                 is accurate for long sequences
    profiles     float32 [batch, heads, queries, rank], the last axis contiguous; with `bank`
    bank         float32 [rank, extent]: profiles of the distance, 0 at and beyond extent
    mixture      float32 [batch, heads, queries, kernels], the last axis contiguous: logits of weights; with
                 `log_kernels`
    log_kernels  float32 [heads, kernels, >= keys]: logarithms of kernels of the distance
    sink         float32 [heads]: an additional logit of each softmax, whose value is zero
    window       keys at this distance and beyond are not visible; 0: no limit
    starts       int64 [batch, queries], >= 0: the first key that a query sees, or its own key if that is earlier. The
                 first position of a query's document where several are packed into a sequence; the number of padding
                 tokens before a sequence
    bidirectional  queries see the keys after their own too. Then queries = keys, d is |p - j| in table and window, and
                 gate, profiles and mixture are not possible
    table_ahead  float32 [heads, >= keys], the shape of table, with bidirectional: the values for keys after the query's
                 own, at distance d >= 1; without it, those of table
    ends         int64 [batch, queries], with bidirectional: the key after the last that a query sees, or that after its
                 own if that is later
    scale        of q . k; 0 or None means 1 / sqrt(head_dim)
    tolerance    far keys whose weight is in all at most this per query are left out; 0: none

    q, k, v and their gradients are read and written in place, whatever their strides. torch.autocast("cpu") computes in
    bfloat16 and leaves the terms in the types above.

    Raises TypeError for a wrong type, ValueError for a wrong shape, stride or device, each with the argument's name,
    and libmep.MepError for values that the library refuses, such as NaN in a table. A second derivative is a
    RuntimeError. NaN in q, k or v gives NaN.
    """
    terms = {"table": table, "gate": gate, "profiles": profiles, "bank": bank, "mixture": mixture,
             "log_kernels": log_kernels, "sink": sink, "table_ahead": table_ahead}
    for name, x in (("q", q), ("k", k), ("v", v), *terms.items(), ("starts", starts), ("ends", ends)):
        if (x is not None or name in ("q", "k", "v")) and not isinstance(x, torch.Tensor):
            raise TypeError(f"{name} must be a torch tensor, not {type(x).__name__}")
    if gate is not None and gate.dtype == torch.float32:
        terms["gate"] = gate.double()
    if not isinstance(window, (int, torch.SymInt)):
        window = integer("window", window)
    if not isinstance(bidirectional, (bool, np.bool_)):
        raise TypeError(f"bidirectional must be a bool, not {type(bidirectional).__name__}")
    if not isinstance(scale, (float, torch.SymFloat)):
        scale = 0.0 if scale is None else number("scale", scale)
    if not isinstance(tolerance, (float, torch.SymFloat)):
        tolerance = number("tolerance", tolerance)
    return _operators.attend(q, k, v, *terms.values(), starts, ends, window, bool(bidirectional), scale, tolerance)


def _check_input(x, hidden_size):
    """What the modules are called with."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x must be a torch tensor, not {type(x).__name__}")
    if x.dim() != 3 or x.shape[2] != hidden_size:
        raise ValueError(f"x has the shape {list(x.shape)}, expected [batch, length, {hidden_size}]")


def _check_sizes(**sizes):
    for name, size in sizes.items():
        if integer(name, size) < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


class DistanceBias(torch.nn.Module):
    """The bias of a spec string ("mep", "mep_param", "exp + 0.5*gauss/learn=weights,slopes") whose learned parameters
    are this module's, under the library's names: as `model.position_bias` its state has the names of a libmep
    checkpoint, such as "position_bias.kerple_log.p".

    Called with a length it gives the table, float32 [heads, length], which is differentiable in the parameters.
    Parameters that an optimizer has moved out of their ranges are first moved back, in place (KERPLE's p and a to at
    least 0.01). A compiled graph computes the table of the values within their ranges, but does not move the
    parameters: call `constrain_` after each step.

    Raises libmep.MepError for a spec that is not a bias ("rotary"), and ValueError for one with more than a bias
    ("mep/forget": see ForgetGate, Profiles, QueryMixture and the arguments of attention), and for lengths beyond the
    threshold of "fire:max=THRESHOLD", where the bias is not a table.
    """

    def __init__(self, spec: str, heads: int, head_dim: int = 64, seed: int = 0) -> None:
        super().__init__()
        bias = Bias(spec, heads, head_dim, seed)
        self.spec, self.heads, self.head_dim, self.threshold = bias.spec, heads, head_dim, bias.threshold
        self.names = list(bias.parameters)
        self.register_buffer("_like", torch.empty(0, device="cpu"), persistent=False)  # selects the operator's kernel
        for name, values in bias.parameters.items():
            *path, leaf = name.split(".")
            module: torch.nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(leaf, torch.nn.Parameter(torch.from_numpy(values.astype(np.float32))))

    def extra_repr(self) -> str:
        return f"{self.spec!r}, heads={self.heads}, head_dim={self.head_dim}"

    def _apply(self, fn, *arguments, **settings):
        """The buffer is never on the meta device: no state_dict would bring it back."""
        super()._apply(fn, *arguments, **settings)
        if self._like.is_meta:
            self._like = torch.empty(0, device="cpu")
        return self

    def _parameters_in_order(self):
        return [operator.attrgetter(name)(self) for name in self.names]  # torch.func.functional_call gives tensors

    def constrain_(self) -> list[torch.nn.Parameter]:
        """Move the parameters into their allowed ranges, in place; values within them are unchanged."""
        parameters = self._parameters_in_order()
        inside = _operators._make_bias(parameters, self.spec, self.heads, self.head_dim)[1].parameters
        with torch.no_grad():
            for parameter, value in zip(parameters, inside.values()):
                value = torch.from_numpy(value).to(parameter.dtype)
                if not torch.equal(value, parameter):
                    parameter.copy_(value)
        return parameters

    def forward(self, length: int) -> torch.Tensor:
        if not isinstance(length, (int, torch.SymInt)):  # a SymInt is a length that a graph does not fix
            length = integer("length", length)
        if self.threshold is not None and length > self.threshold + 1:
            raise ValueError(f"{self.spec!r} depends on the position of queries beyond {self.threshold}, so it has no "
                             f"table of length {length}")
        parameters = self._parameters_in_order()
        if not (torch.compiler.is_compiling() or any(x.is_meta for x in parameters)):
            self.constrain_()
        like = next((x for x in parameters if x.is_meta), self._like)
        return torch.ops.libmep.bias_table(like, parameters, self.spec, self.heads, self.head_dim, length)


class ForgetGate(torch.nn.Module):
    """The gate of forgetting attention (FoX, arXiv:2503.02130): from x [batch, length, hidden_size], the input of the
    attention's projections, the cumulative sum of log sigmoid(x . weight + bias), float64 [batch, heads, length]:

        out = attention(q, k, v, gate=forget(x))

    `initial_bias` 5 lets a new model forget little; None leaves the bias out (CABLE). As
    `layer.self_attn.position_bias.forget` its state has the names of a libmep checkpoint.
    """

    def __init__(self, hidden_size: int, heads: int, initial_bias: float | None = 5.0) -> None:
        super().__init__()
        _check_sizes(hidden_size=hidden_size, heads=heads)
        self.weight = torch.nn.Parameter(torch.empty(heads, hidden_size).normal_(0, 0.02))
        self.bias: torch.nn.Parameter | None
        bias = None if initial_bias is None else torch.nn.Parameter(torch.full((heads,), float(initial_bias)))
        self.register_parameter("bias", bias)

    def extra_repr(self) -> str:
        return f"hidden_size={self.weight.shape[1]}, heads={self.weight.shape[0]}, bias={self.bias is not None}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_input(x, self.weight.shape[1])
        logits = torch.nn.functional.linear(x, self.weight, self.bias).double()
        return torch.nn.functional.logsigmoid(logits).transpose(1, 2).cumsum(-1)


class Profiles(torch.nn.Module):
    """Profiles of the distance with weights per query (Inkling's relative logits): from x [batch, length, hidden_size],
    a dict of the arguments `profiles`, float32 [batch, heads, length, rank], and `bank`, float32 [rank, extent]:

        out = attention(q, k, v, **profiles(x))

    As `layer.self_attn.position_bias.profiles` its state has the names of a libmep checkpoint.
    """

    def __init__(self, hidden_size: int, heads: int, rank: int = 16, extent: int = 1024) -> None:
        super().__init__()
        _check_sizes(hidden_size=hidden_size, heads=heads, rank=rank, extent=extent)
        self.heads = heads
        self.query = torch.nn.Linear(hidden_size, heads * rank, bias=False)
        self.bank = torch.nn.Parameter(torch.empty(rank, extent).normal_(0, 0.02))
        torch.nn.init.normal_(self.query.weight, 0, 0.02)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, rank={self.bank.shape[0]}, extent={self.bank.shape[1]}"

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        _check_input(x, self.query.weight.shape[1])
        batch, length, _ = x.shape
        rows = self.query(x).view(batch, length, self.heads, -1).transpose(1, 2)
        return {"profiles": rows.float(), "bank": self.bank.float()}


class QueryMixture(torch.nn.Module):
    """A mixture of kernels whose weights depend on the query: from x [batch, length, hidden_size], a dict of the
    arguments `mixture`, float32 [batch, heads, length, kernels], and `log_kernels`, float32 [heads, kernels, length]:

        mixture = QueryMixture(["exp", "exp:c=0.5", "gauss"], hidden_size=768, heads=12, head_dim=64)
        out = attention(q, k, v, **mixture(x))

    The weights are the softmax of x . weight. `weight` [heads * kernels, hidden_size] is initially 0, so training
    starts from the mixture with equal weights. `kernels` are specs with a DistanceBias each; `length` in the call is
    the number of keys where it is not that of x.
    """

    def __init__(self, kernels: list[str], hidden_size: int, heads: int, head_dim: int = 64, seed: int = 0) -> None:
        super().__init__()
        _check_sizes(hidden_size=hidden_size, heads=heads)
        if isinstance(kernels, str) or not kernels:
            raise TypeError(f"kernels must be a list of specs, such as [\"exp\", \"gauss\"], not {kernels!r}")
        self.heads = heads
        self.kernels = torch.nn.ModuleList([DistanceBias(spec, heads, head_dim, seed) for spec in kernels])
        self.weight = torch.nn.Parameter(torch.zeros(heads * len(kernels), hidden_size))

    def extra_repr(self) -> str:
        return f"hidden_size={self.weight.shape[1]}, heads={self.heads}"

    def forward(self, x: torch.Tensor, length: int | None = None) -> dict[str, torch.Tensor]:
        _check_input(x, self.weight.shape[1])
        batch, queries, _ = x.shape
        logits = torch.nn.functional.linear(x, self.weight).view(batch, queries, self.heads, -1).transpose(1, 2)
        length = queries if length is None else length
        tables = [kernel(length).to(x.device) for kernel in self.kernels]  # of x on meta, those without parameters too
        return {"mixture": logits.float(), "log_kernels": torch.stack(tables, 1)}
