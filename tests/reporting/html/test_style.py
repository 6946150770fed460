"""Styles are distinct, and colours have enough contrast."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import pytest

from smc_eval.reporting.html.style import (
    DASHES,
    HUES,
    SHAPES,
    THEME_COLOURS,
    styles_of,
    with_light_colours,
)


def test_the_first_56_methods_have_different_styles() -> None:
    styles = styles_of(f"m{n}" for n in range(HUES * len(SHAPES)))
    assert len({(style.hue, style.shape) for style in styles}) == len(styles) == 56


def test_the_first_28_methods_differ_without_colours() -> None:
    styles = styles_of(f"m{n}" for n in range(7 * len(DASHES)))
    assert len({(style.shape, style.dash) for style in styles}) == 28


def test_marks_in_the_legend_are_symmetrical() -> None:
    lines = [style.mark_line for style in styles_of(f"m{n}" for n in range(22))]
    assert lines[0] == "M0 6H30"
    assert lines[7] == "M1.5 6H8.5M11.5 6H18.5M21.5 6H28.5"  # strokes of 7 and gaps of 3
    assert lines[14] == "".join(f"M{start} 6H{start + 2}" for start in range(2, 27, 4))  # 2 and 2
    assert lines[21] == "M0 6H5M7 6H9M11 6H19M21 6H23M25 6H30"  # 8, 2, 2 and 2


def test_a_spec_for_a_file_has_no_variables_of_a_style_sheet() -> None:
    assert with_light_colours({"a": ["var(--ink)", ("var(--hue-0)", 1)]}) == {
        "a": [THEME_COLOURS["ink"][0], [THEME_COLOURS["hue-0"][0], 1]]
    }


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_enough_contrast_in_both_themes(theme: int) -> None:
    colours = {name: pair[theme] for name, pair in THEME_COLOURS.items()}
    for background in ("paper", "sheet", "wash"):
        for text in ("ink", "soft", "link", "alarm", "good"):
            assert contrast(colours[text], colours[background]) >= 4.5, (text, background)
    assert contrast(colours["alarm"], colours["blush"]) >= 4.5
    assert all(contrast(colours[f"hue-{n}"], colours["sheet"]) >= 3 for n in range(HUES))


def test_no_rule_of_the_page_stands_twice() -> None:
    text = (files("smc_eval.reporting.html") / "templates" / "page.css").read_text(encoding="utf-8")
    rules = [line for line in text.splitlines() if line.endswith("}") and not line.startswith((" ", "}"))]
    assert len(rules) > 50
    assert [rule for rule, count in Counter(rules).items() if count > 1] == []
    heads = Counter(rule.partition("{")[0].strip() for rule in rules)
    assert [head for head, count in heads.items() if count > 1] == []
