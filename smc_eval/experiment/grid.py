"""A Grid: tasks x models x folds x seeds x methods x targets, multiplied into cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from smc_eval.errors import DataError, ModelError, UnknownName, UsageError
from smc_eval.experiment import parsing
from smc_eval.experiment.ablation import Ablated, How
from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell
from smc_eval.experiment.config import PUBLISHED, RunConfig
from smc_eval.method import DENSE, Method
from smc_eval.protocol import PROTOCOLS, Protocol
from smc_eval.recipe import Recipe
from smc_eval.registry import ALL, Registry
from smc_eval.spec import Spec
from smc_eval.target import Distribution, Target
from smc_eval.task import BUILT_MODELS, Task

T = TypeVar("T")


class Grid(Spec):
    """Everything that was ordered, as values; nothing in it is a word any more."""

    tasks: tuple[Task, ...]
    """One for every task, model and fold."""
    methods: tuple[Method, ...]
    targets: tuple[Target, ...]
    distribution: Distribution | None
    """How sparsity is spread; None leaves it to each method."""
    seeds: tuple[int, ...]
    protocol: Protocol
    budget: Budget | None = None
    """What each cell may spend on training; None leaves it to the methods."""

    @classmethod
    def of(cls, config: RunConfig, registry: Registry) -> Grid:
        """The grid of an order, its words looked up in the registry.

        Raises:
            UsageError: a word names nothing, or nothing that goes together.
        """
        protocol = PROTOCOLS[config.protocol]
        return cls(
            tasks=tuple(_tasks(config, registry, protocol)),
            methods=tuple(_ablated(_methods(config, registry, protocol), config.ablate)),
            targets=tuple(
                target.replace(include=config.include, exclude=config.exclude)
                for target in parsing.parse_targets(config.sparsity, config.scope or protocol.scope)
            ),
            distribution=config.distribution,
            seeds=parsing.parse_seeds(config.seeds),
            protocol=protocol,
            budget=parsing.parse_budget(config.match) if config.match else None,
        )

    def cells(self) -> Iterator[Cell]:
        """Every square of the table once; what shares a start stands together, dense first."""
        for task in self.tasks:
            for seed in self.seeds:
                for method in self.methods:
                    for target in self._aims(method):
                        yield self.cell(task, method, target, seed)

    def cell(self, task: Task, method: Method, target: Target, seed: int) -> Cell:
        """One square; a dense net that may spend what it spends anyway is the one without a budget."""
        dense = method.card.when == "none"
        budget = self.budget.of_dense if self.budget and dense else self.budget
        return Cell(task=task, method=method, target=target, protocol=self.protocol, seed=seed, budget=budget)

    def _aims(self, method: Method) -> Iterator[Target]:
        """What a method is asked for: each target, or nothing, where it prunes nothing of its own accord."""
        dense = self.targets[0].dense()
        if method.card.when == "none":  # one dense net stands beside the methods, whatever they may prune
            yield dense.replace(include=(), exclude=())
            return
        if method.card.when == "custom":
            yield dense
            return
        for target in self.targets:
            yield target.with_distribution(self.distribution or method.card.distribution)


def _methods(config: RunConfig, registry: Registry, protocol: Protocol) -> Iterator[Method]:
    """The methods of an order, each once; those that prune nothing come first."""
    found = dict[str, Method]()
    asked = parsing.parse_named(config.method, "method")
    if config.dense:
        asked.insert(0, (DENSE, {}))
    for name, options in asked:
        if name == ALL and options:
            raise UsageError(f"options of --method {ALL} would be no method's; give them to one by name")
        for one in _every(registry, config) if name == ALL else [name]:
            kind = registry.method(one)
            own = kind.paper if protocol.name == "paper" else {}
            method = parsing.parse_spec(kind, {**own, **options}, "option", f"method {one!r}")
            found.setdefault(method.digest(), method)
    if not found:
        raise UsageError(f"no method is asked for; name one with --method: {', '.join(registry.methods)}")
    yield from sorted(found.values(), key=lambda method: method.card.when != "none")


def _every(registry: Registry, config: RunConfig) -> list[str]:
    """The methods that `all` stands for: not those whose masks must be given to them."""
    shelf = registry.methods.items()
    return [n for n, kind in shelf if kind.card.when != "custom" and (config.dense or n != DENSE)]


def _ablated(methods: Iterable[Method], asked: Iterable[str]) -> Iterator[Method]:
    """The methods, each that prunes with its ablations after it."""
    hows = list(dict.fromkeys(parsing.split_list(asked)))
    for how in hows:
        if how not in get_args(How):
            raise UnknownName("ablation", how, get_args(How))
    for method in methods:
        yield method
        if method.card.when != "none":
            yield from (Ablated(method=method, how=how) for how in hows)


def _tasks(config: RunConfig, registry: Registry, protocol: Protocol) -> Iterator[Task]:
    """The tasks of an order: each with its models, recipe, data and folds."""
    asked = chosen_tasks(config.tasks, registry)
    if not asked:
        known = ", ".join([*registry.tasks, *registry.groups])
        raise UsageError(f"no task is asked for; name some with --tasks: {known}")
    models = _models(config, registry, list(dict.fromkeys(kind for kind, _ in asked)))
    changes = parsing.parse_pairs(config.recipe, "--recipe")
    if config.precision:
        changes["precision"] = config.precision
    if {"epochs", "steps"} <= changes.keys():
        raise UsageError("--recipe gives both epochs and steps; give one")
    parsing.amend_recipe(Recipe(epochs=1), changes, "--recipe")
    folder = PUBLISHED if config.data_dir == PUBLISHED else data_folder(config.data_dir)
    folds = parsing.parse_folds(config.folds)
    found = dict[str, Task]()
    for kind, said in asked:
        options = {**(kind.paper if protocol.name == "paper" else {}), **said}
        for backbone in models[kind.card.name]:
            own = recipe_of(kind, backbone, protocol)
            for fold in _folds(kind, folds):
                values = {
                    "backbone": backbone,
                    "folder": folder,
                    "fold": fold,
                    "limit": config.limit,
                    "recipe": parsing.amend_recipe(own, changes, "--recipe"),
                }
                task = parsing.parse_spec(kind, {**options, **values}, "option", f"task {kind.card.name!r}")
                found.setdefault(task.digest(), task)
    yield from found.values()


def chosen_tasks(asked: Iterable[str], registry: Registry) -> list[tuple[type[Task], dict[str, str]]]:
    """Tasks by name, groups told apart, each with its options in words.

    Raises:
        UnknownName: there is no such task or group.
        UsageError: an option is none, or has a flag of its own.
    """
    found = [
        (kind, options)
        for name, options in parsing.parse_named(asked, "task")
        for kind in registry.named_tasks(name)
    ]
    for kind, options in found:
        if flagged := sorted(options.keys() & Task.model_fields):
            raise UsageError(
                f"{flagged[0]!r} is no option of task {kind.card.name!r}; it has a flag of its own"
            )
    return found


def recipe_of(kind: type[Task], backbone: str, protocol: Protocol) -> Recipe:
    """A task's own recipe with a model, under a protocol: what `--recipe` then changes."""
    own: Recipe = kind.model_fields["recipe"].get_default(call_default_factory=True)
    if backbone == "tiny":
        own = parsing.amend_recipe(own, kind.tiny, f"{kind.identity}.tiny")
    if protocol.name == "paper":
        own = parsing.amend_recipe(own, kind.paper_recipe, f"{kind.identity}.paper_recipe")
    return protocol.recipe(own)


