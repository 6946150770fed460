"""Pages that are written by hand: where they stand in the repository, and their links in the site."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from os.path import normpath
from pathlib import Path, PurePosixPath

from smc_eval_docs.cards import method_path, own_methods, own_tasks, task_path
from smc_eval_docs.page import CODE, HOME, ROOT, Page, relative

ASSETS = (
    "docs/record.schema.json",
    "docs/findings/curves.svg",
    "docs/findings/layers.svg",
    "docs/findings/difficulty.svg",
    "docs/findings/lazy.svg",
    "docs/findings/picking.svg",
)
"""Files that pages link to, beside the pages."""

MADE = {
    "smc_eval/__init__.py": "python-reference.md",
    "smc_eval/cli/verbs.py": "verbs.md",
    "smc_eval/store/record.py": "record-schema.md",
    "smc_eval/tasks": "tasks.md",
    "findings": "findings/outside.md",
}
"""Files of the repository that a page is made of: a link to one leads to the page."""

LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
"""A link or a picture, with its address as the second group."""

BLOCK = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
"""A block of code, in which nothing is a link."""


def sources() -> Mapping[str, str]:
    """The page of the site for each file of the repository that is one."""
    own = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "findings").glob("*.md"))
    pages = {str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs")) for path in own}
    pages |= {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
    pages |= {"ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md"}
    pages |= {
        f"plugins/{path.parent.name}/README.md": f"plugins/{path.parent.name}.md" for path in _plugins()
    }
    return pages | MADE | {path: path.removeprefix("docs/") for path in ASSETS}


def _plugins() -> list[Path]:
    return sorted((ROOT / "plugins").glob("*/README.md"))


def written_pages() -> Iterator[Page]:
    """All pages that are written by hand, with the links of the site."""
    pages = sources()
    for source, path in pages.items():
        if source.endswith(".md"):
            text = (ROOT / source).read_text(encoding="utf-8")
            linked = outside_blocks(text, partial(relinked, source=source, pages=pages))
            linked = outside_blocks(linked, without_escaped_bars)
            if path in {"index.md", "methods.md"}:
                linked = outside_blocks(linked, linked_cards)
            yield Page(path, title_of(text), linked)


def title_of(text: str) -> str:
    """The first heading of a page."""
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))


def outside_blocks(text: str, change: Callable[[str], str]) -> str:
    """A text whose parts outside of blocks of code are changed."""
    parts, end = [], 0
    for block in BLOCK.finditer(text):
        parts += [change(text[end : block.start()]), block.group()]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def without_escaped_bars(text: str) -> str:
    """A text without backslashes before bars in code of tables: GitHub needs them, the site shows them."""

    def line(row: str) -> str:
        return CODE.sub(lambda span: span.group().replace(r"\|", "|"), row) if row.startswith("|") else row

    return "\n".join(map(line, text.split("\n")))


def relinked(text: str, source: str, pages: Mapping[str, str]) -> str:
    """A text of a file of the repository with links that hold in the site.

    A link to a file that is a page leads to the page; a link to another file of the repository leads to
    GitHub.
    """

    def link(found: re.Match[str]) -> str:
        return f"{found[1]}{site_address(found[2], source, pages)}{found[3]}"

    return LINK.sub(link, text)


def site_address(address: str, source: str, pages: Mapping[str, str]) -> str:
    """The address of a link in the site."""
    path, hash_sign, anchor = address.partition("#")
    if address.startswith(HOME):
        path = path.removeprefix(HOME)
    elif not path or ":" in path:
        return address
    else:
        path = normpath(PurePosixPath(source).parent / path)
    target = pages.get(path) or pages.get(f"{path}/README.md".removeprefix("./"))
    if target:
        return f"{relative(target, pages[source])}{hash_sign}{anchor}"
    return f"{HOME}{path}{hash_sign}{anchor}" if (ROOT / path).exists() else address


def linked_cards(text: str) -> str:
    """A text whose tables name methods and tasks, with links to their pages."""
    cards = {kind.card.name: method_path(kind.card.name) for kind in own_methods()}
    cards |= {kind.card.name: task_path(kind.card.name) for kind in own_tasks()}

    def link(found: re.Match[str]) -> str:
        name = found[1]
        return f"[`{name}`]({cards[name]})" if name in cards else found.group()

    def line(row: str) -> str:
        return re.sub(r"(?<!\[)`([^`]+)`", link, row) if row.startswith("|") else row

    return "\n".join(map(line, text.split("\n")))
