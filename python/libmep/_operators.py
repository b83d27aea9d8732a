# SPDX-License-Identifier: MIT
"""The custom operators torch.ops.libmep.*: schemas, CPU kernels, fake kernels, autograd formulas, an autocast rule.

    attention(q, k, v, table, gate, profiles, bank, mixture, log_kernels, sink, table_ahead, starts, ends, window,
              bidirectional, scale, tolerance) -> out, lse
    attention_backward(dout, ..., wanted) -> [dq, dk, dv] and the gradients of the wanted terms
    bias_table(like, parameters, spec, heads, head_dim, length) -> table, and bias_table_backward

The functions for users are those of libmep.torch. Schemas, fake kernels, autograd and autocast are registered here. The
CPU kernels of attention and attention_backward are those of the library (mep_torch_register), in C, where PyTorch has
the functions that they call, and otherwise those below. After a failure in C, which is always a RuntimeError, those
below are called too: they raise the error of the proper type, with the argument's name. The fake kernels share their
checks.
"""
from __future__ import annotations

import ctypes
import os
import threading

import torch
from torch.autograd import forward_ad

from ._arrays import fill
from ._library import TYPES, Handle, MepError, lib
from .attention import plan_terms
from .bias import Bias

# The arguments after q, k and v: terms with gradients, integers per query, settings.
TERMS = ("table", "gate", "profiles", "bank", "mixture", "log_kernels", "sink", "table_ahead")
BOUNDS = ("starts", "ends")
SETTINGS = (0, False, 0.0, 0.0)  # defaults of window, bidirectional, scale, tolerance
ROWS = ("profiles", "mixture")
DEFAULTS = (None,) * (len(TERMS) + len(BOUNDS)) + SETTINGS
DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
View, Call, Gradient = TYPES["mep_tensor_view"], TYPES["mep_attention_call"], TYPES["mep_attention_gradient"]

_terms_schema = ", ".join(f"Tensor? {name}" for name in (*TERMS, *BOUNDS))
_defaults_schema = ", ".join(f"Tensor? {name}=None" for name in (*TERMS, *BOUNDS))
# Inductor keeps the strides of arguments, so that the last axis stays contiguous.
_tags = [torch.Tag.pt2_compliant_tag,
         getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)]
_library = torch.library.Library("libmep", "DEF")
_library.define(f"attention(Tensor q, Tensor k, Tensor v, {_defaults_schema}, int window=0, bool bidirectional=False, "
                "float scale=0.0, float tolerance=0.0) -> (Tensor, Tensor)", tags=_tags)
_library.define("attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
                f"{_terms_schema}, bool[] wanted, int window, bool bidirectional, float scale, float tolerance) -> "
                "Tensor[]", tags=_tags)
_library.define("bias_table(Tensor like, Tensor[] parameters, str spec, int heads, int head_dim, SymInt length) -> "
                "Tensor", tags=_tags)
_library.define("bias_table_backward(Tensor dtable, Tensor[] parameters, str spec, int heads, int head_dim) -> "
                "Tensor[]", tags=_tags)


# ---- Checks ----

def _check_tensor(name, x, shape, dtype, last=True):
    """A tensor of this shape and type on the CPU; `last`: its last axis must be contiguous."""
    if x.dtype != dtype:
        raise TypeError(f"{name} is {x.dtype}, expected {dtype}: use {name}.to({dtype})")
    if not (x.is_cpu or x.is_meta):
        raise ValueError(f"{name} is on {x.device}: libmep computes on the CPU; use {name}.cpu()")
    if x.shape != shape:
        raise ValueError(f"{name} has the shape {list(x.shape)}, expected {list(shape)}")
    if last and shape[-1] != 1 and x.stride(-1) != 1:
        if x.layout != torch.strided:
            raise TypeError(f"{name} is {x.layout}, expected a dense tensor: use {name}.to_dense()")
        raise ValueError(f"the last axis of {name} has the stride {x.stride(-1)} and must be contiguous (stride 1): "
                         f"use {name}.contiguous()")


def _check_devices(q, **others):
    """No tensor on the meta device unless q is: it makes PyTorch call the fake kernel, whose result has no values."""
    for name, x in others.items():
        if x is not None and x.is_meta and not q.is_meta:
            raise ValueError(f"{name} is on {x.device} and q on {q.device}: all tensors must be on one device")


