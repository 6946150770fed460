"""The verbs `data list`, `data verify` and `data fetch`: what tasks read, and whether it is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from smc_eval.capabilities import data_files
from smc_eval.cli.show import columns
from smc_eval.data_file import DataFile
from smc_eval.errors import UsageError
from smc_eval.experiment.config import DATA_VARIABLE
from smc_eval.experiment.grid import chosen_tasks, data_folder
from smc_eval.experiment.parsing import parse_spec
from smc_eval.registry import ALL, registry
from smc_eval.task import Task

data = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Asked = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TASKS…",
        help="Tasks or groups, with options: winogrande:size=xs. Default: all.",
        show_default=False,
    ),
]


@data.callback()
def data_verbs() -> None:
    """Real data: what tasks need, whether a folder has it, and how to get it.

    Nothing is ever downloaded but by data fetch, and by --data-dir hub.
    """


@data.command("list")
def list_files(
    asked: Asked = None, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the files that tasks read: official path, size, checksum, licence and address."""
    tasks = _tasks(asked, "synthetic")
    if as_json:
        told = [
            {"task": task.label, "data_files": [asdict(one) for one in data_files(task)]} for task in tasks
        ]
        typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    sharing = dict[tuple[DataFile, ...], list[str]]()
    for task in tasks:
        sharing.setdefault(data_files(task), []).append(task.label)
    typer.echo("\n\n".join("\n".join(_listed(names, needs)) for needs, names in sharing.items()))


@data.command("verify")
def verify(
    folder: Annotated[
        str, typer.Argument(metavar="DIR|hub", help="A folder in the official layout, or the hub's copies.")
    ],
    asked: Asked = None,
) -> None:
    """Say what a folder has and lacks, and read all of it as the tasks do.

    Exit code 0: every task is whole. 1: something is missing, broken or not what was pinned.
    """
    from smc_eval.download.verify import verify_task as verified

    whole = True
    for task in _tasks(asked, data_folder(folder)):
        found = list(verified(task))
        good = all(one.good for one in found)
        typer.echo(f"{task.label}: {'whole' if good else 'not whole'}")
        for one in found:
            typer.echo(f"  {one.status:<7} {one.what}")
        whole = whole and good
    if not whole:
        raise typer.Exit(1)


@data.command("fetch")
def fetch(
    asked: Annotated[list[str], typer.Argument(metavar="TASKS…", help="Tasks or groups.")],
    folder: Annotated[
        str, typer.Option("--data-dir", metavar="DIR", envvar=DATA_VARIABLE, help="Where the files are put.")
    ],
) -> None:
    """Download what tasks need and a folder lacks, by pinned address; goes on where it broke off.

    Licences are the sets' own: see data list. Exit code 1: something must be had by hand.
    """
    from smc_eval.download.fetch import fetch_files as fetched

    if folder in {"hub", "synthetic"}:
        raise UsageError(f"{folder!r} is no folder that files could be put into; give one by --data-dir DIR")
    needs = [one for task in _tasks(asked, "synthetic") for one in data_files(task)]
    by_hand = fetched(needs, Path(folder), typer.echo)
    for one in by_hand:
        typer.echo(f"{one.path}: no address is pinned; {one.note or 'its task does not say where'}", err=True)
    if by_hand:
        raise typer.Exit(1)


def _tasks(asked: Iterable[str] | None, folder: str) -> list[Task]:
    """The tasks that are asked for, each once, on a data folder."""
    found = dict[str, Task]()
    for kind, options in chosen_tasks(asked or [ALL], registry()):
        task = parse_spec(kind, {**options, "folder": folder}, "option", f"task {kind.card.name!r}")
        found.setdefault(task.digest(), task)
    return list(found.values())


def _listed(names: Sequence[str], needs: Sequence[DataFile]) -> list[str]:
    """A set of files with what is told of each; what all of them share stands once, below."""
    if not needs:
        return [", ".join(names), "  it does not say what it needs"]
    addresses = dict.fromkeys(one.address or "by hand" for one in needs)
    alike = len(addresses) == 1
    rows = [
        [one.path, _size(one.bytes), _pinned(one), "" if alike else one.address or "by hand"] for one in needs
    ]
    told = [*columns(rows), *(f"from: {address}" for address in addresses if alike)]
    told += [f"licence: {licence}" for licence in dict.fromkeys(one.licence for one in needs)]
    told += [f"note: {note}" for note in dict.fromkeys(one.note for one in needs) if note]
    return [", ".join(names), *(f"  {line}" for line in told)]


def _size(count: int | None) -> str:
    return f"{count:,} bytes".replace(",", " ") if count else ""


def _pinned(one: DataFile) -> str:
    if not one.sha256:
        return "no sha256" if one.address else ""
    return f"sha256 {one.sha256[:12]}…{' of the archive' if one.in_archive else ''}"
