"""The verb `doctor`: whether this machine can run smc-eval, on one screen or as JSON."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from smc_eval.cli.diagnosis.diagnosis import Diagnosis, diagnose, impersonal_text
from smc_eval.cli.diagnosis.section import DiagnosisSection
from smc_eval.experiment.config import RunConfig
from smc_eval.files.user_path import user_path
from smc_eval.reporting.printable import error_lines

DEFAULT_OUTPUT: str = RunConfig.model_fields["output"].default


def doctor(
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="DIR",
            help="Folder of the store to try. Default: smc-eval-runs.",
            show_default=False,
        ),
    ] = DEFAULT_OUTPUT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for a bug report. Default: off.")
    ] = False,
) -> None:
    """Check whether this machine can run smc-eval.

    It shows versions, devices, threads, memory, the hub and its cache, plugins, the store, and what is
    optional and missing. It waits three seconds for the hub at most, and asks nothing under HF_HUB_OFFLINE.
    The JSON names neither the user nor the machine. Exit code 1: runs are impossible; the last lines say why,
    and what to do.
    """
    diagnosis = diagnose(user_path(output))
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=1))
    else:
        print_diagnosis(diagnosis)
    if diagnosis.problems:
        raise typer.Exit(1)


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the sections as a table, then notes and problems."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(), Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for name, section in diagnosis.sections.items():
        word, style = _verdict(section)
        text = printable_text("\n".join(section.lines))
        table.add_row(Text(word, style=style), Text(name), Text(text))
    console.print(table)
    for note in (note for section in diagnosis.sections.values() for note in section.notes):
        console.print(Text(f"note: {printable_text(note)}"))
    for problem in diagnosis.problems:
        console.print(Text(f"problem: {printable_text(problem.fault)}", style="bold red"))
        console.print(Text(f"  {printable_text(problem.remedy)}"))
    console.print("not usable" if diagnosis.problems else "ready to run")


def printable_text(text: str) -> str:
    """A text for the screen, which does not name the user."""
    return error_lines(impersonal_text(text))


def _verdict(section: DiagnosisSection) -> tuple[str, str]:
    """The word and the style of a section."""
    if section.problems:
        return "WRONG", "bold red"
    return ("note", "yellow") if section.notes else ("ok", "green")
