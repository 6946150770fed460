"""The folder that zensical builds: all pages, their files, the theme and the settings with the navigation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from smc_eval_docs.command_line import command_line_page
from smc_eval_docs.methods import method_pages
from smc_eval_docs.nav import as_toml, navigation
from smc_eval_docs.outside import outside_page
from smc_eval_docs.page import ROOT, Page
from smc_eval_docs.pictures import with_pictures
from smc_eval_docs.python_reference import reference_pages
from smc_eval_docs.record_schema import record_page
from smc_eval_docs.tasks import task_pages
from smc_eval_docs.written import ASSETS, written_pages

OWN = ROOT / "docs" / "site"
"""The folder of the settings, the theme and this program."""


def all_pages() -> Iterator[Page]:
    """All pages: those that are written by hand, and those that are made."""
    yield from written_pages()
    yield from method_pages()
    yield from task_pages()
    yield command_line_page()
    yield from reference_pages()
    yield record_page()
    yield outside_page()


def write_site(folder: Path) -> int:
    """Write everything that zensical needs, in place of what the folder held. Returns the number of pages."""
    shutil.rmtree(folder, ignore_errors=True)
    docs = folder / "docs"
    pages = list(all_pages())
    settings = (OWN / "zensical.toml").read_text(encoding="utf-8")
    settings = settings.replace("[project]\n", f"[project]\n{as_toml(navigation(pages))}\n", 1)
    for page in pages:
        path = docs / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(with_pictures(page.text, page.path, docs), encoding="utf-8")
    for asset in ASSETS:
        shutil.copyfile(ROOT / asset, docs / Path(asset).relative_to("docs"))
    shutil.copytree(OWN / "assets", docs / "assets")
    shutil.copytree(OWN / "theme", folder / "theme")
    shutil.copytree(
        ROOT / "smc_eval", folder / "source" / "smc_eval", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "zensical.toml").write_text(settings, encoding="utf-8")
    return len(pages)
