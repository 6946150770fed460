"""The verb `compare`: whether two methods differ, on the same seeds and the same examples."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import typer

from smc_eval.answers import kept
from smc_eval.cli.report import Folders, records_of
from smc_eval.comparison import Versus, versus
from smc_eval.errors import UnknownName
from smc_eval.words import pairs

Form = Literal["table", "markdown", "csv", "json"]
HEADS = ("task", "model", "sparsity", "{a}", "{b}", "difference", "95 % interval", "p", "p (Holm)", "better")


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A method as the table names it, or dense.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    folders: Folders,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="key=value,…", help="Only records with these: spread=global, task=csqa, …"),
    ] = None,
    shown_as: Annotated[
        str, typer.Option("--format", metavar="table|markdown|csv|json", help="How to show it.")
    ] = "table",
) -> None:
    """Test whether two methods differ, paired by seed and example, corrected for how many tests there are."""
    if shown_as not in get_args(Form):
        raise UnknownName("format", shown_as, get_args(Form))
    records = records_of(folders)
    told = versus(records, kept(folders), a, b, pairs(where or (), "--where"))
    named = {one.digest for one in records if one.status == "ok" and not one.sound}
    if shown_as == "json":
        typer.echo(json.dumps([_plain(one, a, b) for one in told], indent=1, allow_nan=False))
        return
    lines = [_words(one, a, b) for one in told]
    heads = [head.format(a=a, b=b) for head in HEADS]
    typer.echo({"csv": _csv, "markdown": _markdown, "table": _table}[shown_as](heads, lines), nl=False)
    if shown_as == "csv":
        return
    typer.echo("")
    for note in _notes(told, a, b, len(named)):
        typer.echo(f"- {note}" if shown_as == "markdown" else note)


def _words(one: Versus, a: str, b: str) -> list[str]:
    found, digits = one.found, 3 if one.metric and abs(one.found.a) <= 1 and "%" not in one.metric else 1
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


def _plain(one: Versus, a: str, b: str) -> dict[str, Any]:
    found, told = one.found, one.found.interval
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
    }


def _notes(told: Sequence[Versus], a: str, b: str, broken: int) -> Iterator[str]:
    overs = dict.fromkeys(one.found.interval.over for one in told if one.found.interval)
    if overs:
        yield f"paired over {'; '.join(overs)}; {len(told)} tests, corrected by Holm's method"
    if any(one.found.seeds == 1 and one.found.interval for one in told):
        yield "one seed: the interval tells of other examples, and of no other seed"
    if any(one.found.interval is None for one in told):
        yield "unknown: one seed and no items are kept; a new run keeps them"
    for one in told:
        if one.better == "tie" and one.needed:
            yield f"{one.task} {one.level}: about {one.needed} seeds would show a difference of this size"
        elif one.better == "tie" and one.found.seeds > 1 and one.found.difference:
            yield f"{one.task} {one.level}: no number of seeds shows such a difference on so few examples"
    if broken:
        yield f"{broken} records without a sound certificate are left out"
    yield f"difference: {a} - {b}"


def _csv(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *lines])
    return text.getvalue()


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * 3 + ["---:"] * (len(heads) - 4) + ["---"]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, rule, *lines))


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their words; the model's only where there are several."""
    one = len({line[1] for line in lines}) == 1
    rows = [[word for at, word in enumerate(line) if at != 1 or not one] for line in (heads, *lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last, left = len(widths) - 1, 2 if one else 3

    def padded(row: Sequence[str]) -> str:
        parts = [
            word.ljust(width) if at < left or at == last else word.rjust(width)
            for at, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip() + "\n"

    return padded(rows[0]) + "─" * (sum(widths) + 2 * last) + "\n" + "".join(map(padded, rows[1:]))
