"""Alphabets: the token id of each residue, and the special tokens around a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone
from smc_eval.tasks.protein.example import RESIDUES
from smc_eval.tasks.vocabulary import AMINO_ACIDS

ESM = (
    "<cls>", "<pad>", "<eos>", "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>",
)  # fmt: skip
"""The tokens of ESM-1b and ESM-2, in the order of their ids."""


@dataclass(frozen=True)
class Alphabet:
    """The input ids of a protein encoder."""

    ids: Mapping[str, int]
    """The id of each letter of `RESIDUES`."""
    before: tuple[int, ...]
    """Ids before each sequence, `<cls>` or `[CLS]`. They are not part of its feature."""
    after: tuple[int, ...]
    """Ids after each sequence, `<eos>` or `[SEP]`. They are part of its feature."""
    padding: int
    max_residues: int | None = None
    """Number of residues that the encoder has positions for; None if there is no limit."""

    def encode(self, sequence: str, most: int | None) -> list[int]:
        """The ids of a sequence, truncated to its first `most` residues."""
        residues = sequence[: self._limit(most)]
        return [*self.before, *(self.ids[letter] for letter in residues), *self.after]

    def length(self, sequence: str, most: int | None) -> int:
        """The number of ids that `encode` returns."""
        limit = self._limit(most)
        residues = len(sequence) if limit is None else min(len(sequence), limit)
        return len(self.before) + residues + len(self.after)

    def _limit(self, most: int | None) -> int | None:
        return min((limit for limit in (most, self.max_residues) if limit is not None), default=None)


def esm_alphabet() -> Alphabet:
    """The alphabet of ESM-1b and ESM-2, without a checkpoint."""
    ids = {token: number for number, token in enumerate(ESM)}
    return Alphabet(
        {letter: ids[letter] for letter in RESIDUES}, (ids["<cls>"],), (ids["<eos>"],), ids["<pad>"]
    )


def alphabet_of(checkpoint: backbone.Backbone) -> Alphabet:
    """The alphabet of a checkpoint, from its tokenizer.

    Residues are looked up in the vocabulary, because some tokenizers need blanks between them and
    others do not.

    Raises:
        ModelError: the checkpoint has no suitable tokenizer.
    """
    tokenizer = checkpoint.load_tokenizer()
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {checkpoint.name!r} has no padding token; "
            "set pad_token in its tokenizer_config.json"
        )
    unknown = vocabulary.get("X", tokenizer.unk_token_id)  # for the rare letters that some alphabets lack
    ids = {letter: vocabulary.get(letter, unknown) for letter in RESIDUES}
    if missing := [letter for letter, token in ids.items() if token is None]:
        raise ModelError(
            f"the tokenizer of {checkpoint.name!r} has no token for {', '.join(missing)}, none for X and no "
            "unknown token; give another model"
        )
    before, after = _special_tokens(tokenizer, checkpoint.name)
    padding: int = tokenizer.pad_token_id
    return Alphabet(ids, before, after, padding, _max_residues(checkpoint, padding, before + after))


def _special_tokens(tokenizer: Any, model_name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer puts before and after a sequence."""
    residue = AMINO_ACIDS[0]
    ids, middle = list(tokenizer(residue)["input_ids"]), tokenizer.get_vocab()[residue]
    if ids.count(middle) != 1:
        raise ModelError(f"the tokenizer of {model_name!r} reads {residue!r} as {ids}, not as one residue")
    place = ids.index(middle)
    return tuple(ids[:place]), tuple(ids[place + 1 :])


def _max_residues(checkpoint: backbone.Backbone, padding: int, special: tuple[int, ...]) -> int | None:
    """Number of residues with positions, besides the special tokens."""
    positions = checkpoint.config.get("max_position_embeddings")
    if not isinstance(positions, int) or checkpoint.config.get("position_embedding_type") == "rotary":
        return None
    # ESM and RoBERTa count positions from padding id + 1 on; in BERT this leaves one position unused
    return positions - (padding + 1) - len(special)
