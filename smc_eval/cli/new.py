"""The verb `new`: the package of a new method, task or updater."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from smc_eval.cli.completion import offered
from smc_eval.cli.scaffold.package_files import (
    PLUGIN_KINDS,
    PluginKind,
    package_files,
    run_flags,
    write_package,
)
from smc_eval.cli.scaffold.plugin_name import PluginName
from smc_eval.errors import UnknownName
from smc_eval.files.user_path import user_path
from smc_eval.registry import load_registry
from smc_eval.reporting.printable import printable


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="|".join(PLUGIN_KINDS),
            help="What the package brings.",
            autocompletion=offered(lambda _: PLUGIN_KINDS),
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Its name, as users will type it: lower-case letters, digits and dashes. The package is "
            "smc-eval-NAME.",
        ),
    ],
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Folder that gets the folder of the package. Default: the current one.",
            show_default=False,
        ),
    ] = ".",
) -> None:
    """Write the package of a new method, task or updater.

    It is a small one that works: it installs, passes the contract that all methods and tasks pass, and has
    lint, types and a workflow for CI. Its first lines say what to change. An updater comes with a method that
    uses it. Nothing is written if the name is taken or the folder exists.
    """
    kinds: dict[str, PluginKind] = {known: known for known in PLUGIN_KINDS}
    if kind not in kinds:
        raise UnknownName("kind of plugin", kind, PLUGIN_KINDS)
    plugin_kind, plugin_name = kinds[kind], PluginName.checked(name, load_registry())
    folder = write_package(plugin_kind, plugin_name, user_path(to))
    for line in (
        f"wrote {folder}: {', '.join(package_files(plugin_kind, plugin_name))}",
        "next:",
        f"  cd {shlex.quote(str(folder))}",
        "  pip install -e '.[dev]'",
        f"  smc-eval check {plugin_name.name}",
        f"  smc-eval {run_flags(plugin_kind, plugin_name.name)}",
        f"then change {plugin_name.module}.py: its first lines say what",
    ):
        typer.echo(printable(line))
