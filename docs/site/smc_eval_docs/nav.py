"""The navigation: every page of the site has one place in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from smc_eval_docs.page import Page

SECTIONS: Mapping[str, Sequence[str]] = {
    "": ("index.md",),
    "Start": (
        "first-table.md",
        "install.md",
        "your-model.md",
        "certificate.md",
        "difference.md",
        "take-home.md",
        "scale.md",
        "data.md",
    ),
    "Your own": (
        "plugins.md",
        "method.md",
        "task.md",
        "parts.md",
        "contracts.md",
        "plugins/smc-eval-hello.md",
        "plugins/smc-eval-lm.md",
        "plugins/smc-eval-structures.md",
    ),
    "Understand": (
        "protocols.md",
        "statistics.md",
        "plan.md",
        "kernels.md",
        "ranks.md",
        "records.md",
        "checks.md",
        "limits.md",
        "tape.md",
        "glossary.md",
        "architecture.md",
        "contributing.md",
    ),
    "Methods": ("methods.md", "methods/*"),
    "Tasks": ("tasks.md", "tasks/*"),
    "Reference": (
        "command-line.md",
        "verbs.md",
        "python.md",
        "python-reference.md",
        "python-reference/*",
        "record-schema.md",
    ),
    "Findings": (
        "findings.md",
        "findings/newcomers.md",
        "findings/smollm2.md",
        "findings/lazy.md",
        "findings/tuned-gmp.md",
        "findings/where-it-hurts.md",
        "findings/difficulty.md",
        "findings/picking.md",
        "findings/sparse-translation.md",
        "findings/outside.md",
    ),
    "Changelog": ("changelog.md",),
}
"""The sections with their pages, in order. `FOLDER/*` stands for all pages of a folder."""


def navigation(pages: Iterable[Page]) -> dict[str, list[Page]]:
    """The pages of each section.

    Raises:
        ValueError: a page has no place, or two; or a place has no page.
    """
    left = {page.path: page for page in pages}
    sections: dict[str, list[Page]] = {}
    for section, patterns in SECTIONS.items():
        sections[section] = []
        for pattern in patterns:
            chosen = [path for path in left if path == pattern or _in_folder(path, pattern)]
            if not chosen:
                raise ValueError(f"nav.py names {pattern} in {section!r}, and no page is left for it")
            sections[section] += [left.pop(path) for path in chosen]
    if left:
        raise ValueError(f"nav.py has no place for {', '.join(left)}")
    return sections


def _in_folder(path: str, pattern: str) -> bool:
    return pattern.endswith("/*") and path.startswith(pattern.removesuffix("*"))


def as_toml(sections: Mapping[str, Sequence[Page]]) -> str:
    """The navigation as a key of zensical.toml."""
    lines = ["nav = ["]
    for section, pages in sections.items():
        if not section or len(pages) == 1:
            lines += [f"  {{{json.dumps(section or 'Home')} = {json.dumps(page.path)}}}," for page in pages]
            continue
        entries = ", ".join(_entry(page) for page in pages)
        lines.append(f"  {{{json.dumps(section)} = [{entries}]}},")
    return "\n".join([*lines, "]"])


def _entry(page: Page) -> str:
    title = json.dumps(page.title.replace("`", ""), ensure_ascii=False)
    return f"{{{title} = {json.dumps(page.path)}}}"
