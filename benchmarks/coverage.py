"""Whether intervals cover, tests reject and s@95 is found as often as they say, on data of known truth.

    python benchmarks/coverage.py --trials 4000
    python benchmarks/coverage.py --part intervals --score "accuracy 1"

Prints the tables of docs/statistics.md. Every score is drawn from a model with effects of seeds and of
items and their interaction, whose true score is known; what is counted is how often the interval holds
it, and how often the paired test sees a difference between two methods that are equally good.
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
NODES, SHARES = np.polynomial.hermite_e.hermegauss(40)  # means over a normal distribution
SHARES /= SHARES.sum()
Drawn = tuple[Sample, float]
"""A sample and the score it estimates."""


def made(kind: Literal["mean", "rank", "bleu"], rows_SNK: Floats) -> Sample:
    """A sample of one group."""
    seeds, items = rows_SNK.shape[:2]
    return Sample(kind, rows_SNK, np.zeros(items, dtype=np.intp), np.ones(1), tuple(range(seeds)))


class Accuracy:
    """Right where skill + seed + item + chance is above zero: a probit of crossed effects."""

    def __init__(self, items: int, right: float, seed: float, item: float = 1.0) -> None:
        self.items, self.seed, self.item, self.right = items, seed, item, right
        self.scale = math.sqrt(1 + seed**2 + item**2)

    def rows(self, chance: np.random.Generator, seed_S: Floats, item_N: Floats) -> Floats:
        """Answers [S, N, 1] in per cent, given effects of seeds and items."""
        skill = NormalDist().inv_cdf(self.right) * self.scale
        noise_SN = chance.standard_normal((len(seed_S), len(item_N)))
        return np.where(skill + seed_S[:, None] + item_N + noise_SN > 0, 100.0, 0.0)[..., None]

    def single(self, chance: np.random.Generator, seeds: int) -> Drawn:
        """One method; for a single seed the truth is that seed's."""
        seed_S = self.seed * chance.standard_normal(seeds)
        rows_SNK = self.rows(chance, seed_S, self.item * chance.standard_normal(self.items))
        if seeds > 1:
            return made("mean", rows_SNK), 100 * self.right
        skill = NormalDist().inv_cdf(self.right) * self.scale + seed_S[0]
        return made("mean", rows_SNK), 100 * NormalDist().cdf(skill / math.hypot(1, self.item))

    def pair(self, chance: np.random.Generator, seeds: int) -> tuple[Sample, Sample]:
        """Two methods alike: seeds and items in common, and half of both effects each its own."""
        both_S, both_N = chance.standard_normal(seeds), chance.standard_normal(self.items)
        own = self.seed if seeds > 1 else 0.0  # one seed tells nothing of others
        return tuple(  # type: ignore[return-value]
            made(
                "mean",
                self.rows(
                    chance,
                    0.5 * both_S + own * math.sqrt(0.5) * chance.standard_normal(seeds),
                    self.item * math.sqrt(0.5) * (both_N + chance.standard_normal(self.items)),
                ),
            )
            for _ in range(2)
        )


class Correlation:
    """What is right plus noise of items, and of items and seeds; seeds differ in how much noise."""

    def __init__(self, items: int, seed: float) -> None:
        self.items, self.seed = items, seed

    def rows(self, chance: np.random.Generator, seed_S: Floats, right_N: Floats, noise_N: Floats) -> Floats:
        """Predicted and right [S, N, 2]."""
        own_SN = chance.standard_normal((len(seed_S), self.items))
        said_SN = right_N + np.exp(seed_S)[:, None] * (noise_N + own_SN)
        return np.stack([said_SN, np.broadcast_to(right_N, said_SN.shape)], axis=2)

    def single(self, chance: np.random.Generator, seeds: int) -> Drawn:
        """One method; Spearman's rho of a bivariate normal is 6/pi asin(r/2)."""
        seed_S = self.seed * chance.standard_normal(seeds)
        right_N, noise_N = chance.standard_normal((2, self.items))
        rows_SNK = self.rows(chance, seed_S, right_N, noise_N)
        return made("rank", rows_SNK), self._mean if seeds > 1 else float(self._rho(seed_S)[0])

    def pair(self, chance: np.random.Generator, seeds: int) -> tuple[Sample, Sample]:
        """Two methods alike: what is right and half the items' noise in common."""
        right_N, both_N = chance.standard_normal((2, self.items))
        own = self.seed if seeds > 1 else 0.0
        return tuple(  # type: ignore[return-value]
            made(
                "rank",
                self.rows(
                    chance,
                    own * chance.standard_normal(seeds),
                    right_N,
                    math.sqrt(0.5) * (both_N + chance.standard_normal(self.items)),
                ),
            )
            for _ in range(2)
        )

    @cached_property
    def _mean(self) -> float:
        """Over seeds."""
        return float(SHARES @ self._rho(self.seed * NODES))

    @staticmethod
    def _rho(seed_S: Floats) -> Floats:
        return np.asarray(6 / np.pi * np.arcsin(0.5 / np.sqrt(1 + 2 * np.exp(2 * seed_S))))


