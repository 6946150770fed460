"""Footnotes: what a reader must know before the numbers of a table mean anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from smc_eval.errors import first_line
from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import DISCONNECTED
from smc_eval.reporting.table import ANY, Table, facets, short_sparsities
from smc_eval.store.record import Record

REASON_LINES = 3
"""Lines of a reason that are shown; the records hold all."""


@dataclass(frozen=True)
class Footnotes:
    """What stands below a table, one line an item."""

    loud: tuple[str, ...]
    """Why these numbers are no result, or not wholly."""
    troubles: tuple[str, ...]
    """Cells that failed, were refused or lost their certificate, and tensors of which nothing is left; alike
    ones told once."""
    setting: tuple[str, ...]
    """Metric, scope, distribution, protocol, model, data, seeds, folds, signatures."""
    account: tuple[str, ...]
    """Counts of cells, and their cost."""


def footnotes(table: Table) -> Footnotes:
    """The footnotes of a table, from the records it was made of."""
    records = table.records
    troubles = (*_troubles(records), *_dead(records))
    return Footnotes(tuple(_loud(records)), troubles, tuple(_setting(table)), tuple(_account(table)))


def _loud(records: Sequence[Record]) -> Iterator[str]:
    synthetic = [record for record in records if record.data.source == "synthetic"]
    if synthetic:
        yield f"SYNTHETIC DATA: no result{_whose(synthetic, records)}"
    for limit in sorted({record.data.limited for record in records if record.data.limited}):
        limited = [record for record in records if record.data.limited == limit]
        yield f"LIMITED to {limit} examples of each part: no result{_whose(limited, records)}"
    if doubtful := sum(_doubtful(record) for record in records):
        yield f"! {doubtful} of {_counted(records)} failed the certificate; no mean of others holds them"


def _troubles(records: Sequence[Record]) -> Iterator[str]:
    """Reasons, each once, with the first cell it befell and the number of others."""
    alike: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if _doubtful(record):
            alike.setdefault(("certificate", failed_checks(record)), []).append(record)
        elif record.status != "ok":
            alike.setdefault((record.status, first_line(record.reason)), []).append(record)
    for (kind, first), befallen in alike.items():
        more = f" and {len(befallen) - 1} more" if len(befallen) > 1 else ""
        further = befallen[0].reason.splitlines()[1:REASON_LINES] if kind != "certificate" else []
        yield "\n  ".join([f"{kind}: {cell_name(befallen[0])}{more}: {first or 'no reason given'}", *further])


def _dead(records: Sequence[Record]) -> Iterator[str]:
    """Tensors of which nothing is left, with the first net that lost them and the number of others."""
    alike: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if record.sound and (names := record.dead_tensors):
            alike.setdefault(names, []).append(record)
    told = sorted(alike.items(), key=lambda one: -len(one[1]))
    for names, nets in told[:REASON_LINES]:
        tensors = " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more tensors"
        more = f" and {len(nets) - 1} more" if len(nets) > 1 else ""
        yield f"nothing left of {tensors}: {cell_name(nets[0])}{more}"
    if others := sum(len(nets) for _, nets in told[REASON_LINES:]):
        yield f"nothing left of others in {others} more, whose certificates name them"


def _setting(table: Table) -> Iterator[str]:
    records = table.records
    metrics: dict[str, str] = {}
    for record in records:
        if record.score:
            metrics[record.score.metric] = "higher" if record.score.higher_is_better else "lower"
    if metrics:
        yield "score: " + "; ".join(f"{metric}, {which} is better" for metric, which in metrics.items())
    yield from _common(table)
    yield from _chance(table)
    for tasks, signatures in _distinct(
        records, lambda record: record.score and record.score.signature
    ).items():
        differ = " (they differ: not comparable)" if len(signatures) > 1 else ""
        yield f"signature of {tasks}: {' | '.join(signatures)}{differ}"


def _account(table: Table) -> Iterator[str]:
    records = table.records
    counts = {
        "ok": sum(record.sound for record in records),
        "failed the certificate": sum(_doubtful(record) for record in records),
        "failed": sum(record.status == "failed" for record in records),
        "skipped": sum(record.status == "skipped" for record in records),
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f"cells: {told}{_legend(table)}"
    if table.repeated:
        yield f"not shown: {table.repeated} earlier records of the same cells"
    yield from _cost(records)


def _common(table: Table) -> Iterator[str]:
    """What holds for all rows alike, or is told apart in their names."""
    found: dict[str, list[str]] = {"protocol": [], "scope": [], "distribution": []}
    found |= {"include": [], "exclude": []}
    for record in table.records:
        for name, values in found.items():
            value = facets(record)[name]
            if value not in {ANY, None, *values}:
                values.append(value)
    spoken = "; ".join(f"{name} {', '.join(values)}" for name, values in found.items() if values)
    yield f"columns: share of the weights in scope that is gone; {spoken}"
    budgets = dict.fromkeys(record.match.label for record in table.records if record.match)
    if budgets:
        yield f"match {', '.join(budgets)}: what a cell trains along its whole chain, of the dense recipe"
    if len(table.models) == 1:
        yield f"model: {table.models[0]}"
    sources = dict.fromkeys(record.data.source for record in table.records)
    yield f"data: {', '.join(sources)}"


def _chance(table: Table) -> Iterator[str]:
    seeds = sorted({record.seed for record in table.records})
    told = f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"
    intervals = (cell_value.table_interval for row in table.rows for cell_value in row.cell_values)
    overs = dict.fromkeys(interval.over for interval in intervals if interval)
    yield told + (
        f"; ± reaches the farther end of the mean's 95 % interval, over {' or '.join(overs)}" if overs else ""
    )
    for tasks, folds in _distinct(table.records, lambda record: record.fold).items():
        pooled = ", pooled by examples within each seed" if len(folds) > 1 else " only"
        yield f"folds of {tasks}: {', '.join(sorted(folds, key=int))}{pooled}"


def _legend(table: Table) -> str:
    cell_values = [cell_value for row in table.rows for cell_value in row.cell_values]
    words = {
        "–: not run": any(cell_value.state == "missing" for cell_value in cell_values),
        "n/a: the method cannot": any(cell_value.state == "skipped" for cell_value in cell_values),
        "@: reached in place of what was asked": any(
            r[0] == "@" for cell_value in cell_values for r in cell_value.remarks
        ),
        f"{DISCONNECTED}: no survivor in scope lies on a path from inputs to outputs": any(
            DISCONNECTED in r for cell_value in cell_values for r in cell_value.remarks
        ),
    }
    return "".join(f"; {word}" for word, occurs in words.items() if occurs)


def _cost(records: Iterable[Record]) -> Iterator[str]:
    total: dict[str, float] = {}
    for record in records:
        for what, seconds in vars(record.cost.seconds).items() if record.cost else ():
            total[what] = total.get(what, 0.0) + seconds
    if total:
        parts = ", ".join(f"{what} {seconds:,.0f} s" for what, seconds in total.items())
        yield f"cost: {sum(total.values()):,.0f} s ({parts}); stages that cells share count in each"


def _distinct(records: Iterable[Record], what: Callable[[Record], object]) -> dict[str, list[str]]:
    """Distinct values by task; tasks with the same values are told together."""
    by_task: dict[str, dict[str, None]] = {}
    for record in records:
        value = what(record)
        if value is not None and value != "":
            by_task.setdefault(record.task, {})[str(value)] = None
    alike: dict[tuple[str, ...], list[str]] = {}
    for task, values in by_task.items():
        alike.setdefault(tuple(values), []).append(task)
    return {", ".join(tasks): list(values) for values, tasks in alike.items()}


def _doubtful(record: Record) -> bool:
    return record.status == "ok" and not record.sound


def failed_checks(record: Record) -> str:
    """What the certificate of a record says against its net."""
    return (
        "; ".join(record.certificate.failed if record.certificate else ()) or "the record has no certificate"
    )


def cell_name(record: Record) -> str:
    """A cell in words, as short as it can be told."""
    sparsity, pattern = record.target.sparsity, record.target.pattern
    level = f" {short_sparsities([sparsity])[sparsity] if pattern == 'free' else pattern}"
    fold = "" if record.fold is None else f" fold {record.fold}"
    shown = "" if record.method == DENSE else level
    return f"{record.task}{fold} {record.method}{shown} seed {record.seed}"


def _whose(some: Sequence[Record], records: Sequence[Record]) -> str:
    """Which tasks a warning is about, unless it is about all that is shown."""
    tasks = ", ".join(dict.fromkeys(record.task for record in some))
    return f" ({tasks})" if len(some) < len(records) else ""


def _counted(records: Sequence[Record]) -> str:
    return f"{len(records)} result{'' if len(records) == 1 else 's'}"
