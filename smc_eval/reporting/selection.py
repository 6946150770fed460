"""Selection: how far selecting an epoch on the reported split raised the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean

from smc_eval.store.record import Record


def selection_gain(record: Record) -> float | None:
    """How much better the reported epoch is than the last; None if not chosen on the reported split."""
    if not record.epochs or record.recipe.validation or not record.sound or not record.score:
        return None
    difference = record.score.value - record.epochs[-1].score
    return difference if record.score.higher_is_better else -difference


def selection_notes(records: Iterable[Record]) -> Iterator[str]:
    """A line for each metric of which an epoch was selected on the reported split."""
    gains: dict[str, list[float]] = {}
    for record in records:
        if record.score and (gain := selection_gain(record)) is not None:
            gains.setdefault(record.score.metric, []).append(gain)
    for metric, found in gains.items():
        spread = f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else ""
        cells = f"{len(found)} cell{'s' if len(found) > 1 else ''}"
        yield (
            f"best epoch chosen on the reported split: its {metric} is {fmean(found):.1f}{spread} better "
            f"than the last epoch's, in {cells}"
        )
