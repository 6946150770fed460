"""The verbs `list` and `show`: what is installed, and what it says of itself."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from smc_eval.errors import SmcError, UnknownName
from smc_eval.experiment.grid import recipe_of
from smc_eval.method import Method
from smc_eval.planning.plan import describe_stage
from smc_eval.protocol import PROTOCOLS, SOUND, SUMMARIES, Protocol
from smc_eval.recipe import Recipe
from smc_eval.registry import Registry, load
from smc_eval.spec import Spec
from smc_eval.target import Target
from smc_eval.task import Task

SHELVES = ("tasks", "methods", "protocols", "plugins")

WHEN = {
    "none": "never",
    "before": "before training",
    "during": "during training",
    "after": "after training",
    "iterative": "and trains in rounds",
    "custom": "nothing: its masks come from a checkpoint or a file",
}
"""When a method prunes, in words."""

SAMPLES = ("0.5", "0.8", "2:4")
"""Targets a plan is shown at: the first the method accepts."""


def list_plugins(
    shelf: Annotated[
        str | None, typer.Argument(metavar="[tasks|methods|protocols|plugins]", show_default=False)
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the tasks, methods, protocols and plugins that are installed."""
    if shelf is not None and shelf not in SHELVES:
        raise UnknownName("list", shelf, SHELVES)
    registry = load()
    if shelf != "plugins":
        registry.checked()
    shelves = {name: _rows(registry, name) for name in SHELVES if shelf in (None, name)}
    if as_json:
        typer.echo(json.dumps(shelves, indent=1))
        return
    blocks = []
    for name, rows in shelves.items():
        lines = columns([[str(cell or "") for cell in _brief(name, row)] for row in rows])
        blocks.append("\n".join([f"{name}:", *(f"  {line}" for line in lines or ["none"])]))
    typer.echo("\n\n".join(blocks))


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A method, task, group of tasks or protocol.")],
) -> None:
    """Show a card: options, defaults, source, and a method's plan; or what a protocol changes."""
    registry = load().checked()
    found = []
    if name in registry.methods:
        found.append(_method(registry.methods[name]))
    if name in registry.tasks:
        found.append(_task(registry.tasks[name]))
    elif name in registry.groups:
        members = ", ".join(task.card.name for task in registry.groups[name])
        found.append([f"{name} (group of tasks)", f"  stands for: {members}"])
    if name in PROTOCOLS:
        found.append(_protocol(registry, PROTOCOLS[name]))
    if not found:
        known = [*registry.methods, *registry.tasks, *registry.groups, *PROTOCOLS]
        raise UnknownName("method, task, group or protocol", name, known)
    typer.echo("\n\n".join("\n".join(lines) for lines in found))


def _rows(registry: Registry, shelf: str) -> list[dict[str, Any]]:
    """A shelf as plain JSON values."""
    if shelf == "plugins":
        return [
            {
                "name": plugin.name,
                "package": plugin.package,
                "version": plugin.version,
                "status": plugin.status,
                "reason": plugin.reason,
                "methods": list(plugin.methods),
                "tasks": list(plugin.tasks),
            }
            for plugin in registry.plugins
        ]
    if shelf == "protocols":
        return [
            {**one.model_dump(mode="json"), "summary": SUMMARIES[name]} for name, one in PROTOCOLS.items()
        ]
    kinds: dict[str, type[Method]] | dict[str, type[Task]] = getattr(registry, shelf)
    brought = {name: plugin.package for plugin in registry.plugins for name in getattr(plugin, shelf)}
    return [{**kind.card.model_dump(mode="json"), "package": brought[name]} for name, kind in kinds.items()]


def _brief(shelf: str, row: dict[str, Any]) -> Sequence[object]:
    match shelf:
        case "tasks":
            folds = f"{row['folds']} folds" if row["folds"] else "one split"
            return row["name"], row["metric"], folds, ", ".join(row["groups"]), row["summary"]
        case "methods":
            return row["name"], row["when"], ", ".join(row["patterns"]), row["summary"]
        case "protocols":
            return row["name"], row["scope"], f"keeps the {row['keep']} net", row["summary"]
        case _:
            brings = f"{len(row['methods'])} methods, {len(row['tasks'])} tasks"
            status = "ok" if row["status"] == "ok" else "BROKEN"
            return row["package"], row["version"], row["name"], status, row["reason"] or brings


