"""Coverage of the intervals, type-I error of the tests and recovery of s@95, on data of known truth.

    python benchmarks/coverage.py --trials 4000
    python benchmarks/coverage.py --part intervals --score "accuracy 1"

Prints the tables of docs/statistics.md. Every score is drawn from a model with effects of seeds, of items
and of their interaction, and a known true score. The tables count how often the interval contains the
true score, and how often the paired test finds a difference between two equally good methods.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from statistics import NormalDist, fmean
from typing import Literal

import numpy as np

from smc_eval.statistics import Curve, Sample, compare_samples, interval
from smc_eval.statistics.shapes import Floats

# S seeds, N items, K numbers an item, P points of a curve.

SEEDS = (1, 2, 3, 5, 10)
LEVEL = 0.95
NODES, SHARES = np.polynomial.hermite_e.hermegauss(40)  # for means over a normal distribution
SHARES /= SHARES.sum()
Drawn = tuple[Sample, float]
"""A sample and the score it estimates."""


def make_sample(kind: Literal["mean", "rank", "bleu"], rows_SNK: Floats) -> Sample:
    """A sample of one group."""
    seeds, items = rows_SNK.shape[:2]
    return Sample(kind, rows_SNK, np.zeros(items, dtype=np.intp), np.ones(1), tuple(range(seeds)))


class Accuracy:
    """Right where skill + seed + item + noise is above zero: a probit of crossed effects."""

    def __init__(self, items: int, right: float, seed: float, item: float = 1.0) -> None:
        self.items, self.seed, self.item, self.right = items, seed, item, right
        self.scale = math.sqrt(1 + seed**2 + item**2)

    def rows(self, rng: np.random.Generator, seed_S: Floats, item_N: Floats) -> Floats:
        """Answers [S, N, 1] in per cent, given effects of seeds and items."""
        skill = NormalDist().inv_cdf(self.right) * self.scale
        noise_SN = rng.standard_normal((len(seed_S), len(item_N)))
        return np.where(skill + seed_S[:, None] + item_N + noise_SN > 0, 100.0, 0.0)[..., None]

    def single(self, rng: np.random.Generator, seeds: int) -> Drawn:
        """One method; for a single seed the truth is that of the seed."""
        seed_S = self.seed * rng.standard_normal(seeds)
        rows_SNK = self.rows(rng, seed_S, self.item * rng.standard_normal(self.items))
        if seeds > 1:
            return make_sample("mean", rows_SNK), 100 * self.right
        skill = NormalDist().inv_cdf(self.right) * self.scale + seed_S[0]
        return make_sample("mean", rows_SNK), 100 * NormalDist().cdf(skill / math.hypot(1, self.item))

    def pair(self, rng: np.random.Generator, seeds: int) -> tuple[Sample, Sample]:
        """Two equally good methods: half of the effects of seeds and items are shared."""
        both_S, both_N = rng.standard_normal(seeds), rng.standard_normal(self.items)
        own = self.seed if seeds > 1 else 0.0  # of one seed, both methods have the same effect
        return tuple(  # type: ignore[return-value]
            make_sample(
                "mean",
                self.rows(
                    rng,
                    0.5 * both_S + own * math.sqrt(0.5) * rng.standard_normal(seeds),
                    self.item * math.sqrt(0.5) * (both_N + rng.standard_normal(self.items)),
                ),
            )
            for _ in range(2)
        )


class Correlation:
    """References plus noise of items, and of items and seeds; the amount of noise differs between seeds."""

    def __init__(self, items: int, seed: float) -> None:
        self.items, self.seed = items, seed

    def rows(self, rng: np.random.Generator, seed_S: Floats, reference_N: Floats, noise_N: Floats) -> Floats:
        """Predictions and references [S, N, 2]."""
        own_SN = rng.standard_normal((len(seed_S), self.items))
        predicted_SN = reference_N + np.exp(seed_S)[:, None] * (noise_N + own_SN)
        return np.stack([predicted_SN, np.broadcast_to(reference_N, predicted_SN.shape)], axis=2)

    def single(self, rng: np.random.Generator, seeds: int) -> Drawn:
        """One method; Spearman's rho of a bivariate normal is 6/pi asin(r/2)."""
        seed_S = self.seed * rng.standard_normal(seeds)
        reference_N, noise_N = rng.standard_normal((2, self.items))
        rows_SNK = self.rows(rng, seed_S, reference_N, noise_N)
        return make_sample("rank", rows_SNK), self._mean if seeds > 1 else float(self._rho(seed_S)[0])

    def pair(self, rng: np.random.Generator, seeds: int) -> tuple[Sample, Sample]:
        """Two equally good methods: references and half of the items' noise are shared."""
        reference_N, both_N = rng.standard_normal((2, self.items))
        own = self.seed if seeds > 1 else 0.0
        return tuple(  # type: ignore[return-value]
            make_sample(
                "rank",
                self.rows(
                    rng,
                    own * rng.standard_normal(seeds),
                    reference_N,
                    math.sqrt(0.5) * (both_N + rng.standard_normal(self.items)),
                ),
            )
            for _ in range(2)
        )

    @cached_property
    def _mean(self) -> float:
        """The true score over seeds."""
        return float(SHARES @ self._rho(self.seed * NODES))

    @staticmethod
    def _rho(seed_S: Floats) -> Floats:
        return np.asarray(6 / np.pi * np.arcsin(0.5 / np.sqrt(1 + 2 * np.exp(2 * seed_S))))


