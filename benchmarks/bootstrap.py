"""Time of the statistics: 10,000 resamples over 5 seeds x 1,221 items, and the closed form.

    python benchmarks/bootstrap.py --repeats 5

Prints, for each kind of score, the median seconds of a bootstrap interval and of a closed-form one, and
both intervals; then those of a paired test, a curve of ten sparsities, and 200 cells of a table. The
exit code is 1 if the bootstrap of a mean takes 2 seconds or more.
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

MAX_SECONDS = 2.0
"""Time limit for the bootstrap of a mean."""

# S seeds, N items, K numbers an item.


def rows(kind: str, seeds: int, items: int, skill: float = 0.0) -> Floats:
    """Random items [S, N, K] of one kind."""
    rng = np.random.default_rng(0)
    item_N, seed_S1 = rng.standard_normal(items), 0.1 * rng.standard_normal((seeds, 1))
    score_SN = skill + item_N + seed_S1 + rng.standard_normal((seeds, items))
    match kind:
        case "mean":
            return np.where(score_SN > 0, 100.0, 0.0)[..., None]
        case "rank":
            return np.stack([score_SN, np.broadcast_to(item_N, score_SN.shape)], axis=2)
    words_N1 = rng.integers(5, 30, (items, 1))
    total_SNO = np.broadcast_to(words_N1 - np.arange(4), (seeds, items, 4))
    match_SNO = rng.binomial(total_SNO, 1 / (1 + np.exp(-score_SN[..., None] / 3 + np.arange(4) / 2)))
    lengths_SN2 = np.broadcast_to(np.hstack([words_N1, words_N1]), (seeds, items, 2))
    return np.concatenate([match_SNO, total_SNO, lengths_SN2], axis=2).astype(float)


def random_sample(kind: str, seeds: int, items: int, skill: float = 0.0) -> Sample:
    """A random sample of one group."""
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


def interval_text(result: Interval | None) -> str:
    """An interval as text."""
    return f"[{result.low:.4g}, {result.high:.4g}]" if result else "none"


def main() -> None:
    """Print a line for each kind of score and for each part of a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each timing")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--items", type=int, default=1221)
    args = parser.parse_args()
    too_slow = False
    print(f"{args.resamples:,} resamples over {args.seeds} seeds x {args.items:,} items")
    for kind in ("mean", "rank", "bleu"):
        sample = random_sample(kind, args.seeds, args.items)
        drawn = seconds(lambda s=sample: interval(s, args.resamples), args.repeats)  # type: ignore[misc]
        closed = seconds(lambda s=sample: interval(s), args.repeats)  # type: ignore[misc]
        intervals = f"{interval_text(interval(sample, args.resamples))} and {interval_text(interval(sample))}"
        print(f"{kind:<5} {drawn:.2f} s, closed form {1000 * closed:.1f} ms: {intervals}")
        too_slow |= kind == "mean" and drawn >= MAX_SECONDS
    a, b = (random_sample("mean", args.seeds, args.items, skill) for skill in (0.0, 0.1))
    print(f"a paired test: {1000 * seconds(lambda: compare_samples(a, b), args.repeats):.1f} ms")
    levels = {
        level / 11: random_sample("mean", args.seeds, args.items, -level / 10) for level in range(1, 11)
    }
    curve = Curve(a, levels)
    print(f"s@95 of ten sparsities, 2,000 draws: {seconds(curve.sparsity_at, args.repeats):.2f} s")
    table = seconds(lambda: [interval(a) for _ in range(200)], args.repeats)
    print(f"200 cells of a table: {table:.2f} s")
    sys.exit(too_slow)


if __name__ == "__main__":
    main()
