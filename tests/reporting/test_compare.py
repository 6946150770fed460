"""Comparisons of two methods, and the command that prints them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.errors import UnknownName, UsageError
from smc_eval.reporting.compare import compare_methods
from smc_eval.score import Items
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile

N = 100


def items_with(right: int) -> Items:
    """Items of which the first `right` of a hundred are right."""
    return Items("mean", tuple((100.0 * (at < right),) for at in range(N)))


def find_items(digest: str) -> Items:
    """As many right items as the number after the digest's `=`."""
    return items_with(int(digest.rpartition("=")[2]))


@pytest.fixture(scope="session")
def make(record: Any) -> Any:
    """Makes records with their score in the digest."""

    def make_record(method: str, sparsity: float = 0.5, value: float = 80, **changes: Any) -> Record:
        plain: Record = record(method, sparsity, value, **changes)
        return replace(plain, digest=f"{plain.digest}={value}".replace("/", "-"))

    return make_record


def test_only_what_both_methods_have_is_compared(make: Any) -> None:
    records = [make("a", 0.5, 80), make("b", 0.5, 50), make("a", 0.9, 30), make("b", 0.7, 30)]
    (result,) = compare_methods(records, find_items, "a", "b")
    assert (result.level, result.comparison.a, result.comparison.b, result.comparison.difference) == (
        "0.5",
        80,
        50,
        30,
    )
    assert result.better == "a" and result.p < 0.001


def test_equal_scores_are_a_tie(make: Any) -> None:
    (result,) = compare_methods([make("a", 0.5, 50), make("b", 0.5, 50)], find_items, "a", "b")
    assert result.better == "tie" and result.p == 1


def test_the_lower_score_is_better_for_a_metric_where_lower_is_better(make: Any) -> None:
    records = [make("a", 0.5, 80, higher=False), make("b", 0.5, 50, higher=False)]
    (result,) = compare_methods(records, find_items, "a", "b")
    assert result.better == "b"


def test_the_dense_net_is_compared_with_every_sparsity(make: Any) -> None:
    records = [make("dense", value=80), make("b", 0.5, 79), make("b", 0.9, 20)]
    results = compare_methods(records, find_items, "dense", "b")
    assert [(result.level, result.better) for result in results] == [("0.5", "tie"), ("0.9", "a")]


def test_a_dense_net_requested_in_two_scopes_counts_once(make: Any) -> None:
    dense = [
        make("dense", value=80, seed=seed, scope=scope) for scope in ("body", "all-2d") for seed in (0, 1)
    ]
    (result,) = compare_methods(
        [*dense, *(make("b", 0.5, 70, seed=seed) for seed in (0, 1))], find_items, "dense", "b"
    )
    assert (result.comparison.seeds, result.comparison.items) == (2, N)


def test_p_values_are_corrected_for_the_number_of_tests(make: Any) -> None:
    records = [
        make(method, level, value) for level in (0.5, 0.7, 0.9) for method, value in (("a", 60), ("b", 52))
    ]
    results = compare_methods(records, find_items, "a", "b")
    assert [result.p for result in results] == pytest.approx([3 * result.comparison.p for result in results])


def test_without_items_one_seed_gives_no_interval_and_three_give_students(make: Any) -> None:
    (one,) = compare_methods([make("a", 0.5, 80), make("b", 0.5, 50)], lambda _: None, "a", "b")
    assert one.better == "unknown" and one.comparison.interval is None
    records = [
        make(method, 0.5, value + seed, seed=seed)
        for seed, off in enumerate((0, 1, 0))
        for method, value in (("a", 80 + off), ("b", 50))
    ]
    (three,) = compare_methods(records, lambda _: None, "a", "b")
    assert (
        three.better == "a"
        and three.comparison.interval is not None
        and three.comparison.interval.over == "3 seeds (t)"
    )


def test_uncertified_records_are_not_compared(make: Any) -> None:
    with pytest.raises(UnknownName):
        compare_methods([make("a", 0.5, 80, ok=False), make("b", 0.5, 50)], find_items, "a", "b")


def test_one_of_several_rows_of_a_method_is_selected_by_a_field(make: Any) -> None:
    records = [make("a", 0.5, 80), make("a", 0.5, 20, distribution="erk"), make("b", 0.5, 50)]
    with pytest.raises(UsageError, match="'a' has several rows on t/a: distribution erk, global; choose one"):
        compare_methods(records, find_items, "a", "b")
    with pytest.raises(UnknownName, match="no field of --where is named 'distribtion'; did you mean 'dist"):
        compare_methods(records, find_items, "a", "b", {"distribtion": "erk"})


def test_a_value_that_no_record_has_is_named_with_the_values_that_occur(make: Any) -> None:
    records = [make("a", 0.5, 80), make("b", 0.5, 50)]
    with pytest.raises(UnknownName, match=r"no task of a certified record is named 't/b'; .*known: t/a"):
        compare_methods(records, find_items, "a", "b", {"task": "t/b"})


