"""A Curve of scores over sparsity: how sparse a net may be, and how much it keeps on the way."""

# S seeds, P points of a curve, B resamples.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import numpy as np

from smc_eval.errors import UsageError
from smc_eval.statistics.estimate import contrast, estimated
from smc_eval.statistics.interval import Interval
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import Sample
from smc_eval.statistics.shapes import Floats

RESAMPLES = 2000
"""A quantile of so many draws is off by a twentieth of an interval's half."""


@dataclass(frozen=True)
class SparsityAtRetention:
    """The largest sparsity that keeps a share of what the dense net scores above chance."""

    share: float
    sparsity: float
    interval: Interval | None
    """Its ends are 0 and 1 where they lie beyond what was measured; None where a score tells no error."""
    bounded: Literal["within", "above", "below"]
    """`above`: the sparsest net still keeps it. `below`: even the densest of the sparse nets does not."""

    @property
    def text(self) -> str:
        """`0.847`, `≥ 0.893` or `< 0.2`: nothing is extrapolated."""
        sign = {"within": "", "above": "≥ ", "below": "< "}[self.bounded]
        return f"{sign}{self.sparsity:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Area:
    """Mean share of the dense score above chance that is kept over a range of sparsities."""

    value: float
    interval: Interval | None
    over: tuple[float, float]
    """From which sparsity to which."""
    tasks: int = 1


