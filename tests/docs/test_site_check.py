"""The check of the built site finds each kind of fault, and nothing in a site without any."""

from __future__ import annotations

from pathlib import Path

import pytest
from smc_eval_docs.__main__ import main
from smc_eval_docs.check import faults

PAGE = """<!doctype html><html><head><title>x</title><link rel="icon" href="icon.png">
<link rel="stylesheet" href="a.css"><link rel="canonical" href="https://example.org/"></head>
<body><h1 id="top">x</h1><article class="md-content"><p>words</p>
<a href="index.html">home</a> <a href="b.html#there">b</a> <a href="https://example.org">elsewhere</a></article>
<script src="a.js"></script></body></html>"""

SCRIPT = (
    'var a="http://www.w3.org/2000/svg",b="https://unpkg.com/mermaid@12/dist/mermaid.min.js";/["\']/i.test(a)'
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A built site of two pages without a fault."""
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "b.html").write_text(PAGE.replace('"top"', '"there"'), encoding="utf-8")
    (tmp_path / "404.html").write_text('<a href="/index.html">home</a>', encoding="utf-8")
    (tmp_path / "a.css").write_text("p{background:url(icon.png)}", encoding="utf-8")
    (tmp_path / "a.js").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "icon.png").write_bytes(b"")
    index = '{"items":[{"location":"index.html"},{"location":"b.html#there"}]}'
    (tmp_path / "search.js").write_text(f"var __index = {index};", encoding="utf-8")
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    """Replace a part of a file, which it must have."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_site_without_a_fault_has_none(site: Path) -> None:
    assert faults(site) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("index.html", "b.html#there", "gone.html", "index.html: gone.html leads nowhere"),
        ("index.html", "#there", "#nowhere", "index.html: b.html#nowhere has no such anchor"),
        ("index.html", "icon.png", "gone.png", "index.html: gone.png leads nowhere"),
        ("404.html", "/index.html", "/gone.html", "404.html: /gone.html leads nowhere"),
        ("b.html", "b.html", "../b.html", "b.html: ../b.html#there leads nowhere"),
        ("b.html", "a.js", "https://unpkg.com/shim", "b.html: loads https://unpkg.com/shim"),
        ("b.html", "a.css", "//fonts.example.org/a.css", "b.html: loads //fonts.example.org/a.css"),
        ("b.html", "canonical", "preconnect", "b.html: loads https://example.org/"),
        ("b.html", "<p>", '<p><img src="http://a.org/b.png">', "b.html: loads http://a.org/b.png"),
        ("b.html", "<p>", '<p style="background:url(http://a.org/b)">', "b.html: loads http://a.org/b"),
        ("b.html", "<p>", "<script>f('https://a.org/b')</script><p>", "b.html: loads https://a.org/b"),
        ("a.css", "icon.png", "https://a.org/b.woff", "a.css: loads https://a.org/b.woff"),
        ("a.css", "p{", "@import 'https://a.org/b.css';p{", "a.css: loads https://a.org/b.css"),
        ("a.js", "var a", "f(`https://${h}/api`);var a", "a.js: loads https://${h}/api"),
        ("a.js", "var a", 'f("//a.org/b");var a', "a.js: loads //a.org/b"),
        (
            "b.html",
            "<p>",
            "<pre class='mermaid'></pre><p>",
            "b.html: has class mermaid, so that zensical loads",
        ),
        ("b.html", "<p>", "<a data-md-component='source'></a><p>", "b.html: has component source, so that"),
        ("search.js", "b.html#there", "c.html", "b.html: the search does not know it"),
        ("b.html", "words", "words:\n- an entry", "b.html: Markdown in the text: words: - an entry"),
        ("b.html", "words", r"a \| b \< c", r"b.html: Markdown in the text: a \| b"),
        ("b.html", "words", "| a | b |", "b.html: Markdown in the text: | a | b |"),
    ],
)
def test_the_check_finds(site: Path, file: str, old: str, new: str, fault: str) -> None:
    change(site / file, old, new)
    assert [line for line in faults(site) if line.startswith(fault)], faults(site)


def test_the_check_finds_a_page_that_no_page_links_to(site: Path) -> None:
    (site / "c.html").write_text("<p>c</p>", encoding="utf-8")
    assert faults(site) == ["c.html: no page links to it"]


def test_the_check_finds_a_picture_that_loads_a_font(site: Path) -> None:
    (site / "a.svg").write_text(
        "<svg><style>@font-face{src:url(https://a.org/f)}</style></svg>", encoding="utf-8"
    )
    assert faults(site) == ["a.svg: loads https://a.org/f"]


def test_a_site_whose_search_needs_a_server_is_refused(site: Path) -> None:
    (site / "search.js").unlink()
    assert faults(site) == ["search.js is missing: the search needs a server"]


def test_an_empty_folder_is_no_site(tmp_path: Path) -> None:
    assert faults(tmp_path) == [f"{tmp_path} has no index.html"]


def test_the_program_ends_with_one_for_a_fault(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(site)]) == 0
    (site / "search.js").unlink()
    assert main(["check", str(site)]) == 1
    assert main(["build"]) == 2
    assert "usage: python -m smc_eval_docs pages|check DIR" in capsys.readouterr().err
