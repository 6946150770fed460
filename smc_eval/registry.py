"""The registry: the installed plugins, with their methods and tasks by name."""

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
"""The group of all tasks, or all methods. No card can have this name."""

LISTED = "smc-eval list"
"""The command that lists all names."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of a package, and whether it could be loaded."""

    name: str
    package: str
    """Name on PyPI."""
    version: str
    status: Literal["ok", "broken"] = "ok"
    reason: str = ""
    """The error of a broken plugin, with its package; otherwise empty."""
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """What a user can do about a broken plugin; empty for the built-in ones."""
        if self.package == OWN_PACKAGE:
            return ""
        return f"\nrepair or update {self.package}, or remove it: pip uninstall {self.package}"

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.package} {self.version}"


@dataclass(frozen=True)
class Registry:
    """The installed plugins, and their classes by the names on their cards."""

    plugins: tuple[Plugin, ...] = ()
    methods: dict[str, type[Method]] = field(default_factory=dict)
    tasks: dict[str, type[Task]] = field(default_factory=dict)

    def checked(self) -> Registry:
        """The registry itself, if no plugin is broken.

        Raises:
            PluginError: a plugin is broken; names the first.
        """
        for plugin in self.plugins:
            if plugin.status == "broken":
                raise PluginError(plugin.reason + plugin.remedy)
        return self

    @property
    def groups(self) -> dict[str, list[type[Task]]]:
        """Tasks by group, with the group `all`."""
        groups: dict[str, list[type[Task]]] = {}
        for task in self.tasks.values():
            for group in (*task.card.groups, ALL):
                groups.setdefault(group, []).append(task)
        return groups

    @property
    def chances(self) -> dict[str, float]:
        """Score of a random guess on each task."""
        return {name: kind.card.chance for name, kind in self.tasks.items()}

    def method(self, name: str) -> type[Method]:
        """The method with this name.

        Raises:
            UnknownName: there is none.
        """
        if name not in self.methods:
            raise UnknownName("method", name, self.methods, see=LISTED)
        return self.methods[name]

    def named_tasks(self, name: str) -> list[type[Task]]:
        """The task with this name, or all tasks of the group with this name.

        Raises:
            UnknownName: there is neither.
        """
        if name in self.tasks:
            return [self.tasks[name]]
        groups = self.groups
        if name not in groups:
            raise UnknownName("task or group", name, [*self.tasks, *groups], see=LISTED)
        return groups[name]


def installed() -> Iterable[EntryPoint]:
    """The entry points of plugins in this environment."""
    return entry_points(group=PROJECT)


