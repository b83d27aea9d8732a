# SPDX-License-Identifier: MIT
"""Decoding step by step (include/mep/decoder.h): sequences with caches, whose tokens the caller chooses."""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ._arrays import fill, integers
from ._arrays import tokens as as_tokens
from ._checks import integer
from ._library import TYPES, Handle, Lock, lib
from .model import Model


class Decoder:
    """Several sequences of one model, each with a key/value cache. Append the tokens of a prompt, read logits, choose a
    token with them, and go on with `step`, which reads one token of each of several sequences in one pass:

        decoder = libmep.Decoder(model, sequences=2)
        logits = [decoder.append(0, prompt)[-1], decoder.append(1, other)[-1]]
        while True:
            logits = decoder.step([0, 1], np.argmax(logits, -1))

    Logits have the bits of Model.logits of the whole sequence, in whatever steps its tokens come. Settings are those of
    mep_decoder_settings: sequences (1), max_tokens of a sequence (4096), chunk (512), dtype ("float32" or "bfloat16"),
    tolerance. The parameters of the model must not change while it has a decoder. Calls on one decoder wait for each
    other. A decoder cannot be copied or pickled: its caches belong to the process."""

    def __init__(self, model: Model, **settings: Any) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"model must be a Model, not {type(model).__name__}")
        values = TYPES["mep_decoder_settings"]()
        lib.mep_decoder_defaults(ctypes.byref(values))
        fill(values, settings)
        self._lock, self._model, self._vocab = Lock(), model, model.config["vocab_size"]
        self.sequences = values.sequences
        self._handle = Handle(lib.mep_decoder_create, lib.mep_decoder_destroy, model._handle.pointer,
                              ctypes.byref(values), owner=model._handle)

    def __reduce__(self):
        raise TypeError("a Decoder cannot be copied or pickled, since its caches belong to this process: make a new "
                        "one and append the tokens again")

    def append(self, sequence: int, tokens: Any, rows: int | None = 1) -> np.ndarray:
        """Read tokens [count] at the end of a sequence. Returns the logits after each of the last `rows` of them,
        float32 [rows, vocab_size]; rows=None: of all."""
        tokens = as_tokens(tokens)
        if tokens.ndim != 1:
            raise ValueError(f"tokens have the shape {list(tokens.shape)}: append takes one sequence at a time")
        rows = tokens.size if rows is None else integer("rows", rows)
        logits = np.empty((max(0, min(rows, tokens.size)), self._vocab), np.float32)
        with self._lock:
            lib.mep_decoder_append(self._handle.pointer, integer("sequence", sequence), tokens.size,
                                   tokens.ctypes.data, rows, logits.ctypes.data)
        return logits

    def step(self, sequences: Any, tokens: Any) -> np.ndarray:
        """Read one token at the end of each of some sequences, which differ: sequences [count], tokens [count]. Returns
        float32 [count, vocab_size]."""
        sequences, tokens = integers("sequences", sequences), as_tokens(tokens)
        if sequences.ndim != 1 or tokens.shape != sequences.shape:
            raise ValueError(f"sequences have the shape {list(sequences.shape)} and tokens {list(tokens.shape)}: a "
                             "step reads one token of each sequence")
        logits = np.empty((tokens.size, self._vocab), np.float32)
        with self._lock:
            lib.mep_decoder_step(self._handle.pointer, tokens.size, sequences.ctypes.data, tokens.ctypes.data,
                                 logits.ctypes.data)
        return logits

    def copy(self, to: int, sequence: int) -> None:
        """Replace the tokens of sequence `to` by those of `sequence`, without computing them again: for texts with a
        common beginning."""
        with self._lock:
            lib.mep_decoder_copy(self._handle.pointer, integer("to", to), integer("sequence", sequence))

    def clear(self, sequence: int) -> None:
        """Forget the tokens of a sequence, and free its memory."""
        with self._lock:
            lib.mep_decoder_clear(self._handle.pointer, integer("sequence", sequence))

    def length(self, sequence: int) -> int:
        """Number of tokens of a sequence."""
        length = lib.mep_decoder_length(self._handle.pointer, integer("sequence", sequence))
        if length < 0:
            raise IndexError(f"there is no sequence {sequence}; the decoder has {self.sequences}")
        return length
