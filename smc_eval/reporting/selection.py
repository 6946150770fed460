"""Selection: how far selecting an epoch on the reported split raised the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean

from smc_eval.reporting.cell_value import decimals
from smc_eval.store.record import Record


def selection_gain(record: Record) -> float | None:
    """How much better the reported epoch is than the last.

    None if no epoch was selected on the reported split: on other examples, or before a last pruning. Then
    no compared epoch has the score of the record.
    """
    if not record.epochs or record.recipe.validation or not record.sound or not record.score:
        return None
    sparsest = min(epoch.remaining for epoch in record.epochs)
    compared = [epoch.score for epoch in record.epochs if epoch.remaining == sparsest]
    if record.score.value not in compared:
        return None
    difference = record.score.value - compared[-1]
    return difference if record.score.higher_is_better else -difference


def selection_notes(records: Iterable[Record]) -> Iterator[str]:
    """A line for each task of which an epoch was selected on the reported split."""
    tasks: dict[str, list[tuple[Record, float]]] = {}
    for record in records:
        if (gain := selection_gain(record)) is not None:
            tasks.setdefault(record.task, []).append((record, gain))
    for task, selected in tasks.items():
        chosen, gains = zip(*selected, strict=True)
        digits, metric = decimals(chosen), chosen[0].score.metric
        spread = f" ({min(gains):.{digits}f} to {max(gains):.{digits}f})" if len(gains) > 1 else ""
        yield (
            f"best epoch of {task} chosen on the reported split: its {metric} is "
            f"{fmean(gains):.{digits}f}{spread} better than the last epoch's, in {len(gains)} cell"
            f"{'s' if len(gains) > 1 else ''}"
        )
