"""Summaries: retained scores and costs, and the same numbers in every format of the report."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.reporting.html.results_table import page_rows
from smc_eval.reporting.summary import MethodSummary, Summaries
from smc_eval.reporting.summary_table import SUMMARY_HEADS, plain_values, summary_texts, text_tables
from smc_eval.reporting.table import table_of
from smc_eval.reporting.terminal import print_table, render_table
from smc_eval.score import Items
from smc_eval.statistics.interval import Interval
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile

Make = Callable[..., Record]
CHANCES = {"t/a": 20.0, "t/b": 0.0}


def summaries_of(records: Sequence[Record], find_items: Any = None) -> Summaries:
    return Summaries.of(table_of(records, find_items), CHANCES)


def by_label(summaries: Summaries) -> dict[str, MethodSummary]:
    return {row.label: row for row in summaries.rows}


def step(count: float) -> float:
    """The sparsity after this number of the paper's steps."""
    return float(1 - 0.8**count)


def curve(
    record: Make, method: str, *scores: float, steps: Sequence[int] = (), **changes: Any
) -> list[Record]:
    """Records of a method, one for each step of the paper."""
    costs = [{"steps": count, "seconds": {}} for count in steps or [10] * len(scores)]
    return [
        record(method, step(at), score, cost=cost, **changes)
        for at, (score, cost) in enumerate(zip(scores, costs, strict=True), start=1)
    ]


def dense(record: Make, value: float = 100.0, **changes: Any) -> Record:
    return record("dense", value=value, cost={"steps": 10, "seconds": {}}, **changes)


def test_the_retained_sparsity_is_interpolated_between_steps(record: Make) -> None:
    # 80 points above chance, of which 100 and 92 retain the shares 1 and 0.9
    (row,) = summaries_of([dense(record), *curve(record, "lth", 100, 92)]).rows
    assert row.retained_at[0.95].sparsity == pytest.approx(step(1.5))
    assert row.retained_at[0.99].sparsity == pytest.approx(step(1.1))
    assert row.area is not None
    assert row.area.value == pytest.approx(0.95)
    assert row.why == ""


def test_no_cell_has_an_infinite_end(record: Make) -> None:
    (row,) = summaries_of([dense(record), *curve(record, "lth", 100, 92)]).rows
    assert row.area is not None
    unknown = replace(
        row, area=replace(row.area, interval=Interval(-math.inf, math.inf, 0.95, "3 seeds (t)"))
    )
    below = replace(row, area=replace(row.area, interval=Interval(-math.inf, 0.97, 0.95, "3 seeds (t)")))
    at = SUMMARY_HEADS.index("area")
    assert summary_texts(unknown)[at].table_text == "0.950"
    assert summary_texts(below)[at].table_text == "0.950\n0.970 or less"


def test_costs_are_averaged_over_the_same_sparsities_as_the_area(record: Make) -> None:
    records = [dense(record), *curve(record, "lth", 100, 90, 80, 70, steps=(10, 20, 0, 40))]
    del records[3]  # steps 1, 2 and 4 remain, with 1, 2 and 4 times the cost of the dense net
    (row,) = summaries_of(records).rows
    times = row.times["steps"]
    assert (times.low, times.high) == (1, 4)
    assert times.mean == pytest.approx(((1 + 2) / 2 * 1 + (2 + 4) / 2 * 2) / 3)


def test_there_is_no_mean_cost_if_one_net_has_no_known_cost(record: Make) -> None:
    spent = {"flops": {"train": {"dense": 8, "sparse": 4}}, "steps": 10}
    first, second = curve(record, "lth", 100, 90)
    records = [
        record("dense", value=100.0, cost=spent),
        record("lth", first.target.sparsity, 100.0, cost=spent),
        replace(second, cost=None),
    ]
    times = summaries_of(records).rows[0].times["FLOPs"]
    assert (times.low, times.high, times.mean) == (1, 1, None)
    assert summary_texts(summaries_of(records).rows[0])[SUMMARY_HEADS.index("× FLOPs")].text == "1"


