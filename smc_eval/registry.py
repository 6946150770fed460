"""The registry: every plugin that is installed, and the shelves of methods and tasks they fill."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar

import pluggy
from pydantic import ValidationError

from smc_eval import hookspecs
from smc_eval.card import Card, MethodCard, TaskCard
from smc_eval.errors import PluginError, SmcError, UnknownName, first_line
from smc_eval.hookspecs import PROJECT
from smc_eval.method import Method
from smc_eval.spec import OWN_PACKAGE, Spec
from smc_eval.task import Task

T = TypeVar("T")

ALL = "all"
"""Stands for every name of a shelf, and so is no name itself."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of one package, and how its loading went."""

    name: str
    package: str
    """As package indices name it."""
    version: str
    status: Literal["ok", "broken"] = "ok"
    reason: str = ""
    """Why it is broken, naming the package; empty where it is not."""
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.package} {self.version}"


@dataclass(frozen=True)
class Registry:
    """What is installed. Classes lie on their shelves under the names of their cards."""

    plugins: tuple[Plugin, ...] = ()
    methods: dict[str, type[Method]] = field(default_factory=dict)
    tasks: dict[str, type[Task]] = field(default_factory=dict)

    def checked(self) -> Registry:
        """The registry itself, if every plugin is sound.

        Raises:
            PluginError: one is not; the first is named.
        """
        for plugin in self.plugins:
            if plugin.status == "broken":
                raise PluginError(plugin.reason)
        return self

    @property
    def groups(self) -> dict[str, list[type[Task]]]:
        """Names that stand for several tasks, `all` among them."""
        groups: dict[str, list[type[Task]]] = {}
        for task in self.tasks.values():
            for group in (*task.card.groups, ALL):
                groups.setdefault(group, []).append(task)
        return groups

    @property
    def chances(self) -> dict[str, float]:
        """What a guess scores on each task."""
        return {name: kind.card.chance for name, kind in self.tasks.items()}

    def method(self, name: str) -> type[Method]:
        """The method of this name.

        Raises:
            UnknownName: there is none.
        """
        if name not in self.methods:
            raise UnknownName("method", name, self.methods)
        return self.methods[name]

    def named_tasks(self, name: str) -> list[type[Task]]:
        """The task of this name, or all tasks of the group of this name.

        Raises:
            UnknownName: there is neither.
        """
        if name in self.tasks:
            return [self.tasks[name]]
        groups = self.groups
        if name not in groups:
            raise UnknownName("task or group", name, [*self.tasks, *groups])
        return groups[name]


def installed() -> Iterable[EntryPoint]:
    """The entry points of our group in this environment."""
    return entry_points(group=PROJECT)


