# SPDX-License-Identifier: MIT
"""The configuration of a model that `mep export` wrote; see modeling_mep.py. Names are those of GPT-NeoX and Llama,
where these have one."""
try:
    from transformers import PreTrainedConfig
except ImportError:  # before transformers 5
    from transformers import PretrainedConfig as PreTrainedConfig


class MepConfig(PreTrainedConfig):
    model_type = "mep"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    def __init__(self, vocab_size=50304, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
                 intermediate_size=None, max_position_embeddings=2048, layer_norm_eps=1e-5, rotary_emb_base=10000.0,
                 rotary_pct=0.25, use_parallel_residual=False, hidden_act="gelu", tie_word_embeddings=False,
                 embedding_layer_norm=False, no_bias=False, position_encoding="mep", use_cache=True, head_dim=None,
                 rotary=None, block="gpt_neox", num_key_value_heads=None, qkv_bias=False, qk_norm="none",
                 post_norm=False, initializer_range=0.02, **rest):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.intermediate_size = intermediate_size or 4 * hidden_size
        self.max_position_embeddings = max_position_embeddings
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.rotary_emb_base = rotary_emb_base
        self.rotary_pct = rotary_pct
        self.use_parallel_residual = use_parallel_residual
        self.hidden_act = hidden_act
        self.embedding_layer_norm = embedding_layer_norm
        self.no_bias = no_bias
        self.position_encoding = position_encoding.strip()
        self.use_cache = use_cache
        self.rotary = rotary  # frequencies of rotary entries with options, by their spec; `mep export` computed them
        self.block = block  # "gpt_neox" or "llama"
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm  # "none", "head" or "all"
        self.post_norm = post_norm
        super().__init__(tie_word_embeddings=tie_word_embeddings, **rest)
