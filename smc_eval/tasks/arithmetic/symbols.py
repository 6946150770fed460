"""Input words of the questions, and output symbols of the equations."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.equation import OPERATORS, copy_index

PAD, NUM, UNK = "PAD", "NUM", "UNK"

MIN_USES = 5
"""A constant that is used less often is no output symbol, as in the official code."""


class Indexed(ABC):
    """Words or symbols with an index each. Unknown ones have the index of UNK."""

    @property
    @abstractmethod
    def all(self) -> tuple[str, ...]:
        """All of them, in the order of their indices."""

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.all)}

    def __len__(self) -> int:
        return len(self.all)

    def index(self, symbol: str) -> int:
        """Index of a symbol; that of UNK if the symbol is unknown."""
        return self._indices.get(symbol, self._indices[UNK])

    def symbol(self, index: int) -> str:
        """The symbol at an index."""
        return self.all[index]


@dataclass(frozen=True)
class Symbols(Indexed):
    """Output symbols by index: operators, constants, copies N0, N1, …, and UNK as the last."""

    operators: tuple[str, ...]
    constants: tuple[str, ...]
    copies: int
    """The largest number of numbers in a question."""

    @property
    def num_start(self) -> int:
        """Index of the first symbol that is a leaf."""
        return len(self.operators)

    @property
    def copy_start(self) -> int:
        """Index of N0."""
        return self.num_start + len(self.constants)

    @cached_property
    def all(self) -> tuple[str, ...]:
        """All symbols, in the order of their indices."""
        return (*self.operators, *self.constants, *(f"N{k}" for k in range(self.copies)), UNK)


@dataclass(frozen=True)
class Vocabulary(Indexed):
    """Input words by index: PAD, NUM, UNK, then the words of the questions."""

    words: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """The words."""
        return self.words


def output_symbols(train: Sequence[Problem], test: Sequence[Problem]) -> Symbols:
    """Symbols for a training and a test part, each kind in the order of first appearance.

    Operators are those of the training targets. Constants must occur at least `MIN_USES` times in
    both parts together, as in the official code.
    """
    targets = [symbol for problem in train for symbol in problem.equation]
    both = chain(targets, (symbol for problem in test for symbol in problem.equation))
    uses = Counter(symbol for symbol in both if symbol not in OPERATORS and copy_index(symbol) is None)
    return Symbols(
        operators=tuple(dict.fromkeys(symbol for symbol in targets if symbol in OPERATORS)),
        constants=tuple(symbol for symbol, count in uses.items() if count >= MIN_USES),
        copies=max((len(problem.numbers) for problem in chain(train, test)), default=0),
    )


def vocabulary(train: Sequence[Problem], test: Sequence[Problem]) -> Vocabulary:
    """Words of both parts in the order of first appearance, without words that hold a digit."""
    words = dict.fromkeys((PAD, NUM, UNK))
    for problem in chain(train, test):
        words.update(dict.fromkeys(word for word in problem.words if not re.search(r"\d", word)))
    return Vocabulary(tuple(words))
