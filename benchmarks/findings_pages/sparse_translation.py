"""The table of docs/findings/sparse-translation.md: nets with 5 % of their connections, and the dense one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from findings_pages.stored import PAGES, difference_cells, read

from smc_eval.method import DENSE
from smc_eval.statistics import compare_samples, holm
from smc_eval.statistics.sample import Sample
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record

STORE = "sparse-translation"
METHODS = (DENSE, "chts", "set", "random-rigl", "random-before")
"""The rows of the table, in their order."""

METRICS = ("chrF", "en-fr", "fr-en", "en-cs", "cs-en")
"""Further columns: chrF over all directions, and BLEU of each."""


def sparse_translation() -> str:
    """A table in Markdown: each method with its scores, and its difference from the dense net."""
    folder = PAGES / "records" / STORE
    records = [record for record in read(folder)[0] if record.sound]
    find_items = items_in([folder])
    own = {method: [record for record in records if record.method == method] for method in METHODS}
    own = {method: found for method, found in own.items() if found}
    samples = {method: Sample.of(found, find_items) for method, found in own.items()}
    dense = samples.pop(DENSE)
    assert dense is not None
    pairs = {method: compare_samples(sample, dense) for method, sample in samples.items() if sample}
    corrected = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    lines = [
        f"| method | seeds | BLEU | minus dense | p | {' | '.join(METRICS)} | weights in use |",
        f"| --- | --: | --: | --: | --: |{' --: |' * len(METRICS)} --: |",
    ]
    for method, found in own.items():
        cells = [f"`{method}`", str(len(found)), f"{_mean(found):.2f}", "", ""]
        if method in pairs:
            cells[3:] = difference_cells(pairs[method], corrected[method], decimals=2)
        cells += [f"{_mean(found, name):.1f}" for name in METRICS]
        lines.append(f"| {' | '.join([*cells, _in_use(found)])} |")
    return "\n".join(lines)


def _mean(records: Sequence[Record], name: str | None = None) -> float:
    """The mean of a part of the scores, by default of the scores themselves."""
    scores = [record.score for record in records if record.score]
    return fmean(score.also[name] if name else score.value for score in scores)


def _in_use(records: Sequence[Record]) -> str:
    """The share of the weights in scope that are on a path from inputs to outputs, in per cent."""
    shares = [
        1 - record.certificate.effective
        for record in records
        if record.certificate is not None and record.certificate.effective is not None
    ]
    return f"{100 * fmean(shares):.1f} %" if shares else "–"
