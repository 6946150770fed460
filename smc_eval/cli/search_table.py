"""What `--find` shows: a row for each search, with its bracket and what it took."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smc_eval.errors import UsageError
from smc_eval.experiment.config import RunConfig
from smc_eval.planning.bisection import Bisection
from smc_eval.planning.sparsity_search import SparsitySearch
from smc_eval.reporting.export import document, write_text
from smc_eval.reporting.text_table import UNLIMITED_WIDTH
from smc_eval.store.record import Record

if TYPE_CHECKING:
    from rich.table import Table as Drawing

    from smc_eval.reporting.terminal import Pen


def bisection_of(config: RunConfig) -> Bisection:
    """The search of an order.

    Raises:
        UsageError: it cannot be read, or does not go with the order's other words.
    """
    assert config.find is not None
    search = Bisection.parse(config.find)
    if config.sparsity != ("smc",):
        raise UsageError(
            f"--find looks for the sparsity that --sparsity {','.join(config.sparsity)} gives; leave out one"
        )
    if config.format not in {"table", "json"}:
        raise UsageError(
            f"--find is shown as table or json, not as {config.format}; its cells are: "
            f"smc-eval report {config.output} --format {config.format}"
        )
    return search


def print_searches(searches: Sequence[SparsitySearch], results: Sequence[Record], config: RunConfig) -> None:
    """Show what was found, as asked: on the standard output, and as a file."""
    told = {**document(results), "found": [search.document() for search in searches]}
    text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    if config.json_file == "-" or config.format == "json":
        typer.echo(text, nl=False)
    else:
        _shown(searches, results)
    if config.json_file and config.json_file != "-":
        write_text(Path(config.json_file), text)


def step(search: SparsitySearch) -> str:
    """The last answer of a quest in one line."""
    named = f"{search.task.label} {search.method.label}"
    if search.reason:
        return f"{named}: {search.reason}"
    if not search.scores:
        return f"{named}: dense {search.dense:.4g}"
    sparsity, score = search.scores[-1]
    return f"{named} at {sparsity:g}: {score:.4g}, {'keeps' if search.bracket.tried[-1][1] else 'loses'}"


def _shown(searches: Sequence[SparsitySearch], results: Sequence[Record]) -> None:
    from rich.console import Console

    from smc_eval.reporting.footnotes import footnotes
    from smc_eval.reporting.table import Table
    from smc_eval.reporting.terminal import Pen

    console = Console()
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    pen = Pen(console)
    pen.print(_drawn(searches, pen), pen.text(""))
    notes = footnotes(Table(columns=(), rows=(), records=tuple(results), results=tuple(results)))
    for line in notes.loud:
        pen.print(pen.text(line, "bold red"))
    for search in searches:
        if search.reason:
            pen.print(pen.text(f"no answer: {step(search)}", "red"))
    for line in notes.troubles:
        pen.print(pen.text(line, "red"))
    share = f"{100 * searches[0].bracket.search.share:g} % of what the dense net has above chance"
    about = (
        f"found: the largest sparsity seen to keep {share}, by the mean over seeds, and the least to lose it"
    )
    for line in (about, *notes.setting, *notes.account):
        pen.print(pen.text(line, "dim"))


def _drawn(searches: Sequence[SparsitySearch], pen: Pen) -> Drawing:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawing

    drawing = Drawing(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in ("task", "model", "method"):
        drawing.add_column(pen.text(head), overflow="fold")
    for head in (searches[0].bracket.search.label, "bracket", "dense", "tried", "cells"):
        drawing.add_column(pen.text(head), justify="right", overflow="fold")
    for search in searches:
        bracket = search.bracket
        closed = bracket.keeps is not None and bracket.lost is not None
        drawing.add_row(
            *map(pen.text, (search.task.label, search.task.backbone, search.method.label)),
            pen.text("–" if search.reason else bracket.text, "red" if search.reason else "bold"),
            pen.text(f"{bracket.keeps:g}–{bracket.lost:g}" if closed else ""),
            pen.text("" if math.isnan(search.dense) else f"{search.dense:.4g}"),
            pen.text(str(len(bracket.tried))),
            pen.text(str(search.cells)),
        )
    return drawing
