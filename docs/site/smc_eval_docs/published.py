"""The numbers of the SMC-Bench paper as tables: of one method on all tasks, or of all methods on one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smc_eval.reporting.published import CITATION, PublishedPoint, published_points
from smc_eval_docs.cards import own_tasks
from smc_eval_docs.page import code, plain, table

SOURCE = (
    f"{plain(CITATION)}: read from its figures, or taken from the script that drew them. "
    "[Protocols](../protocols.md) says how its settings differ from those here."
)
"""What stands above a table of a page."""


def published_by_task(method: str) -> list[str]:
    """The published numbers of a method, a row for each task. Nothing if there are none."""
    points = [point for point in published_points() if point.method == method]
    models = {kind.card.name: kind.card.published for kind in own_tasks()}
    rows: dict[tuple[str, ...], list[PublishedPoint]] = {}
    for point in points:
        other = "" if models.get(point.task) == point.model else f", {point.model}"
        rows.setdefault((f"{code(point.task)}{other}", point.metric), []).append(point)
    return _section(("task", "metric"), [rows], points)


def published_by_method(task: str) -> list[str]:
    """The published numbers of a task, a table for each model. Nothing if there are none."""
    points = [point for point in published_points() if point.task == task]
    tables: dict[tuple[str, str], dict[tuple[str, ...], list[PublishedPoint]]] = {}
    for point in points:
        rows = tables.setdefault((point.model, point.metric), {})
        rows.setdefault((code(point.method),), []).append(point)
    captions = [f"{plain(metric)} of {code(model)}:" for model, metric in tables]
    return _section(("method",), list(tables.values()), points, captions)


def _section(
    head: Sequence[str],
    tables: Sequence[Mapping[tuple[str, ...], Sequence[PublishedPoint]]],
    points: Sequence[PublishedPoint],
    captions: Sequence[str] = ("",),
) -> list[str]:
    """Heading, source, tables with captions, and the notes on single points."""
    if not points:
        return []
    notes = list(dict.fromkeys(point.note for point in points if point.note))
    blocks = ["## Published numbers", SOURCE]
    for caption, rows in zip(captions, tables, strict=True):
        columns = sorted({point.sparsity for own in rows.values() for point in own})
        lines = []
        for words, own in rows.items():
            values = {point.sparsity: _value(point, notes) for point in own}
            lines.append([*words, *(values.get(column, "") for column in columns)])
        heads = [*head, *(f"{column:g}" if column else "dense" for column in columns)]
        blocks += [caption, table(heads, lines, "l" * len(head) + "r" * len(columns))]
    reasons = "\n".join(f"{number}. {plain(note)}" for number, note in enumerate(notes, 1))
    if notes:
        blocks.append(f"Numbers in brackets are no valid results, or doubtful:\n\n{reasons}")
    return [block for block in blocks if block]


def _value(point: PublishedPoint, notes: Sequence[str]) -> str:
    """A number; with a note, in brackets and with the number of the note."""
    text = f"{point.value:.1f}"
    return f"({text})<sup>{notes.index(point.note) + 1}</sup>" if point.note else text
