"""The page is one file that loads nothing, says what failed, and shows what strangers wrote as text."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.reporting.html import certificates, results_table
from smc_eval.reporting.html.figure_files import save_figures
from smc_eval.reporting.html.headline import headline
from smc_eval.reporting.html.page import Page
from smc_eval.reporting.table import table_of
from smc_eval.reporting.terminal import render_table
from smc_eval.score import Items
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile

Make = Callable[..., Record]


@pytest.fixture(scope="module")
def page(several: list[Record]) -> Page:
    return Page.of(table_of(several))


@pytest.fixture(scope="module")
def html(page: Page) -> str:
    return page.html


def told(html: str, name: str) -> dict[str, dict[str, object]]:
    """The JSON that the page's script reads."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, flags=re.DOTALL)
    assert found
    read: dict[str, dict[str, object]] = json.loads(found[1])
    return read


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", outside)
    assert "default-src 'none'" in outside
    assert "connect-src" not in outside  # so that default-src holds


def test_what_failed_comes_first_and_is_told(html: str) -> None:
    assert html.index("failed the certificate") < html.index('id="table"')
    assert "17 of 19 cells certified, 1 not certified, 1 failed" in html
    assert "out of &lt;memory&gt;" in html
    assert "<memory>" not in html


def test_what_the_terminal_and_the_page_show_is_reckoned_once(record: Make) -> None:
    records = [record(method, seed=seed) for method in ("dense", "lth", "snip") for seed in (0, 1)]
    asked: list[str] = []

    def look(digest: str) -> Items:
        asked.append(digest)
        return Items("mean", tuple((100.0 * (n < 60),) for n in range(100)))

    table = table_of(records, look)
    assert "60.0±" in render_table(table, "table")
    assert "60.0" in Page.of(table).html
    assert sorted(asked) == sorted(record.digest for record in records)


def test_numbers_are_shared_not_repeated(html: str) -> None:
    specs, data = told(html, "specs"), told(html, "data")
    assert all("values" not in spec["data"] for spec in specs.values())  # type: ignore[operator]
    assert {spec["data"]["name"] for spec in specs.values()} == set(data)  # type: ignore[index]


def test_every_figure_is_told_in_words(page: Page, html: str) -> None:
    assert page.figures
    for figure in page.figures:
        assert len(figure.alt) > 40
        assert f'data-figure="{figure.name}"' in html


def test_a_strangers_words_end_no_script(record: Make) -> None:
    page = Page.of(table_of([record("x:</script><b>", model="</script><script>alert(1)</script>")]))
    assert "<script>alert(1)" not in page.html
    assert told(page.html, "specs")


def test_sections_without_data_say_why(page: Page) -> None:
    absent = {section.name: section.absent for section in page.sections}
    assert absent["curves"] == ""
    assert "measure" in absent["moved"]
    assert "sketches" in absent["agreement"]


def test_names_of_files_are_never_alike(record: Make) -> None:
    records = [record(task="a/b"), record(task="a-b"), record(task="a/b", model="other/roberta-large")]
    page = Page.of(table_of(records))
    assert len({figure.name for figure in page.figures}) == len(page.figures)


def test_what_is_kept_is_told_with_what_it_costs(page: Page) -> None:
    rows = {row.names: row.cells for row in results_table.page_rows(page.summaries, page.table.columns)}
    at = len(page.table.columns)
    lth = rows["csqa", "roberta-large", "lth"]
    assert [cell.text for cell in lth[at : at + 2]] == ["≥ 0.672", "< 0.36"]
    assert lth[at + 3].text == "1.02"
    assert rows["csqa", "roberta-large", "snip"][at].text == "< 0.36"


def test_ranks_are_of_methods_that_every_task_has(record: Make) -> None:
    def run(task: str, *methods: str) -> list[Record]:
        levels = ((0.36, 70.0), (0.672, 60.0))
        made = [record(m, s, v, task=task) for m in methods for s, v in levels]
        return [record("dense", value=77.0, task=task), *made]

    page = Page.of(table_of([*run("csqa", "lth", "snip"), *run("race/high", "lth")]))
    (only,) = page.summaries.suite
    assert (only.label, only.tasks) == ("lth", 2)
    expected = [(v - c) / (77 - c) for v, c in ((70, 20), (60, 20), (70, 25), (60, 25))]
    assert only.area.value == pytest.approx(sum(expected) / 4)


def test_certificates_that_failed_stand_first(several: list[Record]) -> None:
    verdicts = certificates.verdicts(several)
    assert [verdict.loud for verdict in verdicts[:3]] == [True, True, False]
    assert verdicts[1].cells[-1].text == "3 weights left, 2 wanted"


def test_a_whole_run_is_not_alarmed(record: Make) -> None:
    data = {"source": "d", "digest": "x", "limited": None}
    page = Page.of(table_of([record("dense", value=77.0, data=data), record(data=data)]))
    found = headline(page.table.records, page.notes)
    assert found.whole
    assert (found.loud, found.troubles) == ((), ())
    assert found.certified == "2 of 2 cells certified"


def test_figures_are_files_for_papers(record: Make, tmp_path: Path) -> None:
    page = Page.of(table_of([record("dense", value=77.0), record("lth"), record("lth", 0.672, 50.0)]))
    paths = list(save_figures(page, tmp_path / "figures"))
    assert {path.suffix for path in paths} == {".pdf", ".svg", ".png"}
    assert len(paths) == 3 * len(page.figures)
    starts = {".pdf": b"%PDF", ".svg": b"<svg", ".png": b"\x89PNG"}
    assert all(path.read_bytes().startswith(starts[path.suffix]) for path in paths)
    svg = (tmp_path / "figures" / "curves-csqa-roberta-large.svg").read_text(encoding="utf-8")
    assert "var(--" not in svg
    legend = svg.partition("role-legend-label")[2]
    assert ">lth</text>" in legend
    symbol = svg.partition("role-legend-symbol")[2].partition("</g>")[0]
    assert 'opacity="1"' in symbol, "a legend's symbols must not be as pale as the bands"


@pytest.fixture
def store(several: list[Record], tmp_path: Path) -> Path:
    book = RecordsFile(tmp_path / "runs")
    for result in several:
        book.add(result)
    return tmp_path / "runs"


def test_the_verb_writes_the_page_beside_the_table(store: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["report", str(store), "--html", str(tmp_path / "a.html")])
    assert ran.exit_code == 0, ran.output
    assert "omp-after" in ran.stdout
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_refused_before_any_work(store: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["report", str(store), "--html", str(tmp_path / "no" / "a.html")])
    assert ran.exit_code == 2
    assert "make it first" in ran.output


@pytest.mark.parametrize("module", ["jinja2", "vl_convert"])
def test_the_extra_is_named_where_it_is_missing(
    module: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    ran = CliRunner().invoke(app, ["report", str(store), "--html", str(tmp_path / "a.html")])
    assert ran.exit_code == 2
    assert f"need {module}" in ran.output
    assert "smc-eval[page]" in ran.output
    assert not (tmp_path / "a.html").exists()
