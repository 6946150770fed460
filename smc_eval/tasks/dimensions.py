"""Dimensions of a model: from its config or, without the config, from a table of published models."""

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


def dimensions_of(model_name: str) -> Mapping[str, Any] | None:
    """The dimensions of a model, from its own config or the published table; None if both are missing.

    Sends no request to the hub.
    """
    if backbone.available_offline(model_name):
        try:
            return backbone.config_of(model_name)
        except ModelError:
            return None
    return published_dimensions().get(model_name)


def matrices(dimensions: Mapping[str, Any]) -> int | None:
    """Weights that each token meets: matrices of all layers and, in an encoder-decoder, the output layer.

    None if the config does not use the field names of BERT, RoBERTa, ESM or BART.
    """
    if dimensions.get("is_encoder_decoder"):
        return _encoder_decoder_matrices(dimensions)
    match dimensions:
        case {"hidden_size": int(width), "num_hidden_layers": int(layers), "intermediate_size": int(inner)}:
            return layers * (4 * width**2 + 2 * width * inner)
    return None


def _encoder_decoder_matrices(dimensions: Mapping[str, Any]) -> int | None:
    """Weights for each token of one side: encoder, decoder with its two attentions, and output layer."""
    match dimensions:
        case {
            "d_model": int(width),
            "encoder_layers": int(encoder_layers),
            "encoder_ffn_dim": int(encoder_inner),
            "decoder_layers": int(decoder_layers),
            "decoder_ffn_dim": int(decoder_inner),
            "vocab_size": int(tokens),
        }:
            encoder = encoder_layers * (4 * width**2 + 2 * width * encoder_inner)
            decoder = decoder_layers * (8 * width**2 + 2 * width * decoder_inner)
            return encoder + decoder + width * tokens
    return None