@dataclass(frozen=True, eq=False)
class Curve:
    """One method on one task and model, and the dense net it is measured by.

    Shares, not scores, are what tasks have in common: (score - chance) / (dense - chance), 1 for
    the dense net and 0 for a guess, wherever the metric begins and ends.
    Between measured points a share is linear in the logarithm of density: pruning steps are
    geometric (0.8 of what is left, each), and the paper's ten sparsities are even on that axis.
    """

    dense: Sample | float
    points: Mapping[float, Sample | float]
    """By sparsity, above 0 and below 1."""
    chance: float = 0.0
    higher_is_better: bool = True
    _drawn: dict[tuple[int, int], Floats] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.points or not all(0 < sparsity < 1 for sparsity in self.points):
            said = ", ".join(f"{sparsity:g}" for sparsity in self.points) or "none"
            raise UsageError(f"a curve needs sparsities above 0 and below 1, and has {said}")

    @property
    def sparsities(self) -> tuple[float, ...]:
        """Those that were measured, from low to high."""
        return tuple(sorted(self.points))

    @property
    def shares(self) -> tuple[float, ...]:
        """The share kept at each of the sparsities; NaN where the dense net is no better than chance."""
        shares_P1 = self._shares(np.array([[sample.value()] for sample in self._samples]))
        return tuple(shares_P1[:, 0].tolist())

    def sparsity_at(
        self, share: float = 0.95, resamples: int = RESAMPLES, level: float = 0.95, seed: int = 0
    ) -> SparsityAtRetention | None:
        """The largest sparsity that keeps this share; None where the dense net is no better than chance.

        Scores that rise again with sparsity are pooled with their neighbours until none does:
        isotonic regression, whose crossing is unique. Only what was measured is interpolated: what
        a method does between the dense net and its lowest sparsity is not.
        """
        shares_P1 = np.array(self.shares)[:, None]
        if np.isnan(shares_P1).any():
            return None
        at = float(self._crossing(shares_P1, share)[0])
        first, last = self.sparsities[0], self.sparsities[-1]
        told = None
        if self._sure:
            at_B = self._crossing(self._shares(self._draws(resamples, seed)), share)
            lost = np.isnan(at_B)  # by a dense net no better than chance, anything is kept
            low_B, high_B = np.where(lost, 0.0, at_B), np.where(lost, 1.0, at_B)
            low, high = _nearest(low_B, (1 - level) / 2), _nearest(high_B, (1 + level) / 2)
            told = Interval(min(low, last), max(high, first), level, self._over)
        if at <= 0:
            return SparsityAtRetention(share, first, told, "below")
        return (
            SparsityAtRetention(share, last, told, "above")
            if at >= 1
            else SparsityAtRetention(share, at, told, "within")
        )

    def area(
        self,
        over: tuple[float, float] | None = None,
        resamples: int = RESAMPLES,
        level: float = 0.95,
        seed: int = 0,
    ) -> Area:
        """Mean share over a range of sparsities, even in the logarithm of density; by default all measured.

        NaN where the dense net is no better than chance.

        Raises:
            UsageError: the range is empty or goes beyond what was measured.
        """
        return suite([self], over, resamples, level, seed)

    def mean(self, numbers: Mapping[float, float], over: tuple[float, float]) -> float:
        """Mean of a number of each of its points over a range, weighted as in the area."""
        return float(np.dot(self._weights(over), [numbers[sparsity] for sparsity in self.sparsities]))

    def areas(self, over: tuple[float, float], resamples: int, seed: int) -> tuple[float, Floats | None]:
        """The area, and draws of it [B] where scores tell their error."""
        value = self.mean(dict(zip(self.sparsities, self.shares, strict=True)), over)
        if not self._sure:
            return value, None
        return value, self._weights(over) @ self._shares(self._draws(resamples, seed))

    @property
    def _samples(self) -> list[Sample]:
        """The dense net's sample, then each point's."""
        scores = [self.dense, *(self.points[sparsity] for sparsity in self.sparsities)]
        return [one if isinstance(one, Sample) else Sample.of_seeds({0: one}) for one in scores]

    @property
    def _sure(self) -> bool:
        """Whether every score tells how far it may be off."""
        return all(sample.size or len(sample.seeds) > 1 for sample in self._samples)

    @property
    def _over(self) -> str:
        """What was resampled: the fewest seeds and items of a point."""
        seeds = min(len(sample.seeds) for sample in self._samples)
        items = min(sample.size for sample in self._samples)
        if not items:
            return f"{seeds} seeds (t)"
        return f"{items:,} items of one seed" if seeds == 1 else f"{seeds} seeds × {items:,} items"

    def _draws(self, resamples: int, seed: int) -> Floats:
        """Scores of the dense net and the points [P, B], drawn together and once for all that is asked."""
        key = resamples, seed
        if key not in self._drawn:
            self._drawn[key] = draws(self._samples, resamples, self._freedom, seed, linear=True)
        return self._drawn[key]

    @property
    def _freedom(self) -> float:
        """Degrees of freedom of the points' shares: those of the middle point, since draws have but one.

        Points that show no variance, as those of nets that get nothing right, tell none.
        """
        dense, *points = self._samples
        freedoms = []
        for point, share in zip(points, self.shares, strict=True):
            found = [estimated(point)]
            if set(point.seeds) & set(dense.seeds):
                found.append(contrast(point, dense, share))
            if found[0].variance:
                freedoms.append(min(one.freedom for one in found))
        return median(freedoms or [estimated(dense).freedom])

    def _shares(self, score_PB: Floats) -> Floats:
        """Shares kept [P, B] from scores of the dense net and the points."""
        return retained(score_PB[1:], score_PB[0], self.chance, higher=self.higher_is_better)

    @property
    def _depth_P(self) -> Floats:
        """Where each point stands on the axis: minus the logarithm of its density."""
        return np.asarray(-np.log1p(-np.array(self.sparsities)))

    def _crossing(self, shares_PB: Floats, share: float) -> Floats:
        """Largest sparsity that keeps a share [B]; 0 and 1 where that is beyond what was measured."""
        falling_PB, depth_P = falling(shares_PB), self._depth_P
        keeps = (falling_PB >= share).sum(axis=0)
        before = np.clip(keeps - 1, 0, max(0, len(depth_P) - 2))
        after = np.minimum(before + 1, len(depth_P) - 1)
        column = np.arange(shares_PB.shape[1])
        upper, lower = falling_PB[before, column], falling_PB[after, column]
        between_B = (keeps > 0) & (keeps < len(depth_P))
        step = np.divide(upper - share, upper - lower, out=np.zeros_like(upper), where=between_B)
        depth = depth_P[before] + step * (depth_P[after] - depth_P[before])
        at_B = np.where(keeps == 0, 0.0, np.where(keeps == len(depth_P), 1.0, -np.expm1(-depth)))
        return np.where(np.isnan(shares_PB).any(axis=0), np.nan, at_B)

    def _weights(self, over: tuple[float, float]) -> Floats:
        """What each point counts in the mean over a range: the trapezoids' share on the axis."""
        low, high = over
        first, last = self.sparsities[0], self.sparsities[-1]
        if not first <= low <= high <= last or (low == high and len(self.points) > 1):
            raise UsageError(
                f"no area over sparsities {low:g} to {high:g}: {first:g} to {last:g} were measured; "
                "choose a range within them"
            )
        if low == high:
            return np.ones(1)
        depth_P, ends = self._depth_P, -np.log1p(-np.array(over))
        knots = np.unique(np.clip(np.concatenate([depth_P, ends]), *ends))
        widths = np.zeros(len(knots))
        widths[1:] += np.diff(knots) / 2
        widths[:-1] += np.diff(knots) / 2
        unit_PP = np.eye(len(depth_P))  # each point's hat, read at the knots
        at_PK = np.array([np.interp(knots, depth_P, hat) for hat in unit_PP])
        return np.asarray(at_PK @ widths / widths.sum())


