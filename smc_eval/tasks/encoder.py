"""Encoders: what text encoders and protein encoders have in common, and which of them no task can use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smc_eval.tasks.checkpoint_config import head_of, is_causal_head

OTHER_SENSES = re.compile(r"For(\w*Image|\w*Video|Audio|Speech|CTC|XVector|\w*Object|\w*Segmentation|Depth)")
"""A part of the names of classes of transformers that read no text."""

IMAGE_FIELDS = frozenset({"image_size", "num_channels", "patch_size"})
"""Fields of configs of models of images. Some models of text have them too, besides a vocabulary."""

TEXT_TOKENS = 512
"""The longest input of a text task, in tokens."""

UNFIT: Mapping[str, str] = {
    "mra": "without a CUDA kernel that it fetches from the hub, transformers takes its attention as zero",
    "perceiver": "its states are those of latents, and not one for each token",
    "reformer": "it trains on inputs of one fixed length alone",
}
"""Model types with a head for masked words that no task can use, and why."""


def why_no_encoder(config: Mapping[str, Any]) -> str:
    """Why a config is not that of an encoder, as `ModelKind.why_not` says it; empty if it is."""
    head = head_of(config)
    if config.get("is_encoder_decoder"):
        return f"an encoder-decoder ({head})"
    if config.get("is_decoder") or config.get("causal") or is_causal_head(head):
        return f"a causal language model ({head})"
    if OTHER_SENSES.search(head) or ("vocab_size" not in config and IMAGE_FIELDS & config.keys()):
        return f"a model of images or sound ({head})"
    if reason := _unfit(config):
        return f"a {config['model_type']} model, which cannot be used: {reason}"
    return ""


def _unfit(config: Mapping[str, Any]) -> str | None:
    """Why an encoder would compute something else than it should, or nothing; None if it can be used."""
    model_type = config["model_type"]
    if model_type == "xmod" and not config.get("default_language"):
        return "its config.json names no default_language, without which it reads no text"
    if model_type == "yoso" and config.get("use_expectation") is False:
        return "use_expectation is false, and its random hashes need a CUDA kernel"
    if model_type == "big_bird" and config.get("attention_type", "block_sparse") == "block_sparse":
        # below this length it switches to full attention, for all batches to come
        blocks, size = config.get("num_random_blocks", 3), config.get("block_size", 64)
        if (5 + 2 * blocks) * size < TEXT_TOKENS:
            return (
                "with these blocks, the length of the first batch decides which attention it has later on; "
                "set attention_type to original_full in its config.json"
            )
    return UNFIT.get(model_type)
