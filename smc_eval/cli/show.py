"""The verb `show`: one entry of what is installed, in full."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping
from functools import partial
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from smc_eval.card import MethodCard
from smc_eval.cli.completion import ENTRIES
from smc_eval.cli.listing import columns
from smc_eval.errors import PluginError, SmcError, UnknownName, first_line, named_value
from smc_eval.experiment.cell import MOST_STAGES
from smc_eval.experiment.grid import recipe_of
from smc_eval.kind import ModelKind
from smc_eval.method import Method
from smc_eval.optimizer import Optimizer
from smc_eval.planning.plan import describe_stage
from smc_eval.protocol import PROTOCOLS, SOUND, SUMMARIES, Protocol
from smc_eval.recipe import Recipe
from smc_eval.registry import LISTED, Registry, guarded, load_registry
from smc_eval.reporting.printable import printable
from smc_eval.spec import Spec
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.target import Distribution, Target
from smc_eval.task import Task
from smc_eval.trackers.tracker import Tracker, is_installed

WHEN = {
    "none": "never",
    "before": "before training",
    "during": "during training",
    "after": "after training",
    "iterative": "in rounds, with training between them",
    "custom": "with masks from a checkpoint or a file",
}
"""Texts for the values of `MethodCard.when`."""


TYPES = {str: "text", int: "whole number", float: "number", bool: "true|false", type(None): "none"}
"""Words for the types of options."""

NOT_COMPARED = "unknown: it was compared with no published implementation"
"""What stands for an empty `MethodCard.equals`."""

SAMPLE_TARGETS = ("0.5", "0.8", "2:4", "heads:0.5")
"""Targets for the plan of a method: the first that it accepts is shown."""


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A method, task, group of tasks, kind of model, optimizer, tracker or protocol.",
            autocompletion=ENTRIES,
        ),
    ],
) -> None:
    """Show one entry of the list in full.

    It is a method, task, group, kind, optimizer, tracker or protocol. For a method it shows source, supported
    targets, options with defaults, and the stages of its plan. For a task: source, metric, models, options
    and recipes. For a kind of model: the tasks that take it. For an optimizer: its passes and options. For a
    tracker: its packages and options. For a protocol: everything that it changes.
    """
    registry = load_registry().checked()
    blocks = []
    if name in registry.methods:
        blocks.append(_method(registry.methods[name]))
    if name in registry.tasks:
        blocks.append(_task(registry.tasks[name]))
    elif name in registry.groups:
        members = ", ".join(task.card.name for task in registry.groups[name])
        blocks.append([f"{name} (group of tasks)", f"  tasks: {members}"])
    if name in registry.kinds:
        blocks.append(_kind(registry, registry.kinds[name]))
    if name in registry.optimizers:
        blocks.append(_optimizer(registry.optimizers[name]))
    if name in registry.trackers:
        blocks.append(_tracker(registry.trackers[name]))
    if name in PROTOCOLS:
        blocks.append(_protocol(registry, PROTOCOLS[name]))
    if not blocks:
        nouns = (registry.methods, registry.tasks, registry.groups, registry.kinds, registry.optimizers)
        known = [name for names in (*nouns, registry.trackers, PROTOCOLS) for name in names]
        raise UnknownName(
            "method, task, group, kind of model, optimizer, tracker or protocol", name, known, see=LISTED
        )
    typer.echo("\n\n".join("\n".join(lines) for lines in blocks))


def _method(kind: type[Method]) -> list[str]:
    card, method = kind.card, kind()
    lines = [
        f"{card.name} (method): {card.summary}",
        f"  source        {card.source}",
        f"  prunes        {WHEN[card.when]}",
        f"  patterns      {', '.join(card.patterns)}",
        *_supported(card),
        *_compared(card),
        f"  class         {kind.identity}",
        "  options",
        *_options(kind),
    ]
    return lines + _plan_lines(method)


def _plan_lines(method: Method) -> list[str]:
    """The plan at the first sample target that the method accepts, or why there is none."""
    failures = []
    for word in SAMPLE_TARGETS:
        try:
            target = Target.parse(word).with_distribution(method.card.distribution)
            stages = guarded(method, partial(_planned, method, target))
        except PluginError as error:
            failures.append(f"  plan          {printable(first_line(error))}")
        except SmcError:
            continue
        else:
            lines = [f"    {n}. {describe_stage(stage)}" for n, stage in enumerate(stages, 1)]
            return [f"  plan at {word}", *lines]
    return failures[:1]


def _supported(card: MethodCard) -> list[str]:
    """The distributions of a method, its default first, and its scopes if it does not support all."""
    if card.when in {"none", "custom"}:
        return []
    others = [one for one in card.distributions or get_args(Distribution) if one != card.distribution]
    also = f"; also {', '.join(others)}" if others else ""
    scopes = [f"  scopes        {', '.join(card.scopes)}"] if card.scopes else []
    return [f"  distribution  {card.distribution} (default){also}", *scopes]


def _compared(card: MethodCard) -> list[str]:
    """What decides which weights remain, and the published implementation that decides alike."""
    if card.when in {"none", "custom"}:
        return []
    decides = [f"  criterion     {card.criterion}"] if card.criterion else []
    return [*decides, f"  equals        {card.equals or NOT_COMPARED}"]


def _planned(method: Method, target: Target) -> list[Stage]:
    """The first stages of a plan, which may have no end."""
    method.accept(target)
    stages = list(islice(method.plan(target), MOST_STAGES))
    for stage in stages:
        if not isinstance(stage, Train | Prune | Rewind):
            wanted = "wanted a Train, a Prune or a Rewind"
            raise PluginError(f"{method.identity} plans {named_value(stage)}; {wanted}")
    return stages


def _task(kind: type[Task]) -> list[str]:
    card = kind.card
    lines = [
        f"{card.name} (task): {card.summary}",
        f"  source     {card.source}",
        f"  metric     {card.metric or 'that of the chosen task'}; a random guess scores {card.chance:g}",
        f"  groups     {', '.join(card.groups) or 'none'}",
        f"  folds      {card.folds or 'none, one split'}",
        f"  models     {', '.join(card.accepts)}",
        f"  published  with {card.published}",
        f"  licence    {card.licence}",
        f"  class      {kind.identity}",
        "  options",
        *_options(kind, omit=Task.model_fields),
    ]
    if docstring := vars(kind).get("__doc__"):  # its own only: that of a base class is about other tasks
        lines += ["", *(f"  {line}".rstrip() for line in inspect.cleandoc(docstring).splitlines()), ""]
    for name, protocol in PROTOCOLS.items():
        lines.append(f"  recipe, protocol {name}: {_recipe_text(recipe_of(kind, card.published, protocol))}")
    if kind.tiny:
        lines.append(f"  with --model tiny: {_pairs(kind.tiny)}")
    return lines


def _kind(registry: Registry, cls: type[ModelKind]) -> list[str]:
    card = cls.card
    tasks = [name for name, task in registry.tasks.items() if card.name in task.card.accepts]
    return [
        f"{card.name} (kind of model): {card.summary}",
        f"  source   {card.source}",
        f"  example  {card.example}",
        f"  builds   {', '.join(card.builds) or 'none: it needs a checkpoint'}",
        f"  tasks    {', '.join(tasks) or 'none'}",
        f"  class    {cls.identity}",
    ]


def _optimizer(cls: type[Optimizer]) -> list[str]:
    card, passes = cls.card, 1 + cls.further_passes
    further = ", all but the first at perturbed weights" if passes > 1 else ""
    return [
        f"{card.name} (optimizer): {card.summary}",
        f"  source        {card.source}",
        f"  passes        {passes} forward and backward in each step{further}",
        f"  weight decay  of {'all parameters' if cls.decays_vectors else 'matrices'}",
        f"  rows          {'can' if cls.shardable else 'cannot'} be shared by ranks (--shard)",
        f"  class         {cls.identity}",
        "  options",
        *_options(cls),
        f"  as in         --recipe optimizer={card.name}",
    ]


def _tracker(cls: type[Tracker]) -> list[str]:
    card = cls.card
    missing = [package for package in card.packages if not is_installed(package)]
    install = card.install or " ".join(card.packages)
    installed = f"not installed: pip install '{install}'" if missing else "installed"
    return [
        f"{card.name} (tracker): {card.summary}",
        f"  source    {card.source}",
        f"  packages  {', '.join(card.packages) or 'none'}{f' ({installed})' if card.packages else ''}",
        f"  class     {cls.identity}",
        "  options",
        *_options(cls),
        f"  as in     --track {card.name}",
    ]


def _recipe_text(recipe: Recipe) -> str:
    """The fields of a recipe that differ from the defaults."""
    fields = Recipe.model_fields
    return ", ".join(f"{n}={_typed(v)}" for n in fields if (v := getattr(recipe, n)) != fields[n].default)


def _protocol(registry: Registry, protocol: Protocol) -> list[str]:
    """A protocol, and the options and recipes that differ under it."""
    fields = [[n, str(getattr(protocol, n)), f.description or ""] for n, f in Protocol.model_fields.items()]
    papers = {name: kind.paper for name, kind in registry.methods.items()}
    papers |= {name: kind.paper for name, kind in registry.tasks.items()}
    options = [[n, _pairs(paper)] for n, paper in papers.items() if paper and protocol.name == "paper"]
    recipes = [
        [name, changes]
        for name, kind in registry.tasks.items()
        if (changes := _recipe_changes(kind, protocol))
    ]
    lines = [f"{protocol.name} (protocol): {SUMMARIES[protocol.name]}"]
    lines += [f"  {line}" for line in columns(fields[1:])]
    for title, rows in (("options with other defaults", options), ("recipes that differ", recipes)):
        lines += [f"  {title}", *(f"    {line}" for line in columns(rows))] if rows else []
    return [*lines, "  differences from the official code, with reasons: docs/protocols.md"]


def _recipe_changes(kind: type[Task], protocol: Protocol) -> str:
    """Fields of a task's recipe that differ from the default protocol, except `keep`."""
    usual, own = (recipe_of(kind, kind.card.published, one) for one in (SOUND, protocol))
    fields = {name: getattr(own, name) for name in Recipe.model_fields if name != "keep"}
    return _pairs({name: value for name, value in fields.items() if value != getattr(usual, name)})


def _pairs(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_typed(value)}" for name, value in options.items())


def _options(kind: type[Spec], omit: Collection[str] = ()) -> list[str]:
    """Each option with its type, default and description; `omit` names fields that are no options."""
    rows = []
    for name, field in kind.model_fields.items():
        if name in omit:
            continue
        text = " ".join((field.description or "").split())
        rows.append([name, _type(field.annotation), f"= {_typed(field.default)}", text])
    return [f"    {line}" for line in columns(rows)] or ["    none"]


def _type(annotation: Any) -> str:
    """A type in words: the values of a choice, the names of other types."""
    if annotation in TYPES:
        return TYPES[annotation]
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return "|".join(map(_type, get_args(annotation)))
    if get_origin(annotation) in (tuple, list):
        return f"list of {_type(get_args(annotation)[0])}"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _typed(value: object) -> str:
    """A value as users type it: `none`, `true`, `[0.9,0.98]`, `sam:rho=0.1`."""
    if isinstance(value, Optimizer):
        return value.label
    if isinstance(value, tuple | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
