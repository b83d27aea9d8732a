# SPDX-License-Identifier: MIT
"""Tokenizers and token datasets (include/mep/data.h)."""
from __future__ import annotations

import ctypes
import hashlib
import os
from typing import Any

import numpy as np

from ._arrays import tokens as as_tokens
from ._checks import integer, path
from ._library import TYPES, Handle, lib


class Tokenizer:
    """A tokenizer by its name, as Dataset.tokenizer gives it: "bytes", or the path of a BPE (a
    tokenizer.json, a vocab.json with merges.txt in its folder, a folder with either). May be used by several threads at
    once. A copy and a pickle read the files again, which must not have changed."""

    def __init__(self, name: str | os.PathLike[str] = "bytes") -> None:
        self._name = path("name", name)
        self._open(self._name)
        if self.json is not None:
            self._name = os.path.abspath(self._name)  # where a pickle finds it, whatever its process's folder is

    def _open(self, name):
        self._name = name
        self._handle = Handle(lib.mep_tokenizer_open, lib.mep_tokenizer_destroy, name)

    def _checksum(self):
        return hashlib.sha256(self.json or b"").hexdigest()

    def __getstate__(self):
        """Attributes of a subclass too."""
        state = dict(self.__dict__, checksum=self._checksum())
        del state["_handle"]
        return state

    def __setstate__(self, state):
        checksum = state.pop("checksum")
        self.__dict__.update(state)
        self._open(self._name)
        if self._checksum() != checksum:
            raise ValueError(f"{os.fsdecode(self._name)} has changed since the tokenizer was copied or pickled")

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, vocab_size={self.vocab_size})"

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Tokenizer:
        """The same as Tokenizer(name)."""
        return cls(name)

    @property
    def name(self) -> str:
        """The name that opens it again."""
        return lib.mep_tokenizer_name(self._handle.pointer).decode()

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the end-of-document token included."""
        return lib.mep_tokenizer_vocab_size(self._handle.pointer)

    @property
    def end_of_document(self) -> int:
        """The token after each document."""
        return lib.mep_tokenizer_end_of_document(self._handle.pointer)

    @property
    def json(self) -> bytes | None:
        """The tokenizer.json that it is, bytes; None for "bytes"."""
        size = ctypes.c_int64()
        text = lib.mep_tokenizer_json(self._handle.pointer, ctypes.byref(size))
        return None if text is None else text[:size.value]

    @property
    def special_tokens(self) -> tuple[list[int], list[int]]:
        """The tokens that Hugging Face's tokenizer puts before and after a text, such as <s>."""
        found = TYPES["mep_special_tokens"]()
        lib.mep_tokenizer_special_tokens(self._handle.pointer, ctypes.byref(found))
        both = ((found.before, found.before_count), (found.after, found.after_count))
        before, after = (np.frombuffer(ctypes.string_at(at, 4 * n), np.int32).tolist() if n else [] for at, n in both)
        return before, after

    def encode(self, text: str | bytes | Any, add_special_tokens: bool = False) -> np.ndarray:
        """Tokens of a str (as UTF-8) or bytes, int32; with add_special_tokens between special_tokens."""
        if add_special_tokens:
            before, after = self.special_tokens
            return np.concatenate([np.array(before, np.int32), self.encode(text), np.array(after, np.int32)])
        text = text.encode() if isinstance(text, str) else _plain_bytes(text)
        pointer, count = ctypes.c_void_p(), ctypes.c_int64()
        lib.mep_tokenizer_encode(self._handle.pointer, text, len(text), ctypes.byref(pointer), ctypes.byref(count))
        try:
            data = ctypes.string_at(pointer, 4 * count.value) if count.value else b""
        finally:
            lib.mep_tokens_free(ctypes.byref(pointer))
        return np.frombuffer(bytearray(data), np.int32)

    def decode(self, tokens: Any, continued: bool = False) -> bytes:
        """The bytes of the tokens of a text, without the blank that Llama 2's tokenizer puts before it; with
        `continued` the tokens follow others, and the blank is kept. A text may end inside a character:
        .decode("utf-8", "replace") makes a str."""
        text, size = ctypes.c_void_p(), ctypes.c_int64()
        tokens = as_tokens(tokens)
        if tokens.ndim > 1:
            raise ValueError(f"tokens have the shape {list(tokens.shape)}: decode takes one text at a time")
        if continued:
            return b"".join(self._bytes_of(token) for token in tokens.ravel().tolist())
        pointer = tokens.ctypes.data if tokens.size else None
        lib.mep_tokenizer_decode_text(self._handle.pointer, pointer, tokens.size,
                                      ctypes.byref(text), ctypes.byref(size))
        try:
            return ctypes.string_at(text, size.value)
        finally:
            lib.mep_text_free(ctypes.byref(text))

    def _bytes_of(self, token):
        text, size = ctypes.c_void_p(), ctypes.c_int64()
        lib.mep_tokenizer_decode(self._handle.pointer, token, ctypes.byref(text), ctypes.byref(size))
        return ctypes.string_at(text, size.value) if size.value else b""


