# SPDX-License-Identifier: MIT
"""A GPT whose attention carries a distance bias (MEP, arXiv:2403.17698; ALiBi, KERPLE, T5 and their mixtures) or another
position encoding, in plain PyTorch, for models that libmep's `mep export` wrote. For reading and for checking: it makes
the whole matrix of scores, and keeps every key.

    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)
"""
import math

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_mep import MepConfig

NAMED = {"mep": "exp + exp:c=0.5 + gauss", "mep_param": "exp + gauss + t5 + kerple_log", "alibi": "exp",
         "exp_half": "exp:c=0.5"}
OPTIONS = {"exp": {"c": 1.0, "bias_max": 8.0}, "gauss": {"c": 1.0, "bias_max": 8.0},
           "tanh": {"c": 0.5, "bias_max": 8.0}, "t5": {"buckets": 32, "max": 128}, "kerple_log": {}, "kerple_power": {},
           "sandwich": {}}
PARAMETERS = {"kerple_log": ("p", "a"), "kerple_power": ("a", "p"), "t5": ("table",)}


def parse(spec):
    """[(weight, kernel, options)], what is learned. The spec is canonical: `mep export` writes it so."""
    mixture, _, learn = spec.partition("/learn=")
    terms = []
    for term in NAMED.get(mixture, mixture).split(" + "):
        weight, star, rest = term.rpartition("*")
        name, _, options = rest.partition(":")
        values = dict(OPTIONS[name])
        values.update((key, float(value)) for key, value in (o.split("=") for o in options.split(",") if o))
        terms.append((float(weight) if star else 1.0, name, values))
    return terms, learn.split(",")


def alibi_slopes(heads, bias_max):
    def power_of_two(n):
        return [2 ** (-bias_max * (i + 1) / n) for i in range(n)]
    closest = 2 ** int(math.log2(heads))
    return power_of_two(closest) + power_of_two(2 * closest)[::2][:heads - closest]


