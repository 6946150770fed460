"""Notes on the data of a table: what is repeated, left out or unknown in it, and the best possible score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from smc_eval.experiment.data_facts import WITHOUT_REPEATS
from smc_eval.reporting.cell_value import decimals
from smc_eval.store.record import Record

NOTED_UNKNOWN = 0.001
"""Share of unknown tokens from which on a language is named."""


def data_notes(records: Sequence[Record]) -> Iterator[str]:
    """The notes, each with its tasks. Records of older releases have no counts, and say nothing."""
    yield from _repeats(records)
    for task, group in _tasks(records):
        left = _sum(record.data.left_out for record in _one_per_data(group))
        if any(left.values()):
            counts = " and ".join(f"{count} {part}" for part, count in left.items() if count)
            yield f"left out of {task} as incomplete: {counts} examples"
    for task, group in _tasks(records):
        shares = _largest(record.data.unknown_tokens for record in group)
        high = {name: share for name, share in shares.items() if share >= NOTED_UNKNOWN}
        if high:
            words = ", ".join(f"{name} {share:.1%}" for name, share in high.items())
            yield f"unknown tokens in the test data of {task}: {words}"
    for task, group in _tasks(records):
        yield from dict.fromkeys(_ceiling(task, record) for record in group if _has_one(record))


def _repeats(records: Sequence[Record]) -> Iterator[str]:
    """A line for each task with repeated test examples, and one for all others that were counted."""
    none = list[str]()
    for task, group in _tasks(records):
        counted = [record for record in _one_per_data(group) if record.data.repeats]
        counts = _sum(vars(record.data.repeats) for record in counted)
        if any(counts.values()):
            total = sum(record.score.n for record in counted if record.score)
            yield (
                f"repeated in the test data of {task}: {counts['in_train']} of {total} examples also stand "
                f"in train, {counts['in_test']} stand twice; {_effect(group)}"
            )
        elif counted:
            none.append(task)
    if none:
        yield f"repeated in the test data: no example of {', '.join(none)}"


def _effect(records: Sequence[Record]) -> str:
    """How far the scores differ without the repeated examples."""
    digits = decimals(records)
    changes = [
        record.score.also[WITHOUT_REPEATS] - record.score.value
        for record in records
        if record.score and WITHOUT_REPEATS in record.score.also
    ]
    if not changes:
        return "no other example is left"
    low, high = (f"{change:+.{digits}f}" for change in (min(changes), max(changes)))
    return f"without them, scores change by {low}" + (f" to {high}" if high != low else "")


def _has_one(record: Record) -> bool:
    return record.score is not None and bool(record.score.ceiling)


def _ceiling(task: str, record: Record) -> str:
    """The best possible score of a task, with the parts of which it is lowest and highest."""
    assert record.score is not None
    parts = sorted(record.score.ceiling.items(), key=lambda part: part[1])
    digits = 1 if parts[-1][1] > 1 else 3
    ends = " to ".join(f"{value:.{digits}f} ({name})" for name, value in dict((parts[0], parts[-1])).items())
    mean = fmean(value for _, value in parts)
    return (
        f"best possible {record.score.metric} of {task}: {mean:.{digits}f}, from {ends}: "
        "references through the tokenizer and back"
    )


def _tasks(records: Iterable[Record]) -> Iterator[tuple[str, list[Record]]]:
    """The results of each task."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.status == "ok":
            groups.setdefault(record.task, []).append(record)
    yield from groups.items()


def _one_per_data(records: Iterable[Record]) -> list[Record]:
    """One record for each fold and data."""
    return list(
        {(record.fold, record.data.digest, record.data.limited): record for record in records}.values()
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for name, number in count.items():
            total[name] = total.get(name, 0) + number
    return total


def _largest(shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for share in shares:
        for name, value in share.items():
            largest[name] = max(value, largest.get(name, 0.0))
    return largest
