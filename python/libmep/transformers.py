# SPDX-License-Identifier: MIT
"""libmep's attention in Hugging Face transformers, on the CPU.

    import libmep.transformers
    libmep.transformers.register()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="libmep")

Causal attention with padding on the left or right, packed sequences, grouped heads, sliding windows and sinks is
computed by libmep.torch.attention, forward and backward. Everything else is computed by the model's own eager
attention, with one warning per reason, so results are those of attn_implementation="eager" in any case.

The mask of a causal model is here None or int64 [batch, 1, 1, keys]: the first key that each position sees. It has four
axes because transformers takes masks of four axes as final. Other masks are those of eager attention.
"""
from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import (AttentionMaskInterface, and_masks, causal_mask_function, eager_mask,
                                        packed_sequence_mask_function, sliding_window_overlay)

try:
    from transformers.masking_utils import remap_positions_for_packed_sequence
except ImportError:  # transformers 4
    remap_positions_for_packed_sequence = None

from .torch import attention

__all__ = ["register"]

OTHER_MASK = "the mask is not causal, or has another pattern in addition"
OTHER_TERMS = ("softcap", "position_bias", "head_mask", "attention_bias", "alibi")

_warned = set()


def _fall_back(reason):
    """Warn about this reason, once per process."""
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(f'attn_implementation="libmep" uses eager attention: {reason}', stacklevel=3)


# ---- Masks ----

# transformers describes a mask by a function that is made of these.
AND = and_masks(causal_mask_function).__code__
WINDOW = sliding_window_overlay(1).__code__
PACKED = packed_sequence_mask_function(None).__code__
REMAPPED = remap_positions_for_packed_sequence and remap_positions_for_packed_sequence(None, None).__code__


def _constants(function):
    """What a mask function was made with, by name."""
    return {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ())}


def _parts(function):
    """The functions of which a mask is the intersection."""
    if getattr(function, "__code__", None) is not AND:
        return [function]
    return [part for inner in _constants(function)["mask_functions"] for part in _parts(inner)]


def _segments(mask_function, window):
    """(whether this is a causal mask with the window, possibly of packed sequences; their numbers or None)."""
    packed, causal, has_window = None, False, False
    parts = _parts(mask_function)
    while parts:
        part = parts.pop()
        code = getattr(part, "__code__", None)
        if part is causal_mask_function:
            causal = True
        elif code is WINDOW and _constants(part)["sliding_window"] == window:
            has_window = True
        elif code is PACKED and packed is None:
            packed = _constants(part)["packed_sequence_mask"]
        elif code is REMAPPED and code is not None:
            parts += _parts(_constants(part)["mask_function"])  # positions in a sequence have the distances of keys
        else:
            return False, None
    return causal and has_window == (window is not None), packed


def _calls_the_interface(config):
    """Whether the model's code calls AttentionInterface: that of BLOOM, MPT and Falcon computes attention itself."""
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    return name not in sys.modules or hasattr(sys.modules[name], "ALL_ATTENTION_FUNCTIONS")


def _starts_of_packed(packed):
    """The first position of each position's sequence, from the sequences' numbers [batch, keys]."""
    positions = torch.arange(packed.shape[1]).expand_as(packed)
    is_first = torch.nn.functional.pad(packed[:, 1:] != packed[:, :-1], (1, 0))
    return torch.where(is_first, positions, 0).cummax(1).values


def _starts_of_padded(mask):
    """The first visible key of each row of bool [batch, keys], for each key; None if the visible keys are not
    neighbors. Padding after a sequence needs nothing: no token of the sequence sees it."""
    starts, keys = mask.int().argmax(1, keepdim=True), torch.arange(mask.shape[1])
    if not torch.equal(mask, (keys >= starts) & (keys < starts + mask.sum(1, keepdim=True))):
        return None
    return starts.expand_as(mask)


def _mask(batch_size: int, kv_length: int, q_length: int | None = None, q_offset: Any = 0, kv_offset: int = 0,
          mask_function: Any = causal_mask_function, attention_mask: torch.Tensor | None = None,
          local_size: int | None = None, config: Any = None, cache_position: torch.Tensor | None = None,
          **settings: Any) -> torch.Tensor | None:
    """What transformers passes to attention as attention_mask. transformers 4 has cache_position in place of q_length
    and q_offset."""
    where = {"q_length": q_length, "q_offset": q_offset}
    if cache_position is not None:
        where = {"cache_position": cache_position}
        q_length, q_offset = cache_position.shape[0], cache_position[0]
    is_causal, packed = _segments(mask_function, local_size)
    reason, starts = None, None
    if not _calls_the_interface(config):
        reason = (f"the code of {type(config).__name__.replace('Config', '')} computes attention itself; "
                  "libmep.Model.load reads BLOOM, MPT and GPT-2")
        _fall_back(reason)  # here, since _attention is not called
    elif not is_causal or (packed is not None and attention_mask is not None):
        reason = OTHER_MASK
    else:
        used = int(q_offset) + q_length - kv_offset  # of a static cache, whose other keys are not written yet
        if attention_mask is not None:
            mask = attention_mask[:, kv_offset:kv_offset + used].bool()
            mask = torch.nn.functional.pad(mask, (0, used - mask.shape[1]))
            if used == kv_length and mask.all():
                return None
            starts = _starts_of_padded(mask)
            reason = None if starts is not None else "a sequence has hidden tokens between visible ones"
        elif packed is not None:
            starts = _starts_of_packed(packed)
        elif used != kv_length:
            starts = torch.zeros(batch_size, used, dtype=torch.int64)
    if reason is None:
        return None if starts is None else starts[:, None, None]
    mask = eager_mask(batch_size=batch_size, kv_length=kv_length, kv_offset=kv_offset, mask_function=mask_function,
                      attention_mask=attention_mask, local_size=local_size, config=config, **where, **settings)
    if mask is not None:
        mask.libmep_reason = reason
    return mask


