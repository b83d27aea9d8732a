# SPDX-License-Identifier: MIT
"""libmep's models in EleutherAI's lm-evaluation-harness (PyPI: lm_eval), computed by the C library.

    python -m libmep.lm_eval --model libmep --model_args pretrained=runs/mep,max_length=2048 --tasks lambada_openai

is the harness's own program with one more model. From Python, importing this module registers the model:

    import lm_eval, libmep.lm_eval
    lm_eval.simple_evaluate("libmep", "pretrained=runs/mep", tasks=["lambada_openai"])

Results are those of the harness's model "hf" with the exported model, except for rounding. torch is not needed.
"""
from __future__ import annotations

import json
import logging
import os
from typing import Any, Iterable, Sequence

import lm_eval.models  # noqa: F401: the harness registers its own models only while there are no others
import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from ._checks import integer
from ._library import version
from .data import Tokenizer
from .decoder import Decoder
from .model import Model

__all__ = ["MepLM"]

AUTO_BATCH_SIZE = 16
LOGITS = 1 << 22  # numbers of logits that are kept at a time, 16 MB
SAMPLING = {"do_sample": None, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "num_beams": 1}
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


# ---- The tokenizer of a model ----

def _json(folder, name):
    """A JSON file as a dict, {} if there is none."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def _find_tokenizer(folder, vocab_size):
    """The tokenizer of a run, a checkpoint or a Hugging Face folder: its files are in the folder or in the one above;
    a model without files and with the vocabulary of bytes has that of bytes."""
    for place in (folder, os.path.join(folder, "..")) if folder else ():
        for name in ("tokenizer.json", "vocab.json"):
            if os.path.exists(os.path.join(place, name)):
                return Tokenizer(os.path.join(place, name))
    if 257 <= vocab_size <= 320:
        return Tokenizer("bytes")
    raise ValueError(f"{folder or 'the model'} has no tokenizer.json: name the tokenizer, tokenizer=PATH")


def _open_tokenizer(tokenizer, folder, vocab_size):
    if tokenizer is None:
        tokenizer = _find_tokenizer(folder, vocab_size)
    elif not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer(tokenizer)
    if tokenizer.vocab_size > vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} tokens and the model {vocab_size}: name the "
                         "model's tokenizer, tokenizer=PATH")
    return tokenizer


def _beginning(folder):
    """The number of the token that Hugging Face's files name as bos_token; None if they do not."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _json(folder, name).get("bos_token")
        token = token.get("content") if isinstance(token, dict) else token
        for added in _json(folder, "tokenizer.json").get("added_tokens", ()):
            if token is not None and added["content"] == token:
                return added["id"]
    return None


def _adds_beginning(folder):
    """Whether Hugging Face's tokenizer puts the bos_token before each text: add_bos_token of its settings, or else a
    template of the post-processor that begins with a special token."""
    said = _json(folder, "tokenizer_config.json").get("add_bos_token")
    if said is not None:
        return bool(said)
    processor = _json(folder, "tokenizer.json").get("post_processor") or {}
    return any("SpecialToken" in step.get("single", [{}])[0] for step in (processor, *processor.get("processors", ())))


# ---- Texts that are being read ----

class _Scored:
    """A continuation whose tokens are known."""

    def __init__(self, tokens):
        self.tokens, self.count, self.total, self.is_greedy = tokens, 0, 0.0, True

    def take(self, logits):
        """The next token to read after this one has been scored by logits [vocab_size]; None at the end."""
        token, top = self.tokens[self.count], logits.max()
        self.total += float(logits[token]) - float(top) - float(np.log(np.exp(logits - top).sum(dtype=np.float64)))
        self.is_greedy = self.is_greedy and int(logits.argmax()) == token
        self.count += 1
        return token if self.count < len(self.tokens) else None

    def known(self):
        """The tokens after the one that `take` has returned, which are read whatever the logits are."""
        return self.tokens[self.count:-1]

    def result(self):
        return self.total, self.is_greedy


class _Written:
    """A text that is generated until one of the stop sequences or the end token."""

    def __init__(self, tokenizer, stops, most, sampling, seed):
        self.tokenizer, self.most, self.sampling = tokenizer, most, sampling
        self.stops = [stop.encode() for stop in stops if stop]
        self.random = np.random.default_rng(seed)
        self.count, self.text = 0, b""

    def take(self, logits):
        """The token that continues the text; None at the end."""
        token = self._choose(logits[:self.tokenizer.vocab_size])  # a model may have more rows, which are padding
        if token == self.tokenizer.end_of_document:
            return None
        piece = self.tokenizer.decode(token, continued=self.count > 0)  # as decode() of all tokens
        self.text += piece
        self.count += 1
        if self.count >= self.most or any(stop in self.text[-len(piece) - len(stop):] for stop in self.stops):
            return None
        return token

    def known(self):
        return []

    def result(self):
        text = self.text
        for stop in self.stops:
            text = text.split(stop)[0]
        return text.decode("utf-8", "replace")

    def _choose(self, logits):
        temperature, top_k, top_p = self.sampling
        if temperature == 0:
            return int(logits.argmax())
        scores = logits.astype(np.float64) / temperature
        if 0 < top_k < scores.size:
            scores[scores < np.partition(scores, -top_k)[-top_k]] = -np.inf
        weights = np.exp(scores - scores.max())
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= top_p * weights.sum()]] = 0
        return int(self.random.choice(weights.size, p=weights / weights.sum()))


