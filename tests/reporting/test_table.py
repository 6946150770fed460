"""What stands in the table, as numbers written out."""

from __future__ import annotations

from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.table import short_sparsities, table_of
from smc_eval.score import Items
from smc_eval.store.record import same_data
from smc_eval.target import SMC_GRID


def shown(results) -> dict[str, list[str]]:
    """The rows of a table of one task, by method, as text."""
    return {row.method: [cell_value.text for cell_value in row.cell_values] for row in table_of(results).rows}


def test_dense_stands_in_a_column_beside_every_row_of_its_task(record) -> None:
    table = table_of(
        [
            record("dense", value=90.0),
            record("omp-after", 0.5, 80.0),
            record("lth", 0.5, 85.0),
            record("lth", 0.5, 70.0, task="t/b"),
        ]
    )
    assert table.columns == ("dense", "0.5")
    assert [
        (row.task, row.method, [cell_value.text for cell_value in row.cell_values]) for row in table.rows
    ] == [
        ("t/a", "omp-after", ["90.0", "80.0"]),
        ("t/a", "lth", ["90.0", "85.0"]),
        ("t/b", "lth", ["–", "70.0"]),
    ]


def test_dense_is_a_row_where_it_is_the_only_method(record) -> None:
    assert shown([record("dense", value=90.0), record("dense", value=92.0, seed=1)]) == {
        "dense": ["91.0±12.7"]
    }


def test_columns_run_from_dense_over_rising_sparsity_to_patterns(record) -> None:
    table = table_of(
        [
            record(pattern="2:4", sparsity=0.5),
            record(sparsity=0.9),
            record("dense"),
            record(pattern="1:4", sparsity=0.75),
            record(sparsity=0.1),
        ]
    )
    assert table.columns == ("dense", "0.1", "0.9", "2:4", "1:4")


def test_the_grid_of_the_paper_is_named_by_three_decimals() -> None:
    names = "0.2 0.36 0.488 0.59 0.672 0.738 0.79 0.832 0.866 0.893"
    assert " ".join(short_sparsities(SMC_GRID).values()) == names


@pytest.mark.parametrize(
    ("sparsities", "names"),
    [
        ([0.0, 0.5], ["0", "0.5"]),
        ([0.9995], ["0.9995"]),
        ([0.999999], ["0.999999"]),
        ([0.59, 0.5904, 0.8], ["0.59", "0.5904", "0.8"]),
    ],
)
def test_no_column_is_named_one_or_like_another(sparsities, names) -> None:
    assert list(short_sparsities(sparsities).values()) == names


@given(st.sets(st.integers(0, 999_999_999), min_size=1, max_size=6))
def test_names_of_columns_are_distinct_and_near(billionths) -> None:
    names = short_sparsities([number / 1e9 for number in billionths])
    assert len(set(names.values())) == len(names)
    assert all(abs(float(name) - sparsity) <= 5e-4 for sparsity, name in names.items())
    assert all(0 <= float(name) < 1 for name in names.values())


def test_sparsities_that_differ_by_rounding_noise_share_a_column(record) -> None:
    table = table_of([record("lth", 1 - 0.8**3), record("omp-after", 0.488)])
    assert table.columns == ("0.488",)


def test_folds_are_pooled_by_examples_and_seeds_averaged_after(record) -> None:
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


def test_with_items_an_interval_is_over_seeds_and_items(record) -> None:
    results = [record(seed=seed, value=80.0, n=5) for seed in range(3)]
    items = Items("mean", ((100.0,), (100.0,), (0.0,), (100.0,), (100.0,)))
    table = table_of(results, lambda _: items)
    assert table.rows[0].cell_values[0].interval.over == "3 seeds × 5 items"
    assert (
        "± reaches the farther end of the mean's 95 % interval, over 3 seeds × 5 items"
        in footnotes(table).setting[4]
    )


def test_near_the_end_of_a_scale_the_farther_end_is_told(record) -> None:
    results = [record(seed=seed, value=0.0, n=50) for seed in range(3)]
    items = Items("mean", ((0.0,),) * 50)
    (row,) = table_of(results, lambda _: items).rows
    interval = row.cell_values[0].interval
    assert interval.low == 0 and interval.high > 0
    assert row.cell_values[0].text == f"0.0±{interval.high:.1f}"


def test_a_single_seed_has_no_interval(record) -> None:
    assert shown([record(value=81.25)]) == {"omp-after": ["81.2"]}


def test_missing_folds_and_seeds_are_told_beside_the_number(record) -> None:
    whole = [record("lth", value=80.0, fold=fold, seed=seed) for fold in range(5) for seed in (0, 1)]
    part = [record("omp-after", value=70.0, fold=fold) for fold in range(4)]
    assert shown([*whole, *part]) == {"lth": ["80.0"], "omp-after": ["70.0 (1/2 seeds, 4/5 folds)"]}


