"""The door: which verbs there are, that bare flags mean `run`, and how an error is told."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import smc_eval
from smc_eval.cli import compare, data, plan, report, run, score, show, store, work
from smc_eval.cli.flags import with_config_flags
from smc_eval.engine.distributed import launch
from smc_eval.errors import RankLost, SmcError

PROGRAM_FLAGS = ("--help", "--version")
"""Flags of the program itself; any other first flag is one of `run`."""

RANK_GRACE = 3.0
"""Seconds after which a rank that the launcher has not ended has an error of its own."""

WrongLine: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of what is raised for a command line that cannot be parsed, wherever this typer keeps it."""


class Door(TyperGroup):
    """The group of verbs. Every error of ours leaves through here, as a line and an exit code."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Bare flags mean `run`."""
        if args and args[0].startswith("-") and args[0] not in PROGRAM_FLAGS:
            args = ["run", *args]
        if launch.rank() > 0 and args[:1] != ["run"]:
            raise typer.Exit  # what is no run the first rank does alone
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Carry out the verb; tell what goes wrong in one to three lines."""
        try:
            return super().invoke(ctx)
        except RankLost as error:
            if not error.spoken:  # whichever rank this is
                typer.echo(f"error: {error}", file=sys.__stderr__)
        except SmcError as error:
            typer.echo(f"error: {error}", err=True)
            if launch.rank() > 0:
                report_rank_error(error)
        except WrongLine as error:
            told = getattr(error, "format_message", error.__str__)()
            typer.echo(
                f"error: {told[:1].lower()}{told[1:]}\nsee smc-eval --help, smc-eval run --help", err=True
            )
        except KeyboardInterrupt:
            typer.echo(
                "interrupted; what is finished is kept: issue the same command again to go on", err=True
            )
            raise typer.Exit(130) from None
        raise typer.Exit(2)


def report_rank_error(error: SmcError) -> None:
    """Tell an error of a rank that is not the first, unless the first has it too: then nobody lives on."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which the launcher ends who is left
    time.sleep(RANK_GRACE)
    typer.echo(f"error: on rank {launch.rank()}: {error}", file=sys.__stderr__)


def version(asked: bool) -> None:  # noqa: FBT001  typer calls it
    """Print the version and leave."""
    if asked:
        typer.echo(f"smc-eval {smc_eval.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Door, name="smc-eval", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False
)


@app.callback(no_args_is_help=True, invoke_without_command=False)
def program(
    *,
    shown: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=version)
    ] = False,
) -> None:
    """What a sparsification method costs a real model on work that is hard.

    Bare flags mean run:  smc-eval --model tiny --method omp-after --tasks all
    """


app.command("run")(with_config_flags(run.run))
app.command("work")(with_config_flags(work.work))
app.command("plan")(with_config_flags(plan.plan, json_is_flag=True))
app.command("list")(show.list_plugins)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("score")(score.score)
app.command("store")(store.store)
app.add_typer(data.data, name="data")


def main() -> None:
    """The program `smc-eval`. Of several ranks the first speaks, and the others where they break down."""
    try:
        if launch.rank() > 0:
            sys.excepthook = lambda *told: traceback.print_exception(*told, file=sys.__stderr__)
            sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  to the end
        app(prog_name="smc-eval")
    except OSError as error:
        if error.filename:  # of a file, and not foreseen
            raise
        typer.echo(f"error: cannot write the standard output: {error.strerror}", err=True)
        # what waits in its buffer is written at the end, and must not fail once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