def test_the_front_has_the_methods_that_are_not_dominated(record: Make) -> None:
    records = [
        dense(record),
        *curve(record, "lth", 100, 95, steps=(100, 100)),
        *curve(record, "gmp", 95, 90, steps=(10, 10)),
        *curve(record, "snip", 90, 80, steps=(10, 10)),  # costs as much as gmp, and is worse
        *curve(record, "omp-after", 100, 95, steps=(110, 110)),  # is as good as lth, and costs more
    ]
    front = {label for label, row in by_label(summaries_of(records)).items() if row.times["steps"].front}
    assert front == {"lth", "gmp"}


def test_a_higher_score_is_a_smaller_share_if_lower_is_better(record: Make) -> None:
    records = [dense(record, 10.0, higher=False), *curve(record, "lth", 10, 11, higher=False)]
    (row,) = summaries_of(records).rows
    assert row.area is not None
    assert row.area.value == pytest.approx((1 + 0.9) / 2)


def test_uncertified_cells_are_on_no_curve_and_are_counted(record: Make) -> None:
    records = [dense(record), *curve(record, "lth", 100, 92), record("lth", step(3), 20.0, ok=False)]
    summaries = summaries_of(records)
    assert summaries.rows[0].area is not None
    assert summaries.rows[0].area.over == pytest.approx((step(1), step(2)))
    assert "! 1 cell with a failed certificate: not on the curves" in text_tables(summaries)[0].notes


@pytest.mark.parametrize(
    ("base", "changes", "why"),
    [
        (
            {},
            {"task": "t/c"},
            "the chance level is unknown, because no plugin has this task with these options",
        ),
        (None, {}, "there is no dense net to compare with"),
        ({"ok": False}, {}, "the dense net is not certified"),
        ({"value": 20.0}, {}, "the dense net is not better than chance level, 20"),
        ({}, {"ok": False}, "no net on its curve is certified"),
    ],
)
def test_the_reason_of_a_missing_curve_is_given(record: Make, base: Any, changes: Any, why: str) -> None:
    task = {"task": changes.get("task", "t/a")}
    records = [] if base is None else [dense(record, **task, **base)]
    summaries = summaries_of([*records, *curve(record, "lth", 90, 80, **changes)])
    (row,) = summaries.rows
    assert (row.retained_at, row.area, row.why) == ({}, None, why)
    assert f"–: {row.task} lth: {why}" in text_tables(summaries)[0].notes


def test_a_single_sparsity_has_no_area_and_does_not_affect_others(record: Make) -> None:
    records = [dense(record), *curve(record, "lth", 100, 92), *curve(record, "snip", 90)]
    rows = by_label(summaries_of(records))
    assert rows["lth"].area is not None
    assert rows["snip"].area is None
    assert rows["snip"].retained_at[0.95].bounded == "below"
    assert "no range of measured sparsities" in rows["snip"].why


def two_tasks(record: Make) -> list[Record]:
    """Two tasks and two methods; one method on one task only."""
    first, second = (
        [dense(record, task=task), *curve(record, "lth", 100, 92, task=task)] for task in ("t/a", "t/b")
    )
    return [*first, *second, *curve(record, "snip", 60, 36)]


def test_the_area_over_all_tasks_is_the_mean_of_their_areas(record: Make) -> None:
    summaries = summaries_of(two_tasks(record))
    (only,) = summaries.suite
    assert (only.label, only.tasks) == ("lth", 2)
    assert only.area.value == pytest.approx((0.95 + 0.96) / 2)
    assert text_tables(summaries)[1].rows == (("lth", "2", "0.955"),)


def test_one_task_has_no_table_over_all_tasks(record: Make) -> None:
    summaries = summaries_of([dense(record), *curve(record, "lth", 100, 92)])
    assert len(text_tables(summaries)) == 1
    assert plain_values(summaries)["suite"] == []


def test_tasks_without_a_common_method_have_no_mean_and_a_note(record: Make) -> None:
    records = [r for r in two_tasks(record) if r.task == "t/a" or r.method in {"dense", "gmp"}]
    assert text_tables(summaries_of(records))[0].notes[-1].startswith("no mean over all tasks")


