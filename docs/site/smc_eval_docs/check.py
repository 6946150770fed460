"""Checks of the built site: links lead somewhere, pages are found, and nothing comes from elsewhere.

zensical's own check sees links and anchors of Markdown. It sees neither those of HTML, nor pages that no
navigation names, nor what its theme makes a browser load.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from os.path import normpath
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from smc_eval_docs.html_page import STYLE_ADDRESS, HtmlPage

SCRIPT_ADDRESS = re.compile(
    r"""["'`]((?:https?:)?//(?:\$\{\w+\}|[\w-]+(?:\.[\w-]+)+)(?::\d+)?(?:/[^"'`\s]*)?)["'`]"""
)
"""An address in a script."""

NAMESPACE = "http://www.w3.org/"
"""Names of XML, which look like addresses and are never loaded."""

DORMANT: Mapping[str, str] = {
    "unpkg.com/mermaid@": "class mermaid",
    "unpkg.com/glightbox@": "class glightbox",
    "unpkg.com/ace-builds@": "class pyodide",
    "unpkg.com/pyodide@": "class pyodide",
    "cdn.jsdelivr.net/pyodide/": "class pyodide",
    "api.github.com/": "component source",
    "/api/v4/projects/": "component source",
    "unpkg.com/resize-observer-polyfill": "a browser of before 2020",
    "vega.github.io/schema/": "never: the name of a format",
    "vega.github.io/editor/": "a click",
}
"""Addresses in the scripts of zensical and Vega, and what it takes that a browser loads them."""


def faults(folder: Path) -> list[str]:
    """Everything that is wrong with a built site, a line each."""
    pages = {str(path.relative_to(folder)): HtmlPage.read(path) for path in sorted(folder.rglob("*.html"))}
    if "index.html" not in pages:
        return [f"{folder} has no index.html"]
    found = [*_broken_links(folder, pages), *_lonely(pages), *_unsearchable(folder, pages)]
    found += [f"{name}: loads {address}" for name, page in pages.items() for address in _outside(page)]
    found += [
        f"{name}: Markdown in the text: {text}" for name, page in pages.items() for text in page.leftovers
    ]
    return [*found, *_loaded_by_files(folder), *_awake(pages)]


def _broken_links(folder: Path, pages: Mapping[str, HtmlPage]) -> Iterator[str]:
    """Links and loaded files that do not exist, and anchors that no page has."""
    for name, page in pages.items():
        for address in dict.fromkeys([*page.links, *page.loaded]):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = _target(name, parts.path)
            if target.startswith("..") or not (folder / target).is_file():
                yield f"{name}: {address} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {address} has no such anchor"


def _target(page: str, path: str) -> str:
    """The file that a link of a page leads to. Those of 404.html begin at the root."""
    if not path:
        return page
    folder = PurePosixPath() if path.startswith("/") else PurePosixPath(page).parent
    return normpath(folder / unquote(path.lstrip("/")))


def _lonely(pages: Mapping[str, HtmlPage]) -> Iterator[str]:
    """Pages that no other page links to; 404.html is shown by servers."""
    linked = {
        _target(name, urlsplit(link).path)
        for name, page in pages.items()
        for link in page.links
        if not urlsplit(link).scheme and urlsplit(link).path
    }
    yield from (f"{name}: no page links to it" for name in pages if name not in linked | {"404.html"})


def _unsearchable(folder: Path, pages: Mapping[str, HtmlPage]) -> Iterator[str]:
    """Pages of zensical that its search does not know. The search of files reads search.js."""
    script = folder / "search.js"
    if not script.is_file():
        yield "search.js is missing: the search needs a server"
        return
    text = script.read_text(encoding="utf-8")
    index = json.loads(text[text.index("{") :].rstrip().rstrip(";"))
    known = {item["location"].partition("#")[0] for item in index["items"]}
    own = {name for name, page in pages.items() if "md-content" in page.classes} - {"404.html"}
    yield from (f"{name}: the search does not know it" for name in sorted(own - known))


def _outside(page: HtmlPage) -> Iterator[str]:
    """Addresses elsewhere that a page makes a browser load."""
    for address in page.loaded:
        if urlsplit(address).netloc or urlsplit(address).scheme not in {"", "data", "blob"}:
            yield address
    for script in page.scripts:
        yield from _script_addresses(script)


def _script_addresses(text: str) -> Iterator[str]:
    """Addresses in a script that are neither names of XML nor known to be dormant."""
    for address in dict.fromkeys(SCRIPT_ADDRESS.findall(text)):
        if not address.startswith(NAMESPACE) and not any(part in address for part in DORMANT):
            yield address


def _loaded_by_files(folder: Path) -> Iterator[str]:
    """Addresses elsewhere in style sheets, scripts and pictures."""
    for path in sorted(folder.rglob("*")):
        name, text = str(path.relative_to(folder)), ""
        if path.suffix in {".css", ".js", ".svg"} and name != "search.js":
            text = path.read_text(encoding="utf-8")
        for address in STYLE_ADDRESS.findall(text) if path.suffix == ".css" else ():
            if urlsplit(address).netloc:
                yield f"{name}: loads {address}"
        if path.suffix == ".js":
            yield from (f"{name}: loads {address}" for address in _script_addresses(text))
        if path.suffix == ".svg":
            page = HtmlPage()
            page.feed(text)
            yield from (f"{name}: loads {address}" for address in _outside(page))


def _awake(pages: Mapping[str, HtmlPage]) -> Iterator[str]:
    """Pages that have what makes a script load one of the dormant addresses."""
    for name, page in pages.items():
        for address, need in DORMANT.items():
            kind, _, word = need.partition(" ")
            if (kind == "class" and word in page.classes) or (
                kind == "component" and word in page.components
            ):
                yield f"{name}: has {need}, so that zensical loads {address}"