def load(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every plugin; what is broken says so in its status and fills no shelf.

    Ours come first, then the others by package, so the order of installation decides nothing.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    chosen = installed() if points is None else points
    for point in sorted(chosen, key=lambda p: (_package(p)[0] != OWN_PACKAGE, *_package(p), p.name)):
        registry = _with(registry, manager, point)
    return registry


def registry() -> Registry:
    """Everything that is installed.

    Raises:
        PluginError: a plugin is broken; names its package and version.
    """
    return load().checked()


def guarded(plugin: Spec, verb: Callable[[], T]) -> T:
    """Run a plugin's verb; what it may not raise becomes an error that names it.

    Raises:
        SmcError: the verb's own; a PluginError for anything else.
    """
    try:
        return verb()
    except SmcError:
        raise
    except Exception as error:  # whatever a stranger's code may raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        told = first_line(error)
        raise PluginError(f"{plugin.identity} failed: {type(error).__name__}: {told} ({where})") from error


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown package", "")


def _with(registry: Registry, manager: pluggy.PluginManager, point: EntryPoint) -> Registry:
    """The registry with one more plugin: on its shelves, or broken with the reason."""
    plugin = Plugin(point.name, *_package(point))
    try:
        methods, tasks = _brought(manager, point)
        _free(registry, methods, tasks)
    except PluginError as error:
        broken = replace(plugin, status="broken", reason=f"{plugin} {error}")
        return replace(registry, plugins=(*registry.plugins, broken))
    plugin = replace(plugin, methods=tuple(methods), tasks=tuple(tasks))
    return Registry((*registry.plugins, plugin), {**registry.methods, **methods}, {**registry.tasks, **tasks})


def _brought(
    manager: pluggy.PluginManager, point: EntryPoint
) -> tuple[dict[str, type[Method]], dict[str, type[Task]]]:
    """Import a plugin, hang it on its hooks and call them."""
    try:
        loaded = point.load()
    except Exception as error:  # whatever a stranger's module may raise
        raise PluginError(f"cannot be imported: {_told(error)}") from error
    others = list(manager.get_plugins())
    if loaded in others:
        raise PluginError(f"is {point.value!r}, which another plugin brought already")
    try:
        manager.register(loaded)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        manager.unregister(loaded)
        raise PluginError(f"hooks what nobody specified: {_told(error)}") from error
    if not manager.get_hookcallers(loaded):
        raise PluginError(f"hooks nothing; mark the functions of {point.value!r} with @hookimpl")
    try:
        brought: list[list[Any]] = []
        for hook in ("smc_eval_methods", "smc_eval_tasks"):
            answers = manager.subset_hook_caller(hook, others)()
            brought.append([kind for answer in answers for kind in answer])
    except Exception as error:
        raise PluginError(f"failed in its hook: {_told(error)}") from error
    methods = {kind.card.name: kind for kind in _carded(brought[0], Method, MethodCard)}
    tasks = {kind.card.name: kind for kind in _carded(brought[1], Task, TaskCard)}
    return methods, tasks


def _carded(kinds: Sequence[Any], base: Any, card: type[Card]) -> Iterator[Any]:
    """The classes a hook gave, each checked for what the suite relies on."""
    noun, seen = base.__name__.lower(), dict[str, type[Any]]()
    for kind in kinds:
        if not _within(kind, base):
            raise PluginError(
                f"brings {kind!r} as a {noun}; it must be a subclass of smc_eval.{base.__name__}"
            )
        if not isinstance(found := getattr(kind, "card", None), card):
            raise PluginError(f"brings {kind.identity} with card {found!r}; it must be a {card.__name__}")
        if inspect.isabstract(kind):
            verbs = ", ".join(sorted(kind.__abstractmethods__))
            raise PluginError(f"brings {kind.identity} without its verbs: {verbs}")
        if wanting := [name for name, option in kind.model_fields.items() if option.is_required()]:
            raise PluginError(
                f"brings {kind.identity} with options that have no default: {', '.join(wanting)}"
            )
        try:
            kind()
        except ValueError as error:
            raise PluginError(
                f"brings {kind.identity}, which refuses its own defaults: {_told(error)}"
            ) from error
        name = found.name
        if name in seen:
            raise PluginError(_clash(noun, name, seen[name], kind))
        seen[name] = kind
        yield kind


def _within(kind: object, base: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _free(registry: Registry, methods: dict[str, type[Method]], tasks: dict[str, type[Task]]) -> None:
    """Refuse names that are taken: by their like, by a group of tasks, or by `all`."""
    for noun, shelf, news in (("method", registry.methods, methods), ("task", registry.tasks, tasks)):
        for name, kind in news.items():
            if name == ALL:
                raise PluginError(f"names {kind.identity} {ALL!r}, which means every {noun}; rename its card")
            if name in shelf:
                raise PluginError(_clash(noun, name, shelf[name], kind))
    every = {**registry.tasks, **tasks}
    for kind in every.values():
        for group in kind.card.groups:
            if group in every:
                raise PluginError(
                    f"uses {group!r} both for a task, {every[group].identity}, and for a group of "
                    f"{kind.identity}; rename one"
                )


def _clash(noun: str, name: str, first: type[Any], second: type[Any]) -> str:
    both = f"{first.identity} and {second.identity}"
    return f"takes a used name: two {noun}s are named {name!r}, {both}; rename one card"


def _told(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"{error.title}: {'; '.join(faults)}".replace(": :", ":")[:300]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "; ".join(lines)[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