def test_a_failed_fold_leaves_the_others_and_its_reason(record) -> None:
    results = [record(value=70.0, fold=fold) for fold in range(4)] + [record(value=None, fold=4)]
    assert shown(results) == {"omp-after": ["70.0 (4/5 folds)"]}
    assert footnotes(table_of(results)).troubles == (
        "failed: t/a fold 4 omp-after 0.5 seed 0: out of memory\n  try less",
    )


def test_a_cell_that_only_failed_says_so_and_like_reasons_are_told_once(record) -> None:
    results = [record(value=None), record(value=None, seed=1), record(value=None, seed=2, reason="disk full")]
    assert shown(results) == {"omp-after": ["failed"]}
    assert footnotes(table_of(results)).troubles == (
        "failed: t/a omp-after 0.5 seed 0 and 1 more: out of memory\n  try less",
        "failed: t/a omp-after 0.5 seed 2: disk full",
    )


def test_a_long_reason_is_cut_to_three_lines(record) -> None:
    (told,) = footnotes(table_of([record(value=None, reason="a\nb\nc\nd")])).troubles
    assert told.splitlines() == ["failed: t/a omp-after 0.5 seed 0: a", "  b", "  c"]


def test_a_refused_pattern_is_no_failure(record) -> None:
    refused = record("lth", value=None, pattern="2:4", status="skipped", reason="lth cannot make 2:4")
    results = [record("lth"), refused]
    assert shown(results) == {"lth": ["80.0", "n/a"]}
    notes = footnotes(table_of(results))
    assert notes.troubles == ("skipped: t/a lth 2:4 seed 0: lth cannot make 2:4",)
    assert notes.account[0] == "cells: 1 ok, 1 skipped; n/a: the method cannot"


def test_what_lost_its_certificate_is_marked_and_enters_no_mean(record) -> None:
    results = [record(value=80.0), record(value=82.0, seed=1), record(value=10.0, seed=2, ok=False)]
    assert shown(results) == {"omp-after": ["81.0±12.7! (2/3 seeds)"]}
    (row,) = table_of(results).rows
    assert row.cell_values[0].state == "doubt"
    notes = footnotes(table_of(results))
    assert notes.loud == ("! 1 of 3 results failed the certificate; no mean of others holds them",)
    assert notes.troubles == ("certificate: t/a omp-after 0.5 seed 2: 50 weights left, 40 wanted",)


def test_a_number_without_any_certificate_is_shown_marked_and_is_never_best(record) -> None:
    results = [record("lth", value=99.0, ok=False), record(value=80.0), record("random-after", value=70.0)]
    assert shown(results) == {"lth": ["99.0!"], "omp-after": ["80.0"], "random-after": ["70.0"]}
    assert [row.cell_values[0].best for row in table_of(results).rows] == [False, True, False]


def test_nets_that_are_cut_off_say_so_and_are_never_best(record) -> None:
    severed = {"effective": 1.0, "dead_tensors": ["head.weight"]}
    results = [record("lth", value=82.0, seed=seed, table_interval=severed) for seed in (0, 1)]
    results += [record("snip", value=81.0, table_interval=severed), record("snip", value=81.0, seed=1)]
    results += [record(value=80.0, seed=seed) for seed in (0, 1)]
    table = table_of(results)
    assert [row.cell_values[0].remarks for row in table.rows] == [("cut off",), ("1/2 cut off",), ()]
    assert [row.cell_values[0].best for row in table.rows] == [False, False, False]
    notes = footnotes(table)
    assert (
        notes.account[0] == "cells: 6 ok; cut off: no survivor in scope lies on a path from inputs to outputs"
    )
    assert notes.troubles == ("nothing left of head.weight: t/a lth 0.5 seed 0 and 2 more",)


def test_tensors_of_which_nothing_is_left_are_named_where_most_nets_lost_them_first(record) -> None:
    lost = [["a", "b", "c"], ["d"], ["d"], ["e", "h"], ["f", "g"]]
    results = [record(seed=seed, table_interval={"dead_tensors": names}) for seed, names in enumerate(lost)]
    assert footnotes(table_of(results)).troubles == (
        "nothing left of d: t/a omp-after 0.5 seed 1 and 1 more",
        "nothing left of a and 2 more tensors: t/a omp-after 0.5 seed 0",
        "nothing left of e and h: t/a omp-after 0.5 seed 3",
        "nothing left of others in 1 more, whose certificates name them",
    )