class Kernel(nn.Module):
    """log K_h(d) of one term of the mixture."""

    def __init__(self, name, options, heads, head_dim, learn_slopes):
        super().__init__()
        self.name, self.options, self.heads, self.head_dim = name, options, heads, head_dim
        for parameter in PARAMETERS.get(name, ("log_c",) if "c" in options and learn_slopes else ()):
            shape = (int(options["buckets"]), heads) if parameter == "table" else (heads,)
            self.register_parameter(parameter, nn.Parameter(torch.zeros(shape)))

    def forward(self, d):
        """d [length], float64 -> [heads, length]"""
        def parameter(name):
            return getattr(self, name).double()
        if "c" in self.options:
            c = parameter("log_c").exp() if hasattr(self, "log_c") else self.options["c"]
            slopes = torch.tensor(alibi_slopes(self.heads, self.options["bias_max"]), dtype=d.dtype, device=d.device)
            rate = (c * slopes)[:, None]
            if self.name == "exp":
                return -rate * d
            return -rate * d * d if self.name == "gauss" else torch.log(1e-6 + 1 + torch.tanh(-rate * d))
        if self.name == "kerple_log":
            return -parameter("p")[:, None] * torch.log1p(parameter("a")[:, None] * d)
        if self.name == "kerple_power":
            return -parameter("a")[:, None] * d ** parameter("p")[:, None]
        if self.name == "t5":
            return math.sqrt(self.head_dim) * parameter("table")[self.bucket(d)].T
        waves = 10000 ** (torch.arange(1, 65, dtype=d.dtype, device=d.device) / 64)  # sandwich
        head = torch.arange(1, self.heads + 1, dtype=d.dtype, device=d.device)
        return (torch.cos(d[:, None] / waves).sum(1) - 64) / (8 * head / self.heads)[:, None]

    def bucket(self, d):
        buckets, exact = int(self.options["buckets"]), int(self.options["buckets"]) // 2
        wide = torch.log(d.clamp(min=exact) / exact) / math.log(self.options["max"] / exact) * (buckets - exact)
        return torch.where(d < exact, d, (exact + (wide + 1e-12 * buckets).floor()).clamp(max=buckets - 1)).long()


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
            self.add_module(self.names[-1], Kernel(name, options, heads, config.hidden_size // heads, "slopes" in learn))
        self.log_weights = [math.log(weight / sum(t[0] for t in terms)) for weight, _, _ in terms]
        if "weights" in learn:
            self.weights = nn.Parameter(torch.zeros(len(terms), heads))

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
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=not config.no_bias)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=not config.no_bias)

    def forward(self, x, bias, angles, past):
        batch, length, hidden = x.shape
        q, k, v = self.query_key_value(x).view(batch, length, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        if past is not None:
            k, v = past.update(k, v, self.layer)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + bias.to(q.dtype)
        out = scores.float().softmax(-1).to(v.dtype) @ v
        return self.dense(out.transpose(1, 2).reshape(batch, length, hidden))


def rotate(x, angles):
    """The first channels in pairs (i, i + half)."""
    half = angles.shape[-1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
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

    def forward(self, x, bias, angles, past):
        middle = x + self.attention(self.input_layernorm(x), bias, angles, past)
        return middle + self.mlp(self.post_attention_layernorm(x if self.parallel else middle))


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


class MepForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = MepConfig
    base_model_prefix = "gpt_neox"
    _supports_cache_class = True

    def __init__(self, config):
        super().__init__(config)
        self.gpt_neox = MepModel(config)
        if not config.tie_word_embeddings:
            self.embed_out = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.position_encoding not in ("rotary", "sinusoidal", "learned", "nope"):
            self.position_bias = PositionBias(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.gpt_neox.embed_in

    def get_output_embeddings(self):
        return getattr(self, "embed_out", None)

    def embed(self, tokens, positions):
        config, x = self.config, self.gpt_neox.embed_in(tokens)
        if config.position_encoding == "learned":
            x = x + self.gpt_neox.embed_positions(positions)
        if config.position_encoding == "sinusoidal":
            half = torch.arange(config.hidden_size // 2, dtype=torch.float64, device=x.device)
            angles = positions[:, None] * config.rotary_emb_base ** (-2 * half / config.hidden_size)
            x = x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)
        return self.gpt_neox.embed_layer_norm(x) if config.embedding_layer_norm else x

    def bias(self, positions, length, mask):
        """[batch or 1, heads or 1, queries, length]: the distance bias, -inf where a query may not look."""
        distance = positions[:, None] - torch.arange(length, device=positions.device)
        bias = torch.zeros(1, *distance.shape, device=positions.device)
        if hasattr(self, "position_bias"):
            bias = self.position_bias(length, positions.device)[:, distance.clamp(min=0)]
        bias = bias.masked_fill(distance < 0, -math.inf)[None]
        if mask is not None:
            hidden = (mask[:, None, None, :] == 0) & (distance > 0)  # a hidden token still sees itself: no row is empty
            bias = bias.masked_fill(hidden, -math.inf)
        return bias

    def forward(self, input_ids, attention_mask=None, past_key_values=None, labels=None, use_cache=None,
                logits_to_keep=0, **unused):
        config = self.config
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        start = past_key_values.get_seq_length() if past_key_values is not None else 0
        length = start + input_ids.shape[1]
        positions, angles = torch.arange(start, length, device=input_ids.device), None
        if config.position_encoding == "rotary":
            dims = int(config.hidden_size // config.num_attention_heads * config.rotary_pct)
            exponents = torch.arange(0, dims, 2, dtype=torch.float64, device=input_ids.device) / dims
            angles = positions[:, None] * config.rotary_emb_base ** -exponents
        bias = self.bias(positions, length, attention_mask)
        x = self.embed(input_ids, positions)
        for layer in self.gpt_neox.layers:
            x = layer(x, bias, angles, past_key_values)
        x = self.gpt_neox.final_layer_norm(x)[:, -logits_to_keep if logits_to_keep else 0:]
        logits = functional.linear(x, (self.embed_out if hasattr(self, "embed_out") else self.gpt_neox.embed_in).weight)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past_key_values)
