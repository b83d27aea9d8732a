# SPDX-License-Identifier: MIT
"""libmep.lm_eval: the harness's results for the C model against those of HFLM for the exported folder, on local tasks
(lm_eval_tasks), and its settings."""
import json
import os
import subprocess
import tempfile
import types
import unittest
import warnings
from pathlib import Path

import numpy as np

import libmep
from support import GOLDEN, PROGRAM, REPOSITORY

CACHES = tempfile.TemporaryDirectory()  # read when transformers and datasets are imported
os.environ.update(HF_MODULES_CACHE=CACHES.name, HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=CACHES.name,
                  TOKENIZERS_PARALLELISM="false")
try:
    import lm_eval
    import lm_eval.tasks
except ImportError:
    raise unittest.SkipTest("lm_eval is not installed") from None
import libmep.lm_eval
from libmep.lm_eval import MepLM
libmep.set_threads(1)

TASKS = Path(__file__).parent / "lm_eval_tasks"
NAMES = ["libmep_choices", "libmep_texts", "libmep_prompts", "libmep_niah"]
LENGTH = 120  # shorter than some documents: their beginning is cut off, texts are divided
SIZES = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": LENGTH}


def small(position="mep", vocab_size=257):
    """A model of bytes that writes letters, whose likeliest tokens are unambiguous."""
    model = libmep.Model.create({**libmep.preset("nano"), **SIZES, "vocab_size": vocab_size,
                                 "position_encoding": position}, seed=23)
    rng = np.random.default_rng(1)
    for name, values in model.parameters.items():
        if values.ndim == 2:
            values *= 8
        else:
            values += rng.normal(0, 0.1, values.shape)
    others = np.ones(vocab_size, bool)
    others[list(b" abcdefghijklmnopqrstuvwxyz")] = False
    model.parameters["embed_out.weight"][others] *= 0.1
    return model