def _plain_bytes(text):
    """Bytes of a bytes-like object. bytes(5) would be five zeros, and an array's bytes are not its numbers."""
    try:
        view = memoryview(text)
    except TypeError:
        view = None
    if view is None or view.format not in ("B", "b", "c"):
        raise TypeError(f"text must be a str or bytes, not {type(text).__name__}")
    return bytes(view)


class Dataset:
    """A token dataset, PREFIX.bin and PREFIX.idx (Megatron's), mapped read-only. len() is the number of tokens. A copy
    and a pickle open the files again, which must be as long as before."""

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self._prefix = path("prefix", prefix)
        self._open(self._prefix)
        self._prefix = os.path.abspath(self._prefix)  # where a pickle finds it, whatever its process's folder is

    def _open(self, prefix):
        self._prefix = prefix
        self._handle = Handle(lib.mep_dataset_open, lib.mep_dataset_close, prefix)

    def __getstate__(self):
        """Attributes of a subclass too."""
        state = dict(self.__dict__, sizes=(len(self), self.documents))
        del state["_handle"]
        return state

    def __setstate__(self, state):
        sizes = state.pop("sizes")
        self.__dict__.update(state)
        self._open(self._prefix)
        if (len(self), self.documents) != sizes:
            raise ValueError(f"{os.fsdecode(self._prefix)} has changed since the dataset was copied or pickled")

    def __len__(self) -> int:
        return lib.mep_dataset_tokens(self._handle.pointer)

    def __repr__(self) -> str:
        return f"Dataset(tokens={len(self)}, documents={self.documents}, tokenizer={self.tokenizer!r})"

    @property
    def documents(self) -> int:
        """Number of documents."""
        return lib.mep_dataset_documents(self._handle.pointer)

    @property
    def vocab_size(self) -> int:
        """The largest token + 1 that occurs; reads the whole dataset at the first call."""
        return lib.mep_dataset_vocab_size(self._handle.pointer)

    @property
    def tokenizer(self) -> str:
        """Name of the tokenizer that it was prepared with; "" where it is not known."""
        return lib.mep_dataset_tokenizer(self._handle.pointer).decode()

    def read(self, start: int, count: int) -> np.ndarray:
        """`count` tokens from `start` of the documents packed end to end, int32."""
        start, count = integer("start", start), integer("count", count)
        if not 0 <= count <= len(self):
            raise ValueError(f"count is {count}, and the dataset has {len(self)} tokens")
        tokens = np.empty(count, np.int32)
        lib.mep_dataset_read(self._handle.pointer, start, count, tokens.ctypes.data)
        return tokens

    def document(self, index: int) -> np.ndarray:
        """The tokens of one document."""
        index = integer("index", index)
        if not 0 <= index < self.documents:
            raise IndexError(f"document {index} of {self.documents}")
        start, end = (lib.mep_dataset_document_start(self._handle.pointer, i) for i in (index, index + 1))
        return self.read(start, end - start)
