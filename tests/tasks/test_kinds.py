"""Kinds of checkpoint are recognised by config and vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import ModelError
from smc_eval.tasks import kinds
from smc_eval.tasks.kinds import AMINO_ACIDS

SPECIAL = ["<cls>", "<pad>", "[MASK]", "-", ".", "<null_1>", "1"]


@pytest.mark.parametrize(
    ("tokens", "residues"),
    [
        ([*AMINO_ACIDS], True),
        ([*SPECIAL, *AMINO_ACIDS, *"XBZUO"], True),
        ([*SPECIAL, *AMINO_ACIDS[1:]], False),  # one amino acid is missing
        ([*SPECIAL, *AMINO_ACIDS, "a"], False),  # letters of text
        ([*SPECIAL, *AMINO_ACIDS, "AC"], False),  # pieces of more than a letter
        ([*SPECIAL, *AMINO_ACIDS, "Ġ"], False),  # RoBERTa's blank
        ([*SPECIAL, *AMINO_ACIDS, "é"], False),
        ([], False),
    ],
)
def test_a_vocabulary_of_proteins_has_single_capital_letters(tokens: list[str], residues: bool) -> None:  # noqa: FBT001
    assert kinds.reads_residues(tokens) == residues


@given(st.permutations([*SPECIAL, *AMINO_ACIDS]))
def test_the_order_of_tokens_does_not_matter(tokens: list[str]) -> None:
    assert kinds.reads_residues(tokens)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.txt", "\n".join(AMINO_ACIDS)),
        ("vocab.json", json.dumps({letter: at for at, letter in enumerate(AMINO_ACIDS)})),
        ("tokenizer.json", json.dumps({"model": {"vocab": dict.fromkeys(AMINO_ACIDS, 0)}})),
        ("tokenizer.json", json.dumps({"model": {"vocab": [[letter, -1.5] for letter in AMINO_ACIDS]}})),
    ],
)
def test_tokens_are_read_from_any_of_these_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    tokens = kinds.tokens_in(tmp_path)
    assert tokens is not None and set(tokens) == set(AMINO_ACIDS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.txt", b"\xff"),
        ("vocab.json", b"{"),
        ("vocab.json", b"[]"),
        ("tokenizer.json", b'{"model": {}}'),
    ],
)
def test_a_file_that_cannot_be_read_is_ignored_here(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert not kinds.tokens_in(tmp_path)
    assert kinds.tokens_in(tmp_path / "absent") is None


CONFIG = {"model_type": "bert", "architectures": ["BertModel"]}
WORDS, LETTERS = ["the", "of", "and"], [*AMINO_ACIDS]


@pytest.mark.parametrize(
    ("config", "tokens", "kind", "words"),
    [
        ({}, None, "protein-encoder", "names no model_type"),
        (
            {**CONFIG, "is_encoder_decoder": True},
            None,
            "protein-encoder",
            "is an encoder-decoder (BertModel)",
        ),
        (
            {**CONFIG, "is_decoder": True},
            LETTERS,
            "protein-encoder",
            "is a causal language model (BertModel)",
        ),
        (CONFIG, WORDS, "protein-encoder", "not a protein encoder (its 3 tokens are not the letters"),
        (CONFIG, LETTERS, "text-encoder", "a protein encoder (its 20 tokens are the letters"),
    ],
)
def test_another_kind_is_refused_with_its_reason(
    config: dict[str, object], tokens: list[str] | None, kind: kinds.ModelKind, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        kinds.check_kind(config, tokens, kind, "mine")
    message = str(caught.value)
    assert words in message and "model 'mine'" in message
    assert not config or message.endswith(f"takes a {kind.replace('-', ' ')} such as {kinds.EXAMPLES[kind]}")


def test_the_wanted_kind_passes() -> None:
    kinds.check_kind(CONFIG, WORDS, "text-encoder", "mine")
    kinds.check_kind(CONFIG, LETTERS, "protein-encoder", "mine")
    kinds.check_kind(CONFIG, None, "protein-encoder", "mine")  # checked when the model is loaded
