"""Alphabets: the number of each residue, and the marks a protein encoder wants around a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone, pretrained
from smc_eval.tasks.kinds import AMINO_ACIDS
from smc_eval.tasks.protein.example import RESIDUES

ESM = (
    "<cls>", "<pad>", "<eos>", "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>",
)  # fmt: skip
"""The tokens of ESM-1b and ESM-2, by id."""


@dataclass(frozen=True)
class Alphabet:
    """How a protein encoder is written to."""

    ids: Mapping[str, int]
    """Of every letter of `RESIDUES`."""
    before: tuple[int, ...]
    """Ids in front of each sequence, `<cls>` or `[CLS]`: no part of its feature."""
    after: tuple[int, ...]
    """Ids behind it, `<eos>` or `[SEP]`: they are."""
    padding: int
    room: int | None = None
    """Most residues that the encoder has positions for; None where there is no end."""

    def encoded(self, sequence: str, most: int | None) -> list[int]:
        """The ids of a sequence, of its first `most` residues if it is longer."""
        cut = sequence[: self._cut(most)]
        return [*self.before, *(self.ids[letter] for letter in cut), *self.after]

    def length(self, sequence: str, most: int | None) -> int:
        """How many ids `encoded` gives."""
        cut = self._cut(most)
        kept = len(sequence) if cut is None else min(len(sequence), cut)
        return len(self.before) + kept + len(self.after)

    def _cut(self, most: int | None) -> int | None:
        return min((limit for limit in (most, self.room) if limit is not None), default=None)


def esm_alphabet() -> Alphabet:
    """The alphabet of ESM-1b and ESM-2, built here."""
    ids = {token: number for number, token in enumerate(ESM)}
    return Alphabet(
        {letter: ids[letter] for letter in RESIDUES}, (ids["<cls>"],), (ids["<eos>"],), ids["<pad>"]
    )


def alphabet_of(found: backbone.Backbone) -> Alphabet:
    """The alphabet of a checkpoint, asked of its tokenizer.

    Residues are looked up by their letters: some tokenizers want blanks between them, others none.

    Raises:
        ModelError: it has no fit tokenizer.
    """
    tokenizer = pretrained.load_tokenizer(found)
    known: dict[str, int] = tokenizer.get_vocab()
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {found.word!r} has no padding token; "
            "name one in its tokenizer_config.json, as pad_token"
        )
    unknown = known.get("X", tokenizer.unk_token_id)  # for the rare letters that some alphabets lack
    ids = {letter: known.get(letter, unknown) for letter in RESIDUES}
    if lacking := [letter for letter, number in ids.items() if number is None]:
        raise ModelError(
            f"the tokenizer of {found.word!r} has no token for {', '.join(lacking)}, none for X and none for "
            "what is unknown"
        )
    before, after = _marks(tokenizer, found.word)
    padding: int = tokenizer.pad_token_id
    return Alphabet(ids, before, after, padding, _room(found, padding, before + after))


def _marks(tokenizer: Any, word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the tokenizer puts in front of a sequence and behind it."""
    residue = AMINO_ACIDS[0]
    whole, middle = list(tokenizer(residue)["input_ids"]), tokenizer.get_vocab()[residue]
    if whole.count(middle) != 1:
        raise ModelError(f"the tokenizer of {word!r} reads {residue!r} as {whole}, not as one residue")
    place = whole.index(middle)
    return tuple(whole[:place]), tuple(whole[place + 1 :])


def _room(found: backbone.Backbone, padding: int, marks: tuple[int, ...]) -> int | None:
    """Residues for which there are positions, beside the marks."""
    table = found.config.get("max_position_embeddings")
    if not isinstance(table, int) or found.config.get("position_embedding_type") == "rotary":
        return None
    # ESM and RoBERTa count positions from behind the padding's id; in a BERT this leaves one unused
    return table - (padding + 1) - len(marks)
