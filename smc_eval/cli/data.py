"""The verbs `data list`, `data verify` and `data fetch`: the data files of tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from smc_eval.capabilities import data_files
from smc_eval.cli.completion import TASKS
from smc_eval.cli.listing import columns
from smc_eval.cli.verb_command import VerbCommand
from smc_eval.data_file import DataFile
from smc_eval.errors import DownloadError, UsageError
from smc_eval.experiment.config import DATA_VARIABLE
from smc_eval.experiment.grid import chosen_tasks, data_folder
from smc_eval.experiment.spec_text import parse_spec
from smc_eval.registry import ALL, registry
from smc_eval.reporting.printable import printable
from smc_eval.task import Task

data = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)

TaskNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TASKS",
        help="Tasks or groups, with options: winogrande:size=xs. Default: all.",
        show_default=False,
        autocompletion=TASKS,
    ),
]


@data.callback()
def data_verbs() -> None:
    """List, verify and download the data of tasks.

    Only data fetch and --data-dir hub download anything.
    """


@data.command("list", cls=VerbCommand)
def list_files(
    names: TaskNames = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Default: off.")] = False,
) -> None:
    """List the files that tasks read, with size, checksum and address."""
    tasks = _tasks(names, "synthetic")
    if as_json:
        content = [
            {"task": task.label, "data_files": [asdict(file) for file in data_files(task)]} for task in tasks
        ]
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    groups = dict[tuple[DataFile, ...], list[str]]()
    for task in tasks:
        groups.setdefault(data_files(task), []).append(task.label)
    typer.echo("\n\n".join("\n".join(_lines(labels, files)) for files, labels in groups.items()))


@data.command("verify", cls=VerbCommand)
def verify(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR|hub|synthetic",
            help="A data folder in the official layout, hub for the hub's local copies, or synthetic.",
        ),
    ],
    names: TaskNames = None,
) -> None:
    """Check the files of a data folder, and read all data.

    Exit code 0: the data of every task is complete. 1: a file is missing, broken, or has another checksum.
    """
    from smc_eval.download.verify import verify_task

    complete = True
    for task in _tasks(names, data_folder(folder)):
        findings = list(verify_task(task))
        good = all(finding.good for finding in findings)
        typer.echo(f"{printable(task.label)}: {'complete' if good else 'incomplete'}")
        for finding in findings:
            typer.echo(f"  {finding.status:<16} {printable(finding.message)}")
        complete = complete and good
    if not complete:
        raise typer.Exit(1)


@data.command("fetch", cls=VerbCommand)
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TASKS", help="Tasks or groups, with options: winogrande:size=xs.", autocompletion=TASKS
        ),
    ],
    folder: Annotated[
        str, typer.Option("--data-dir", metavar="DIR", envvar=DATA_VARIABLE, help="Data folder to write to.")
    ],
) -> None:
    """Download the data files that a folder lacks.

    Addresses and checksums are fixed. An interrupted download continues. Licences are those of the data sets:
    see data list. Exit code 1: a file could not be downloaded, or must be downloaded by hand.
    """
    from smc_eval.download.fetch import fetch_files

    if folder in {"hub", "synthetic"}:
        raise UsageError(f"{folder!r} is not a folder to write files to; give one with --data-dir DIR")
    files = [file for task in _tasks(names, "synthetic") for file in data_files(task)]
    try:
        by_hand = fetch_files(files, Path(folder), typer.echo)
    except DownloadError as error:  # the command line is right
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    for file in by_hand:
        source = file.note or "its task names no source"
        typer.echo(f"{file.path}: no address is pinned; {source}", err=True)
    if by_hand:
        raise typer.Exit(1)


def _tasks(names: Iterable[str] | None, folder: str) -> list[Task]:
    """The tasks of names and groups, each once, on a data folder."""
    tasks = dict[str, Task]()
    for kind, options in chosen_tasks(names or [ALL], registry()):
        task = parse_spec(kind, {**options, "folder": folder}, "option", f"task {kind.card.name!r}")
        tasks.setdefault(task.digest(), task)
    return list(tasks.values())


def _lines(labels: Sequence[str], files: Sequence[DataFile]) -> list[str]:
    """The files of some tasks, a line each; values that all files share come once, below."""
    if not files:
        return [", ".join(labels), "  the task does not list its files"]
    addresses = dict.fromkeys(file.address or "by hand" for file in files)
    shared = len(addresses) == 1
    rows = [
        [file.path, _size(file.bytes), _checksum(file), "" if shared else file.address or "by hand"]
        for file in files
    ]
    lines = [*columns(rows), *(f"from: {address}" for address in addresses if shared)]
    lines += [f"licence: {licence}" for licence in dict.fromkeys(file.licence for file in files)]
    lines += [f"note: {note}" for note in dict.fromkeys(file.note for file in files) if note]
    return [", ".join(labels), *(f"  {line}" for line in lines)]


def _size(count: int | None) -> str:
    return f"{count:,} bytes".replace(",", " ") if count else ""


def _checksum(file: DataFile) -> str:
    if not file.sha256:
        return "no sha256" if file.address else ""
    return f"sha256 {file.sha256[:12]}…{' of the archive' if file.in_archive else ''}"
