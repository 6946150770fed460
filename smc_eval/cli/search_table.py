"""What `--find` shows: a row for each search, with its bracket and what it took."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smc_eval.errors import UsageError
from smc_eval.experiment.config import Order
from smc_eval.planning.bisection import Search
from smc_eval.planning.sparsity_search import Quest
from smc_eval.reporting.export import document, write
from smc_eval.reporting.text_table import WHOLE
from smc_eval.store.records import Result

if TYPE_CHECKING:
    from rich.table import Table as Drawing

    from smc_eval.reporting.terminal import Pen


def searched(order: Order) -> Search:
    """The search of an order.

    Raises:
        UsageError: it cannot be read, or does not go with the order's other words.
    """
    assert order.find is not None
    search = Search.parse(order.find)
    if order.sparsity != ("smc",):
        raise UsageError(
            f"--find looks for the sparsity that --sparsity {','.join(order.sparsity)} gives; leave out one"
        )
    if order.format not in {"table", "json"}:
        raise UsageError(
            f"--find is shown as table or json, not as {order.format}; its cells are: "
            f"smc-eval report {order.output} --format {order.format}"
        )
    return search


def answered(quests: Sequence[Quest], results: Sequence[Result], order: Order) -> None:
    """Show what was found, as asked: on the standard output, and as a file."""
    told = {**document(results), "found": [quest.document() for quest in quests]}
    text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    if order.json_file == "-" or order.format == "json":
        typer.echo(text, nl=False)
    else:
        _shown(quests, results)
    if order.json_file and order.json_file != "-":
        write(Path(order.json_file), text)


def step(quest: Quest) -> str:
    """The last answer of a quest in one line."""
    named = f"{quest.task.words} {quest.method.words}"
    if quest.reason:
        return f"{named}: {quest.reason}"
    if not quest.scores:
        return f"{named}: dense {quest.dense:.4g}"
    sparsity, score = quest.scores[-1]
    return f"{named} at {sparsity:g}: {score:.4g}, {'keeps' if quest.bracket.tried[-1][1] else 'loses'}"


def _shown(quests: Sequence[Quest], results: Sequence[Result]) -> None:
    from rich.console import Console

    from smc_eval.reporting.footnotes import footnotes
    from smc_eval.reporting.table import Table
    from smc_eval.reporting.terminal import Pen

    console = Console()
    if not console.is_terminal:
        console.width = WHOLE
    pen = Pen(console)
    pen.print(_drawn(quests, pen), pen.text(""))
    notes = footnotes(Table(columns=(), rows=(), records=tuple(results), results=tuple(results)))
    for line in notes.loud:
        pen.print(pen.text(line, "bold red"))
    for quest in quests:
        if quest.reason:
            pen.print(pen.text(f"no answer: {step(quest)}", "red"))
    for line in notes.troubles:
        pen.print(pen.text(line, "red"))
    share = f"{100 * quests[0].bracket.search.share:g} % of what the dense net has above chance"
    about = (
        f"found: the largest sparsity seen to keep {share}, by the mean over seeds, and the least to lose it"
    )
    for line in (about, *notes.setting, *notes.account):
        pen.print(pen.text(line, "dim"))


def _drawn(quests: Sequence[Quest], pen: Pen) -> Drawing:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawing

    drawing = Drawing(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in ("task", "model", "method"):
        drawing.add_column(pen.text(head), overflow="fold")
    for head in (quests[0].bracket.search.words, "bracket", "dense", "tried", "cells"):
        drawing.add_column(pen.text(head), justify="right", overflow="fold")
    for quest in quests:
        bracket = quest.bracket
        closed = bracket.kept is not None and bracket.lost is not None
        drawing.add_row(
            *map(pen.text, (quest.task.words, quest.task.backbone, quest.method.words)),
            pen.text("–" if quest.reason else bracket.text, "red" if quest.reason else "bold"),
            pen.text(f"{bracket.kept:g}–{bracket.lost:g}" if closed else ""),
            pen.text("" if math.isnan(quest.dense) else f"{quest.dense:.4g}"),
            pen.text(str(len(bracket.tried))),
            pen.text(str(quest.cells)),
        )
    return drawing
