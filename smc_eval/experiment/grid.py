"""A Grid: all combinations of tasks, models, folds, seeds, methods and targets, as cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from smc_eval.errors import DataError, UnknownName, UsageError
from smc_eval.experiment import parsing, spec_text
from smc_eval.experiment.ablation import Ablated, How
from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell
from smc_eval.experiment.config import PUBLISHED, RunConfig
from smc_eval.experiment.model_choice import ModelChoice
from smc_eval.files.user_path import is_file, is_folder
from smc_eval.method import DENSE, Method
from smc_eval.protocol import PROTOCOLS, Protocol
from smc_eval.recipe import Kernels, Recipe
from smc_eval.registry import ALL, LISTED, Registry
from smc_eval.spec import Spec
from smc_eval.target import Distribution, Target
from smc_eval.task import Task


class Grid(Spec):
    """A run configuration as values: names are looked up, text is parsed."""

    tasks: tuple[Task, ...]
    """One for every task, model and fold."""
    methods: tuple[Method, ...]
    targets: tuple[Target, ...]
    distribution: Distribution | None
    """Distribution of the sparsity; None takes each method's own."""
    seeds: tuple[int, ...]
    protocol: Protocol
    budget: Budget | None = None
    """Training budget of each cell; None leaves the training to the methods."""
    kernels: Kernels = "dense"
    """Kernels of every cell that prunes."""
    refused_models: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of tasks that keep their published model although others were named, each with the reasons."""

    @classmethod
    def of(cls, config: RunConfig, registry: Registry) -> Grid:
        """The grid of a configuration, with names from the registry.

        Raises:
            UsageError: a name or value is unknown or wrong, or two do not go together.
        """
        protocol = PROTOCOLS[config.protocol]
        chosen = _chosen_tasks(config, registry)
        models = ModelChoice.of(config, registry, list(dict.fromkeys(kind for kind, _ in chosen)))
        return cls(
            tasks=tuple(_tasks(config, chosen, models, registry)),
            methods=tuple(_ablated(_methods(config, registry, protocol), config.ablate)),
            targets=tuple(_targets(config, protocol)),
            distribution=config.distribution,
            seeds=parsing.parse_seeds(config.seeds),
            protocol=protocol,
            budget=parsing.parse_budget(config.match) if config.match else None,
            kernels=config.kernels,
            refused_models=tuple(models.refused.items()),
        )

    def cells(self) -> Iterator[Cell]:
        """Every cell once, in order of task and seed, the dense net first."""
        for task in self.tasks:
            for seed in self.seeds:
                for method in self.methods:
                    for target in self._targets_of(method):
                        yield self.cell(task, method, target, seed)

    def cell(self, task: Task, method: Method, target: Target, seed: int) -> Cell:
        """One cell. A budget that equals the dense recipe leaves the dense net without a budget.

        The dense net has no masked matrix, so its kernels are dense.
        """
        dense = method.card.when == "none"
        budget = self.budget.of_dense if self.budget and dense else self.budget
        return Cell(
            task=task,
            method=method,
            target=target,
            protocol=self.protocol,
            seed=seed,
            budget=budget,
            kernels="dense" if dense else self.kernels,
            refused_models=dict(self.refused_models).get(task.card.name, ()),
        )

    def _targets_of(self, method: Method) -> Iterator[Target]:
        """The targets of a method; for the dense net and for custom masks, one target of sparsity 0."""
        dense = self.targets[0].dense()
        if method.card.when == "none":  # one dense net serves all methods, whatever they may prune
            yield dense.replace(include=(), exclude=())
            return
        if method.card.when == "custom":
            yield dense
            return
        for target in self.targets:
            yield target.with_distribution(self.distribution or method.card.distribution)


def _targets(config: RunConfig, protocol: Protocol) -> Iterator[Target]:
    """The targets of a configuration, each once."""
    chosen = {"include": config.include, "exclude": config.exclude}
    for target in parsing.parse_targets(config.sparsity, config.scope or protocol.scope):
        yield spec_text.check_spec(Target, {**dict(target), **chosen}, *spec_text.COMMAND_LINE)


def _methods(config: RunConfig, registry: Registry, protocol: Protocol) -> Iterator[Method]:
    """The methods of a configuration, each once; those that prune nothing come first."""
    methods = dict[str, Method]()
    named = parsing.parse_named(config.method, "method")
    if config.dense:
        named.insert(0, (DENSE, {}))
    for word, options in named:
        if word == ALL and options:
            raise UsageError(f"--method {ALL} takes no options; give them to one method by name")
        for name in _all_methods(registry, config) if word == ALL else [word]:
            kind = registry.method(name)
            own = kind.paper if protocol.name == "paper" else {}
            method = spec_text.parse_spec(kind, {**own, **options}, "option", f"method {name!r}")
            methods.setdefault(method.digest(), method)
    if not methods:
        raise UsageError(
            f"no method to run; name one with --method, as in --method lth; see {LISTED} methods"
        )
    yield from sorted(methods.values(), key=lambda method: method.card.when != "none")


def _all_methods(registry: Registry, config: RunConfig) -> list[str]:
    """The methods of `--method all`: all except those with custom masks."""
    kinds = registry.methods.items()
    return [n for n, kind in kinds if kind.card.when != "custom" and (config.dense or n != DENSE)]


def _ablated(methods: Iterable[Method], ablate: Iterable[str]) -> Iterator[Method]:
    """The methods; each that prunes is followed by its ablations."""
    hows = list(dict.fromkeys(parsing.split_list(ablate)))
    for how in hows:
        if how not in get_args(How):
            raise UnknownName("ablation", how, get_args(How))
    for method in methods:
        yield method
        if method.card.when != "none":
            yield from (Ablated(method=method, how=how) for how in hows)


def _chosen_tasks(config: RunConfig, registry: Registry) -> list[tuple[type[Task], dict[str, str]]]:
    chosen = chosen_tasks(config.tasks, registry)
    if not chosen:
        raise UsageError(f"no task to run; name some with --tasks, as in --tasks all; see {LISTED} tasks")
    return chosen


def _tasks(
    config: RunConfig,
    chosen: Iterable[tuple[type[Task], dict[str, str]]],
    models: ModelChoice,
    registry: Registry,
) -> Iterator[Task]:
    """The tasks of a configuration: each with its models, recipe, data and folds."""
    protocol = PROTOCOLS[config.protocol]
    changes: dict[str, Any] = dict(parsing.parse_pairs(config.recipe, "--recipe"))
    if "optimizer" in changes:
        changes["optimizer"] = spec_text.parse_optimizer(changes["optimizer"], registry.optimizers)
    if config.precision:
        changes["precision"] = config.precision
    if {"epochs", "steps"} <= changes.keys():
        raise UsageError("--recipe gives both epochs and steps; give one")
    spec_text.amend_recipe(Recipe(epochs=1), changes, "--recipe")
    folder = PUBLISHED if config.data_dir == PUBLISHED else data_folder(config.data_dir)
    folds = _chosen_folds(config.folds, [kind for kind, _ in chosen])
    tasks = dict[str, Task]()
    for kind, words in chosen:
        options = {**(kind.paper if protocol.name == "paper" else {}), **words}
        for backbone in models.of_task[kind.card.name]:
            own = recipe_of(kind, backbone, protocol)
            for fold in _folds(kind, folds):
                values = {
                    "backbone": backbone,
                    "folder": folder,
                    "fold": fold,
                    "limit": config.limit,
                    "recipe": spec_text.amend_recipe(own, changes, "--recipe"),
                }
                task = spec_text.parse_spec(kind, {**options, **values}, "option", f"task {kind.card.name!r}")
                tasks.setdefault(task.digest(), task)
    yield from tasks.values()


def chosen_tasks(words: Iterable[str], registry: Registry) -> list[tuple[type[Task], dict[str, str]]]:
    """The tasks of names and groups, each with its options as text.

    Raises:
        UnknownName: there is no such task or group.
        UsageError: an option is malformed, or has a flag of its own.
    """
    chosen = [
        (kind, options)
        for name, options in parsing.parse_named(words, "task")
        for kind in registry.named_tasks(name)
    ]
    for kind, options in chosen:
        if flagged := sorted(options.keys() & Task.model_fields):
            raise UsageError(
                f"{flagged[0]!r} is not an option of task {kind.card.name!r}; it has a flag of its own"
            )
    return chosen


def task_named(label: str, registry: Registry, **settings: Any) -> Task:
    """The task that a record names, with its options; `settings` are values of further fields.

    Raises:
        UnknownName: there is no such task.
        UsageError: it names several, or an option is refused.
    """
    kinds = chosen_tasks([label], registry)
    if len(kinds) != 1:
        raise UsageError(f"{label!r} names {len(kinds)} tasks; a record has one")
    ((kind, options),) = kinds
    return spec_text.parse_spec(kind, {**options, **settings}, "option", f"task {kind.card.name!r}")


def recipe_of(kind: type[Task], backbone: str, protocol: Protocol) -> Recipe:
    """The recipe of a task with a model, under a protocol, before `--recipe` changes it."""
    own: Recipe = kind.model_fields["recipe"].get_default(call_default_factory=True)
    if backbone == "tiny":
        own = spec_text.amend_recipe(own, kind.tiny, f"{kind.identity}.tiny")
    if protocol.name == "paper":
        own = spec_text.amend_recipe(own, kind.paper_recipe, f"{kind.identity}.paper_recipe")
    return protocol.recipe(own)


def data_folder(word: str) -> str:
    """The value of `--data-dir`: an existing folder, `hub` or `synthetic`.

    Raises:
        DataError: there is no such folder.
    """
    if word not in {"synthetic", "hub"} and not is_folder(word):
        fault = (
            f"{word!r} is a file, no data directory"
            if is_file(word)
            else f"there is no data directory {word!r}"
        )
        raise DataError(f"{fault}; give a folder in the official layout, hub or synthetic")
    return word


def _chosen_folds(text: str, kinds: Sequence[type[Task]]) -> tuple[int, ...] | None:
    """The folds of `--folds`; None for all.

    Raises:
        UsageError: the text cannot be read, or folds are chosen and no task has any.
    """
    folds, names = parsing.parse_folds(text), [kind.card.name for kind in kinds if not kind.card.folds]
    if folds is not None and len(names) == len(kinds):
        raise UsageError(f"--folds {text}: task {names[0]!r} has no folds, only one split; leave out --folds")
    return folds


def _folds(kind: type[Task], chosen: tuple[int, ...] | None) -> tuple[int | None, ...]:
    """The chosen folds of a task; None, its one split, if it has no folds."""
    count = kind.card.folds
    if count is None:
        return (None,)
    if chosen is None:
        return tuple(range(count))
    if beyond := [fold for fold in chosen if fold >= count]:
        raise UsageError(f"--folds {beyond[0]}: task {kind.card.name!r} has folds 0 to {count - 1}")
    return chosen
