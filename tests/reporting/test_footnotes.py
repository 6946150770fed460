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


def test_of_heads_the_columns_are_the_share_of_heads(record) -> None:
    heads = record(target={"sparsity": 0.5, "pattern": "heads", "distribution": "global", "scope": "body"})
    assert (
        COLUMNS.replace("in scope)", "in scope; heads: share of these)")
        in footnotes(table_of([heads])).settings
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
        "cost: 72 s (train 60 s, prune 3 s, predict 9 s); shared stages are counted once per cell",
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


def test_repeated_examples_are_counted_over_folds_with_the_score_without_them(record) -> None:
    def one(fold: int, value: float, without: float, **changes):
        data = {"repeats": {"in_train": 30 + fold, "in_test": 2}, "digest": f"fold {fold}"}
        return record(value=value, fold=fold, also={"without_repeats": without}, data=data, **changes)

    results = [one(0, 80.0, 70.0), one(1, 60.0, 57.5), one(1, 60.0, 58.0, seed=1)]
    clean = record(task="t/b", data={"repeats": {"in_train": 0, "in_test": 0}})
    gone = record(task="t/c", data={"repeats": {"in_train": 100, "in_test": 0}})
    settings = footnotes(table_of([*results, clean, gone, record(task="t/older")])).settings
    assert [line for line in settings if line.startswith("repeated")] == [
        (
            "repeated in the test data of t/a: 61 of 200 examples also stand in train, 4 stand twice; "
            "without them, scores change by -10.0 to -2.0"
        ),
        (
            "repeated in the test data of t/c: 100 of 100 examples also stand in train, 0 stand twice; "
            "no other example is left"
        ),
        "repeated in the test data: no example of t/b",
    ]


def test_what_is_left_out_or_unknown_and_the_highest_score_are_footnotes(record) -> None:
    data = {"left_out": {"train": 3, "test": 0}, "unknown_tokens": {"en": 0.0, "zh": 0.0123}}
    ceiling = {"en-zh": 66.04, "zh-en": 99.96, "en-fr": 98.0}
    settings = footnotes(
        table_of([record(data=data, score={"ceiling": ceiling}), record(task="t/b")])
    ).settings
    assert settings[-3:] == (
        "left out of t/a as incomplete: 3 train examples",
        "unknown tokens in the test data of t/a: zh 1.2%",
        (
            "best possible accuracy (%) of t/a: 88.0, from 66.0 (en-zh) to 100.0 (zh-en): "
            "references through the tokenizer and back"
        ),
    )


def test_versions_that_differ_within_a_mean_are_a_warning_and_between_rows_a_footnote(record) -> None:
    def with_torch(torch: str, **changes):
        return record(versions={"torch": torch, "threads": len(torch)}, **changes)

    mixed = [with_torch("2.12"), with_torch("2.13.0", seed=1), with_torch("2.13.0", sparsity=0.6)]
    notes = footnotes(table_of([*mixed, with_torch("2.12", sparsity=0.6, seed=1)]))
    assert notes.warnings == (
        "VERSIONS DIFFER WITHIN A MEAN: torch 2.12 | 2.13.0 (t/a omp-after 0.5 and 1 more)",
    )
    rows = footnotes(table_of([with_torch("2.12"), with_torch("2.13.0", method="lth")]))
    assert rows.warnings == ()
    assert (
        "versions of t/a: torch 2.12 | 2.13.0 (they differ: scores may, for this reason alone)"
        in rows.settings
    )


def test_a_version_that_a_record_does_not_name_and_that_of_a_failed_cell_differ_from_nothing(record) -> None:
    other = record(value=None, seed=2, versions={"torch": "1.0"})
    notes = footnotes(table_of([record(versions={"torch": "2.13.0"}), record(seed=1), other]))
    assert notes.warnings == () and not any("versions" in line for line in notes.settings)


def test_data_that_changed_in_its_folder_between_two_seeds_is_a_warning(record) -> None:
    notes = footnotes(table_of([record(data_digest="a" * 64), record(seed=1, data_digest="b" * 64)]))
    assert notes.warnings == ("VERSIONS DIFFER WITHIN A MEAN: data aaaaaaaa | bbbbbbbb (t/a omp-after 0.5)",)
    folds = [record(fold=fold, data_digest=str(fold) * 64) for fold in (0, 1)]
    assert footnotes(table_of(folds)).warnings == ()


def test_inputs_that_a_method_did_not_see_are_told_once_for_each_task_and_method(record) -> None:
    parts = [
        {"unseen": 0.25, "unseen_tensors": {"a": 1.0, "b": 0.5, "c": 1.0}, "padded": []},
        {"unseen": 0.1234, "unseen_tensors": {"a": 1.0}, "padded": ["d"]},
    ]
    results = [record("wanda", seed=seed, inputs=inputs) for seed, inputs in enumerate(parts)]
    assert footnotes(table_of([*results, record("lth")])).problems == (
        (
            "wanda saw no input of 25.00% of the weights in scope of t/a (a and 2 more tensors): "
            "there it knew the weights alone"
        ),
        "wanda on t/a: inputs of d may include padding",
    )


def test_a_head_that_its_config_ties_and_its_file_does_not_is_told_once(record) -> None:
    untied = {"model": "mine", "checkpoint": {"untied": {"head.weight": "words.weight"}}}
    tied = {"model": "other", "checkpoint": {"tied": {"head.weight": "words.weight"}}}
    results = [record(**untied), record(seed=1, **untied), record(**tied), record()]
    told = (
        "model mine: its config.json ties head.weight and words.weight; their values in the file differ, "
        "so they are two"
    )
    assert [line for line in footnotes(table_of(results)).problems if "ties" in line] == [told]


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
