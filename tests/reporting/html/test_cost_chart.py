"""The chart of costs shows the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from smc_eval.reporting.html.cost_chart import cost_figure
from smc_eval.reporting.html.style import styles_of
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

Make = Callable[..., Record]
MakePanel = Callable[[Sequence[Record]], Panel]


def test_the_front_has_the_methods_that_are_not_dominated(record: Make, panel_of: MakePanel) -> None:
    records = [
        record("dense", value=77.0, steps=100),
        record("lth", value=70.0, steps=1000),
        record("gmp", value=65.0, steps=100),
        record("snip", value=60.0, steps=100),
        record("omp-after", value=69.0, steps=1100),
    ]
    drawn = cost_figure(panel_of(records), "x", styles_of(["lth"]))
    assert drawn is not None
    figure, rows = drawn
    front = {row["label"]: row["cost"] for row in rows.plain() if row["front"]}
    assert front == {"lth": 10.0, "gmp": 1.0}
    assert (
        "The Pareto front at sparsity 0.36: lth (70.0 at 10 × dense), gmp (65.0 at 1 × dense)" in figure.alt
    )


def test_flops_include_pruning_and_unknown_costs_are_left_out(record: Make, panel_of: MakePanel) -> None:
    def cost(train: int, prune: int) -> dict[str, Any]:
        counts = {"train": train, "prune": prune}
        return {"flops": {name: {"dense": count, "sparse": count} for name, count in counts.items()}}

    records = [
        record("dense", value=77.0, cost=cost(10, 0)),
        record("lth", cost=cost(20, 5)),
        record("snip", cost=cost(20, 0)),
        replace(record("gmp"), cost=None),
    ]
    drawn = cost_figure(panel_of(records), "x", styles_of(["lth"]))
    assert drawn is not None
    costs = {
        row["label"]: row["cost"] for row in drawn[1].plain() if row["measure"] == "training FLOPs, sparse"
    }
    assert costs == {"lth": 2.5, "snip": 2.0}


def test_without_a_dense_net_there_is_no_figure(record: Make, panel_of: MakePanel) -> None:
    assert cost_figure(panel_of([record()]), "x", styles_of(["lth"])) is None
