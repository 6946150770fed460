"""What the checks need of a built HTML page: its anchors, its links, and what a browser would load."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

LOADING = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("iframe", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("video", "src"),
    ("video", "poster"),
    ("audio", "src"),
    ("track", "src"),
    ("embed", "src"),
    ("object", "data"),
    ("input", "src"),
    ("image", "href"),
    ("image", "xlink:href"),
    ("use", "href"),
    ("use", "xlink:href"),
}
"""Attributes whose address a browser loads without being asked."""

LOADING_RELATIONS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
}
LOADING_RELATIONS |= {"manifest", "apple-touch-icon", "mask-icon", "shortcut"}
"""Relations of a `<link>` that make a browser load its address, or connect to it."""

STYLE_ADDRESS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
"""An address in a style sheet."""

LEFTOVER = re.compile(r"(?:^|\n)(?:[-*] \S|\| .*\||```|#{1,6} |\[[^\]]*\]\([^)]*\)|<!--|:::)")
"""Markdown that was printed and not read: a list without a blank line before it, and the like."""


ESCAPE = re.compile(r"\\[|<>*_#]")
"""A backslash that was printed and should have escaped a sign."""

VERBATIM = {"script", "style", "pre"}
"""Tags whose text may have anything in it."""


@dataclass
class HtmlPage(HTMLParser):
    """A built page."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    """Addresses that a browser loads with the page."""
    scripts: list[str] = field(default_factory=list)
    """Texts of scripts in the page."""
    classes: set[str] = field(default_factory=set)
    components: set[str] = field(default_factory=set)
    """Values of `data-md-component`, by which the scripts of zensical find what they serve."""
    leftovers: list[str] = field(default_factory=list)
    """Paragraphs with Markdown in them."""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._inside = ""
        self._text: list[str] = []
        self._verbatim = 0

    @classmethod
    def read(cls, path: Path) -> HtmlPage:
        """The page of a file."""
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.classes |= set(values.get("class", "").split())
        if "data-md-component" in values:
            self.components.add(values["data-md-component"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and LOADING_RELATIONS & set(values.get("rel", "").lower().split()):
            self.loaded.append(values.get("href", ""))
        for name, value in values.items():
            if (tag, name) in LOADING:
                parts = value.split(",") if name == "srcset" else [value]
                self.loaded += [part.split()[0] for part in parts if part.split()]
        self.loaded += STYLE_ADDRESS.findall(values.get("style", ""))
        if tag in {"script", "style", "p"}:
            self._inside, self._text = tag, []
        self._verbatim += tag in VERBATIM

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._inside = "" if tag in {"script", "style", "p"} else self._inside
        self._verbatim -= tag in VERBATIM

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._text.append(data)
        if not self._verbatim and ESCAPE.search(data):
            self.leftovers.append(" ".join(data.split())[:80])

    def handle_endtag(self, tag: str) -> None:
        self._verbatim -= tag in VERBATIM and self._verbatim > 0
        if tag != self._inside:
            return
        text, self._inside = "".join(self._text), ""
        if tag == "script":
            self.scripts.append(text)
        elif tag == "style":
            self.loaded += STYLE_ADDRESS.findall(text)
        elif LEFTOVER.search(text):
            self.leftovers.append(" ".join(text.split())[:80])
