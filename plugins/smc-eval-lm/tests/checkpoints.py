"""Tiny random checkpoints, one of each architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from smc_eval_lm.model_kind import CausalLanguageModel
from smc_eval_lm.texts import read_text

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SMALL | {"num_key_value_heads": 1}),
    "tied-llama": ("Llama", SMALL | {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "mistral": ("Mistral", SMALL | {"num_key_value_heads": 1}),
    "qwen2": ("Qwen2", SMALL | {"num_key_value_heads": 1}),
    "qwen3": ("Qwen3", SMALL | {"num_key_value_heads": 1, "head_dim": 16}),
    "gemma": ("Gemma", SMALL | {"num_key_value_heads": 1, "head_dim": 16}),
    "opt": (
        "OPT",
        {
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 64,
        },
    ),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "n_inner": 48}),
    "mixtral": ("Mixtral", SMALL | {"num_key_value_heads": 1, "num_local_experts": 4}),
    "qwen3-moe": (
        "Qwen3Moe",
        SMALL
        | {"num_key_value_heads": 1, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 24},
    ),
    "gpt-oss": (
        "GptOss",
        SMALL | {"num_key_value_heads": 1, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}
"""Class and config of each net."""


def save_net(name: str, folder: Path) -> Path:
    """A folder with a checkpoint of an architecture and a tokenizer trained on the synthetic text."""
    text = read_text("synthetic", "wikitext-2", "train", "whole")
    tokenizer = CausalLanguageModel().build_tokenizer("tiny", text.pieces)
    prefix, fields = NETS[name]
    ids = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = getattr(transformers, f"{prefix}Config")(**fields, **ids)
    head = "LMHeadModel" if prefix == "GPT2" else "ForCausalLM"
    torch.manual_seed(3)
    net = getattr(transformers, prefix + head)(config)
    with torch.no_grad():  # of the usual scale the outputs of all blocks would nearly be the same
        for weight in net.parameters():
            if weight.ndim > 1:
                weight.mul_(5)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
