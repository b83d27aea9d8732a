# SPDX-License-Identifier: MIT
"""A GPT with GPT-NeoX or Llama blocks and any position encoding of libmep (distance biases such as MEP,
arXiv:2403.17698, ALiBi, KERPLE and T5, rotary, forget gates, profiles, windows, sinks), in plain PyTorch, for models
that libmep's `mep export` wrote. It is written for reading and for checking: it computes the complete matrix of scores,
and its cache keeps every key.

    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)
"""
import collections
import math
import re

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_mep import MepConfig

# The name of the output field that has the cache: "cache" since transformers 5.2x, "past_key_values" before.
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


Parameter = collections.namedtuple("Parameter", "shape low high learn initial")  # of a kernel
Row = collections.namedtuple("Row", "function options parameters")  # a kernel; options have their defaults

# ---- Kernels of the distance: `mep export` writes them here, from the library's own list ----
KERNELS, NAMED, OTHERS = {}, {}, ()
# ---- End of the kernels ----


def options_of(text):
    """{"a": "1", "b": "2"} of "a=1,b=2"."""
    return dict(option.split("=") for option in text.split(",") if option)


class Entry:
    """How a layer encodes position: an entry "BASE/MODIFIER/..." of position_encoding, whose entries "A|B" the layers
    take in turn. The spec is canonical: `mep export` writes it so."""

    def __init__(self, text, config):
        self.base, *modifiers = text.split("/")
        name, _, options = self.base.partition(":")
        self.kind = name if name in (*OTHERS, "fire") else "bias"
        found = dict(re.match(r"(\w*)[=:]?(.*)", modifier).groups() for modifier in modifiers)
        unknown = found.keys() - {"learn", "weights", "forget", "profiles", "scale", "sink", "window"}
        if unknown:
            raise ValueError(f"position_encoding {text!r}: unknown modifiers {', '.join(sorted(unknown))}")
        length = config.max_position_embeddings
        self.threshold = int(options_of(options).get("max", length)) if self.kind == "fire" else None
        self.learn = found.get("learn", "").split(",")
        self.weights_query, self.sink = "weights" in found, "sink" in found
        self.window = int(found["window"]) if "window" in found else None
        self.forget, forget = "forget" in found, options_of(found.get("forget", ""))
        self.forget_bias = None if forget.get("bias") == "none" else float(forget.get("bias", 5))
        profiles = options_of(found.get("profiles", ""))
        self.rank = int(profiles.get("rank", 16)) if "profiles" in found else 0
        self.extent = int(profiles.get("extent", length))
        self.scale, _, logn = found.get("scale", "").partition(":")
        self.logn = float(logn or length)
        self.by_distance = self.kind in ("bias", "fire") or bool(self.forget or self.rank or self.window)

    def terms(self):
        """[(weight, kernel, options)] of the mixture of a distance bias."""
        terms = []
        for term in NAMED.get(self.base, self.base).split(" + "):
            weight, star, rest = term.rpartition("*")
            name, _, options = rest.partition(":")
            if name not in KERNELS:
                raise ValueError(f"position_encoding {self.base!r}: unknown kernel {name!r}; kernels: "
                                 f"{', '.join(KERNELS)}")
            values = {**KERNELS[name].options, **{key: float(x) for key, x in options_of(options).items()}}
            terms.append((float(weight) if star else 1.0, name, values))
        return terms


def entries_of(config):
    return [Entry(text, config) for text in config.position_encoding.split("|")]


