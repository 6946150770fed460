"""Rows and columns of the table, with expected numbers written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.table import short_sparsities, table_of
from smc_eval.store.record import Record, same_data
from smc_eval.target import SMC_GRID


def test_the_dense_net_is_a_column_of_every_row_of_its_task(record) -> None:
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


def test_the_dense_net_is_a_row_if_there_is_no_other_method(record, shown) -> None:
    assert shown([record("dense", value=90.0), record("dense", value=92.0, seed=1)]) == {
        "dense": ["91.0±12.7"]
    }


def test_columns_are_dense_then_ascending_sparsities_then_patterns(record) -> None:
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


def test_the_sparsities_of_the_paper_have_three_decimals() -> None:
    names = "0.2 0.36 0.488 0.59 0.672 0.738 0.79 0.832 0.866 0.893"
    assert " ".join(short_sparsities(SMC_GRID).values()) == names


@pytest.mark.parametrize(
    ("sparsities", "names"),
    [
        ([0.0, 0.5], ["0", "0.5"]),
        ([0.9995], ["0.9995"]),
        ([0.999999], ["0.999999"]),
        ([0.9999999999], ["0.9999999999"]),
        ([0.99999999999999, 0.9999999999999], ["0.99999999999999", "0.9999999999999"]),
        ([1.0, 0.5], ["1", "0.5"]),
        ([0.59, 0.5904, 0.8], ["0.59", "0.5904", "0.8"]),
    ],
)
def test_column_names_differ_from_1_and_from_each_other(sparsities, names) -> None:
    assert list(short_sparsities(sparsities).values()) == names


@given(st.sets(st.integers(0, 999_999_999), min_size=1, max_size=6))
def test_names_of_columns_are_distinct_and_close_to_the_sparsity(billionths) -> None:
    names = short_sparsities([number / 1e9 for number in billionths])
    assert len(set(names.values())) == len(names)
    assert all(abs(float(name) - sparsity) <= 5e-4 for sparsity, name in names.items())
    assert all(0 <= float(name) < 1 for name in names.values())


def test_sparsities_that_differ_by_rounding_noise_share_a_column(record) -> None:
    table = table_of([record("lth", 1 - 0.8**3), record("omp-after", 0.488)])
    assert table.columns == ("0.488",)


@pytest.mark.parametrize(("higher", "best"), [(True, "lth"), (False, "omp-after")])
def test_the_best_score_depends_on_the_metric(record, higher, best) -> None:
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


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        ({"distribution": "erk"}, ["omp-after (global)", "omp-after (erk)"]),
        ({"scope": "all-2d"}, ["omp-after (body)", "omp-after (all-2d)"]),
        ({"protocol": "paper"}, ["omp-after (sound)", "omp-after (paper)"]),
        ({"recipe": {"epochs": 2.0, "steps": None}}, ["omp-after (epochs=1.0)", "omp-after (epochs=2.0)"]),
        ({"limited": 8}, ["omp-after", "omp-after (limit=8)"]),
        ({"source": "synthetic"}, ["omp-after (there)", "omp-after (synthetic)"]),
    ],
)
def test_records_that_differ_in_a_facet_are_in_separate_rows(record, shown, other, labels) -> None:
    assert shown([record(value=80.0), record(value=60.0, **other)]) == dict(
        zip(labels, [["80.0"], ["60.0"]], strict=True)
    )


def test_the_same_data_in_two_folders_is_the_same_data(record, shown) -> None:
    moved = record(seed=1, value=82.0, source="/elsewhere/there", data_digest="da7a")
    assert shown(same_data([record(value=80.0), moved])) == {"omp-after": ["81.0±12.7"]}
    again = record(value=82.0, source="/elsewhere/there", data_digest="da7a")
    assert shown(same_data([record(value=80.0), again])) == {
        "omp-after": ["82.0"]
    }  # one cell: the last record counts


def test_distributions_are_named_even_in_tasks_that_have_only_one(record) -> None:
    table = table_of([record(), record(task="t/b", distribution="lamp")])
    assert [row.method for row in table.rows] == ["omp-after (global)", "omp-after (lamp)"]


def test_patterns_and_the_dense_net_are_in_the_rows_of_every_distribution(record, shown) -> None:
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


def test_a_dense_net_of_another_recipe_is_in_a_separate_row(record, shown) -> None:
    longer = {"epochs": 2.0, "steps": None}
    results = [
        record("dense", value=90.0),
        record(value=80.0, recipe=longer),
        record("dense", value=91.0, recipe=longer),
    ]
    assert shown(results) == {"omp-after (epochs=2.0)": ["91.0", "80.0"], "dense (epochs=1.0)": ["90.0", "–"]}


def test_records_read_from_disk_share_rows_with_new_ones(record, shown) -> None:
    new = record(seed=0, value=80.0, recipe={"betas": (0.9, 0.999)})
    read = record(seed=1, value=82.0, recipe={"betas": [0.9, 0.999]})
    assert shown([new, read]) == {"omp-after": ["81.0±12.7"]}
    other = record("lth", recipe={"betas": [0.9, 0.98]})
    assert list(shown([new, other])) == ["omp-after (betas=[0.9, 0.999])", "lth (betas=[0.9, 0.98])"]


def test_a_cell_without_data_is_in_the_row_of_its_method(record, shown) -> None:
    unread = {"source": "./there", "digest": "", "limited": None}
    results = [record("lth"), record("lth", value=None, pattern="2:4", data=unread, status="skipped")]
    assert shown(results) == {"lth": ["80.0", "n/a"]}


def test_the_last_record_of_a_cell_counts(record, shown) -> None:
    results = [record(value=10.0, digest="old"), record(value=80.0, digest="new")]
    assert shown(results) == {"omp-after": ["80.0"]}
    assert "not shown: 1 earlier records of the same cells" in footnotes(table_of(results)).totals


def test_no_records_make_an_empty_table() -> None:
    table = table_of([])
    assert (table.columns, table.rows) == ((), ())


@given(st.data())
def test_the_order_of_records_changes_no_cell(record, data) -> None:
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

    def texts(records) -> dict[tuple[str, str], list[str]]:
        table = table_of(records)
        return {
            (row.task, row.method): [cell_value.text for cell_value in row.cell_values] for row in table.rows
        }

    assert texts(data.draw(st.permutations(results))) == texts(results)


STEPS, STEPS_3 = ({"measure": "steps", "factor": factor, "inside": 1.0} for factor in (1.0, 3.0))


def test_budgets_have_separate_rows_each_with_the_dense_net_of_equal_training(record, shown) -> None:
    records = [
        record("dense", value=90.0),
        record("dense", value=95.0, match=STEPS_3),
        record("lth", value=70.0),
        record("lth", value=60.0, match=STEPS),
        record("lth", value=80.0, match=STEPS_3),
    ]
    assert shown(records) == {
        "lth": ["90.0", "70.0"],
        "lth (match=steps)": ["90.0", "60.0"],
        "lth (factor=3, match=steps)": ["95.0", "80.0"],
    }
    assert "match steps=3, steps: training of a cell along its whole chain, relative to the dense recipe" in (
        footnotes(table_of(records)).settings
    )


def test_a_pattern_that_is_a_star_has_a_row_of_its_own(record) -> None:
    def chosen(*include: str, seed: int = 0) -> Record:
        plain = record("omp-after", 0.5, seed=seed)
        return replace(plain, target=replace(plain.target, include=include), digest=f"{include} {seed}")

    table = table_of([chosen(), chosen("*"), chosen("*", seed=1), chosen("a"), chosen("a", "b")])
    assert {row.method: len(row.cell_values[0].records) for row in table.rows} == {
        "omp-after": 1,
        "omp-after (include=*)": 2,
        "omp-after (include=a)": 1,
        "omp-after (include=a, b)": 1,
    }
