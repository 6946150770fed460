"""Questions with choices, sentences with a blank, and the layout of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_INPUT = 512
"""Longest input in tokens, in every published recipe. A net with fewer positions reads less."""


@dataclass(frozen=True)
class Question:
    """A question with its choices."""

    choices: tuple[tuple[str, str], ...]
    """For each choice the two texts that the net reads."""
    answer: int
    """Index of the right choice."""


@dataclass(frozen=True)
class PairLayout:
    """How two texts become one input: the pair format of the tokenizer, with these changes."""

    single_separator: bool = False
    """Put one separator between the texts, also if the tokenizer puts two."""
    first_limit: int | None = None
    """Largest number of tokens before the last separator between the texts; further ones are dropped."""
    truncate: bool = False
    """Truncate inputs that are longer than `LONGEST_INPUT`; otherwise they are an error."""


@dataclass(frozen=True)
class Blank:
    """A sentence with a blank, and two candidates for the blank."""

    before: str
    after: str
    candidates: tuple[str, str]
    answer: int

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """For each candidate a pair to rank: the text before the blank, and the candidate with the rest."""
        return [(self.before.rstrip(), candidate + self.after) for candidate in self.candidates]
