"""Numbers, intervals and remarks of table cells, with expected values written out."""

from __future__ import annotations

from dataclasses import replace
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.table import table_of
from smc_eval.score import Items
from smc_eval.store.certificate import UnitCount


def test_folds_are_pooled_by_examples_before_seeds_are_averaged(record) -> None:
    results = [
        record(value=80.0, n=300, fold=0, seed=0),
        record(value=60.0, n=100, fold=1, seed=0),  # seed 0: (300 * 80 + 100 * 60) / 400 = 75
        record(value=90.0, n=300, fold=0, seed=1),
        record(value=70.0, n=100, fold=1, seed=1),  # seed 1: 85
        record(value=70.0, n=300, fold=0, seed=2),
        record(value=90.0, n=100, fold=1, seed=2),  # seed 2: 75
    ]
    (row,) = table_of(results).rows
    (cell_value,) = row.cell_values
    assert cell_value.value == pytest.approx((75 + 85 + 75) / 3)
    # Student's t for two degrees of freedom, 4.303, times the standard error
    assert cell_value.interval.half == pytest.approx(4.3027 * stdev([75, 85, 75]) / 3**0.5, rel=1e-4)
    assert cell_value.text == "78.3±14.3"
    assert cell_value.lines == ("78.3", "±14.3")


def test_with_items_the_interval_covers_seeds_and_items(record) -> None:
    results = [record(seed=seed, value=80.0, n=5) for seed in range(3)]
    items = Items("mean", ((100.0,), (100.0,), (0.0,), (100.0,), (100.0,)))
    table = table_of(results, lambda _: items)
    assert table.rows[0].cell_values[0].interval.over == "3 seeds × 5 items"
    assert (
        "± is the longer half of the 95 % confidence interval over 3 seeds × 5 items"
        in footnotes(table).settings[4]
    )


def test_near_the_end_of_a_scale_the_longer_half_is_shown(record, shown) -> None:
    results = [record(seed=seed, value=0.0, n=50) for seed in range(3)]
    items = Items("mean", ((0.0,),) * 50)
    (row,) = table_of(results, lambda _: items).rows
    interval = row.cell_values[0].interval
    assert interval.low == 0 and interval.high > 0
    assert row.cell_values[0].text == f"0.0±{interval.high:.1f}"


def test_a_single_seed_has_no_interval_in_the_table(record, shown) -> None:
    assert shown([record(value=81.25)]) == {"omp-after": ["81.2"]}


def test_missing_folds_and_seeds_are_remarks_of_the_number(record, shown) -> None:
    whole = [record("lth", value=80.0, fold=fold, seed=seed) for fold in range(5) for seed in (0, 1)]
    part = [record("omp-after", value=70.0, fold=fold) for fold in range(4)]
    assert shown([*whole, *part]) == {"lth": ["80.0"], "omp-after": ["70.0 (1/2 seeds, 4/5 folds)"]}


def test_a_cell_without_certified_scores_is_marked_and_never_best(record, shown) -> None:
    results = [record("lth", value=99.0, ok=False), record(value=80.0), record("random-after", value=70.0)]
    assert shown(results) == {"lth": ["99.0!"], "omp-after": ["80.0"], "random-after": ["70.0"]}
    assert [row.cell_values[0].best for row in table_of(results).rows] == [False, True, False]


def test_disconnected_nets_are_marked_and_never_best(record) -> None:
    disconnected = {"effective": 1.0, "dead_tensors": ["head.weight"]}
    results = [record("lth", value=82.0, seed=seed, certificate=disconnected) for seed in (0, 1)]
    results += [record("snip", value=81.0, certificate=disconnected), record("snip", value=81.0, seed=1)]
    results += [record(value=80.0, seed=seed) for seed in (0, 1)]
    table = table_of(results)
    assert [row.cell_values[0].remarks for row in table.rows] == [
        ("disconnected",),
        ("1/2 disconnected",),
        (),
    ]
    assert [row.cell_values[0].best for row in table.rows] == [False, False, False]
    notes = footnotes(table)
    assert (
        notes.totals[0]
        == "cells: 6 ok; disconnected: no path of unpruned weights in scope leads from input to output"
    )
    assert notes.problems == ("all weights pruned in head.weight: t/a lth 0.5 seed 0 and 2 more",)


def test_a_missed_target_sparsity_is_shown(record, shown) -> None:
    assert shown([record(reached=0.5009)]) == {"omp-after": ["80.0"]}
    assert shown([record(reached=0.45)]) == {"omp-after": ["80.0 (@0.450)"]}


def test_of_heads_the_share_of_heads_counts_and_not_that_of_their_weights(record, shown) -> None:
    half = record(reached=0.45)
    half = replace(half, certificate=replace(half.certificate, units=UnitCount("heads", 2, 2, 4)))
    assert shown([half]) == {"omp-after": ["80.0"]}
    third = replace(half, certificate=replace(half.certificate, units=UnitCount("heads", 2, 2, 3)))
    assert shown([third]) == {"omp-after": ["80.0 (@0.333)"]}


def test_a_score_between_minus_1_and_1_has_three_decimals(record, shown) -> None:
    assert shown([record(value=0.61234, metric="spearman")]) == {"omp-after": ["0.612"]}
    assert shown([record(value=0.5, metric="accuracy (%)")]) == {"omp-after": ["0.5"]}


def test_further_numbers_are_pooled_over_the_records_that_have_them(record) -> None:
    (row,) = table_of(
        [
            record(fold=0, n=300, also={"equation accuracy": 70.0}),
            record(fold=1, n=100, also={"equation accuracy": 50.0, "unseen": 40.0}),
        ]
    ).rows
    assert row.cell_values[0].also == {
        "equation accuracy": pytest.approx(65.0),
        "unseen": pytest.approx(40.0),
    }
    assert row.cell_values[0].reached == {"scope": 0.5, "weights": 0.45, "all": 0.4}
    assert row.cell_values[0].seconds == 24.0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), min_size=1, max_size=5))
def test_a_pooled_score_lies_between_its_folds(record, folds) -> None:
    (row,) = table_of([record(value=value, n=n, fold=fold) for fold, (value, n) in enumerate(folds)]).rows
    values = [value for value, _ in folds]
    assert min(values) - 1e-9 <= row.cell_values[0].value <= max(values) + 1e-9
