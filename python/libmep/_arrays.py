# SPDX-License-Identifier: MIT
"""Arrays as the library sees them: an address, strides, an element type. NumPy arrays and torch tensors are taken by
their address, never copied; torch is not imported for it. A wrong type, shape or stride is a TypeError or ValueError.
"""
import ctypes
import sys

import numpy as np

from ._checks import integer, number, text
from ._library import TYPES

DTYPES = {"float32": 0, "bfloat16": 1}
DEVICES = {"cpu": 0, "cuda": 1}
TensorView = TYPES["mep_tensor_view"]


def dtype_code(dtype):
    """mep_dtype of "float32", "bfloat16", or of NumPy's or torch's types of these names."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or str(dtype).replace("torch.", "")
    name = name if name in DTYPES else getattr(dtype, "__name__", name)
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r}: float32 and bfloat16 are possible")
    return DTYPES[name]


def device_code(device):
    """mep_device of "cpu", "cuda", or of torch's devices of these names."""
    name = str(device)
    if name not in DEVICES:
        raise ValueError(f"device {name!r}: cpu and cuda are possible")
    return DEVICES[name]


# ---- Arrays ----

def is_torch(x):
    """Whether x is a torch tensor; if so, the caller has imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def describe(name, x):
    """(address, shape, strides in elements, "float32" ...) of a NumPy array or a torch tensor on the CPU. NumPy's
    uint16 means bfloat16: the upper half of a float32."""
    if is_torch(x):
        if x.device.type != "cpu":
            raise ValueError(f"{name} is on {x.device}: the library computes on the CPU; use {name}.cpu()")
        if x.is_neg():
            raise ValueError(f"{name} is a negated view: use {name}.resolve_neg()")
        if x.layout != sys.modules["torch"].strided:
            raise ValueError(f"{name} is {x.layout}, expected a dense tensor: use {name}.to_dense()")
        return x.data_ptr(), tuple(x.shape), x.stride(), str(x.dtype).replace("torch.", "")
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array or a torch tensor, not {type(x).__name__}")
    size = x.dtype.itemsize
    if not x.flags.aligned or not x.dtype.isnative or any(stride % size for stride in x.strides):
        raise ValueError(f"{name} must be aligned and in this machine's byte order: use numpy.require")
    kind = "bfloat16" if x.dtype == np.uint16 else x.dtype.name
    return x.ctypes.data, x.shape, tuple(stride // size for stride in x.strides), kind


def _check_writable(name, x, shape, strides):
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if any(size > 1 and stride == 0 for size, stride in zip(shape, strides)):
        raise ValueError(f"{name} is broadcast and cannot be written")


def view(name, x, shape, dtype, writable=False, last="head_dim"):
    """mep_tensor_view of x, which must be [batch, heads, length, `last`] = `shape` of the element type `dtype`. All
    strides are possible, but the last axis must be contiguous. The view keeps x alive."""
    start, found, strides, kind = describe(name, x)
    if DTYPES.get(kind) != dtype:
        raise TypeError(f"{name} is {kind}, expected {list(DTYPES)[dtype]}")
    if found != tuple(shape):
        raise ValueError(f"{name} has the shape {list(found)}, expected {list(shape)}: batch, heads, length, {last}")
    if found[3] > 1 and strides[3] != 1:
        raise ValueError(f"the last axis of {name} has the stride {strides[3]} and must be contiguous (stride 1): copy "
                         "it, or pass another view")
    if writable:
        _check_writable(name, x, found, strides)
    result = TensorView(start, *strides[:3])
    result.owner = x
    return result


def address(name, x, shape, dtype, writable=False):
    """Address of a C-contiguous array of exactly this shape and type; the caller keeps x alive."""
    start, found, strides, kind = describe(name, x)
    if kind != dtype:
        raise TypeError(f"{name} is {kind}, expected {dtype}")
    if found != tuple(shape):
        raise ValueError(f"{name} has the shape {list(found)}, expected {list(shape)}")
    expected = 1
    for size, stride in zip(reversed(found), reversed(strides)):
        if size > 1 and stride != expected:
            raise ValueError(f"{name} must be contiguous")
        expected *= size
    if writable:
        _check_writable(name, x, found, strides)
    return start


def empty_like(x):
    """A new [batch, heads, length, head_dim] of x's kind, type and shape. Its axes have the same order in memory as
    those of x, so a view of [batch, length, heads, head_dim] gives another such view; channels are contiguous."""
    strides = x.stride() if is_torch(x) else x.strides
    order = sorted(range(3), key=lambda axis: -strides[axis]) + [3]
    shape = [x.shape[axis] for axis in order]
    back = [order.index(axis) for axis in range(4)]
    return x.new_empty(shape).permute(back) if is_torch(x) else np.empty(shape, x.dtype).transpose(back)


def zeros(shape, dtype, like):
    """New zeros of type "float32" or "float64", a torch tensor where `like` is one."""
    if is_torch(like):
        return like.new_zeros(shape, dtype=getattr(sys.modules["torch"], dtype))
    return np.zeros(shape, dtype)


def _array(name, values, kinds, what):
    """An array whose dtype's kind is among `kinds`; an empty one may have any, since [] is float64."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be a rectangular array of {what}: its rows differ in length") from None
    if array.dtype.kind not in kinds and array.size:
        found = "text" if array.dtype.kind in "US" else array.dtype
        raise TypeError(f"{name} must be {what}, not {found}")
    return array


