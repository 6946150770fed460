"""The vocabulary of a checkpoint folder: its tokens, and whether they are those of proteins."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from string import ascii_uppercase

from smc_eval.files.json_text import parse_json

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids. Every protein encoder has a token for each."""

VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")
"""Files of a checkpoint folder that list its tokens."""


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


def _tokens_of_json(content: object) -> Collection[str] | None:
    """The tokens of a `vocab.json`, which maps tokens to ids, or of a `tokenizer.json`."""
    if not isinstance(content, dict):
        return None
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else content
    if isinstance(vocabulary, list):  # pairs of a token and its score
        return [str(pair[0]) for pair in vocabulary if isinstance(pair, list) and pair]
    return list(vocabulary) if isinstance(vocabulary, dict) else None
