"""Files: every figure of a page as PDF, SVG and PNG, for papers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smc_eval.errors import StoreError
from smc_eval.reporting.html.page import VEGA_LITE, Page, needs

SCALE = 2.5
"""Dots a point of a PNG: 240 an inch at the size it has."""


def save_figures(page: Page, folder: Path) -> Iterator[Path]:
    """Write them all, each as `NAME.pdf`, `NAME.svg`, `NAME.png`; tells each path once it is there.

    Raises:
        StoreError: one cannot be written.
        UsageError: the extra `page` is not installed.
    """
    convert = needs("vl_convert")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in page.figures:
            spec = figure.alone(page.data)
            svg: str = convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
            made = {
                "svg": svg.encode(),
                "pdf": convert.svg_to_pdf(svg),
                "png": convert.svg_to_png(svg, scale=SCALE),
            }
            for kind, content in made.items():
                path = folder / f"{figure.name}.{kind}"
                path.write_bytes(content)
                yield path
    except OSError as error:
        raise StoreError(f"cannot write figures to {folder}: {error.strerror}") from None
