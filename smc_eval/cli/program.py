"""The program `smc-eval`: its verbs, bare flags as `run`, and errors as messages with an exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import smc_eval
from smc_eval.cli import (
    check,
    compare,
    data,
    export,
    listing,
    plan,
    report,
    run,
    score,
    show,
    speed,
    store,
    verify_sparsity,
    work,
)
from smc_eval.cli.flags import VerbCommand, with_config_flags
from smc_eval.engine.distributed import launch
from smc_eval.errors import RankLost, SmcError
from smc_eval.reporting.printable import error_lines

PROGRAM_FLAGS = ("--help", "--version")
"""Flags of the program itself. Any other first flag belongs to `run`."""

VERBS_THAT_CONTINUE = ("run", "work", "data", "export")
"""Verbs that continue where an earlier one was interrupted."""

RANK_ERROR_DELAY = 3.0
"""Seconds that a rank waits before it prints its own error; the launcher usually ends it earlier."""

CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]
"""Base class of the errors of a command line that cannot be parsed; typer does not export it."""


class VerbGroup(TyperGroup):
    """The group of verbs. It prints every error of smc-eval as a message with an exit code."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Treat bare flags as flags of `run`."""
        if args and args[0].startswith("-") and args[0] not in PROGRAM_FLAGS:
            args = ["run", *args]
        if launch.rank() > 0 and args[:1] != ["run"]:
            raise typer.Exit  # rank 0 alone executes the other verbs
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Execute the verb. Print an error in one to three lines."""
        try:
            return super().invoke(ctx)
        except RankLost as error:
            if not error.reported:  # on any rank
                typer.echo(f"error: {error_lines(error)}", file=sys.__stderr__)
        except SmcError as error:
            typer.echo(f"error: {error_lines(error)}", err=True)
            if launch.rank() > 0:
                report_rank_error(error)
        except CommandLineError as error:
            message = error_lines(getattr(error, "format_message", error.__str__)())
            place = getattr(error, "ctx", None)  # of the verb, where it is known
            verb = place.command_path if place else f"{ctx.command_path} run"
            typer.echo(f"error: {message[:1].lower()}{message[1:]}\nsee {verb} --help", err=True)
        except KeyboardInterrupt as error:
            kept = ctx.invoked_subcommand in VERBS_THAT_CONTINUE
            hint = "; finished work is kept: run the same command again to continue" if kept else ""
            typer.echo(f"interrupted{hint}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 130)) from None
        raise typer.Exit(2)


def report_rank_error(error: SmcError) -> None:
    """Print an error of a rank other than 0, unless rank 0 has it too: the launcher then ends this rank."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher ends ranks with SIGTERM
    time.sleep(RANK_ERROR_DELAY)
    typer.echo(f"error: on rank {launch.rank()}: {error_lines(error)}", file=sys.__stderr__)


def version(value: bool) -> None:  # noqa: FBT001  typer calls it
    """Print the version and exit."""
    if value:
        typer.echo(f"smc-eval {smc_eval.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=VerbGroup,
    name="smc-eval",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(no_args_is_help=True, invoke_without_command=False)
def program(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=version)
    ] = False,
) -> None:
    """Evaluate sparse neural networks on hard tasks.

    Flags without a verb mean run:  smc-eval --model tiny --method omp-after --tasks all
    """


command = partial(app.command, cls=VerbCommand)
command("run")(with_config_flags(run.run))
command("work")(with_config_flags(work.work))
command("plan")(with_config_flags(plan.plan, json_is_flag=True))
command("list")(listing.list_plugins)
command("show")(show.show)
command("report")(report.report)
command("compare")(compare.compare)
command("score")(score.score)
command("store")(store.store)
command("export")(export.export)
command("check")(check.check)
command("speed")(speed.speed)
command("verify-sparsity")(verify_sparsity.verify_sparsity)
app.add_typer(data.data, name="data")


def run_program() -> None:
    """Run the command line. Of several ranks only rank 0 prints; the others print only their failures."""
    try:
        if launch.rank() > 0:
            sys.excepthook = lambda *error: traceback.print_exception(*error, file=sys.__stderr__)
            sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  to the end
        app(prog_name="smc-eval")
    except OSError as error:
        if error.filename:  # it concerns a file, and is a fault of smc-eval
            raise
        typer.echo(f"error: cannot write the standard output: {error.strerror}", err=True)
        # its buffer is written at exit, and must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
