"""The verb `score`: score stored predictions again, without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from smc_eval.cli.report import Folders
from smc_eval.experiment.grid import data_folder
from smc_eval.registry import registry
from smc_eval.reporting.footnotes import cell_name
from smc_eval.reporting.printable import error_lines
from smc_eval.reporting.rescore import Rescored, Rescorer, write_rescored
from smc_eval.store.predictions import Predictions
from smc_eval.store.records import RecordsFile


def score(
    folders: Folders,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="DIR", help="Folder of the data now. Default: the folder in each record."
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the changes, and write nothing. Default: off.")
    ] = False,
) -> None:
    """Score stored predictions again, without training.

    Use it after a bug in a score was fixed, or for a new metric. Changed records are appended to the store.
    Exit code 1: nothing could be scored.
    """
    rescorer = Rescorer(registry(), data_folder(data_dir) if data_dir else None)
    counts, failures = Counter[str](), dict[str, list[Rescored]]()
    for folder in folders:
        records, predictions = RecordsFile.of_store(folder), Predictions(folder)
        for rescored in rescorer.rescore(records, predictions):
            if rescored.score is None:
                failures.setdefault(rescored.reason, []).append(rescored)
                continue
            counts["scored"] += 1
            counts["changed"] += bool(rescored.changes)
            counts["items_changed"] += rescored.items_changed
            if rescored.changes:
                typer.echo(error_lines(f"{cell_name(rescored.record)}: {'; '.join(_changes(rescored))}"))
            if not dry_run:
                write_rescored(rescored, records, predictions)
    for line in _failure_lines(failures):
        typer.echo(error_lines(line), err=True)
    typer.echo(_sum_line(counts, dry_run=dry_run))
    if not counts["scored"]:
        raise typer.Exit(1)


def _changes(rescored: Rescored) -> Iterator[str]:
    for name, (old, new) in rescored.changes.items():
        before, after = _number(old), _number(new)
        if before == after:  # they differ only in digits that are rounded off
            before, after = str(old), str(new)
        yield f"{'' if name == 'value' else f'{name} '}{before} → {after}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _failure_lines(failures: dict[str, list[Rescored]]) -> Iterable[str]:
    """A line for each reason, with the first record that was not scored and the number of others."""
    for reason, group in failures.items():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        yield f"not scored: {cell_name(group[0].record)}{more}: {reason}"


def _sum_line(counts: Counter[str], *, dry_run: bool) -> str:
    same = counts["scored"] - counts["changed"]
    line = f"scored {counts['scored']} again: {counts['changed']} changed, {same} as before"
    if counts["items_changed"]:
        line += f"; items of {counts['items_changed']} {'would be' if dry_run else 'were'} written"
    return f"{line}; nothing was written, this was a dry run" if dry_run else line
