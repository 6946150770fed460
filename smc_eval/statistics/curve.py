"""A Curve of scores over sparsity: the sparsity at which a given share of the dense score
remains, and the mean share."""

# S seeds, P points of a curve, B resamples.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import numpy as np

from smc_eval.errors import UsageError
from smc_eval.statistics.estimate import contrast, estimate_sample
from smc_eval.statistics.interval import Interval, within
from smc_eval.statistics.resample import draws
from smc_eval.statistics.sample import UNBOUNDED, Sample
from smc_eval.statistics.shapes import Floats

RESAMPLES = 2000
"""A quantile of this many draws is off by a twentieth of half an interval."""


@dataclass(frozen=True)
class SparsityAtRetention:
    """The largest sparsity that keeps a share of the dense net's score above chance."""

    share: float
    sparsity: float
    interval: Interval | None
    """An end beyond the measured range is 0 or 1. None where a score has no error estimate."""
    bounded: Literal["within", "above", "below"]
    """`above`: the sparsest net still keeps the share. `below`: even the densest sparse net does not."""

    @property
    def text(self) -> str:
        """`0.847`, `≥ 0.893` or `< 0.2`: nothing is extrapolated."""
        sign = {"within": "", "above": "≥ ", "below": "< "}[self.bounded]
        return f"{sign}{self.sparsity:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Area:
    """Mean share of the dense score above chance that is kept, over a range of sparsities."""

    value: float
    interval: Interval | None
    over: tuple[float, float]
    """The lowest and the highest sparsity of the range."""
    tasks: int = 1


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores of one method on one task and model, and of the dense net.

    A share is (score - chance) / (dense - chance): 1 for the dense net and 0 for a guess, so that tasks
    with different metrics can be compared.
    Between measured points a share is linear in the logarithm of density: pruning steps are
    geometric (each keeps 0.8 of the weights), and the paper's ten sparsities are even on that axis.
    """

    dense: Sample | float
    points: Mapping[float, Sample | float]
    """By sparsity, above 0 and below 1."""
    chance: float = 0.0
    higher_is_better: bool = True
    _drawn: dict[tuple[int, int], Floats] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.points or not all(0 < sparsity < 1 for sparsity in self.points):
            sparsities = ", ".join(f"{sparsity:g}" for sparsity in self.points) or "none"
            raise UsageError(f"a curve needs sparsities above 0 and below 1, and has {sparsities}")

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The measured sparsities, from low to high."""
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

        Scores that rise with sparsity are pooled with their neighbours until none does: isotonic
        regression, whose crossing is unique. Only measured points are interpolated, never the range
        between the dense net and the lowest sparsity.
        """
        shares_P1 = np.array(self.shares)[:, None]
        if np.isnan(shares_P1).any():
            return None
        at = float(self._crossing(shares_P1, share)[0])
        first, last = self.sparsities[0], self.sparsities[-1]
        interval = None
        if self._has_errors:
            at_B = self._crossing(self._shares(self._draws(resamples, seed)), share)
            unknown = np.isnan(at_B)  # the dense net is no better than chance: any sparsity is possible
            low_B, high_B = np.where(unknown, 0.0, at_B), np.where(unknown, 1.0, at_B)
            low, high = _nearest(low_B, (1 - level) / 2), _nearest(high_B, (1 + level) / 2)
            interval = within((0.0, 1.0), min(low, last), max(high, first), level, self._over)
        if at <= 0:
            return SparsityAtRetention(share, first, interval, "below")
        return (
            SparsityAtRetention(share, last, interval, "above")
            if at >= 1
            else SparsityAtRetention(share, at, interval, "within")
        )

    def area(
        self,
        over: tuple[float, float] | None = None,
        resamples: int = RESAMPLES,
        level: float = 0.95,
        seed: int = 0,
    ) -> Area:
        """Mean share over a range of sparsities, even in the logarithm of density; by default over all.

        NaN where the dense net is no better than chance.

        Raises:
            UsageError: the range is empty or goes beyond the measured sparsities.
        """
        return suite([self], over, resamples, level, seed)

    def mean(self, numbers: Mapping[float, float], over: tuple[float, float]) -> float:
        """Mean of one number for each point over a range, weighted as in the area."""
        return float(np.dot(self._weights(over), [numbers[sparsity] for sparsity in self.sparsities]))

    def area_and_draws(
        self, over: tuple[float, float], resamples: int, seed: int
    ) -> tuple[float, Floats | None]:
        """The area, and draws of it [B]; None where a score has no error estimate."""
        value = self.mean(dict(zip(self.sparsities, self.shares, strict=True)), over)
        if not self._has_errors:
            return value, None
        return value, self._weights(over) @ self._shares(self._draws(resamples, seed))

    @property
    def _samples(self) -> list[Sample]:
        """The dense net's sample, then each point's."""
        scores = [self.dense, *(self.points[sparsity] for sparsity in self.sparsities)]
        return [score if isinstance(score, Sample) else Sample.of_seeds({0: score}) for score in scores]

    @property
    def _has_errors(self) -> bool:
        """Whether the error of every score can be estimated."""
        return all(sample.size or len(sample.seeds) > 1 for sample in self._samples)

    @property
    def _over(self) -> str:
        """The resampled units, in words: the fewest seeds and items of a point."""
        seeds = min(len(sample.seeds) for sample in self._samples)
        items = min(sample.size for sample in self._samples)
        if not items:
            return f"{seeds} seeds (t)"
        return f"{items:,} items of one seed" if seeds == 1 else f"{seeds} seeds × {items:,} items"

    def _draws(self, resamples: int, seed: int) -> Floats:
        """Draws of the scores of the dense net and the points [P, B], made together and only once."""
        key = resamples, seed
        if key not in self._drawn:
            self._drawn[key] = draws(self._samples, resamples, self._freedom, seed, linear=True)
        return self._drawn[key]

    @property
    def _freedom(self) -> float:
        """Degrees of freedom of the points' shares: their median, since all draws have the same.

        Points without variance, such as nets that get nothing right, are left out.
        """
        dense, *points = self._samples
        freedoms = []
        for point, share in zip(points, self.shares, strict=True):
            estimates = [estimate_sample(point)]
            if set(point.seeds) & set(dense.seeds):
                estimates.append(contrast(point, dense, share))
            if estimates[0].variance:
                freedoms.append(min(estimate.freedom for estimate in estimates))
        return median(freedoms or [estimate_sample(dense).freedom])

    def _shares(self, score_PB: Floats) -> Floats:
        """Shares [P, B] from scores of the dense net and the points."""
        return retained(score_PB[1:], score_PB[0], self.chance, higher=self.higher_is_better)

    @property
    def _depth_P(self) -> Floats:
        """Position of each point on the axis: minus the logarithm of its density."""
        return np.asarray(-np.log1p(-np.array(self.sparsities)))

    def _crossing(self, shares_PB: Floats, share: float) -> Floats:
        """Largest sparsity that keeps a share [B]; 0 or 1 where it is outside the measured range."""
        falling_PB, depth_P = isotonic(shares_PB), self._depth_P
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
        """Weight of each point in the mean over a range: its share of the trapezoids on the axis."""
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
        unit_PP = np.eye(len(depth_P))  # the hat function of each point, evaluated at the knots
        at_PK = np.array([np.interp(knots, depth_P, hat) for hat in unit_PP])
        return np.asarray(at_PK @ widths / widths.sum())


def retained(score: Floats | float, dense: Floats | float, chance: float, *, higher: bool = True) -> Floats:
    """Share of the dense score above chance that a score keeps; NaN where dense is no better than chance.

    It is negative below chance. `higher` is False where lower scores are better.
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
    """One number for many tasks: the mean of their areas, with equal weight for each task.

    The default range is the one measured for all. Errors of tasks are taken as independent: their items
    and nets differ. The interval is for these tasks, not for similar tasks.

    Raises:
        UsageError: there is no curve, or the range goes beyond the measured sparsities of one.
    """
    if not curves:
        raise UsageError("a suite needs at least one curve, and has none")
    low = max(curve.sparsities[0] for curve in curves)
    high = min(curve.sparsities[-1] for curve in curves)
    over = over or (low, high)
    areas = [curve.area_and_draws(over, resamples, seed + number) for number, curve in enumerate(curves)]
    value = math.fsum(area for area, _ in areas) / len(areas)
    drawn = [area_B for _, area_B in areas if area_B is not None]
    interval = None
    if len(drawn) == len(curves) and math.isfinite(value):
        mean_B = np.mean(drawn, axis=0)
        unknown = np.isnan(mean_B)
        low_B, high_B = np.where(unknown, -np.inf, mean_B), np.where(unknown, np.inf, mean_B)
        ends = _nearest(low_B, (1 - level) / 2), _nearest(high_B, (1 + level) / 2)
        interval = within(UNBOUNDED, *ends, level, _over_all(curves))
    return Area(value, interval, over, len(curves))


def isotonic(shares_PB: Floats) -> Floats:
    """Isotonic regression: the shares [P, B] nearest in squares that never rise along P.

    Point i gets the minimum over j <= i of the maximum over k >= i of the mean of points j to k
    (Barlow et al. 1972, eq. 1.9).
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
    """A quantile that is one of the values, so that ends outside the measured range are not averaged."""
    return float(np.quantile(values_B, share, method="nearest"))


def _over_all(curves: Sequence[Curve]) -> str:
    overs = tuple(dict.fromkeys(curve._over for curve in curves))  # noqa: SLF001
    return overs[0] if len(overs) == 1 else f"{len(curves)} tasks, each over its seeds and items"
