# SPDX-License-Identifier: MIT
"""Exported folders in transformers, compared with the C model they come from: logits, gradients, generation with and
without a cache, padded batches; with the golden files; and what the forward pass of modeling_mep.py refuses."""
import json
import os
import re
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

import numpy as np

import libmep
from support import GOLDEN2, GOLDEN_FAMILIES, check, safetensors

MODULES = tempfile.TemporaryDirectory()  # where transformers copies modeling_mep.py; it reads this when it is imported
os.environ.update(HF_MODULES_CACHE=MODULES.name, HF_HUB_OFFLINE="1")
try:
    import torch
    import transformers
except ImportError:
    raise unittest.SkipTest("torch and transformers are not both installed") from None
torch.set_num_threads(1)  # the models are too small for more threads, which would wait for each other on a busy machine
libmep.set_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

VERSION = int(transformers.__version__.split(".")[0])
FIELDS = transformers.modeling_outputs.CausalLMOutputWithPast.__dataclass_fields__
CACHE = "cache" if "cache" in FIELDS else "past_key_values"
VOCAB, POSITIONS, MADE = 61, 64, 14
SIZES = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": POSITIONS}
# Every name of the library's list, and mixtures. The settings keep a model from being one of transformers' families.
SETTINGS = {"mep_param": {"tie_word_embeddings": 1}, "kerple_log": {"no_bias": 1}, "kerple_power": {"mlp": 1},
            "t5": {"head_dim": 12}, "rotary": {"embedding_layer_norm": 1, "head_dim": 6}, "learned": {"residual": 1},
            "fire": {"embedding_layer_norm": 1}}
NAMES = re.findall(r"^  (\w+)  ", libmep.position_help().partition("\nModifiers")[0], re.MULTILINE)
ENCODINGS = {**{name: SETTINGS.get(name, {}) for name in NAMES}, "exp + 0.5*gauss": {}, "t5:buckets=10,max=40 + t5": {},
             "mep/learn=weights,slopes": {"residual": 1}, "exp + exp:c=0.5/learn=slopes": {},
             "gauss:c=0.01,bias_max=4/learn=slopes": {},
             "rotary:base=500,fraction=0.5,scaling=yarn,factor=4,original=16": {}}
# Terms that depend on the content, and layers of several kinds, in both blocks.
LLAMA = {"preset": "nano-llama", "num_key_value_heads": 2}
TERMS = {"mep/forget": {}, "nope/forget:bias=none/sink": LLAMA,
         "mep + uniform/learn=weights/weights=query": {}, "exp + kerple_log/weights=query": LLAMA,
         "alibi/profiles:rank=3/scale=logn:8/window=12": {"residual": 1},
         "nope/profiles:rank=3,extent=20": {**LLAMA, "qk_norm": 1},
         "bam + uniform/scale=ssmax": {**LLAMA, "num_key_value_heads": 1, "qkv_bias": 1, "tie_word_embeddings": 1},
         "rotary/window=9|nope/sink": {**LLAMA, "qk_norm": 2},
         "rotary:base=500|mep/forget/window=24|nope": {**LLAMA, "num_hidden_layers": 4, "head_dim": 6},
         "rotary:scaling=llama3,factor=4,original=32|rotary": {"residual": 1},
         "rotary|mep/forget": {**LLAMA, "qk_norm": 2, "post_norm": 1}, "learned/sink": LLAMA,
         "fire:max=24|rotary/window=9": LLAMA, "fire|rotary/sink|fire/forget": {"num_hidden_layers": 3},
         "sinusoidal/scale=logn:5": {**LLAMA, "qkv_bias": 1, "qk_norm": 1},
         "mep/weights=query/forget/profiles:rank=2,extent=10/scale=ssmax/sink/window=20|rotary/forget/scale=logn:16":
         {**LLAMA, "head_dim": 12, "tie_word_embeddings": 1}}
