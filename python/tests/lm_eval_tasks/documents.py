# SPDX-License-Identifier: MIT
"""Documents of the tasks in this folder, made without a network. The retrieval task has the form of RULER's
niah_single_1: a sentence with a number among sentences that repeat, and a question for the number."""
import random

import datasets

WORDS = "red green blue round small bright old quiet warm narrow".split()
NOUNS = "stone river lamp garden bridge window letter engine".split()
HAYSTACK = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
QUESTION = "A special magic number is hidden within the following text. Make sure to memorize it.\n"


def _split(documents):
    return {"test": datasets.Dataset.from_list(documents)}


def _sentence(rng):
    return f"the {rng.choice(WORDS)} {rng.choice(NOUNS)} was near the {rng.choice(WORDS)} {rng.choice(NOUNS)}"


def choices(**_):
    """Continuations of one byte and of several, which share the context; some contexts are long."""
    rng = random.Random(1)
    documents = []
    for i in range(12):
        context = ". ".join(_sentence(rng) for _ in range(1 + i % 4))
        options = rng.sample(NOUNS, 3) + (["a"] if i % 2 else [])
        documents.append({"context": context + ", and it was a", "choices": options, "gold": i % 3})
    return _split(documents)


def texts(**_):
    rng = random.Random(2)
    return _split([{"text": ". ".join(_sentence(rng) for _ in range(1 + 2 * i)) + "."} for i in range(6)])


def prompts(**_):
    rng = random.Random(3)
    return _split([{"prompt": _sentence(rng) + ", größer, and", "answer": rng.choice(NOUNS)} for _ in range(7)])


def needles(max_seq_lengths=(512, 1024), **_):
    """Documents of these lengths in bytes, with the answer."""
    rng = random.Random(4)
    documents = []
    for length in max_seq_lengths:
        for _ in range(3):
            key, value = f"{rng.choice(WORDS)}-{rng.choice(NOUNS)}", str(rng.randint(10**6, 10**7 - 1))
            needle = f"One of the special magic numbers for {key} is: {value}."
            end = f"\nWhat is the special magic number for {key} mentioned in the provided text?"
            count = (length - 32 - len(QUESTION + needle + end + key) - 70) // (len(HAYSTACK) + 1)
            sentences = [HAYSTACK] * count
            sentences.insert(rng.randint(0, count), needle)
            documents.append({"input": QUESTION + "\n".join(sentences) + end, "outputs": [value], "length": length,
                              "gen_prefix": f"The special magic number for {key} mentioned in the provided text is"})
    return _split(documents)


def needle_results(document, results):
    """The score by length, as in RULER: -1 where the document has another length."""
    found = float(document["outputs"][0] in results[0])
    return {str(length): found if length == document["length"] else -1.0 for length in (512, 1024)}


def mean_of_length(scores):
    scores = [score for score in scores if score >= 0]
    return sum(scores) / len(scores) if scores else -1.0
