"""The registry: the installed plugins, with all that they bring by name."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import pluggy
from pydantic import ValidationError

from smc_eval import hookspecs
from smc_eval.card import MethodCard, TaskCard
from smc_eval.errors import PluginError, SmcError, UnknownName, first_line
from smc_eval.hookspecs import PROJECT
from smc_eval.kind import KindCard, ModelKind, refuse_greedy
from smc_eval.method import Method
from smc_eval.optimizer import Optimizer, OptimizerCard
from smc_eval.spec import OWN_PACKAGE, Card, Spec
from smc_eval.task import BUILT_MODELS, Task
from smc_eval.trackers.tracker import Tracker, TrackerCard

T = TypeVar("T")

WORDS: Mapping[type[Spec], str] = {ModelKind: "kind of model"}
"""What errors call the classes of a hook, where it is not the name of the base class."""

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
    kinds: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()

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
    kinds: dict[str, type[ModelKind]] = field(default_factory=dict)
    """Kinds of model."""
    optimizers: dict[str, type[Optimizer]] = field(default_factory=dict)
    trackers: dict[str, type[Tracker]] = field(default_factory=dict)

    def checked(self) -> Registry:
        """The registry itself, if no plugin is broken.

        Raises:
            PluginError: a plugin is broken; names the first.
        """
        for plugin in self.plugins:
            if plugin.status == "broken":
                raise PluginError(plugin.reason + plugin.remedy)
        return self

    def kinds_of(self, task: type[Task]) -> list[ModelKind]:
        """The kinds of model that a task takes, in the order of its card."""
        return [self.kinds[name]() for name in task.card.accepts if name not in BUILT_MODELS]

    @property
    def groups(self) -> dict[str, list[type[Task]]]:
        """Tasks by group, with the group `all`. Tasks that only their name chooses are in none."""
        groups: dict[str, list[type[Task]]] = {}
        for task in self.tasks.values():
            for group in () if task.card.by_name else (*task.card.groups, ALL):
                groups.setdefault(group, []).append(task)
        return groups

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


def load_registry(points: Iterable[EntryPoint] | None = None) -> Registry:
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
    return _with_known_kinds(registry)


def _with_known_kinds(registry: Registry) -> Registry:
    """The registry without the plugins whose tasks take a kind of model that no plugin registers.

    A kind may come from a plugin that is loaded later, so this is checked when all are loaded.
    """
    for plugin in registry.plugins:
        for name in plugin.tasks:
            task = registry.tasks[name]
            known = (*registry.kinds, *BUILT_MODELS)
            if unknown := [word for word in task.card.accepts if word not in known]:
                reason = (
                    f"{plugin} registers {task.identity}, whose card accepts {unknown[0]!r}, a kind of model "
                    f"that no plugin registers; known: {', '.join(sorted(known))}"
                )
                # without its kinds, the tasks of another plugin may lack one
                return _with_known_kinds(_without(registry, plugin, reason))
    return registry


def _without(registry: Registry, plugin: Plugin, reason: str) -> Registry:
    """The registry with one plugin broken, and nothing of it registered."""
    broken = Plugin(plugin.name, plugin.package, plugin.version, "broken", reason)
    left = {
        noun: {
            name: cls for name, cls in getattr(registry, noun).items() if name not in getattr(plugin, noun)
        }
        for noun in NOUNS
    }
    return Registry(tuple(broken if one is plugin else one for one in registry.plugins), **left)


def registry() -> Registry:
    """All installed methods and tasks.

    Raises:
        PluginError: a plugin is broken; names its package and version.
    """
    return load_registry().checked()


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
        new = _classes(manager, point)
        _refuse_used_names(registry, new)
    except PluginError as error:
        broken = replace(plugin, status="broken", reason=f"{plugin} {error}")
        return replace(registry, plugins=(*registry.plugins, broken))
    names = {noun: tuple(classes) for noun, classes in new.items()}
    plugin = replace(plugin, **cast("Any", names))
    more = {noun: {**getattr(registry, noun), **classes} for noun, classes in new.items()}
    return replace(registry, plugins=(*registry.plugins, plugin), **more)


NOUNS: Mapping[str, tuple[type[Spec], type[Card]]] = {
    "methods": (Method, MethodCard),
    "tasks": (Task, TaskCard),
    "kinds": (ModelKind, KindCard),
    "optimizers": (Optimizer, OptimizerCard),
    "trackers": (Tracker, TrackerCard),
}
"""What a plugin may bring, by the end of the hook's name: base class and class of the card."""

ClassesByNoun = Mapping[str, dict[str, type[Any]]]
"""The classes of a plugin by noun, then by the name on their card."""


def _classes(manager: pluggy.PluginManager, point: EntryPoint) -> ClassesByNoun:
    """Import a plugin, register its hooks and call them: its classes by name."""
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
        classes = dict[str, list[Any]]()
        for noun in NOUNS:
            results = manager.subset_hook_caller(f"{PROJECT}_{noun}", others)()
            classes[noun] = [kind for result in results for kind in result]
    except (Exception, SystemExit) as error:
        raise PluginError(f"failed in its hook: {_one_line(error)}") from error
    new = {
        noun: {kind.card.name: kind for kind in _checked_classes(classes[noun], *NOUNS[noun])}
        for noun in NOUNS
    }
    for kind in new["kinds"].values():
        refuse_greedy(kind())
    return new


def _checked_classes(kinds: Sequence[Any], base: Any, card_type: type[Card]) -> Iterator[Any]:
    """The classes of a hook. Each has a card, all required methods and valid defaults."""
    noun, seen = WORDS.get(base, base.__name__.lower()), dict[str, type[Any]]()
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


def _refuse_used_names(registry: Registry, new: ClassesByNoun) -> None:
    """Refuse a name that another class or a group has, and the names `all`, `tiny` and `scratch`.

    Raises:
        PluginError: there is one.
    """
    for noun, classes in new.items():
        known, word = getattr(registry, noun), WORDS.get(NOUNS[noun][0], noun.removesuffix("s"))
        for name, kind in classes.items():
            if name == ALL and noun in {"methods", "tasks"}:
                raise PluginError(f"names {kind.identity} {ALL!r}, which means every {word}; rename its card")
            if noun == "kinds" and name in BUILT_MODELS:
                raise PluginError(
                    f"names {kind.identity} {name!r}, which means a net that is built without a checkpoint; "
                    "rename its card"
                )
            if name in known:
                raise PluginError(_name_clash(word, name, known[name], kind))
    tasks = new["tasks"]
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
    several = "kinds of model" if noun == "kind of model" else f"{noun}s"
    return f"uses a name twice: two {several} are named {name!r}, {both}; rename one card"


def _one_line(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"{error.title}: {'; '.join(faults)}".replace(": :", ":")[:300]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "; ".join(lines)[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
