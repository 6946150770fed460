"""A bisection for the largest sparsity that keeps a share of the dense score."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from smc_eval.errors import UsageError
from smc_eval.experiment.parsing import parse_pairs
from smc_eval.experiment.spec_text import parse_spec
from smc_eval.spec import Spec


class Bisection(Spec):
    """The options of a sparsity search.

    It halves a bracket in log density, between a sparsity that keeps the share and one that loses it. The
    ends `low` and `high` are tried only once the bracket has closed on them. No sparsity is tried
    twice. If the score falls all the way, the result is its crossing, to `within`. If the score falls
    and rises again, or is noisy, the result is one of its crossings: both ends of the bracket were
    measured, sparsities between and beyond were not. Where the score is flat, noise can move the
    result far. More seeds then help, because the mean over seeds decides; a narrower bracket does not.
    """

    share: float = Field(gt=0, le=1)
    """Share of the dense score above chance that is to be kept."""
    within: float = Field(0.01, ge=0.001, lt=1)
    """Width of the bracket, in sparsity, at which the search ends."""
    runs: int | None = Field(None, ge=1)
    """Most sparsities to try; none sets no limit."""
    low: float = Field(0.05, ge=0, lt=1)
    """Lower end of the first bracket. It is assumed to keep the share, and tried last."""
    high: float = Field(0.99, gt=0, le=0.999)
    """Upper end of the first bracket. It is assumed to lose the share, and tried last."""

    @model_validator(mode="after")
    def _upward(self) -> Self:
        if self.high - self.low < self.within:
            raise ValueError(
                f"the bracket from {self.low:g} to {self.high:g} is narrower than within={self.within:g}"
            )
        return self

    @property
    def label(self) -> str:
        """The goal of the search: `s@95`."""
        return f"s@{100 * self.share:g}"

    @classmethod
    def parse(cls, text: str) -> Bisection:
        """A search from text: `s@95`, `s@99.5:within=0.02,runs=6`.

        Raises:
            UsageError: it cannot be read, or a value is wrong.
        """
        head, _, options = text.partition(":")
        share = re.fullmatch(r"s@([0-9]{1,3}(?:\.[0-9]+)?)", head)
        if not share or not 0 < float(share[1]) <= 100:
            raise UsageError(f"--find {text!r} cannot be read; write s@95 for 95 % of the dense score")
        fields = {**parse_pairs([options], "--find"), "share": float(share[1]) / 100}
        return parse_spec(cls, fields, "option", f"--find {head}")

    def most_runs(self) -> int:
        """The largest number of sparsities that it may try."""
        waiting, most = [Bracket(self)], 0
        while waiting:
            bracket = waiting.pop()
            most = max(most, len(bracket.tried))
            waiting += bracket.next_brackets()
        return most


@dataclass(frozen=True)
class Bracket:
    """The state of a search: the sparsities that it has tried, and their outcomes."""

    search: Bisection
    tried: tuple[tuple[float, bool], ...] = ()
    """Sparsities in the order of the tries, and whether each kept the share."""

    @property
    def keeps(self) -> float | None:
        """The largest tried sparsity that keeps the share; None if none does."""
        return max((sparsity for sparsity, keeps in self.tried if keeps), default=None)

    @property
    def loses(self) -> float | None:
        """The smallest tried sparsity that loses the share; None if none does."""
        return min((sparsity for sparsity, keeps in self.tried if not keeps), default=None)

    def next_sparsity(self) -> float | None:
        """The next sparsity to try; None at the end."""
        if self.search.runs is not None and len(self.tried) >= self.search.runs:
            return None
        low = self.search.low if self.keeps is None else self.keeps
        high = self.search.high if self.loses is None else self.loses
        if high - low > self.search.within:
            return round(1 - math.sqrt((1 - low) * (1 - high)), 4)
        if self.keeps is None and high != self.search.low:
            return self.search.low
        return self.search.high if self.loses is None and low != self.search.high else None

    def with_outcome(self, sparsity: float, *, keeps: bool) -> Bracket:
        """The state after one more try."""
        return Bracket(self.search, (*self.tried, (sparsity, keeps)))

    def next_brackets(self) -> tuple[Bracket, ...]:
        """The possible states after the next try."""
        sparsity = self.next_sparsity()
        if sparsity is None:
            return ()
        return tuple(self.with_outcome(sparsity, keeps=keeps) for keeps in (True, False))

    def upcoming(self, rounds: int) -> Iterator[float]:
        """The sparsities that it may try within this many rounds."""
        brackets: tuple[Bracket, ...] = (self,)
        for _ in range(rounds):
            yield from (sparsity for bracket in brackets if (sparsity := bracket.next_sparsity()) is not None)
            brackets = tuple(after for bracket in brackets for after in bracket.next_brackets())

    @property
    def text(self) -> str:
        """The result in words: the largest sparsity that keeps the share, or a bound on it."""
        if self.keeps is None:
            return "–" if self.loses is None else f"< {self.loses:g}"
        return f"≥ {self.keeps:g}" if self.loses is None else f"{self.keeps:g}"
