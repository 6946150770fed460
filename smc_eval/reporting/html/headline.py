"""The page's headline: the run, how many of its cells are certified, and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from smc_eval.method import DENSE
from smc_eval.reporting.footnotes import Footnotes
from smc_eval.store.record import Record


@dataclass(frozen=True)
class Headline:
    """The top of the page."""

    title: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    """Names, and the values of each."""
    certified: str
    """Counts of certified and other cells."""
    whole: bool
    """Whether no cell and no certificate failed."""
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def headline(records: Sequence[Record], notes: Footnotes) -> Headline:
    """The headline of records, with their table's footnotes."""
    sound = sum(record.sound for record in records)
    doubt = sum(record.status == "ok" and not record.sound for record in records)
    failed = sum(record.status == "failed" for record in records)
    skipped = sum(record.status == "skipped" for record in records)
    counts = [f"{sound:,} of {len(records):,} cells certified"]
    counts += [f"{doubt:,} not certified"] if doubt else []
    counts += [f"{failed:,} failed"] if failed else []
    counts += [f"{skipped:,} not supported by their methods"] if skipped else []
    methods = list(dict.fromkeys(record.method for record in records if record.method != DENSE))
    tasks = list(dict.fromkeys(record.task for record in records))
    return Headline(
        f"{_count(methods, 'method') if methods else 'Dense nets'} on {_count(tasks, 'task')}",
        tuple(_facts(records, tasks, methods)),
        ", ".join(counts),
        not doubt and not failed,
        notes.warnings,
        notes.problems,
    )


def _facts(
    records: Sequence[Record], tasks: Sequence[str], methods: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "tasks", tuple(tasks)
    yield "models", _listed(record.model for record in records)
    yield "methods", tuple(methods) or (DENSE,)
    yield "seeds", _listed(str(seed) for seed in sorted({record.seed for record in records}))
    folds = sorted({record.fold for record in records if record.fold is not None})
    if folds:
        yield "folds", _listed(map(str, folds))
    yield "protocol", _listed(record.protocol for record in records)
    if methods:
        yield "scope", _listed(record.target.scope for record in records if record.method != DENSE)


def _listed(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _count(words: Sequence[str], noun: str) -> str:
    return f"{len(words)} {noun}{'' if len(words) == 1 else 's'}"
