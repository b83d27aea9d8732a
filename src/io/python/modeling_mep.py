# SPDX-License-Identifier: MIT
"""A GPT whose attention has a distance bias (MEP, arXiv:2403.17698; ALiBi, KERPLE, T5 and their mixtures) or another
position encoding, in plain PyTorch, for models that libmep's `mep export` wrote. It is written for reading and for
checking: it computes the complete matrix of scores, and its cache keeps every key.

    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)
"""
import collections
import math

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


def parse(spec):
    """[(weight, kernel, options)], what is learned. The spec is canonical: `mep export` writes it so."""
    mixture, _, learn = spec.partition("/learn=")
    terms = []
    for term in NAMED.get(mixture, mixture).split(" + "):
        weight, star, rest = term.rpartition("*")
        name, _, options = rest.partition(":")
        if name not in KERNELS:
            raise ValueError(f"position_encoding {spec!r}: unknown kernel {name!r}; kernels: {', '.join(KERNELS)}")
        values = dict(KERNELS[name].options)
        values.update((key, float(value)) for key, value in (o.split("=") for o in options.split(",") if o))
        terms.append((float(weight) if star else 1.0, name, values))
    return terms, learn.split(",")


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
    """b_h(d) = log sum_m w_m K_m,h(d), for all layers."""

    def __init__(self, config):
        super().__init__()
        heads = config.num_attention_heads
        terms, learn = parse(config.position_encoding)
        self.names, seen = [], {}
        for _, name, options in terms:
            seen[name] = seen.get(name, 0) + 1
            self.names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
            self.add_module(self.names[-1], Kernel(name, options, heads, config.head_dim, learn))
        self.log_weights = [math.log(weight / sum(t[0] for t in terms)) for weight, _, _ in terms]
        if "weights" in learn:
            self.weights = nn.Parameter(torch.tensor(self.log_weights)[:, None].repeat(1, heads))

    def forward(self, length, device):
        d = torch.arange(length, dtype=torch.float64, device=device)
        values = torch.stack([getattr(self, name)(d) for name in self.names])
        if hasattr(self, "weights"):
            log_weights = self.weights.double().log_softmax(0)[:, :, None]
        else:
            log_weights = torch.tensor(self.log_weights, dtype=d.dtype, device=device)[:, None, None]
        return torch.logsumexp(values + log_weights, 0).float()


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.layer, self.heads = layer, config.num_attention_heads
        width = self.heads * config.head_dim
        self.query_key_value = nn.Linear(config.hidden_size, 3 * width, bias=not config.no_bias)
        self.dense = nn.Linear(width, config.hidden_size, bias=not config.no_bias)

    def forward(self, x, bias, rotation, cache):
        """(output, weights [batch, heads, queries, keys])"""
        batch, length, _ = x.shape
        q, k, v = self.query_key_value(x).view(batch, length, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            keys = bias.shape[-1]
            positions = torch.arange(keys - length, keys, device=x.device)  # for the static cache of transformers 4
            k, v = (x[:, :, :keys] for x in cache.update(k, v, self.layer, {"cache_position": positions}))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + bias.to(q.dtype)
        weights = scores.float().softmax(-1).to(v.dtype)
        return self.dense((weights @ v).transpose(1, 2).reshape(batch, length, -1)), weights


def default_rotary(config):
    """The frequencies of "rotary" without options."""
    if config.position_encoding != "rotary":
        raise ValueError(f"position_encoding {config.position_encoding!r}: config.json has no frequencies for it in "
                         "\"rotary\"; export the model with mep")
    dims = int(config.head_dim * config.rotary_pct)
    return {"attention_factor": 1.0, "frequencies": [config.rotary_emb_base ** -(n / dims) for n in range(0, dims, 2)]}


def rotary_frequencies(rotary, length):
    """The frequencies that `mep export` computed, for a text of `length` tokens."""
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


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size, bias=not config.no_bias)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size, bias=not config.no_bias)
        self.approximate = "none" if config.hidden_act == "gelu" else "tanh"

    def forward(self, x):
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(x), approximate=self.approximate))


def layer_norm(config):
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=not config.no_bias)


class Layer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.parallel = config.use_parallel_residual
        self.input_layernorm = layer_norm(config)
        self.attention = Attention(config, index)
        self.post_attention_layernorm = layer_norm(config)
        self.mlp = Mlp(config)

    def forward(self, x, bias, rotation, cache):
        """(output, attention weights)"""
        attended, weights = self.attention(self.input_layernorm(x), bias, rotation, cache)
        middle = x + attended
        return middle + self.mlp(self.post_attention_layernorm(x if self.parallel else middle)), weights


class MepModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_in = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.position_encoding == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        if config.embedding_layer_norm:
            self.embed_layer_norm = layer_norm(config)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.final_layer_norm = layer_norm(config)

    def forward(self, x, bias, rotation, cache, want_states, want_attentions):
        """(output, inputs of the layers and the output, attention weights of the layers); None where not wanted."""
        states, attentions = [], []
        for layer in self.layers:
            states += [x] if want_states else []
            x, weights = layer(x, bias, rotation, cache)
            attentions += [weights] if want_attentions else []
        x = self.final_layer_norm(x)
        return x, (*states, x) if want_states else None, tuple(attentions) if want_attentions else None


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
        self.gpt_neox = MepModel(config)
        if not config.tie_word_embeddings:
            self.embed_out = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.position_encoding.partition(":")[0] not in OTHERS:
            self.position_bias = PositionBias(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.gpt_neox.embed_in

    def set_input_embeddings(self, value):
        self.gpt_neox.embed_in = value

    def get_output_embeddings(self):
        return getattr(self, "embed_out", None)

    def set_output_embeddings(self, value):
        self.embed_out = value

    @staticmethod
    def create_masks_for_generate(attention_mask=None, **rest):
        """generate would make masks of four dimensions for a static cache; forward makes its own masks."""
        return attention_mask

    def embed(self, x, positions):
        """The input of the first layer, from the embeddings of the tokens."""
        config = self.config
        if config.position_encoding == "learned":
            if positions.numel() and positions.max() >= config.max_position_embeddings:
                raise ValueError(f"the learned encoding has {config.max_position_embeddings} positions, and position "
                                 f"{int(positions.max())} was requested")
            x = x + self.gpt_neox.embed_positions(positions)
        if config.position_encoding == "sinusoidal":
            half = torch.arange(config.hidden_size // 2, dtype=torch.float64, device=x.device)
            angles = positions[:, :, None] * config.rotary_emb_base ** (-2 * half / config.hidden_size)
            x = x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)
        return self.gpt_neox.embed_layer_norm(x) if config.embedding_layer_norm else x

    def rotation(self, positions):
        """Cosines and sines of the rotary encoding, [batch or 1, 1, queries, pairs of channels]; None for others."""
        config = self.config
        if config.position_encoding.partition(":")[0] != "rotary":
            return None
        rotary = config.rotary or default_rotary(config)
        frequencies = rotary_frequencies(rotary, int(positions.max()) + 1)
        angles = positions[:, None, :, None] * torch.tensor(frequencies, dtype=torch.float64, device=positions.device)
        return angles.cos() * rotary["attention_factor"], angles.sin() * rotary["attention_factor"]

    def bias(self, positions, queries, mask):
        """[batch or 1, heads or 1, queries, keys]: the distance bias, -inf where a query must not see a key.
        `positions` are those of all keys; the queries are the last of them."""
        length = positions.shape[1]
        index = torch.arange(length, device=positions.device)
        steps = index[length - queries:, None] - index
        bias = torch.zeros(1, 1, *steps.shape, device=positions.device)
        if hasattr(self, "position_bias"):
            distance = positions[:, length - queries:, None] - positions[:, None, :]
            bias = self.position_bias(length, positions.device)[:, distance.clamp(min=0)].transpose(0, 1)
        bias = bias.masked_fill(steps < 0, -math.inf)
        if mask is not None:
            hidden = (mask[:, None, None, :] == 0) & (steps > 0)  # a hidden token still sees itself, so no row is empty
            bias = bias.masked_fill(hidden, -math.inf)
        return bias

    def positions(self, attention_mask, position_ids, batch, queries, length, device):
        """(positions of all keys, positions of the queries), each [batch or 1, ...]."""
        keys = visible_positions(attention_mask, batch, length, device)
        own = keys[:, length - queries:]
        if position_ids is None:
            return keys, own
        visible = torch.ones(batch, queries, dtype=torch.bool, device=device)
        if attention_mask is not None:
            visible = attention_mask[:, length - queries:] != 0
        check_position_ids(position_ids, own, visible, not hasattr(self, "position_bias"))
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
        x = self.gpt_neox.embed_in(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self.find_cache(cache, past_key_values, use_cache)
        batch, queries = x.shape[:2]
        length = queries + (0 if cache is None else int(cache.get_seq_length()))
        keys, positions = self.positions(attention_mask, position_ids, batch, queries, length, x.device)
        x, states, attentions = self.gpt_neox(
            self.embed(x, positions), self.bias(keys, queries, attention_mask), self.rotation(positions), cache,
            self.flag("output_hidden_states", output_hidden_states), self.flag("output_attentions", output_attentions))
        head = self.embed_out if hasattr(self, "embed_out") else self.gpt_neox.embed_in
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
