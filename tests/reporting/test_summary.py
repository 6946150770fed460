"""Standings: what is kept over sparsities, at what cost, and the same in every form of the report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from smc_eval.cli.app import app
from smc_eval.reporting.html.results_table import page_rows
from smc_eval.reporting.summary import MethodSummary, Summaries
from smc_eval.reporting.summary_table import SUMMARY_HEADS, plain_values, summary_texts, text_tables
from smc_eval.reporting.table import table_of
from smc_eval.reporting.terminal import print_table, render_table
from smc_eval.score import Items
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile

Make = Callable[..., Record]
CHANCES = {"t/a": 20.0, "t/b": 0.0}


def of(records: Sequence[Record], look: Any = None) -> Summaries:
    return Summaries.of(table_of(records, look), CHANCES)


def named(summaries: Summaries) -> dict[str, MethodSummary]:
    return {row.label: row for row in summaries.rows}


def step(count: float) -> float:
    """Sparsity after so many of the paper's steps."""
    return float(1 - 0.8**count)


def curve(
    record: Make, method: str, *scores: float, steps: Sequence[int] = (), **changes: Any
) -> list[Record]:
    """A method's records, a step of the paper each."""
    costs = [{"steps": count, "seconds": {}} for count in steps or [10] * len(scores)]
    return [
        record(method, step(at), score, cost=cost, **changes)
        for at, (score, cost) in enumerate(zip(scores, costs, strict=True), start=1)
    ]


def dense(record: Make, value: float = 100.0, **changes: Any) -> Record:
    return record("dense", value=value, cost={"steps": 10, "seconds": {}}, **changes)


def test_what_is_kept_is_read_off_between_steps(record: Make) -> None:
    (row,) = of([dense(record), *curve(record, "lth", 100, 92)]).rows  # of 80 above chance: 1 and 0.9
    assert row.retained_at[0.95].sparsity == pytest.approx(step(1.5))
    assert row.retained_at[0.99].sparsity == pytest.approx(step(1.1))
    assert row.area is not None
    assert row.area.value == pytest.approx(0.95)
    assert row.why == ""


def test_costs_are_meant_over_the_same_sparsities_as_the_area(record: Make) -> None:
    records = [dense(record), *curve(record, "lth", 100, 90, 80, 70, steps=(10, 20, 0, 40))]
    del records[3]  # so the steps are 1, 2 and 4, and their costs as many times the dense net's
    (row,) = of(records).rows
    times = row.times["steps"]
    assert (times.low, times.high) == (1, 4)
    assert times.mean == pytest.approx(((1 + 2) / 2 * 1 + (2 + 4) / 2 * 2) / 3)


def test_operations_that_one_net_does_not_tell_make_no_mean(record: Make) -> None:
    spent = {"flops": {"train": {"dense": 8, "sparse": 4}}, "steps": 10}
    first, second = curve(record, "lth", 100, 90)
    records = [
        record("dense", value=100.0, cost=spent),
        record("lth", first.target.sparsity, 100.0, cost=spent),
        second,
    ]
    times = of(records).rows[0].times["FLOPs"]
    assert (times.low, times.high, times.mean) == (1, 1, None)
    assert summary_texts(of(records).rows[0])[SUMMARY_HEADS.index("× FLOPs")].text == "1"


def test_the_front_is_of_those_whom_nobody_beats_in_both(record: Make) -> None:
    records = [
        dense(record),
        *curve(record, "lth", 100, 95, steps=(100, 100)),
        *curve(record, "gmp", 95, 90, steps=(10, 10)),
        *curve(record, "snip", 90, 80, steps=(10, 10)),  # as dear as gmp, and worse
        *curve(record, "omp-after", 100, 95, steps=(110, 110)),  # as good as lth, and dearer
    ]
    front = {label for label, row in named(of(records)).items() if row.times["steps"].front}
    assert front == {"lth", "gmp"}


def test_where_less_is_better_less_is_kept_of_more(record: Make) -> None:
    records = [dense(record, 10.0, higher=False), *curve(record, "lth", 10, 11, higher=False)]
    (row,) = of(records).rows
    assert row.area is not None
    assert row.area.value == pytest.approx((1 + 0.9) / 2)