def _check_axes(name, x, axes):
    if x.dim() != len(axes) or 0 in x.shape:
        raise ValueError(f"{name} has the shape {list(x.shape)}, expected [{', '.join(axes)}], each 1 or more")


def _check_table(name, x, heads, keys, axes):
    """[heads, ..., at least `keys` distances], float32."""
    _check_axes(name, x, axes)
    if x.shape[0] != heads:
        raise ValueError(f"{name} has {x.shape[0]} heads, expected the {heads} of q")
    if x.shape[-1] < keys:
        raise ValueError(f"{name} covers {x.shape[-1]} distances and the call has {keys} keys: give a longer {name}")
    _check_tensor(name, x, x.shape, torch.float32, last=False)


def _check_pair(name, x, table_name, table):
    if (x is None) != (table is None):
        missing, present = (table_name, name) if table is None else (name, table_name)
        raise ValueError(f"{missing} is missing: {present} is given, and the two belong together")


def _check_terms(sizes, table, gate, profiles, bank, mixture, log_kernels, sink, table_ahead):
    batch, heads, queries, _, keys, _ = sizes
    _check_pair("profiles", profiles, "bank", bank)
    _check_pair("mixture", mixture, "log_kernels", log_kernels)
    if table is not None:
        _check_table("table", table, heads, keys, ("heads", "distances"))
    if gate is not None:
        _check_tensor("gate", gate, (batch, heads, keys), torch.float64, last=False)
    if bank is not None:
        _check_axes("bank", bank, ("rank", "extent"))
        _check_tensor("bank", bank, bank.shape, torch.float32, last=False)
        _check_tensor("profiles", profiles, (batch, heads, queries, bank.shape[0]), torch.float32)
    if log_kernels is not None:
        _check_table("log_kernels", log_kernels, heads, keys, ("heads", "kernels", "distances"))
        _check_tensor("mixture", mixture, (batch, heads, queries, log_kernels.shape[1]), torch.float32)
    if sink is not None:
        _check_tensor("sink", sink, (heads,), torch.float32, last=False)
    if table_ahead is not None:
        if table is None:
            raise ValueError("table is missing: table_ahead is given, and the two belong together")
        _check_tensor("table_ahead", table_ahead, table.shape, torch.float32, last=False)


def _check_directions(sizes, terms, ends, bidirectional):
    """What only causal, and only bidirectional attention has."""
    by_name = dict(zip(TERMS, terms), ends=ends)
    for name in ("gate", "bank", "log_kernels") if bidirectional else ("table_ahead", "ends"):
        if by_name[name] is not None:
            raise ValueError(f"{name} is not possible with bidirectional={bidirectional}")
    if bidirectional and sizes[2] != sizes[4]:
        raise ValueError(f"q has {sizes[2]} queries and k has {sizes[4]} keys: bidirectional attention needs as many")


def _check(q, k, v, terms, starts=None, ends=None, window=0, bidirectional=False):
    """(batch, heads, queries, kv_heads, keys, head_dim) of a call, checked with all that it has."""
    if q.dtype not in DTYPES:
        raise TypeError(f"q is {q.dtype}: torch.float32 and torch.bfloat16 are possible")
    _check_axes("q", q, ("batch", "heads", "queries", "head_dim"))
    _check_axes("k", k, ("batch", "kv_heads", "keys", "head_dim"))
    batch, heads, queries, head_dim = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    if heads % kv_heads != 0:
        raise ValueError(f"k has {kv_heads} heads, which must divide the {heads} of q")
    if queries > keys:
        raise ValueError(f"q has {queries} queries and k has {keys} keys: queries are the last of the keys")
    _check_tensor("q", q, q.shape, q.dtype)
    _check_tensor("k", k, (batch, kv_heads, keys, head_dim), q.dtype)
    _check_tensor("v", v, (batch, kv_heads, keys, head_dim), q.dtype)
    sizes = batch, heads, queries, kv_heads, keys, head_dim
    _check_terms(sizes, *terms)
    for name, x in (("starts", starts), ("ends", ends)):
        if x is not None:
            _check_tensor(name, x, (batch, queries), torch.int64, last=False)
    if window < 0:
        raise ValueError(f"window is {window}; it must be at least 1, or 0 for none")
    if bidirectional or ends is not None or terms[-1] is not None:
        _check_directions(sizes, terms, ends, bidirectional)
    return sizes


