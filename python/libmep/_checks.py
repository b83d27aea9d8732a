# SPDX-License-Identifier: MIT
"""Numbers and strings as the library takes them. A wrong one is a TypeError or ValueError that names the argument:
ctypes by itself would cut a number off, or would not say which argument it means.
"""
import ctypes
import operator
import os


def integer(name, value, kind=ctypes.c_int64):
    """`value` as an int, where it is an integer that fits into the ctypes type `kind`."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if kind(value).value != value:
        raise ValueError(f"{name} is {value}, which is out of range")
    return value


def number(name, value):
    """`value` as a float."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return float(value)


def _without_nul(name, data):
    if b"\0" in data:
        raise ValueError(f"{name} has a NUL character, where C ends a string")
    return data


def text(name, value):
    """A str as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return _without_nul(name, value.encode())


def path(name, value):
    """A str, bytes or os.PathLike as the bytes of a path."""
    try:
        return _without_nul(name, os.fsencode(value))
    except TypeError:
        raise TypeError(f"{name} must be a path (str, bytes or os.PathLike), not {type(value).__name__}") from None