def columns(rows: list[list[str]]) -> list[str]:
    """Rows with their cells one under the other; the last is as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _method(kind: type[Method]) -> list[str]:
    card, method = kind.card, kind()
    lines = [
        f"{card.name} (method): {card.summary}",
        f"  source    {card.source}",
        f"  prunes    {WHEN[card.when]}",
        f"  patterns  {', '.join(card.patterns)}",
        f"  class     {kind.identity}",
        "  options",
        *_options(kind),
    ]
    for word in SAMPLES:
        try:
            stages = list(method.plan(_accepted(method, word)))
        except SmcError:
            continue
        lines += [
            f"  plan at {word}",
            *(f"    {n}. {describe_stage(stage)}" for n, stage in enumerate(stages, 1)),
        ]
        break
    return lines


def _accepted(method: Method, word: str) -> Target:
    target = Target.parse(word)
    method.accept(target)
    return target


def _task(kind: type[Task]) -> list[str]:
    card = kind.card
    lines = [
        f"{card.name} (task): {card.summary}",
        f"  source     {card.source}",
        f"  metric     {card.metric}; a guess scores {card.chance:g}",
        f"  groups     {', '.join(card.groups) or 'none'}",
        f"  folds      {card.folds or 'none, one split'}",
        f"  models     {', '.join(card.accepts)}",
        f"  published  with {card.published}",
        f"  licence    {card.licence}",
        f"  class      {kind.identity}",
        "  options",
        *_options(kind, apart=Task.model_fields),
    ]
    if about := vars(kind).get("__doc__"):  # its own alone: a base class says nothing of this task
        lines += ["", *(f"  {line}".rstrip() for line in inspect.cleandoc(about).splitlines()), ""]
    for name, protocol in PROTOCOLS.items():
        lines.append(f"  recipe, protocol {name}: {_said(recipe_of(kind, card.published, protocol))}")
    if kind.tiny:
        lines.append(f"  with --model tiny: {_pairs(kind.tiny)}")
    return lines


def _said(own: Recipe) -> str:
    fields = Recipe.model_fields
    return ", ".join(f"{n}={v}" for n in fields if (v := getattr(own, n)) != fields[n].default)


def _protocol(registry: Registry, protocol: Protocol) -> list[str]:
    """What a protocol says, and which options and recipes are others under it."""
    fields = [[n, str(getattr(protocol, n)), f.description or ""] for n, f in Protocol.model_fields.items()]
    own = {name: kind.paper for name, kind in registry.methods.items()}
    own |= {name: kind.paper for name, kind in registry.tasks.items()}
    turned = [[n, _pairs(paper)] for n, paper in own.items() if paper and protocol.name == "paper"]
    trained = [
        [name, changed] for name, kind in registry.tasks.items() if (changed := _retrained(kind, protocol))
    ]
    lines = [f"{protocol.name} (protocol): {SUMMARIES[protocol.name]}"]
    lines += [f"  {line}" for line in columns(fields[1:])]
    for what, rows in (("options that have other defaults", turned), ("recipes that differ", trained)):
        lines += [f"  {what}", *(f"    {line}" for line in columns(rows))] if rows else []
    return [*lines, "  what the official code does, and why it is so here: docs/protocols.md"]


def _retrained(kind: type[Task], protocol: Protocol) -> str:
    """Fields of a task's recipe that are others than under the default protocol, but for `keep`."""
    usual, own = (recipe_of(kind, kind.card.published, one) for one in (SOUND, protocol))
    fields = {name: getattr(own, name) for name in Recipe.model_fields if name != "keep"}
    return _pairs({name: value for name, value in fields.items() if value != getattr(usual, name)})


def _pairs(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _options(kind: type[Spec], apart: Collection[str] = ()) -> list[str]:
    """Each option with its type, its default and what it means; `apart` names fields that are none."""
    rows = []
    for name, field in kind.model_fields.items():
        if name in apart:
            continue
        about = " ".join((field.description or "").split())
        rows.append([name, _type(field.annotation), f"= {field.default!r}", about])
    return [f"    {line}" for line in columns(rows)] or ["    none"]


def _type(annotation: Any) -> str:
    """A type as one says it: the words of a choice, the names of others."""
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return "|".join(map(_type, get_args(annotation)))
    if annotation is type(None):
        return "none"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