def _like(x):
    """A new tensor of x's shape. Its axes have the same order in memory as those of x; the last axis is contiguous."""
    strides, size, shape = [0, 0, 0, 1], x.shape[3], x.shape
    for axis in sorted((2, 1, 0), key=x.stride().__getitem__):
        strides[axis] = size
        size = size * shape[axis]
    return x.new_empty_strided(shape, strides)


# ---- Plans ----

class _Plans:
    """Plans that no call uses at the moment, the last ones used. A call takes one with its settings, or makes one."""

    MOST = 4

    def __init__(self):
        self.clear()

    def clear(self):
        self._lock, self._idle = threading.Lock(), []

    def take(self, key):
        with self._lock:
            for i in range(len(self._idle) - 1, -1, -1):
                if self._idle[i][0] == key:
                    return self._idle.pop(i)
        heads, kv_heads, head_dim, max_length, dtype, bidirectional, scale, tolerance, _ = key
        settings = TYPES["mep_attention_settings"]()
        lib.mep_attention_defaults(ctypes.byref(settings))
        fill(settings, {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "max_length": max_length,
                        "dtype": dtype, "bidirectional": int(bidirectional), "scale": scale, "tolerance": tolerance})
        return key, Handle(lib.mep_attention_create, lib.mep_attention_destroy, ctypes.byref(settings))

    def give(self, plan):
        with self._lock:
            self._idle.append(plan)
            if len(self._idle) > self.MOST:
                self._idle.pop(0)


_plans = _Plans()
os.register_at_fork(after_in_child=_plans.clear)


