"""The verb `compare`: whether two methods differ, on the same seeds and the same examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, get_args

import typer

from smc_eval.cli.completion import METHOD_NAMES
from smc_eval.cli.flags import FORMATS
from smc_eval.cli.report import Folders, records_of
from smc_eval.errors import UnknownName, counted
from smc_eval.experiment.config import Format
from smc_eval.experiment.parsing import parse_pairs
from smc_eval.reporting.compare import PairedComparison, compare_methods
from smc_eval.reporting.differences import difference_text
from smc_eval.reporting.text_table import TextTable
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record

COMPARE_HEADS = (
    "task",
    "model",
    "sparsity",
    "{a}",
    "{b}",
    "difference",
    "95 % interval",
    "p",
    "p (Holm)",
    "better",
)


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A method of the stores, or dense; METHOD@SPARSITY is one at one sparsity.",
            autocompletion=METHOD_NAMES,
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(metavar="B", help="The other method, in the same form.", autocompletion=METHOD_NAMES),
    ],
    folders: Folders,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="key=value,…",
            help="Use only records with these values: task=csqa, scope=body, … Repeatable. Default: all.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar=FORMATS,
            help="Form of the printed results. Default: table.",
            show_default=False,
        ),
    ] = "table",
) -> None:
    """Test whether two methods differ, with paired statistics.

    Pairs share seed and examples. P-values are corrected for the number of comparisons (Holm). A method can
    also be compared at two sparsities: compare lth@0.36 lth@0.672 DIR.
    """
    if form not in get_args(Format):
        raise UnknownName("format", form, get_args(Format))
    records = records_of(folders)
    comparisons = compare_methods(records, items_in(folders), a, b, parse_pairs(where or (), "--where"))
    if form == "json":
        documents = [_document(comparison, a, b) for comparison in comparisons]
        typer.echo(json.dumps(documents, indent=1, allow_nan=False))
        return
    text_table = comparison_table(comparisons, a, b, records)
    if form == "table":
        from rich.console import Console

        from smc_eval.reporting.terminal import print_text_table

        print_text_table(shown(text_table, comparisons), Console())
    else:
        typer.echo(getattr(text_table, form), nl=False)


def comparison_table(
    comparisons: Sequence[PairedComparison], a: str, b: str, records: Sequence[Record]
) -> TextTable:
    """Comparisons of two methods as a table with its notes; `records` are those that were compared."""
    unsound = sum(record.status == "ok" and not record.sound for record in records)
    return TextTable(
        tuple(head.format(a=a, b=b) for head in COMPARE_HEADS),
        "lll" + "r" * (len(COMPARE_HEADS) - 4) + "l",
        tuple(tuple(_cells(comparison, a, b)) for comparison in comparisons),
        notes=tuple(_notes(comparisons, a, b, unsound)),
        warnings=tuple(_warnings(comparisons, a, b)),
    )


def shown(text_table: TextTable, comparisons: Sequence[PairedComparison]) -> TextTable:
    """The table as a terminal shows it: without its column of models, if there is a single one."""
    if len({comparison.model for comparison in comparisons}) > 1:
        return text_table
    rows = tuple((task, *rest) for task, _, *rest in text_table.rows)
    return replace(
        text_table,
        heads=(text_table.heads[0], *text_table.heads[2:]),
        align=text_table.align[0] + text_table.align[2:],
        rows=rows,
    )


def _cells(pair: PairedComparison, a: str, b: str) -> list[str]:
    comparison, interval = pair.comparison, pair.comparison.interval
    digits = 3 if pair.metric and abs(comparison.a) <= 1 and "%" not in pair.metric else 1
    return [
        pair.task,
        pair.model,
        pair.level,
        f"{comparison.a:.{digits}f}",
        f"{comparison.b:.{digits}f}",
        f"{comparison.difference:+.{digits}f}",
        (interval.ends(f"+.{digits}f") if interval else "") or "unknown",
        _p_text(comparison.p) if interval else "–",
        _p_text(pair.p) if interval else "–",
        {"a": a, "b": b}.get(pair.better, pair.better),
    ]


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _document(pair: PairedComparison, a: str, b: str) -> dict[str, Any]:
    comparison, interval = pair.comparison, pair.comparison.interval
    return {
        **{name: getattr(pair, name) for name in ("task", "model", "level", "metric")},
        "a": {"method": a, "score": comparison.a},
        "b": {"method": b, "score": comparison.b},
        "difference": comparison.difference,
        "interval": [interval.low, interval.high] if interval and interval.finite else None,
        "over": interval.over if interval else None,
        "p": comparison.p if interval else None,
        "p_holm": pair.p if interval else None,
        "better": {"a": a, "b": b}.get(pair.better, pair.better),
        "seeds_needed": pair.needed,
        "unlike": {name: list(values) for name, values in pair.unlike.items()},
        "differing": {name: list(values) for name, values in pair.differing.items()},
    }


def _warnings(comparisons: Sequence[PairedComparison], a: str, b: str) -> Iterator[str]:
    """Fields in which the two methods differ, and versions in which their records do."""
    unlike = {name: values for pair in comparisons for name, values in pair.unlike.items()}
    for name, (first, second) in unlike.items():
        yield f"NOT COMPARABLE: {name} is {first} for {a} and {second} for {b}; choose with --where {name}=…"
    differences = {difference_text(pair.differing): pair for pair in reversed(comparisons) if pair.differing}
    for words, pair in reversed(differences.items()):
        yield f"VERSIONS DIFFER: {words} ({pair.task} {pair.level}); scores may, for this reason alone"


def _notes(comparisons: Sequence[PairedComparison], a: str, b: str, unsound: int) -> Iterator[str]:
    intervals = [pair.comparison.interval for pair in comparisons if pair.comparison.interval]
    if overs := dict.fromkeys(interval.over for interval in intervals):
        comparisons_text = counted(len(intervals), "comparison")
        yield f"paired over {'; '.join(overs)}; p (Holm) is corrected for {comparisons_text}"
    if any(pair.comparison.seeds == 1 and pair.comparison.interval for pair in comparisons):
        yield "one seed: the interval covers other examples, but not other seeds"
    without = [pair.comparison for pair in comparisons if not pair.comparison.interval]
    if any(one.items or one.seeds > 1 for one in without):
        yield "unknown: the difference is the same everywhere, so nothing shows how far it would vary"
    if any(not one.items and one.seeds == 1 for one in without):
        yield "unknown: one seed, and no predictions that can be paired; a new run stores them"
    for pair in comparisons:
        if pair.better == "tie" and pair.needed:
            needed = counted(pair.needed, "seed")
            yield f"{pair.task} {pair.level}: about {needed} would show a difference of this size"
        elif pair.better == "tie" and pair.comparison.seeds > 1 and pair.comparison.difference:
            yield f"{pair.task} {pair.level}: no number of seeds shows this difference on so few examples"
    if unsound:
        yield f"left out: {counted(unsound, 'record')} without a sound certificate"
    yield f"difference: {a} - {b}"
