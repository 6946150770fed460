"""The figure of weight changes shows those of unpruned weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smc_eval.reporting.html.weight_change import weight_change_figure
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

Make = Callable[..., Record]
MakePanel = Callable[[Sequence[Record]], Panel]


def test_the_change_of_unpruned_weights_is_drawn(record: Make, panel_of: MakePanel) -> None:
    moved = {"scope": 0.5, "tensors": {"a": 0.5}, "scope_remaining": 0.1, "tensors_remaining": {"a": 0.1}}
    drawn = weight_change_figure(panel_of([record("lth", certificate={"moved": moved})]), "x")
    assert drawn is not None
    figure, matrix = drawn
    assert {row["tensor"]: row["moved"] for row in matrix.plain()} == {"all in scope": 0.1, "a": 0.1}
    assert "over unpruned weights" in figure.note


def test_without_changes_of_weights_there_is_no_figure(record: Make, panel_of: MakePanel) -> None:
    assert weight_change_figure(panel_of([record(tensors={})]), "x") is None
