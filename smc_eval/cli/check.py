"""The verb `check`: whether an installed method, task, kind, optimizer or tracker keeps its contract."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Annotated, Any

import typer

from smc_eval.cli.completion import ENTRIES
from smc_eval.errors import counted
from smc_eval.registry import load_registry
from smc_eval.reporting.printable import printable
from smc_eval.reporting.text_table import TextTable

KIT = "smc_eval.testing.subject"
"""The contracts. They are loaded by name, as plugins are: the test kit stands beside the command line."""

CHECK_HEADS = ("promise", "verdict", "seconds")


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:OPTION=VALUE]",
            help="A method, task, group of tasks, kind of model, optimizer, tracker, or an installed plugin: "
            "then all that it brings.",
            autocompletion=ENTRIES,
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
    """Check whether something installed keeps its contract.

    Each promise of the contract is checked on small nets, on the CPU, with a verdict and, where it is broken,
    the smallest counter-example. Exit code 1: a promise is broken. The tests of a plugin can check the same
    with pytest. docs/contracts.md shows what each promise catches.
    """
    registry = load_registry().checked()
    chosen = import_module(KIT).Chooser(registry, model, data_dir, quick=quick).subjects(name)
    plain = list[dict[str, Any]]()
    for subject in chosen:
        verdicts = list(_verdicts(subject))
        if not as_json:
            typer.echo("\n" if plain else "", nl=False)
            _print(subject, verdicts)
        plain.append(_as_json(subject, verdicts))
    ok = all(one["ok"] for one in plain)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "quick": quick, "checked": plain}, indent=1))
    if not ok:
        raise typer.Exit(1)


def _verdicts(subject: Any) -> Iterator[Any]:
    """The verdicts, one after the other. What a plugin prints goes to the standard error."""
    from rich.console import Console

    promises = subject.promises
    with Console(stderr=True).status("") as status:
        for number, promise in enumerate(promises, 1):
            status.update(f"{subject.title}: {number} of {len(promises)}, {promise.words}")
            with redirect_stdout(sys.stderr):
                verdict = subject.verdict(promise)
            yield verdict


def _as_json(subject: Any, verdicts: Sequence[Any]) -> dict[str, Any]:
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


def _print(subject: Any, verdicts: Sequence[Any]) -> None:
    from rich.console import Console

    from smc_eval.reporting.terminal import print_text_table

    counts = Counter(verdict.result for verdict in verdicts)
    results = ", ".join(f"{count} {result}" for result, count in counts.items())
    table = TextTable(
        CHECK_HEADS,
        "llr",
        tuple((each.promise.words, each.result, f"{each.seconds:.1f}") for each in verdicts),
        title=f"{subject.title}: {counted(len(verdicts), 'promise')}, {results}",
        warnings=tuple(
            f"broken: {each.promise.words}: {printable(each.reason)}"
            for each in verdicts
            if each.result == "broken"
        ),
        notes=tuple(_unchecked(verdicts)),
    )
    print_text_table(table, Console())


def _unchecked(verdicts: Sequence[Any]) -> Iterator[str]:
    """A line for each reason for which promises were not checked."""
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.result == "not checked")
    for reason, count in reasons.items():
        yield f"{counted(count, 'promise')} not checked: {printable(reason)}"
