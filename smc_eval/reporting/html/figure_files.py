"""Every figure of a page as PDF, SVG and PNG, for papers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smc_eval.errors import StoreError
from smc_eval.reporting.html.page import VEGA_LITE, Page, extra_module

SCALE = 2.5
"""Pixels per point of a PNG: 240 per inch at its size."""


def save_figures(page: Page, folder: Path) -> Iterator[Path]:
    """Write all figures as `NAME.pdf`, `NAME.svg` and `NAME.png`; yield each path once it is written.

    Raises:
        StoreError: a file cannot be written.
        UsageError: the extra `page` is not installed.
    """
    convert = extra_module("vl_convert")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in page.figures:
            spec = figure.file_spec(page.data)
            drawing = convert.vegalite_to_vega(spec, vl_version=VEGA_LITE)
            for legend in drawing.get("legends", []):
                legend.pop("strokeDash", None)  # the dash of a line would fray the outline of its symbol
            svg: str = convert.vega_to_svg(drawing)
            contents = {
                "svg": svg.encode(),
                "pdf": convert.svg_to_pdf(svg),
                "png": convert.svg_to_png(svg, scale=SCALE),
            }
            for kind, content in contents.items():
                path = folder / f"{figure.name}.{kind}"
                path.write_bytes(content)
                yield path
    except OSError as error:
        raise StoreError(f"cannot write figures to {folder}: {error.strerror}") from None
