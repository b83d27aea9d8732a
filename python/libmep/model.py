# SPDX-License-Identifier: MIT
"""The GPT model with any position encoding (include/mep/model.h): logits, losses, generation, evaluation."""
from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, Iterable, Mapping, Union

import numpy as np

from ._arrays import as_dict, device_code, dtype_code, fill, library_array, integers
from ._arrays import tokens as as_tokens
from ._checks import integer, path, text
from ._library import TYPES, Handle, Lock, lib
from .data import Dataset

Path = Union[str, bytes, "os.PathLike[str]"]

# generate(max_tokens=ENDLESS) continues until on_token stops it.
ENDLESS = 1 << 62


def preset(name: str) -> dict[str, Any]:
    """The configuration of a preset ("nano", "micro", "mini", "small", "medium") as a dict for Model.create."""
    config = TYPES["mep_model_config"]()
    lib.mep_model_preset(text("name", name), ctypes.byref(config))
    return as_dict(config)


def check_device(device: Any) -> None:
    """Raise MepError, with the reason, where the device "cpu" or "cuda" cannot be used."""
    lib.mep_device_check(device_code(device))


class Model:
    """A model: Model.load(folder) or Model.create(config). Calls on one model wait for each other. A copy and a pickle
    have the configuration and all parameters: another process that can read the folder loads it with less memory."""

    def __init__(self, create, *arguments):
        self._handle = Handle(create, lib.mep_model_destroy, *arguments)
        self._prepare()

    def _prepare(self):
        self._lock = Lock()
        self._session, self._session_size = None, None

    def __getstate__(self):
        """Attributes of a subclass too."""
        state = {name: value for name, value in self.__dict__.items()
                 if name not in ("_handle", "_lock", "_session", "_session_size")}
        return {**state, "config": self.config, "parameters": self.parameters}

    def __setstate__(self, state):
        config, parameters = state.pop("config"), state.pop("parameters")
        self.__dict__.update(state)
        config = fill(TYPES["mep_model_config"](), config)
        self._handle = Handle(lib.mep_model_create, lib.mep_model_destroy, ctypes.byref(config), 0)
        self._prepare()
        for name, values in self.parameters.items():
            values[...] = parameters[name]

    def __repr__(self) -> str:
        c = self.config
        return (f"Model(layers={c['num_hidden_layers']}, hidden_size={c['hidden_size']}, "
                f"heads={c['num_attention_heads']}, vocab_size={c['vocab_size']}, "
                f"position={c['position_encoding']!r})")

    @classmethod
    def load(cls, folder: Path, position: str | None = None, seed: int = 0) -> Model:
        """From a checkpoint's folder, a run's, whose newest checkpoint is taken, or a Hugging Face folder of a family
        in docs/formats.md (Llama, Qwen, Mistral, GPT-NeoX, BLOOM and others). `position` replaces the encoding of the
        model; its parameters are drawn for `seed` if the files do not have them."""
        position = None if position is None else text("position", position)
        return cls(lib.mep_model_load_as, path("folder", folder), position, integer("seed", seed, ctypes.c_uint64))

    @classmethod
    def create(cls, config: Mapping[str, Any], seed: int = 0) -> Model:
        """New weights drawn for `seed`, for a configuration such as preset("nano")."""
        return cls(lib.mep_model_create, ctypes.byref(fill(TYPES["mep_model_config"](), config)),
                   integer("seed", seed, ctypes.c_uint64))

    def save(self, folder: Path, **settings: Any) -> None:
        """Write config.json and model.safetensors into `folder`, which is made where it is missing, in the library's
        own form. Settings are those of mep_save_settings: dtype ("float32", or "bfloat16", which rounds), shard_size
        (bytes per file; a larger model becomes shards and an index)."""
        where, values = path("folder", folder), _save_settings(settings)
        os.makedirs(where, exist_ok=True)
        with self._lock:
            lib.mep_model_save(self._handle.pointer, where, values)

    def export(self, folder: Path, **settings: Any) -> str:
        """Write a folder that Hugging Face's transformers loads into `folder`, which is made where it is missing;
        settings as in save. Returns its model_type: "gpt_neox", "llama" or another that transformers has where that
        computes the same, else "mep", which needs trust_remote_code=True. A tokenizer's files are not the model's:
        `mep export` copies them."""
        where, values = path("folder", folder), _save_settings(settings)
        os.makedirs(where, exist_ok=True)
        family = ctypes.c_char_p()
        with self._lock:
            lib.mep_model_export(self._handle.pointer, where, values,
                                 ctypes.cast(ctypes.byref(family), ctypes.POINTER(ctypes.c_void_p)))
        return (family.value or b"").decode()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, with Hugging Face's names, as a dict."""
        return as_dict(lib.mep_model_get_config(self._handle.pointer).contents)

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters by name: float32 arrays that are the model's own memory and may be written between calls."""
        arrays = {}
        for index in range(lib.mep_model_parameter_count(self._handle.pointer)):
            parameter = TYPES["mep_parameter"]()
            lib.mep_model_get_parameter(self._handle.pointer, index, ctypes.byref(parameter))
            shape = tuple(parameter.shape[:parameter.ndim])
            arrays[parameter.name.decode()] = library_array(parameter.values, shape, self._handle)
        return arrays

    @property
    def new_parameters(self) -> list[str]:
        """The names of the parameters that load(position=...) drew because the files do not have them: they are not
        trained."""
        return [name for index, name in enumerate(self.parameters)
                if lib.mep_model_parameter_is_new(self._handle.pointer, index)]

    # ---- Computing ----

    def _workspace(self, batch, length, dtype, tolerance, device):
        """A session that is large enough; the last one is kept."""
        if dtype is None:
            dtype = "bfloat16" if device_code(device) else "float32"
        size, kind = self._session_size, (dtype_code(dtype), tolerance, device_code(device))
        if size is None or size[2:] != kind or size[0] < batch or size[1] < length:
            settings = TYPES["mep_session_settings"]()
            lib.mep_session_defaults(ctypes.byref(settings))
            fill(settings, {"batch": batch, "length": length, "tolerance": tolerance, "device": device, "dtype": dtype})
            self._session = self._session_size = None  # free its memory before the next session is created
            self._session = Handle(lib.mep_session_create, lib.mep_session_destroy, self._handle.pointer,
                                   ctypes.byref(settings), owner=self._handle)
            self._session_size = batch, length, *kind
        return self._session.pointer

    def logits(self, tokens: Any, dtype: Any = None, tolerance: float = 0.0, device: Any = "cpu") -> np.ndarray:
        """Float32 [..., length, vocab_size] of tokens [length] or [batch, length], computed in `dtype`: "float32" (the
        default) or "bfloat16", which is the only one, and the default, of the device "cuda"."""
        tokens = as_tokens(tokens)
        batch, length = _batch_length(tokens)
        logits = np.empty((*tokens.shape, self.config["vocab_size"]), np.float32)
        with self._lock:
            session = self._workspace(batch, length, dtype, tolerance, device)
            lib.mep_session_logits(session, batch, length, tokens.ctypes.data, logits.ctypes.data)
        return logits

    def losses(self, inputs: Any, targets: Any, dtype: Any = None, tolerance: float = 0.0,
               device: Any = "cpu") -> np.ndarray:
        """Negative log likelihoods of targets[..., t] after inputs[..., :t+1], float32, in nats; dtype and device as
        in logits."""
        inputs, targets = as_tokens(inputs, "inputs"), as_tokens(targets, "targets")
        batch, length = _batch_length(inputs)
        if targets.shape != inputs.shape:
            raise ValueError(f"targets have the shape {list(targets.shape)}, inputs {list(inputs.shape)}")
        losses = np.empty(inputs.shape, np.float32)
        with self._lock:
            session = self._workspace(batch, length, dtype, tolerance, device)
            lib.mep_session_losses(session, batch, length, inputs.ctypes.data, targets.ctypes.data, losses.ctypes.data)
        return losses

    def generate(self, prompt: Any, on_token: Callable[[int], Any] | None = None, **settings: Any) -> np.ndarray:
        """New tokens after `prompt`, 1 or more token numbers, int32. Settings are those of mep_generate_settings:
        max_tokens, temperature, top_k, top_p, seed, stop_token, vocab_limit, dtype, tolerance, device. on_token(token)
        is called with each token as it comes; a true return value ends the text, an exception ends it and is raised."""
        prompt = as_tokens(prompt, "prompt")
        if prompt.ndim != 1:
            raise ValueError(f"the prompt has the shape {list(prompt.shape)}: generate takes one text at a time")
        if on_token is not None and not callable(on_token):
            raise TypeError(f"on_token must be a function, not {type(on_token).__name__}")
        values = TYPES["mep_generate_settings"]()
        lib.mep_generate_defaults(ctypes.byref(values))
        fill(values, settings)
        made: list[int] = []
        raised: list[BaseException] = []

        def take(_, token):
            made.append(token)
            return on_token is not None and on_token(token)

        with self._lock:
            lib.mep_generate(self._handle.pointer, prompt.ctypes.data, prompt.size, ctypes.byref(values),
                             TYPES["mep_token_fn"](_guarded(take, raised)), None)
        if raised:
            raise raised[0]
        return np.array(made, np.int32)

    def evaluate(self, dataset: Dataset, lengths: int | Iterable[int] | None = None,
                 on_batch: Callable[..., Any] | None = None, **settings: Any) -> Any:
        """Loss and perplexity on a Dataset: a dict (mep_eval_result), or for several lengths a list of them. As in
        `mep eval`, every length that divides the longest one then scores the same tokens, unless max_tokens is given;
        with last=k, every length scores the same k tokens before the end of each segment of the longest length.
        Other settings are those of mep_eval_settings: stride, last, max_tokens, batch_tokens, dtype, tolerance, device
        (and length, for one). on_batch(done, total, loss) is called with the tokens read so far; a true return value
        ends the call with MEP_INTERRUPTED."""
        if not isinstance(dataset, Dataset):
            raise TypeError(f"data must be a Dataset, not {type(dataset).__name__}: libmep.Dataset(prefix) opens it")
        if lengths is None:
            return self._evaluate(dataset, on_batch, settings)
        if "length" in settings:
            raise TypeError("length and lengths are both given")
        if isinstance(lengths, (int, np.integer)):
            return self._evaluate(dataset, on_batch, {**settings, "length": int(lengths)})
        several: list[int] = integers("lengths", list(lengths)).tolist()
        longest = max(several, default=0)
        if longest > 0 and len(dataset) > longest and "max_tokens" not in settings:
            settings["max_tokens"] = (len(dataset) - 1) // longest * longest
        if settings.get("last", 0) > 0 and "stride" not in settings:
            settings["stride"] = longest
        return [self._evaluate(dataset, on_batch, {**settings, "length": length}) for length in several]

    def _evaluate(self, dataset, on_batch, settings):
        values, result = TYPES["mep_eval_settings"](), TYPES["mep_eval_result"]()
        lib.mep_eval_defaults(ctypes.byref(values))
        fill(values, settings)
        raised: list[BaseException] = []

        def report(_, done, total, loss):
            return on_batch is not None and on_batch(done, total, loss)

        try:
            with self._lock:
                lib.mep_evaluate(self._handle.pointer, dataset._handle.pointer, ctypes.byref(values),
                                 TYPES["mep_eval_fn"](_guarded(report, raised)), None, ctypes.byref(result))
        finally:
            if raised:
                raise raised[0]
        return as_dict(result)


def _save_settings(settings):
    values = TYPES["mep_save_settings"]()
    lib.mep_save_defaults(ctypes.byref(values))
    return ctypes.byref(fill(values, settings))


def _batch_length(tokens):
    if tokens.ndim not in (1, 2):
        raise ValueError(f"tokens have the shape {list(tokens.shape)}, expected [length] or [batch, length]")
    if tokens.size == 0:
        raise ValueError(f"tokens have the shape {list(tokens.shape)}: at least 1 token is needed")
    return (1, *tokens.shape)[-2:]


def _guarded(function, raised):
    """`function` as a callback: an exception is kept in `raised`, and the library stops."""
    def call(*arguments):
        try:
            return 1 if function(*arguments) else 0
        except BaseException as error:  # KeyboardInterrupt too: it must not be lost in the library
            raised.append(error)
            return 1
    return call