def _generation(settings, default_length):
    """(stop sequences, most tokens, (temperature, top_k, top_p)) of a task's generation_kwargs."""
    settings = dict(settings)
    until = settings.pop("until", None) or []
    lengths = [settings.pop(name) for name in LENGTHS if name in settings]
    values = {**SAMPLING, **settings}
    unknown = sorted(set(values) - set(SAMPLING))
    if unknown or values["num_beams"] != 1:
        raise ValueError(f"generation_kwargs {', '.join(unknown or ['num_beams'])}: libmep has {', '.join(SAMPLING)} "
                         f"(num_beams=1), until and {LENGTHS[0]}")
    temperature = float(values["temperature"])
    if values["do_sample"] is False:
        temperature = 0.0
    elif values["do_sample"] and "temperature" not in settings:
        temperature = 1.0
    most = int(lengths[0]) if lengths else default_length
    return ([until] if isinstance(until, str) else list(until), most,
            (temperature, int(values["top_k"] or 0), float(values["top_p"])))


# ---- The model ----

@register_model("libmep")
class MepLM(TemplateLM):
    """A model for lm_eval: loglikelihood, loglikelihood_rolling and generate_until through a libmep.Decoder.

    pretrained       what Model.load reads (a run, a checkpoint, a Hugging Face folder), or a libmep.Model
    tokenizer        what libmep.Tokenizer opens, or a Tokenizer; by default the one of the folder
    position         another position encoding than that of the model, as in Model.load
    max_length       tokens of the longest text; what is longer loses its beginning. By default the model's
                     max_position_embeddings. Larger values measure extrapolation
    batch_size       sequences that are read at the same time, or "auto": 16, or max_batch_size if that is less. Results
                     do not depend on it
    max_gen_toks     tokens that are generated where a task does not say how many
    dtype            "float32" or "bfloat16"
    tolerance        of the attention, see libmep.Attention
    prefix_token_id  the token before texts without a context; by default the bos_token of Hugging Face's files, or else
                     the end-of-document token
    add_bos_token    whether this token is before every context; by default as Hugging Face's files say
    seed             of texts that are sampled
    device           ignored: the model computes on the CPU

    A context that several continuations share is read once. Scalings of rotary that depend on the length take
    max_length as the length. Raises ValueError for wrong settings, and where a continuation alone is longer than
    max_length; MepError where the model cannot be read.
    """

    def __init__(self, pretrained: str | os.PathLike[str] | Model, tokenizer: str | Tokenizer | None = None,
                 position: str | None = None, max_length: int | None = None, batch_size: int | str = 1,
                 max_gen_toks: int = 256, dtype: str = "float32", tolerance: float = 0.0,
                 prefix_token_id: int | None = None, add_bos_token: bool | None = None, seed: int = 0,
                 device: str | None = None, max_batch_size: int | None = None) -> None:
        super().__init__()
        if device not in (None, "cpu"):  # without --device the harness passes "cuda:0"
            logging.getLogger(__name__).info("the model libmep computes on the CPU, not on %s", device)
        if isinstance(pretrained, Model) and position is not None:
            raise ValueError("position is for models that are loaded: give a path as pretrained")
        folder = "" if isinstance(pretrained, Model) else os.fspath(pretrained)
        self.model = pretrained if isinstance(pretrained, Model) else Model.load(pretrained, position)
        config = self.model.config
        self.tokenizer = _open_tokenizer(tokenizer, folder, config["vocab_size"])
        self.max_length = integer("max_length", config["max_position_embeddings"] if max_length is None else max_length)
        automatic = str(batch_size).startswith("auto")
        self.batch_size = min(AUTO_BATCH_SIZE, max_batch_size or AUTO_BATCH_SIZE) if automatic else int(batch_size)
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1, or auto")
        self.max_gen_toks, self.seed = max_gen_toks, seed
        self.add_bos_token = bool(folder) and _adds_beginning(folder) if add_bos_token is None else add_bos_token
        if prefix_token_id is None and folder:
            prefix_token_id = _beginning(folder)
        self._prefix = self.eot_token_id if prefix_token_id is None else integer("prefix_token_id", prefix_token_id)
        self._name, self._dtype = folder or repr(self.model), "float32" if dtype == "auto" else dtype
        # One more sequence, from which contexts are copied.
        self._decoder = Decoder(self.model, sequences=self.batch_size + 1, max_tokens=self.max_length,
                                dtype=self._dtype, tolerance=tolerance)

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.end_of_document

    @property
    def prefix_token_id(self) -> int:
        return self._prefix

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens of a text, after the prefix token if add_bos_token says so."""
        tokens = self.tokenizer.encode(string).tolist()
        has_prefix = self.add_bos_token if add_special_tokens is None else add_special_tokens
        return [self._prefix] + tokens if has_prefix and tokens[:1] != [self._prefix] else tokens

    def get_model_info(self) -> dict[str, Any]:
        """What the harness stores with the results."""
        return {"model_num_parameters": sum(x.size for x in self.model.parameters.values()),
                "model_dtype": self._dtype, "model_name": self._name, "libmep_version": version(),
                "position_encoding": self.model.config["position_encoding"]}

    # ---- Reading ----

    def _append(self, slot, text, tokens):
        """Read many tokens of a text and give it the logits after each of them."""
        most = max(1, LOGITS // self.model.config["vocab_size"])
        for first in range(0, len(tokens), most):
            for row in self._decoder.append(slot, tokens[first:first + most], rows=None):
                text.take(row)

    def _context(self, slot, tokens):
        """The logits after a context, which replaces the tokens of a sequence."""
        self._decoder.clear(slot)
        return self._decoder.append(slot, tokens)[0]

    def _step(self, active):
        """Read the next token of each text in {slot: (text, token, what is done at its end)}. A text with many tokens
        that are known reads them at once."""
        for slot, (text, token, done) in list(active.items()):
            if len(text.known()) >= self.batch_size:
                self._append(slot, text, [token, *text.known()])
                active.pop(slot)
                done(text.result())
        slots = list(active)
        if not slots:
            return
        for slot, row in zip(slots, self._decoder.step(slots, [active[slot][1] for slot in slots])):
            text, _, done = active.pop(slot)
            token = text.take(row)
            if token is None:
                done(text.result())
            else:
                active[slot] = text, token, done

    def _run(self, groups: Iterable[tuple[Sequence[int], list[Any]]]) -> None:
        """Read contexts, and after each one its texts: (tokens, [(text, what is done with its result)])."""
        active: dict[int, Any] = {}
        shared = self.batch_size
        for context, texts in groups:
            logits = self._context(shared, context) if len(texts) > 1 else None
            for text, done in texts:
                while len(active) == self.batch_size:
                    self._step(active)
                slot = next(i for i in range(self.batch_size) if i not in active)
                token = text.take(self._context(slot, context) if logits is None else logits)
                if token is None:
                    done(text.result())
                    continue
                if logits is not None:
                    self._decoder.copy(slot, shared)
                active[slot] = text, token, done
        while active:
            self._step(active)

    # ---- Requests ----

    def _loglikelihood_tokens(self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False,
                              **_: Any) -> list[tuple[float, bool]]:
        results: list[Any] = [None] * len(requests)
        progress = tqdm(total=len(requests), disable=disable_tqdm, desc="Running loglikelihood requests")
        groups: dict[tuple[int, ...], list[Any]] = {}

        def finish(index):
            def done(result):
                results[index] = result
                if requests[index][0] is not None:  # None: a part of a text of loglikelihood_rolling
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], result)
                progress.update()
            return done

        for index, (_, context, continuation) in enumerate(requests):
            if len(continuation) > self.max_length:
                raise ValueError(f"a continuation has {len(continuation)} tokens, and max_length is {self.max_length}")
            if not continuation:
                finish(index)((0.0, True))
                continue
            # The last token is not read, so there may be one more than max_length.
            context = context[max(0, len(context) + len(continuation) - self.max_length - 1):]
            groups.setdefault(tuple(context), []).append((_Scored(continuation), finish(index)))
        self._run(sorted(groups.items(), key=lambda group: -len(group[0])))
        progress.close()
        return results

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        texts = [request.args[0] for request in requests]
        parts = []
        for index, text in enumerate(texts):
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
            parts += [(index, make_disjoint_window(window)) for window in windows]
        scores = self._loglikelihood_tokens([(None, *window) for _, window in parts], disable_tqdm=disable_tqdm)
        totals = [0.0] * len(texts)
        for (index, _), (score, _) in zip(parts, scores):
            totals[index] += score
        for text, total in zip(texts, totals):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        results: list[Any] = [None] * len(requests)
        progress = tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests")

        def finish(index):
            def done(result):
                results[index] = result
                self.cache_hook.add_partial("generate_until", requests[index].args, result)
                progress.update()
            return done

        jobs = []
        for index, request in enumerate(requests):
            context, settings = request.args
            stops, most, sampling = _generation(settings, self.max_gen_toks)
            if not 0 < most < self.max_length:
                raise ValueError(f"max_gen_toks is {most}, which leaves no room for a context: max_length is "
                                 f"{self.max_length}")
            tokens = self.tok_encode(context)[most - self.max_length:] or [self._prefix]
            text = _Written(self.tokenizer, stops, most, sampling, [self.seed, index])
            jobs.append((tokens, [(text, finish(index))]))
        self._run(sorted(jobs, key=lambda job: -len(job[0])))
        progress.close()
        return results


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate
    cli_evaluate()