class Translation:
    """Sentences of 5 to 30 words; an n-gram is right by a chance that is the sentence's and the seed's."""

    ALIKE = (0.6, 0.42, 0.3, 0.22)
    LENGTHS = np.arange(5, 31)

    def __init__(self, items: int, seed: float) -> None:
        self.items, self.seed = items, seed

    def rows(self, chance: np.random.Generator, seed_S: Floats, item_N: Floats, words_N: Floats) -> Floats:
        """N-gram counts [S, N, 10]; every net says as many words as are wanted."""
        said_NO = words_N[:, None] - np.arange(4)
        skill_SNO = self._skill(seed_S[:, None] + item_N)
        right_SNO = chance.binomial(said_NO.astype(int), skill_SNO)
        same_SNO = np.broadcast_to(said_NO, right_SNO.shape)
        words_SN2 = np.broadcast_to(words_N[:, None], (*right_SNO.shape[:2], 2))
        return np.concatenate([right_SNO, same_SNO, words_SN2], axis=2).astype(float)

    def single(self, chance: np.random.Generator, seeds: int) -> Drawn:
        """One method; the truth is BLEU of endlessly many sentences."""
        seed_S = self.seed * chance.standard_normal(seeds)
        item_N, words_N = self._sentences(chance)
        rows_SNK = self.rows(chance, seed_S, item_N, words_N)
        return made("bleu", rows_SNK), self._mean if seeds > 1 else self._bleu(seed_S[0])

    def pair(self, chance: np.random.Generator, seeds: int) -> tuple[Sample, Sample]:
        """Two methods alike: half of what is hard in a sentence is hard for both."""
        both_N, words_N = self._sentences(chance)
        own = self.seed if seeds > 1 else 0.0
        return tuple(  # type: ignore[return-value]
            made(
                "bleu",
                self.rows(
                    chance,
                    own * chance.standard_normal(seeds),
                    math.sqrt(0.5) * (both_N + 0.4 * chance.standard_normal(self.items)),
                    words_N,
                ),
            )
            for _ in range(2)
        )

    def _sentences(self, chance: np.random.Generator) -> tuple[Floats, Floats]:
        return 0.4 * chance.standard_normal(self.items), chance.choice(self.LENGTHS, self.items).astype(float)

    def _skill(self, effect: Floats) -> Floats:
        odds = np.log(np.array(self.ALIKE) / (1 - np.array(self.ALIKE)))
        return np.asarray(1 / (1 + np.exp(-(odds + effect[..., None]))))

    @cached_property
    def _mean(self) -> float:
        """Over seeds."""
        return float(SHARES @ np.array([self._bleu(seed) for seed in self.seed * NODES]))

    def _bleu(self, seed: float) -> float:
        """Mean skill over items is that over n-grams: length tells nothing of skill here."""
        precision_O = SHARES @ self._skill(seed + 0.4 * NODES)
        return float(100 * np.exp(np.log(precision_O).mean()))


Model = Accuracy | Correlation | Translation


def covered(model: Model, seeds: int, trials: int, resamples: int | None = None) -> float:
    """Share of trials in which the interval holds the truth."""
    chance = np.random.default_rng([seeds, trials])
    held = 0
    for trial in range(trials):
        sample, truth = model.single(chance, seeds)
        found = interval(sample, resamples, LEVEL, seed=trial)
        held += found is not None and truth in found
    return held / trials


