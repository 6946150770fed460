"""The page in a real browser: it draws, sorts, turns dark, fits a phone and sends no requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smc_eval.reporting.html.page import Page
from smc_eval.reporting.table import table_of
from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record
from smc_eval.testing import record_with

MARKS = "document.querySelectorAll('[data-figure^=curves] svg .mark-symbol path').length"
"""The number of points of the measured and the published curves."""


def make_record(method: str, sparsity: float, value: float, *, seed: int = 0, ok: bool = True) -> Record:
    """A record with everything that a page can show."""
    moved = {"tensors_remaining": {"a": 0.1, "b": 0.2}}
    operations = {"dense": 10, "sparse": round(10 * (1 - sparsity))}
    return record_with(
        task="csqa",
        group="commonsense",
        model="roberta-large",
        method=method,
        seed=seed,
        target={"sparsity": sparsity},
        data={"source": "data"},
        digest=f"{method} {sparsity} {seed}",
        score={"value": value, "signature": ""},
        sparsity={"scope": sparsity, "weights": sparsity, "all": sparsity},
        certificate={"ok": ok, "failed": [] if ok else ["1 weights remain, 0 expected"], "asked": sparsity}
        | {"tensors": {"a": sparsity, "b": 1.0 if method == "snip" else sparsity}, "moved": moved},
        cost={"steps": 100, "flops": {"train": operations, "predict": operations}},
        versions={"torch": "2.13"},
    )


def make_records() -> list[Record]:
    records = [make_record("dense", 0.0, 77.0 + seed, seed=seed) for seed in (0, 1)]
    for method, lost in (("lth", 10), ("omp-after", 20), ("snip", 60)):
        for sparsity in (0.2, 0.36, 0.672):
            records += [make_record(method, sparsity, 77 + 2 * s - lost * sparsity, seed=s) for s in (0, 1)]
    return [*records, make_record("gmp", 0.36, 50.0, ok=False)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = {record.digest: {"a": MaskSample.read(8, 8, "8A==")} for record in make_records()}
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(Page.of(table_of(make_records()), samples.get).html, encoding="utf-8")
    return path


@pytest.fixture(params=[1280, 390], ids=["desk", "phone"])
def opened(request: pytest.FixtureRequest, open_page: Callable[..., Any], file: Path) -> Any:
    return open_page(file, request.param)


def test_every_figure_is_drawn_without_messages(opened: Any) -> None:
    drawn = opened.page.locator("[data-figure] svg[role=img]").count()
    assert drawn == opened.page.locator("[data-figure]").count() == 5
    assert opened.messages == []


def test_the_page_sends_no_requests(opened: Any, file: Path) -> None:
    assert [url for url in opened.requests if not url.startswith("data:")] == [file.as_uri()]


def test_the_page_is_not_wider_than_the_screen(opened: Any) -> None:
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    beyond = "[...document.querySelectorAll('figure')].map((f) => f.scrollWidth - f.clientWidth)"
    assert max(opened.page.evaluate(beyond)) <= 1


def test_the_table_sorts_by_keyboard(opened: Any) -> None:
    head = opened.page.locator("table.suite th button", has_text="0.672")

    def column() -> list[str]:
        methods = "(rows) => rows.map((row) => row.querySelector('th').textContent)"
        texts: list[str] = opened.page.locator("table.suite tbody tr").evaluate_all(methods)
        return texts

    head.focus()
    opened.page.keyboard.press("Enter")
    assert column() == ["lth", "omp-after", "snip", "gmp"]  # best first; missing values last
    assert head.locator("..").get_attribute("aria-sort") == "descending"
    opened.page.keyboard.press("Enter")
    assert column() == ["snip", "omp-after", "lth", "gmp"]


def test_the_theme_button_turns_page_and_figures_dark(opened: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    line = "getComputedStyle(document.querySelector('[data-figure] .mark-line path')).stroke"
    before = opened.page.evaluate(background), opened.page.evaluate(line)
    opened.page.locator("#theme").click()
    after = opened.page.evaluate(background), opened.page.evaluate(line)
    assert before[0] == "rgb(251, 251, 249)"
    assert after[0] == "rgb(20, 23, 26)"
    assert before[1] != after[1]


def test_a_method_can_be_hidden_and_shown_again(opened: Any) -> None:
    whole = opened.page.evaluate(MARKS)
    key = opened.page.locator(".key", has_text="lth")
    key.click()
    opened.page.wait_for_function(f"{MARKS} === {whole - 13}")  # three measured points and ten published ones
    assert key.get_attribute("aria-pressed") == "false"
    key.click()
    opened.page.wait_for_function(f"{MARKS} === {whole}")


def test_published_curves_can_be_hidden(opened: Any) -> None:
    opened.page.get_by_label("published curves").first.uncheck()
    opened.page.wait_for_function(f"{MARKS} === 10")  # nine certified points and one uncertified


def test_dead_tensors_are_marked_at_the_selected_sparsity(opened: Any) -> None:
    marks = (
        "[...document.querySelectorAll('[data-figure^=layers] text')].filter((t) => t.textContent === '×')"
    )
    figure = opened.page.locator("figure", has=opened.page.locator("[data-figure^=layers]"))
    assert opened.page.evaluate(f"{marks}.length") == 1
    figure.locator("select").select_option("0.36")
    assert opened.page.evaluate(f"{marks}.length") == 1
    heads = figure.locator("svg .role-axis-label").all_text_contents()
    assert any("gmp" in head for head in heads)  # gmp has a record at 0.36 only


def test_uncertified_numbers_are_red(opened: Any) -> None:
    colour = "getComputedStyle(document.querySelector('td.doubt')).color"
    assert opened.page.evaluate(colour) == "rgb(179, 20, 29)"
    assert "1 not certified" in opened.page.locator(".verdict.bad").text_content()


def test_the_page_is_printed_in_the_light_theme(opened: Any) -> None:
    opened.page.locator("#theme").click()
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 38)"