def test_comparisons_are_in_the_order_of_the_table(make: Any) -> None:
    pattern = {"target": {"sparsity": 0.5, "pattern": "2:4", "distribution": "uniform"}}
    records = [
        make(method, 0.5, value, task=task, **changes)
        for task in ("race/middle", "race/high")
        for changes in (pattern, {})
        for method, value in (("a", 80), ("b", 50))
    ]
    results = compare_methods(records, find_items, "a", "b")
    assert [(result.task, result.level) for result in results] == [
        ("race/middle", "0.5"), ("race/middle", "2:4"), ("race/high", "0.5"), ("race/high", "2:4"),
    ]  # fmt: skip


def test_other_differences_than_the_method_are_reported(make: Any) -> None:
    records = [make("a", 0.5, 80), make("b", 0.5, 50, scope="all-2d", distribution="erk")]
    (result,) = compare_methods(records, find_items, "a", "b")
    assert result.unlike == {"scope": ("body", "all-2d")}  # a method may choose its distribution
    (same,) = compare_methods([make("dense", value=80), make("b", 0.5, 50)], find_items, "dense", "b")
    assert same.unlike == {}


def test_versions_and_data_that_differ_between_any_two_records_of_a_comparison_are_reported(
    make: Any,
) -> None:
    def with_torch(method: str, seed: int, torch: str, **changes: Any) -> Record:
        return make(method, 0.5, 80, seed=seed, versions={"torch": torch}, **changes)

    records = [with_torch("a", 0, "2.13.0"), with_torch("a", 1, "2.13.0"), with_torch("b", 0, "2.13.0")]
    (same,) = compare_methods([*records, with_torch("b", 1, "2.13.0")], find_items, "a", "b")
    assert same.differing == {}
    (result,) = compare_methods([*records, with_torch("b", 1, "2.12.0")], find_items, "a", "b")
    assert result.differing == {"torch": ("2.12.0", "2.13.0")}
    changed = with_torch("b", 1, "2.13.0", data_digest="b" * 64)
    (result,) = compare_methods([*records, changed], find_items, "a", "b")
    assert result.differing == {"data": ("bbbbbbbb", "da7a")}


def test_comparisons_without_an_interval_do_not_count_in_the_correction(make: Any) -> None:
    records = [make(method, level, value) for level in (0.5, 0.9) for method, value in (("a", 60), ("b", 50))]

    def find_some(digest: str) -> Items | None:
        return find_items(digest) if " 0.5 " in digest else None

    comparisons = compare_methods(records, find_some, "a", "b")
    assert [result.better == "unknown" for result in comparisons] == [False, True]
    assert comparisons[0].p == comparisons[0].comparison.p


def test_a_method_can_be_compared_with_itself_at_another_sparsity(make: Any) -> None:
    records = [make("a", 0.36, 80), make("a", 1 - 0.8**5, 50), make("a", 0.9, 20)]
    (result,) = compare_methods(records, find_items, "a@0.36", "a@0.672")
    assert (result.level, result.comparison.a, result.comparison.b, result.better) == (
        "0.36 / 0.672",
        80,
        50,
        "a",
    )


def test_two_methods_can_be_compared_at_a_given_sparsity(make: Any) -> None:
    records = [make(method, at, value) for at in (0.5, 0.9) for method, value in (("a", 80), ("b", 50))]
    (result,) = compare_methods(records, find_items, "a@0.9", "b@0.90")
    assert (result.level, result.p) == ("0.9", result.comparison.p)


def test_a_method_at_one_sparsity_is_compared_with_every_sparsity_of_the_other_but_itself(make: Any) -> None:
    records = [make("a", 0.5, 80), make("a", 0.9, 20), make("b", 0.5, 50), make("b", 0.9, 79)]
    results = compare_methods(records, find_items, "a@0.5", "b")
    differences = [(result.level, result.comparison.difference) for result in results]
    assert differences == [("0.5", 30), ("0.5 / 0.9", 1)]
    assert [result.level for result in compare_methods(records, find_items, "a@0.5", "a")] == ["0.5 / 0.9"]
    (dense,) = compare_methods([*records, make("dense", value=80)], find_items, "dense", "b@0.9")
    assert dense.level == "0.9"


def test_a_pattern_is_written_like_a_sparsity(make: Any) -> None:
    records = [make("a", 0.5, 80, pattern="2:4"), make("a", 0.5, 50)]
    (result,) = compare_methods(records, find_items, "a@2:4", "a@0.5")
    assert (result.level, result.comparison.difference) == ("2:4 / 0.5", 30)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a@x", "'a' has no sparsity 'x'; write one of 0.488, 0.9"),
        ("a@", "'a' has no sparsity ''; write one of 0.488, 0.9"),
        ("a@0.5", "'a' has no sparsity '0.5'; write one of 0.488, 0.9"),  # 0.488 is close, but not equal
        ("a@0.7", "'a' has no sparsity '0.7'; write one of 0.488, 0.9"),  # a sparsity of b
        ("c@0.9", "no method with certified records is named 'c'"),
        ("dense@0.9", "'dense@0.9' names a sparsity of the dense net, which has none; write dense"),
    ],
)
def test_an_unknown_sparsity_is_an_error_that_lists_the_known_ones(
    make: Any, word: str, message: str
) -> None:
    records = [make("a", 1 - 0.8**3, 80), make("a", 0.9, 20), make("b", 0.7, 50), make("dense", value=90)]
    with pytest.raises(UsageError) as error:
        compare_methods(records, find_items, word, "b")
    assert message in str(error.value)