@pytest.mark.parametrize(("higher", "best"), [(True, "lth"), (False, "omp-after")])
def test_best_is_what_the_metric_calls_best(record, higher, best) -> None:
    table = table_of([record("omp-after", value=3.0, higher=higher), record("lth", value=4.0, higher=higher)])
    assert [row.method for row in table.rows if row.cell_values[0].best] == [best]


def test_neither_a_single_method_nor_the_dense_column_has_a_best(record) -> None:
    alone = table_of([record("dense", value=90.0), record(value=80.0)])
    assert not any(cell_value.best for row in alone.rows for cell_value in row.cell_values)
    two = table_of([record("dense", value=90.0), record(value=80.0), record("lth", value=80.0)])
    assert [[cell_value.best for cell_value in row.cell_values] for row in two.rows] == [
        [False, True],
        [False, True],
    ]


def test_a_sparsity_that_was_missed_is_shown(record) -> None:
    assert shown([record(reached=0.5009)]) == {"omp-after": ["80.0"]}
    assert shown([record(reached=0.45)]) == {"omp-after": ["80.0 (@0.450)"]}


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        ({"spread": "erk"}, ["omp-after (global)", "omp-after (erk)"]),
        ({"scope": "all-2d"}, ["omp-after (body)", "omp-after (all-2d)"]),
        ({"protocol": "paper"}, ["omp-after (sound)", "omp-after (paper)"]),
        ({"recipe": {"epochs": 2.0, "steps": None}}, ["omp-after (epochs=1.0)", "omp-after (epochs=2.0)"]),
        ({"limited": 8}, ["omp-after", "omp-after (limit=8)"]),
        ({"source": "synthetic"}, ["omp-after (there)", "omp-after (synthetic)"]),
    ],
)
def test_what_differs_in_more_than_the_method_stands_in_rows_of_its_own(record, other, labels) -> None:
    assert shown([record(value=80.0), record(value=60.0, **other)]) == dict(
        zip(labels, [["80.0"], ["60.0"]], strict=True)
    )


def test_the_same_data_in_two_folders_is_the_same_data(record) -> None:
    moved = record(seed=1, value=82.0, source="/elsewhere/there", data_digest="da7a")
    assert shown(same_data([record(value=80.0), moved])) == {"omp-after": ["81.0±12.7"]}
    again = record(value=82.0, source="/elsewhere/there", data_digest="da7a")
    assert shown(same_data([record(value=80.0), again])) == {
        "omp-after": ["82.0"]
    }  # one cell: the later counts


def test_spread_sets_even_tasks_apart_that_have_only_one(record) -> None:
    table = table_of([record(), record(task="t/b", distribution="lamp")])
    assert [row.method for row in table.rows] == ["omp-after (global)", "omp-after (lamp)"]


def test_patterns_and_dense_stand_in_the_rows_of_every_spread(record) -> None:
    results = [
        record(pattern="2:4", value=77.0),
        record("dense", value=90.0),
        record(value=80.0),
        record(value=60.0, distribution="erk"),
    ]
    assert shown(results) == {
        "omp-after (global)": ["90.0", "80.0", "77.0"],
        "omp-after (erk)": ["90.0", "60.0", "77.0"],
    }


def test_dense_of_another_recipe_is_not_compared_with(record) -> None:
    longer = {"epochs": 2.0, "steps": None}
    results = [
        record("dense", value=90.0),
        record(value=80.0, recipe=longer),
        record("dense", value=91.0, recipe=longer),
    ]
    assert shown(results) == {"omp-after (epochs=2.0)": ["91.0", "80.0"], "dense (epochs=1.0)": ["90.0", "–"]}


def test_records_read_from_a_book_share_rows_with_fresh_ones(record) -> None:
    fresh = record(seed=0, value=80.0, recipe={"betas": (0.9, 0.999)})
    read = record(seed=1, value=82.0, recipe={"betas": [0.9, 0.999]})
    assert shown([fresh, read]) == {"omp-after": ["81.0±12.7"]}
    other = record("lth", recipe={"betas": [0.9, 0.98]})
    assert list(shown([fresh, other])) == ["omp-after (betas=[0.9, 0.999])", "lth (betas=[0.9, 0.98])"]


def test_a_cell_that_read_no_data_joins_the_row_of_its_method(record) -> None:
    unread = {"source": "./there", "digest": "", "limited": None}
    results = [record("lth"), record("lth", value=None, pattern="2:4", data=unread, status="skipped")]
    assert shown(results) == {"lth": ["80.0", "n/a"]}


def test_of_two_records_of_one_cell_the_later_counts(record) -> None:
    results = [record(value=10.0, digest="old"), record(value=80.0, digest="new")]
    assert shown(results) == {"omp-after": ["80.0"]}
    assert "not shown: 1 earlier records of the same cells" in footnotes(table_of(results)).account


