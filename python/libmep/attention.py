# SPDX-License-Identifier: MIT
"""Fused causal attention with a distance bias (include/mep/attention.h), on the caller's own memory."""
import ctypes

import numpy as np

from ._arrays import DTYPES, address, describe, dtype_code, empty_like, fill, reals, view, zeros
from ._library import TYPES, Handle, Lock, lib


class Attention:
    """out_i = sum_j softmax_j(scale q_i . k_j + b_h(i - j)) v_j over the keys j up to the query, and its gradients.

    Tensors are [batch, heads, length, head_dim] of `dtype`, NumPy arrays or torch tensors on the CPU, with any strides
    but contiguous channels: for [batch, length, heads, head_dim] give x.transpose(0, 2, 1, 3), which copies nothing.
    bfloat16 arrays are those of the package ml_dtypes, or uint16. Queries are the last of the keys where there are
    fewer. Results are new arrays of the same kind, with their axes in memory as in q.

    scale 0 means 1/sqrt(head_dim); tolerance t > 0 leaves out far keys whose weight is in all at most t a query. A copy
    and a pickle have the same settings and the same bias table.
    """

    def __init__(self, heads, head_dim, max_length, dtype="float32", scale=0.0, skip_far=True, tolerance=0.0):
        self._dtype = dtype_code(dtype)
        self._settings = {"heads": heads, "head_dim": head_dim, "max_length": max_length, "scale": scale,
                          "dtype": list(DTYPES)[self._dtype], "skip_far": int(skip_far), "tolerance": tolerance}
        self._create()

    def _create(self):
        settings = TYPES["mep_attention_settings"]()
        lib.mep_attention_defaults(ctypes.byref(settings))
        fill(settings, self._settings)
        self.heads, self.head_dim, self.max_length = settings.heads, settings.head_dim, settings.max_length
        self._handle = Handle(lib.mep_attention_create, lib.mep_attention_destroy, ctypes.byref(settings))
        self._lock, self._table = Lock(), None

    def __repr__(self):
        return (f"Attention(heads={self.heads}, head_dim={self.head_dim}, max_length={self.max_length}, "
                f"dtype={self._settings['dtype']!r})")

    def __getstate__(self):
        state = dict(self.__dict__)
        del state["_handle"], state["_lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._create()
        self.set_bias(state["_table"])

    def set_bias(self, table):
        """Take a copy of a bias table [heads, length] (Bias.table); None for no bias. It must be at least as long as
        the keys of later calls."""
        if table is None:
            pointer, length = None, 0
        else:
            table = np.array(reals("table", table, np.float32))
            length = table.shape[1] if table.ndim == 2 else 0
            pointer = address("table", table, (self.heads, length), "float32")
        with self._lock:
            lib.mep_attention_set_terms(self._handle.pointer, TYPES["mep_attention_terms"](pointer, length))
            self._table = table
        return self

    def _sizes(self, q, k):
        """(batch, queries, keys, shape of q, shape of k), from the arrays."""
        q_shape, k_shape = describe("q", q)[1], describe("k", k)[1]
        if len(q_shape) != 4 or len(k_shape) != 4:
            raise ValueError(f"q and k have the shapes {list(q_shape)} and {list(k_shape)}; expected batch, heads, "
                             "length, head_dim")
        batch, queries, keys = q_shape[0], q_shape[2], k_shape[2]
        return (batch, queries, keys, (batch, self.heads, queries, self.head_dim),
                (batch, self.heads, keys, self.head_dim))

    def forward(self, q, k, v, out=None):
        """(out, lse): the output, into `out` where it is given (it overlaps no input), and the logarithm of each
        query's sum of exponentials, float32 [batch, heads, queries], which `backward` needs."""
        batch, queries, keys, q_shape, k_shape = self._sizes(q, k)
        out = empty_like(q) if out is None else out
        lse = zeros(q_shape[:3], "float32", like=q)
        views = [view("q", q, q_shape, self._dtype), view("k", k, k_shape, self._dtype),
                 view("v", v, k_shape, self._dtype), view("out", out, q_shape, self._dtype, writable=True)]
        if views[3].data in [x.data for x in views[:3]]:
            raise ValueError("out is also an input: give another array, or none")
        call = TYPES["mep_attention_call"](batch, queries, keys, *views, address("lse", lse, q_shape[:3], "float32"))
        with self._lock:
            lib.mep_attention_forward(self._handle.pointer, call)
        return out, lse

    def backward(self, q, k, v, out, lse, dout, dbias=None):
        """(dq, dk, dv, dbias) of the forward call with the same q, k and v, from its results and the gradient of out.
        dbias is the gradient of the table, float64 [heads, keys], summed over the batch; an array given as `dbias` is
        added to, and False leaves it out."""
        batch, queries, keys, q_shape, k_shape = self._sizes(q, k)
        if dbias is None:
            dbias = zeros((self.heads, keys), "float64", like=q)
        pointer = None if dbias is False else address("dbias", dbias, (self.heads, keys), "float64", writable=True)
        gradients = empty_like(q), empty_like(k), empty_like(v)
        shapes = q_shape, k_shape, k_shape
        inputs = [view(name, x, shape, self._dtype) for name, x, shape in
                  zip(("q", "k", "v", "out", "dout"), (q, k, v, out, dout), (*shapes, q_shape, q_shape))]
        outputs = [view(name, x, shape, self._dtype, writable=True)
                   for name, x, shape in zip(("dq", "dk", "dv"), gradients, shapes)]
        call = TYPES["mep_attention_call"](batch, queries, keys, *inputs[:4],
                                           address("lse", lse, q_shape[:3], "float32"))
        gradient = TYPES["mep_attention_gradient"](inputs[4], *outputs, pointer)
        with self._lock:
            lib.mep_attention_backward(self._handle.pointer, call, gradient)
        return (*gradients, None if dbias is False else dbias)

    @property
    def computed_fraction(self):
        """Fraction of the blocks of keys up to the diagonal that the last forward call computed, 0 .. 1."""
        return lib.mep_attention_computed_fraction(self._handle.pointer)
