"""Footnotes: warnings, problems, settings and totals."""

from __future__ import annotations

from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.table import table_of


def test_a_failed_fold_is_left_out_and_its_reason_is_a_footnote(record, shown) -> None:
    results = [record(value=70.0, fold=fold) for fold in range(4)] + [record(value=None, fold=4)]
    assert shown(results) == {"omp-after": ["70.0 (4/5 folds)"]}
    assert footnotes(table_of(results)).problems == (
        "failed: t/a fold 4 omp-after 0.5 seed 0: out of memory\n  try less",
    )


def test_a_failed_cell_is_marked_and_equal_reasons_are_shown_once(record, shown) -> None:
    results = [record(value=None), record(value=None, seed=1), record(value=None, seed=2, reason="disk full")]
    assert shown(results) == {"omp-after": ["failed"]}
    assert footnotes(table_of(results)).problems == (
        "failed: t/a omp-after 0.5 seed 0 and 1 more: out of memory\n  try less",
        "failed: t/a omp-after 0.5 seed 2: disk full",
    )


def test_a_long_reason_is_shortened_to_three_lines(record) -> None:
    (problem,) = footnotes(table_of([record(value=None, reason="a\nb\nc\nd")])).problems
    assert problem.splitlines() == ["failed: t/a omp-after 0.5 seed 0: a", "  b", "  c"]


def test_an_unsupported_pattern_is_not_a_failure(record, shown) -> None:
    refused = record("lth", value=None, pattern="2:4", status="skipped", reason="lth cannot make 2:4")
    results = [record("lth"), refused]
    assert shown(results) == {"lth": ["80.0", "n/a"]}
    notes = footnotes(table_of(results))
    assert notes.problems == ("skipped: t/a lth 2:4 seed 0: lth cannot make 2:4",)
    assert notes.totals[0] == "cells: 1 ok, 1 skipped; n/a: not supported by the method"


def test_an_uncertified_score_is_marked_and_enters_no_mean(record, shown) -> None:
    results = [record(value=80.0), record(value=82.0, seed=1), record(value=10.0, seed=2, ok=False)]
    assert shown(results) == {"omp-after": ["81.0±12.7! (2/3 seeds)"]}
    (row,) = table_of(results).rows
    assert row.cell_values[0].state == "doubt"
    notes = footnotes(table_of(results))
    assert notes.warnings == (
        "! 1 of 3 results failed the certificate; means of certified results exclude them",
    )
    assert notes.problems == ("certificate: t/a omp-after 0.5 seed 2: 50 weights remain, 40 expected",)


def test_dead_tensors_are_named_in_the_order_of_how_many_nets_have_them(record) -> None:
    dead = [["a", "b", "c"], ["d"], ["d"], ["e", "h"], ["f", "g"]]
    results = [record(seed=seed, certificate={"dead_tensors": names}) for seed, names in enumerate(dead)]
    assert footnotes(table_of(results)).problems == (
        "all weights pruned in d: t/a omp-after 0.5 seed 1 and 1 more",
        "all weights pruned in a and 2 more tensors: t/a omp-after 0.5 seed 0",
        "all weights pruned in e and h: t/a omp-after 0.5 seed 3",
        "all weights pruned in other tensors of 1 more; their certificates name the tensors",
    )


COLUMNS = (
    "columns: sparsity (share of pruned weights in scope); protocol sound; scope body; distribution global"
)


def test_footnotes_give_the_settings_of_the_numbers(record) -> None:
    results = [record("dense", fold=0), record("dense", fold=1), record(fold=0), record(fold=1)]
    notes = footnotes(table_of([*results, record(fold=0, seed=1), record(value=70.0, fold=1, seed=1)]))
    assert notes.warnings == ()
    assert notes.settings == (
        "score: accuracy (%), higher is better",
        COLUMNS,
        "model: tiny",
        "data: there",
        "seeds 0, 1; ± is the longer half of the 95 % confidence interval over 2 seeds (t)",
        "folds of t/a: 0, 1; pooled within each seed, weighted by examples",
        "signature of t/a: acc|v1",
    )
    assert notes.totals == (
        "cells: 6 ok",
        "cost: 72 s (train 60 s, prune 3 s, predict 9 s); a stage that cells share counts in each of them",
    )


def test_synthetic_data_and_limits_are_warnings_that_name_their_tasks(record) -> None:
    assert footnotes(table_of([record(source="synthetic")])).warnings == ("SYNTHETIC DATA: not a result",)
    mixed = table_of([record(source="synthetic"), record(task="t/b", limited=8)])
    assert footnotes(mixed).warnings == (
        "SYNTHETIC DATA: not a result (t/a)",
        "LIMITED to 8 examples of each part: not a result (t/b)",
    )


def test_different_signatures_are_called_not_comparable(record) -> None:
    other = record("lth", score={"signature": "acc|v2"})
    settings = footnotes(table_of([record(), other])).settings
    assert "signature of t/a: acc|v1 | acc|v2 (they differ: scores are not comparable)" in settings


STEPS = {"measure": "steps", "factor": 1.0, "inside": 1.0}


def test_a_budget_of_all_rows_is_named_in_the_footer_only(record) -> None:
    table = table_of([record("dense"), record("lth", match=STEPS), record("snip", match=STEPS)])
    assert [row.method for row in table.rows] == ["lth", "snip"]
    assert [line for line in footnotes(table).settings if line.startswith("match")] == [
        "match steps: training of a cell along its whole chain, relative to the dense recipe"
    ]
    assert not any(line.startswith("match") for line in footnotes(table_of([record("lth")])).settings)


def test_data_is_called_synthetic_only_by_cells_that_read_it(record) -> None:
    skipped = {"value": None, "status": "skipped", "reason": "no 2:4", "data": {"digest": ""}}
    notes = footnotes(table_of([record(), record("lth", source="synthetic", **skipped)]))
    assert notes.warnings == () and "data: there" in notes.settings
    notes = footnotes(table_of([record(source="synthetic"), record("lth", source="synthetic", **skipped)]))
    assert notes.warnings == ("SYNTHETIC DATA: not a result (t/a)",)


def test_a_task_that_keeps_its_published_model_is_named_with_the_reason(record) -> None:
    kept = [record(seed=seed, task="t/b", refused_models=["it is a causal LM"]) for seed in range(2)]
    assert footnotes(table_of([record(), *kept])).warnings == (
        "task 't/b' keeps its published model 'tiny': it is a causal LM",
    )


def test_what_a_method_tells_of_a_cell_stands_once_below_the_table(record) -> None:
    results = [record(seed=seed, notes=["3 of 4 tensors in scope found"]) for seed in range(3)]
    (note,) = [line for line in footnotes(table_of(results)).settings if line.startswith("note")]
    assert note == "note on t/a omp-after 0.5 seed 0 and 2 more: 3 of 4 tensors in scope found"