def test_a_score_within_one_has_three_decimals(record) -> None:
    assert shown([record(value=0.61234, metric="spearman")]) == {"omp-after": ["0.612"]}
    assert shown([record(value=0.5, metric="accuracy (%)")]) == {"omp-after": ["0.5"]}


def test_further_numbers_are_pooled_over_those_that_have_them(record) -> None:
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


def test_footnotes_say_how_the_numbers_were_made(record) -> None:
    results = [record("dense", fold=0), record("dense", fold=1), record(fold=0), record(fold=1)]
    notes = footnotes(table_of([*results, record(fold=0, seed=1), record(value=70.0, fold=1, seed=1)]))
    assert notes.loud == ()
    assert notes.setting == (
        "score: accuracy (%), higher is better",
        "columns: share of the weights in scope that is gone; protocol sound; scope body; spread global",
        "model: tiny",
        "data: there",
        "seeds 0, 1; ± reaches the farther end of the mean's 95 % interval, over 2 seeds (t)",
        "folds of t/a: 0, 1, pooled by examples within each seed",
        "signature of t/a: acc|v1",
    )
    assert notes.account == (
        "cells: 6 ok",
        "cost: 72 s (train 60 s, prune 3 s, predict 9 s); stages that cells share count in each",
    )


def test_twins_and_limits_are_said_aloud_and_of_whom(record) -> None:
    assert footnotes(table_of([record(source="synthetic")])).loud == ("SYNTHETIC DATA: no result",)
    mixed = table_of([record(source="synthetic"), record(task="t/b", limited=8)])
    assert footnotes(mixed).loud == (
        "SYNTHETIC DATA: no result (t/a)",
        "LIMITED to 8 examples of each part: no result (t/b)",
    )


def test_signatures_that_differ_are_called_incomparable(record) -> None:
    other = record("lth")
    assert other.score is not None
    other.score.signature = "acc|v2"
    told = footnotes(table_of([record(), other])).setting
    assert "signature of t/a: acc|v1 | acc|v2 (they differ: not comparable)" in told


def test_no_records_make_an_empty_table() -> None:
    table = table_of([])
    assert (table.columns, table.rows) == ((), ())


@given(st.data())
def test_the_order_of_records_changes_no_square(record, data) -> None:
    results = [
        *(
            record("dense", value=90.0 + seed, seed=seed, scope=scope)
            for seed in (0, 1)
            for scope in ("body", "all-2d")
        ),
        *(record(value=80.0 + fold, fold=fold, n=10 + fold, task="t/b") for fold in range(3)),
        *(
            record("lth", value=70.0 + seed, seed=seed, scope=scope)
            for seed in (0, 1)
            for scope in ("body", "all-2d")
        ),
        record("lth", value=60.0, pattern="2:4"),
        record("omp-after", value=None, scope="all-2d"),
    ]

    def squares(records) -> dict[tuple[str, str], list[str]]:
        table = table_of(records)
        return {
            (row.task, row.method): [cell_value.text for cell_value in row.cell_values] for row in table.rows
        }

    assert squares(data.draw(st.permutations(results))) == squares(results)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), min_size=1, max_size=5))
def test_a_pooled_score_lies_between_its_folds(record, folds) -> None:
    (row,) = table_of([record(value=value, n=n, fold=fold) for fold, (value, n) in enumerate(folds)]).rows
    values = [value for value, _ in folds]
    assert min(values) - 1e-9 <= row.cell_values[0].value <= max(values) + 1e-9


STEPS, THRICE = ({"measure": "steps", "factor": factor, "inside": 1.0} for factor in (1.0, 3.0))


def test_budgets_are_rows_apart_and_a_dense_net_stands_beside_those_it_was_trained_like(record) -> None:
    records = [
        record("dense", value=90.0),
        record("dense", value=95.0, match=THRICE),
        record("lth", value=70.0),
        record("lth", value=60.0, match=STEPS),
        record("lth", value=80.0, match=THRICE),
    ]
    assert shown(records) == {
        "lth": ["90.0", "70.0"],
        "lth (match=steps)": ["90.0", "60.0"],
        "lth (factor=3, match=steps)": ["95.0", "80.0"],
    }
    assert "match steps=3, steps: what a cell trains along its whole chain, of the dense recipe" in (
        footnotes(table_of(records)).setting
    )


def test_a_budget_that_all_rows_have_is_told_once_below(record) -> None:
    table = table_of([record("dense"), record("lth", match=STEPS), record("snip", match=STEPS)])
    assert [row.method for row in table.rows] == ["lth", "snip"]
    assert [line for line in footnotes(table).setting if line.startswith("match")] == [
        "match steps: what a cell trains along its whole chain, of the dense recipe"
    ]
    assert not any(line.startswith("match") for line in footnotes(table_of([record("lth")])).setting)
