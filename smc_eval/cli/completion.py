"""Shell completion: the names and values that a shell offers after a flag. Nothing here imports torch."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from smc_eval.cli.bash_words import TYPED
from smc_eval.experiment.ablation import How
from smc_eval.experiment.config import GRIDS, RunConfig, keys
from smc_eval.protocol import PROTOCOLS
from smc_eval.recipe import Recipe
from smc_eval.registry import ALL, Registry, load_registry
from smc_eval.spec import Spec
from smc_eval.task import BUILT_MODELS

Complete = Callable[[str], list[str]]
"""The values that may follow what is typed so far; each begins with it."""


def offered(candidates: Callable[[str], Iterable[str]]) -> Complete:
    """A completion that offers those candidates for the whole word that begin as it does."""

    def complete(incomplete: str) -> list[str]:
        before = os.environ.get(TYPED, "")
        word = before + incomplete
        silent = io.StringIO()  # what a plugin prints would become a completion
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            matching = [candidate for candidate in candidates(word) if candidate.startswith(word)]
        return [candidate.removeprefix(before) for candidate in matching]

    return complete


def listed(names: Callable[[], Iterable[str]]) -> Complete:
    """Completes the last name of a comma list; a name that is in the list already is not offered again."""

    def candidates(word: str) -> Iterator[str]:
        before, comma, _ = word.rpartition(",")
        yield from (before + comma + name for name in names() if name not in before.split(","))

    return offered(candidates)


def named(classes: Callable[[Registry], Mapping[str, type[Spec]]], *more: str) -> Complete:
    """Completes names with options, as in `lth:share=0.2,omp-after`. Each option comes with its default."""

    def candidates(word: str) -> Iterator[str]:
        found = classes(load_registry())
        before, comma, last = word.rpartition(",")
        head = before + comma
        name, colon, _ = last.partition(":")
        if colon:
            yield from (f"{head}{name}:{option}" for option in _options(found.get(name)))
        else:
            yield from (head + name for name in (*found, *more))

    return offered(candidates)


def _options(kind: type[Spec] | None) -> Iterator[str]:
    """The options of a class with their defaults, as users type them."""
    outside = {"backbone", "folder", "fold", "limit", "recipe"}  # flags set these fields of a task
    for name, field in (kind.model_fields if kind else {}).items():
        if name not in outside and isinstance(field.default, str | int | float | bool | None):
            default = field.default
            text = str(default).lower() if default is None or isinstance(default, bool) else str(default)
            yield f"{name}={text}"


def _tasks_and_groups(registry: Registry) -> dict[str, type[Spec]]:
    return {**registry.tasks, **{name: tasks[0] for name, tasks in registry.groups.items()}}


def _entries() -> Iterator[str]:
    registry = load_registry()
    for names in (
        registry.methods,
        registry.tasks,
        registry.groups,
        registry.kinds,
        registry.optimizers,
        registry.trackers,
        PROTOCOLS,
    ):
        yield from names


METHODS = named(lambda registry: registry.methods, ALL)
METHOD_NAMES = named(lambda registry: registry.methods)
TASKS = named(_tasks_and_groups)
ENTRIES = offered(lambda _: dict.fromkeys(_entries()))
"""Everything that `show` knows."""
GRID_NAMES = offered(lambda _: sorted(file.stem for file in GRIDS.glob("*.toml")))

FLAGS: Mapping[str, Complete] = {
    "model": offered(lambda _: BUILT_MODELS),
    "method": METHODS,
    "ablate": listed(lambda: get_args(How)),
    "tasks": TASKS,
    "folds": offered(lambda _: (ALL,)),
    "recipe": listed(lambda: [f"{name}={_shown(name)}" for name in Recipe.model_fields]),
    "match": offered(lambda _: ("steps", "flops")),
    "find": offered(lambda _: ("s@95",)),
    "sparsity": listed(lambda: ("smc", "0.5", "0.8", "0.9", "2:4", "heads:0.5", "neurons:0.5")),
    "data-dir": offered(lambda _: ("hub", "synthetic", "published")),
    "device": offered(lambda _: ("auto", "cpu", "cuda", "mps")),
    "executor": offered(lambda _: ("local", "slurm", "ray")),
    "track": named(lambda registry: registry.trackers),
}
"""Completions of the flags of a run whose values are not closed choices. Flags of files have none: the shell
completes files."""


def flag_completion(key: str) -> Complete | None:
    """The completion of a flag of a run; None leaves it to the shell."""
    if key in FLAGS:
        return FLAGS[key]
    choices = closed_choices(RunConfig.model_fields[keys()[key]].annotation)
    return offered(lambda _: choices) if choices else None


def closed_choices(annotation: Any) -> tuple[str, ...]:
    """The values of a `Literal`, or of a `Literal | None`; none if the type has others."""
    literals = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    return tuple(map(str, get_args(literals[0]))) if literals else ()


def _shown(name: str) -> str:
    """The default of a recipe field, as users type it."""
    default = Recipe.model_fields[name].default
    return "" if default is None or isinstance(default, tuple) else str(getattr(default, "label", default))