def evaluate(model, names=NAMES, **settings):
    manager = lm_eval.tasks.TaskManager(include_path=str(TASKS), include_defaults=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lm_eval.simple_evaluate(model, tasks=names, task_manager=manager, bootstrap_iters=0, log_samples=True,
                                       verbosity="ERROR", **settings)


def responses(results):
    """Every response of the model, by task and document."""
    return {name: [sample["resps"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
            for name, samples in results["samples"].items()}


def requests(*arguments):
    return [types.SimpleNamespace(args=x) for x in arguments]


@unittest.skipIf(PROGRAM is None, "MEP_PROGRAM does not name the program")
class Agreement(unittest.TestCase):
    """With HFLM, whose batches are padded."""

    def compare(self, position, max_length=None, names=NAMES):
        try:
            import torch
            import transformers
            from lm_eval.models.huggingface import HFLM
        except ImportError as error:
            self.skipTest(f"HFLM cannot be used: {error}")
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            source, exported = Path(folder, "model"), Path(folder, "exported")
            source.mkdir()
            small(position).save(source)
            subprocess.run([PROGRAM, "export", source, exported, "--quiet"], check=True, capture_output=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
            theirs = HFLM(model, tokenizer=tokenizer, batch_size=4, max_length=max_length, device="cpu")
            ours = MepLM(exported, batch_size=3, max_length=max_length)
            self.assertEqual((ours.prefix_token_id, ours.eot_token_id, ours.max_length),
                             (theirs.prefix_token_id, theirs.eot_token_id, theirs.max_length))
            right, found = evaluate(theirs, names), evaluate(ours, names)
        for name in names:
            self.assertEqual(set(found["results"][name]), set(right["results"][name]))
            for one, other in zip(responses(found)[name], responses(right)[name]):
                self.assertEqual(len(one), len(other))
                self.same(name, one, other)
        return found

    def same(self, name, one, other):
        if isinstance(other, (list, tuple)):
            for x, y in zip(one, other):
                self.same(name, x, y)
        elif isinstance(other, float):
            self.assertTrue(abs(one - other) <= 1e-4 + 1e-5 * abs(other), f"{name}: {one} {other}")
        else:
            self.assertEqual(one, other, name)

    def test_mep(self):
        found = self.compare("mep")
        self.assertEqual(set(found["results"]), set(NAMES))
        texts = [text for document in responses(found)["libmep_prompts"] for text in document]
        self.assertGreater(len({str(text) for text in texts}), 1)

    def test_beyond_the_training_length(self):
        """Needles at both lengths are read in full."""
        self.compare("alibi", 1100, ["libmep_niah"])

    def test_rotary(self):
        self.compare("rotary")


class Batches(unittest.TestCase):
    def test_results_do_not_depend_on_the_batch(self):
        for position in ("rotary", "nope/forget"):
            model = small(position)
            right = responses(evaluate(MepLM(model, batch_size=1)))
            for size in (3, "auto"):
                self.assertEqual(responses(evaluate(MepLM(model, batch_size=size))), right, (position, size))

    def test_scores(self):
        """Sums of the model's own log likelihoods, for continuations of one token, of several and of very many."""
        model = small()
        model_lm = MepLM(model, batch_size=4)
        context = "the old river"
        continuations = ["s", " was", " was near", " " + "x" * 90, " was old"]
        found = model_lm.loglikelihood(requests(*((context, x) for x in continuations)), disable_tqdm=True)
        for continuation, (score, is_greedy) in zip(continuations, found):
            tokens = np.frombuffer((context + continuation).encode(), np.uint8).astype(np.int32)
            losses = model.losses(tokens[:-1], tokens[1:])[-len(continuation):]
            self.assertAlmostEqual(score, -float(losses.astype(np.float64).sum()), delta=1e-4)
            self.assertFalse(is_greedy)
        made = bytes(model.generate(list(context.encode()), max_tokens=5, temperature=0, vocab_limit=257).tolist())
        score, is_greedy = model_lm._loglikelihood_tokens([(None, list(context.encode()), list(made))],
                                                          disable_tqdm=True)[0]
        self.assertTrue(is_greedy)

    def test_a_shared_context_is_read_once(self):
        model_lm = MepLM(small(), batch_size=2)
        read, append = [], model_lm._decoder.append
        model_lm._decoder.append = lambda slot, tokens, rows=1: read.append(len(tokens)) or append(slot, tokens, rows)
        model_lm.loglikelihood(requests(*(("the old river", x) for x in (" is", " was", " a", "s"))), disable_tqdm=True)
        self.assertEqual(read.count(len("the old river")), 1)

    def test_truncation_and_empty_texts(self):
        model_lm = MepLM(small(), batch_size=3)
        long = "".join(chr(97 + i * i % 26) for i in range(300))
        pairs = [(long, " end"), (long[-(LENGTH + 1 - 4):], " end"), ("", "alone"), ("context", "")]
        one, other, alone, nothing = model_lm.loglikelihood(requests(*pairs[:3], pairs[3]), disable_tqdm=True)
        self.assertEqual(one, other)
        self.assertEqual(nothing, (0.0, True))
        direct = model_lm._loglikelihood_tokens([(None, [256], list(b"alone"))], disable_tqdm=True)[0]
        self.assertEqual(alone, direct)
        settings = {"max_gen_toks": 20, "until": ["zz"]}
        cut = long[-(LENGTH - 20):]
        self.assertEqual(*model_lm.generate_until(requests((long, settings), (cut, settings)), disable_tqdm=True))
        self.assertEqual(model_lm.loglikelihood_rolling(requests(("",)), disable_tqdm=True), [0.0])
        self.assertIsInstance(model_lm.generate_until(requests(("", settings)), disable_tqdm=True)[0], str)
        with self.assertRaisesRegex(ValueError, "a continuation has 300 tokens, and max_length is 120"):
            model_lm.loglikelihood(requests(("a", long)), disable_tqdm=True)


class Generation(unittest.TestCase):
    def generate(self, model_lm, **settings):
        return model_lm.generate_until(requests(("the old river", settings)), disable_tqdm=True)[0]

    def test_stops(self):
        model_lm = MepLM(small())
        whole = self.generate(model_lm, max_gen_toks=30)
        expected = model_lm.model.generate(list(b"the old river"), max_tokens=30, temperature=0, vocab_limit=257,
                                           stop_token=256)
        self.assertEqual(whole, model_lm.tokenizer.decode(expected).decode("utf-8", "replace"))
        stop = whole[17:19]
        self.assertTrue(stop.isascii() and 0 < whole.find(stop) <= 17, whole)
        self.assertEqual(self.generate(model_lm, max_gen_toks=30, until=stop), whole.split(stop)[0])
        self.assertEqual(self.generate(model_lm, max_gen_toks=30, until=["", stop]), whole.split(stop)[0])
        for name in ("max_new_tokens", "max_tokens"):
            self.assertEqual(self.generate(model_lm, **{name: 3}), whole[:3])

    def test_rows_of_padding(self):
        """Tokens that the tokenizer does not have are never written."""
        model = small(vocab_size=300)
        model.parameters["embed_out.weight"][257:] *= 100
        model_lm = MepLM(model, batch_size=2)
        self.assertGreater(model.logits(list(b"the old river"))[-1].argmax(), 256)
        self.assertEqual(len(self.generate(model_lm, max_gen_toks=10)), 10)

    def test_sampling(self):
        """Texts depend on the seed and the request, not on the batch; a small nucleus is the likeliest token."""
        model = small()
        draw = {"do_sample": True, "temperature": 0.9, "max_gen_toks": 12}
        many = requests(*[("the old river", draw)] * 4)
        texts = MepLM(model, batch_size=1).generate_until(many, disable_tqdm=True)
        self.assertEqual(MepLM(model, batch_size=3).generate_until(many, disable_tqdm=True), texts)
        self.assertGreater(len(set(texts)), 1)
        self.assertNotEqual(MepLM(model, seed=1).generate_until(many, disable_tqdm=True), texts)
        greedy = self.generate(MepLM(model), max_gen_toks=12)
        for limit in ({"top_k": 1}, {"top_p": 1e-9}, {"do_sample": False}):
            self.assertEqual(self.generate(MepLM(model), **{**draw, **limit}), greedy, limit)

    def test_blanks(self):
        """A text of Llama 2's tokens, which begin with their blank, and a stop sequence with a blank."""
        tokenizer = libmep.Tokenizer(REPOSITORY / "tests" / "golden" / "llama2_tokenizer")
        text = "the quick brown fox jumps"
        tokens = tokenizer.encode(text).tolist()
        for stop, wanted in (("\n", text), (" brown", "the quick")):
            written = libmep.lm_eval._Written(tokenizer, [stop], len(tokens), (0, 0, 1), 0)
            for token in tokens:
                if written.take(np.eye(tokenizer.vocab_size, dtype=np.float32)[token]) is None:
                    break
            self.assertEqual(written.result(), wanted)

    def test_frequencies(self):
        """Sampled tokens have the probabilities of the softmax, with top_k and top_p."""
        written = libmep.lm_eval._Written(libmep.Tokenizer(), [], 1, (0.5, 3, 0.9), 0)
        logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
        counts = np.bincount([written._choose(logits) for _ in range(4000)], minlength=4) / 4000
        weights = np.array([0.25, 0.09, 0, 0])  # squares at temperature 0.5; the first two are 94 % of three
        np.testing.assert_allclose(counts, weights / weights.sum(), atol=0.03)

    def test_refused(self):
        model_lm = MepLM(small())
        for settings, words in (({"repetition_penalty": 2}, "generation_kwargs repetition_penalty"),
                                ({"num_beams": 4}, "generation_kwargs num_beams"),
                                ({"max_gen_toks": LENGTH}, "leaves no room"),
                                ({"max_gen_toks": 0}, "max_gen_toks is 0")):
            with self.assertRaisesRegex(ValueError, words):
                self.generate(model_lm, **settings)


class Settings(unittest.TestCase):
    def test_registered(self):
        from lm_eval.api.registry import get_model
        self.assertIs(get_model("libmep"), MepLM)
        self.assertEqual(get_model("dummy").__name__, "DummyLM")

    def test_from_a_string(self):
        model_lm = MepLM.create_from_arg_string(f"pretrained={self.bytes_folder()},position=alibi,max_length=64",
                                                {"batch_size": "auto:4", "max_batch_size": 8, "device": "cpu"})
        self.assertEqual((model_lm.max_length, model_lm.batch_size), (64, 8))
        self.assertEqual(model_lm.get_model_info()["position_encoding"], "alibi")

    def bytes_folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        small().save(folder.name)
        return folder.name

    def test_tokens(self):
        model_lm = MepLM(small(), add_bos_token=True, prefix_token_id=7)
        self.assertEqual(model_lm.tok_encode("ab"), [7, 97, 98])
        self.assertEqual(model_lm.tok_encode("ab", add_special_tokens=False), [97, 98])
        self.assertEqual(MepLM(small()).tok_encode("ab"), [97, 98])

    def test_tokenizer_of_a_folder(self):
        """tokenizer.json in the folder or above it, and the bos_token that the files name."""
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "checkpoint-1")
            run.mkdir()
            text = (GOLDEN / "tokenizer_bloom.json").read_text()
            Path(folder, "tokenizer.json").write_text(text)
            added = json.loads(text)["added_tokens"]
            tokenizer = libmep.Tokenizer(Path(folder, "tokenizer.json"))
            libmep.Model.create({**libmep.preset("nano"), **SIZES, "vocab_size": tokenizer.vocab_size}).save(run)
            self.assertEqual(MepLM(run).prefix_token_id, tokenizer.end_of_document)
            Path(run, "tokenizer.json").write_text(text)
            for bos in (added[0]["content"], {"content": added[0]["content"]}):
                Path(run, "tokenizer_config.json").write_text(json.dumps({"bos_token": bos}))
                self.assertEqual(MepLM(run).prefix_token_id, added[0]["id"])
            self.assertEqual(MepLM(run, prefix_token_id=3).prefix_token_id, 3)
            self.check_beginning(run, added[0])

    def check_beginning(self, run, token):
        """The tokens of a text are those of Hugging Face's tokenizer, whose post-processor may add the bos_token."""
        path = Path(run, "tokenizer.json")
        template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": token["content"], "type_id": 0}},
                                                             {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                    "special_tokens": {token["content"]: {"id": token["content"], "ids": [token["id"]],
                                                          "tokens": [token["content"]]}}}
        level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        for processor, adds in ((None, False), (level, False), (template, True),
                                ({"type": "Sequence", "processors": [level, template]}, True)):
            path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": processor}))
            model_lm = MepLM(run)
            self.assertEqual(model_lm.add_bos_token, adds, processor)
            try:
                from tokenizers import Tokenizer
            except ImportError:
                continue
            right = Tokenizer.from_file(str(path)).encode("the old river").ids
            self.assertEqual(model_lm.tok_encode("the old river"), right)
        settings = {"bos_token": token["content"], "add_bos_token": False}
        Path(run, "tokenizer_config.json").write_text(json.dumps(settings))
        self.assertEqual(MepLM(run).add_bos_token, False)

    def test_refused(self):
        model = small()
        for settings, words in (({"batch_size": 0}, "batch_size is 0"),
                                ({"position": "mep"}, "position is for models that are loaded"),
                                ({"tokenizer": str(GOLDEN / "tokenizer_gpt2.json")}, "the tokenizer has")):
            with self.assertRaisesRegex(ValueError, words):
                MepLM(model, **settings)
        big = libmep.Model.create({**libmep.preset("nano"), **SIZES, "vocab_size": 400})
        with self.assertRaisesRegex(ValueError, "no tokenizer.json: name the tokenizer"):
            MepLM(big)


if __name__ == "__main__":
    unittest.main()
