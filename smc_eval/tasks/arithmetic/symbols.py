"""What a solver reads and writes: the words of the questions, the symbols of the equations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.equation import OPERATORS, copied

PAD, NUM, UNK = "PAD", "NUM", "UNK"

OFTEN = 5
"""A constant used less often is unknown to the solver (PROTOCOL 5.1)."""


@dataclass(frozen=True)
class Symbols:
    """Output symbols by index: operators, constants, copies N0, N1, …, and UNK as the last."""

    operators: tuple[str, ...]
    constants: tuple[str, ...]
    copies: int
    """The most numbers that any question holds."""

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
        """Every symbol, in the order of the indices."""
        return (*self.operators, *self.constants, *(f"N{k}" for k in range(self.copies)), UNK)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.all)}

    def __len__(self) -> int:
        return len(self.all)

    def index(self, symbol: str) -> int:
        """Index of a symbol; UNK's for one that is not among them."""
        return self._indices.get(symbol, len(self) - 1)

    def symbol(self, index: int) -> str:
        """The symbol at an index."""
        return self.all[index]


@dataclass(frozen=True)
class Vocabulary:
    """Input words by index: PAD, NUM, UNK, then the words of the questions."""

    words: tuple[str, ...]

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def index(self, word: str) -> int:
        """Index of a word; UNK's for one that is not among them."""
        return self._indices.get(word, self._indices[UNK])


def symbols(train: Sequence[Problem], test: Sequence[Problem]) -> Symbols:
    """Symbols for these two parts, each kind by first appearance.

    Operators come from the training targets; constants must be used `OFTEN` over both parts
    together, which is how the official code counts (PROTOCOL 5.1).
    """
    targets = [symbol for problem in train for symbol in problem.equation]
    both = chain(targets, (symbol for problem in test for symbol in problem.equation))
    uses = Counter(symbol for symbol in both if symbol not in OPERATORS and copied(symbol) is None)
    return Symbols(
        operators=tuple(dict.fromkeys(symbol for symbol in targets if symbol in OPERATORS)),
        constants=tuple(symbol for symbol, count in uses.items() if count >= OFTEN),
        copies=max((len(problem.numbers) for problem in chain(train, test)), default=0),
    )


def vocabulary(train: Sequence[Problem], test: Sequence[Problem]) -> Vocabulary:
    """Words of both parts by first appearance; a word with a digit in it is left out, and so UNK."""
    words = dict.fromkeys((PAD, NUM, UNK))
    for problem in chain(train, test):
        words.update(dict.fromkeys(word for word in problem.words if not re.search(r"\d", word)))
    return Vocabulary(tuple(words))
