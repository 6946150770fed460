"""The verb `show`: one entry of what is installed, in full."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from functools import partial
from itertools import islice
from typing import Annotated, get_args

import typer

from smc_eval.card import MethodCard
from smc_eval.cli.completion import ENTRIES
from smc_eval.cli.hanging import echo_hanging
from smc_eval.cli.listing import columns
from smc_eval.cli.option_words import options_in_words, pairs_in_words, recipe_in_words
from smc_eval.errors import PluginError, SmcError, UnknownName, first_line, named_value
from smc_eval.experiment.cell import MOST_STAGES
from smc_eval.experiment.grid import recipe_of
from smc_eval.experiment.meaning import meaning
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
    echo_hanging("\n\n".join("\n".join(lines) for lines in blocks))


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
    try:
        word, stages = sample_plan(method)
    except PluginError as error:
        return [f"  plan          {printable(first_line(error))}"]
    return [f"  plan at {word}", *(f"    {n}. {text}" for n, text in enumerate(stages, 1))] if word else []


def sample_plan(method: Method) -> tuple[str, list[str]]:
    """The first sample target that a method accepts, and its stages there in words; empty if there is none.

    Raises:
        PluginError: the method accepts none, and its plan at one of them breaks the contract.
    """
    failures = []
    for word in SAMPLE_TARGETS:
        try:
            target = Target.parse(word).with_distribution(method.card.distribution)
            stages = guarded(method, partial(_planned, method, target))
        except PluginError as error:
            failures.append(error)
        except SmcError:
            continue
        else:
            return word, [describe_stage(stage) for stage in stages]
    if failures:
        raise failures[0]
    return "", []


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
        lines.append(
            f"  recipe, protocol {name}: {recipe_in_words(recipe_of(kind, card.published, protocol))}"
        )
    if kind.tiny:
        lines.append(f"  with --model tiny: {pairs_in_words(kind.tiny)}")
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


def _protocol(registry: Registry, protocol: Protocol) -> list[str]:
    """A protocol, and the options and recipes that differ under it."""
    fields = [[n, str(getattr(protocol, n)), meaning(Protocol, n)] for n in Protocol.model_fields]
    papers = {name: kind.paper for name, kind in registry.methods.items()}
    papers |= {name: kind.paper for name, kind in registry.tasks.items()}
    options = [
        [n, pairs_in_words(paper)] for n, paper in papers.items() if paper and protocol.name == "paper"
    ]
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
    return pairs_in_words({name: value for name, value in fields.items() if value != getattr(usual, name)})


def _options(kind: type[Spec], omit: Collection[str] = ()) -> list[str]:
    """Each option with its type, default and description; `omit` names fields that are no options."""
    rows = [
        [name, words, f"= {default}", text] for name, words, default, text in options_in_words(kind, omit)
    ]
    return [f"    {line}" for line in columns(rows)] or ["    none"]
