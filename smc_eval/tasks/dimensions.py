"""Dimensions: what a model's config says of its size; of published models it is known without the config."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone

FILE = Path(__file__).parent / "published.toml"


@cache
def published_dimensions() -> Mapping[str, Mapping[str, Any]]:
    """The dimensions of the published models, by hub id."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def dimensions_of(word: str) -> Mapping[str, Any] | None:
    """The dimensions of a model: its own config's, or the published ones; None where neither is to be had.
    No hub is asked."""
    if backbone.available_offline(word):
        try:
            return backbone.config_of(word)
        except ModelError:
            return None
    return published_dimensions().get(word)


def matrices(dimensions: Mapping[str, Any]) -> int | None:
    """Weights that each token meets: the layers' matrices and, where the model writes, its output layer.
    None where the config names its dimensions otherwise than BERT, RoBERTa, ESM and BART do."""
    if dimensions.get("is_encoder_decoder"):
        return _writing(dimensions)
    match dimensions:
        case {"hidden_size": int(width), "num_hidden_layers": int(layers), "intermediate_size": int(inner)}:
            return layers * (4 * width**2 + 2 * width * inner)
    return None


def _writing(dimensions: Mapping[str, Any]) -> int | None:
    """Of an encoder-decoder, by tokens of one side: both halves, the decoder attending twice, and output."""
    match dimensions:
        case {
            "d_model": int(width),
            "encoder_layers": int(reading),
            "encoder_ffn_dim": int(inner),
            "decoder_layers": int(writing),
            "decoder_ffn_dim": int(outer),
            "vocab_size": int(tokens),
        }:
            encoder = reading * (4 * width**2 + 2 * width * inner)
            decoder = writing * (8 * width**2 + 2 * width * outer)
            return encoder + decoder + width * tokens
    return None
