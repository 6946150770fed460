"""The page at the widths of phones, tablets and desks: nothing is cut off without a word, nothing jumps."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]

CUT_COLUMNS = """
() => {
  const table = document.querySelector('table.suite'), box = table.closest('.scroll');
  const end = box.getBoundingClientRect().left + box.clientWidth + 2;
  return [...table.tHead.rows[0].cells].filter((head) => head.getBoundingClientRect().right > end).length;
}
"""
"""The number of columns of the wide table whose end is out of sight."""

HINT = "document.querySelector('table.suite').closest('.frame').nextElementSibling.textContent"


@pytest.fixture
def page(shown: Any) -> Any:
    """The page at each of the four widths, with its table at its beginning."""
    scroll(shown.page, 0)
    return shown.page


def scroll(page: Any, share: float) -> None:
    """Scroll the wide table to this share of its width."""
    page.evaluate(f"document.querySelector('.frame .scroll').scrollTo({share} * 9999, 0)")
    page.evaluate("new Promise(requestAnimationFrame)")


def test_every_entry_of_the_menu_is_in_sight(page: Any) -> None:
    entries, width = page.locator("nav a"), page.viewport_size["width"]
    assert entries.all_text_contents()[0::8] == ["Table", "Reproduce"]
    for entry in entries.all():
        box = entry.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert page.evaluate("document.querySelector('header').scrollWidth") <= width


def test_columns_that_are_cut_off_are_counted_below_the_table(page: Any) -> None:
    cut = page.evaluate(CUT_COLUMNS)
    assert cut > 0
    assert re.search(rf"^{cut} more columns? →", page.evaluate(HINT))
    assert page.locator(".frame[data-right]:not([data-left]):has(table.suite)").count() == 1
    scroll(page, 1)
    page.wait_for_selector(".frame[data-left]:not([data-right]):has(table.suite)")
    assert page.evaluate(CUT_COLUMNS) == 0
    assert "column" not in page.evaluate(HINT)


def test_the_names_of_methods_stay_in_sight_while_the_table_scrolls(page: Any) -> None:
    scroll(page, 1)
    name = page.locator("table.suite tbody th").first.bounding_box()
    box = page.locator(".scroll:has(table.suite)").bounding_box()
    assert box["x"] <= name["x"] <= name["x"] + name["width"] <= box["x"] + box["width"]


def test_cards_have_their_height_before_their_figures_are_drawn(page: Any) -> None:
    before = page.evaluate("heights")
    assert len(before) == page.locator("[data-figure]").count() == 9
    assert page.evaluate("[...document.querySelectorAll('figure')].map((f) => f.offsetHeight)") == before


def test_no_picture_is_larger_than_its_place(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    sizes = """[...document.querySelectorAll('.plot')].map((plot) => {
      const box = plot.querySelector('svg').getBoundingClientRect();
      return [box.width - plot.clientWidth, box.height - plot.clientHeight];
    })"""
    assert max(map(max, page.evaluate(sizes))) <= 1


def test_the_labels_of_axes_do_not_touch(page: Any) -> None:
    boxes = """[...document.querySelectorAll('[data-figure^=curves] .role-axis-label')]
      .map((group) => [...group.querySelectorAll('text')]
        .filter((text) => getComputedStyle(text).opacity > 0).map((text) => text.getBoundingClientRect())
        .map((box) => [box.left, box.right, box.top, box.bottom]))"""
    for labels in page.evaluate(boxes):
        for (_, right, top, _), (left, _, _, bottom) in pairwise(labels):
            assert left - right >= 2 or top - bottom >= 2


def test_the_head_of_a_long_table_stays_in_sight(open_page: Open, rich_page: Path) -> None:
    page = open_page(rich_page, 1280).page
    page.locator("summary", has_text="cells").click()
    table = page.locator("details[open] .scroll:has(table.certificates)")
    table.evaluate("(box) => box.scrollTo(0, 2000)")
    head, box = table.locator("thead th").first.bounding_box(), table.bounding_box()
    assert head["y"] - box["y"] == pytest.approx(1, abs=1)


def test_nothing_is_cut_off_on_paper(open_page: Open, rich_page: Path) -> None:
    page = open_page(rich_page, 1280).page
    page.emulate_media(media="print")
    shown = "(places) => places.map((place) => getComputedStyle(place).overflow)"
    assert set(page.locator(".frame .scroll").evaluate_all(shown)) == {"visible"}
    blank = (
        "(plots) => plots.map((p) => p.clientHeight - p.querySelector('svg').getBoundingClientRect().height)"
    )
    assert max(page.locator(".plot").evaluate_all(blank)) <= 1


def test_printed_heads_are_no_buttons(open_page: Open, rich_page: Path) -> None:
    """A browser repeats the head of a table on each page, but leaves out its buttons."""
    page = open_page(rich_page, 1280).page
    page.emulate_media(media="print")
    display = "(buttons) => buttons.map((button) => getComputedStyle(button).display)"
    assert set(page.locator("thead button").evaluate_all(display)) == {"contents"}


def test_patterns_are_hollow_points_at_their_share(open_page: Open, rich_page: Path) -> None:
    page = open_page(rich_page, 1280).page
    figure = page.locator("[data-figure^=curves-csqa]")
    # the hollow points of five methods at 2:4 and at 1:4 are filled with the colour of the card
    hollow = "(marks) => marks.filter((mark) => mark.getAttribute('fill') === 'var(--sheet)' "
    hollow += "&& mark.getAttribute('stroke').startsWith('var(--hue')).length"
    assert figure.locator(".mark-symbol path").evaluate_all(hollow) == 10
    texts = figure.locator(".mark-text.role-mark text").all_text_contents()
    assert texts == ["2:4", "1:4"]
    assert figure.locator(".mark-rule line").count() >= 2


def test_many_bands_are_hidden_until_they_are_asked_for(
    open_page: Open, tmp_path: Path, record: Callable[..., Any]
) -> None:
    from smc_eval.reporting.html.page import Page
    from smc_eval.reporting.table import table_of

    methods = ["lth", "gmp", "snip", "wanda", "grasp", "synflow", "set", "mest"]
    records = [
        record(method, sparsity, 70.0 + 9 * seed, seed=seed)
        for method in ("dense", *methods)
        for sparsity in (0.36, 0.672)[: 1 if method == "dense" else 2]
        for seed in (0, 1)
    ]
    (tmp_path / "page.html").write_text(Page.of(table_of(records)).html, encoding="utf-8")
    opened = open_page(tmp_path / "page.html", 1280)
    heights = "Math.max(...[...document.querySelectorAll('[data-figure^=curves] .mark-area path')]"
    heights += ".map((band) => band.getBoundingClientRect().height))"
    assert opened.page.evaluate(heights) <= 1
    opened.page.get_by_label("95 % intervals").check()
    assert opened.page.evaluate(heights) > 50
    assert opened.messages == []
