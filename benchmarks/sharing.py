"""What sharing saves of the arithmetic table: its optimizer steps, against each cell trained alone."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from smc_eval.binder import Binder
from smc_eval.cell import Chain
from smc_eval.grid import Grid
from smc_eval.order import ordered
from smc_eval.plan import Plan
from smc_eval.registry import registry
from smc_eval.stages import Train

LIMIT = 0.35
"""What the project promises of the cells that begin with the dense training.

Those that decide their masks before training, or while they train, have no steps to share.
"""
ARITHMETIC = ("mawps", "asdiv-a", "svamp")


def main() -> None:
    """Print the sums; end with 1 where more is carried out than promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data-dir", default="twin", help="data in the official layout; twin for synthetic data"
    )
    parser.add_argument("--model", help="tiny, for the short recipes of a trial")
    asked = parser.parse_args()
    flags = {"tasks": ARITHMETIC, "data_dir": asked.data_dir}
    if asked.model:
        flags["model"] = (asked.model,)
    squares = Binder().bound(Grid.of(ordered(flags, "smc-bench"), registry()).cells())
    chains = [square.chain for square in squares if square.chain]
    assert len(chains) == len(squares), [str(square.error) for square in squares if square.error][:1]
    firsts = Counter(chain.links[0].digest for chain in chains if isinstance(chain.links[0].stage, Train))
    sharing = [chain for chain in chains if firsts[chain.links[0].digest] > 1]
    all_, those = told("all", chains), told("those that share", sharing)
    print(f"promised {LIMIT:.0%} of those that share; all of the table come to {all_:.1%}")
    sys.exit(those > LIMIT)


def told(name: str, chains: Sequence[Chain]) -> float:
    """Print the sums of some cells; the share of the steps that is carried out."""
    plan = Plan.of(chains, finished=set[str]().__contains__)
    ratio = plan.shared / plan.naive
    print(f"{name}: {len(chains)} cells, {plan.shared} optimizer steps of {plan.naive}, {ratio:.1%}")
    return ratio


if __name__ == "__main__":
    main()
