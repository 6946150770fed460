"""The tables of docs/findings/where-it-hurts.md: how sparse a net may be, and what of its mask matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from findings_pages.stored import PAGES, difference_cells, read

from smc_eval import capabilities
from smc_eval.experiment.grid import task_named
from smc_eval.method import DENSE
from smc_eval.registry import registry
from smc_eval.score import Items
from smc_eval.statistics import Curve, compare_samples, holm
from smc_eval.statistics.sample import Sample
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record

STORES = ("hurts-gts", "hurts-csqa", "hurts-hp")
"""The folders of records, in the order of the tables."""
SHARE = 0.95
"""The share of the dense score above chance that a net has to keep."""

K = TypeVar("K")
FindItems = Callable[[str], Items | None]
"""The items of a cell by its digest."""


def where_it_hurts() -> str:
    """Tables in Markdown for each store: the searches, and the ablations."""
    folders = [PAGES / "records" / name for name in STORES]
    return "\n\n".join(table for folder in folders if folder.is_dir() for table in _tables(folder))


def _tables(folder: Path) -> Iterator[str]:
    records = [record for record in read(folder)[0] if record.sound]
    find_items = items_in([folder])
    dense = [record for record in records if record.method == DENSE]
    sparse = [record for record in records if record.method != DENSE]
    first = records[0]
    assert first.score is not None
    title = f"**{first.task}, {first.model}**; dense {_mean(dense):.1f}, {first.score.metric}"
    chance = capabilities.chance(task_named(first.task, registry()))
    plain = [record for record in sparse if "+" not in record.method]
    yield f"{title}\n\n{_searches(dense, plain, find_items, chance)}"
    if len(plain) < len(sparse):
        yield f"{title}\n\n{_ablations(sparse, find_items)}"


def _searches(dense: Sequence[Record], sparse: Sequence[Record], find_items: FindItems, chance: float) -> str:
    """Each method with the sparsities that were tried, and where its curve crosses the share."""
    least = chance + SHARE * (_mean(dense) - chance)
    lines = [
        f"| method | scores by sparsity; 95 % of dense is {least:.1f} | s@95 | 95 % interval |",
        "| --- | --- | --: | --- |",
    ]
    whole = _sample(dense, find_items)
    for method, records in _groups(sparse, lambda record: record.method).items():
        points = _groups(records, lambda record: record.target.sparsity)
        curve = Curve(whole, {at: _sample(own, find_items) for at, own in points.items()}, chance)
        found = curve.sparsity_at(SHARE)
        assert found is not None
        assert found.interval is not None
        scores = ", ".join(f"{at:g}: {_mean(points[at]):.1f}" for at in curve.sparsities)
        ends = f"{_end(found.interval.low)} to {_end(found.interval.high)}"
        lines.append(f"| `{method}` | {scores} | {found.text} | {ends} |")
    return "\n".join(lines)


def _ablations(records: Sequence[Record], find_items: FindItems) -> str:
    """Each ablated method beside the whole one, at the sparsity of the ablations."""
    at = {record.target.sparsity for record in records if "+" in record.method}
    own = [record for record in records if record.target.sparsity in at]
    samples = {
        method: _sample(found, find_items) for method, found in _groups(own, lambda r: r.method).items()
    }
    pairs = {
        method: compare_samples(sample, samples[method.partition("+")[0]])
        for method, sample in samples.items()
        if "+" in method
    }
    corrected = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    levels = ", ".join(f"{each:g}" for each in sorted(at))
    lines = [
        f"| method, at {levels} | score | minus the whole method | p |",
        "| --- | --: | --: | --: |",
    ]
    for method in sorted(samples):
        cells = [f"`{method}`", f"{samples[method].value():.1f}", "", ""]
        if method in pairs:
            cells[2:] = difference_cells(pairs[method], corrected[method])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _groups(records: Sequence[Record], key: Callable[[Record], K]) -> dict[K, list[Record]]:
    found: dict[K, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found


def _sample(records: Sequence[Record], find_items: FindItems) -> Sample:
    sample = Sample.of(records, find_items)
    assert sample is not None
    return sample


def _mean(records: Sequence[Record]) -> float:
    values = [record.score.value for record in records if record.score]
    return sum(values) / len(values)


def _end(sparsity: float) -> str:
    """An end of an interval; 0 and 1 stand for beyond what was measured."""
    return {0.0: "below all", 1.0: "above all"}.get(sparsity, f"{sparsity:.2f}")