def retained(score: Floats | float, dense: Floats | float, chance: float, *, higher: bool = True) -> Floats:
    """Share of the dense score above chance that a score keeps; NaN where dense is no better than a guess.

    Below chance it is negative. Where lower scores are better, all three lie the other way round.
    """
    sign = 1 if higher else -1
    above = np.asarray(sign * (dense - chance))
    return np.asarray(sign * (score - chance) / np.where(above > 0, above, np.nan))


def suite(
    curves: Sequence[Curve],
    over: tuple[float, float] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Area:
    """One number of many tasks: the mean of their areas, each task counting the same.

    The range is by default what all have measured. Tasks are taken to err independently: they have
    other items and other nets. It is an interval for these tasks, not for tasks like them.

    Raises:
        UsageError: there is no curve, or the range goes beyond what one has measured.
    """
    if not curves:
        raise UsageError("a suite needs at least one curve, and has none")
    low = max(curve.sparsities[0] for curve in curves)
    high = min(curve.sparsities[-1] for curve in curves)
    over = over or (low, high)
    areas = [curve.areas(over, resamples, seed + number) for number, curve in enumerate(curves)]
    value = math.fsum(area for area, _ in areas) / len(areas)
    drawn = [area_B for _, area_B in areas if area_B is not None]
    told = None
    if len(drawn) == len(curves) and math.isfinite(value):
        mean_B = np.mean(drawn, axis=0)
        lost = np.isnan(mean_B)
        low_B, high_B = np.where(lost, -np.inf, mean_B), np.where(lost, np.inf, mean_B)
        ends = _nearest(low_B, (1 - level) / 2), _nearest(high_B, (1 + level) / 2)
        told = Interval(*ends, level, _joined(curves))
    return Area(value, told, over, len(curves))


def falling(shares_PB: Floats) -> Floats:
    """Isotonic regression: the nearest shares [P, B] in squares that never rise along P.

    Point i gets the smallest, over beginnings j <= i, of the largest, over ends k >= i, of the mean
    of j..k (Barlow et al. 1972, eq. 1.9).
    """
    points = len(shares_PB)
    sums = np.concatenate([np.zeros_like(shares_PB[:1]), np.cumsum(shares_PB, axis=0)])
    fitted_PB = np.full_like(shares_PB, np.inf)
    for begin in range(points):
        counts = np.arange(1, points - begin + 1)[:, None]
        means = (sums[begin + 1 :] - sums[begin]) / counts
        largest = np.maximum.accumulate(means[::-1], axis=0)[::-1]
        fitted_PB[begin:] = np.minimum(fitted_PB[begin:], largest)
    return fitted_PB


def _nearest(values_B: Floats, share: float) -> float:
    """A quantile that is one of the values: ends beyond what was measured are not averaged with others."""
    return float(np.quantile(values_B, share, method="nearest"))


def _joined(curves: Sequence[Curve]) -> str:
    overs = tuple(dict.fromkeys(curve._over for curve in curves))  # noqa: SLF001
    return overs[0] if len(overs) == 1 else f"{len(curves)} tasks, each over its seeds and items"
