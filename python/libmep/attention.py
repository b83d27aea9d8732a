# SPDX-License-Identifier: MIT
"""Fused causal attention with additive score terms (include/mep/attention.h), on the caller's own memory."""
from __future__ import annotations

import ctypes
from typing import Any, Iterable

import numpy as np

from ._arrays import (DTYPES, address, describe, dtype_code, empty_like, fill, integers, is_torch, reals, view,
                      zeros)
from ._checks import integer
from ._library import TYPES, Handle, Lock, lib

# The score terms: those of a plan (set_terms), and those of a call.
PLAN_TERMS = ("table", "sink", "bank", "log_kernels", "table_ahead")
CALL_TERMS = ("gate", "profiles", "mixture")


class Attention:
    """Causal attention and its gradients. Query i is at position i + keys - queries and sees the keys j at distances
    d = i + keys - queries - j >= 0:

        score(i, j) = scale q_i . k_j + table[h, d] + gate[i + keys - queries] - gate[j]
                      + sum_m profiles[i, m] bank[m, d] + log sum_m softmax(mixture[i])_m exp(log_kernels[h, m, d])
        out_i = sum_j exp(score(i, j)) v_j / (exp(sink[h]) + sum_j exp(score(i, j))),   d < window where it is not 0,
                                                                                        starts[i] <= j or d = 0

    With `bidirectional`, queries see the keys after their own too, up to ends[i]; then queries = keys, d is |i - j| in
    table and window, and gate, profiles and mixture are not possible. Terms that are not given are left out. Those that
    are the same for all queries belong to the object (`set_terms`, `set_bias`), those that depend on the content to a
    call.

    q, k, v, out and their gradients are [batch, heads, length, head_dim] of `dtype`, NumPy arrays or torch tensors on
    the CPU, with any strides but a contiguous last axis: for [batch, length, heads, head_dim] give
    x.transpose(0, 2, 1, 3), which copies nothing. bfloat16 arrays are those of the package ml_dtypes, or uint16.
    k and v have `kv_heads` heads, a divisor of `heads` (default: heads); query head h reads head
    h // (heads // kv_heads). New results are of the same kind, with their axes in memory as in q.

    scale 0 means 1/sqrt(head_dim); tolerance t > 0 leaves out far keys whose weight is in all at most t per query. A
    copy and a pickle have the same settings and the same terms.

    Raises TypeError for a wrong type, ValueError for a wrong shape, stride or device, each with the argument's name,
    and MepError for values that the library refuses.
    """

    def __init__(self, heads: int, head_dim: int, max_length: int, dtype: Any = "float32", scale: float = 0.0,
                 skip_far: bool = True, tolerance: float = 0.0, kv_heads: int | None = None,
                 bidirectional: bool = False) -> None:
        self._dtype = dtype_code(dtype)
        self._settings = {"heads": heads, "kv_heads": heads if kv_heads is None else kv_heads, "head_dim": head_dim,
                          "max_length": max_length, "scale": scale, "dtype": list(DTYPES)[self._dtype],
                          "skip_far": int(skip_far), "tolerance": tolerance, "bidirectional": int(bidirectional)}
        self._create()

    def _create(self):
        settings = TYPES["mep_attention_settings"]()
        lib.mep_attention_defaults(ctypes.byref(settings))
        fill(settings, self._settings)
        self.heads, self.kv_heads, self.head_dim = settings.heads, settings.kv_heads, settings.head_dim
        self.max_length = settings.max_length
        self._handle = Handle(lib.mep_attention_create, lib.mep_attention_destroy, ctypes.byref(settings))
        self._lock, self._terms, self._window = Lock(), dict.fromkeys(PLAN_TERMS), 0

    def __repr__(self) -> str:
        grouped = f", kv_heads={self.kv_heads}" if self.kv_heads != self.heads else ""
        return (f"Attention(heads={self.heads}, head_dim={self.head_dim}, max_length={self.max_length}, "
                f"dtype={self._settings['dtype']!r}{grouped})")

    def __getstate__(self):
        state = dict(self.__dict__)
        del state["_handle"], state["_lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._create()
        self.set_terms(**state["_terms"], window=state["_window"])

    def set_terms(self, table: Any = None, *, sink: Any = None, bank: Any = None, log_kernels: Any = None,
                  table_ahead: Any = None, window: int = 0) -> Attention:
        """Take copies of the terms that are the same for all queries; those that are not given are absent.

        table        [heads, length]: added to the scores at each distance. Finite, or -inf beyond distance 0
        sink         [heads]: an additional logit of each softmax, whose value is zero. Finite or -inf
        bank         [rank, extent]: the profiles of the distance, 0 beyond. Every call then has `profiles`
        log_kernels  [heads, kernels, length]: logarithms of the kernels of a mixture. Every call then has `mixture`
        table_ahead  [heads, length], like table, of bidirectional attention: the values for keys after the query's own,
                     at distance d >= 1; without it, those of table
        window       keys at this distance and beyond are not visible; 0: no limit

        Values are converted to float32. A length is at least the number of keys of later calls."""
        arrays: dict[str, Any] = {}
        for name, values, axes in (("table", table, 2), ("sink", sink, 1), ("bank", bank, 2),
                                   ("log_kernels", log_kernels, 3), ("table_ahead", table_ahead, 2)):
            arrays[name] = None if values is None else np.array(reals(name, values, np.float32))
            if values is not None:
                self._check_term(name, arrays[name], axes)
        window = integer("window", window)
        if window < 0:
            raise ValueError(f"window is {window}; it must be at least 1, or 0 for none")
        if table_ahead is not None and (table is None or arrays["table"].shape != arrays["table_ahead"].shape):
            raise ValueError("table_ahead must have the shape of table")
        pairs = {name: None if x is None else (x.ctypes.data, x.shape) for name, x in arrays.items()}
        terms = plan_terms(**pairs, window=window)
        with self._lock:
            lib.mep_attention_set_terms(self._handle.pointer, terms)
            self._terms, self._window = arrays, window
        return self

    def _check_term(self, name, x, axes):
        if x.ndim != axes or (name != "bank" and x.shape[0] != self.heads) or 0 in x.shape:
            expected = {"sink": "", "bank": "rank, extent", "log_kernels": "kernels, length"}.get(name, "length")
            expected = expected if name == "bank" else f"{self.heads}, {expected}".rstrip(", ")
            raise ValueError(f"{name} has the shape {list(x.shape)}, expected [{expected}]")

    def set_bias(self, table: Any) -> Attention:
        """Take a copy of a bias table [heads, length] (Bias.table), or None for no table. Other terms stay."""
        return self.set_terms(**{**self._terms, "table": table}, window=self._window)

    # ---- One call ----

    def _sizes(self, q, k):
        """(batch, queries, keys, shape of q, shape of k), from the arrays."""
        q_shape, k_shape = describe("q", q)[1], describe("k", k)[1]
        if len(q_shape) != 4 or len(k_shape) != 4:
            raise ValueError(f"q and k have the shapes {list(q_shape)} and {list(k_shape)}; expected batch, heads, "
                             "length, head_dim")
        if 0 in q_shape or 0 in k_shape:
            raise ValueError(f"q and k have the shapes {list(q_shape)} and {list(k_shape)}; each axis must be 1 or "
                             "more")
        batch, queries, keys = q_shape[0], q_shape[2], k_shape[2]
        for name in ("table", "log_kernels"):
            if self._terms[name] is not None and self._terms[name].shape[-1] < keys:
                raise ValueError(f"{name} covers {self._terms[name].shape[-1]} distances and the call has {keys} keys: "
                                 f"set a longer {name}")
        return (batch, queries, keys, (batch, self.heads, queries, self.head_dim),
                (batch, self.kv_heads, keys, self.head_dim))

    def _call_terms(self, q, keys, gate, profiles, mixture, bounds):
        """What a call has per query or key, by name, checked: arrays whose addresses the library gets."""
        batch, queries = q.shape[0], q.shape[2]
        found, shapes = {}, {"gate": (batch, self.heads, keys)}
        for name, x, table in (("profiles", profiles, "bank"), ("mixture", mixture, "log_kernels")):
            values = self._terms[table]
            if (x is None) != (values is None):
                raise ValueError(f"{name} is given without {table}: set_terms sets it" if values is None else
                                 f"{name} is missing: the attention has {table}")
            if x is not None:
                shapes[name] = (batch, self.heads, queries, values.shape[0 if name == "profiles" else 1])
                found[name] = view(name, x, shapes[name], DTYPES["float32"], last="rank or kernels")
        if gate is not None:
            gate = gate.detach().double().contiguous() if is_torch(gate) else reals("gate", gate, np.float64)
            address("gate", gate, shapes["gate"], "float64")
            found["gate"] = gate
        for name, x in bounds.items():
            if x is not None:
                found[name] = x.contiguous() if is_torch(x) else integers(name, x)
                address(name, found[name], (batch, queries), "int64")
        return found, shapes

    def _call(self, arrays, lse, terms, writable=False):
        """mep_attention_call of the arrays by name; it keeps none of them alive."""
        batch, queries, keys, q_shape, k_shape = self._sizes(arrays["q"], arrays["k"])
        views = [view(name, arrays[name], k_shape if name in ("k", "v") else q_shape, self._dtype,
                      writable=writable and name == "out") for name in ("q", "k", "v", "out")]
        call = TYPES["mep_attention_call"](batch=batch, queries=queries, keys=keys, q=views[0], k=views[1], v=views[2],
                                           out=views[3], lse=address("lse", lse, q_shape[:3], "float32"))
        for name, x in terms.items():
            setattr(call, name, describe(name, x)[0] if name in ("gate", "starts", "ends") else x)
        return call

    def forward(self, q: Any, k: Any, v: Any, out: Any = None, *, gate: Any = None, profiles: Any = None,
                mixture: Any = None, starts: Any = None, ends: Any = None) -> tuple[Any, Any]:
        """(out, lse): the output, into `out` where it is given (it overlaps no input), and the logarithm of each
        query's sum of exponentials, float32 [batch, heads, queries], which the gradients need.

        q [batch, heads, queries, head_dim]; k, v [batch, kv_heads, keys, head_dim], queries <= keys <= max_length.
        gate      [batch, heads, keys]: the cumulative sum of the logarithms of forget gates. float64; other types are
                  converted
        profiles  float32 [batch, heads, queries, rank], where the attention has a bank
        mixture   float32 [batch, heads, queries, kernels], where it has log_kernels: logits of the mixture's weights
        starts    int64 [batch, queries], >= 0: the first key that a query sees, or its own key if that is earlier. The
                  first position of a query's document where several are packed into a sequence; the number of padding
                  tokens before a sequence
        ends      int64 [batch, queries], of bidirectional attention: the key after the last that a query sees, or that
                  after its own if that is later
        """
        batch, queries, keys, q_shape, _ = self._sizes(q, k)
        terms, _ = self._call_terms(q, keys, gate, profiles, mixture, {"starts": starts, "ends": ends})
        out = empty_like(q) if out is None else out
        lse = zeros(q_shape[:3], "float32", like=q)
        call = self._call({"q": q, "k": k, "v": v, "out": out}, lse, terms, writable=True)
        if call.out.data in (call.q.data, call.k.data, call.v.data):
            raise ValueError("out is also an input: give another array, or none")
        with self._lock:
            lib.mep_attention_forward(self._handle.pointer, call)
        return out, lse

    def _new_gradients(self, keys, wanted, shapes, like):
        """Zeros for the gradients of the wanted terms: float64, and float32 where the library writes a view."""
        shapes = {**shapes, **{name: x.shape for name, x in self._terms.items() if x is not None}}
        for name in ("table", "table_ahead", "log_kernels"):
            if name in shapes:
                shapes[name] = (*shapes[name][:-1], keys)
        return {name: zeros(shapes[name], "float32" if name in ("profiles", "mixture") else "float64", like=like)
                for name in wanted}

    def _backward(self, arrays, lse, dout, terms, new):
        """{"q": dq, "k": dk, "v": dv}; the gradients in `new` are written or added to."""
        _, _, _, q_shape, k_shape = self._sizes(arrays["q"], arrays["k"])
        results = {name: empty_like(arrays[name]) for name in ("q", "k", "v")}
        views = [view("d" + name, x, k_shape if name in ("k", "v") else q_shape, self._dtype, writable=True)
                 for name, x in results.items()]
        gradient = TYPES["mep_attention_gradient"](dout=view("dout", dout, q_shape, self._dtype), dq=views[0],
                                                   dk=views[1], dv=views[2])
        for name, x in new.items():
            rows = name in ("profiles", "mixture")
            setattr(gradient, "d" + name, view("d" + name, x, x.shape, DTYPES["float32"], writable=True) if rows else
                    describe("d" + name, x)[0])
        call = self._call(arrays, lse, terms)
        with self._lock:
            lib.mep_attention_backward(self._handle.pointer, call, gradient)
        return results

    def gradients(self, q: Any, k: Any, v: Any, out: Any, lse: Any, dout: Any, *, gate: Any = None,
                  profiles: Any = None, mixture: Any = None, starts: Any = None, ends: Any = None,
                  terms: Iterable[str] | None = None) -> dict[str, Any]:
        """Gradients by name of the forward call with the same arguments, from its results and the gradient of out:
        "q", "k" and "v", of `dtype`; "profiles" and "mixture", float32; "table", "table_ahead", "sink", "bank",
        "log_kernels" and "gate", float64, summed over the batch except for the gate. Those of tables and of log_kernels
        have `keys` distances. `terms` selects among the terms that are present; by default all."""
        keys = self._sizes(q, k)[2]
        found, shapes = self._call_terms(q, keys, gate, profiles, mixture, {"starts": starts, "ends": ends})
        present = [name for name in PLAN_TERMS if self._terms[name] is not None]
        present += [name for name in CALL_TERMS if name in found]
        wanted = present if terms is None else list(terms)
        for name in wanted:
            if name not in present:
                raise ValueError(f"terms names {name!r}, which the call does not have; it has "
                                 f"{', '.join(present) or 'none'}")
        new = self._new_gradients(keys, wanted, shapes, q)
        return {**self._backward({"q": q, "k": k, "v": v, "out": out}, lse, dout, found, new), **new}

    def backward(self, q: Any, k: Any, v: Any, out: Any, lse: Any, dout: Any, dbias: Any = None, *, gate: Any = None,
                 profiles: Any = None, mixture: Any = None, starts: Any = None,
                 ends: Any = None) -> tuple[Any, Any, Any, Any]:
        """(dq, dk, dv, dbias) of the forward call with the same arguments, from its results and the gradient of out.
        dbias is the gradient of the table, float64 [heads, keys], summed over the batch; an array given as `dbias` is
        added to, and False leaves it out. `gradients` has those of the other terms."""
        keys = self._sizes(q, k)[2]
        found, _ = self._call_terms(q, keys, gate, profiles, mixture, {"starts": starts, "ends": ends})
        if dbias is None:
            dbias = zeros((self.heads, keys), "float64", like=q)
        new = {}
        if dbias is not False:
            address("dbias", dbias, (self.heads, keys), "float64", writable=True)
            new["table"] = dbias
        results = self._backward({"q": q, "k": k, "v": v, "out": out}, lse, dout, found, new)
        return results["q"], results["k"], results["v"], None if dbias is False else dbias

    @property
    def computed_fraction(self) -> float:
        """Fraction of the blocks of keys up to the diagonal that the last forward call computed, 0 .. 1."""
        return lib.mep_attention_computed_fraction(self._handle.pointer)


def plan_terms(table, sink, bank, log_kernels, table_ahead, window):
    """mep_attention_terms of (address, shape) pairs, or None for a term that is absent."""
    terms = TYPES["mep_attention_terms"](window=window)
    if table is not None:
        terms.table, terms.table_length = table[0], table[1][1]
    if table_ahead is not None:
        terms.table_ahead = table_ahead[0]
    if sink is not None:
        terms.sink = sink[0]
    if bank is not None:
        terms.bank, (terms.rank, terms.extent) = bank
    if log_kernels is not None:
        terms.log_kernels, (_, terms.kernels, terms.log_kernels_length) = log_kernels
    return terms
