"""The style of each method in all figures, and the colours of the page's light and dark theme."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

THEME_COLOURS = {
    "paper": ("#fbfbf9", "#14171a"),
    "sheet": ("#ffffff", "#1b1f23"),
    "ink": ("#1c2126", "#e7eaed"),
    "soft": ("#59626b", "#a3adb6"),
    "rule": ("#dfe2e4", "#31373d"),
    "wash": ("#f1f3f2", "#22272c"),
    "link": ("#0b5cad", "#7fb8f5"),
    "alarm": ("#b3141d", "#ff8a83"),
    "blush": ("#fdeceb", "#3a1d1e"),
    "shade": ("#00000029", "#000000a6"),
    "good": ("#0a6b4c", "#63d2a8"),
    "hue-0": ("#0b62a8", "#6cb6ff"),
    "hue-1": ("#c2410c", "#ff9a66"),
    "hue-2": ("#0a7d5a", "#4cd3a5"),
    "hue-3": ("#a8327e", "#f08cc9"),
    "hue-4": ("#8a6500", "#e0b84c"),
    "hue-5": ("#5b3fb0", "#b7a1ff"),
    "hue-6": ("#47525c", "#c3ccd4"),
}
"""In the light and the dark theme. Text has a contrast of 4.5 with its background, lines one of 3."""

HUES = sum(name.startswith("hue-") for name in THEME_COLOURS)

SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
"""One more than hues, so that the first 56 methods have different pairs of hue and shape."""

DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (2, 2), (8, 2, 2, 2))


MARK_WIDTH = 30
"""Width of a method's mark in the legend, in pixels."""


class Style(NamedTuple):
    """A hue, a shape and a dash; shape and dash also identify a method without colours."""

    label: str
    """The method's."""
    hue: str
    shape: str
    dash: tuple[int, ...]
    """Lengths of its strokes and gaps, in pixels."""

    @property
    def mark_line(self) -> str:
        """The line of its mark in the legend as an SVG path: symmetrical, so that its ends are alike."""
        return "".join(f"M{start:g} 6H{end:g}" for start, end in _strokes(self.dash))


def _strokes(dash: tuple[int, ...]) -> Iterator[tuple[float, float]]:
    """Where each stroke begins and ends if the first is in the middle of the legend's mark."""
    middle, period = MARK_WIDTH / 2, sum(dash)
    if dash == DASHES[0]:
        yield 0, MARK_WIDTH
        return
    origin = middle - dash[0] / 2
    for turn in range(-MARK_WIDTH // period - 1, MARK_WIDTH // period + 2):
        at = origin + turn * period
        for number, length in enumerate(dash):
            start, end = max(0.0, at), min(float(MARK_WIDTH), at + length)
            if number % 2 == 0 and end - start > 1:
                yield start, end
            at += length


def styles_of(labels: Iterable[str]) -> tuple[Style, ...]:
    """The style of each label, in their order."""
    return tuple(
        Style(
            label,
            f"var(--hue-{number % HUES})",
            SHAPES[number % len(SHAPES)],
            DASHES[number // HUES % len(DASHES)],
        )
        for number, label in enumerate(dict.fromkeys(labels))
    )


def scales(styles: Sequence[Style]) -> dict[str, Any]:
    """Encodings of colour, shape and dash, the same in every figure."""
    labels = [style.label for style in styles]

    def scale(values: Sequence[Any]) -> dict[str, Any]:
        return {
            "field": "label",
            "type": "nominal",
            "scale": {"domain": labels, "range": list(values)},
            "legend": "methods",
        }

    return {
        "color": scale([style.hue for style in styles]),
        "shape": scale([style.shape for style in styles]),
        "strokeDash": scale([list(style.dash) for style in styles]),
    }


def with_light_colours(value: Any) -> Any:
    """A spec with every `var(--…)` replaced by its light colour, for files without a style sheet."""
    if isinstance(value, dict):
        return {key: with_light_colours(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [with_light_colours(part) for part in value]
    if isinstance(value, str) and value.startswith("var(--"):
        return THEME_COLOURS[value[6:-1]][0]
    return value


SHAPE_PATHS = {
    "circle": "M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z",
    "square": "M-4 -4H4V4H-4Z",
    "triangle-up": "M0 -5L5 4H-5Z",
    "diamond": "M0 -5.5L4.4 0L0 5.5L-4.4 0Z",
    "cross": "M-1.6 -5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",
    "triangle-down": "M0 5L5 -4H-5Z",
    "triangle-right": "M5 0L-4 5V-5Z",
    "triangle-left": "M-5 0L4 5V-5Z",
}
"""The shapes as SVG paths, for the legend."""
