# SPDX-License-Identifier: MIT
"""What several tests share: golden files, the attention's formula in NumPy, a distance between arrays."""
import json
import os
import struct
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = Path(os.environ.get("MEP_GOLDEN_DIR", REPOSITORY / "tests" / "golden"))
GOLDEN2 = Path(os.environ.get("MEP_GOLDEN2_DIR", REPOSITORY / "tests" / "golden2"))
# Of this repository's own fixtures, wherever the others are.
GOLDEN_FAMILIES = REPOSITORY / "tests" / "golden" / "families"
# The command line program, for comparisons with it.
PROGRAM = os.environ.get("MEP_PROGRAM")


def safetensors(path):
    """The tensors of a file by name, and its metadata."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    types = {"F64": np.float64, "F32": np.float32, "I64": np.int64}
    return {name: np.frombuffer(data, types[entry["dtype"]], offset=8 + size + entry["data_offsets"][0],
                                count=int(np.prod(entry["shape"]))).reshape(entry["shape"])
            for name, entry in header.items()}, metadata


def distances(queries, keys):
    """d[i, j] of query i, the last of the keys; negative where the key comes later."""
    return np.arange(queries)[:, None] + keys - queries - np.arange(keys)


def attention(q, k, v, table=None, dout=None, scale=None):
    """The formula in float64: (out, lse), and with dout also (dq, dk, dv, dbias)."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scale = 1 / np.sqrt(q.shape[3]) if scale is None else scale
    d = distances(q.shape[2], k.shape[2])
    scores = scale * q @ k.swapaxes(2, 3)
    if table is not None:
        scores = scores + np.asarray(table, np.float64)[:, np.maximum(d, 0)]
    scores = np.where(d >= 0, scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    lse = top + np.log(np.exp(scores - top).sum(-1, keepdims=True))
    weights = np.exp(scores - lse)
    out = weights @ v
    if dout is None:
        return out, lse[..., 0]
    dout = np.asarray(dout, np.float64)
    ds = weights * (dout @ v.swapaxes(2, 3) - (dout * out).sum(-1, keepdims=True))
    dbias = np.stack([np.where(d == n, ds, 0).sum((0, 2, 3)) for n in range(k.shape[2])], 1)
    return (out, lse[..., 0], scale * ds @ k, scale * ds.swapaxes(2, 3) @ q, weights.swapaxes(2, 3) @ dout, dbias)


def distance(found, expected):
    """Largest difference, as a share of the largest expected magnitude, or of 0.1; NaN stays NaN."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 0.1)


def check(test, found, expected, tolerance, what=""):
    """Fail unless `found` is within `tolerance`; NaN fails."""
    error = distance(found, expected)
    test.assertTrue(error <= tolerance, f"{what}: off by {error:.3g}, allowed {tolerance:.3g}")


def to_bfloat16(x):
    """The upper halves of float32 values, rounded to nearest even, as uint16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(x):
    return (np.asarray(x).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def exit_code(work):
    """That of a forked child that runs `work`; 1 where it raises."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