def _take_plan(sizes, dtype, terms, window, bidirectional, scale, tolerance):
    """A plan with these terms, for the present number of threads, with room for the keys rounded up to a block."""
    _, heads, _, kv_heads, keys, head_dim = sizes
    plan = _plans.take((heads, kv_heads, head_dim, -(-keys // 64) * 64, DTYPES[dtype], bidirectional, scale, tolerance,
                        lib.mep_set_threads(0)))
    table, _, _, bank, _, log_kernels, sink, table_ahead = terms
    lib.mep_attention_set_terms(plan[1].pointer, plan_terms(_pointer(table), _pointer(sink), _pointer(bank),
                                                            _pointer(log_kernels), _pointer(table_ahead), window))
    return plan


def _pointer(x):
    return None if x is None else (x.data_ptr(), x.shape)


def _contiguous(terms):
    """The terms with the tables contiguous, as the library takes them; rows are taken with their strides."""
    return [x if x is None or name in ROWS else x.contiguous() for name, x in zip((*TERMS, *BOUNDS), terms)]


# ---- Attention ----

def _view(x):
    return View(x.data_ptr(), *x.stride()[:3])


def _complete(rest):
    """The arguments after q, k and v, of which the dispatcher leaves out trailing defaults: terms, bounds, settings."""
    rest = rest + DEFAULTS[len(rest):]
    return rest[:8], rest[8:10], rest[10:]


def _call(sizes, q, k, v, out, lse, terms, starts, ends):
    call = Call(batch=sizes[0], queries=sizes[2], keys=sizes[4], q=_view(q), k=_view(k), v=_view(v), out=_view(out),
                lse=lse.data_ptr())
    _, gate, profiles, _, mixture, _, _, _ = terms
    if profiles is not None:
        call.profiles = _view(profiles)
    if mixture is not None:
        call.mixture = _view(mixture)
    for name, x in (("gate", gate), ("starts", starts), ("ends", ends)):
        if x is not None:
            setattr(call, name, x.data_ptr())
    return call


def _forward(q, k, v, *rest):
    terms, bounds, settings = _complete(rest)
    sizes = _check(q, k, v, terms, *bounds, *settings[:2])
    out, lse = _like(q), q.new_empty(sizes[:3], dtype=torch.float32)
    *terms, starts, ends = _contiguous(terms + bounds)
    plan = _take_plan(sizes, q.dtype, terms, *settings)
    lib.mep_attention_forward(plan[1].pointer, _call(sizes, q, k, v, out, lse, terms, starts, ends))
    _plans.give(plan)
    return out, lse


def _fake_forward(q, k, v, *rest):
    terms, bounds, settings = _complete(rest)
    sizes = _check(q, k, v, terms, *bounds, *settings[:2])
    _check_devices(q, k=k, v=v, **dict(zip((*TERMS, *BOUNDS), (*terms, *bounds))))
    return _like(q), q.new_empty(sizes[:3], dtype=torch.float32)


def _sums(name, x, keys):
    """Zeros float64 for the sums of a term's gradient."""
    shape = (*x.shape[:-1], keys) if name in ("table", "table_ahead", "log_kernels") else x.shape
    return x.new_zeros(shape, dtype=torch.float64)


def _finish(name, sums, x):
    """The gradient of term x from what the library has written. Distances that no key has get 0."""
    if name == "gate" or name in ROWS:
        return sums
    gradient = sums.to(torch.float32)
    return torch.nn.functional.pad(gradient, (0, x.shape[-1] - sums.shape[-1])) if sums.shape != x.shape else gradient


def _check_backward(dout, q, out, lse, terms, wanted):
    _check_tensor("dout", dout, q.shape, q.dtype)
    _check_tensor("out", out, q.shape, q.dtype)
    _check_tensor("lse", lse, q.shape[:3], torch.float32, last=False)
    if len(wanted) != len(TERMS):
        raise ValueError(f"wanted has {len(wanted)} elements, expected {len(TERMS)}")
    for name, x, want in zip(TERMS, terms, wanted):
        if want and x is None:
            raise ValueError(f"{name} is missing: its gradient is wanted")


def _backward(dout, q, k, v, out, lse, *rest):
    terms, bounds, wanted, settings = rest[:8], rest[8:10], rest[10], rest[11:]
    sizes = _check(q, k, v, terms, *bounds, *settings[:2])
    _check_backward(dout, q, out, lse, terms, wanted)
    lse = lse.contiguous()
    new = {name: _like(x) if name in ROWS else _sums(name, x, sizes[4])
           for name, x, want in zip(TERMS, terms, wanted) if want}
    dq, dk, dv = _like(q), _like(k), _like(v)
    gradient = Gradient(dout=_view(dout), dq=_view(dq), dk=_view(dk), dv=_view(dv))
    for name, x in new.items():
        setattr(gradient, "d" + name, _view(x) if name in ROWS else x.data_ptr())
    *inputs, starts, ends = _contiguous(terms + bounds)
    plan = _take_plan(sizes, q.dtype, inputs, *settings)
    lib.mep_attention_backward(plan[1].pointer, _call(sizes, q, k, v, out, lse, inputs, starts, ends), gradient)
    _plans.give(plan)
    return [dq, dk, dv] + [_finish(name, new[name], x) for name, x in zip(TERMS, terms) if name in new]


def _fake_backward(dout, q, k, v, out, lse, *rest):
    terms, bounds, wanted, settings = rest[:8], rest[8:10], rest[10], rest[11:]
    _check(q, k, v, terms, *bounds, *settings[:2])
    new = [_like(x) if name in ROWS else x.new_empty(x.shape) for name, x, want in zip(TERMS, terms, wanted) if want]
    return [_like(q), _like(k), _like(v)] + new


def _refuse_forward_mode(tensors):
    """Fail where a tensor has a tangent, which would be lost."""
    if forward_ad._current_level >= 0 and any(x is not None and forward_ad.unpack_dual(x).tangent is not None
                                              for x in tensors):
        raise RuntimeError("libmep has no forward-mode derivatives: use backward")


# The dispatch keys of a call on ordinary CPU tensors, outside of every mode and transform. Then there is nothing
# between the autograd kernel and the CPU kernel.
CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
ORDINARY = (CPU | torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU)).raw_repr()
# The keys that such tensors have by themselves.
PLAIN = ORDINARY | (torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
                    | torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)).raw_repr()