@pytest.mark.parametrize("word", ["0.488", "0.48800", ".488", "0.4880"])
def test_a_sparsity_is_matched_to_three_decimals_or_more(make: Any, word: str) -> None:
    records = [make("a", 0.488, 80), make("a", 0.9, 20), make("b", 0.488, 50)]
    assert len(compare_methods(records, find_items, f"a@{word}", "b@0.488")) == 1


def test_one_method_and_sparsity_named_twice_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match="named twice; name two methods, or one at two sparsities"):
        compare_methods([make("a", 1 - 0.8**5, 80)], find_items, "a@0.672", "a@0.67232")


def test_the_command_warns_of_versions_that_differ(make: Any, tmp_path: Path) -> None:
    records_file = RecordsFile(tmp_path)
    for method, torch in (("a", "2.12.0"), ("b", "2.13.0")):
        for level in (0.5, 0.9):
            records_file.add(make(method, level, 80, task="t", versions={"torch": torch}))

    def run(*words: str) -> str:
        words = ("compare", "a", "b", str(tmp_path), *words)
        return CliRunner().invoke(app, words, catch_exceptions=False).stdout

    warning = "VERSIONS DIFFER: torch 2.12.0 | 2.13.0 (t 0.5); scores may, for this reason alone"
    assert " ".join(run().split()).count(warning) == 1
    for plain in json.loads(run("--format", "json")):
        assert plain["differing"] == {"torch": ["2.12.0", "2.13.0"]}


def test_the_command_says_why_a_difference_has_no_interval(make: Any, tmp_path: Path) -> None:
    records_file, predictions = RecordsFile(tmp_path), Predictions(tmp_path)
    for method in ("a", "b"):
        for level in (0.5, 0.9):
            record = make(method, level, 100 * 0.25**0.25, task="t")
            records_file.add(record)
            if level == 0.5:
                row = (9.0, 7.0, 5.0, 4.0, 10.0, 9.0, 8.0, 7.0, 10.0, 10.0)
                predictions.save(record.digest, [], Items("bleu", (row,) * N))
    shown = CliRunner().invoke(app, ["compare", "a", "b", str(tmp_path)], catch_exceptions=False).stdout
    assert shown.count("unknown: ") == 2
    assert "unknown: the difference is the same everywhere" in shown
    assert "unknown: one seed, and no predictions that can be paired" in shown


def test_the_command_prints_every_format_and_refuses_wrong_names(make: Any, tmp_path: Path) -> None:
    records_file, predictions = RecordsFile(tmp_path), Predictions(tmp_path)
    for record in (make("a", 0.5, 80, task="t"), make("b", 0.5, 50, task="t")):
        records_file.add(record)
        predictions.save(record.digest, [], find_items(record.digest))

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["compare", *words], catch_exceptions=False)

    shown = run("a", "b", str(tmp_path))
    assert shown.exit_code == 0
    line = " ".join(shown.stdout.splitlines()[2].split())
    assert line == "t 0.5 80.0 50.0 +30.0 +20.6 to +39.4 <0.001 <0.001 a"
    assert "paired over 100 items of one seed; p (Holm) is corrected for 1 comparison" in shown.stdout
    (plain,) = json.loads(run("a", "b", str(tmp_path), "--format", "json").stdout)
    assert plain["a"] == {"method": "a", "score": 80} and plain["better"] == "a"
    assert run("a", "b", str(tmp_path), "--format", "csv").stdout.startswith(
        "task,model,sparsity,a,b,difference,"
    )
    assert "| t | tiny | 0.5 |" in run("a", "b", str(tmp_path), "--format", "markdown").stdout
    latex = run("a@0.5", "b@0.5", str(tmp_path), "--format", "latex").stdout
    assert r"t & tiny & 0.5 & 80.0 & 50.0 & +30.0 & +20.6 to +39.4 & \textless{}0.001" in latex
    assert (
        r"task & model & sparsity & a@0.5 & b@0.5 & difference & 95 \% interval & p & p (Holm) & better \\"
        in latex
    )
    for wrong, message in (
        (("a", "c", str(tmp_path)), "no method with certified records is named 'c'"),
        (("a", "a", str(tmp_path)), "'a' was named twice"),
        (("a", "b", str(tmp_path / "none")), "holds no results.jsonl"),
        (("a", "b", str(tmp_path), "--format", "pdf"), "'pdf'"),
    ):
        result = run(*wrong)
        assert result.exit_code == 2
        assert message in result.stderr
