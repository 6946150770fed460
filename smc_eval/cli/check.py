"""The verb `check`: whether an installed method, task, kind, optimizer or tracker keeps its contract."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smc_eval.errors import counted
from smc_eval.registry import load_registry
from smc_eval.reporting.printable import printable
from smc_eval.reporting.text_table import TextTable

if TYPE_CHECKING:
    from smc_eval.testing.promise import Verdict
    from smc_eval.testing.subject import Subject

CHECK_HEADS = ("promise", "verdict", "seconds")


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:OPTION=VALUE]",
            help="A method, task, group of tasks, kind of model, optimizer, tracker, or an installed plugin: "
            "then all that it brings.",
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Model of a task, or checkpoint of a kind. Default: the smallest that is built without one.",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="DIR", help="Data of a task. Default: synthetic.", show_default=False
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Check at one target, with one optimizer, shorter. Default: off."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Default: off.")] = False,
) -> None:
    """Check whether something that is installed keeps its contract.

    Each promise of the contract is checked on small nets, on the CPU, with a verdict and, where it is broken,
    the smallest counter-example. Exit code 1: a promise is broken. The tests of a plugin can check the same
    with pytest. Each promise, and what breaks it, stands in docs/check.md.
    """
    registry = load_registry().checked()
    from smc_eval.testing.subject import Chooser

    chosen = Chooser(registry, model, data_dir, quick=quick).subjects(name)
    broken, plain = False, list[dict[str, Any]]()
    for number, subject in enumerate(chosen):
        verdicts = []
        for verdict in _verdicts(subject):
            verdicts.append(verdict)
            broken |= verdict.result == "broken"
        plain.append(_as_json(subject, verdicts))
        if not as_json:
            typer.echo("" if number else "", nl=bool(number))
            _print(subject, verdicts)
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "quick": quick, "checked": plain}, indent=1))
    if broken:
        raise typer.Exit(1)


def _verdicts(subject: Subject) -> Iterator[Verdict]:
    """The verdicts, one after the other. What a plugin prints goes to the standard error."""
    from rich.console import Console

    promises = subject.promises
    with Console(stderr=True).status("") as status:
        for number, promise in enumerate(promises, 1):
            status.update(f"{subject.title}: {number} of {len(promises)}, {promise.words}")
            with redirect_stdout(sys.stderr):
                verdict = subject.verdict(promise)
            yield verdict


def _as_json(subject: Subject, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "name": subject.name,
        "noun": subject.noun,
        "class": subject.identity,
        "ok": all(verdict.result != "broken" for verdict in verdicts),
        "promises": [
            {
                "promise": verdict.promise.words,
                "test": verdict.promise.test,
                "verdict": verdict.result,
                "seconds": round(verdict.seconds, 3),
                "reason": verdict.reason,
            }
            for verdict in verdicts
        ],
    }


def _print(subject: Subject, verdicts: Sequence[Verdict]) -> None:
    from rich.console import Console

    from smc_eval.reporting.terminal import print_text_table

    rows = tuple((v.promise.words, v.result, f"{v.seconds:.1f}") for v in verdicts)
    broken, left = ([v for v in verdicts if v.result == result] for result in ("broken", "not checked"))
    counts = Counter(v.result for v in verdicts)
    title = f"{subject.title}: " + ", ".join(
        f"{counts[result]} {result}" for result in ("kept", "broken", "not checked") if counts[result]
    )
    table = TextTable(
        CHECK_HEADS,
        "llr",
        rows,
        title=f"{title}; {counted(len(verdicts), 'promise')}",
        notes=tuple(f"not checked: {v.promise.words}: {printable(v.reason)}" for v in left),
        warnings=tuple(f"broken: {v.promise.words}: {printable(v.reason)}" for v in broken),
    )
    print_text_table(table, Console())
