# SPDX-License-Identifier: MIT
"""libmep's attention in Hugging Face transformers, on the CPU.

    import libmep.transformers
    libmep.transformers.register()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="libmep")

Causal and bidirectional attention with padding on the left or right, packed sequences, grouped heads, sliding windows,
sinks and a position_bias that depends on the distance is computed by libmep.torch.attention, forward and backward.
Everything else is computed by the model's own eager attention, with one warning per reason, so results at tokens are
those of attn_implementation="eager" in any case. Outputs at padding are unspecified.

The mask of a model is here None or int64 [batch, 1, n, keys]. Row 0 has the first key that each position sees; row 1,
of bidirectional attention, the key after the last. It has four axes because transformers takes masks of four axes as
final. Other masks are those of eager attention.
"""
from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers import masking_utils
from transformers.masking_utils import (AttentionMaskInterface, and_masks, causal_mask_function, eager_mask,
                                        packed_sequence_mask_function, sliding_window_overlay)

from .torch import attention

__all__ = ["register"]

OTHER_MASK = "the mask has a pattern that is not supported"
HOLES = "a sequence has hidden tokens between visible ones"
OTHER_TERMS = ("softcap", "head_mask", "attention_bias", "alibi")

_warned: set[str] = set()


def _fall_back(reason):
    """Warn about this reason, once per process."""
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(f'attn_implementation="libmep" uses eager attention: {reason}', stacklevel=3)


# ---- Masks ----

# transformers describes a mask by a function that is made of these.
AND = and_masks(causal_mask_function).__code__
WINDOW = sliding_window_overlay(1).__code__
PACKED = packed_sequence_mask_function(torch.empty(0)).__code__
# transformers 4 does not have these.
REMAPPED = getattr(masking_utils, "remap_positions_for_packed_sequence", lambda *nothing: None)(None, None)
REMAPPED = getattr(REMAPPED, "__code__", None)
BIDIRECTIONAL = getattr(masking_utils, "bidirectional_mask_function", "none")


def _constants(function):
    """What a mask function was made with, by name."""
    return {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ())}


def _parts(function):
    """The functions of which a mask is the intersection."""
    if getattr(function, "__code__", None) is not AND:
        return [function]
    return [part for inner in _constants(function)["mask_functions"] for part in _parts(inner)]


def _pattern(mask_function, window):
    """("causal" or "bidirectional", numbers of packed sequences or None) of a mask; (None, None) if it has others."""
    packed, kind, has_window = None, None, False
    parts = _parts(mask_function)
    while parts:
        part = parts.pop()
        code = getattr(part, "__code__", None)
        if part is causal_mask_function:
            kind = "causal"
        elif part is BIDIRECTIONAL and len(parts) == 0 and kind is None:
            kind = "bidirectional"
        elif code is WINDOW and _constants(part)["sliding_window"] == window:
            has_window = True
        elif code is PACKED and packed is None:
            packed = _constants(part)["packed_sequence_mask"]
        elif code is REMAPPED and code is not None:
            parts += _parts(_constants(part)["mask_function"])  # positions in a sequence have the distances of keys
        else:
            return None, None
    return (kind, packed) if has_window == (window is not None) else (None, None)


def _calls_the_interface(config):
    """Whether the model's code calls AttentionInterface: that of BLOOM, MPT and Falcon computes attention itself."""
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    return name not in sys.modules or hasattr(sys.modules[name], "ALL_ATTENTION_FUNCTIONS")


def _starts_of_packed(packed):
    """The first position of each position's sequence, from the sequences' numbers [batch, keys]."""
    positions = torch.arange(packed.shape[1]).expand_as(packed)
    is_first = torch.nn.functional.pad(packed[:, 1:] != packed[:, :-1], (1, 0))
    return torch.where(is_first, positions, 0).cummax(1).values


def _range_of_padded(mask):
    """(first visible key, key after the last) of each row of bool [batch, keys], [batch, 1] each; None if the visible
    keys are not neighbors."""
    starts, keys = mask.int().argmax(1, keepdim=True), torch.arange(mask.shape[1])
    ends = starts + mask.sum(1, keepdim=True)
    return (starts, ends) if torch.equal(mask, (keys >= starts) & (keys < ends)) else None


@torch.library.custom_op("libmep::range_of_padded", mutates_args=(), schema="(Tensor mask) -> Tensor")
def _checked_range(mask):
    """_range_of_padded, stacked, for graphs, which cannot choose another attention by the values of a mask."""
    found = _range_of_padded(mask)
    if found is None:
        raise ValueError(f"attn_implementation=\"libmep\" in a graph: {HOLES}; use attn_implementation=\"eager\"")
    return torch.stack(found)


