"""Questions with choices and sentences with a blank, and how their texts become one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_INPUT = 512
"""Tokens of one input at most, in every published recipe; of a net with fewer positions, so many."""


@dataclass(frozen=True)
class Question:
    """A question with its choices."""

    choices: tuple[tuple[str, str], ...]
    """For each choice the two texts that the net reads."""
    answer: int
    """Index of the right one."""


@dataclass(frozen=True)
class PairLayout:
    """How two texts become one input: in the pair format of the model's own tokenizer, but for these."""

    once: bool = False
    """One separator between the texts, where the tokenizer has two."""
    first: int | None = None
    """Tokens up to the last separator between the texts at most: what is longer is cut there."""
    cut: bool = False
    """Whether the end of what is longer than `LONGEST_INPUT` is cut off; else it is an error."""


@dataclass(frozen=True)
class Blank:
    """A sentence with a blank, and the two candidates for it."""

    before: str
    after: str
    candidates: tuple[str, str]
    answer: int

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """As pairs to rank: the sentence up to the blank, and from the candidate on."""
        return [(self.before.rstrip(), one + self.after) for one in self.candidates]
