# SPDX-License-Identifier: MIT
"""attn_implementation="libmep" in transformers' own models, against their eager attention: logits, padding, gradients,
generation with caches, a step of Trainer; and the warning of each fallback."""
import copy
import tempfile
import unittest
import unittest.mock
import warnings

import libmep
from support import check, distance

try:
    import torch
    import transformers
except ImportError:
    raise unittest.SkipTest("torch and transformers are not both installed") from None
import libmep.transformers

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
VERSION = int(transformers.__version__.split(".")[0])
FIELDS = transformers.modeling_outputs.CausalLMOutputWithPast.__dataclass_fields__
CACHE = "cache" if "cache" in FIELDS else "past_key_values"
VOCAB, LENGTH = 61, 29
SIZES = {"vocab_size": VOCAB, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": None,
         "bos_token_id": None}
GROUPED = {**SIZES, "num_key_value_heads": 2}


def configuration(name, **changes):
    """A small configuration of a family; "window" families have sliding layers."""
    families = {
        "llama": lambda: transformers.LlamaConfig(**{**GROUPED, **changes}),
        "qwen3": lambda: transformers.Qwen3Config(**{**GROUPED, "head_dim": 16, **changes}),
        "qwen3_window": lambda: transformers.Qwen3Config(**{
            **GROUPED, "head_dim": 16, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1,
            **changes}),
        "mistral": lambda: transformers.MistralConfig(**{**GROUPED, "sliding_window": 9, **changes}),
        "gpt_neox": lambda: transformers.GPTNeoXConfig(**{**SIZES, **changes}),
        "gpt_oss": lambda: transformers.GptOssConfig(**{
            **GROUPED, "head_dim": 16, "sliding_window": 8, "num_local_experts": 2, "num_experts_per_tok": 1,
            **changes})}
    return families[name]()


FAMILIES = ("llama", "qwen3", "qwen3_window", "mistral", "gpt_neox", "gpt_oss")


def build(config, kind=transformers.AutoModelForCausalLM):
    """(model with libmep's attention, the same with eager attention), random."""
    torch.manual_seed(0)
    models = [kind.from_config(copy.deepcopy(config), attn_implementation=name).eval() for name in ("libmep", "eager")]
    with torch.no_grad():
        for parameter in models[0].parameters():
            parameter.normal_(0, 0.3) if parameter.dim() > 1 else parameter.add_(0.3 * torch.randn_like(parameter))
    models[1].load_state_dict(models[0].state_dict())
    return models


