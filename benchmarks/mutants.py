"""The table of docs/contracts.md: every mutant of the tests, and the promise that kills it.

    python benchmarks/mutants.py

It writes the table anew between the marks in the document, from the list that the tests check
(`tests/testing/smc_eval_mutants/kills.py`), and leaves the rest of it as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "contracts.md"
START, END = "<!-- table: python benchmarks/mutants.py -->", "<!-- end of the table -->"
HEADS = {"method": "a method that", "task": "a task that", "optimizer": "an optimizer that"}


def kills() -> Iterable[Any]:
    """The mutants of the tests."""
    if (place := str(ROOT / "tests" / "testing")) not in sys.path:
        sys.path.append(place)
    from smc_eval_mutants.kills import KILLS

    return KILLS


def tables() -> Iterator[str]:
    """A table in Markdown for each kind of mutant."""
    for noun, head in HEADS.items():
        yield f"\n| {head} | is killed by the promise |\n|---|---|\n"
        for kill in kills():
            if kill.noun == noun:
                does = kill.does[:1].lower() + kill.does[1:].rstrip(".")
                yield f"| {does.replace('|', chr(92) + '|')} | {kill.words} |\n"


def mutants_document(text: str) -> str:
    """The document with its table written anew."""
    before, mark, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise SystemExit(f"{DOCUMENT} lacks the line {END if mark else START}")
    return f"{before}{mark}\n{''.join(tables())}\n{end}{after}"


def main() -> None:
    """Write the document anew."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    DOCUMENT.write_text(mutants_document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
