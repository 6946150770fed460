"""Notices: what a run replaces or leaves out. `run`, `work` and `plan` print the same lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import typer

from smc_eval.errors import counted
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.planning.resolve import ResolvedCell, unresolved_lines
from smc_eval.planning.sparsity_search import left_out
from smc_eval.reporting.footnotes import kept_model_line
from smc_eval.reporting.printable import printable_lines


class Notices(NamedTuple):
    """Lines for the user, by their kind. The fields are keys of `plan --json`."""

    warnings: tuple[str, ...]
    """Settings that make results unusable."""
    kept_models: tuple[str, ...]
    """Tasks that keep their published model, although another model was named."""
    left_out: tuple[str, ...]
    """Methods that `--find` does not search."""
    unresolved: tuple[str, ...]
    """Cells that cannot run.

    A line for each reason."""

    @classmethod
    def of(cls, config: RunConfig, grid: Grid, cells: Iterable[ResolvedCell] = ()) -> Notices:
        """The notices of a grid and of its resolved cells."""
        return cls(
            warnings=tuple(limit_warning(config)),
            kept_models=tuple(kept_models(grid)),
            left_out=tuple(f"{line}, and is not searched" for line in left_out(grid)) if config.find else (),
            unresolved=tuple(unresolved_lines(cells)),
        )

    def lines(self) -> Iterator[str]:
        """All notices, as `plan` prints them."""
        yield from (f"warning: {line}" for line in (*self.warnings, *self.kept_models))
        yield from (f"note: {line}" for line in self.left_out)
        yield from self.unresolved


def print_notices(config: RunConfig, grid: Grid) -> None:
    """Print the notices of a grid before it runs; with `--quiet`, only the warnings."""
    notices = Notices.of(config, grid)
    for line in map(printable_lines, notices.lines()):
        if line.startswith("warning: "):
            typer.secho(line, err=True, fg="yellow", bold=True)
        elif not config.quiet:
            typer.echo(line, err=True)


def limit_warning(config: RunConfig) -> Iterator[str]:
    """The warning of `--limit`, whose results are no results."""
    if config.limit:
        yield (
            f"--limit {config.limit} keeps only {counted(config.limit, 'example')} of each part; "
            "these are no results, and every record says so"
        )


def kept_models(grid: Grid) -> list[str]:
    """Tasks that keep their published model although another was named, with the reasons."""
    published = {task.card.name: task.card.published for task in grid.tasks}
    return [kept_model_line(name, published[name], reasons) for name, reasons in grid.refused_models]
