"""The verbs of the program. The module of a verb is imported when the verb is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.main import get_command

from smc_eval.cli.verb_command import VerbCommand


class Verb(NamedTuple):
    """A verb, as far as the help of the program shows it."""

    place: str
    """Module and function, or its group of further verbs."""
    summary: str
    """The first line of its own help."""
    flags: bool = False
    """Whether it takes the flags of a run configuration."""
    json_is_flag: bool = False
    """Whether `--json` then takes no file."""


VERBS = {
    "run": Verb("run:run", "Train, prune and score unfinished cells; print the table.", flags=True),
    "work": Verb("work:work", "Run cells of a store's grid, beside other processes.", flags=True),
    "plan": Verb(
        "plan:plan",
        "Show the stages that a run would execute, and their cost.",
        flags=True,
        json_is_flag=True,
    ),
    "list": Verb("listing:list_plugins", "List all that is installed."),
    "show": Verb("show:show", "Show one entry of the list in full."),
    "report": Verb("report:report", "Print the results of earlier runs from their records."),
    "compare": Verb("compare:compare", "Test whether two methods differ, with paired statistics."),
    "score": Verb("score:score", "Score stored predictions again, without training."),
    "store": Verb("store:store", "List, verify or clean up the files of a store."),
    "export": Verb("export:export", "Write the net of a finished cell as a folder of its own."),
    "speed": Verb("speed:speed", "Time the predictions of pruned nets on this machine."),
    "verify-sparsity": Verb(
        "verify_sparsity:verify_sparsity", "Count the zeros of a checkpoint, without its net."
    ),
    "new": Verb("new:new", "Write the package of a new method, task or updater."),
    "check": Verb("check:check", "Check whether something installed keeps its contract."),
    "doctor": Verb("doctor:doctor", "Check whether this machine can run smc-eval."),
    "data": Verb("data:data", "List, verify and download the data of tasks."),
}
"""All verbs, in the order of the help."""


class VerbCommands(Mapping[str, Any]):
    """The commands of the verbs by their names. A command is made when it is first asked for."""

    def __getitem__(self, name: str) -> Any:
        if name not in VERBS:
            raise KeyError(name)
        return verb_command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


@cache
def verb_command(name: str) -> Any:
    """The command of a verb, from its module."""
    verb = VERBS[name]
    module, _, member = verb.place.partition(":")
    function: Callable[..., None] | typer.Typer = getattr(import_module(f"smc_eval.cli.{module}"), member)
    if isinstance(function, typer.Typer):
        command = get_command(function)
        command.name = name
        return command
    if verb.flags:
        from smc_eval.cli.flags import with_config_flags

        function = with_config_flags(function, json_is_flag=verb.json_is_flag)
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(name, cls=VerbCommand)(function)
    return get_command(alone)


def summary_rows(width: int) -> list[tuple[str, str]]:
    """The name of each verb and its summary, for a help text of so many columns."""
    room = width - 6 - max(map(len, VERBS))
    return [
        (name, TyperCommand(name, help=verb.summary).get_short_help_str(room)) for name, verb in VERBS.items()
    ]
