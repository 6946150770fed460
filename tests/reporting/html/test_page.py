"""The page is one file that loads no other file, reports failures, and escapes the texts of plugins."""

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


def embedded_json(html: str, name: str) -> dict[str, dict[str, object]]:
    """The JSON that the page's script reads."""
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, flags=re.DOTALL)
    assert match
    content: dict[str, dict[str, object]] = json.loads(match[1])
    return content


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", outside)
    assert "default-src 'none'" in outside
    assert "connect-src" not in outside  # so default-src applies


def test_failures_come_first(html: str) -> None:
    assert html.index("failed the certificate") < html.index('id="table"')
    assert "17 of 19 cells certified, 1 not certified, 1 failed" in html
    assert "out of &lt;memory&gt;" in html
    assert "<memory>" not in html


def test_the_terminal_and_the_page_compute_cells_once(record: Make) -> None:
    records = [record(method, seed=seed) for method in ("dense", "lth", "snip") for seed in (0, 1)]
    requested: list[str] = []

    def find_items(digest: str) -> Items:
        requested.append(digest)
        return Items("mean", tuple((100.0 * (n < 60),) for n in range(100)))

    table = table_of(records, find_items)
    assert "60.0±" in render_table(table, "table")
    assert "60.0" in Page.of(table).html
    assert sorted(requested) == sorted(record.digest for record in records)


def test_specs_refer_to_shared_data(html: str) -> None:
    specs, data = embedded_json(html, "specs"), embedded_json(html, "data")
    assert all("values" not in spec["data"] for spec in specs.values())  # type: ignore[operator]
    assert {spec["data"]["name"] for spec in specs.values()} == set(data)  # type: ignore[index]


def test_every_figure_has_a_description(page: Page, html: str) -> None:
    assert page.figures
    for figure in page.figures:
        assert len(figure.alt) > 40
        assert f'data-figure="{figure.name}"' in html


def test_texts_of_plugins_cannot_end_a_script(record: Make) -> None:
    page = Page.of(table_of([record("x:</script><b>", model="</script><script>alert(1)</script>")]))
    assert "<script>alert(1)" not in page.html
    assert embedded_json(page.html, "specs")


def test_sections_without_data_give_the_reason(page: Page) -> None:
    absent = {section.name: section.absent for section in page.sections}
    assert absent["curves"] == ""
    assert "changes of weights" in absent["moved"]
    assert "mask samples" in absent["agreement"]


def test_names_of_files_are_distinct(record: Make) -> None:
    records = [record(task="a/b"), record(task="a-b"), record(task="a/b", model="other/roberta-large")]
    page = Page.of(table_of(records))
    assert len({figure.name for figure in page.figures}) == len(page.figures)


def test_the_table_has_retained_sparsities_and_costs(page: Page) -> None:
    rows = {row.names: row.cells for row in results_table.page_rows(page.summaries, page.table.columns)}
    at = len(page.table.columns)
    lth = rows["csqa", "roberta-large", "lth"]
    assert [cell.text for cell in lth[at : at + 2]] == ["≥ 0.672", "< 0.36"]
    assert lth[at + 3].text == "1.02"
    assert rows["csqa", "roberta-large", "snip"][at].text == "< 0.36"


def test_only_methods_with_a_curve_on_every_task_are_ranked(record: Make) -> None:
    def run(task: str, *methods: str) -> list[Record]:
        levels = ((0.36, 70.0), (0.672, 60.0))
        made = [record(m, s, v, task=task) for m in methods for s, v in levels]
        return [record("dense", value=77.0, task=task), *made]

    page = Page.of(table_of([*run("csqa", "lth", "snip"), *run("race/high", "lth")]))
    (only,) = page.summaries.suite
    assert (only.label, only.tasks) == ("lth", 2)
    expected = [(v - c) / (77 - c) for v, c in ((70, 20), (60, 20), (70, 25), (60, 25))]
    assert only.area.value == pytest.approx(sum(expected) / 4)


def test_failed_certificates_come_first(several: list[Record]) -> None:
    verdicts = certificates.verdicts(several)
    assert [verdict.failed for verdict in verdicts[:3]] == [True, True, False]
    problem = certificates.VERDICT_HEADS.index("problem")
    assert verdicts[1].cells[problem].text == "3 weights remain, 2 expected"


def test_a_certified_run_has_no_warnings(record: Make) -> None:
    data = {"source": "d", "digest": "x", "limited": None}
    page = Page.of(table_of([record("dense", value=77.0, data=data), record(data=data)]))
    top = headline(page.table.records, page.notes)
    assert top.whole
    assert (top.warnings, top.problems) == ((), ())
    assert top.certified == "2 of 2 cells certified"


def test_figures_are_saved_for_papers(record: Make, tmp_path: Path) -> None:
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
    assert 'opacity="1"' in symbol, "symbols of the legend must be opaque, unlike bands"


def test_dashed_methods_have_whole_marks_in_the_legend_of_files(record: Make, tmp_path: Path) -> None:
    methods = ["lth", "gmp", "snip", "wanda", "grasp", "set", "mest", "cap", "obert"]  # the eighth is dashed
    records = [record(method, sparsity) for method in methods for sparsity in (0.36, 0.672)]
    for path in save_figures(Page.of(table_of(records)), tmp_path):
        if path.name.startswith("curves") and path.suffix == ".svg":
            svg = path.read_text(encoding="utf-8")
    legend = svg.partition("role-legend-entry")[2].partition("role-title")[0]
    assert ">obert</text>" in legend
    assert "stroke-dasharray" in svg
    assert set(re.findall(r'stroke-dasharray="([^"]*)"', legend)) == set()


@pytest.fixture
def store(several: list[Record], tmp_path: Path) -> Path:
    records_file = RecordsFile(tmp_path / "runs")
    for result in several:
        records_file.add(result)
    return tmp_path / "runs"


def test_the_command_writes_the_page_and_prints_the_table(store: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(store), "--html", str(tmp_path / "a.html")])
    assert result.exit_code == 0, result.output
    assert "omp-after" in result.stdout
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_refused_first(store: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(store), "--html", str(tmp_path / "no" / "a.html")])
    assert result.exit_code == 2
    assert "create it first" in result.output


@pytest.mark.parametrize("module", ["jinja2", "vl_convert"])
def test_a_missing_extra_is_an_error_that_names_it(
    module: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(app, ["report", str(store), "--html", str(tmp_path / "a.html")])
    assert result.exit_code == 2
    assert f"need {module}" in result.output
    assert "smc-eval[page]" in result.output
    assert not (tmp_path / "a.html").exists()
