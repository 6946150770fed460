"""What sharing saves of the arithmetic table: its optimizer steps by method, against each cell trained alone.

    python benchmarks/sharing.py
    python benchmarks/sharing.py --data-dir DIR --model tiny

A step that several methods share counts for the first of them. Without `--data-dir` the sizes of data and
models are those published.
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
"""The share of the steps that was promised to be enough. docs/scale.md says why it is not."""
ARITHMETIC = ("mawps", "asdiv-a", "svamp")


def main() -> None:
    """Print the sums; end with 1 where more is carried out than promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", help="data in the official layout; synthetic for made-up data")
    parser.add_argument("--model", help="tiny, for the short recipes of a trial")
    asked = parser.parse_args()
    flags: dict[str, Any] = {"tasks": ARITHMETIC}
    flags |= {"data_dir": asked.data_dir} if asked.data_dir else {}
    flags |= {"model": (asked.model,)} if asked.model else {}
    squares = Resolver(published=True).resolve_all(
        Grid.of(configured(flags, "smc-bench"), registry()).cells()
    )
    chains = [square.chain for square in squares if square.chain]
    assert len(chains) == len(squares), [str(square.error) for square in squares if square.error][:1]
    ratio = told(chains)
    print(f"promised {LIMIT:.0%} of the table, {'kept' if ratio <= LIMIT else 'not kept'}: {ratio:.1%}")
    sys.exit(ratio > LIMIT)


def told(chains: Iterable[Chain]) -> float:
    """Print a row a method; the share of all steps that is carried out."""
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
        row(name, cells[name], done[name], alone[name])
    row("all", cells.total(), done.total(), alone.total())
    return done.total() / alone.total()


def row(name: str, cells: int, done: int, alone: int) -> None:
    """Print one."""
    print(f"{name:<14}{cells:>7,}{done:>14,}{alone:>14,}{done / alone:>8.1%}")


if __name__ == "__main__":
    main()