def _cpu_forward(*arguments):
    """The CPU kernel on ordinary tensors."""
    if KERNELS == "python":
        return _forward(*arguments)
    try:
        return _attention.redispatch(CPU, *arguments)
    except RuntimeError:
        pass
    return _forward(*arguments)


def _cpu_backward(*arguments):
    if KERNELS == "python":
        return _backward(*arguments)
    try:
        return _attention_backward.redispatch(CPU, *arguments)
    except RuntimeError:
        pass
    return _backward(*arguments)


def attend(*arguments):
    """The operator's output. In inference mode PyTorch does not call the autograd kernel, which replaces errors of the
    kernel in C by those of the kernel in Python; this does."""
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        return torch.ops.libmep.attention(*arguments)[0]
    try:
        return torch.ops.libmep.attention(*arguments)[0]
    except RuntimeError:
        if not all(_is_plain(x) for x in arguments[:13] if x is not None):
            raise
    return _forward(*arguments)[0]


def _is_plain(x):
    """Whether the CPU kernel may be called with this tensor directly."""
    return not torch._C._dispatch_keys(x).raw_repr() & ~PLAIN and torch._C._len_torch_dispatch_stack() == 0


def _is_ordinary(x):
    return type(x) is torch.Tensor and torch._C._len_torch_dispatch_stack() == 0


class _Attention(torch.autograd.Function):
    """The autograd kernel by hand: torch.library.register_autograd would take twice as long per call."""

    @staticmethod
    def forward(ctx, keyset, bounds, settings, *inputs):
        ctx.is_ordinary = keyset.raw_repr() == ORDINARY
        if ctx.is_ordinary:
            out, lse = _cpu_forward(*inputs, *bounds, *settings)
        else:
            with torch._C._AutoDispatchBelowAutograd():
                out, lse = _attention.redispatch(keyset & torch._C._after_autograd_keyset, *inputs, *bounds, *settings)
        ctx.save_for_backward(*inputs, *bounds, out, lse)
        ctx.settings = settings
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx, dout, _):
        needed = ctx.needs_input_grad[3:]
        if dout is None:
            return (None,) * (3 + len(needed))
        q, k, v, *rest, out, lse = ctx.saved_tensors
        dout = dout if dout.stride(-1) == 1 or dout.shape[-1] == 1 else dout.contiguous()
        wanted = list(needed[3:])
        call = _attention_backward
        if ctx.is_ordinary and not torch.is_grad_enabled() and _is_ordinary(dout):
            call = _cpu_backward
        found = call(dout, q, k, v, out, lse, *rest, wanted, *ctx.settings)
        terms = iter(found[3:])
        return (None, None, None, *(x if want else None for x, want in zip(found, needed[:3])),
                *(next(terms) if want else None for want in wanted))


def _differentiable(keyset, q, k, v, *rest):
    terms, bounds, settings = _complete(rest)
    inputs = q, k, v, *terms
    _refuse_forward_mode(inputs)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        if torch._C._are_functorch_transforms_active():
            raise RuntimeError("libmep.torch cannot be differentiated by torch.func: use backward or "
                               "torch.autograd.grad")
        return _Attention.apply(keyset, bounds, settings, *inputs)
    if keyset.raw_repr() == ORDINARY:
        return _cpu_forward(q, k, v, *rest)
    with torch._C._AutoDispatchBelowAutograd():
        return _attention.redispatch(keyset & torch._C._after_autograd_keyset, q, k, v, *rest)


def _refuse(ctx, *gradients):
    raise RuntimeError("libmep has no second derivatives: the gradient of a gradient of libmep.torch was requested")


class _Gradient(torch.autograd.Function):
    """The gradients under create_graph=True: they can be used, but not differentiated."""

    @staticmethod
    def forward(ctx, keyset, wanted, settings, *tensors):
        with torch._C._AutoDispatchBelowAutograd():
            return tuple(_attention_backward.redispatch(keyset & torch._C._after_autograd_keyset, *tensors, wanted,
                                                        *settings))

    backward = staticmethod(_refuse)


def _differentiable_gradient(keyset, *arguments):
    tensors, (wanted, *settings) = arguments[:16], arguments[16:]
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors):
        return list(_Gradient.apply(keyset, wanted, settings, *tensors))
    with torch._C._AutoDispatchBelowAutograd():
        return _attention_backward.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)