@_checked_range.register_fake
def _(mask):
    return mask.new_empty((2, mask.shape[0], 1), dtype=torch.int64)


def _padding(mask):
    """_range_of_padded. A graph has no branch for masks that it cannot express: the call raises ValueError."""
    return tuple(_checked_range(mask).unbind()) if torch.compiler.is_compiling() else _range_of_padded(mask)


def _hides_nothing(mask):
    """Whether a mask is known to hide nothing; a graph does not know."""
    return mask is None or (not torch.compiler.is_compiling() and bool(mask.all()))


def _causal_bounds(batch, used, keys, attention_mask, packed):
    """The mask of a causal model, or why there is none. Padding after a sequence needs nothing: no token sees it."""
    if attention_mask is not None:
        if packed is not None:
            return OTHER_MASK
        if used == keys and _hides_nothing(attention_mask):
            return None
        found = _padding(attention_mask)
        return HOLES if found is None else found[0].expand(batch, used)[:, None, None]
    if packed is not None:
        return _starts_of_packed(packed)[:, None, None]
    return None if used == keys else torch.zeros(batch, 1, 1, used, dtype=torch.int64)


def _bidirectional_bounds(config, queries, keys, attention_mask, may_skip):
    """The mask of an encoder, or why there is none."""
    if may_skip and _hides_nothing(attention_mask):
        return None
    if attention_mask is None or queries != keys:
        return OTHER_MASK
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "add_cross_attention", False):
        return "padding of encoders in encoder-decoder models is not supported"
    found = _padding(attention_mask)
    return HOLES if found is None else torch.cat([x[:, None, None].expand(-1, 1, 1, keys) for x in found], 2)


def _mask(batch_size: int, kv_length: int, q_length: int = 0, q_offset: Any = 0, kv_offset: int = 0,
          mask_function: Any = causal_mask_function, attention_mask: torch.Tensor | None = None,
          local_size: int | None = None, config: Any = None, cache_position: torch.Tensor | None = None,
          **settings: Any) -> torch.Tensor | None:
    """What transformers passes to attention as attention_mask. transformers 4 has cache_position in place of q_length
    and q_offset."""
    where = {"q_length": q_length, "q_offset": q_offset}
    if cache_position is not None:
        where = {"cache_position": cache_position}
        q_length, q_offset = cache_position.shape[0], cache_position[0]
    used = int(q_offset) + q_length - kv_offset  # of a static cache, whose other keys are not written yet
    visible = attention_mask
    if attention_mask is not None:
        length = used if mask_function is not BIDIRECTIONAL else kv_length
        visible = attention_mask[:, kv_offset:kv_offset + length].bool()
        visible = torch.nn.functional.pad(visible, (0, length - visible.shape[1]))
    kind, packed = _pattern(mask_function, local_size)
    found = OTHER_MASK
    if not _calls_the_interface(config):
        found = (f"the code of {type(config).__name__.replace('Config', '')} computes attention itself; "
                 "libmep.Model.load reads BLOOM, MPT and Falcon with ALiBi")
        _fall_back(found)  # here, since _attention is not called
    elif kind == "causal":
        found = _causal_bounds(batch_size, used, kv_length, visible, packed)
    elif kind == "bidirectional":
        found = _bidirectional_bounds(config, q_length, kv_length, visible,
                                      settings.get("allow_is_bidirectional_skip"))
    if not isinstance(found, str):
        return found
    mask = eager_mask(batch_size=batch_size, kv_length=kv_length, kv_offset=kv_offset, mask_function=mask_function,
                      attention_mask=attention_mask, local_size=local_size, config=config, **where, **settings)
    if mask is not None:
        setattr(mask, "libmep_reason", found)
    return mask


def _is_bounds(mask):
    """Whether a mask is the int64 [batch, 1, 1 or 2, keys] that _mask makes."""
    return mask is not None and mask.dtype == torch.int64 and mask.dim() == 4 and mask.shape[1] == 1 and (
        mask.shape[2] in (1, 2))


def _additive(visible, dtype):
    """The mask of eager attention, in dtype, that hides what is False."""
    return torch.zeros((), dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)


