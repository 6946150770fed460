"""Kinds of checkpoint are recognised by config and vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.auto import modeling_auto

from smc_eval.errors import ModelError
from smc_eval.kind import UNKNOWN_TYPE, ModelKind, WrongKind
from smc_eval.tasks import vocabulary
from smc_eval.tasks.backbone import kind_of
from smc_eval.tasks.checkpoint_config import refuse_nameless
from smc_eval.tasks.model_types import model_types, types_in_source
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.text_encoder import TextEncoder
from smc_eval.tasks.translation.kind import EncoderDecoder
from smc_eval.tasks.vocabulary import AMINO_ACIDS

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
    assert vocabulary.reads_residues(tokens) == residues


@given(st.permutations([*SPECIAL, *AMINO_ACIDS]))
def test_the_order_of_tokens_does_not_matter(tokens: list[str]) -> None:
    assert vocabulary.reads_residues(tokens)


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
    tokens = vocabulary.tokens_in(tmp_path)
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
    assert not vocabulary.tokens_in(tmp_path)
    assert vocabulary.tokens_in(tmp_path / "absent") is None


CONFIG = {"model_type": "bert", "architectures": ["BertModel"]}
WORDS, LETTERS = ["the", "of", "and"], [*AMINO_ACIDS]


@pytest.mark.parametrize(
    ("config", "tokens", "kind", "words"),
    [
        (
            {**CONFIG, "is_encoder_decoder": True},
            None,
            ProteinEncoder(),
            "is an encoder-decoder (BertModel); this task takes a protein encoder such as facebook/esm2",
        ),
        (
            {**CONFIG, "is_decoder": True},
            LETTERS,
            ProteinEncoder(),
            "is a causal language model (BertModel); this task takes a protein encoder such as facebook/esm2",
        ),
        (CONFIG, WORDS, ProteinEncoder(), "not a protein encoder (its 3 tokens are not the letters"),
        (CONFIG, LETTERS, TextEncoder(), "a protein encoder (its 20 tokens are the letters"),
        (CONFIG, WORDS, EncoderDecoder(), "not an encoder-decoder (BertModel); this task takes an encoder"),
    ],
)
def test_another_kind_is_refused_with_its_reason(
    config: dict[str, object], tokens: list[str] | None, kind: ModelKind, words: str
) -> None:
    with pytest.raises(WrongKind) as caught:
        kind_of("mine", config, tokens, (kind,))
    message = str(caught.value)
    assert words in message and "model 'mine'" in message
    assert message.endswith(f" {kind.card.name.replace('-', ' ')} such as {kind.card.example}")


@pytest.mark.parametrize("kind", [TextEncoder(), ProteinEncoder()])
@pytest.mark.parametrize("config", [UNKNOWN_TYPE, {"model_type": "gpt2"}, {"model_type": "vit"}])
def test_a_type_that_transformers_does_not_load_as_this_kind_is_refused_before_it_is_loaded(
    kind: ModelKind, config: dict[str, object]
) -> None:
    noun = kind.card.name.replace("-", " ")
    with pytest.raises(WrongKind) as caught:
        kind_of("mine", config, None, (kind,))
    words = f"is of the type {config['model_type']!r}, and transformers has no {noun}; this task takes a"
    assert words in str(caught.value)


def test_an_encoder_decoder_of_a_type_that_transformers_does_not_know_is_refused() -> None:
    with pytest.raises(WrongKind, match="of the type 'smc-eval-specimen', and transformers has no"):
        kind_of("mine", {**UNKNOWN_TYPE, "is_encoder_decoder": True}, None, (EncoderDecoder(),))


@pytest.mark.parametrize(
    "table",
    [TextEncoder.table, ProteinEncoder.table, EncoderDecoder.table]
    + [f"MODEL_FOR_{task}_MAPPING_NAMES" for task in ("CAUSAL_LM", "IMAGE_CLASSIFICATION", "CTC")],
)
def test_model_types_are_read_from_the_source_of_transformers(table: str) -> None:
    assert types_in_source(table) == model_types(table) == set(getattr(modeling_auto, table))
    assert types_in_source(table)


def test_a_table_that_transformers_has_not_refuses_no_type() -> None:
    assert not types_in_source("MODEL_FOR_NOTHING_MAPPING_NAMES")


def test_the_wanted_kind_passes() -> None:
    text, protein = TextEncoder(), ProteinEncoder()
    assert kind_of("mine", CONFIG, WORDS, (text,)) is text
    assert kind_of("mine", CONFIG, LETTERS, (protein,)) is protein
    assert kind_of("mine", CONFIG, None, (protein,)) is protein  # checked when the model is loaded


def test_of_several_kinds_the_one_that_fits_is_taken() -> None:
    kinds = (TextEncoder(), ProteinEncoder(), EncoderDecoder())
    assert kind_of("mine", CONFIG, WORDS, kinds) is kinds[0]
    assert kind_of("mine", CONFIG, LETTERS, kinds) is kinds[1]
    assert kind_of("mine", {"model_type": "mbart", "is_encoder_decoder": True}, WORDS, kinds) is kinds[2]


def test_a_model_of_two_kinds_that_a_task_takes_is_refused_with_both() -> None:
    with pytest.raises(WrongKind) as caught:
        kind_of("mine", CONFIG, None, (TextEncoder(), ProteinEncoder()))
    assert str(caught.value) == (
        "the model 'mine' is of 2 kinds that this task takes: text-encoder (smc-eval:TextEncoder) and "
        "protein-encoder (smc-eval:ProteinEncoder); it cannot tell which to load, so give another model, or "
        "repair the kind that claims too much"
    )


@pytest.mark.parametrize("config", [{}, {"model_type": None}, {"model_type": ""}])
def test_a_config_without_a_type_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="of model 'mine' names no model_type"):
        refuse_nameless(config, "mine")
