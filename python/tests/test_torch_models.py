# SPDX-License-Identifier: MIT
"""Llama-shaped models in PyTorch with libmep's attention and modules: the golden logits and every golden gradient of
the encodings with gates, profiles, weights per query, windows and sinks."""
import json
import unittest

import numpy as np

import libmep
from support import GOLDEN2, check, safetensors

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None
import libmep.torch
from torch.nn import functional

KERNELS = {"mep+uniform": ("exp", "exp:c=0.5", "gauss", "uniform"), "exp+kerple_log": ("exp", "kerple_log")}


def rotate(x, base=10000.0):
    """Rotary encoding of x [batch, heads, length, channels], half-split."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Llama(torch.nn.Module):
    """The golden model; parameters by their Hugging Face names, those of libmep's modules included."""

    def __init__(self, folder):
        super().__init__()
        self.config = json.loads((folder / "config.json").read_text())
        stored, _ = safetensors(folder / "model.safetensors")
        self.weights = {name: torch.tensor(value).float().requires_grad_() for name, value in stored.items()}
        self.layers = self.config["position"].split("|")
        self.heads, self.channels = self.config["num_attention_heads"], self.config["head_dim"]

    def call(self, module, prefix, *arguments):
        """A module of libmep with the golden parameters whose names begin with `prefix`."""
        parameters = {name: self.weights[prefix + name] for name, _ in module.named_parameters()}
        return torch.func.functional_call(module, parameters, arguments)

    def linear(self, x, name):
        return functional.linear(x, self.weights[name + ".weight"])

    def norm(self, x, name):
        x = x * (x.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"]).rsqrt()
        return x * self.weights[name + ".weight"]

    def terms(self, layer, x):
        """The score terms of a layer, by its entry "BASE/MODIFIER/..." of the position."""
        base, *modifiers = self.layers[layer % len(self.layers)].split("/")
        prefix, length, hidden = f"model.layers.{layer}.self_attn.position_bias.", x.shape[1], x.shape[2]
        terms, bias = {}, libmep.torch.DistanceBias
        if base not in ("nope", "rotary") and "weights=query" not in modifiers:
            terms["table"] = self.call(bias(base, self.heads, self.channels), "position_bias.", length)
        for modifier in modifiers:
            name, _, value = modifier.partition("=")
            if modifier == "forget":
                terms["gate"] = self.call(libmep.torch.ForgetGate(hidden, self.heads), prefix + "forget.", x)
            elif modifier.startswith("profiles:"):
                terms.update(self.call(libmep.torch.Profiles(hidden, self.heads, 3, 20), prefix + "profiles.", x))
            elif modifier == "weights=query":
                logits = self.linear(x, prefix + "weights_query")
                terms["mixture"] = logits.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                kernels = [bias(kernel, self.heads, self.channels) for kernel in KERNELS[base.replace(" ", "")]]
                terms["log_kernels"] = torch.stack([self.call(x, "position_bias.", length) for x in kernels], 1)
            elif modifier == "sink":
                terms["sink"] = self.weights[prefix + "sink"]
            elif name == "window":
                terms["window"] = int(value)
            elif modifier != "scale=logn:32":  # a factor of 1 up to the training length
                raise ValueError(modifier)
        return terms

    def attention(self, x, layer):
        prefix = f"model.layers.{layer}.self_attn."
        q, k, v = (self.linear(x, f"{prefix}{name}_proj").unflatten(-1, (-1, self.channels)) for name in "qkv")
        if self.config["qk_norm"]:
            q, k = self.norm(q, prefix + "q_norm"), self.norm(k, prefix + "k_norm")
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if self.layers[layer % len(self.layers)] == "rotary":
            q, k = rotate(q), rotate(k)
        out = libmep.torch.attention(q, k, v, **self.terms(layer, x))
        return self.linear(out.transpose(1, 2).flatten(2), prefix + "o_proj")

    def forward(self, tokens):
        x = functional.embedding(tokens, self.weights["model.embed_tokens.weight"])
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, prefix + "input_layernorm"), layer)
            n = self.norm(x, prefix + "post_attention_layernorm")
            gated = functional.silu(self.linear(n, prefix + "mlp.gate_proj")) * self.linear(n, prefix + "mlp.up_proj")
            x = x + self.linear(gated, prefix + "mlp.down_proj")
        return self.linear(self.norm(x, "model.norm"), "lm_head")


class Golden(unittest.TestCase):
    def test_logits_and_gradients(self):
        count = 0
        for name in ("mep", "forget", "mep_forget", "profiles", "profiles_sink", "kerple_query", "mep_query",
                     "window_sink", "rotary_nope"):
            expected, _ = safetensors(GOLDEN2 / f"gpt2_{name}" / "expected.safetensors")
            model, tokens = Llama(GOLDEN2 / f"gpt2_{name}"), torch.tensor(expected["tokens"][0])
            logits = model(tokens[:, :-1])
            check(self, logits.detach().numpy(), expected["logits"], 1e-5, name)
            functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
            self.assertEqual({"grad." + key for key in model.weights}, {n for n in expected if n.startswith("grad.")})
            for key, parameter in model.weights.items():
                right = expected["grad." + key]
                error = np.abs(parameter.grad.numpy() - right).max()
                self.assertTrue(error <= 2e-5 * np.abs(right).max() + 1e-7, f"{name} {key}: {error}")
                count += 1
        self.assertGreaterEqual(count, 150)


if __name__ == "__main__":
    unittest.main()