def _eager_mask_of(starts, query, keys, window):
    """The mask of eager attention for a causal model's None or int64 [batch, keys]."""
    queries = query.shape[2]
    used = keys if starts is None else starts.shape[1]
    key = torch.arange(keys, device=query.device)
    distance = torch.arange(used - queries, used, device=query.device)[:, None] - key
    visible = (distance >= 0) & (distance < window) if window else distance >= 0
    visible = visible[None, None]
    if starts is not None:
        visible = visible & ((key >= starts[:, None, used - queries:, None].to(query.device)) | (distance == 0))
    return torch.where(visible, 0.0, torch.finfo(query.dtype).min).to(query.dtype)


# ---- Attention ----

def _is_starts(mask):
    """Whether a mask is the int64 [batch, 1, 1, keys] that _mask makes."""
    return mask is not None and mask.dtype == torch.int64 and mask.dim() == 4 and mask.shape[1] == mask.shape[2] == 1


def _obstacle(query, key, value, mask, dropout, is_causal, settings):
    """Why libmep cannot compute this call, or None."""
    for name in OTHER_TERMS:
        if settings.get(name) is not None:
            return f"{name} is not supported"
    if settings.get("output_attentions"):
        return "output_attentions asks for the matrix of weights, which libmep does not make"
    if dropout:
        return f"dropout of attention weights is not supported (attention_dropout is {dropout})"
    if query.device.type != "cpu":
        return f"libmep computes on the CPU, and the model is on {query.device.type}"
    if not torch.is_autocast_enabled("cpu"):
        if query.dtype not in (torch.float32, torch.bfloat16):
            return f"the model is in {query.dtype}; torch.float32 and torch.bfloat16 are supported"
        if not query.dtype == key.dtype == value.dtype:
            return f"q, k and v have the types {query.dtype}, {key.dtype} and {value.dtype}"
    if query.shape[3] != value.shape[3]:
        return f"keys have {query.shape[3]} channels and values {value.shape[3]}"
    if not is_causal:
        return "the attention is not causal"
    if mask is not None and not _is_starts(mask):
        return getattr(mask, "libmep_reason", OTHER_MASK)
    if query.shape[2] > key.shape[2]:
        return f"there are {query.shape[2]} queries for {key.shape[2]} keys"
    return None


def _own_eager(module):
    """The eager attention of the model's code, which knows its terms; or transformers' SDPA."""
    code = sys.modules[type(module).__module__]
    return getattr(code, "eager_attention_forward", sdpa_attention_forward)


def _contiguous(x):
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _attend(query, key, value, starts, settings):
    """libmep's attention [batch, heads, queries, head_dim]."""
    if starts is not None:
        used = starts.shape[1]
        key, value, starts = key[:, :, :used], value[:, :, :used], starts[:, used - query.shape[2]:]
    return attention(_contiguous(query), _contiguous(key), _contiguous(value), starts=starts, **settings)


def _attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
               attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0,
               sliding_window: int | None = None, s_aux: torch.Tensor | None = None, is_causal: bool | None = None,
               **settings: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(out [batch, queries, heads, head_dim], attention weights or None): the function of AttentionInterface."""
    is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    reason = _obstacle(query, key, value, attention_mask, dropout, is_causal, settings)
    if reason is None:
        terms = {"scale": scaling or 0.0, "window": sliding_window or 0,
                 "sink": None if s_aux is None else s_aux.float()}
        starts = None if attention_mask is None else attention_mask[:, 0, 0]
        return _attend(query, key, value, starts, terms).transpose(1, 2), None
    _fall_back(reason)
    if attention_mask is None and is_causal:
        attention_mask = _eager_mask_of(None, query, key.shape[2], sliding_window)
    elif _is_starts(attention_mask):
        attention_mask = _eager_mask_of(attention_mask[:, 0, 0], query, key.shape[2], sliding_window)
    if scaling is None:
        scaling = query.shape[3] ** -0.5
    return _own_eager(module)(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout,
                              sliding_window=sliding_window, s_aux=s_aux, **settings)


def register() -> None:
    """Make attn_implementation="libmep" known to transformers. Further calls change nothing."""
    AttentionInterface.register("libmep", _attention)
    AttentionMaskInterface.register("libmep", _mask)