def reals(name, values, dtype):
    """Real numbers as a contiguous array of `dtype`, copied only if they are not one already. Kind V is the bfloat16 of
    ml_dtypes."""
    return np.asarray(_array(name, values, "iufV", "real numbers"), dtype, order="C")


def tokens(values, name="tokens"):
    """Token numbers as contiguous int32, copied only if they are not already."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be integers, not text: Tokenizer.encode makes them of it")
    array = _array(name, values, "iu", "integers")
    if array.dtype != np.int32:
        if array.size and (array.min() < -2**31 or array.max() >= 2**31):
            raise ValueError(f"{name} has a number that does not fit into 32 bits")
        array = array.astype(np.int32)
    return np.ascontiguousarray(array)


def integers(name, values):
    """Integers as contiguous int64. Floats are accepted if they have no fraction."""
    array = _array(name, values, "iuf", "integers")
    if array.dtype.kind == "f" and not np.all((array == np.floor(array)) & (np.abs(array) < 2.0**63)):
        raise ValueError(f"{name} must be integers")
    if array.dtype == np.uint64 and np.any(array >= 2**63):
        raise ValueError(f"{name} has a number that does not fit into 64 bits")
    return np.ascontiguousarray(array, np.int64)


def library_array(pointer, shape, owner):
    """Float32 memory of the library as an array, which keeps `owner` alive."""
    buffer = (ctypes.c_float * int(np.prod(shape))).from_address(pointer)
    buffer.owner = owner
    return np.frombuffer(buffer, np.float32).reshape(shape)


# ---- Settings ----

CODES = {"dtype": dtype_code, "device": device_code}


def _field(name, kind, value):
    """A value for a structure's field of the ctypes type `kind`."""
    if name in CODES:
        return CODES[name](value)
    if kind is ctypes.c_double:
        return number(name, value)
    if not issubclass(kind, ctypes.Array):
        return integer(name, value, kind)
    data = text(name, value)
    if len(data) >= ctypes.sizeof(kind):
        raise ValueError(f"{name} has {len(data)} bytes, and {ctypes.sizeof(kind) - 1} are possible")
    return data


def fill(settings, values):
    """Set fields of a settings structure by name; an unknown name is a TypeError that lists them. The default
    dtype of cuda is bfloat16, the only one that it computes in."""
    kinds = dict(settings._fields_)
    if not hasattr(values, "items"):
        raise TypeError(f"settings must be a dict, not {type(values).__name__}")
    for name, value in values.items():
        if name not in kinds:
            raise TypeError(f"unknown setting {name!r}; settings: {', '.join(kinds)}")
        setattr(settings, name, _field(name, kinds[name], value))
    if getattr(settings, "device", 0) != DEVICES["cpu"] and "dtype" not in values:
        settings.dtype = DTYPES["bfloat16"]
    return settings


def as_dict(structure):
    """A structure's fields by name, strings as text."""
    values = {name: getattr(structure, name) for name, _ in structure._fields_}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
