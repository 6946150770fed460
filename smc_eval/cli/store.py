"""The verb `store`: list, verify and clean up the files of a store."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smc_eval.errors import UsageError, counted
from smc_eval.reporting.printable import printable
from smc_eval.store.layout import LAYOUT_FILE
from smc_eval.store.records import RECORDS_NAME

if TYPE_CHECKING:
    from smc_eval.store.store import Store

AGE_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
FOLDER_NOTES = {
    "nets": "nets that several cells share",
    "partial": "unfinished trainings",
    "masks": "masks of cells, from --keep masks",
    "mask_samples": "samples of masks, to compare them",
    "uses": "which tensors the net of a start uses",
    "predictions": "predictions for each example",
    "logs": "output and unexpected errors of cells",
}
"""The content of each folder."""


def store(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The store: a folder of an earlier --output.")
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its digest. Default: off.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete nets, unfinished trainings, masks and logs that --older, --size or --results-only "
            "chooses. Records, predictions, mask samples and uses stay. Default: off.",
        ),
    ] = False,
    older: Annotated[
        str | None,
        typer.Option("--older", metavar="N(m|h|d|w)", help="With --prune: files older than this, as in 30d."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="N(KB|MB|GB|TB)",
            help="With --prune: the oldest files, until the store is no larger than this, as in 200GB.",
        ),
    ] = None,
    results_only: Annotated[
        bool, typer.Option("--results-only", help="With --prune: all such files. Default: off.")
    ] = False,
) -> None:
    """List, verify or clean up the files of a store.

    Nothing is deleted while a process works in the store. Deleted files are computed again when they are
    needed. Exit code 1: --verify found a broken file.
    """
    from smc_eval.store.store import Store

    age = parse_age(older) if older else None
    most = parse_size(size) if size else None
    if prune != bool(older or size or results_only):
        raise UsageError("--prune needs one of --older, --size, --results-only, and these need --prune")
    if not (folder / LAYOUT_FILE).is_file():
        raise UsageError(f"{str(folder)!r} is not a store; name a folder of an earlier --output")
    opened = Store(folder)
    opened.open()
    if prune:
        _prune(opened, age, most, results_only=results_only)
    for line in store_lines(opened):
        typer.echo(printable(line))
    if verify:
        _verify(opened)


def _verify(store: Store) -> None:
    from smc_eval.store.inventory import broken

    lines = list(broken(store))
    for line in lines:
        typer.echo(f"broken: {printable(line)}")
    typer.echo(
        "broken files are ignored, and computed again when they are needed"
        if lines
        else "all files are complete"
    )
    if lines:
        raise typer.Exit(1)


def _prune(store: Store, age: float | None, most: int | None, *, results_only: bool) -> None:
    from smc_eval.store.inventory import delete, prunable

    if owners := _owners(store):
        raise UsageError(
            f"{', '.join(owners)} works in {str(store.folder)!r}; prune when no process works there"
        )
    items = prunable(store, older=age, most=most, results_only=results_only)
    for item in items:
        delete(store, item)
    typer.echo(f"deleted {counted(len(items), 'item')}, {bytes_text(sum(item.bytes for item in items))}")


def store_lines(store: Store) -> list[str]:
    """The store in lines: one for each folder, one for the records, one for the processes that work there."""
    from smc_eval.store.inventory import stored_items

    sizes = defaultdict[str, list[int]](list)
    for item in stored_items(store):
        sizes[item.folder].append(item.bytes)
    lines = [_line(name, len(sizes[name]), sum(sizes[name]), note) for name, note in FOLDER_NOTES.items()]
    records = list(store.records.latest().values())
    counts = [f"{sum(record.status == status for record in records)} {status}" for status in ("ok", "failed")]
    length = store.records.path.stat().st_size if store.records.path.exists() else 0
    lines.append(_line("records", len(records), length, ", ".join(counts)))
    return [*lines, f"processes: {', '.join(_owners(store)) or 'none'}"]


def _line(name: str, number: int, length: int, note: str) -> str:
    return f"{name:<12} {number:>6}  {bytes_text(length):>8}  {note}"


def _owners(store: Store) -> list[str]:
    """The processes that hold a cell or a stage."""
    owners = [store.leases.owner(name) for name in store.leases.active() - {RECORDS_NAME}]
    return sorted({f"{owner.host} (process {owner.pid})" for owner in owners if owner})


def parse_age(word: str) -> float:
    """An age in seconds.

    Raises:
        UsageError: it cannot be read.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", word)
    if not match:
        raise UsageError(f"--older {word!r} cannot be read; give a number and m, h, d or w, as in 30d")
    return float(match[1]) * AGE_SECONDS[match[2]]


def parse_size(word: str) -> int:
    """A size in bytes.

    Raises:
        UsageError: it cannot be read.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]b)", word.lower())
    if not match:
        raise UsageError(f"--size {word!r} cannot be read; give a number and KB, MB, GB or TB, as in 200GB")
    return int(float(match[1]) * BYTES[match[2]])


def bytes_text(count: float) -> str:
    """Bytes in a suitable unit."""
    for unit, size in reversed(BYTES.items()):
        if count >= size:
            return f"{count / size:.3g} {unit.upper()}"
    return f"{count:.0f} B"