def test_what_is_not_certified_is_on_no_curve_and_that_is_said(record: Make) -> None:
    records = [dense(record), *curve(record, "lth", 100, 92), record("lth", step(3), 20.0, ok=False)]
    summaries = of(records)
    assert summaries.rows[0].area is not None
    assert summaries.rows[0].area.over == pytest.approx((step(1), step(2)))
    assert "! 1 square without a sound certificate: on no curve" in text_tables(summaries)[0].notes


@pytest.mark.parametrize(
    ("base", "changes", "why"),
    [
        ({}, {"task": "t/c"}, "nothing that is installed knows what a guess scores"),
        (None, {}, "no dense net stands beside"),
        ({"ok": False}, {}, "the dense net is not certified"),
        ({"value": 20.0}, {}, "the dense net is no better than a guess, which scores 20"),
        ({}, {"ok": False}, "there is no certified net on a curve"),
    ],
)
def test_what_keeps_a_line_from_a_curve_is_said(record: Make, base: Any, changes: Any, why: str) -> None:
    task = {"task": changes.get("task", "t/a")}
    records = [] if base is None else [dense(record, **task, **base)]
    summaries = of([*records, *curve(record, "lth", 90, 80, **changes)])
    (row,) = summaries.rows
    assert (row.retained_at, row.area, row.why) == ({}, None, why)
    assert f"–: {row.task} lth: {why}" in text_tables(summaries)[0].notes


def test_a_single_sparsity_has_no_area_and_hinders_no_other(record: Make) -> None:
    records = [dense(record), *curve(record, "lth", 100, 92), *curve(record, "snip", 90)]
    found = named(of(records))
    assert found["lth"].area is not None
    assert found["snip"].area is None
    assert found["snip"].retained_at[0.95].bounded == "below"
    assert "no range of sparsities" in found["snip"].why


def two(record: Make) -> list[Record]:
    """Two tasks, two methods; one of them on one task alone."""
    first, second = (
        [dense(record, task=task), *curve(record, "lth", 100, 92, task=task)] for task in ("t/a", "t/b")
    )
    return [*first, *second, *curve(record, "snip", 60, 36)]


def test_the_score_over_all_tasks_is_the_mean_of_their_areas(record: Make) -> None:
    summaries = of(two(record))
    (only,) = summaries.suite
    assert (only.label, only.tasks) == ("lth", 2)
    assert only.area.value == pytest.approx((0.95 + 0.96) / 2)
    assert text_tables(summaries)[1].lines == (("lth", "2", "0.955"),)


def test_of_one_task_there_is_no_score_over_all(record: Make) -> None:
    summaries = of([dense(record), *curve(record, "lth", 100, 92)])
    assert len(text_tables(summaries)) == 1
    assert plain_values(summaries)["suite"] == []


def test_tasks_without_a_method_in_common_have_no_score_and_that_is_said(record: Make) -> None:
    records = [r for r in two(record) if r.task == "t/a" or r.method in {"dense", "gmp"}]
    assert text_tables(of(records))[0].notes[-1].startswith("no score over all tasks")


def test_intervals_stand_behind_their_numbers_and_say_over_what(record: Make) -> None:
    right = {"dense": 90, "lth": 80}
    records = [
        record(method, step(at), float(right[method]), seed=seed)
        for method, at in (("dense", 0), ("lth", 1), ("lth", 2))
        for seed in (0, 1, 2)
    ]

    def look(digest: str) -> Items:
        count = right["dense" if "dense" in digest else "lth"]
        return Items("mean", tuple((100.0 * (n < count),) for n in range(100)))

    summaries = of(records, look)
    (row,) = summaries.rows
    assert row.area is not None
    assert row.area.interval is not None
    assert row.area.interval.over == "3 seeds × 100 items"
    low, high = row.area.interval.low, row.area.interval.high
    assert text_tables(summaries)[0].flat[0][4] == f"0.857 ({low:.3f} to {high:.3f})"
    (line,) = plain_values(summaries)["curves"]
    assert (line["area_interval_low"], line["area_interval_high"]) == (low, high)
    assert line["area_over"] == line["s95_over"] == "3 seeds × 100 items"


