"""Comparisons: two methods on what both have, and the verb that shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval.cli.app import app
from smc_eval.errors import UnknownName, UsageError
from smc_eval.reporting.compare import compare_methods
from smc_eval.score import Items
from smc_eval.store.predictions import Predictions
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile

N = 100


def right(count: int) -> Items:
    """The first so many of a hundred are right."""
    return Items("mean", tuple((100.0 * (at < count),) for at in range(N)))


def look(digest: str) -> Items:
    """As many right answers as the record's name says behind its `=`."""
    return right(int(digest.rpartition("=")[2]))


@pytest.fixture(scope="session")
def make(record: Any) -> Any:
    """Makes records whose digest tells their score."""

    def made(method: str, sparsity: float = 0.5, value: float = 80, **changes: Any) -> Record:
        one: Record = record(method, sparsity, value, **changes)
        return replace(one, digest=f"{one.digest}={value}".replace("/", "-"))

    return made


def test_what_both_have_is_compared_and_nothing_else(make: Any) -> None:
    records = [make("a", 0.5, 80), make("b", 0.5, 50), make("a", 0.9, 30), make("b", 0.7, 30)]
    (found,) = compare_methods(records, look, "a", "b")
    assert (found.level, found.comparison.a, found.comparison.b, found.comparison.difference) == (
        "0.5",
        80,
        50,
        30,
    )
    assert found.better == "a" and found.p < 0.001


def test_equal_answers_are_a_tie(make: Any) -> None:
    (found,) = compare_methods([make("a", 0.5, 50), make("b", 0.5, 50)], look, "a", "b")
    assert found.better == "tie" and found.p == 1


def test_where_less_is_better_the_lower_is_better(make: Any) -> None:
    records = [make("a", 0.5, 80, higher=False), make("b", 0.5, 50, higher=False)]
    (found,) = compare_methods(records, look, "a", "b")
    assert found.better == "b"


def test_the_dense_net_stands_beside_every_sparsity(make: Any) -> None:
    records = [make("dense", value=80), make("b", 0.5, 79), make("b", 0.9, 20)]
    found = compare_methods(records, look, "dense", "b")
    assert [(one.level, one.better) for one in found] == [("0.5", "tie"), ("0.9", "a")]


def test_a_dense_net_that_was_asked_for_in_two_scopes_is_one(make: Any) -> None:
    dense = [
        make("dense", value=80, seed=seed, scope=scope) for scope in ("body", "all-2d") for seed in (0, 1)
    ]
    (found,) = compare_methods(
        [*dense, *(make("b", 0.5, 70, seed=seed) for seed in (0, 1))], look, "dense", "b"
    )
    assert (found.comparison.seeds, found.comparison.items) == (2, N)


def test_chances_are_corrected_for_how_many_there_are(make: Any) -> None:
    records = [
        make(method, level, value) for level in (0.5, 0.7, 0.9) for method, value in (("a", 60), ("b", 52))
    ]
    found = compare_methods(records, look, "a", "b")
    assert [one.p for one in found] == pytest.approx([3 * one.comparison.p for one in found])


def test_without_items_one_seed_tells_nothing_and_three_tell_by_student(make: Any) -> None:
    one = compare_methods([make("a", 0.5, 80), make("b", 0.5, 50)], lambda _: None, "a", "b")
    assert one[0].better == "unknown" and one[0].comparison.interval is None
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


def test_what_is_not_certified_does_not_enter(make: Any) -> None:
    with pytest.raises(UnknownName):
        compare_methods([make("a", 0.5, 80, ok=False), make("b", 0.5, 50)], look, "a", "b")


def test_rows_of_one_method_are_told_apart_by_a_facet(make: Any) -> None:
    records = [make("a", 0.5, 80), make("a", 0.5, 20, distribution="erk"), make("b", 0.5, 50)]
    with pytest.raises(UsageError, match="'a' has several rows on t/a: spread erk, global; choose one"):
        compare_methods(records, look, "a", "b")
    with pytest.raises(UnknownName, match="facet"):
        compare_methods(records, look, "a", "b", {"sprad": "erk"})


def test_what_sets_records_apart_beside_the_method_is_told(make: Any) -> None:
    records = [make("a", 0.5, 80), make("b", 0.5, 50, scope="all-2d", distribution="erk")]
    (found,) = compare_methods(records, look, "a", "b")
    assert found.unlike == {"scope": ("body", "all-2d")}  # a spread may be a method's own
    (alike,) = compare_methods([make("dense", value=80), make("b", 0.5, 50)], look, "dense", "b")
    assert alike.unlike == {}


def test_what_tells_no_error_is_not_corrected_for(make: Any) -> None:
    records = [make(method, level, value) for level in (0.5, 0.9) for method, value in (("a", 60), ("b", 50))]
    told = compare_methods(records, lambda digest: look(digest) if " 0.5 " in digest else None, "a", "b")
    assert [one.better == "unknown" for one in told] == [False, True]
    assert told[0].p == told[0].comparison.p


def test_one_method_is_compared_with_itself_at_two_sparsities(make: Any) -> None:
    records = [make("a", 0.36, 80), make("a", 1 - 0.8**5, 50), make("a", 0.9, 20)]
    (found,) = compare_methods(records, look, "a@0.36", "a@0.672")
    assert (found.level, found.comparison.a, found.comparison.b, found.better) == (
        "0.36 / 0.672",
        80,
        50,
        "a",
    )


