"""The effect of sharing: optimizer steps of the arithmetic table, against those of each cell alone.

    python benchmarks/sharing.py
    python benchmarks/sharing.py --data-dir DIR --model tiny

A step that several methods share counts for the first of them. Without `--data-dir`, published sizes of data
and models are used.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import configured
from smc_eval.experiment.grid import Grid
from smc_eval.planning.plan import steps_of
from smc_eval.planning.resolve import Resolver
from smc_eval.registry import registry

LIMIT = 0.35
"""Target: largest share of the steps. docs/scale.md explains why it cannot be reached."""
ARITHMETIC = ("mawps", "asdiv-a", "svamp")


def main() -> None:
    """Print the sums; exit with 1 if the share exceeds the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", help="data in the official layout, or synthetic")
    parser.add_argument("--model", help="tiny, for the short recipes of tiny models")
    args = parser.parse_args()
    flags: dict[str, Any] = {"tasks": ARITHMETIC}
    flags |= {"data_dir": args.data_dir} if args.data_dir else {}
    flags |= {"model": (args.model,)} if args.model else {}
    cells = Resolver(published=True).resolve_all(Grid.of(configured(flags, "smc-bench"), registry()).cells())
    chains = [cell.chain for cell in cells if cell.chain]
    assert len(chains) == len(cells), [str(cell.error) for cell in cells if cell.error][:1]
    ratio = print_steps(chains)
    print(f"target {LIMIT:.0%} of the table, {'reached' if ratio <= LIMIT else 'missed'}: {ratio:.1%}")
    sys.exit(ratio > LIMIT)


def print_steps(chains: Iterable[Chain]) -> float:
    """Print a row for each method; returns the share of all steps that run."""
    cells, done, alone, seen = Counter[str](), Counter[str](), Counter[str](), set[str]()
    for chain in chains:
        name = chain.cell.method.card.name
        cells[name] += 1
        for link in chain.links:
            count = steps_of(link.stage, chain.examples)
            alone[name] += count
            if link.digest not in seen:
                seen.add(link.digest)
                done[name] += count
    print(f"{'method':<14}{'cells':>7}{'steps':>14}{'alone':>14}")
    for name in cells:
        print_row(name, cells[name], done[name], alone[name])
    print_row("all", cells.total(), done.total(), alone.total())
    return done.total() / alone.total()


def print_row(name: str, cells: int, done: int, alone: int) -> None:
    """Print one row."""
    print(f"{name:<14}{cells:>7,}{done:>14,}{alone:>14,}{done / alone:>8.1%}")


if __name__ == "__main__":
    main()
