"""Footnotes: the facts that a reader needs to understand the numbers of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from smc_eval.errors import first_line
from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import DISCONNECTED
from smc_eval.reporting.data_notes import data_notes
from smc_eval.reporting.differences import between_rows, within_means
from smc_eval.reporting.printable import printable, printable_lines
from smc_eval.reporting.selection import selection_notes
from smc_eval.reporting.table import ANY, Table, distinct_facets, facet_text, short_sparsities
from smc_eval.store.record import ObservedInputs, Record
from smc_eval.target import STRUCTURED_PATTERNS, level_text

REASON_LINES = 3
"""Lines of a reason that are shown; the records hold all."""


@dataclass(frozen=True)
class Footnotes:
    """The text below a table, one line per item."""

    warnings: tuple[str, ...]
    """Why these numbers, or some of them, are not results."""
    problems: tuple[str, ...]
    """Failed, refused and uncertified cells, dead tensors, and inputs that a method did not see.

    Equal ones are counted, not repeated."""
    settings: tuple[str, ...]
    """Metric, scope, distribution, protocol, model, data, seeds, folds, signatures, differing versions, and
    what was counted in the data."""
    totals: tuple[str, ...]
    """Counts of cells, and their cost."""


def footnotes(table: Table) -> Footnotes:
    """The footnotes of a table, from the records that it was made of."""
    records = table.records
    problems = (*_problems(records), *_dead_tensors(records), *_inputs(records), *_untied(records))
    warnings = (*_warnings(records), *within_means(table))
    settings = (*_settings(table), *selection_notes(records), *between_rows(table), *data_notes(records))
    return Footnotes(
        tuple(map(printable, warnings)),
        tuple(map(printable_lines, problems)),
        tuple(map(printable, settings)),
        tuple(map(printable, _totals(table))),
    )


def _warnings(records: Sequence[Record]) -> Iterator[str]:
    # a cell that read nothing says nothing of the data
    synthetic = [record for record in records if record.data.source == "synthetic" and record.data.digest]
    if synthetic:
        yield f"SYNTHETIC DATA: not a result{_tasks_of(synthetic, records)}"
    for limit in sorted({record.data.limited for record in records if record.data.limited}):
        limited = [record for record in records if record.data.limited == limit]
        yield f"LIMITED to {limit} examples of each part: not a result{_tasks_of(limited, records)}"
    kept = dict[tuple[str, str, tuple[str, ...]], None]()
    for record in records:
        if record.refused_models:
            kept[record.task, record.model, record.refused_models] = None
    yield from (kept_model_line(*one) for one in kept)
    if count := sum(_uncertified(record) for record in records):
        results = f"{len(records)} result{'' if len(records) == 1 else 's'}"
        yield f"! {count} of {results} failed the certificate; means of certified results exclude them"


def _problems(records: Sequence[Record]) -> Iterator[str]:
    """Each reason once, with its first cell and the number of others."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if _uncertified(record):
            groups.setdefault(("certificate", failed_checks(record)), []).append(record)
        elif record.status != "ok":
            groups.setdefault((record.status, first_line(record.reason)), []).append(record)
    for (kind, first), group in groups.items():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        further = group[0].reason.splitlines()[1:REASON_LINES] if kind != "certificate" else []
        yield "\n  ".join([f"{kind}: {cell_name(group[0])}{more}: {first or 'no reason given'}", *further])


