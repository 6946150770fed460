"""Kinds of checkpoint: what config and vocabulary tell of a model, never its name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from smc_eval.errors import ModelError

ModelKind = Literal["text-encoder", "protein-encoder", "encoder-decoder"]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty that every protein encoder has a token for."""

EXAMPLES: Mapping[ModelKind, str] = {
    "text-encoder": "roberta-base",
    "protein-encoder": "facebook/esm2_t12_35M_UR50D",
    "encoder-decoder": "facebook/mbart-large-cc25",
}

VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")
"""Files of a checkpoint folder that list its tokens."""


class WrongKind(ModelError):
    """A checkpoint that is there, and of another kind than the task takes."""


def check_kind(config: Mapping[str, Any], tokens: Collection[str] | None, kind: ModelKind, word: str) -> None:
    """Refuse what config and tokens tell to be of another kind; the rest is seen when it is loaded.

    `tokens` is None where they are not known yet.

    Raises:
        ModelError: the model named `word` is no `kind`.
    """
    if "model_type" not in config:
        raise ModelError(
            f"the config.json of model {word!r} names no model_type; it is none of transformers'"
        )
    heads = config.get("architectures") or ["a model"]
    if kind == "encoder-decoder":
        if not config.get("is_encoder_decoder"):
            raise wrong_kind(word, f"no encoder-decoder ({heads[0]})", kind)
        return
    if config.get("is_encoder_decoder"):
        raise wrong_kind(word, f"an encoder-decoder ({heads[0]})", kind)
    if config.get("is_decoder") or str(heads[0]).endswith(("ForCausalLM", "LMHeadModel")):
        raise wrong_kind(word, f"a causal language model ({heads[0]})", kind)
    if tokens is not None:
        check_tokens(tokens, kind, word)


def check_tokens(tokens: Collection[str], kind: ModelKind, word: str) -> None:
    """Refuse a vocabulary of words where residues are wanted, and the other way round.

    Raises:
        ModelError: the model named `word` is no `kind`.
    """
    if kind == "encoder-decoder" or reads_residues(tokens) == (kind == "protein-encoder"):
        return
    count = len(tokens)
    if kind == "protein-encoder":
        raise wrong_kind(
            word, f"no protein encoder (its {count} tokens are not the letters of residues)", kind
        )
    raise wrong_kind(word, f"a protein encoder (its {count} tokens are the letters of residues)", kind)


def reads_residues(tokens: Collection[str]) -> bool:
    """Whether a vocabulary is one of proteins: its letters are capitals that stand alone, all twenty
    amino acids among them. Marks such as `<cls>`, `[MASK]` or `-` are no letters."""
    letters = {token for token in tokens if token.isalpha()}
    return set(AMINO_ACIDS) <= letters <= set(ascii_uppercase)


def tokens_in(folder: Path) -> Collection[str] | None:
    """The tokens of a checkpoint folder, as far as a file of it lists them plainly; else None."""
    for name in VOCABULARIES:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            if found := text.split() if name.endswith(".txt") else _listed(json.loads(text)):
                return found
        except (OSError, ValueError):  # whoever loads it will tell
            continue
    return None


def wrong_kind(word: str, found: str, kind: ModelKind) -> WrongKind:
    """What is said of a model of another kind."""
    return WrongKind(
        f"the model {word!r} is {found}; this task takes a {kind.replace('-', ' ')} such as {EXAMPLES[kind]}"
    )


def _listed(content: object) -> Collection[str] | None:
    """Tokens of a `vocab.json`, which maps them to ids, or of a `tokenizer.json`."""
    if not isinstance(content, dict):
        return None
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else content
    if isinstance(vocabulary, list):  # of pairs: a token and its score
        return [str(pair[0]) for pair in vocabulary if isinstance(pair, list) and pair]
    return list(vocabulary) if isinstance(vocabulary, dict) else None
