"""What outside software really does: the scripts of findings/, from their own headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smc_eval_docs.page import HOME, ROOT, Page, code, plain, table

PATH = "findings/outside.md"
"""The page of all scripts."""

FOLDER = ROOT / "findings"

INTRODUCTION = (
    "Public packages in public releases, on valid input, without smc-eval. Each script installs them in "
    "a temporary folder, shows the behaviour, and ends with an error if it changes. A claim holds for the "
    "versions that stand beside it."
)

ENTRY = re.compile(r"^\s*(?:\d+\.|-) ")
"""The mark of an entry of a list."""


@dataclass(frozen=True)
class Finding:
    """A script of findings/, by the comment that it begins with."""

    name: str
    claim: str
    """What the script shows, in one sentence."""
    date: str
    versions: str
    """Of Python and of the packages that were run."""
    behaviour: tuple[str, ...]
    """What the software does and why it matters: paragraphs of Markdown."""
    packages: str
    """What the script installs, each package with its version."""


def findings() -> list[Finding]:
    """All findings, by the names of their files."""
    return [finding(path) for path in sorted(FOLDER.glob("*.sh"))]


def finding(path: Path) -> Finding:
    """The finding of a script.

    Raises:
        ValueError: its comment lacks the claim, the date with versions, or what the software does.
    """
    text = path.read_text(encoding="utf-8")
    header = re.match(r"#!/bin/sh\n((?:#.*\n)+)", text)
    lines = [line.removeprefix("#").removeprefix(" ") for line in header[1].splitlines()] if header else []
    claim, dated, *behaviour = [part.strip("\n") for part in re.split(r"\n\s*\n", "\n".join(lines))] + [
        ""
    ] * 3
    about = re.fullmatch(r"(\d{4}-\d{2}-\d{2}); (.+)\.", " ".join(dated.split()))
    packages = re.search(r"pip\" install -q (.+)", text)
    behaviour = [part for part in behaviour if part]
    if not (about and claim and behaviour and packages):
        raise ValueError(
            f"{path.name} needs a comment of paragraphs: claim; `YYYY-MM-DD; versions.`; what happens, why "
            "it matters; and a line that installs packages with their versions"
        )
    return Finding(
        path.stem, " ".join(claim.split()), about[1], about[2], tuple(behaviour), packages[1].strip()
    )


def outside_page() -> Page:
    """The page of all findings."""
    rows = [(f"[{plain(one.claim)}](#{one.name})", plain(one.versions), one.date) for one in findings()]
    blocks = [
        "# What outside software really does",
        INTRODUCTION,
        table(("what happens", "versions", "date"), rows),
    ]
    for one in findings():
        blocks += _section(one)
    return Page(PATH, "What outside software does", "\n\n".join(blocks) + "\n")


def _section(one: Finding) -> Iterator[str]:
    yield f"## {plain(one.claim.rstrip('.'))} {{ #{one.name} }}"
    script = f"findings/{one.name}.sh"
    yield f"{one.date}; {plain(one.versions)}. Run it: `sh {script}` ([source]({HOME}{script}))."
    for part in one.behaviour:
        yield _markdown(part)
    yield f"It installs {', '.join(map(code, one.packages.split()))}."


def _markdown(part: str) -> str:
    """A paragraph, or a list whose entries go on in indented lines."""
    if not ENTRY.match(part):
        return plain(" ".join(part.split()))
    entries = (" ".join(ENTRY.sub("", entry).split()) for entry in re.split(r"\n(?=\s*(?:\d+\.|-) )", part))
    return "\n".join(f"1. {plain(entry)}" for entry in entries)