def _dead_tensors(records: Sequence[Record]) -> Iterator[str]:
    """Tensors without unpruned weights, with the first net and the number of others."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if record.sound and (names := record.dead_tensors):
            groups.setdefault(names, []).append(record)
    largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
    for names, nets in largest_first[:REASON_LINES]:
        more = f" and {len(nets) - 1} more" if len(nets) > 1 else ""
        yield f"all weights pruned in {_named(names)}: {cell_name(nets[0])}{more}"
    if others := sum(len(nets) for _, nets in largest_first[REASON_LINES:]):
        yield f"all weights pruned in other tensors of {others} more; their certificates name the tensors"


def _inputs(records: Sequence[Record]) -> Iterator[str]:
    """Inputs that a method did not see, or that may include padding: once for each task and method."""
    groups: dict[tuple[str, str], list[ObservedInputs]] = {}
    for record in records:
        if record.status == "ok" and record.inputs:
            groups.setdefault((record.method, record.task), []).append(record.inputs)
    for (method, task), inputs in groups.items():
        worst = max(inputs, key=lambda each: each.unseen)
        if worst.unseen:
            yield (
                f"{method} saw no input of {worst.unseen:.2%} of the weights in scope of {task} "
                f"({_named(tuple(worst.unseen_tensors))}): there it knew the weights alone"
            )
        if padded := tuple(dict.fromkeys(name for each in inputs for name in each.padded)):
            yield f"{method} on {task}: inputs of {_named(padded)} may include padding"


def _named(names: Sequence[str]) -> str:
    """Names of tensors, as short as possible."""
    return " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more tensors"


def _untied(records: Sequence[Record]) -> Iterator[str]:
    """Models whose config ties two tensors that differ in the file."""
    models = dict[str, str]()
    for record in records:
        if record.checkpoint and record.checkpoint.untied:
            name, other = next(iter(record.checkpoint.untied.items()))
            models.setdefault(record.model, f"{name} and {other}")
    for model, pair in models.items():
        yield f"model {model}: its config.json ties {pair}; their values in the file differ, so they are two"


def _unused(records: Sequence[Record]) -> Iterator[str]:
    """Matrices that a net does not use, by task and model."""
    groups: dict[tuple[str, str], tuple[str, ...]] = {}
    for record in records:
        if record.certificate and record.certificate.unused:
            groups.setdefault((record.task, record.model), record.certificate.unused)
    for (task, model), names in groups.items():
        more = f" and {len(names) - 1} more matrices" if len(names) > 1 else ""
        yield f"not used by {task}/{model}, in no scope: {names[0]}{more}"


def _settings(table: Table) -> Iterator[str]:
    records = table.records
    metrics: dict[str, str] = {}
    for record in records:
        if record.score:
            metrics[record.score.metric] = "higher" if record.score.higher_is_better else "lower"
    if metrics:
        yield "score: " + "; ".join(f"{metric}, {which} is better" for metric, which in metrics.items())
    yield from _shared(table)
    yield from _unused(records)
    yield from _repetitions(table)
    yield from _notes(records)
    for tasks, signatures in _by_tasks(
        records, lambda record: record.score and record.score.signature
    ).items():
        differ = " (they differ: scores are not comparable)" if len(signatures) > 1 else ""
        yield f"signature of {tasks}: {' | '.join(signatures)}{differ}"
    if alone := [record for record in records if record.score and record.score.one_by_one]:
        yield (
            f"predicted one by one{_tasks_of(alone, records)}: padding or other examples of a batch change "
            "the outputs of this net for an example"
        )


def _notes(records: Iterable[Record]) -> Iterator[str]:
    """Notes of methods on their cells, each text once, with its first cell and the number of others."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        for text in record.notes:
            groups.setdefault(text, []).append(record)
    for text, group in groups.items():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        yield f"note on {cell_name(group[0])}{more}: {text}"


def kept_model_line(task: str, model: str, reasons: Iterable[str]) -> str:
    """That a task keeps its published model, and why it uses none of the named ones."""
    return f"task {task!r} keeps its published model {model!r}: {'; '.join(reasons)}"


def _totals(table: Table) -> Iterator[str]:
    records = table.records
    counts = {
        "ok": sum(record.sound for record in records),
        "failed the certificate": sum(_uncertified(record) for record in records),
        "failed": sum(record.status == "failed" for record in records),
        "skipped": sum(record.status == "skipped" for record in records),
    }
    cells = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f"cells: {cells}{_legend(table)}"
    if table.repeated:
        yield f"not shown: {table.repeated} earlier records of the same cells"
    yield from _cost(records)
    costs = [record.cost for record in records if record.cost]
    if skipped := sum(cost.skipped_steps for cost in costs):
        of = sum(cost.steps for cost in costs if cost.skipped_steps)
        yield f"skipped by the loss scaler of fp16: {skipped:,} of {of:,} optimizer steps"
    if uncounted := sorted({kernel for cost in costs for kernel in cost.uncounted}):
        yield f"not counted in operations, as no formula is known: {', '.join(uncounted)}"


