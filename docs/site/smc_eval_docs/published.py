"""The numbers of the SMC-Bench paper as tables: of one method on all tasks, or of all methods on one task."""

from __future__ import annotations

from collections.abc import Sequence

from smc_eval.reporting.published import CITATION, PublishedPoint, published_points
from smc_eval_docs.page import code, plain, table

SOURCE = (
    f"{plain(CITATION)}: read from its figures, or taken from the script that drew them. "
    "[Protocols](../protocols.md) says how its settings differ from those here."
)
"""What stands above a table of a page."""

Row = tuple[str, str, str]
"""Task or method, model and metric."""


def published_by_task(method: str) -> list[str]:
    """The published numbers of a method, a row for each task. Nothing if there are none."""
    points = [point for point in published_points() if point.method == method]
    return _blocks("task", {(p.task, p.model, p.metric): [] for p in points}, points, by_task=True)


def published_by_method(task: str) -> list[str]:
    """The published numbers of a task, a row for each method. Nothing if there are none."""
    points = [point for point in published_points() if point.task == task]
    return _blocks("method", {(p.method, p.model, p.metric): [] for p in points}, points, by_task=False)


def _blocks(
    noun: str, rows: dict[Row, list[PublishedPoint]], points: Sequence[PublishedPoint], *, by_task: bool
) -> list[str]:
    """The section: heading, source, table and the reasons of points that are no valid results."""
    if not points:
        return []
    for point in points:
        rows[point.task if by_task else point.method, point.model, point.metric].append(point)
    notes = list(dict.fromkeys(point.note for point in points if point.note))
    sparsities = sorted({point.sparsity for point in points})
    head = [noun, "model", "metric", *(f"{sparsity:g}" if sparsity else "dense" for sparsity in sparsities)]
    lines = []
    for (name, model, metric), own in rows.items():
        values = {point.sparsity: _value(point, notes) for point in own}
        lines.append([code(name), model, metric, *(values.get(sparsity, "") for sparsity in sparsities)])
    reasons = [f"{number}. {plain(note)}" for number, note in enumerate(notes, 1)]
    below = ["A number in brackets is no valid result, or is doubtful:\n\n" + "\n".join(reasons)]
    return ["## Published numbers", SOURCE, table(head, lines, "lll" + "r" * len(sparsities))] + (
        below if notes else []
    )


def _value(point: PublishedPoint, notes: Sequence[str]) -> str:
    """A number; with a note, in brackets and with the number of the note."""
    return f"({point.value:g})<sup>{notes.index(point.note) + 1}</sup>" if point.note else f"{point.value:g}"