def plain(model: Model, seeds: int, trials: int, resamples: int = 400) -> float:
    """The same for a plain percentile bootstrap that draws seeds and items, as it is often done."""
    chance = np.random.default_rng([seeds, trials])
    held = 0
    for _ in range(trials):
        sample, truth = model.single(chance, seeds)
        seeds_BS = chance.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
        counts_NB = chance.multinomial(model.items, np.full(model.items, 1 / model.items), resamples).T
        value_B = (seeds_BS.T * sample.under(counts_NB.astype(float))).sum(axis=0)
        low, high = np.quantile(value_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        held += bool(low <= truth <= high)
    return held / trials


def rejected(model: Model, seeds: int, trials: int, resamples: int | None = None) -> float:
    """Share of trials in which two methods that are equally good are told apart."""
    chance = np.random.default_rng([seeds, trials])
    found = [compare_samples(*model.pair(chance, seeds), resamples).p for _ in range(trials)]
    return fmean(p < 1 - LEVEL for p in found)


# The paper's ten sparsities: 0.8 of what is left, nine times over, from 0.2 on.
GRID = tuple(1 - 0.8**step for step in range(1, 11))


def cliff(sparsity: float, half: float, steep: float) -> float:
    """A share kept that falls from 1 to 0, half of it at `half`: logistic in the logarithm of density."""
    depth = math.log1p(-half) - math.log1p(-sparsity)
    return 1 / (1 + math.exp(steep * depth))


def whole(half: float, steep: float, share: float) -> float:
    """The sparsity at which such a cliff keeps this share of what it has at sparsity 0."""
    low, high = 0.0, 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        keeps = cliff(middle, half, steep) >= share * cliff(0, half, steep)
        low, high = (middle, high) if keeps else (low, middle)
    return low


def recovered(
    half: float, steep: float, share: float, seeds: int, items: int, differ: float, trials: int
) -> tuple[float, float, float]:
    """How often the interval of s@share holds the truth; means of s@share and of its interval's width."""
    chance, truth = np.random.default_rng([seeds, items]), whole(half, steep, share)
    floor, dense = 0.2, 0.75
    held, found, widths = 0, list[float](), list[float]()
    for trial in range(trials):
        item_N, alike = chance.standard_normal(items), differ if seeds > 1 else 0.0
        seed_S = alike * chance.standard_normal(seeds)
        scores = []
        for sparsity in (0.0, *GRID):
            right = floor + (dense - floor) * cliff(sparsity, half, steep) / cliff(0, half, steep)
            own_S = seed_S + alike * chance.standard_normal(seeds)
            skill = NormalDist().inv_cdf(right) * math.sqrt(2 + 2 * alike**2)
            noise_SN = chance.standard_normal((seeds, items))
            right_SN = skill + own_S[:, None] + item_N + noise_SN > 0
            scores.append(made("mean", np.where(right_SN, 100.0, 0.0)[..., None]))
        curve = Curve(scores[0], dict(zip(GRID, scores[1:], strict=True)), chance=100 * floor)
        kept = curve.sparsity_at(share, resamples=1000, seed=trial)
        assert kept is not None
        assert kept.interval is not None
        held += truth in kept.interval
        found.append(kept.sparsity)
        widths.append(min(kept.interval.high, GRID[-1]) - max(kept.interval.low, GRID[0]))
    return held / trials, fmean(found), fmean(widths)


def models(seed: float) -> dict[str, Model]:
    """One of each kind; seeds' effect as a multiple of what a single seed's items leave open, roughly."""
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
    """In per cent, one decimal."""
    return f"{100 * share:.1f}"


def swept(count: Callable[[Model, int], float], score: str) -> Iterator[list[str]]:
    """A row for each score that begins so and each strength of seeds, a column for each number of them."""
    for strength in (0.0, 1.0, 3.0):
        for name, model in models(strength).items():
            if not name.startswith(score):
                continue
            yield [name, f"{strength:g}", *(percent(count(model, seeds)) for seeds in SEEDS)]


def cliffs(trials: int) -> Iterator[list[str]]:
    """A row for each cliff, share that is kept, and number of seeds and items."""
    cases = [
        (half, steep, share, 3, 1200, 0.03)
        for half, steep in ((0.8, 6), (0.85, 3), (0.6, 4))
        for share in (0.95, 0.99)
    ]
    cases += [(0.8, 6, 0.95, seeds, 1200, 0.03) for seeds in (1, 5, 10)]
    cases += [(0.8, 6, 0.95, 3, 1200, 0.1), (0.8, 6, 0.95, 3, 300, 0.03)]
    for half, steep, share, seeds, items, differ in cases:
        held, mean, width = recovered(half, steep, share, seeds, items, differ, trials)
        yield [
            *(f"{half:g}", f"{steep:g}", f"{share:g}", f"{seeds} × {items:,}", f"{differ:g}"),
            *(f"{whole(half, steep, share):.3f}", f"{mean:.3f}", percent(held), f"{width:.3f}"),
        ]


def main() -> None:
    """Print every table, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="of each number")
    parser.add_argument("--part", choices=("intervals", "plain", "tests", "curves"), help="all without it")
    parser.add_argument("--score", default="", help="how the rows begin that are asked for, as: accuracy 1")
    said = parser.parse_args()
    if not any(name.startswith(said.score) for name in models(0.0)):
        parser.error(f"no score begins with {said.score!r}; there are: {'; '.join(models(0.0))}")
    heads = ["score", "seed effect", *(f"{seeds} seed{'s' * (seeds > 1)}" for seeds in SEEDS)]
    if said.part in {None, "intervals"}:
        table(
            "Coverage of the 95 % interval", heads, swept(lambda m, s: covered(m, s, said.trials), said.score)
        )
    if said.part in {None, "plain"}:
        few = [s for s in SEEDS if s > 1]
        table(
            "Coverage of a plain percentile bootstrap of seeds and items, for comparison",
            ["score", "seed effect", *(f"{seeds} seeds" for seeds in few)],
            (
                ["accuracy 70 %, 600 items", f"{strength:g}"]
                + [percent(plain(Accuracy(600, 0.7, 0.08 * strength), s, said.trials // 4)) for s in few]
                for strength in (0.0, 1.0, 3.0)
            ),
        )
    if said.part in {None, "tests"}:
        table(
            "Type-I error of the paired test at 5 %",
            heads,
            swept(lambda m, s: rejected(m, s, said.trials), said.score),
        )
    if said.part in {None, "curves"}:
        heads = ["half at", "steepness", "share", "seeds × items", "seed effect"]
        heads += ["truth", "mean", "coverage", "width"]
        table("s@95 and s@99 on logistic cliffs of known place", heads, cliffs(said.trials // 4))


if __name__ == "__main__":
    main()