def tokens(*shape, seed=0):
    return torch.randint(1, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def padded(side):
    """(ids, mask) of three sequences of lengths 29, 12 and 20."""
    ids, mask = tokens(3, LENGTH), torch.zeros(3, LENGTH, dtype=torch.long)
    for row, length in enumerate((LENGTH, 12, 20)):
        mask[row, LENGTH - length:] = 1
    mask = mask.flip(1) if side == "right" else mask
    return ids * mask, mask


def build_t5():
    config = transformers.T5Config(vocab_size=VOCAB, d_model=64, d_kv=16, d_ff=48, num_layers=2, num_heads=4,
                                   decoder_start_token_id=0, dropout_rate=0.0, relative_attention_num_buckets=8,
                                   relative_attention_max_distance=20)
    return build(config, transformers.AutoModelForSeq2SeqLM)


class Attention(unittest.TestCase):
    """No test of this class may fall back, unless it says so."""

    def setUp(self):
        libmep.transformers.register()
        libmep.transformers._warned.clear()
        context = warnings.catch_warnings()
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        warnings.filterwarnings("error", message=".*uses eager attention")

    def families(self):
        for name in FAMILIES:
            yield (name, *build(configuration(name)))

    def compare(self, found, right, mask=None, tolerance=2e-5, what=""):
        rows = slice(None) if mask is None else mask.bool()
        check(self, found[rows].detach().numpy(), right[rows].detach().numpy(), tolerance, what)


class Supported(Attention):
    def test_it_is_called(self):
        """The models compute with libmep: without its operator they fail."""
        for name, model, _ in self.families():
            with unittest.mock.patch.object(libmep.transformers, "attention", side_effect=RuntimeError("libmep")):
                with self.assertRaisesRegex(RuntimeError, "libmep"):
                    model(tokens(1, 5))

    def test_logits(self):
        for name, model, eager in self.families():
            for shape in ((2, LENGTH), (1, 1)):
                ids = tokens(*shape)
                self.compare(model(ids).logits, eager(ids).logits, what=name)
                ones = torch.ones_like(ids)
                self.compare(model(ids, attention_mask=ones).logits, eager(ids).logits, what=name)

    def test_padding(self):
        for name, model, eager in self.families():
            for side in ("left", "right"):
                ids, mask = padded(side)
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                for settings in ({}, {"position_ids": positions}):
                    found, right = (x(ids, attention_mask=mask, **settings).logits for x in (model, eager))
                    self.compare(found, right, mask, what=f"{name} {side}")
                alone = model(ids[1:2, mask[1].bool()], attention_mask=torch.ones(1, 12)).logits[0]
                found = model(ids, attention_mask=mask, position_ids=positions).logits[1, mask[1].bool()]
                self.compare(found, alone, what=f"{name} {side} alone")

    def test_packed_sequences(self):
        """Sequences in one row, told apart by their position_ids, have the logits that they have alone."""
        for name, model, eager in self.families():
            ids, positions = tokens(2, LENGTH), torch.cat([torch.arange(n) for n in (11, 15, 3)])[None].expand(2, -1)
            found, right = (x(ids, position_ids=positions, use_cache=False).logits for x in (model, eager))
            self.compare(found, right, what=name)
            if name != "gpt_oss":  # whose code does not pass position_ids to the mask
                self.compare(found[:, 11:26], model(ids[:, 11:26]).logits, what=f"{name} alone")

    def test_gradients(self):
        """A step of fine-tuning on padded sequences."""
        for name, model, eager in self.families():
            for side in ("left", "right"):
                ids, mask = padded(side)
                # a token after padding is not predicted: attention at padding has no meaning
                before = torch.nn.functional.pad(mask, (1, 0))[:, :-1]
                labels = ids.masked_fill((mask * before) == 0, -100)
                losses = []
                for x in (model, eager):
                    x.train()
                    x.zero_grad()
                    losses.append(x(ids, attention_mask=mask, labels=labels).loss)
                    losses[-1].backward()
                self.assertAlmostEqual(losses[0].item(), losses[1].item(), places=4)
                right = dict(eager.named_parameters())
                for key, parameter in model.named_parameters():
                    if right[key].grad is not None:
                        check(self, parameter.grad.numpy(), right[key].grad.numpy(), 1e-4, f"{name} {side} {key}")

    def generate(self, model, ids, **settings):
        settings = {"max_new_tokens": 15, "do_sample": False, "pad_token_id": 0, **settings}
        return model.generate(ids, **settings).tolist()

    def test_generation(self):
        """A cache, no cache, a static cache, and eager attention give the same text, padded on the left or not."""
        for name, model, eager in self.families():
            ids, mask = padded("left")
            for call in ({"ids": ids[:1]}, {"ids": ids, "attention_mask": mask}):
                right = self.generate(eager, **call)
                for settings in ({}, {"use_cache": False}, {"cache_implementation": "static"}):
                    self.assertEqual(self.generate(model, **call, **settings), right, (name, settings))

    def test_a_prompt_in_pieces(self):
        """Calls with a cache have the logits of one call."""
        for name, model, _ in self.families():
            ids, cache, logits = tokens(2, LENGTH), transformers.DynamicCache(config=model.config), []
            for part in ids.split([5, 1, 9, 14], 1):
                logits.append(model(part, **{CACHE: cache}, use_cache=True).logits)
            self.compare(torch.cat(logits, 1), model(ids).logits, what=name)

    def test_bfloat16_and_autocast(self):
        for name in ("llama", "gpt_neox", "qwen3_window"):
            model, eager = build(configuration(name))
            ids = tokens(2, LENGTH)
            right = eager(ids).logits
            def errors(call):
                """Distances from float32 of libmep's and of eager's logits."""
                return [distance(call(x).float().detach().numpy(), right.detach().numpy()) for x in (model, eager)]
            with torch.autocast("cpu", torch.bfloat16):
                ours, theirs = errors(lambda x: x(ids).logits)
            self.assertTrue(ours <= 1.5 * theirs <= 0.3, (name, ours, theirs))
            ours, theirs = errors(lambda x: x.bfloat16()(ids).logits)
            self.assertTrue(ours <= 1.5 * theirs <= 0.3, (name, ours, theirs))

    def test_compile(self):
        """The model is one graph, with padding too; a mask that only eager attention can compute is an error."""
        model, eager = build(configuration("llama"))
        ids = tokens(2, LENGTH)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        self.compare(compiled(ids, use_cache=False).logits, eager(ids).logits)
        for side in ("left", "right"):
            ids, mask = padded(side)
            found = compiled(ids, attention_mask=mask, use_cache=False).logits
            self.compare(found, eager(ids, attention_mask=mask).logits, mask, what=side)
        mask[:, 5] = 0
        with self.assertRaisesRegex(Exception, "hidden tokens between visible ones"):
            compiled(ids, attention_mask=mask, use_cache=False)

    def test_export(self):
        model, eager = build(configuration("llama"))
        ids, mask = padded("left")
        settings = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        exported = torch.export.export(model, (), settings).module()
        self.compare(exported(**settings).logits, eager(**settings).logits, mask)

    def test_trainer(self):
        """Trainer's loss and gradient norm are those of eager attention."""
        try:
            import accelerate  # noqa: F401
        except ImportError:
            self.skipTest("accelerate is not installed")
        data = [{"input_ids": x, "labels": x} for x in tokens(8, 16)]
        logs = []
        for model in build(configuration("llama")):
            with tempfile.TemporaryDirectory() as folder:
                settings = transformers.TrainingArguments(
                    output_dir=folder, per_device_train_batch_size=4, max_steps=3, learning_rate=1e-3, logging_steps=1,
                    report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, seed=1)
                trainer = transformers.Trainer(model=model, args=settings, train_dataset=data)
                trainer.remove_callback(transformers.PrinterCallback)
                trainer.train()
            logs.append([(x["loss"], x["grad_norm"]) for x in trainer.state.log_history if "grad_norm" in x])
        self.assertEqual(len(logs[0]), 3)
        check(self, logs[0], logs[1], 1e-3)

    @unittest.skipIf(VERSION < 5, "BERT and T5 have the hook since transformers 5")
    def test_encoders(self):
        """Bidirectional attention, padded on the left and right, with gradients."""
        config = transformers.BertConfig(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                                         intermediate_size=48, attention_probs_dropout_prob=0.0)
        model, eager = build(config, transformers.AutoModel)
        for ids, mask in ((tokens(2, LENGTH), None), padded("left"), padded("right")):
            found, right = (x(ids, attention_mask=mask).last_hidden_state for x in (model, eager))
            self.compare(found, right, mask)
            for x in (model, eager):
                x.zero_grad()
                rows = slice(None) if mask is None else mask.bool()
                x(ids, attention_mask=mask).last_hidden_state[rows].square().sum().backward()
            right = dict(eager.named_parameters())
            for key, parameter in model.named_parameters():
                if right[key].grad is not None and not key.endswith("key.bias"):  # whose gradient is 0 but for rounding
                    check(self, parameter.grad.numpy(), right[key].grad.numpy(), 1e-4, key)

    @unittest.skipIf(VERSION < 5, "T5 has the hook since transformers 5")
    def test_position_bias(self):
        """T5's encoder and decoder, whose position_bias becomes tables of the distance, and its gradient. Encoder and
        decoder have the same length here, so that cross-attention is full attention too."""
        model, eager = build_t5()
        ids = tokens(2, 25)
        for x in (model, eager):
            x.zero_grad()
            x(input_ids=ids, decoder_input_ids=ids, labels=ids).loss.backward()
        self.compare(model(input_ids=ids, decoder_input_ids=ids).logits,
                     eager(input_ids=ids, decoder_input_ids=ids).logits, tolerance=1e-4)  # scores are not scaled
        right = dict(eager.named_parameters())
        seen = 0
        for key, parameter in model.named_parameters():
            check(self, parameter.grad.numpy(), right[key].grad.numpy(), 5e-4, key)
            seen += "relative_attention_bias" in key
        self.assertEqual(seen, 2)

    @unittest.skipIf(VERSION < 5, "T5 has the hook since transformers 5")
    def test_generation_with_position_bias(self):
        model, eager = build_t5()
        warnings.filterwarnings("ignore", message=".*cross-attention is not supported")
        ids = tokens(2, 9)
        for settings in ({}, {"use_cache": False}):
            self.assertEqual(*(self.generate(x, ids, **settings) for x in (model, eager)))

    def test_saved_and_chosen_later(self):
        model, eager = build(configuration("llama"))
        with tempfile.TemporaryDirectory() as folder:
            eager.save_pretrained(folder)
            again = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="libmep")
        eager.set_attn_implementation("libmep")
        ids = tokens(1, 9)
        for x in (again, eager):
            self.assertEqual(x.config._attn_implementation, "libmep")
            self.assertTrue(torch.equal(x(ids).logits, model(ids).logits))


