# SPDX-License-Identifier: MIT
"""Distance biases: mixtures of kernels of the distance between query and key (include/mep/bias.h)."""
from __future__ import annotations

import ctypes
import re
from typing import Any, Mapping

import numpy as np

from ._arrays import address, reals, integers
from ._checks import integer, number, text
from ._library import TYPES, Handle, lib


def alibi_slopes(heads: int) -> np.ndarray:
    """ALiBi's slopes, float64 [heads]."""
    heads = integer("heads", heads)
    slopes = np.zeros(max(heads, 0))
    lib.mep_alibi_slopes(heads, slopes.ctypes.data)
    return slopes


# What a spec may add to a distance bias, and what computes it in a model of one's own.
MODIFIERS = {"forget": "use libmep.torch.ForgetGate", "profiles": "use libmep.torch.Profiles",
             "weights": "use libmep.torch.QueryMixture", "scale": "multiply the queries by it",
             "sink": "give attention the argument sink", "window": "give attention the argument window"}


def _refuse_modifiers(spec):
    """A bias has the kernels of a spec and what they learn; the rest must not be lost without a word."""
    if "|" in spec:
        raise ValueError(f"{spec!r} has several encodings: make a bias of each")
    for name in re.findall(r"/\s*([a-z]+)", spec):
        if name != "learn":
            use = MODIFIERS.get(name, "compute it apart")
            raise ValueError(f"/{name} in {spec!r} is not part of a distance bias: leave it out and {use}")


class Bias:
    """The bias b_h(d) that `spec` describes ("mep", "exp + 0.5*gauss", "mep/learn=weights,slopes"), for `heads` heads
    of `head_dim` channels. Learned parameters are drawn with `seed`. `train_length` is the default threshold of
    "fire". Raises MepError for a spec that is not a bias, and ValueError for one with more than a bias ("/forget")."""

    def __init__(self, spec: str, heads: int, head_dim: int = 64, seed: int = 0, train_length: int = 512) -> None:
        self.heads, self.head_dim = integer("heads", heads), integer("head_dim", head_dim)
        seed, self.train_length = integer("seed", seed, ctypes.c_uint64), integer("train_length", train_length)
        self._handle = Handle(lib.mep_bias_create, lib.mep_bias_destroy, text("spec", spec), self.heads, self.head_dim)
        _refuse_modifiers(spec)
        lib.mep_bias_set_train_length(self._pointer, self.train_length)
        lib.mep_bias_init(self._pointer, seed)

    @property
    def _pointer(self):
        return self._handle.pointer

    def __repr__(self) -> str:
        return f"Bias({self.spec!r}, heads={self.heads}, head_dim={self.head_dim})"

    def __reduce__(self):
        return _restore, (self.spec, self.heads, self.head_dim, self._values(), self.train_length)

    @property
    def spec(self) -> str:
        """The canonical form of the spec: equal mixtures have equal ones."""
        return lib.mep_bias_spec(self._pointer).decode()

    @property
    def slopes(self) -> np.ndarray:
        """The ALiBi slopes that exp, gauss and tanh are made with, float64 [heads]."""
        return alibi_slopes(self.heads)

    @property
    def threshold(self) -> int | None:
        """The position of the query up to which the bias depends on the distance alone; None: everywhere."""
        threshold = lib.mep_bias_threshold(self._pointer)
        return threshold if threshold < 2 ** 63 - 1 else None

    def at(self, distances: Any, position: int | None = None) -> np.ndarray:
        """b_h(d) in float64, [heads, ...], at any distances 0 .. 2^31; a fraction is a ValueError. Of a bias with a
        threshold ("fire"): for a query at `position`, by default the first one from the threshold on that has the
        distance."""
        distances = integers("distances", distances)
        out = np.empty((self.heads, *distances.shape))
        if position is None:
            lib.mep_bias_at(self._pointer, distances.ctypes.data, distances.size, out.ctypes.data)
        else:
            lib.mep_bias_at_position(self._pointer, integer("position", position), distances.ctypes.data,
                                     distances.size, out.ctypes.data)
        return out

    def table(self, length: int, dtype: Any = np.float32) -> np.ndarray:
        """b_h(d) for d = 0 .. length - 1: [heads, length] in float32, as attention takes it, or in float64."""
        length = integer("length", length)
        if np.dtype(dtype) == np.float64:
            return self.at(np.arange(length))
        if np.dtype(dtype) != np.float32:
            raise ValueError(f"a table is float32 or float64, not {np.dtype(dtype)}")
        table = np.empty((self.heads, length if 0 < length <= 2**31 + 1 else 0), np.float32)  # others are refused
        lib.mep_bias_table(self._pointer, length, table.ctypes.data)
        return table

    def backward(self, dtable: Any) -> dict[str, np.ndarray]:
        """Gradients of the parameters by name, from the gradient of a table [heads, length]."""
        dtable = reals("dtable", dtable, np.float64)
        gradient = np.zeros(lib.mep_bias_param_values(self._pointer))
        if dtable.ndim != 2:
            raise ValueError(f"dtable has the shape {list(dtable.shape)}, expected [heads, length]")
        length = dtable.shape[1]
        pointer = address("dtable", dtable, (self.heads, length), "float64")
        lib.mep_bias_table_backward(self._pointer, length, pointer, gradient.ctypes.data)
        return self._named(gradient)

    def reach(self, bound: float, max_distance: int) -> np.ndarray:
        """[heads]: the smallest distance at and beyond which b_h is at most `bound`, up to max_distance;
        max_distance + 1 where there is none."""
        reach = np.empty(self.heads, np.int64)
        lib.mep_bias_reach(self._pointer, number("bound", bound), integer("max_distance", max_distance),
                           reach.ctypes.data)
        return reach

    # ---- Parameters ----

    def _fields(self):
        """(name, shape, part of the parameter vector) of every learned parameter."""
        for index in range(lib.mep_bias_param_count(self._pointer)):
            param = TYPES["mep_bias_param"]()
            lib.mep_bias_get_param(self._pointer, index, ctypes.byref(param))
            yield param.name.decode(), tuple(param.shape[:param.ndim]), slice(param.offset, param.offset + param.size)

    def _values(self):
        """A copy of the parameter vector."""
        count = lib.mep_bias_param_values(self._pointer)
        data = lib.mep_bias_params(self._pointer)
        return np.array((ctypes.c_double * count).from_address(data)) if count else np.zeros(0)

    def _named(self, vector):
        return {name: vector[part].reshape(shape) for name, shape, part in self._fields()}

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Learned parameters by name, copies in float64: {"kerple_log.p": [heads], "t5.table": [32, heads], ...}."""
        return self._named(self._values())

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Set parameters by name, all or some; they are moved into their allowed ranges (KERPLE's p and a >= 0.01)."""
        if not hasattr(parameters, "items"):
            raise TypeError(f"parameters must be a dict, not {type(parameters).__name__}")
        values = self._values()
        named = self._named(values)
        for name, value in parameters.items():
            if name not in named:
                raise KeyError(f"{self.spec!r} has no parameter {name!r}; parameters: {', '.join(named) or 'none'}")
            value = reals(name, value, np.float64)
            if value.shape != named[name].shape:
                raise ValueError(f"{name} has the shape {list(value.shape)}, expected {list(named[name].shape)}")
            named[name][...] = value
        lib.mep_bias_set_params(self._pointer, values.ctypes.data, values.size)


def _restore(spec, heads, head_dim, values, train_length=512):
    bias = Bias(spec, heads, head_dim, train_length=train_length)
    lib.mep_bias_set_params(bias._pointer, values.ctypes.data, values.size)
    return bias