class Translation:
    """Sentences of 5 to 30 words; the probability that an n-gram matches depends on sentence and seed."""

    PRECISIONS = (0.6, 0.42, 0.3, 0.22)
    LENGTHS = np.arange(5, 31)

    def __init__(self, items: int, seed: float) -> None:
        self.items, self.seed = items, seed

    def rows(self, rng: np.random.Generator, seed_S: Floats, item_N: Floats, words_N: Floats) -> Floats:
        """N-gram counts [S, N, 10]; every hypothesis has the length of its reference."""
        total_NO = words_N[:, None] - np.arange(4)
        skill_SNO = self._skill(seed_S[:, None] + item_N)
        match_SNO = rng.binomial(total_NO.astype(int), skill_SNO)
        total_SNO = np.broadcast_to(total_NO, match_SNO.shape)
        words_SN2 = np.broadcast_to(words_N[:, None], (*match_SNO.shape[:2], 2))
        return np.concatenate([match_SNO, total_SNO, words_SN2], axis=2).astype(float)

    def single(self, rng: np.random.Generator, seeds: int) -> Drawn:
        """One method; the truth is BLEU of infinitely many sentences."""
        seed_S = self.seed * rng.standard_normal(seeds)
        item_N, words_N = self._sentences(rng)
        rows_SNK = self.rows(rng, seed_S, item_N, words_N)
        return make_sample("bleu", rows_SNK), self._mean if seeds > 1 else self._bleu(seed_S[0])

    def pair(self, rng: np.random.Generator, seeds: int) -> tuple[Sample, Sample]:
        """Two equally good methods: half of the difficulty of a sentence is shared."""
        both_N, words_N = self._sentences(rng)
        own = self.seed if seeds > 1 else 0.0
        return tuple(  # type: ignore[return-value]
            make_sample(
                "bleu",
                self.rows(
                    rng,
                    own * rng.standard_normal(seeds),
                    math.sqrt(0.5) * (both_N + 0.4 * rng.standard_normal(self.items)),
                    words_N,
                ),
            )
            for _ in range(2)
        )

    def _sentences(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return 0.4 * rng.standard_normal(self.items), rng.choice(self.LENGTHS, self.items).astype(float)

    def _skill(self, effect: Floats) -> Floats:
        odds = np.log(np.array(self.PRECISIONS) / (1 - np.array(self.PRECISIONS)))
        return np.asarray(1 / (1 + np.exp(-(odds + effect[..., None]))))

    @cached_property
    def _mean(self) -> float:
        """The true score over seeds."""
        return float(SHARES @ np.array([self._bleu(seed) for seed in self.seed * NODES]))

    def _bleu(self, seed: float) -> float:
        """The mean over items equals that over n-grams, as skill does not depend on length."""
        precision_O = SHARES @ self._skill(seed + 0.4 * NODES)
        return float(100 * np.exp(np.log(precision_O).mean()))


Model = Accuracy | Correlation | Translation


def coverage(model: Model, seeds: int, trials: int, resamples: int | None = None) -> float:
    """Share of trials in which the interval contains the truth."""
    rng = np.random.default_rng([seeds, trials])
    covered = 0
    for trial in range(trials):
        sample, truth = model.single(rng, seeds)
        result = interval(sample, resamples, LEVEL, seed=trial)
        covered += result is not None and truth in result
    return covered / trials


def plain_coverage(model: Model, seeds: int, trials: int, resamples: int = 400) -> float:
    """The same for a plain percentile bootstrap, which draws seeds and items."""
    rng = np.random.default_rng([seeds, trials])
    covered = 0
    for _ in range(trials):
        sample, truth = model.single(rng, seeds)
        seeds_BS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
        counts_NB = rng.multinomial(model.items, np.full(model.items, 1 / model.items), resamples).T
        value_B = (seeds_BS.T * sample.reweighted(counts_NB.astype(float))).sum(axis=0)
        low, high = np.quantile(value_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        covered += bool(low <= truth <= high)
    return covered / trials


def type_one_error(model: Model, seeds: int, trials: int, resamples: int | None = None) -> float:
    """Share of trials in which the test finds a difference between two equally good methods."""
    rng = np.random.default_rng([seeds, trials])
    p_values = [compare_samples(*model.pair(rng, seeds), resamples).p for _ in range(trials)]
    return fmean(p < 1 - LEVEL for p in p_values)


# The paper's ten sparsities, from 0.2 on; each keeps 0.8 of the weights of the one before.
GRID = tuple(1 - 0.8**step for step in range(1, 11))


def cliff(sparsity: float, half: float, steep: float) -> float:
    """A share that falls from 1 to 0 and is 0.5 at `half`: logistic in the logarithm of density."""
    depth = math.log1p(-half) - math.log1p(-sparsity)
    return 1 / (1 + math.exp(steep * depth))


def true_sparsity(half: float, steep: float, share: float) -> float:
    """The sparsity at which such a cliff keeps this share of its value at sparsity 0."""
    low, high = 0.0, 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        keeps = cliff(middle, half, steep) >= share * cliff(0, half, steep)
        low, high = (middle, high) if keeps else (low, middle)
    return low


def recovery(
    half: float, steep: float, share: float, seeds: int, items: int, seed_effect: float, trials: int
) -> tuple[float, float, float]:
    """Coverage of the interval of s@share; means of s@share and of the width of its interval."""
    rng, truth = np.random.default_rng([seeds, items]), true_sparsity(half, steep, share)
    floor, dense = 0.2, 0.75
    covered, values, widths = 0, list[float](), list[float]()
    for trial in range(trials):
        item_N, effect = rng.standard_normal(items), seed_effect if seeds > 1 else 0.0
        seed_S = effect * rng.standard_normal(seeds)
        scores = []
        for sparsity in (0.0, *GRID):
            right = floor + (dense - floor) * cliff(sparsity, half, steep) / cliff(0, half, steep)
            own_S = seed_S + effect * rng.standard_normal(seeds)
            skill = NormalDist().inv_cdf(right) * math.sqrt(2 + 2 * effect**2)
            noise_SN = rng.standard_normal((seeds, items))
            right_SN = skill + own_S[:, None] + item_N + noise_SN > 0
            scores.append(make_sample("mean", np.where(right_SN, 100.0, 0.0)[..., None]))
        curve = Curve(scores[0], dict(zip(GRID, scores[1:], strict=True)), chance=100 * floor)
        crossing = curve.sparsity_at(share, resamples=1000, seed=trial)
        assert crossing is not None
        assert crossing.interval is not None
        covered += truth in crossing.interval
        values.append(crossing.sparsity)
        widths.append(min(crossing.interval.high, GRID[-1]) - max(crossing.interval.low, GRID[0]))
    return covered / trials, fmean(values), fmean(widths)


def models(seed: float) -> dict[str, Model]:
    """One model of each kind; the effect of seeds is about a multiple of the error by items of one seed."""
    return {
        "accuracy 70 %, 600 items": Accuracy(600, 0.7, 0.08 * seed),
        "accuracy 1 %, 1,200 items": Accuracy(1200, 0.01, 0.12 * seed),
        "rank correlation, 300 items": Correlation(300, 0.09 * seed),
        "BLEU, 300 sentences": Translation(300, 0.04 * seed),
    }


def table(title: str, heads: list[str], rows: Iterator[list[str]]) -> None:
    """Print a table in Markdown, line by line."""
    print(f"\n### {title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def percent(share: float) -> str:
    """A share in per cent, with one decimal."""
    return f"{100 * share:.1f}"


def sweep(count: Callable[[Model, int], float], score: str) -> Iterator[list[str]]:
    """A row for each score whose name begins so and each seed effect, a column for each number of seeds."""
    for strength in (0.0, 1.0, 3.0):
        for name, model in models(strength).items():
            if not name.startswith(score):
                continue
            yield [name, f"{strength:g}", *(percent(count(model, seeds)) for seeds in SEEDS)]


def cliffs(trials: int) -> Iterator[list[str]]:
    """A row for each cliff, share, and number of seeds and items."""
    cases = [
        (half, steep, share, 3, 1200, 0.03)
        for half, steep in ((0.8, 6), (0.85, 3), (0.6, 4))
        for share in (0.95, 0.99)
    ]
    cases += [(0.8, 6, 0.95, seeds, 1200, 0.03) for seeds in (1, 5, 10)]
    cases += [(0.8, 6, 0.95, 3, 1200, 0.1), (0.8, 6, 0.95, 3, 300, 0.03)]
    for half, steep, share, seeds, items, seed_effect in cases:
        covered, mean, width = recovery(half, steep, share, seeds, items, seed_effect, trials)
        yield [
            *(f"{half:g}", f"{steep:g}", f"{share:g}", f"{seeds} × {items:,}", f"{seed_effect:g}"),
            *(f"{true_sparsity(half, steep, share):.3f}", f"{mean:.3f}", percent(covered), f"{width:.3f}"),
        ]


def main() -> None:
    """Print every table, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="of each number")
    parser.add_argument("--part", choices=("intervals", "plain", "tests", "curves"), help="default: all")
    parser.add_argument("--score", default="", help="beginning of the rows to print, e.g. accuracy 1")
    args = parser.parse_args()
    if not any(name.startswith(args.score) for name in models(0.0)):
        parser.error(f"no score begins with {args.score!r}; there are: {'; '.join(models(0.0))}")
    heads = ["score", "seed effect", *(f"{seeds} seed{'s' * (seeds > 1)}" for seeds in SEEDS)]
    if args.part in {None, "intervals"}:
        table(
            "Coverage of the 95 % interval",
            heads,
            sweep(lambda m, s: coverage(m, s, args.trials), args.score),
        )
    if args.part in {None, "plain"}:
        few = [s for s in SEEDS if s > 1]
        table(
            "Coverage of a plain percentile bootstrap of seeds and items, for comparison",
            ["score", "seed effect", *(f"{seeds} seeds" for seeds in few)],
            (
                ["accuracy 70 %, 600 items", f"{strength:g}"]
                + [
                    percent(plain_coverage(Accuracy(600, 0.7, 0.08 * strength), s, args.trials // 4))
                    for s in few
                ]
                for strength in (0.0, 1.0, 3.0)
            ),
        )
    if args.part in {None, "tests"}:
        table(
            "Type-I error of the paired test at 5 %",
            heads,
            sweep(lambda m, s: type_one_error(m, s, args.trials), args.score),
        )
    if args.part in {None, "curves"}:
        heads = ["half at", "steepness", "share", "seeds × items", "seed effect"]
        heads += ["truth", "mean", "coverage", "width"]
        table("s@95 and s@99 on logistic cliffs of known position", heads, cliffs(args.trials // 4))


if __name__ == "__main__":
    main()
