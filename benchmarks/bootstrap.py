"""What the statistics cost: 10,000 resamples over 5 seeds x 1,221 items, and the closed form beside it.

    python benchmarks/bootstrap.py --repeats 5

Prints, for each kind of score, the seconds of a bootstrap interval and of a closed one, medians, and
both intervals; then a paired test, a curve of ten sparsities, and 200 squares of a table. The script
ends with 1 where the bootstrap of a mean takes 2 seconds or more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from smc_eval.statistics import Curve, Interval, Sample, compare_samples, interval
from smc_eval.statistics.shapes import Floats

PROMISE = 2.0
"""Seconds of a mean's bootstrap."""

# S seeds, N items, K numbers an item.


def rows(kind: str, seeds: int, items: int, skill: float = 0.0) -> Floats:
    """Made-up items [S, N, K] of one kind."""
    chance = np.random.default_rng(0)
    item_N, seed_S1 = chance.standard_normal(items), 0.1 * chance.standard_normal((seeds, 1))
    score_SN = skill + item_N + seed_S1 + chance.standard_normal((seeds, items))
    match kind:
        case "mean":
            return np.where(score_SN > 0, 100.0, 0.0)[..., None]
        case "rank":
            return np.stack([score_SN, np.broadcast_to(item_N, score_SN.shape)], axis=2)
    words_N1 = chance.integers(5, 30, (items, 1))
    said_SNO = np.broadcast_to(words_N1 - np.arange(4), (seeds, items, 4))
    right_SNO = chance.binomial(said_SNO, 1 / (1 + np.exp(-score_SN[..., None] / 3 + np.arange(4) / 2)))
    ends_SN2 = np.broadcast_to(np.hstack([words_N1, words_N1]), (seeds, items, 2))
    return np.concatenate([right_SNO, said_SNO, ends_SN2], axis=2).astype(float)


def made(kind: str, seeds: int, items: int, skill: float = 0.0) -> Sample:
    """A made-up sample of one group."""
    group_N, names = np.zeros(items, dtype=np.intp), tuple(range(seeds))
    match kind:
        case "rank" | "bleu":
            return Sample(kind, rows(kind, seeds, items, skill), group_N, np.ones(1), names)
    return Sample("mean", rows("mean", seeds, items, skill), group_N, np.ones(1), names)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock time of a call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def ends(found: Interval | None) -> str:
    """An interval as text."""
    return f"[{found.low:.4g}, {found.high:.4g}]" if found else "none"


def main() -> None:
    """Print a line for each kind, and for what a table asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each timing")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--items", type=int, default=1221)
    said = parser.parse_args()
    broken = False
    print(f"{said.resamples:,} resamples over {said.seeds} seeds x {said.items:,} items")
    for kind in ("mean", "rank", "bleu"):
        sample = made(kind, said.seeds, said.items)
        drawn = seconds(lambda s=sample: interval(s, said.resamples), said.repeats)  # type: ignore[misc]
        closed = seconds(lambda s=sample: interval(s), said.repeats)  # type: ignore[misc]
        words = f"{ends(interval(sample, said.resamples))} and {ends(interval(sample))}"
        print(f"{kind:<5} {drawn:.2f} s, closed form {1000 * closed:.1f} ms: {words}")
        broken |= kind == "mean" and drawn >= PROMISE
    a, b = (made("mean", said.seeds, said.items, skill) for skill in (0.0, 0.1))
    print(f"a paired test: {1000 * seconds(lambda: compare_samples(a, b), said.repeats):.1f} ms")
    levels = {level / 11: made("mean", said.seeds, said.items, -level / 10) for level in range(1, 11)}
    curve = Curve(a, levels)
    print(f"s@95 of ten sparsities, 2,000 draws: {seconds(curve.sparsity_at, said.repeats):.2f} s")
    table = seconds(lambda: [interval(a) for _ in range(200)], said.repeats)
    print(f"200 squares of a table: {table:.2f} s")
    sys.exit(broken)


if __name__ == "__main__":
    main()
