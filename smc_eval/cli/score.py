"""The verb `score`: stored predictions scored again, without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from smc_eval.cli.report import Folders, book_of
from smc_eval.experiment.grid import data_folder
from smc_eval.registry import registry
from smc_eval.reporting.footnotes import cell_name
from smc_eval.reporting.rescore import Rescored, Rescorer, write_rescored
from smc_eval.store.predictions import Predictions


def score(
    folders: Folders,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="DIR", help="Where the data lies now. Default: where each record says."
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, write nothing.")
    ] = False,
) -> None:
    """Score stored predictions again, without training: after a fixed bug, or with a new metric.

    Records whose score changes are written anew. Exit code 1: nothing could be scored.
    """
    rescorer = Rescorer(registry(), data_folder(data_dir) if data_dir else None)
    counts, left = Counter[str](), dict[str, list[Rescored]]()
    for folder in folders:
        book, predictions = book_of(folder), Predictions(folder)
        for one in rescorer.over(book, predictions):
            if one.score is None:
                left.setdefault(one.reason, []).append(one)
                continue
            counts["scored"] += 1
            counts["changed"] += bool(one.changes)
            counts["gained"] += one.gained
            if one.changes:
                typer.echo(f"{cell_name(one.record)}: {'; '.join(_changes(one))}")
            if not dry_run:
                write_rescored(one, book, predictions)
    for line in _left(left):
        typer.echo(line, err=True)
    typer.echo(_summed(counts, dry_run=dry_run))
    if not counts["scored"]:
        raise typer.Exit(1)


def _changes(one: Rescored) -> Iterator[str]:
    for name, (old, new) in one.changes.items():
        before, after = _number(old), _number(new)
        if before == after:  # they differ where rounding hides it
            before, after = str(old), str(new)
        yield f"{'' if name == 'value' else f'{name} '}{before} → {after}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _left(left: dict[str, list[Rescored]]) -> Iterable[str]:
    """Why records were left as they are: a line for each reason, with the first and the number of others."""
    for reason, befallen in left.items():
        more = f" and {len(befallen) - 1} more" if len(befallen) > 1 else ""
        yield f"left as it is: {cell_name(befallen[0].record)}{more}: {reason}"


def _summed(counts: Counter[str], *, dry_run: bool) -> str:
    same = counts["scored"] - counts["changed"]
    told = f"scored {counts['scored']} again: {counts['changed']} changed, {same} as before"
    if counts["gained"]:
        told += f"; items of {counts['gained']} {'would be' if dry_run else 'were'} written"
    return f"{told}; nothing was written, this was a dry run" if dry_run else told