def test_two_methods_are_compared_at_the_sparsity_that_is_said(make: Any) -> None:
    records = [make(method, at, value) for at in (0.5, 0.9) for method, value in (("a", 80), ("b", 50))]
    (found,) = compare_methods(records, look, "a@0.9", "b@0.90")
    assert (found.level, found.p) == ("0.9", found.comparison.p)


def test_a_method_at_one_sparsity_stands_beside_every_one_of_the_other_but_itself(make: Any) -> None:
    records = [make("a", 0.5, 80), make("a", 0.9, 20), make("b", 0.5, 50), make("b", 0.9, 79)]
    found = compare_methods(records, look, "a@0.5", "b")
    assert [(one.level, one.comparison.difference) for one in found] == [("0.5", 30), ("0.5 / 0.9", 1)]
    assert [one.level for one in compare_methods(records, look, "a@0.5", "a")] == ["0.5 / 0.9"]
    (dense,) = compare_methods([*records, make("dense", value=80)], look, "dense", "b@0.9")
    assert dense.level == "0.9"


def test_a_pattern_is_a_sparsity_too(make: Any) -> None:
    records = [make("a", 0.5, 80, pattern="2:4"), make("a", 0.5, 50)]
    (found,) = compare_methods(records, look, "a@2:4", "a@0.5")
    assert (found.level, found.comparison.difference) == ("2:4 / 0.5", 30)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("a@x", "'a' has no sparsity 'x'; write one of 0.488, 0.9"),
        ("a@", "'a' has no sparsity ''; write one of 0.488, 0.9"),
        ("a@0.5", "'a' has no sparsity '0.5'; write one of 0.488, 0.9"),  # 0.488 is near, and not it
        ("a@0.7", "'a' has no sparsity '0.7'; write one of 0.488, 0.9"),  # b's
        ("c@0.9", "no method with certified records is named 'c'"),
        ("dense@0.9", "'dense@0.9' names a sparsity of the dense net, which has none; write dense"),
    ],
)
def test_a_sparsity_that_a_method_does_not_have_is_named_with_those_it_has(
    make: Any, word: str, told: str
) -> None:
    records = [make("a", 1 - 0.8**3, 80), make("a", 0.9, 20), make("b", 0.7, 50), make("dense", value=90)]
    with pytest.raises(UsageError) as error:
        compare_methods(records, look, word, "b")
    assert told in str(error.value)


@pytest.mark.parametrize("word", ["0.488", "0.48800", ".488", "0.4880"])
def test_a_sparsity_is_known_by_three_decimals_or_more(make: Any, word: str) -> None:
    records = [make("a", 0.488, 80), make("a", 0.9, 20), make("b", 0.488, 50)]
    assert len(compare_methods(records, look, f"a@{word}", "b@0.488")) == 1


def test_one_square_named_twice_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match="named twice; name two methods, or one at two sparsities"):
        compare_methods([make("a", 1 - 0.8**5, 80)], look, "a@0.672", "a@0.67232")


def test_the_verb_shows_saves_and_refuses(make: Any, tmp_path: Path) -> None:
    book, answers = RecordsFile(tmp_path), Predictions(tmp_path)
    for one in (make("a", 0.5, 80, task="t"), make("b", 0.5, 50, task="t")):
        book.add(one)
        answers.save(one.digest, [], look(one.digest))

    def say(*words: str) -> Any:
        return CliRunner().invoke(app, ["compare", *words], catch_exceptions=False)

    shown = say("a", "b", str(tmp_path))
    assert shown.exit_code == 0
    line = " ".join(shown.stdout.splitlines()[2].split())
    assert line == "t 0.5 80.0 50.0 +30.0 +20.6 to +39.4 <0.001 <0.001 a"
    assert "paired over 100 items of one seed; p (Holm) is corrected for 1 made at once" in shown.stdout
    (plain,) = json.loads(say("a", "b", str(tmp_path), "--format", "json").stdout)
    assert plain["a"] == {"method": "a", "score": 80} and plain["better"] == "a"
    assert say("a", "b", str(tmp_path), "--format", "csv").stdout.startswith(
        "task,model,sparsity,a,b,difference,"
    )
    assert "| t | tiny | 0.5 |" in say("a", "b", str(tmp_path), "--format", "markdown").stdout
    latex = say("a@0.5", "b@0.5", str(tmp_path), "--format", "latex").stdout
    assert r"t & tiny & 0.5 & 80.0 & 50.0 & +30.0 & +20.6 to +39.4 & \textless{}0.001" in latex
    assert (
        r"task & model & sparsity & a@0.5 & b@0.5 & difference & 95 \% interval & p & p (Holm) & better \\"
        in latex
    )
    for wrong, told in (
        (("a", "c", str(tmp_path)), "no method with certified records is named 'c'"),
        (("a", "a", str(tmp_path)), "'a' was named twice"),
        (("a", "b", str(tmp_path / "none")), "holds no results.jsonl"),
        (("a", "b", str(tmp_path), "--format", "pdf"), "'pdf'"),
    ):
        ended = say(*wrong)
        assert ended.exit_code == 2
        assert told in ended.stderr