def _shared(table: Table) -> Iterator[str]:
    """Settings that all rows share, or that their names give."""
    shared: dict[str, list[str]] = {"protocol": [], "scope": [], "distribution": []}
    shared |= {"include": [], "exclude": []}
    for own in distinct_facets(table.records):
        for name, values in shared.items():
            value = own[name]
            if value not in {ANY, None} and (text := facet_text(value)) not in values:
                values.append(text)
    settings = "; ".join(f"{name} {', '.join(values)}" for name, values in shared.items() if values)
    units = [unit for unit in STRUCTURED_PATTERNS if any(r.target.pattern == unit for r in table.records)]
    of_units = f"; {' and '.join(units)}: share of these" if units else ""
    yield f"columns: sparsity (share of pruned weights in scope{of_units}); {settings}"
    budgets = dict.fromkeys(record.match.label for record in table.records if record.match)
    if budgets:
        matches = ", ".join(budgets)
        yield f"match {matches}: training of a cell along its whole chain, relative to the dense recipe"
    if served := [record.kernels for record in table.records if record.kernels]:
        maps, trained, predicted = (
            sum(getattr(own, name) for own in served) for name in ("maps", "trained", "predicted")
        )
        yield (
            f"kernels sparse: of {maps:,} masked matrices of all cells, {trained:,} ran sparse in training "
            f"and {predicted:,} in prediction; the others are dense"
        )
    if len(table.models) == 1:
        yield f"model: {table.models[0]}"
    if sources := dict.fromkeys(record.data.source for record in table.records if record.data.digest):
        yield f"data: {', '.join(sources)}"


def _repetitions(table: Table) -> Iterator[str]:
    """Seeds and folds, and what the intervals cover."""
    seeds = sorted({record.seed for record in table.records})
    intervals = (cell_value.table_interval for row in table.rows for cell_value in row.cell_values)
    overs = dict.fromkeys(interval.over for interval in intervals if interval)
    which = f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"
    half = "; ± is the longer half of the 95 % confidence interval over "
    yield f"{which}{half}{' or '.join(overs)}" if overs else which
    for tasks, folds in _by_tasks(table.records, lambda record: record.fold).items():
        pooled = "; pooled within each seed, weighted by examples" if len(folds) > 1 else " only"
        yield f"folds of {tasks}: {', '.join(sorted(folds, key=int))}{pooled}"


def _legend(table: Table) -> str:
    cell_values = [cell_value for row in table.rows for cell_value in row.cell_values]
    states = {cell_value.state for cell_value in cell_values}
    remarks = [remark for cell_value in cell_values for remark in cell_value.remarks]
    legend = {
        "–: not run": "missing" in states,
        "n/a: not supported by the method": "skipped" in states,
        "@: reached sparsity, where it misses the target": any(remark[0] == "@" for remark in remarks),
        f"{DISCONNECTED}: no path of unpruned weights in scope leads from input to output": any(
            DISCONNECTED in remark for remark in remarks
        ),
    }
    return "".join(f"; {text}" for text, occurs in legend.items() if occurs)


def _cost(records: Iterable[Record]) -> Iterator[str]:
    total: dict[str, float] = {}
    for record in records:
        for activity, seconds in vars(record.cost.seconds).items() if record.cost else ():
            total[activity] = total.get(activity, 0.0) + seconds
    if total:
        parts = ", ".join(f"{activity} {seconds:,.0f} s" for activity, seconds in total.items())
        yield f"cost: {sum(total.values()):,.0f} s ({parts}); shared stages are counted once per cell"


def _by_tasks(records: Iterable[Record], value_of: Callable[[Record], object]) -> dict[str, list[str]]:
    """The distinct values of each task; tasks with equal values share a key."""
    by_task: dict[str, dict[str, None]] = {}
    for record in records:
        value = value_of(record)
        if value is not None and value != "":
            by_task.setdefault(record.task, {})[str(value)] = None
    by_values: dict[tuple[str, ...], list[str]] = {}
    for task, values in by_task.items():
        by_values.setdefault(tuple(values), []).append(task)
    return {", ".join(tasks): list(values) for values, tasks in by_values.items()}


def _uncertified(record: Record) -> bool:
    return record.status == "ok" and not record.sound


def failed_checks(record: Record) -> str:
    """The failed checks of a record's certificate, in words."""
    return (
        "; ".join(record.certificate.failed if record.certificate else ()) or "the record has no certificate"
    )


def cell_name(record: Record) -> str:
    """A cell in words, as short as possible: `mawps/gts fold 0 lth 0.5 seed 0`."""
    sparsity, pattern = record.target.sparsity, record.target.pattern
    level = f" {level_text(pattern, short_sparsities([sparsity])[sparsity])}"
    fold = "" if record.fold is None else f" fold {record.fold}"
    shown = "" if record.method == DENSE else level
    return printable(f"{record.task}{fold} {record.method}{shown} seed {record.seed}")


def _tasks_of(some: Sequence[Record], records: Sequence[Record]) -> str:
    """The tasks of a warning; empty if it is about all records."""
    tasks = ", ".join(dict.fromkeys(record.task for record in some))
    return f" ({tasks})" if len(some) < len(records) else ""
