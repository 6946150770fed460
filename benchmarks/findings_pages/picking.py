"""The table and figure of docs/findings/picking.md: the epochs of trainings that picked their best one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from findings_pages.stored import PAGES, read, signed

from smc_eval.reporting.html.page import VEGA_LITE, extra_module
from smc_eval.store.record import Record

STORE = "picking"
PUBLISHED = 82.6
"""Value accuracy of GTS without RoBERTa in five folds, as Patel et al. (2021) are cited."""

HEADS = (
    "fold", "questions", "epochs", "best epoch", "reported", "last epoch", "picked", "without repeats",
    "repeats add", f"reported minus {PUBLISHED}",
)  # fmt: skip


class Fold(NamedTuple):
    """What one training says: scores of its epochs, in per cent, and of the best one without repeats."""

    number: int
    scores: tuple[float, ...]
    reported: float
    without_repeats: float
    questions: int

    @property
    def picked(self) -> float:
        """How far the best epoch is above the last."""
        return self.reported - self.scores[-1]

    @property
    def leaked(self) -> float:
        """How far the score is above that of the questions that do not stand in the training data."""
        return self.reported - self.without_repeats


def picking() -> str:
    """A table in Markdown: a row for each fold, and their mean where there are several."""
    folds = _folds()
    lines = [f"| {' | '.join(HEADS)} |", f"| --- |{' --: |' * (len(HEADS) - 1)}"]
    for fold in folds:
        best = 1 + fold.scores.index(fold.reported)
        counts = str(fold.number), str(fold.questions), str(len(fold.scores)), str(best)
        lines.append(_line(counts, [fold]))
    if len(folds) > 1:
        lines.append(_line(("mean", "", "", ""), folds))
    return "\n".join(lines)


def figure() -> str:
    """The score over the epochs, a line for each fold, as SVG."""
    values = [
        {"fold": str(fold.number), "epoch": epoch, "score": score}
        for fold in _folds()
        for epoch, score in enumerate(fold.scores, 1)
    ]
    spec = {
        "data": {"values": values},
        "width": 420,
        "height": 220,
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative"},
            "y": {
                "field": "score",
                "type": "quantitative",
                "title": "value accuracy (%)",
                "scale": {"zero": False},
            },
            "color": {"field": "fold", "type": "nominal"},
        },
        "background": "white",
    }
    svg: str = extra_module("vl_convert").vegalite_to_svg(spec, vl_version=VEGA_LITE)
    return svg


def _folds() -> list[Fold]:
    """The dense trainings, by fold."""
    records = [record for record in read(PAGES / "records" / STORE)[0] if record.sound and record.epochs]
    return sorted(map(_fold, records))


def _fold(record: Record) -> Fold:
    assert record.score is not None
    scores = tuple(epoch.score for epoch in record.epochs)
    without = record.score.also["without_repeats"]
    return Fold(record.fold or 0, scores, record.score.value, without, record.score.n)


def _line(counts: Sequence[str], folds: Sequence[Fold]) -> str:
    reported = fmean(fold.reported for fold in folds)
    numbers = (
        f"{reported:.1f}",
        f"{fmean(fold.scores[-1] for fold in folds):.1f}",
        signed(fmean(fold.picked for fold in folds), 1),
        f"{fmean(fold.without_repeats for fold in folds):.1f}",
        signed(fmean(fold.leaked for fold in folds), 1),
        signed(reported - PUBLISHED, 1),
    )
    return f"| {' | '.join((*counts, *numbers))} |"
