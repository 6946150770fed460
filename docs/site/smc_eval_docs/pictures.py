"""Pictures of what a command shows, made by the command that stands above them on the page."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from smc_eval_docs.page import ROOT, relative

MARK = re.compile(
    r"^```sh\n(?P<command>smc-eval [^\n]*)\n```\n\n"
    r'<!-- (?P<what>picture|file): (?P<file>\S+) "(?P<words>[^"]+)" -->$',
    re.MULTILINE,
)
"""A command, and below it the file that it makes: shown as a picture, or linked.

    <!-- picture: terminal.svg "The table of …" -->

`terminal.svg` is what the command prints. Another name is that of a file that the command writes; `*` stands
for any letters.
"""

FOLDER = "pictures"
"""The folder of the site that gets the files."""

WIDTH = 100
"""Columns of the terminal."""


@dataclass(frozen=True)
class Marked:
    """A mark of a page."""

    command: str
    what: str
    file: str
    words: str
    """What the picture shows, for those who do not see it; or the text of the link."""


def marks_of(text: str) -> Iterator[Marked]:
    """The marks of a page."""
    for found in MARK.finditer(text):
        yield Marked(found["command"], found["what"], found["file"], found["words"])


def with_pictures(text: str, page: str, folder: Path) -> str:
    """A page with the files that its commands make, which are written below `folder`."""

    def shown(found: re.Match[str]) -> str:
        (mark,) = marks_of(found.group())
        file = made_file(mark, folder / FOLDER / Path(page).with_suffix(""))
        address = relative(str(file.relative_to(folder)), page)
        block = found.group().partition("<!--")[0]
        return f"{block}{'!' if mark.what == 'picture' else ''}[{mark.words}]({address})"

    return MARK.sub(shown, text)


def made_file(mark: Marked, folder: Path) -> Path:
    """Run the command of a mark, and return the file that the mark names.

    The command runs in a copy of nothing but docs/, so that it can write files beside it.

    Raises:
        FileNotFoundError: the command did not write such a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    (work / "docs").symlink_to(ROOT / "docs", target_is_directory=True)
    try:
        printed = _run(mark.command, work)
        if mark.file == "terminal.svg":
            target = folder / f"{_slug(mark.command)}.svg"
            target.write_text(terminal_svg(mark.command, printed), encoding="utf-8")
            return target
        (work / "docs").unlink()
        written = sorted(work.glob(mark.file))
        if len(written) != 1:
            raise FileNotFoundError(f"{mark.command} wrote {len(written)} files like {mark.file}, 1 wanted")
        return Path(shutil.move(written[0], folder / written[0].name))
    finally:
        (work / "docs").unlink(missing_ok=True)
        shutil.rmtree(work)


def _run(command: str, folder: Path) -> str:
    """What a command of smc-eval prints, with the colours of a terminal."""
    environment = os.environ | {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    words = [sys.executable, "-m", "smc_eval", *shlex.split(command)[1:]]
    ended = subprocess.run(  # noqa: S603  runs our own command
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{command} ended with {ended.returncode}: {ended.stderr}")
    return ended.stdout


def terminal_svg(command: str, printed: str) -> str:
    """What a terminal shows, as a picture that loads nothing: rich's own names a font on a server."""
    text = Text.from_ansi(printed.rstrip("\n"))
    width = max(len(line) for line in text.plain.splitlines())
    console = Console(record=True, width=max(width, 40), file=io.StringIO())
    console.print(text, soft_wrap=True)
    picture = console.export_svg(title=command, theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def _slug(command: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", command.lower()).strip("-")
