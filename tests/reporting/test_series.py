"""Panels have the numbers of the table, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest

from smc_eval.reporting.series import Panel, Series, panels_of
from smc_eval.reporting.table import table_of
from smc_eval.score import Items
from smc_eval.store.record import Record

Make = Callable[..., Record]


def panel_of(records: list[Record], find_items: Callable[[str], Items | None] = lambda _: None) -> Panel:
    (panel,) = panels_of(table_of(records, find_items), {"t/a": 20.0})
    return panel


def test_points_are_the_cells_of_the_table(record: Make) -> None:
    records = [record("dense", value=90.0 + seed, seed=seed, task=task) for seed in (0, 1) for task in "ab"]
    for method, at, seed in product(("lth", "omp-after", "snip"), (0.4, 0.7), (0, 1)):
        records.append(record(method, at, 70.0, seed=seed, task="a"))
    records += [record("gmp", 0.4, None, task="a"), record("gmp", 0.7, 50.0, ok=False, task="a")]
    table = table_of([*records, record("lth", 0.4, task="b")])
    points = {
        (panel.task, series.label, point.column): point.cell_value
        for panel in panels_of(table, {})
        for series, point in panel.points
    }
    expected = {
        (row.task, row.method, column): cell_value
        for row in table.rows
        for column, cell_value in zip(table.columns, row.cell_values, strict=True)
        if cell_value.state in {"ok", "doubt"} and column != "dense"
    }
    assert points.keys() == expected.keys()
    assert len(points) == 8
    assert all(points[key] is cell_value for key, cell_value in expected.items())


def test_the_papers_sparsities_are_evenly_spaced(record: Make) -> None:
    panel = panel_of([record("lth", 1 - 0.8**k, 50.0) for k in range(1, 11)])
    (series,) = panel.series
    assert [point.depth for point in series.points] == pytest.approx(range(1, 11))


def test_patterns_are_on_no_curve(record: Make) -> None:
    panel = panel_of([record("lth", 0.5, 50.0, pattern="2:4"), record("lth", 0.36, 50.0)])
    assert panel.columns == ["0.36", "2:4"]
    assert [point.free for _, point in panel.points] == [True, False]
    assert [point.column for series in panel.series for point in series.sound] == ["0.36"]


def test_uncertified_points_are_on_no_curve(record: Make) -> None:
    panel = panel_of(
        [record("dense", value=77.0), record("lth", 0.36, 50.0), record("lth", 0.672, 40.0, ok=False)]
    )
    (series,) = panel.series
    curve = panel.curve(series)
    assert curve is not None
    assert curve.sparsities == (0.36,)


def test_without_items_one_seed_has_no_interval_and_two_have_one(record: Make) -> None:
    assert [point.interval for _, point in panel_of([record("lth", 0.36, 50.0)]).points] == [None]
    ((_, point),) = panel_of([record("lth", 0.36, 50.0), record("lth", 0.36, 54.0, seed=1)]).points
    assert point.interval is not None
    # Student's t of one degree of freedom, 12.706, times the standard error, s / √2 = 2
    assert point.interval.half == pytest.approx(12.706 * 2, rel=1e-3)


def test_one_seed_with_items_has_an_interval_over_them(record: Make) -> None:
    items = Items("mean", tuple((100.0 * (n < 60),) for n in range(100)))
    ((_, point),) = panel_of([record("lth", 0.36, 60.0)], lambda _: items).points
    assert point.interval is not None
    assert point.interval.over == "100 items of one seed"
    assert point.interval.half == pytest.approx(196 * math.sqrt(0.24 / 100), rel=0.05)


def test_without_a_known_chance_level_there_is_no_curve(record: Make) -> None:
    (panel,) = panels_of(table_of([record("dense", value=77.0), record("lth")]), {})
    assert panel.chance is None
    assert panel.curve(panel.series[0]) is None


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("lth", "lth"),
        ("lth:share=0.3", "lth"),
        ("omp-after (global)", "omp-after"),
        ("omp-after+shuffle", "omp-after+shuffle"),
        ("grasp:batches=16+reinit (erk)", "grasp+reinit"),
    ],
)
def test_the_method_is_the_label_without_options(label: str, method: str) -> None:
    assert Series(label, (), None, ()).method == method
