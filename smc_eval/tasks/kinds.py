"""Kinds of checkpoint, recognised from config and vocabulary, never from the name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from smc_eval.errors import ModelError
from smc_eval.files.json_text import parse_json

ModelKind = Literal["text-encoder", "protein-encoder", "encoder-decoder"]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids. Every protein encoder has a token for each."""

EXAMPLES: Mapping[ModelKind, str] = {
    "text-encoder": "roberta-base",
    "protein-encoder": "facebook/esm2_t12_35M_UR50D",
    "encoder-decoder": "facebook/mbart-large-cc25",
}

VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")
"""Files of a checkpoint folder that list its tokens."""


class WrongKind(ModelError):
    """The checkpoint exists, but the task takes another kind."""


def check_kind(
    config: Mapping[str, Any], tokens: Collection[str] | None, kind: ModelKind, model_name: str
) -> None:
    """Refuse a checkpoint if config or vocabulary show that it is of another kind.

    `tokens` is None if the vocabulary is not known yet; it is checked again when the model is loaded.

    Raises:
        ModelError: the model is of another kind.
    """
    if "model_type" not in config:
        raise ModelError(
            f"the config.json of model {model_name!r} names no model_type, so it is not a transformers model"
        )
    heads = config.get("architectures") or ["a model"]
    if kind == "encoder-decoder":
        if not config.get("is_encoder_decoder"):
            raise wrong_kind(model_name, f"not an encoder-decoder ({heads[0]})", kind)
        return
    if config.get("is_encoder_decoder"):
        raise wrong_kind(model_name, f"an encoder-decoder ({heads[0]})", kind)
    if config.get("is_decoder") or str(heads[0]).endswith(("ForCausalLM", "LMHeadModel")):
        raise wrong_kind(model_name, f"a causal language model ({heads[0]})", kind)
    if tokens is not None:
        check_tokens(tokens, kind, model_name)


def check_tokens(tokens: Collection[str], kind: ModelKind, model_name: str) -> None:
    """Refuse a vocabulary of words for a protein encoder, and one of residues for a text encoder.

    Raises:
        ModelError: the model is of another kind.
    """
    if kind == "encoder-decoder" or reads_residues(tokens) == (kind == "protein-encoder"):
        return
    count = len(tokens)
    if kind == "protein-encoder":
        raise wrong_kind(
            model_name, f"not a protein encoder (its {count} tokens are not the letters of residues)", kind
        )
    raise wrong_kind(model_name, f"a protein encoder (its {count} tokens are the letters of residues)", kind)


def reads_residues(tokens: Collection[str]) -> bool:
    """Whether a vocabulary is one of proteins: single capital letters, among them all amino acids.

    Special tokens such as `<cls>`, `[MASK]` or `-` are ignored.
    """
    letters = {token for token in tokens if token.isalpha()}
    return set(AMINO_ACIDS) <= letters <= set(ascii_uppercase)


def tokens_in(folder: Path) -> Collection[str] | None:
    """The tokens of a checkpoint folder, if one of its `VOCABULARIES` can be read; else None."""
    for name in VOCABULARIES:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            if tokens := text.split() if name.endswith(".txt") else _tokens_of_json(parse_json(text)):
                return tokens
        except (OSError, ValueError):  # loading it will raise an error
            continue
    return None


def wrong_kind(model_name: str, description: str, kind: ModelKind) -> WrongKind:
    """The error for a model of another kind."""
    return WrongKind(
        f"the model {model_name!r} is {description}; "
        f"this task takes a {kind.replace('-', ' ')} such as {EXAMPLES[kind]}"
    )


def _tokens_of_json(content: object) -> Collection[str] | None:
    """The tokens of a `vocab.json`, which maps tokens to ids, or of a `tokenizer.json`."""
    if not isinstance(content, dict):
        return None
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else content
    if isinstance(vocabulary, list):  # pairs of a token and its score
        return [str(pair[0]) for pair in vocabulary if isinstance(pair, list) and pair]
    return list(vocabulary) if isinstance(vocabulary, dict) else None
