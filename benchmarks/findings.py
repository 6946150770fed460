"""All tables and figures of docs/findings, from the records beside the pages.

    python benchmarks/findings.py

It writes the tables anew between the marks of each page, and leaves the rest as it is.
Figures need the extra `page`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from findings_pages import (
    difficulty,
    lazy,
    newcomers,
    picking,
    smollm2,
    sparse_translation,
    tuned_gmp,
    where_it_hurts,
)
from findings_pages.stored import PAGES

START, END = "<!-- tables: python benchmarks/findings.py -->", "<!-- end of tables -->"
TABLES: Mapping[str, Callable[[], str]] = {
    "newcomers": newcomers.newcomers,
    "smollm2": smollm2.smollm2,
    "lazy": lazy.lazy,
    "tuned-gmp": tuned_gmp.tuned_gmp,
    "where-it-hurts": where_it_hurts.where_it_hurts,
    "difficulty": difficulty.difficulty,
    "picking": picking.picking,
    "sparse-translation": sparse_translation.sparse_translation,
}
"""What makes the tables of each page, by the page's name."""
FIGURES: Mapping[str, Callable[[], str]] = {
    "lazy": lazy.figure,
    "difficulty": difficulty.figure,
    "picking": picking.figure,
}
"""What makes a figure, as SVG, by its name."""


def page(name: str) -> Path:
    """The file of a page."""
    return PAGES / f"{name}.md"


def document(name: str) -> str:
    """The text of a page with its tables written anew."""
    before, mark, rest = page(name).read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    assert end, f"{page(name)} has lost its marks"
    return f"{before}{mark}\n\n{TABLES[name]()}\n\n{end}{after}"


def main() -> None:
    """Write the pages and figures anew."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name in TABLES:
        page(name).write_text(document(name), encoding="utf-8")
        print(f"wrote {page(name)}")
    for name, figure in FIGURES.items():
        path = PAGES / f"{name}.svg"
        path.write_text(figure(), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
