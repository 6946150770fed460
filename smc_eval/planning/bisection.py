"""A Search: the largest sparsity that keeps a share of the dense score, by halving a bracket."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from smc_eval.errors import UsageError
from smc_eval.experiment.parsing import parse_pairs, parse_spec
from smc_eval.spec import Spec


class Bisection(Spec):
    """What is looked for, where, and how closely.

    It halves a bracket in log density, between a sparsity that keeps the share and one that loses it,
    and asks for an end only when the bracket has closed upon it. Nothing is asked twice, and nothing
    taken back. So of a score that falls all the way it finds the one crossing, to `within`; of a
    score that falls and rises again, or that chance shakes, it finds one of the crossings: what was
    asked at its two ends is always so, what lies between and beyond was not looked at. Where the
    score is flat, chance may move the answer far: more seeds, over which the scores are averaged
    before they decide, make it surer, a closer bracket does not.
    """

    share: float = Field(gt=0, le=1)
    """Of the dense score above chance: what is to be kept."""
    within: float = Field(0.01, ge=0.001, lt=1)
    """Width of the bracket, in sparsity, at which to stop."""
    runs: int | None = Field(None, ge=1)
    """Most sparsities to try; none tries as many as it takes."""
    low: float = Field(0.05, ge=0, lt=1)
    """Sparsest that is taken for too dense to be asked for."""
    high: float = Field(0.99, gt=0, le=0.999)
    """Densest that is taken for too sparse to be asked for."""

    @model_validator(mode="after")
    def _upward(self) -> Self:
        if self.high - self.low < self.within:
            raise ValueError(
                f"between sparsities {self.low:g} and {self.high:g} there is nothing to look for"
            )
        return self

    @property
    def label(self) -> str:
        """What is looked for: `s@95`."""
        return f"s@{100 * self.share:g}"

    @classmethod
    def parse(cls, text: str) -> Bisection:
        """A search from a word: `s@95`, `s@99.5:within=0.02,runs=6`.

        Raises:
            UsageError: it is none, or a value is not what it should be.
        """
        head, _, options = text.partition(":")
        share = re.fullmatch(r"s@([0-9]{1,3}(?:\.[0-9]+)?)", head)
        if not share or not 0 < float(share[1]) <= 100:
            raise UsageError(f"--find {text!r} cannot be read; write s@95 for 95 % of the dense score")
        said = {**parse_pairs([options], "--find"), "share": float(share[1]) / 100}
        return parse_spec(cls, said, "option", f"--find {head}")

    def most(self) -> int:
        """The most sparsities it can come to try."""
        waiting, most = [Bracket(self)], 0
        while waiting:
            bracket = waiting.pop()
            most = max(most, len(bracket.tried))
            waiting += bracket.nexts()
        return most


@dataclass(frozen=True)
class Bracket:
    """Where a search stands: what it has asked, and what came of it."""

    search: Bisection
    tried: tuple[tuple[float, bool], ...] = ()
    """Sparsities in the order they were asked for, and whether they kept the share."""

    @property
    def keeps(self) -> float | None:
        """The largest sparsity seen to keep the share."""
        return max((sparsity for sparsity, kept in self.tried if kept), default=None)

    @property
    def lost(self) -> float | None:
        """The least sparsity seen to lose it."""
        return min((sparsity for sparsity, kept in self.tried if not kept), default=None)

    def ask(self) -> float | None:
        """The next sparsity to try; None at the end."""
        if self.search.runs is not None and len(self.tried) >= self.search.runs:
            return None
        low = self.search.low if self.keeps is None else self.keeps
        high = self.search.high if self.lost is None else self.lost
        if high - low > self.search.within:
            return round(1 - math.sqrt((1 - low) * (1 - high)), 4)
        if self.keeps is None and high != self.search.low:
            return self.search.low
        return self.search.high if self.lost is None and low != self.search.high else None

    def tell(self, sparsity: float, *, keeps: bool) -> Bracket:
        """Where it stands once a sparsity was tried."""
        return Bracket(self.search, (*self.tried, (sparsity, keeps)))

    def nexts(self) -> tuple[Bracket, ...]:
        """Where it may stand after the next answer."""
        sparsity = self.ask()
        return () if sparsity is None else tuple(self.tell(sparsity, keeps=keeps) for keeps in (True, False))

    def upcoming(self, rounds: int) -> Iterator[float]:
        """What it may ask for within so many rounds."""
        brackets: tuple[Bracket, ...] = (self,)
        for _ in range(rounds):
            yield from (sparsity for bracket in brackets if (sparsity := bracket.ask()) is not None)
            brackets = tuple(after for bracket in brackets for after in bracket.nexts())

    @property
    def text(self) -> str:
        """The answer: the largest sparsity seen to keep the share, or on which side of all it lies."""
        if self.keeps is None:
            return "–" if self.lost is None else f"< {self.lost:g}"
        return f"≥ {self.keeps:g}" if self.lost is None else f"{self.keeps:g}"
