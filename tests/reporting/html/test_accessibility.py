"""The page for readers without a mouse or with a screen reader: no finding of axe-core, all by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]

OPEN_ALL = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"

REACHED = """
() => {
  const place = document.activeElement, box = place.getBoundingClientRect(), style = getComputedStyle(place);
  if (place === document.body) return null;
  const middle = (low, high, room) => (Math.max(low, 0) + Math.min(high, room)) / 2;
  const x = middle(box.left, box.right, innerWidth), y = middle(box.top, box.bottom, innerHeight);
  const top = document.elementFromPoint(x, y), main = document.querySelector('main');
  return {
    name: `${place.tagName} ${place.textContent.trim().slice(0, 40)}`,
    at: [...document.querySelectorAll('*')].indexOf(place),
    outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    uncovered: !!top && (place.contains(top) || top.contains(place)) && !top.contains(main),
  };
}
"""
"""The element with the focus: its place in the document, and whether its outline and middle can be seen."""

STOPS = "a[href], button, input, select, summary, [tabindex='0']"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_has_no_finding(open_page: Open, rich_page: Path, width: int, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="tox -e browser installs it")
    page = open_page(rich_page, width, theme).page
    page.evaluate(OPEN_ALL)
    page.wait_for_selector("details.numbers td")
    # all rules of axe-core, and its newest one of WCAG 2.2, which it leaves out unless it is asked for
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    results = axe.Axe().run(page, options=options)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_tab_key_reaches_everything_in_order_and_in_sight(
    open_page: Open, rich_page: Path, width: int
) -> None:
    page = open_page(rich_page, width).page
    page.evaluate(OPEN_ALL)
    stops = page.locator(STOPS).count()
    reached = []
    for _ in range(stops):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(REACHED))
    assert None not in reached
    assert [place["name"] for place in reached if not place["outlined"]] == []
    assert [place["name"] for place in reached if not place["uncovered"]] == []
    places = [place["at"] for place in reached]
    assert places == sorted(set(places))
    page.keyboard.press("Tab")
    assert page.evaluate(REACHED) is None, "the focus does not leave the page after its last element"


def test_the_skip_link_leads_to_the_results(open_page: Open, rich_page: Path) -> None:
    page = open_page(rich_page, 1280).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_the_keyboard_works_every_kind_of_control(open_page: Open, rich_page: Path) -> None:
    page = open_page(rich_page, 1280).page
    theme = page.locator("#theme")
    theme.press("Enter")
    assert theme.get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    key = page.locator(".key", has_text="lth")
    key.press("Space")
    assert key.get_attribute("aria-pressed") == "false"
    figure = page.locator("figure", has=page.locator("[data-figure^=cost-csqa]"))
    menu = figure.locator("select[data-control=at]")
    menu.press("ArrowDown")
    assert menu.input_value() == "0.738"
    figure.locator("summary").press("Enter")
    assert figure.locator("details.numbers").get_attribute("open") is not None
    scroll = page.locator(".scroll:has(table.suite)")
    scroll.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.scroll:has(table.suite)').scrollLeft > 0")


def test_the_numbers_of_a_figure_follow_its_menu(open_page: Open, rich_page: Path) -> None:
    """Tooltips need a mouse: the table below a figure has the same numbers."""
    page = open_page(rich_page, 1280).page
    figure = page.locator("figure", has=page.locator("[data-figure^=cost-csqa]"))
    figure.locator("summary").click()

    def rows() -> list[str]:
        texts: list[str] = figure.locator("details.numbers tr").all_inner_texts()
        return [text.replace("\t", " ") for text in texts]

    # at sparsity s, method number n has 77 - 8ns, and half a point more over seeds 0 and 1
    assert rows()[:3] == ["method score cost", "lth 77.5 1 × dense", "omp-after 72.1 1.01 × dense"]
    figure.locator("select[data-control=at]").select_option("2:4")
    assert rows()[:3] == ["method score cost", "lth 77.5 1 × dense", "omp-after 73.5 1.01 × dense"]
    matrix = page.locator("figure", has=page.locator("[data-figure^=layers-csqa]"))
    matrix.locator("summary").click()
    matrix.locator("select[data-control=at]").select_option("1:4")
    assert matrix.locator("details.numbers tr").nth(1).inner_text() == "lth\ta.weight\t75.0%"