class Kernel(nn.Module):
    """log K_h(d) of one term of the mixture, by its row of KERNELS."""

    def __init__(self, name, options, heads, head_dim, learn):
        super().__init__()
        self.row, self.options, self.heads, self.head_dim = KERNELS[name], options, heads, head_dim
        sizes = {"heads": heads, **options}
        for key, parameter in self.row.parameters.items():
            if parameter.learn is None or parameter.learn in learn:
                shape = tuple(int(sizes.get(size, size)) for size in parameter.shape)
                self.register_parameter(key, nn.Parameter(parameter.initial(self, shape).float()))

    def forward(self, d):
        """d [length], float64 -> [heads, length]"""
        return self.row.function(self, d)

    def parameter(self, name):
        """A learned parameter in its range, as float64."""
        return getattr(self, name).double().clamp(self.row.parameters[name].low, self.row.parameters[name].high)

    def column(self, name):
        """A parameter of each head as [heads, 1]."""
        return self.parameter(name)[:, None]

    def slopes(self, bias_max=8.0, device=None):
        """ALiBi's slopes [heads]."""
        def power_of_two(n):
            return [2 ** (-bias_max * (i + 1) / n) for i in range(n)]
        closest = 2 ** int(math.log2(self.heads))
        return torch.tensor(power_of_two(closest) + power_of_two(2 * closest)[::2][:self.heads - closest],
                            dtype=torch.float64, device=device)

    def rate(self, device):
        """c times the slope, [heads, 1], of the kernels that have both."""
        c = self.parameter("log_c").exp() if hasattr(self, "log_c") else self.options["c"]
        return (c * self.slopes(self.options["bias_max"], device))[:, None]


class PositionBias(nn.Module):
    """b_h(d) = log sum_m w_m K_m,h(d), the distance bias of all layers that have one."""

    def __init__(self, config, entry):
        super().__init__()
        heads, terms, seen = config.num_attention_heads, entry.terms(), {}
        self.names = []
        for _, name, options in terms:
            seen[name] = seen.get(name, 0) + 1
            self.names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
            self.add_module(self.names[-1], Kernel(name, options, heads, config.head_dim, entry.learn))
        self.logarithms = [math.log(weight / sum(t[0] for t in terms)) for weight, _, _ in terms]
        if "weights" in entry.learn:
            self.weights = nn.Parameter(torch.tensor(self.logarithms)[:, None].repeat(1, heads))

    def log_kernels(self, length, device):
        """log K_m,h(d) of the distances below `length`, [kernels, heads, length]."""
        d = torch.arange(length, dtype=torch.float64, device=device)
        return torch.stack([getattr(self, name)(d).expand(-1, length) for name in self.names])

    def log_weights(self, device):
        """log w_m,h, [kernels, heads or 1]"""
        if hasattr(self, "weights"):
            return self.weights.double().log_softmax(0)
        return torch.tensor(self.logarithms, dtype=torch.float64, device=device)[:, None]

    def forward(self, shared):
        """[batch or 1, heads, queries, keys]"""
        device = shared.distance.device
        mixed = self.log_kernels(shared.keys.shape[1], device) + self.log_weights(device)[:, :, None]
        return mixed.logsumexp(0).float()[:, shared.distance].transpose(0, 1)


class Fire(nn.Module):
    """FIRE (arXiv:2310.04418) with a fixed threshold T: b_h = W2 relu(w1 x + b1) + b2 of
    x = log(1 + |c| d) / log(1 + |c| max(p, T)), for a query at position p."""

    def __init__(self, config, entry):
        super().__init__()
        heads, width, self.threshold = config.num_attention_heads, 32, entry.threshold
        shapes = {"w1": (width,), "b1": (width,), "w2": (heads, width), "b2": (heads,)}
        self.fire = nn.ParameterDict({"c": torch.tensor(0.1)})
        for name, shape in shapes.items():  # as nn.Linear's
            self.fire[name] = torch.empty(shape).uniform_(-1, 1) / (width**0.5 if name in ("w2", "b2") else 1)

    def forward(self, shared):
        """[batch or 1, heads, queries, keys]"""
        c, w1, b1, w2, b2 = (self.fire[name].double() for name in ("c", "w1", "b1", "w2", "b2"))
        c, positions = c.abs().clamp(min=1e-8), shared.keys[:, -shared.distance.shape[1]:, None]
        x = torch.log1p(c * shared.distance) / torch.log1p(c * positions.clamp(min=self.threshold))
        return ((x[..., None] * w1 + b1).relu() @ w2.T + b2).float().permute(0, 3, 1, 2)