OTHERS = ("nope", "rotary", "sinusoidal", "learned")
# Options of rotary that transformers' GPT-NeoX has too.
FACTORS = "short_factor=1:1:1.5:2,long_factor=1:2:3:4"
SCALINGS = ["rotary:base=500,partial=0.5", "rotary:scaling=linear,factor=3", "rotary:scaling=ntk,factor=3",
            "rotary:scaling=dynamic,factor=3,original=64", "rotary:scaling=yarn,factor=4,original=16",
            "rotary:scaling=yarn,factor=4,original=16,attention_factor=1.5,beta_fast=4,beta_slow=2,truncate=0",
            f"rotary:scaling=longrope,factor=4,original=48,{FACTORS}",
            "rotary:base=500,scaling=llama3,factor=4,original=32,high_freq_factor=3"]


def config_of(position, preset="nano", **changes):
    return {**libmep.preset(preset), **SIZES, "position_encoding": position, **changes}


def small(position, **changes):
    """A model whose likeliest tokens are unambiguous, and whose position parameters are not the initial ones."""
    model = libmep.Model.create(config_of(position, **changes), seed=23)
    rng, tied = np.random.default_rng(1), changes.get("tie_word_embeddings")
    for name, values in model.parameters.items():
        if name.startswith("position_bias.") or ("position_bias." in name and values.ndim == 1):
            values[...] = rng.uniform(0.2, 1.2, values.shape)
        elif "position_bias." in name:
            values[...] = rng.normal(0, 0.3, values.shape)
        elif values.ndim == 2:
            values *= 1 if tied and ".embed_" in name else 8  # a tied model would repeat its input
        else:
            values += rng.normal(0, 0.1, values.shape)
    return model


def tokens(length, seed=0):
    return np.random.default_rng(seed).integers(1, VOCAB, length)


