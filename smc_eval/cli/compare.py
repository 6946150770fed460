"""The verb `compare`: whether two methods differ, on the same seeds and the same examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

import typer

from smc_eval.cli.report import Folders, records_of
from smc_eval.errors import UnknownName
from smc_eval.experiment.parsing import parse_pairs
from smc_eval.reporting.compare import PairedComparison, compare_methods
from smc_eval.reporting.text_table import TextTable
from smc_eval.store.predictions import items_in

Form = Literal["table", "markdown", "csv", "latex", "json"]
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
        typer.Argument(metavar="A", help="A method of the table, dense, or one at a sparsity: lth@0.672."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    folders: Folders,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="key=value,…", help="Only records with these: task=csqa, scope=body, …"),
    ] = None,
    shown_as: Annotated[
        str, typer.Option("--format", metavar="table|markdown|csv|latex|json", help="How to show it.")
    ] = "table",
) -> None:
    """Test whether two methods, or one at two sparsities, differ: paired by seed and example, and corrected
    for how many tests there are.
    """
    if shown_as not in get_args(Form):
        raise UnknownName("format", shown_as, get_args(Form))
    records = records_of(folders)
    told = compare_methods(records, items_in(folders), a, b, parse_pairs(where or (), "--where"))
    broken = sum(one.status == "ok" and not one.sound for one in records)
    if shown_as == "json":
        typer.echo(json.dumps([_plain(one, a, b) for one in told], indent=1, allow_nan=False))
        return
    text_table = _sheet(told, a, b, broken)
    if shown_as == "table":
        from rich.console import Console

        from smc_eval.reporting.terminal import print_text_table

        print_text_table(
            text_table if len({one.model for one in told}) > 1 else _without_models(text_table), Console()
        )
    else:
        typer.echo(getattr(text_table, shown_as), nl=False)


def _sheet(told: Sequence[PairedComparison], a: str, b: str, broken: int) -> TextTable:
    return TextTable(
        tuple(head.format(a=a, b=b) for head in COMPARE_HEADS),
        "lll" + "r" * (len(COMPARE_HEADS) - 4) + "l",
        tuple(tuple(_words(one, a, b)) for one in told),
        notes=tuple(_notes(told, a, b, broken)),
        loud=tuple(_unlike(told, a, b)),
    )


def _without_models(text_table: TextTable) -> TextTable:
    """One model goes without saying."""
    lines = tuple((task, *rest) for task, _, *rest in text_table.lines)
    return replace(
        text_table,
        heads=(text_table.heads[0], *text_table.heads[2:]),
        align=text_table.align[0] + text_table.align[2:],
        lines=lines,
    )


def _words(one: PairedComparison, a: str, b: str) -> list[str]:
    found, digits = (
        one.comparison,
        3 if one.metric and abs(one.comparison.a) <= 1 and "%" not in one.metric else 1,
    )
    told = found.interval
    return [
        one.task,
        one.model,
        one.level,
        f"{found.a:.{digits}f}",
        f"{found.b:.{digits}f}",
        f"{found.difference:+.{digits}f}",
        f"{told.low:+.{digits}f} to {told.high:+.{digits}f}" if told else "unknown",
        _chance(found.p) if told else "–",
        _chance(one.p) if told else "–",
        {"a": a, "b": b}.get(one.better, one.better),
    ]


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _plain(one: PairedComparison, a: str, b: str) -> dict[str, Any]:
    found, told = one.comparison, one.comparison.interval
    return {
        **{name: getattr(one, name) for name in ("task", "model", "level", "metric")},
        "a": {"method": a, "score": found.a},
        "b": {"method": b, "score": found.b},
        "difference": found.difference,
        "interval": [told.low, told.high] if told else None,
        "over": told.over if told else None,
        "p": found.p if told else None,
        "p_holm": one.p if told else None,
        "better": {"a": a, "b": b}.get(one.better, one.better),
        "seeds_needed": one.needed,
        "unlike": {name: list(values) for name, values in one.unlike.items()},
    }


def _unlike(told: Sequence[PairedComparison], a: str, b: str) -> Iterator[str]:
    unlike = {name: values for one in told for name, values in one.unlike.items()}
    for name, (first, second) in unlike.items():
        yield f"NOT ALIKE: {name} is {first} of {a} and {second} of {b}; choose by --where {name}=…"


def _notes(told: Sequence[PairedComparison], a: str, b: str, broken: int) -> Iterator[str]:
    overs = dict.fromkeys(one.comparison.interval.over for one in told if one.comparison.interval)
    tests = sum(one.comparison.interval is not None for one in told)
    if overs:
        yield f"paired over {'; '.join(overs)}; p (Holm) is corrected for {tests} made at once"
    if any(one.comparison.seeds == 1 and one.comparison.interval for one in told):
        yield "one seed: the interval tells of other examples, and of no other seed"
    if any(one.comparison.interval is None for one in told):
        yield "unknown: one seed and no items are kept; a new run keeps them"
    for one in told:
        if one.better == "tie" and one.needed:
            yield f"{one.task} {one.level}: about {one.needed} seeds would show a difference of this size"
        elif one.better == "tie" and one.comparison.seeds > 1 and one.comparison.difference:
            yield f"{one.task} {one.level}: no number of seeds shows such a difference on so few examples"
    if broken:
        yield f"{broken} records without a sound certificate are left out"
    yield f"difference: {a} - {b}"
