"""The page in a real browser: it draws, sorts, turns dark, fits a phone, and asks nobody for anything."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from smc_eval.reporting.html.page import Page
from smc_eval.reporting.table import table_of
from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record
from smc_eval.testing import record_with

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: tox -e browser brings one"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="no playwright here: tox -e browser brings it"
    ),
    pytest.mark.enable_socket,  # playwright speaks to the browser; the page to nobody, as is seen below
]

MARKS = "document.querySelectorAll('[data-figure^=curves] svg .mark-symbol path').length"
"""Points of our curves and of published ones."""


def result(method: str, sparsity: float, value: float, *, seed: int = 0, ok: bool = True) -> Record:
    """A record that tells everything a page can show."""
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


def results() -> list[Record]:
    found = [result("dense", 0.0, 77.0 + seed, seed=seed) for seed in (0, 1)]
    for method, lost in (("lth", 10), ("omp-after", 20), ("snip", 60)):
        for sparsity in (0.2, 0.36, 0.672):
            found += [result(method, sparsity, 77 + 2 * s - lost * sparsity, seed=s) for s in (0, 1)]
    return [*found, result("gmp", 0.36, 50.0, ok=False)]


@dataclass
class Seen:
    """A page that is open, and what it said and asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sketches = {one.digest: {"a": MaskSample.read(8, 8, "8A==")} for one in results()}
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(Page.of(table_of(results()), sketches.get).html, encoding="utf-8")
    return path


@pytest.fixture(params=[1280, 390], ids=["desk", "phone"])
def seen(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": request.param, "height": 844}, color_scheme="light")
    seen = Seen(context.new_page())
    seen.page.on("console", lambda message: seen.said.append(message.text))
    seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
    seen.page.on("request", lambda request: seen.asked.append(request.url))
    seen.page.goto(file.as_uri())
    seen.page.wait_for_selector('html[data-ready="yes"]', timeout=60_000)
    yield seen
    context.close()


def test_every_figure_is_drawn_and_nothing_is_complained_of(seen: Seen) -> None:
    drawn = seen.page.locator("[data-figure] svg[role=img]").count()
    assert drawn == seen.page.locator("[data-figure]").count() == 5
    assert seen.said == []


def test_the_page_asks_nobody_for_anything(seen: Seen, file: Path) -> None:
    assert [url for url in seen.asked if not url.startswith("data:")] == [file.as_uri()]


def test_it_is_no_wider_than_the_screen(seen: Seen) -> None:
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    beyond = "[...document.querySelectorAll('figure')].map((one) => one.scrollWidth - one.clientWidth)"
    assert max(seen.page.evaluate(beyond)) <= 1


def test_the_table_sorts_by_keyboard(seen: Seen) -> None:
    head = seen.page.locator("table.suite th button", has_text="0.672")

    def column() -> list[str]:
        told = "(rows) => rows.map((row) => row.querySelector('th').textContent)"
        found: list[str] = seen.page.locator("table.suite tbody tr").evaluate_all(told)
        return found

    head.focus()
    seen.page.keyboard.press("Enter")
    assert column() == ["lth", "omp-after", "snip", "gmp"]  # best first; what is missing last
    assert head.locator("..").get_attribute("aria-sort") == "descending"
    seen.page.keyboard.press("Enter")
    assert column() == ["snip", "omp-after", "lth", "gmp"]


def test_the_switch_turns_it_dark_and_figures_with_it(seen: Seen) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    line = "getComputedStyle(document.querySelector('[data-figure] .mark-line path')).stroke"
    before = seen.page.evaluate(ground), seen.page.evaluate(line)
    seen.page.locator("#shade").click()
    after = seen.page.evaluate(ground), seen.page.evaluate(line)
    assert before[0] == "rgb(251, 251, 249)"
    assert after[0] == "rgb(20, 23, 26)"
    assert before[1] != after[1]


def test_a_method_can_be_switched_off_and_on_again(seen: Seen) -> None:
    whole = seen.page.evaluate(MARKS)
    key = seen.page.locator(".key", has_text="lth")
    key.click()
    seen.page.wait_for_function(f"{MARKS} === {whole - 13}")  # three of ours, ten published
    assert key.get_attribute("aria-pressed") == "false"
    key.click()
    seen.page.wait_for_function(f"{MARKS} === {whole}")


def test_published_curves_can_be_taken_away(seen: Seen) -> None:
    seen.page.get_by_label("published curves").first.uncheck()
    seen.page.wait_for_function(f"{MARKS} === 10")  # ours: nine and one in doubt


def test_dead_tensors_are_marked_at_the_sparsity_that_is_chosen(seen: Seen) -> None:
    marks = (
        "[...document.querySelectorAll('[data-figure^=layers] text')].filter((t) => t.textContent === '×')"
    )
    figure = seen.page.locator("figure", has=seen.page.locator("[data-figure^=layers]"))
    assert seen.page.evaluate(f"{marks}.length") == 1
    figure.get_by_label("sparsity").select_option("0.36")
    assert seen.page.evaluate(f"{marks}.length") == 1
    heads = figure.locator("svg .role-axis-label").all_text_contents()
    assert any("gmp" in head for head in heads)  # which is there at 0.36 alone


def test_what_is_not_certified_is_red(seen: Seen) -> None:
    colour = "getComputedStyle(document.querySelector('td.doubt')).color"
    assert seen.page.evaluate(colour) == "rgb(179, 20, 29)"
    assert "1 not certified" in seen.page.locator(".verdict.bad").text_content()


def test_it_prints_by_day_whatever_the_screen_shows(seen: Seen) -> None:
    seen.page.locator("#shade").click()
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert seen.page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 38)"
