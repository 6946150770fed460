"""The verb `new`: the package of a new method, task or updater."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from smc_eval.cli.completion import offered
from smc_eval.cli.scaffold.package_files import PLUGIN_KINDS, package_files, run_flags, write_package
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
            "--to", metavar="DIR", help="Folder that gets the package's folder.", show_default=False
        ),
    ] = ".",
) -> None:
    """Write the package of a new method, task or updater.

    It is a small one that works: it installs, passes the contract that all methods and tasks pass, and has
    lint, types and a workflow for CI. Its first lines say what to change. An updater comes with a method that
    uses it. Nothing is written if the name is taken or the folder exists.
    """
    for known in PLUGIN_KINDS:
        if kind == known:
            checked = PluginName.checked(name, load_registry())
            folder = write_package(known, checked, user_path(to))
            for line in (
                f"wrote {folder}: {', '.join(package_files(known, checked))}",
                "next:",
                f"  cd {shlex.quote(str(folder))}",
                "  pip install -e '.[dev]'",
                "  pytest",
                f"  smc-eval {run_flags(known, checked.name)}",
                f"then change {checked.module}.py: its first lines say what",
            ):
                typer.echo(printable(line))
            return
    raise UnknownName("kind of plugin", kind, PLUGIN_KINDS)