def test_intervals_follow_their_numbers_and_give_seeds_and_items(record: Make) -> None:
    right = {"dense": 90, "lth": 80}
    records = [
        record(method, step(at), float(right[method]), seed=seed)
        for method, at in (("dense", 0), ("lth", 1), ("lth", 2))
        for seed in (0, 1, 2)
    ]

    def find_items(digest: str) -> Items:
        count = right["dense" if "dense" in digest else "lth"]
        return Items("mean", tuple((100.0 * (n < count),) for n in range(100)))

    summaries = summaries_of(records, find_items)
    (row,) = summaries.rows
    assert row.area is not None
    assert row.area.interval is not None
    assert row.area.interval.over == "3 seeds × 100 items"
    low, high = row.area.interval.low, row.area.interval.high
    assert text_tables(summaries)[0].flat_rows[0][4] == f"0.857 ({low:.3f} to {high:.3f})"
    (line,) = plain_values(summaries)["curves"]
    assert (line["area_interval_low"], line["area_interval_high"]) == (low, high)
    assert line["area_over"] == line["s95_over"] == "3 seeds × 100 items"


def test_the_page_shows_the_same_numbers(record: Make) -> None:
    table = table_of(two_tasks(record))
    summaries = Summaries.of(table, CHANCES)
    shown = [
        [cell.text for cell in row.cells[len(table.columns) :]] for row in page_rows(summaries, table.columns)
    ]
    texts = [[text.partition("\n")[0] for text in row[2:]] for row in text_tables(summaries)[0].rows]
    assert shown == texts


def test_every_format_of_the_report_has_the_summaries(record: Make) -> None:
    table = table_of(two_tasks(record))
    summaries = Summaries.of(table, CHANCES)
    markdown, latex = (render_table(table, form, summaries) for form in ("markdown", "latex"))
    assert "| t/a | lth | 0.284 | 0.218 | 0.950 | 1 | – | steps |" in markdown
    assert "| lth | 2 | 0.955 |" in markdown
    assert r"t/a & lth & 0.284 & 0.218 & 0.950 & 1 & -- & steps \\" in latex
    assert r"lth & 2 & 0.955 \\" in latex
    assert latex.count(r"\toprule") == 3
    exported = json.loads(render_table(table, "json", summaries))
    assert [(row["task"], row["method"], row["tasks"]) for row in exported["curves"] + exported["suite"]] == [
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
    assert float(lines[0]["area"]) == exported["curves"][0]["area"] == pytest.approx(0.95)
    text = render_table(table, "table", summaries)
    assert text.startswith(render_table(table, "table"))
    assert "over all tasks" in text


def test_each_latex_table_of_synthetic_data_has_the_warning(record: Make) -> None:
    table = table_of([dense(record, source="synthetic"), *curve(record, "lth", 100, 92, source="synthetic")])
    latex = render_table(table, "latex", Summaries.of(table, CHANCES))
    assert latex.count("SYNTHETIC DATA: not a result") == 2


def test_the_command_writes_summaries_in_the_requested_format_and_file(record: Make, tmp_path: Path) -> None:
    for result in [dense(record, task="csqa"), *curve(record, "lth", 100, 92, task="csqa")]:
        RecordsFile(tmp_path).add(result)

    def report(*words: str) -> str:
        result = CliRunner().invoke(app, ["report", str(tmp_path), *words], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    assert "s@95" not in report()
    assert "share of the dense score retained over sparsities" in report("--curves")
    (line,) = csv.DictReader(io.StringIO(report("--curves", "--format", "csv")))
    assert float(line["s95"]) == pytest.approx(step(1.5))  # chance level among five answers is 20 %
    assert json.loads(report("--curves", "--json", "-"))["curves"][0]["area"] == pytest.approx(0.95)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_number_is_broken_in_a_narrow_terminal(record: Make, width: int) -> None:
    records = [result for seed in (0, 1) for result in two_methods(record, seed)]
    table = table_of(records)
    summaries = Summaries.of(table, CHANCES)
    file = io.StringIO()
    print_table(table, Console(file=file, width=width, force_terminal=True, color_system=None), summaries)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    shown = text.partition("share of the dense")[2].replace("(", "").replace(")", "").split()
    for row in summaries.rows:
        for number in summary_texts(row)[:3]:
            assert set(number.text.split()) <= set(shown)
            assert set(number.detail.split()) <= set(shown)


def two_methods(record: Make, seed: int) -> list[Record]:
    return [
        dense(record, 90.0 + seed, seed=seed),
        *curve(record, "lth", 90 + seed, 80, 70, seed=seed),
        *curve(record, "omp-after", 90, 70 + seed, 50, seed=seed),
    ]
