"""The results of `--find`: a row for each search, with its bracket and its number of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import typer

from smc_eval.errors import UsageError
from smc_eval.experiment.config import RunConfig
from smc_eval.planning.bisection import Bisection
from smc_eval.planning.sparsity_search import SparsitySearch
from smc_eval.reporting.export import write_text
from smc_eval.reporting.json_document import document_parts
from smc_eval.reporting.text_table import UNLIMITED_WIDTH, TextTable
from smc_eval.store.record import Record


def bisection_of(config: RunConfig) -> Bisection:
    """The options of the search of `--find`.

    Raises:
        UsageError: they cannot be read, or another flag does not go with them.
    """
    assert config.find is not None
    search = Bisection.parse(config.find)
    if config.sparsity != ("smc",):
        raise UsageError(
            f"--find searches for the sparsity, --sparsity {','.join(config.sparsity)} sets it; leave out one"
        )
    if config.format not in {"table", "json"}:
        raise UsageError(
            f"--find is printed as table or json, not as {config.format}; to print its cells, use "
            f"smc-eval report {config.output} --format {config.format}"
        )
    return search


def print_searches(searches: Sequence[SparsitySearch], records: Sequence[Record], config: RunConfig) -> None:
    """Print the results of searches, to the standard output and to the file of `--json`."""
    found = {"found": [search.document() for search in searches]}
    if config.json_file == "-" or config.format == "json":
        for part in document_parts(records, found):
            typer.echo(part, nl=False)
    else:
        _print_table(searches, records)
    if config.json_file and config.json_file != "-":
        write_text(Path(config.json_file), document_parts(records, found))


def outcome_line(search: SparsitySearch) -> str:
    """The last outcome of a search in one line."""
    name = f"{search.task.label} {search.method.label}"
    if search.reason:
        return f"{name}: {search.reason}"
    if not search.scores:
        return f"{name}: dense {search.dense:.4g}"
    sparsity, score = search.scores[-1]
    side = "above" if search.bracket.tried[-1][1] else "below"
    return f"{name} at {sparsity:g}: {score:.4g}, {side} {100 * search.bracket.search.share:g} %"


def _print_table(searches: Sequence[SparsitySearch], records: Sequence[Record]) -> None:
    from rich.console import Console

    from smc_eval.reporting.footnotes import footnotes
    from smc_eval.reporting.table import Table
    from smc_eval.reporting.terminal import ConsoleWriter, print_text_table

    console = Console()
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    writer = ConsoleWriter(console)
    print_text_table(_text_table(searches), console)
    notes = footnotes(Table(columns=(), rows=(), records=tuple(records), results=tuple(records)))
    for line in notes.warnings:
        writer.print(writer.text(line, "bold red"))
    for search in searches:
        if search.reason:
            writer.print(writer.text(f"no result: {outcome_line(search)}", "red"))
    for line in notes.problems:
        writer.print(writer.text(line, "red"))
    share = f"{100 * searches[0].bracket.search.share:g} % of the dense score above chance"
    about = (
        f"bracket: the largest tried sparsity that keeps {share}, by the mean over seeds, "
        "and the smallest that loses it"
    )
    for line in (about, *notes.settings, *notes.totals):
        writer.print(writer.text(line, "dim"))


def _text_table(searches: Sequence[SparsitySearch]) -> TextTable:
    heads = (
        "task",
        "model",
        "method",
        searches[0].bracket.search.label,
        "bracket",
        "dense",
        "tried",
        "cells",
    )
    return TextTable(heads, "lllrrrrr", tuple(map(_row, searches)))


def _row(search: SparsitySearch) -> tuple[str, ...]:
    bracket = search.bracket
    closed = bracket.keeps is not None and bracket.loses is not None
    return (
        search.task.label,
        search.task.backbone,
        search.method.label,
        "–" if search.reason else bracket.text,
        f"{bracket.keeps:g}–{bracket.loses:g}" if closed else "",
        "" if math.isnan(search.dense) else f"{search.dense:.4g}",
        str(len(bracket.tried)),
        str(search.cells),
    )