class Fallback(Attention):
    """What libmep does not compute has eager's results and one warning."""

    def check_fallback(self, words, call, model, eager, mask=None):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = call(model)
            call(model)
        reasons = [str(x.message) for x in caught if "uses eager attention" in str(x.message)]
        self.assertEqual(len(reasons), 1, reasons)
        self.assertRegex(reasons[0], words)
        self.compare(found, call(eager), mask)

    @unittest.skipIf(VERSION < 5, "transformers 4 does not ask these models for a mask, so nothing can warn")
    def test_models_without_the_hook(self):
        ids, mask = padded("left")
        config = transformers.MptConfig(d_model=64, n_heads=4, n_layers=2, vocab_size=VOCAB, max_seq_len=64)
        self.check_fallback("the code of Mpt computes attention itself",
                            lambda x: x(ids, attention_mask=mask).logits, *build(config), mask)
        config = transformers.BloomConfig(hidden_size=64, n_head=4, n_layer=2, vocab_size=VOCAB)
        self.check_fallback("the code of Bloom computes attention itself",
                            lambda x: x(ids, attention_mask=mask).logits, *build(config), mask)

    @unittest.skipIf(VERSION < 5, "T5 has the hook since transformers 5")
    def test_cross_attention(self):
        ids = tokens(2, 11)
        self.check_fallback("cross-attention is not supported",
                            lambda x: x(input_ids=ids, decoder_input_ids=ids[:, :7]).logits, *build_t5())

    def test_settings(self):
        ids, mask = padded("left")
        llama = build(configuration("llama"))
        self.check_fallback("output_attentions", lambda x: x(ids, output_attentions=True).attentions[1], *llama)
        holes = mask.clone()
        holes[:, 24] = 0
        self.check_fallback("hidden tokens between visible ones", lambda x: x(ids, attention_mask=holes).logits,
                            *llama, holes)
        self.check_fallback("torch.float16", lambda x: x.half()(ids[:, :4]).logits.float(),
                            *build(configuration("llama")))
        self.check_fallback("torch.float64", lambda x: x.double()(ids).logits.float(),
                            *build(configuration("llama")))
        # a mask of booleans, which SDPA takes too
        model, _ = build(configuration("llama"))
        lower = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()[None, None].expand(len(ids), 1, -1, -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.compare(model(ids, attention_mask=lower).logits, model(ids).logits)
        def train(model):
            torch.manual_seed(0)
            return model.train()(ids).logits
        self.check_fallback("dropout of attention weights", train,
                            *build(configuration("llama", attention_dropout=0.3)))
        config = transformers.Gemma2Config(**GROUPED, head_dim=16, sliding_window=8, attn_logit_softcapping=5.0)
        self.check_fallback("softcap", lambda x: x(ids, attention_mask=mask).logits, *build(config), mask)


if __name__ == "__main__":
    unittest.main()
