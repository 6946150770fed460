"""The heat map shows the sparsity of each tensor and marks dead ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smc_eval.reporting.html.layer_heatmap import layer_figure
from smc_eval.reporting.html.packed_rows import Matrix
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

Make = Callable[..., Record]
MakePanel = Callable[[Sequence[Record]], Panel]


def test_dead_tensors_are_counted_and_marked(record: Make, panel_of: MakePanel) -> None:
    records = [record(tensors={"a": 1.0, "b": 0.5}), record("snip", tensors={"a": 0.9, "b": 0.9})]
    drawn = layer_figure(panel_of(records), "x")
    assert drawn is not None
    figure, matrix = drawn
    assert "1 of 4 tensors in 2 table cells are dead" in figure.note
    assert isinstance(matrix, Matrix)
    assert [row["tensor"] for row in matrix.plain() if row["share"] == 1] == ["a"]


def test_a_tensor_is_dead_only_if_it_is_dead_in_every_seed(record: Make, panel_of: MakePanel) -> None:
    drawn = layer_figure(panel_of([record(tensors={"a": 1.0}), record(tensors={"a": 0.5}, seed=1)]), "x")
    assert drawn is not None
    assert [row["share"] for row in drawn[1].plain()] == [0.75]


def test_without_sparsities_of_tensors_there_is_no_figure(record: Make, panel_of: MakePanel) -> None:
    assert layer_figure(panel_of([record(tensors={})]), "x") is None