def _models(config: RunConfig, registry: Registry, kinds: list[type[Task]]) -> dict[str, list[str]]:
    """The models of each task: named for it, for its narrowest group or for all; else its published one.

    What a task builds by itself is taken only where its card accepts it; whether a checkpoint can
    serve is the task's to say, when it is bound.
    """
    asked = parsing.parse_models(config.model)
    for group in asked:
        if group is not None:
            wanted = registry.named_tasks(group)
            if not any(_serves(kind, word) for kind in wanted for word in asked[group]):
                takes = sorted({kind_of for kind in wanted for kind_of in kind.card.accepts})
                raise UsageError(
                    f"--model {group}={asked[group][0]} can serve no task of {group!r}; "
                    f"they take: {', '.join(takes)}"
                )
    found = dict[str, list[str]]()
    for kind in kinds:
        levels = (kind.card.name, *kind.card.groups, ALL, None)
        named = next((asked[level] for level in levels if level in asked), [])
        serving = [word for word in dict.fromkeys(named) if _serves(kind, word)]
        found[kind.card.name] = serving or [kind.card.published]
    return found


def _serves(kind: type[Task], word: str) -> bool:
    if word in BUILT_MODELS:
        return word in kind.card.accepts
    return any(_is(word, wanted) for wanted in kind.card.accepts if wanted not in BUILT_MODELS)


@cache
def _is(word: str, wanted: Any) -> bool:
    """Whether a checkpoint is of a kind; one that cannot be found is for the task to complain of."""
    # here, or the program's help would have all tasks made
    from smc_eval.tasks.backbone import find_backbone
    from smc_eval.tasks.kinds import WrongKind

    try:
        find_backbone(word, wanted)
    except WrongKind:
        return False
    except ModelError:
        return True
    return True


def data_folder(word: str) -> str:
    """The data folder, `hub` or `synthetic`.

    Raises:
        DataError: there is no such folder.
    """
    if word not in {"synthetic", "hub"} and not Path(word).is_dir():
        what = (
            f"{word!r} is a file, no data directory"
            if Path(word).exists()
            else f"there is no data directory {word!r}"
        )
        raise DataError(f"{what}; give a folder in the official layout, hub or synthetic")
    return word


def _folds(kind: type[Task], asked: tuple[int, ...] | None) -> tuple[int | None, ...]:
    """The folds of a task that were asked for; one split, where it has no folds."""
    count = kind.card.folds
    if count is None:
        return (None,)
    if asked is None:
        return tuple(range(count))
    if beyond := [fold for fold in asked if fold >= count]:
        raise UsageError(f"--folds {beyond[0]}: task {kind.card.name!r} has folds 0 to {count - 1}")
    return asked
