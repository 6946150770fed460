"""Panels hold what the table holds, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from smc_eval.reporting.series import Panel, panels_of
from smc_eval.reporting.table import table_of
from smc_eval.score import Items
from smc_eval.store.record import Record

Make = Callable[..., Record]


def only(records: list[Record], items: Callable[[str], Items | None] = lambda _: None) -> Panel:
    (panel,) = panels_of(table_of(records, items), {"csqa": 20.0})
    return panel


def test_numbers_are_those_of_the_table(several: list[Record]) -> None:
    table = table_of(several)
    told = {
        (p.task, line.label, s.column): s.cell_value for p in panels_of(table, {}) for line, s in p.squares
    }
    for row in table.rows:
        for column, cell_value in zip(table.columns, row.cell_values, strict=True):
            if cell_value.state in {"ok", "doubt"} and column != "dense":
                assert told[row.task, row.method, column] is cell_value


def test_the_papers_sparsities_stand_evenly(record: Make) -> None:
    panel = only([record("lth", 1 - 0.8**k, 50.0) for k in range(1, 11)])
    (line,) = panel.lines
    assert [square.depth for square in line.squares] == pytest.approx(range(1, 11))


def test_patterns_lie_on_no_curve(record: Make) -> None:
    panel = only([record("lth", 0.5, 50.0, pattern="2:4"), record("lth", 0.36, 50.0)])
    assert panel.columns == ["0.36", "2:4"]
    assert [square.free for _, square in panel.squares] == [True, False]
    assert [square.column for line in panel.lines for square in line.sound] == ["0.36"]


def test_what_lost_its_certificate_is_on_no_curve(record: Make) -> None:
    panel = only(
        [record("dense", value=77.0), record("lth", 0.36, 50.0), record("lth", 0.672, 40.0, ok=False)]
    )
    (line,) = panel.lines
    curve = panel.curve(line)
    assert curve is not None
    assert curve.sparsities == (0.36,)


def test_one_seed_without_items_tells_no_interval_two_do(record: Make) -> None:
    assert [s.interval for _, s in only([record("lth", 0.36, 50.0)]).squares] == [None]
    ((_, square),) = only([record("lth", 0.36, 50.0), record("lth", 0.36, 54.0, seed=1)]).squares
    assert square.interval is not None
    assert square.interval.half == pytest.approx(12.706 * 2, rel=1e-3)  # Student's t of one degree; s/√2 = 2


def test_one_seed_with_items_tells_an_interval_over_them(record: Make) -> None:
    items = Items("mean", tuple((100.0 * (n < 60),) for n in range(100)))
    ((_, square),) = only([record("lth", 0.36, 60.0)], lambda _: items).squares
    assert square.interval is not None
    assert square.interval.over == "100 items of one seed"
    assert square.interval.half == pytest.approx(196 * math.sqrt(0.24 / 100), rel=0.05)


def test_without_a_known_chance_there_is_no_curve_to_reckon_with(record: Make) -> None:
    (panel,) = panels_of(table_of([record("dense", value=77.0), record("lth")]), {})
    assert panel.chance is None
    assert panel.curve(panel.lines[0]) is None


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
def test_a_methods_name_is_told_from_its_label(label: str, method: str) -> None:
    from smc_eval.reporting.series import Series

    assert Series(label, (), None, ()).method == method