def _eager_mask_of(bounds, query, keys, window):
    """The mask of eager attention for None, of a causal model, or int64 [batch, 1, n, keys]."""
    queries = query.shape[2]
    used = keys if bounds is None else bounds.shape[3]
    key = torch.arange(keys, device=query.device)
    distance = torch.arange(used - queries, used, device=query.device)[:, None] - key
    visible = torch.ones_like(distance, dtype=torch.bool)
    if bounds is None or bounds.shape[2] == 1:
        visible = (distance >= 0) & (distance < window) if window else distance >= 0
    visible = visible[None, None]
    if bounds is not None:
        bounds = bounds[:, :, :, used - queries:, None].to(query.device)
        visible = visible & ((key >= bounds[:, :, 0]) | (distance == 0))
    if bounds is not None and bounds.shape[2] == 2:
        visible = visible & ((key < bounds[:, :, 1]) | (distance == 0))
    return _additive(visible, query.dtype)


# ---- Attention ----

def _is_of_the_distance(bias):
    """Whether bias [1, heads, queries, keys] depends on the distance alone; kept in the tensor, which layers share."""
    if not hasattr(bias, "libmep_is_of_the_distance"):
        bias.libmep_is_of_the_distance = bias.shape[0] == 1 and torch.equal(bias[:, :, 1:, 1:], bias[:, :, :-1, :-1])
    return bias.libmep_is_of_the_distance


def _tables(bias, heads, used, is_causal):
    """The tables of the distance in a position_bias [1, heads or 1, queries, keys]."""
    bias = bias[0, :, :, :used].expand(heads, -1, -1)
    if is_causal:
        return {"table": bias[:, -1].flip(-1).float()}
    return {"table": bias[:, :, 0].float(), "table_ahead": bias[:, 0].float()}


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
    if query.shape[2] > key.shape[2] or (not is_causal and query.shape[2] != key.shape[2]):
        return "cross-attention is not supported"
    if mask is not None and not _is_bounds(mask):
        return getattr(mask, "libmep_reason", OTHER_MASK)
    if not is_causal and settings.get("sliding_window"):
        return "a sliding window of bidirectional attention is not supported"
    if settings.get("position_bias") is not None and not _is_of_the_distance(settings["position_bias"]):
        return "position_bias does not depend on the distance alone"
    return None


def _own_eager(module):
    """The eager attention of the model's code, which knows its terms; or transformers' SDPA."""
    code = sys.modules[type(module).__module__]
    return getattr(code, "eager_attention_forward", sdpa_attention_forward)


def _contiguous(x):
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _attend(query, key, value, bounds, is_causal, terms):
    """libmep's attention [batch, heads, queries, head_dim]."""
    if bounds is not None:
        used, first = bounds.shape[3], bounds.shape[3] - query.shape[2]
        key, value, terms["starts"] = key[:, :, :used], value[:, :, :used], bounds[:, 0, 0, first:]
        if not is_causal:
            terms["ends"] = bounds[:, 0, 1, first:]
    if terms["position_bias"] is not None:
        terms.update(_tables(terms["position_bias"], query.shape[1], key.shape[2], is_causal))
    del terms["position_bias"]
    return attention(_contiguous(query), _contiguous(key), _contiguous(value), bidirectional=not is_causal, **terms)


def _attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
               attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0,
               sliding_window: int | None = None, s_aux: torch.Tensor | None = None, is_causal: bool | None = None,
               position_bias: torch.Tensor | None = None,
               **settings: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(out [batch, queries, heads, head_dim], attention weights or None): the function of AttentionInterface."""
    is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if position_bias is not None:
        settings["position_bias"] = position_bias
    reason = _obstacle(query, key, value, attention_mask, dropout, is_causal,
                       {**settings, "sliding_window": sliding_window})
    if reason is None:
        terms = {"scale": scaling or 0.0, "window": sliding_window or 0, "position_bias": position_bias,
                 "sink": None if s_aux is None else s_aux.float()}
        return _attend(query, key, value, attention_mask, is_causal, terms).transpose(1, 2), None
    _fall_back(reason)
    if _is_bounds(attention_mask) or (attention_mask is None and is_causal):
        attention_mask = _eager_mask_of(attention_mask, query, key.shape[2], sliding_window)
    elif attention_mask is not None and attention_mask.dtype == torch.bool:  # True is visible, as in SDPA
        attention_mask = _additive(attention_mask, query.dtype)
    if scaling is None:
        scaling = query.shape[3] ** -0.5
    return _own_eager(module)(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout,
                              sliding_window=sliding_window, s_aux=s_aux, **settings)


def register() -> None:
    """Make attn_implementation="libmep" known to transformers. Further calls change nothing."""
    AttentionInterface.register("libmep", _attention)
    AttentionMaskInterface.register("libmep", _mask)