class LayerBias(nn.Module):
    """What the modifiers of a layer's entry add to its scores. The input x [batch, queries, hidden] is attention's."""

    def __init__(self, config, entry):
        super().__init__()
        heads, hidden = config.num_attention_heads, config.hidden_size
        self.entry, self.heads = entry, heads
        if entry.forget:
            self.forget = nn.ParameterDict({"weight": torch.randn(heads, hidden) * config.initializer_range})
            if entry.forget_bias is not None:
                self.forget["bias"] = torch.full((heads,), entry.forget_bias)
        if entry.rank:
            self.profiles = nn.Module()
            self.profiles.query = nn.Linear(hidden, heads * entry.rank, bias=False)
            self.profiles.bank = nn.Parameter(torch.randn(entry.rank, entry.extent) * config.initializer_range)
        if entry.weights_query:
            self.weights_query = nn.ParameterDict({"weight": torch.zeros(heads * len(entry.terms()), hidden)})
        if entry.scale == "ssmax":
            self.ssmax = nn.ParameterDict({"scale": torch.full((heads,), 0.43)})
        if entry.sink:
            self.sink = nn.Parameter(torch.zeros(heads))

    def by_head(self, x):
        """[batch, queries, heads * n] as [batch, heads, queries, n]"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def scale_queries(self, q, shared):
        """SSMax (arXiv:2501.19399): times s_h log(p + 1); log-n scaling: times log(p + 1) / log N beyond N tokens."""
        logs = (shared.queries[:, None, :, None] + 1).double().log()
        if self.entry.scale == "ssmax":
            return (q * self.ssmax["scale"][:, None, None] * logs).to(q.dtype)
        return (q * (logs / math.log(self.entry.logn)).clamp(min=1)).to(q.dtype) if self.entry.scale else q

    def gates(self, x):
        """Logits of the forget gates, [batch, heads, queries]."""
        return functional.linear(x, self.forget["weight"], self.forget.get("bias")).transpose(1, 2)

    def forgotten(self, gates, shared):
        """c_i - c_j, where c is the sum of log sigmoid over the tokens so far (FoX, arXiv:2503.02130). `gates` are the
        logits of all keys, [batch, heads, keys]."""
        c = functional.logsigmoid(gates.double()).masked_fill(~shared.visible[:, None], 0).cumsum(-1)
        return (c[:, :, -shared.distance.shape[1]:, None] - c[:, :, None, :]).float()

    def profile(self, x, shared):
        """sum_m r_m P_m(d) with r = W x, and 0 beyond the extent of the bank."""
        r, bank = self.by_head(self.profiles.query(x)), self.profiles.bank[:, :shared.keys.shape[1]]
        values = functional.pad(r.float() @ bank.float(), (0, 1))  # [batch, heads, queries, distances and 0]
        index = shared.distance.clamp(max=bank.shape[1])[:, None].expand(*values.shape[:3], -1)
        return values.gather(-1, index)

    def mixture(self, x, position_bias, shared):
        """log sum_m w_m K_m(d) with weights w of the query: softmax of log w_m + W x."""
        a = self.by_head(functional.linear(x, self.weights_query["weight"])).double()
        log_weights = (a + position_bias.log_weights(x.device).T[:, None]).log_softmax(-1)
        log_kernels = position_bias.log_kernels(shared.keys.shape[1], x.device)
        return torch.stack([kernel[:, shared.distance].transpose(0, 1) + log_weights[..., m:m + 1]
                            for m, kernel in enumerate(log_kernels)]).logsumexp(0).float()

    def forward(self, x, gates, shared):
        """What is added to the scores: [batch or 1, heads or 1, queries, keys], -inf where a key is not seen."""
        hidden = shared.hidden
        if self.entry.window is not None:
            hidden = hidden | (shared.distance >= self.entry.window)[:, None]
        bias = torch.zeros(hidden.shape, device=x.device)
        if self.entry.weights_query:
            bias = self.mixture(x, shared.position_bias, shared)
        elif self.entry.kind in ("bias", "fire"):
            bias = shared.bias
        if self.entry.forget:
            bias = bias + self.forgotten(gates, shared)
        if self.entry.rank:
            bias = bias + self.profile(x, shared)
        return bias.masked_fill(hidden, -math.inf)


class Attention(nn.Module):
    """What the attention of both blocks has in common."""

    def __init__(self, config, layer):
        super().__init__()
        entries = entries_of(config)
        self.layer, self.entry = layer, entries[layer % len(entries)]
        self.heads, self.kv_heads, self.head_dim = (config.num_attention_heads, config.num_key_value_heads,
                                                    config.head_dim)
        self.position_bias = LayerBias(config, self.entry)

    def attend(self, x, q, k, v, shared, cache):
        """(output [batch, queries, channels], weights [batch, heads, queries, keys]) of q [batch, heads, queries,
        head_dim], k and v [batch, key/value heads, queries, head_dim]."""
        if self.entry.kind == "rotary":
            q, k = rotate(q, shared.rotations[self.entry.base]), rotate(k, shared.rotations[self.entry.base])
        q, group = self.position_bias.scale_queries(q, shared), self.heads // self.kv_heads
        gates = None
        if self.entry.forget:
            gates = self.position_bias.gates(x)
            # the gates of a key are further channels of it, and of v: transformers 4 has one width for both
            extra = gates.unflatten(1, (self.kv_heads, group)).transpose(2, 3).to(k.dtype)
            k, v = torch.cat([k, extra], -1), torch.cat([v, extra], -1)
        if cache is not None:
            keys, queries = shared.keys.shape[1], x.shape[1]
            positions = torch.arange(keys - queries, keys, device=x.device)  # for the static cache of transformers 4
            k, v = (y[:, :, :keys] for y in cache.update(k, v, self.layer, {"cache_position": positions}))
        if self.entry.forget:
            gates = k[..., self.head_dim:].transpose(2, 3).flatten(1, 2)
            k, v = k[..., :self.head_dim], v[..., :self.head_dim]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = (q @ k.transpose(2, 3) / math.sqrt(self.head_dim)).float() + self.position_bias(x, gates, shared)
        if self.entry.sink:  # a logit without a value
            sink = self.position_bias.sink.float()[:, None, None].expand(*scores.shape[:3], 1)
            weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1].to(v.dtype)
        else:
            weights = scores.softmax(-1).to(v.dtype)
        return (weights @ v).transpose(1, 2).flatten(2), weights


class NeoXAttention(Attention):
    def __init__(self, config, layer):
        super().__init__(config, layer)
        width = self.heads * self.head_dim
        self.query_key_value = nn.Linear(config.hidden_size, 3 * width, bias=not config.no_bias)
        self.dense = nn.Linear(width, config.hidden_size, bias=not config.no_bias)

    def forward(self, x, shared, cache):
        """(output, weights)"""
        q, k, v = self.query_key_value(x).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        attended, weights = self.attend(x, q, k, v, shared, cache)
        return self.dense(attended), weights


class LlamaAttention(Attention):
    def __init__(self, config, layer):
        super().__init__(config, layer)
        width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.qk_norm = config.qk_norm
        self.q_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        if self.qk_norm != "none":
            per_head = self.qk_norm == "head"
            self.q_norm = nn.RMSNorm(self.head_dim if per_head else width, config.layer_norm_eps)
            self.k_norm = nn.RMSNorm(self.head_dim if per_head else kv_width, config.layer_norm_eps)

    def forward(self, x, shared, cache):
        """(output, weights)"""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.qk_norm == "all":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for y in (q, k, v))
        if self.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        attended, weights = self.attend(x, q, k, v, shared, cache)
        return self.o_proj(attended), weights


def rotary_of(config, base):
    """What `mep export` computed for the entries "rotary:OPTIONS"; "rotary" without options."""
    if base in (config.rotary or {}):
        return config.rotary[base]
    if base != "rotary":
        raise ValueError(f"position_encoding {config.position_encoding!r}: config.json has no frequencies of {base!r} "
                         "in \"rotary\"; export the model with mep")
    dims = int(config.head_dim * config.rotary_pct)
    return {"attention_factor": 1.0, "frequencies": [config.rotary_emb_base ** -(n / dims) for n in range(0, dims, 2)]}


def rotary_frequencies(rotary, length):
    """The frequencies for a text of `length` tokens."""
    values, ratio = rotary["frequencies"], length / rotary.get("original", length)
    if ratio > 1 and "dynamic_factor" in rotary:
        stretch = rotary["dynamic_factor"] * ratio - (rotary["dynamic_factor"] - 1)
        return [value * stretch ** (-n / max(len(values) - 1, 1)) for n, value in enumerate(values)]
    return rotary.get("long_frequencies", values) if ratio > 1 else values


def rotate(x, rotation):
    """Rotate the first channels in pairs (i, i + half)."""
    cos, sin = (y.to(x.dtype) for y in rotation)
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


class NeoXMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size, bias=not config.no_bias)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size, bias=not config.no_bias)
        self.approximate = "none" if config.hidden_act == "gelu" else "tanh"

    def forward(self, x):
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(x), approximate=self.approximate))


class LlamaMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


def norm(config):
    if config.block == "llama":
        return nn.RMSNorm(config.hidden_size, config.layer_norm_eps)
    return nn.LayerNorm(config.hidden_size, config.layer_norm_eps, bias=not config.no_bias)


class NeoXLayer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.parallel = config.use_parallel_residual
        self.input_layernorm = norm(config)
        self.attention = NeoXAttention(config, index)
        self.post_attention_layernorm = norm(config)
        self.mlp = NeoXMlp(config)

    def forward(self, x, shared, cache):
        """(output, attention weights)"""
        attended, weights = self.attention(self.input_layernorm(x), shared, cache)
        middle = x + attended
        return middle + self.mlp(self.post_attention_layernorm(x if self.parallel else middle)), weights


class LlamaLayer(nn.Module):
    """Norms are before the branches or, with post_norm (OLMo2), after them."""

    def __init__(self, config, index):
        super().__init__()
        self.post_norm = config.post_norm
        self.self_attn = LlamaAttention(config, index)
        self.mlp = LlamaMlp(config)
        self.post_attention_layernorm = norm(config)
        setattr(self, "post_feedforward_layernorm" if self.post_norm else "input_layernorm", norm(config))

    def forward(self, x, shared, cache):
        """(output, attention weights)"""
        if self.post_norm:
            attended, weights = self.self_attn(x, shared, cache)
            x = x + self.post_attention_layernorm(attended)
            return x + self.post_feedforward_layernorm(self.mlp(x)), weights
        attended, weights = self.self_attn(self.input_layernorm(x), shared, cache)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), weights


# The names of the parts of a model, which are Hugging Face's for the block.
Block = collections.namedtuple("Block", "model embedding norm head layer")
BLOCKS = {"gpt_neox": Block("gpt_neox", "embed_in", "final_layer_norm", "embed_out", NeoXLayer),
         "llama": Block("model", "embed_tokens", "norm", "lm_head", LlamaLayer)}


class MepModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.block = BLOCKS[config.block]
        setattr(self, self.block.embedding, nn.Embedding(config.vocab_size, config.hidden_size))
        if entries_of(config)[0].kind == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        if config.embedding_layer_norm:
            self.embed_layer_norm = norm(config)
        self.layers = nn.ModuleList(self.block.layer(config, i) for i in range(config.num_hidden_layers))
        setattr(self, self.block.norm, norm(config))

    def forward(self, x, shared, cache, want_states, want_attentions):
        """(output, inputs of the layers and the output, attention weights of the layers); None where not wanted."""
        states, attentions = [], []
        for layer in self.layers:
            states += [x] if want_states else []
            x, weights = layer(x, shared, cache)
            attentions += [weights] if want_attentions else []
        x = getattr(self, self.block.norm)(x)
        return x, (*states, x) if want_states else None, tuple(attentions) if want_attentions else None


# What all layers of a call share.
#   keys           positions of the keys, with those in the cache, [batch or 1, keys]
#   queries        positions of the queries [batch or 1, queries], for encodings of absolute positions
#   visible        [batch or 1, keys]: False where attention_mask hides a token
#   distance       [batch or 1, queries, keys] of a query to the keys before it; 0 for those after it
#   hidden         [batch or 1, 1, queries, keys]: True where a query must not see a key
#   rotations      cosines and sines by the base of an entry
#   position_bias  the model's module, and its value `bias`; None where there is no bias
Shared = collections.namedtuple("Shared", "keys queries visible distance hidden rotations position_bias bias")


def visible_positions(mask, batch, length, device):
    """Positions [batch or 1, length] of all keys. Tokens that the mask hides are not counted: a padded sequence has the
    same positions as without padding."""
    if mask is None:
        return torch.arange(length, device=device)[None]
    if mask.shape != (batch, length):
        raise ValueError(f"attention_mask has the shape {list(mask.shape)}, expected {[batch, length]}: batch, keys "
                         "with those in the cache")
    return ((mask != 0).long().cumsum(-1) - 1).clamp(min=0)


def check_position_ids(position_ids, positions, visible, absolute):
    """Raise an error for position_ids that the model cannot use. The position_ids of hidden tokens are ignored."""
    if position_ids.shape not in (visible.shape, (1, visible.shape[1])):
        raise ValueError(f"position_ids have the shape {list(position_ids.shape)}, expected {list(visible.shape)}")
    if (visible & (position_ids < (position_ids * visible).cummax(-1).values.clamp(min=0))).any():
        raise ValueError("position_ids go back or are negative: sequences packed into one row would see each other; "
                         "use one row for each, and attention_mask")
    moved, most = position_ids - positions, torch.iinfo(torch.long).max
    moves = moved.masked_fill(~visible, -most).amax(-1), moved.masked_fill(~visible, most).amin(-1)
    if not absolute and (moves[0] > moves[1]).any():
        raise ValueError("position_ids have gaps, but this encoding takes its distances from the order of the visible "
                         "tokens")


class MepForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = MepConfig
    base_model_prefix = "gpt_neox"
    accepts_loss_kwargs = True  # num_items_in_batch
    _supports_cache_class = True

    def __init__(self, config):
        super().__init__(config)
        self.block, self.entries = BLOCKS[config.block], entries_of(config)
        self.base_model_prefix = self.block.model
        setattr(self, self.block.model, MepModel(config))
        if not config.tie_word_embeddings:
            setattr(self, self.block.head, nn.Linear(config.hidden_size, config.vocab_size, bias=False))
        for entry in self.entries:
            if entry.kind in ("bias", "fire"):  # the same in all layers that have it
                self.position_bias = (Fire if entry.kind == "fire" else PositionBias)(config, entry)
        self.post_init()

    def get_input_embeddings(self):
        return getattr(self.base_model, self.block.embedding)

    def set_input_embeddings(self, value):
        setattr(self.base_model, self.block.embedding, value)

    def get_output_embeddings(self):
        return getattr(self, self.block.head, None)

    def set_output_embeddings(self, value):
        setattr(self, self.block.head, value)

    @staticmethod
    def create_masks_for_generate(attention_mask=None, **rest):
        """generate would make masks of four dimensions for a static cache; forward makes its own masks."""
        return attention_mask

    def embed(self, x, positions):
        """The input of the first layer, from the embeddings of the tokens."""
        config = self.config
        if self.entries[0].kind == "learned":
            if positions.numel() and positions.max() >= config.max_position_embeddings:
                raise ValueError(f"the learned encoding has {config.max_position_embeddings} positions, and position "
                                 f"{int(positions.max())} was requested")
            x = x + self.base_model.embed_positions(positions)
        if self.entries[0].kind == "sinusoidal":
            half = torch.arange(config.hidden_size // 2, dtype=torch.float64, device=x.device)
            angles = positions[:, :, None] * config.rotary_emb_base ** (-2 * half / config.hidden_size)
            x = x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)
        return self.base_model.embed_layer_norm(x) if config.embedding_layer_norm else x

    def rotations(self, positions):
        """By the base of each rotary entry, cosines and sines [batch or 1, 1, queries, pairs of channels]."""
        found = {}
        for base in {entry.base for entry in self.entries if entry.kind == "rotary"}:
            rotary = rotary_of(self.config, base)
            frequencies = rotary_frequencies(rotary, int(positions.max()) + 1)
            frequencies = torch.tensor(frequencies, dtype=torch.float64, device=positions.device)
            angles = positions[:, None, :, None] * frequencies
            found[base] = angles.cos() * rotary["attention_factor"], angles.sin() * rotary["attention_factor"]
        return found

    def shared(self, keys, queries, mask):
        """`keys` [batch or 1, keys] are the positions of all keys, `queries` those of the queries, the last of them."""
        length, count = keys.shape[1], queries.shape[1]
        index = torch.arange(length, device=keys.device)
        steps = index[length - count:, None] - index
        hidden, visible = (steps < 0)[None, None], torch.ones_like(keys, dtype=torch.bool)
        if mask is not None:  # a hidden token still sees itself, so no row is empty
            visible = mask != 0
            hidden = hidden | (~visible[:, None, None, :] & (steps > 0))
        distance = (keys[:, length - count:, None] - keys[:, None, :]).clamp(min=0)
        shared = Shared(keys, queries, visible, distance, hidden, self.rotations(queries),
                    getattr(self, "position_bias", None), None)
        return shared if shared.position_bias is None else shared._replace(bias=shared.position_bias(shared))

    def positions(self, attention_mask, position_ids, batch, queries, length, device):
        """(positions of all keys, positions of the queries), each [batch or 1, ...]."""
        keys = visible_positions(attention_mask, batch, length, device)
        own = keys[:, length - queries:]
        if position_ids is None:
            return keys, own
        visible = torch.ones(batch, queries, dtype=torch.bool, device=device)
        if attention_mask is not None:
            visible = attention_mask[:, length - queries:] != 0
        check_position_ids(position_ids, own, visible, not any(entry.by_distance for entry in self.entries))
        return keys, position_ids * visible

    def loss(self, logits, labels, logits_to_keep, num_items_in_batch):
        """The mean over the labels, or their sum / num_items_in_batch, which Trainer passes when it accumulates."""
        if labels is None:
            return None
        if isinstance(logits_to_keep, torch.Tensor) or logits_to_keep != 0:
            raise ValueError("labels need the logits of all tokens: leave logits_to_keep out")
        if labels.shape != logits.shape[:2]:
            raise ValueError(f"labels have the shape {list(labels.shape)}, expected {list(logits.shape[:2])}")
        return self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1],
                                  num_items_in_batch=num_items_in_batch)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, inputs_embeds=None, cache=None,
                labels=None, use_cache=None, logits_to_keep=0, past_key_values=None, output_attentions=None,
                output_hidden_states=None, return_dict=None, num_items_in_batch=None, token_type_ids=None, **unknown):
        """The arguments of transformers' causal models. `past_key_values` is the earlier name of `cache`."""
        refuse(unknown, token_type_ids)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        x = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self.find_cache(cache, past_key_values, use_cache)
        batch, queries = x.shape[:2]
        length = queries + (0 if cache is None else int(cache.get_seq_length()))
        keys, positions = self.positions(attention_mask, position_ids, batch, queries, length, x.device)
        x, states, attentions = self.base_model(
            self.embed(x, positions), self.shared(keys, positions, attention_mask), cache,
            self.flag("output_hidden_states", output_hidden_states), self.flag("output_attentions", output_attentions))
        head = self.get_output_embeddings() or self.get_input_embeddings()
        logits = functional.linear(x[:, kept(logits_to_keep)], head.weight)
        output = CausalLMOutputWithPast(loss=self.loss(logits, labels, logits_to_keep, num_items_in_batch),
                                        logits=logits, hidden_states=states, attentions=attentions, **{CACHE: cache})
        return output if self.flag("return_dict", return_dict) else output.to_tuple()

    def flag(self, name, given):
        """A flag, or that of the configuration where it is None."""
        return getattr(self.config, name) if given is None else given

    def find_cache(self, cache, past_key_values, use_cache):
        """The given cache, or a new one where one is needed. Training has none unless use_cache requests it."""
        if cache is not None and past_key_values is not None:
            raise ValueError("cache and past_key_values are the same argument: give one")
        cache = past_key_values if cache is None else cache
        if cache is None and (self.config.use_cache and not self.training if use_cache is None else use_cache):
            return DynamicCache()
        if cache is not None and not hasattr(cache, "get_seq_length"):
            raise TypeError("cache must be one of transformers' caches, such as DynamicCache(), not "
                            f"{type(cache).__name__}")
        return cache


def kept(logits_to_keep):
    """The tokens whose logits are requested, as an index: the last few, all (0), or those of a tensor."""
    if not isinstance(logits_to_keep, torch.Tensor):
        return slice(-logits_to_keep if logits_to_keep else 0, None)
    if logits_to_keep.dim() != 1:
        raise ValueError(f"logits_to_keep has {logits_to_keep.dim()} dimensions: a number or one dimension is possible")
    return logits_to_keep


def refuse(unknown, token_type_ids):
    """Raise an error for a keyword argument that this model does not support; None is accepted."""
    names = [name for name, value in unknown.items() if value is not None and name != "cache_position"]
    if names:
        raise TypeError(f"MepForCausalLM.forward() has no {' and no '.join(names)}")
    if token_type_ids is not None and token_type_ids.any():
        raise ValueError("this model has one type of tokens: token_type_ids must be 0")
