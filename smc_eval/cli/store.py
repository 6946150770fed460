"""The verb `store`: what lies in a store, whether it is whole, and what may go."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smc_eval.errors import UsageError
from smc_eval.store.records import RECORDS_NAME

if TYPE_CHECKING:
    from smc_eval.store.store import Store

SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
FOLDER_NOTES = {
    "nets": "where stages are shared",
    "partial": "trainings in progress, or interrupted",
    "masks": "of cells, by --keep masks",
    "mask_samples": "of masks, to compare masks",
    "predictions": "of nets, for each example",
    "logs": "of cells that said or did something unforeseen",
}


def store(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder given to --output before.")],
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and check its digest.")] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete what the next three say; records, answers and sketches stay."),
    ] = False,
    older: Annotated[str | None, typer.Option("--older", metavar="N[m|h|d|w]", help="What is older.")] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="N[KB|MB|GB|TB]", help="The oldest, until so much is left."),
    ] = None,
    results_only: Annotated[bool, typer.Option("--results-only", help="All nets, masks and logs.")] = False,
) -> None:
    """List what lies in a store, check that it is whole, make room in it."""
    from smc_eval.store.inventory import broken
    from smc_eval.store.store import Store

    age = seconds(older) if older else None
    most = count(size) if size else None
    if prune != bool(older or size or results_only):
        raise UsageError("--prune goes with one of --older, --size, --results-only, and they with it")
    if not (folder / "layout").is_file():
        raise UsageError(f"{str(folder)!r} is no store; name a folder that was an --output")
    found = Store(folder)
    found.open()
    if prune:
        _prune(found, age, most, results_only=results_only)
    for line in store_lines(found):
        typer.echo(line)
    if verify:
        harmed = list(broken(found))
        for line in harmed:
            typer.echo(f"broken: {line}")
        typer.echo(
            "what is broken is passed over, and computed again when it is needed"
            if harmed
            else "all is whole"
        )
        if harmed:
            raise typer.Exit(1)


def _prune(found: Store, age: float | None, most: int | None, *, results_only: bool) -> None:
    from smc_eval.store.inventory import delete, prunable

    if others := _at_work(found):
        raise UsageError(f"{', '.join(others)} is at work in {str(found.folder)!r}; prune when nobody is")
    going = prunable(found, older=age, most=most, results_only=results_only)
    for item in going:
        delete(found, item)
    typer.echo(f"deleted {len(going)} files and nets, {bytes_text(sum(item.bytes for item in going))}")


def store_lines(found: Store) -> list[str]:
    """The store in lines: a room each, the records, who is at work."""
    from smc_eval.store.inventory import stored_items

    rooms = defaultdict[str, list[int]](list)
    for item in stored_items(found):
        rooms[item.room].append(item.bytes)
    lines = [_line(room, len(rooms[room]), sum(rooms[room]), what) for room, what in FOLDER_NOTES.items()]
    records = list(found.records.latest().values())
    told = [f"{sum(one.status == status for one in records)} {status}" for status in ("ok", "failed")]
    length = found.records.path.stat().st_size if found.records.path.exists() else 0
    lines.append(_line("records", len(records), length, ", ".join(told)))
    return [*lines, f"at work: {', '.join(_at_work(found)) or 'nobody'}"]


def _line(room: str, number: int, length: int, what: str) -> str:
    return f"{room:<8} {number:>6}  {bytes_text(length):>8}  {what}"


def _at_work(found: Store) -> list[str]:
    """Who holds a cell or a stage."""
    owners = [found.leases.owner(name) for name in found.leases.living() - {RECORDS_NAME}]
    return sorted({f"{owner.host} (process {owner.pid})" for owner in owners if owner})


def seconds(word: str) -> float:
    """An age in seconds.

    Raises:
        UsageError: it cannot be read.
    """
    read = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", word)
    if not read:
        raise UsageError(f"--older {word!r} cannot be read; give a number and m, h, d or w, as in 30d")
    return float(read[1]) * SECONDS[read[2]]


def count(word: str) -> int:
    """A size in bytes.

    Raises:
        UsageError: it cannot be read.
    """
    read = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]b)", word.lower())
    if not read:
        raise UsageError(f"--size {word!r} cannot be read; give a number and KB, MB, GB or TB, as in 200GB")
    return int(float(read[1]) * BYTES[read[2]])


def bytes_text(count: float) -> str:
    """Bytes as one says them."""
    for unit, size in reversed(BYTES.items()):
        if count >= size:
            return f"{count / size:.3g} {unit.upper()}"
    return f"{count:.0f} B"