def load(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every plugin. A broken one has this status, and no class of it is registered.

    The built-in plugin comes first, then the others in the order of their packages. The order of
    installation has no effect.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    chosen = installed() if points is None else points
    for point in sorted(chosen, key=lambda p: (_package(p)[0] != OWN_PACKAGE, *_package(p), p.name)):
        registry = _with_plugin(registry, manager, point)
    return registry


def registry() -> Registry:
    """All installed methods and tasks.

    Raises:
        PluginError: a plugin is broken; names its package and version.
    """
    return load().checked()


def guarded(plugin: Spec, call: Callable[[], T]) -> T:
    """Call a method of a plugin, and replace an unexpected error by one that names the plugin.

    Raises:
        SmcError: the method raised it; or a PluginError for any other error.
    """
    try:
        return call()
    except SmcError:
        raise
    except (Exception, SystemExit) as error:  # a plugin can raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        message = f"{plugin.identity} failed: {type(error).__name__}: {first_line(error)} ({where})"
        raise PluginError(message) from error


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown package", "")


def _with_plugin(registry: Registry, manager: pluggy.PluginManager, point: EntryPoint) -> Registry:
    """The registry with one more plugin, loaded or broken."""
    plugin = Plugin(point.name, *_package(point))
    try:
        methods, tasks = _classes(manager, point)
        _refuse_used_names(registry, methods, tasks)
    except PluginError as error:
        broken = replace(plugin, status="broken", reason=f"{plugin} {error}")
        return replace(registry, plugins=(*registry.plugins, broken))
    plugin = replace(plugin, methods=tuple(methods), tasks=tuple(tasks))
    return Registry((*registry.plugins, plugin), {**registry.methods, **methods}, {**registry.tasks, **tasks})


def _classes(
    manager: pluggy.PluginManager, point: EntryPoint
) -> tuple[dict[str, type[Method]], dict[str, type[Task]]]:
    """Import a plugin, register its hooks and call them: its methods and tasks by name."""
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # a plugin's module can raise anything
        raise PluginError(f"cannot be imported: {_one_line(error)}") from error
    others = list(manager.get_plugins())
    if module in others:
        raise PluginError(f"names the module {point.value!r}, which another plugin has registered")
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        manager.unregister(module)
        raise PluginError(f"implements a hook that does not exist: {_one_line(error)}") from error
    if not manager.get_hookcallers(module):
        raise PluginError(f"implements no hook; mark the functions of {point.value!r} with @hookimpl")
    try:
        classes: list[list[Any]] = []
        for hook in ("smc_eval_methods", "smc_eval_tasks"):
            results = manager.subset_hook_caller(hook, others)()
            classes.append([kind for result in results for kind in result])
    except (Exception, SystemExit) as error:
        raise PluginError(f"failed in its hook: {_one_line(error)}") from error
    methods = {kind.card.name: kind for kind in _checked_classes(classes[0], Method, MethodCard)}
    tasks = {kind.card.name: kind for kind in _checked_classes(classes[1], Task, TaskCard)}
    return methods, tasks


def _checked_classes(kinds: Sequence[Any], base: Any, card_type: type[Card]) -> Iterator[Any]:
    """The classes of a hook. Each has a card, all required methods and valid defaults."""
    noun, seen = base.__name__.lower(), dict[str, type[Any]]()
    for kind in kinds:
        if not _is_subclass(kind, base):
            raise PluginError(
                f"registers {kind!r} as a {noun}; it must be a subclass of smc_eval.{base.__name__}"
            )
        if not isinstance(card := getattr(kind, "card", None), card_type):
            raise PluginError(
                f"registers {kind.identity} with card {card!r}; it must be a {card_type.__name__}"
            )
        if inspect.isabstract(kind):
            missing = ", ".join(sorted(kind.__abstractmethods__))
            raise PluginError(f"registers {kind.identity} without its required methods: {missing}")
        if required := [name for name, option in kind.model_fields.items() if option.is_required()]:
            raise PluginError(
                f"registers {kind.identity} with options that have no default: {', '.join(required)}"
            )
        try:
            kind()
        except ValueError as error:
            raise PluginError(
                f"registers {kind.identity}, which refuses its own defaults: {_one_line(error)}"
            ) from error
        if card.name in seen:
            raise PluginError(_name_clash(noun, card.name, seen[card.name], kind))
        seen[card.name] = kind
        yield kind


def _is_subclass(kind: object, base: type[Any]) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _refuse_used_names(
    registry: Registry, methods: dict[str, type[Method]], tasks: dict[str, type[Task]]
) -> None:
    """Refuse a name that another class or a group has, and the name `all`."""
    for noun, known, new in (("method", registry.methods, methods), ("task", registry.tasks, tasks)):
        for name, kind in new.items():
            if name == ALL:
                raise PluginError(f"names {kind.identity} {ALL!r}, which means every {noun}; rename its card")
            if name in known:
                raise PluginError(_name_clash(noun, name, known[name], kind))
    every = {**registry.tasks, **tasks}
    for kind in every.values():
        for group in kind.card.groups:
            if group in every:
                raise PluginError(
                    f"uses {group!r} both for a task, {every[group].identity}, and for a group of "
                    f"{kind.identity}; rename one"
                )


def _name_clash(noun: str, name: str, first: type[Any], second: type[Any]) -> str:
    both = f"{first.identity} and {second.identity}"
    return f"uses a name twice: two {noun}s are named {name!r}, {both}; rename one card"


def _one_line(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"{error.title}: {'; '.join(faults)}".replace(": :", ":")[:300]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "; ".join(lines)[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