def test_the_page_shows_the_very_same_numbers(record: Make) -> None:
    table = table_of(two(record))
    summaries = Summaries.of(table, CHANCES)
    shown = [
        [cell.text for cell in row.cells[len(table.columns) :]] for row in page_rows(summaries, table.columns)
    ]
    words = [[word.partition("\n")[0] for word in line[2:]] for line in text_tables(summaries)[0].lines]
    assert shown == words


def test_every_form_of_the_report_tells_the_curves(record: Make) -> None:
    table = table_of(two(record))
    summaries = Summaries.of(table, CHANCES)
    markdown, latex = (render_table(table, form, summaries) for form in ("markdown", "latex"))
    assert "| t/a | lth | 0.284 | 0.218 | 0.950 | 1 | – | steps |" in markdown
    assert "| lth | 2 | 0.955 |" in markdown
    assert r"t/a & lth & 0.284 & 0.218 & 0.950 & 1 & -- & steps \\" in latex
    assert r"lth & 2 & 0.955 \\" in latex
    assert latex.count(r"\toprule") == 3
    found = json.loads(render_table(table, "json", summaries))
    assert [(one["task"], one["method"], one["tasks"]) for one in found["curves"] + found["suite"]] == [
        ("t/a", "lth", 1),
        ("t/a", "snip", 1),
        ("t/b", "lth", 1),
        (None, "lth", 2),
    ]
    lines = list(csv.DictReader(io.StringIO(render_table(table, "csv", summaries))))
    assert [(line["method"], line["front_steps"]) for line in lines] == [
        ("lth", "True"),
        ("snip", "False"),
        ("lth", "True"),
        ("lth", ""),
    ]
    assert float(lines[0]["area"]) == found["curves"][0]["area"] == pytest.approx(0.95)
    text = render_table(table, "table", summaries)
    assert text.startswith(render_table(table, "table"))
    assert "over all tasks" in text


def test_a_tex_table_of_twins_says_so_by_itself(record: Make) -> None:
    table = table_of([dense(record, source="synthetic"), *curve(record, "lth", 100, 92, source="synthetic")])
    latex = render_table(table, "latex", Summaries.of(table, CHANCES))
    assert latex.count("SYNTHETIC DATA: no result") == 2


def test_the_verb_tells_the_curves_in_the_form_and_file_it_is_asked_for(record: Make, tmp_path: Path) -> None:
    for one in [dense(record, task="csqa"), *curve(record, "lth", 100, 92, task="csqa")]:
        RecordsFile(tmp_path).add(one)

    def say(*words: str) -> str:
        ended = CliRunner().invoke(app, ["report", str(tmp_path), *words], catch_exceptions=False)
        assert ended.exit_code == 0
        return ended.stdout

    assert "s@95" not in say()
    assert "what is kept of the dense score over sparsities" in say("--curves")
    (line,) = csv.DictReader(io.StringIO(say("--curves", "--format", "csv")))
    assert float(line["s95"]) == pytest.approx(step(1.5))  # a guess among five is right in 20 %
    assert json.loads(say("--curves", "--json", "-"))["curves"][0]["area"] == pytest.approx(0.95)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_number_is_broken_in_a_narrow_terminal(record: Make, width: int) -> None:
    records = [one for seed in (0, 1) for one in two_seeded(record, seed)]
    table = table_of(records)
    summaries = Summaries.of(table, CHANCES)
    file = io.StringIO()
    print_table(table, Console(file=file, width=width, force_terminal=True, color_system=None), summaries)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    shown = text.partition("what is kept")[2].replace("(", "").replace(")", "").split()
    for row in summaries.rows:
        for one in summary_texts(row)[:3]:
            assert set(one.text.split()) <= set(shown)
            assert set(one.below.split()) <= set(shown)


def two_seeded(record: Make, seed: int) -> list[Record]:
    return [
        dense(record, 90.0 + seed, seed=seed),
        *curve(record, "lth", 90 + seed, 80, 70, seed=seed),
        *curve(record, "omp-after", 90, 70 + seed, 50, seed=seed),
    ]
