"""The verb `list`: all that is installed, a line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from smc_eval.cli.completion import offered
from smc_eval.cli.hanging import echo_hanging
from smc_eval.errors import UnknownName, counted
from smc_eval.protocol import PROTOCOLS, SUMMARIES
from smc_eval.registry import Registry, load_registry
from smc_eval.trackers.tracker import is_installed

LISTS = ("tasks", "methods", "kinds", "optimizers", "trackers", "protocols", "plugins")
"""Values of the argument of `list`."""


SHORT_WHEN = {"none": "no pruning", "iterative": "in rounds", "custom": "custom masks"}
"""Shorter texts for `list`, as in the README; any other value is followed by `training`."""


LIST_HEADS = {
    "tasks": ("name", "metric", "folds", "groups", "summary"),
    "methods": ("name", "pruning", "patterns", "summary"),
    "kinds": ("name", "example", "builds", "summary"),
    "optimizers": ("name", "summary"),
    "trackers": ("name", "installed", "summary"),
    "protocols": ("name", "scope", "score", "summary"),
    "plugins": ("package", "version", "plugin", "status", "content"),
}
"""Heads of the columns of `list`."""


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="|".join(LISTS),
            help="List only these. Default: all.",
            show_default=False,
            autocompletion=offered(lambda _: LISTS),
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Default: off.")] = False,
) -> None:
    """List all that is installed."""
    if kind is not None and kind not in LISTS:
        raise UnknownName("list", kind, LISTS)
    registry = load_registry()
    if kind != "plugins":
        registry.checked()
    lists = {name: _rows(registry, name) for name in LISTS if kind in (None, name)}
    if as_json:
        typer.echo(json.dumps(lists, indent=1))
        return
    blocks = []
    for name, rows in lists.items():
        cells = [[str(cell or "") for cell in _short_row(name, row)] for row in rows]
        lines = columns([[*LIST_HEADS[name]], *cells]) if cells else ["none"]
        blocks.append("\n".join([f"{name}:", *(f"  {line}" for line in lines)]))
    echo_hanging("\n\n".join(blocks))


def _rows(registry: Registry, kind: str) -> list[dict[str, Any]]:
    """One list as plain JSON values."""
    if kind == "plugins":
        return [
            {
                "name": plugin.name,
                "package": plugin.package,
                "version": plugin.version,
                "status": plugin.status,
                "reason": plugin.reason,
                "methods": list(plugin.methods),
                "tasks": list(plugin.tasks),
                "kinds": list(plugin.kinds),
                "optimizers": list(plugin.optimizers),
                "trackers": list(plugin.trackers),
            }
            for plugin in registry.plugins
        ]
    if kind == "protocols":
        return [
            {**protocol.model_dump(mode="json"), "summary": SUMMARIES[name]}
            for name, protocol in PROTOCOLS.items()
        ]
    classes: dict[str, Any] = getattr(registry, kind)
    packages = {name: plugin.package for plugin in registry.plugins for name in getattr(plugin, kind)}
    return [{**cls.card.model_dump(mode="json"), "package": packages[name]} for name, cls in classes.items()]


def _short_row(kind: str, row: dict[str, Any]) -> Sequence[object]:
    match kind:
        case "tasks":
            folds = counted(row["folds"], "fold") if row["folds"] else "one split"
            return row["name"], row["metric"], folds, ", ".join(row["groups"]), row["summary"]
        case "methods":
            when = SHORT_WHEN.get(row["when"], f"{row['when']} training")
            return row["name"], when, ", ".join(row["patterns"]), row["summary"]
        case "protocols":
            return row["name"], row["scope"], f"scores the {row['keep']} net", row["summary"]
        case "kinds":
            return row["name"], row["example"], ", ".join(row["builds"]), row["summary"]
        case "optimizers":
            return row["name"], row["summary"]
        case "trackers":
            installed = all(map(is_installed, row["packages"]))
            return row["name"], "yes" if installed else "no", row["summary"]
        case _:
            content = ", ".join(_contents(row))
            status = "ok" if row["status"] == "ok" else "BROKEN"
            return row["package"], row["version"], row["name"], status, row["reason"] or content


def _contents(row: dict[str, Any]) -> Iterator[str]:
    """How much a plugin brings: always of methods and tasks, else of what it brings at all."""
    yield counted(len(row["methods"]), "method")
    yield counted(len(row["tasks"]), "task")
    if kinds := len(row["kinds"]):
        yield f"{counted(kinds, 'kind')} of model"
    if optimizers := len(row["optimizers"]):
        yield counted(optimizers, "optimizer")
    if trackers := len(row["trackers"]):
        yield counted(trackers, "tracker")


def columns(rows: list[list[str]]) -> list[str]:
    """Lines with aligned columns; the last column may have any width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