def _autocast(q, k, v, *rest):
    """q, k and v in bfloat16 where that is autocast's type, else in float32; score terms in the types they need."""
    terms, bounds, settings = _complete(rest)
    dtype = torch.get_autocast_dtype("cpu")
    dtype = dtype if dtype in DTYPES else torch.float32
    terms = [None if x is None else x.to(torch.float64 if name == "gate" else torch.float32)
             for name, x in zip(TERMS, terms)]
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)):
        return _attention(q.to(dtype), k.to(dtype), v.to(dtype), *terms, *bounds, *settings)


# ---- Tables of distance biases ----

def _make_bias(parameters, spec, heads, head_dim):
    """(names, Bias with these values, moved into their ranges). It is new: a graph may outlive a module's values."""
    _refuse_forward_mode(parameters)
    bias = Bias(spec, heads, head_dim)
    names = list(bias.parameters)
    bias.set_parameters({name: x.detach().double().numpy() for name, x in zip(names, parameters)})
    return names, bias


def _table(like, parameters, spec, heads, head_dim, length):
    return torch.from_numpy(_make_bias(parameters, spec, heads, head_dim)[1].table(length))


def _fake_table(like, parameters, spec, heads, head_dim, length):
    return like.new_empty((heads, length), dtype=torch.float32)


def _table_backward(dtable, parameters, spec, heads, head_dim):
    names, bias = _make_bias(parameters, spec, heads, head_dim)
    gradients = bias.backward(dtable.numpy())
    return [torch.from_numpy(gradients[name].copy()).to(x.dtype) for name, x in zip(names, parameters)]


def _fake_table_backward(dtable, parameters, spec, heads, head_dim):
    return [x.new_empty(x.shape) for x in parameters]


def _setup_table(ctx, inputs, output):
    ctx.save_for_backward(*inputs[1])
    ctx.settings = inputs[2:5]


def _table_formula(ctx, dtable):
    gradients = torch.ops.libmep.bias_table_backward(dtable, list(ctx.saved_tensors), *ctx.settings)
    return None, gradients, None, None, None, None


# ---- Registration ----

def _register_c():
    """Which CPU kernels of attention are in use: "c" or "python". LIBMEP_TORCH_KERNELS requests one of them."""
    wanted = os.environ.get("LIBMEP_TORCH_KERNELS", "")
    if wanted not in ("", "c", "python"):
        raise ImportError(f'LIBMEP_TORCH_KERNELS is "{wanted}": "c" and "python" are possible')
    if wanted == "python":
        return "python"
    functions = ctypes.CDLL(torch._C.__file__)  # finds the functions of the libraries that it is linked to, too

    def find(_, name):
        try:
            return ctypes.cast(getattr(functions, name.decode()), ctypes.c_void_p).value
        except AttributeError:
            return None

    try:
        lib.mep_torch_register(TYPES["mep_torch_find_fn"](find), None)
    except MepError as error:
        if wanted == "c":
            raise ImportError(f"LIBMEP_TORCH_KERNELS is \"c\": {error}") from None
        return "python"
    return "c"


def _register():
    for name, kernel, fake in (("attention", _forward, _fake_forward),
                               ("attention_backward", _backward, _fake_backward),
                               ("bias_table", _table, _fake_table),
                               ("bias_table_backward", _table_backward, _fake_table_backward)):
        # For every device, so that the checks name the argument on another one.
        _library.impl(name, kernel, "CompositeExplicitAutograd")
        torch.library.register_fake(f"libmep::{name}", fake, lib=_library)
    _library.impl("attention", _autocast, "AutocastCPU")
    _library.impl("attention", _differentiable, "Autograd", with_keyset=True)
    _library.impl("attention_backward", _differentiable_gradient, "Autograd", with_keyset=True)
    torch.library.register_autograd("libmep::bias_table", _table_formula, setup_context=_setup_table, lib=_library)
    torch.library.register_autograd("libmep::bias_table_backward", _refuse, lib=_library)


_attention, _attention_backward = (getattr(torch.ops.libmep, name).default
                                   for name in ("attention", "attention_backward"))
_register()
KERNELS = _register_c()