class Exported(unittest.TestCase):
    """Models of this class are written and read only once."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.pairs = {}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def load(self, folder, **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **settings).eval()

    def pair(self, position, **changes):
        """(the C model as read from the exported folder, transformers' model)"""
        key = (position, *sorted(changes.items()))
        if key not in self.pairs:
            folder = Path(self.folder.name) / f"model{len(self.pairs)}"
            self.assertEqual(small(position, **changes).export(folder), "mep")
            self.pairs[key] = libmep.Model.load(folder), self.load(folder)
        return self.pairs[key]

    def every_encoding(self):
        for position, changes in {**ENCODINGS, **TERMS}.items():
            yield (position, *self.pair(position, **changes))

    def every_kind(self):
        """Of distance biases, which differ in their tables only, two."""
        for position, changes in {**ENCODINGS, **TERMS}.items():
            if position in ("mep", "t5", *OTHERS) or position in TERMS:
                yield (position, *self.pair(position, **changes))

    def generate(self, model, ids, **settings):
        """The new tokens, greedily unless the settings specify another method."""
        ids = torch.as_tensor(ids)
        ids = ids if ids.dim() == 2 else ids[None]
        settings = {"max_new_tokens": MADE, "eos_token_id": VOCAB, "do_sample": False, "pad_token_id": 0, **settings}
        return model.generate(ids, **settings)[:, ids.shape[1]:].tolist()


class Encodings(Exported):
    def test_list(self):
        """The exported file has the kernels and names of the library, and nothing else; fire has a class of its own."""
        _, model = self.pair("mep")
        module = sys.modules[type(model).__module__]
        self.assertEqual([*module.NAMED, *module.OTHERS, *module.KERNELS], [n for n in NAMES if n != "fire"])
        self.assertGreaterEqual(len(NAMES), 15)

    def test_logits(self):
        for position, ours, theirs in self.every_encoding():
            ids = tokens((2, 40))
            with torch.no_grad():
                logits = theirs(torch.tensor(ids)).logits.numpy()
            check(self, logits, ours.logits(ids), 2e-5, position)

    def test_generation(self):
        """The cache, no cache, and the C library generate the same text."""
        for position, ours, theirs in self.every_encoding():
            prompt = tokens(9, 2)
            made = ours.generate(prompt, max_tokens=MADE, temperature=0.0).tolist()
            self.assertGreaterEqual(len(set(made)), 4, f"{position}: the text is too simple for a comparison")
            for use_cache in (True, False):
                self.assertEqual(self.generate(theirs, prompt, use_cache=use_cache), [made], (position, use_cache))

    def test_left_padding(self):
        """A batch of prompts padded on the left generates the text of each prompt alone."""
        for position, _, theirs in self.every_kind():
            prompts = [tokens(length, length) for length in (3, 11, 7)]
            ids, mask = np.zeros((3, 11), np.int64), np.zeros((3, 11), np.int64)
            for row, prompt in enumerate(prompts):
                ids[row, 11 - len(prompt):], mask[row, 11 - len(prompt):] = prompt, 1
            alone = [self.generate(theirs, prompt)[0] for prompt in prompts]
            for use_cache in (True, False):
                made = self.generate(theirs, ids, attention_mask=torch.tensor(mask), use_cache=use_cache)
                self.assertEqual(made, alone, (position, use_cache))

    def test_hidden_tokens_change_nothing(self):
        """Tokens that the mask hides, at random places, do not change the logits of the others."""
        rng = np.random.default_rng(3)
        for position, ours, theirs in self.every_encoding():
            ids, mask = tokens(30, 5), rng.integers(0, 2, 30)
            with torch.no_grad():
                logits = theirs(torch.tensor(ids[None]), attention_mask=torch.tensor(mask[None])).logits[0].numpy()
                # the position_ids of hidden tokens are ignored
                moved = torch.tensor(np.where(mask == 1, mask.cumsum() - 1, -7)[None])
                same = theirs(torch.tensor(ids[None]), attention_mask=torch.tensor(mask[None]), position_ids=moved)
            check(self, logits[mask == 1], ours.logits(ids[mask == 1]), 2e-5, position)
            check(self, same.logits[0].numpy()[mask == 1], logits[mask == 1], 1e-6, position)

    def test_a_prompt_in_pieces(self):
        """The cache of an output is the input of the next call, also without use_cache."""
        for position, ours, theirs in self.every_kind():
            ids, cache, logits = torch.tensor(tokens((2, 21))), None, []
            with torch.no_grad():
                for part in ids.split([5, 1, 9, 6], 1):
                    output = theirs(part, past_key_values=cache)
                    cache = output[CACHE]
                    logits.append(output.logits)
            check(self, torch.cat(logits, 1).numpy(), ours.logits(ids.numpy()), 2e-5, position)

    def test_gradients(self):
        """Four micro-batches with num_items_in_batch have the gradient of one batch, whose loss is the C library's."""
        for position, ours, theirs in self.every_encoding():
            ids = torch.tensor(tokens((4, 12), 7))
            theirs.zero_grad()
            loss = theirs(ids, labels=ids).loss
            loss.backward()
            self.assertAlmostEqual(loss.item(), ours.losses(ids[:, :-1], ids[:, 1:]).mean(), delta=1e-4)
            right = {name: p.grad.clone() for name, p in theirs.named_parameters()}
            theirs.zero_grad()
            for row in ids:
                theirs(row[None], labels=row[None], num_items_in_batch=torch.tensor(4 * 11)).loss.backward()
            for name, parameter in theirs.named_parameters():
                check(self, parameter.grad.numpy(), right[name].numpy(), 1e-4, f"{position} {name}")
            theirs.zero_grad()


class Golden(Exported):
    """The Llama-shaped models of the golden files, exported from the C library, as modeling_mep.py."""

    def create(self, folder):
        stored = json.loads((folder / "config.json").read_text())
        config = {key: stored[key] for key in (*SIZES, "num_key_value_heads", "head_dim", "tie_word_embeddings")}
        position = stored["position"].replace("mep + ", "exp + exp:c=0.5 + gauss + ")  # all with the same weight
        config.update(layer_norm_eps=stored["rms_norm_eps"], qk_norm=int(stored["qk_norm"]), position_encoding=position)
        model = libmep.Model.create({**libmep.preset("nano-llama"), **config})
        weights, _ = safetensors(folder / "model.safetensors")
        self.assertEqual(set(weights), set(model.parameters))
        for name, values in model.parameters.items():
            values[...] = weights[name]
        return model

    def test_logits_and_gradients(self):
        count = 0
        for folder in sorted(GOLDEN2.glob("gpt2_*")):
            expected, _ = safetensors(folder / "expected.safetensors")
            target = Path(self.folder.name) / folder.name
            if self.create(folder).export(target) != "mep":  # as a family of transformers; see Families
                continue
            model, ids = self.load(target), torch.tensor(expected["tokens"][0])
            logits = model(ids[:, :-1]).logits
            check(self, logits.detach().numpy(), expected["logits"], 5e-6, folder.name)
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            for name, parameter in model.named_parameters():
                right = expected["grad." + name]
                error = np.abs(parameter.grad.numpy() - right).max()
                self.assertTrue(error <= 2e-5 * np.abs(right).max() + 1e-7, f"{folder.name} {name}: {error}")
                count += 1
        self.assertGreaterEqual(count, 200)


class Families(Exported):
    def test_logits_and_generation(self):
        """Models that are exported as transformers' own families."""
        for name in ("neox", "bloom", "mpt", "gpt2"):
            with self.subTest(name):
                ours, folder = libmep.Model.load(GOLDEN_FAMILIES / name), Path(self.folder.name) / name
                family = ours.export(folder)
                theirs = self.load(folder)
                self.assertEqual(theirs.config.model_type, family)
                ids = tokens((2, 20))
                with torch.no_grad():
                    check(self, theirs(torch.tensor(ids)).logits.numpy(), ours.logits(ids), 2e-5, name)
                made = ours.generate(ids[0], max_tokens=MADE, temperature=0.0).tolist()
                self.assertEqual(self.generate(theirs, ids[0]), [made])

    def test_llama_blocks(self):
        """Llama blocks that a family of transformers computes, and rotary with options; with OLMo2's as modeling_mep.py
        where no family does."""
        llama, layers = LLAMA, {**LLAMA, "num_hidden_layers": 3, "rotary_emb_base": 500.0}
        for position, family, changes in (
                ("rotary", "llama", {**llama, "tie_word_embeddings": 1}), ("rotary", "qwen2", {**llama, "qkv_bias": 1}),
                ("rotary", "qwen3", {**llama, "qk_norm": 1, "head_dim": 12}), ("rotary/window=9", "mistral", llama),
                ("rotary/window=9|rotary", "qwen3", {**layers, "qk_norm": 1}),
                ("rotary|rotary|nope", "smollm3", layers), ("nope/window=9|rotary/window=9|rotary", "smollm3", layers),
                ("rotary", "olmo2", {**llama, "qk_norm": 2, "post_norm": 1}),
                ("rotary/sink", "mep", {**llama, "qk_norm": 2, "post_norm": 1}),
                *((scaling, "llama", {**layers, "head_dim": 8}) for scaling in SCALINGS if "partial" not in scaling)):
            with self.subTest(f"{family} {position}"):
                ours, folder = small(position, **changes), Path(tempfile.mkdtemp(dir=self.folder.name))
                self.assertEqual(ours.export(folder), family)
                theirs, again = self.load(folder), libmep.Model.load(folder)
                self.assertEqual(theirs.config.model_type, family)
                for length in (40, 100):
                    ids = tokens((2, length))
                    with torch.no_grad():
                        check(self, theirs(torch.tensor(ids)).logits.numpy(), ours.logits(ids), 1e-4, position)
                    check(self, again.logits(ids), ours.logits(ids), 1e-6, position)
                if "scaling" not in position:
                    made = ours.generate(tokens(9, 2), max_tokens=MADE, temperature=0.0).tolist()
                    self.assertEqual(self.generate(theirs, tokens(9, 2)), [made])

    def test_rotary_scalings(self):
        """Rotary with options, as transformers' GPT-NeoX and as modeling_mep.py, also beyond the length of training."""
        for position in SCALINGS:
            for family, changes in (("gpt_neox", {}), ("mep", {"embedding_layer_norm": 1})):
                with self.subTest(f"{family} {position}"):
                    ours, folder = small(position, **changes), Path(tempfile.mkdtemp(dir=self.folder.name))
                    self.assertEqual(ours.export(folder), family)
                    theirs, again = self.load(folder), libmep.Model.load(folder)
                    for length in (40, 100):
                        ids = tokens((2, length))
                        with torch.no_grad():
                            check(self, theirs(torch.tensor(ids)).logits.numpy(), ours.logits(ids), 1e-4, position)
                        check(self, again.logits(ids), ours.logits(ids), 1e-6, position)


class Generation(Exported):
    def test_modes(self):
        """Modes of generate that give the greedy text, and modes whose text does not depend on the cache."""
        for position in ("mep", "learned", "nope/forget:bias=none/sink"):
            _, model = self.pair(position, **{**ENCODINGS, **TERMS}[position])
            prompt = tokens(9, 2)
            greedy = self.generate(model, prompt)
            for settings in ({"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 3},
                             {CACHE: transformers.DynamicCache()}):
                self.assertEqual(self.generate(model, prompt, **settings), greedy, settings)
            for settings in ({"num_beams": 3}, {"do_sample": True, "top_k": 5}, {"repetition_penalty": 1.3}):
                made = []
                for use_cache in (True, False):
                    torch.manual_seed(0)
                    made.append(self.generate(model, prompt, use_cache=use_cache, **settings))
                self.assertEqual(*made, settings)

    def test_static_cache_with_padding(self):
        _, model = self.pair("mep")
        ids, mask = torch.tensor(tokens((2, 8))), torch.ones(2, 8, dtype=torch.long)
        mask[1, :5] = 0
        self.assertEqual(self.generate(model, ids, attention_mask=mask, cache_implementation="static"),
                         self.generate(model, ids, attention_mask=mask))

    def test_embeddings_as_inputs(self):
        _, model = self.pair("sinusoidal")
        ids = torch.tensor(tokens((1, 9)))
        made = model.generate(inputs_embeds=model.get_input_embeddings()(ids), attention_mask=torch.ones_like(ids),
                              max_new_tokens=MADE, eos_token_id=VOCAB, do_sample=False, pad_token_id=0)
        self.assertEqual(made.tolist(), self.generate(model, ids))


class Forward(Exported):
    def setUp(self):
        self.ours, self.model = self.pair("mep")
        self.ids = torch.tensor(tokens((2, 10)))

    def call(self, *arguments, **settings):
        with torch.no_grad():
            return self.model(*arguments, **settings)

    def test_outputs(self):
        right = self.call(self.ids).logits
        output = self.call(self.ids, output_hidden_states=True, output_attentions=True)
        self.assertEqual([tuple(x.shape) for x in output.hidden_states], [(2, 10, 32)] * 3)
        self.assertTrue(torch.equal(output.hidden_states[0], self.model.get_input_embeddings()(self.ids)))
        self.assertTrue(torch.equal(self.model.embed_out(output.hidden_states[-1]), right))
        self.assertEqual([tuple(x.shape) for x in output.attentions], [(2, 4, 10, 10)] * 2)
        check(self, output.attentions[1].sum(-1).numpy(), np.ones((2, 4, 10)), 1e-5)
        self.assertEqual(output.attentions[0].triu(1).abs().max(), 0)
        plain = self.call(self.ids, use_cache=False, return_dict=False)
        self.assertIsInstance(plain, tuple)
        check(self, plain[0].numpy(), right.numpy(), 1e-6)
        self.assertEqual((len(plain), self.call(self.ids).hidden_states), (1, None))

    def test_inputs(self):
        right = self.call(self.ids).logits
        embeddings = self.model.get_input_embeddings()(self.ids)
        self.assertTrue(torch.equal(self.call(inputs_embeds=embeddings).logits, right))
        self.assertTrue(torch.equal(self.call(self.ids, token_type_ids=torch.zeros_like(self.ids)).logits, right))
        self.assertTrue(torch.equal(self.call(self.ids, attention_mask=torch.ones(2, 10)).logits, right))
        self.assertTrue(torch.equal(self.call(self.ids, position_ids=torch.arange(10)[None] + 5).logits, right))
        self.assertTrue(torch.equal(self.call(self.ids, nothing=None).logits, right))
        for keep in (3, torch.tensor([7, 8, 9])):
            check(self, self.call(self.ids, logits_to_keep=keep).logits.numpy(), right[:, 7:].numpy(), 1e-6)

    def test_positions_are_used(self):
        """Encodings of absolute positions follow position_ids."""
        for position in ("rotary", "sinusoidal", "learned"):
            _, model = self.pair(position, **ENCODINGS[position])
            ids = self.ids[:, :6]
            with torch.no_grad():
                whole = model(ids).logits
                same = model(ids, position_ids=torch.arange(6)[None]).logits
                gaps = model(ids, position_ids=torch.tensor([[0, 1, 2, 20, 21, 22]])).logits
            self.assertTrue(torch.equal(same, whole), position)
            check(self, gaps[:, :3].numpy(), whole[:, :3].numpy(), 1e-5, position)
            self.assertGreater((gaps[:, 3:] - whole[:, 3:]).abs().max(), 1e-3, position)

    def refuse(self, kind, words, *arguments, **settings):
        with self.assertRaisesRegex(kind, words):
            self.call(*arguments, **settings)

    def test_what_is_refused(self):
        ids, ones, cache = self.ids, torch.ones_like(self.ids), transformers.DynamicCache()
        self.refuse(TypeError, r"forward\(\) has no head_mask and no encoder_hidden_states", ids, head_mask=ones,
                    encoder_hidden_states=ones)
        self.refuse(ValueError, "either input_ids or inputs_embeds", ids, inputs_embeds=ones)
        self.refuse(ValueError, "either input_ids or inputs_embeds")
        self.refuse(ValueError, "one type of tokens", ids, token_type_ids=ones)
        self.refuse(ValueError, r"attention_mask has the shape \[2, 9\], expected \[2, 10\]", ids,
                    attention_mask=ones[:, 1:])
        self.refuse(ValueError, r"attention_mask has the shape", ids, attention_mask=torch.ones(2, 1, 10, 10))
        self.refuse(ValueError, "position_ids go back", ids, position_ids=torch.arange(10)[None] % 5)
        self.refuse(ValueError, "position_ids have gaps", ids, position_ids=2 * torch.arange(10)[None])
        self.refuse(ValueError, r"position_ids have the shape \[1, 9\]", ids, position_ids=torch.arange(9)[None])
        self.refuse(ValueError, r"position_ids .* expected \[2, 10\]", ids, position_ids=torch.arange(10).repeat(3, 1))
        self.refuse(ValueError, "position_ids .* are negative", ids, position_ids=torch.arange(10)[None] - 1)
        self.refuse(TypeError, "cache must be one of transformers' caches.*not tuple", ids,
                    past_key_values=((ones, ones),))
        self.refuse(ValueError, "are the same argument", ids, past_key_values=cache, cache=cache)
        self.refuse(ValueError, "leave logits_to_keep out", ids, labels=ids, logits_to_keep=2)
        self.refuse(ValueError, r"labels have the shape \[2, 9\]", ids, labels=ids[:, 1:])
        self.refuse(ValueError, "logits_to_keep has 2 dimensions", ids, logits_to_keep=ones)
        _, learned = self.pair("learned", **ENCODINGS["learned"])
        with self.assertRaisesRegex(ValueError, "64 positions, and position 64 was requested"):
            learned(torch.zeros(1, 65, dtype=torch.long))

    def test_training_makes_no_cache(self):
        self.model.train()
        try:
            self.assertNotIn(CACHE, self.call(self.ids))
        finally:
            self.model.eval()
        self.assertNotIn(CACHE, self.call(self.ids, use_cache=False))
        self.assertEqual(self.call(self.ids)[CACHE].get_seq_length(), 10)

    def test_save_and_resize(self):
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            self.assertTrue(torch.equal(self.load(folder)(self.ids).logits, self.model(self.ids).logits))
            check(self, libmep.Model.load(folder).logits(self.ids), self.ours.logits(self.ids), 1e-6)
        for position, changes in (("alibi", {}), ("mep_param", {"tie_word_embeddings": 1})):
            model = self.load(self.pair(position, **changes)[1].config._name_or_path)
            before = model(self.ids).logits
            model.resize_token_embeddings(VOCAB + 3, mean_resizing=False)
            after = model(self.ids).logits
            self.assertEqual(after.shape[-1], VOCAB + 3)
            check(self, after[..., :VOCAB].detach().numpy(), before.detach().numpy(), 1e-6, position)

    def test_bfloat16(self):
        half = self.load(self.model.config._name_or_path,
                         **{"dtype" if VERSION >= 5 else "torch_dtype": torch.bfloat16})
        logits = half(self.ids).logits
        self.assertEqual(logits.dtype, torch.bfloat16)
        check(self, logits.detach().float().numpy(), self.ours.logits(self.ids), 5e-2)

    def test_new_models_train(self):
        """A model made from a configuration alone has a gradient in every parameter of its encoding, and the initial
        values of the C library where these are not random."""
        for position in (*ENCODINGS, "mep_param/learn=weights,slopes"):
            if position.partition(":")[0] in sys.modules[type(self.model).__module__].OTHERS:
                continue
            config = transformers.AutoConfig.from_pretrained(self.model.config._name_or_path, trust_remote_code=True)
            one, two = (libmep.Bias(position, SIZES["num_attention_heads"], 8, seed) for seed in (1, 2))
            config.position_encoding = one.spec
            model = type(self.model)(config)
            names = dict(model.position_bias.named_parameters())
            self.assertEqual(set(names), set(one.parameters), position)
            for name, parameter in names.items():
                values = one.parameters[name]
                self.assertEqual(tuple(parameter.shape), values.shape, (position, name))
                if np.array_equal(values, two.parameters[name]):
                    check(self, parameter.detach().numpy(), values, 1e-6, f"{position} {name}")
            model(self.ids, labels=self.ids).loss.backward()
            for name, parameter in names.items():
                self.assertTrue(parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, (position, name))
        for wrong, message in (("gaus", "unknown kernel 'gaus'; kernels: exp, gauss"),
                               ("mep/forge", "unknown modifiers forge"),
                               ("rotary:base=7", "has no frequencies of 'rotary:base=7'")):
            config.position_encoding = wrong
            with self.assertRaisesRegex(ValueError, message):
                type(self.model)(config)(self.ids)

    def test_new_models_with_terms(self):
        """The same of the terms of layers; all names and shapes are the C library's."""
        for position, changes in TERMS.items():
            config = self.pair(position, **changes)[1].config
            one, two = (libmep.Model.create(config_of(position, **changes), seed).parameters for seed in (1, 2))
            model = type(self.model)(config)
            names = dict(model.named_parameters())
            self.assertEqual(set(names), set(one), position)
            model(self.ids.tile(1, 3), labels=self.ids.tile(1, 3)).loss.backward()
            for name, parameter in names.items():
                self.assertEqual(tuple(parameter.shape), one[name].shape, (position, name))
                if np.array_equal(one[name], two[name]):
                    check(self, parameter.detach().numpy(), one[name], 1e-6, f"{position} {name}")
                self.assertTrue(parameter.grad.isfinite().all(), (position, name))
                if "position_bias" in name:
                    self.assertGreater(parameter.grad.abs().max(), 0, (position, name))


class Training(Exported):
    def test_trainer_accumulates(self):
        """Trainer's gradient norm is the same for one batch and for four micro-batches."""
        try:
            import accelerate  # noqa: F401
        except ImportError:
            self.skipTest("accelerate is not installed")
        self.pair("mep")
        data = [{"input_ids": x, "labels": x} for x in torch.tensor(tokens((8, 16)))]
        norms = []
        for batch, parts in ((8, 1), (2, 4)):
            settings = transformers.TrainingArguments(
                output_dir=self.folder.name, per_device_train_batch_size=batch, gradient_accumulation_steps=parts,
                max_steps=1, learning_rate=0.0, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no",
                max_grad_norm=1e9, disable_tqdm=True, optim="sgd")
            model = self.load(self.pair("mep")[1].config._name_or_path)
            trainer = transformers.Trainer(model=model, args=settings, train_dataset=data)
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
            norms += [float(x["grad_norm"]) for x in trainer.state.log_history if "grad_norm" in x]
            self.assertEqual(trainer.predict(data).predictions.shape, (8, 16, VOCAB))
        self.assertEqual(len(norms), 2)
        self.assertTrue(abs(norms[0] / norms[1] - 1) <= 1e-3, norms)


if __name__ == "__main__":
    unittest.main()
