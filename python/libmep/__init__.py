# SPDX-License-Identifier: MIT
"""libmep for Python: distance biases, fused attention, models and tokenizers of the C library, on NumPy arrays without
copies. Three modules are imported by themselves: `libmep.torch` has the attention and the biases with gradients for
PyTorch on the CPU, `libmep.transformers` makes it an attn_implementation of Hugging Face's models, and `libmep.lm_eval`
runs models in the lm-evaluation-harness.

Calls that fail raise MepError with the library's message and `status`; wrong arrays raise TypeError or ValueError.
Calls of several threads on one Attention or one Model wait for each other; different objects run at once.
"""
from ._library import MepError, cpu_level, missing_libraries, position_help, set_threads, version
from .attention import Attention
from .bias import Bias, alibi_slopes
from .data import Dataset, Tokenizer
from .decoder import Decoder
from .model import ENDLESS, Model, check_device, preset

__all__ = ["ENDLESS", "Attention", "Bias", "Dataset", "Decoder", "MepError", "Model", "Tokenizer", "alibi_slopes",
           "check_device", "cpu_level", "missing_libraries", "position_help", "preset", "set_threads", "version"]
