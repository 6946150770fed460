"""The models of each task: those that were named and fit; a named model is never replaced in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache

from smc_eval.errors import ModelError, UnknownName, UsageError
from smc_eval.experiment import parsing
from smc_eval.experiment.config import RunConfig
from smc_eval.kind import UNKNOWN_TYPE, ModelKind, WrongKind, reason_of_kind
from smc_eval.registry import ALL, Registry, guarded
from smc_eval.task import BUILT_MODELS, Task

MOST_TASKS = 3
"""Tasks that a message names as examples."""


@dataclass(frozen=True)
class ModelChoice:
    """The models of each task, by the name on its card."""

    of_task: Mapping[str, Sequence[str]]
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Why tasks keep their published model: a sentence for each model that was named for them."""

    @classmethod
    def of(cls, config: RunConfig, registry: Registry, kinds: Sequence[type[Task]]) -> ModelChoice:
        """The models of some tasks: those for the task, its smallest group, or all; else the published one.

        A task of a group, or of `all`, that can use none of the named models keeps its published model. A
        checkpoint that cannot be read passes: the task refuses it later, with the reason.

        Raises:
            UsageError: a task that is named alone can use none of its models; or no task can use a model.
        """
        models = parsing.parse_models(config.model)
        for word in dict.fromkeys(word for words in models.values() for word in words):
            _refuse_misspelled(word)
        _refuse_models_of_no_task(models, registry)
        alone = {name for name, _ in parsing.parse_named(config.tasks, "task")}
        chosen, refused = dict[str, list[str]](), dict[str, tuple[str, ...]]()
        unused = dict[str, str]()
        used = set[str]()
        for kind in kinds:
            name = kind.card.name
            levels = (name, *kind.card.groups, ALL, None)
            named = list(dict.fromkeys(next((models[level] for level in levels if level in models), [])))
            reasons = {word: why_refused(registry, kind, word) for word in named}
            chosen[name] = [word for word in named if not reasons[word]]
            used.update(chosen[name])
            for word, why in reasons.items():
                if why:
                    unused.setdefault(word, f"task {name!r}: {why}")
            if named and not chosen[name]:
                if name in alone:
                    raise UsageError(
                        f"task {name!r} cannot run with --model {named[0]}: {reasons[named[0]]}\n"
                        f"leave the task out, or give it a model of its own: --model {name}=MODEL"
                        f"{_what_fits(registry, named[0])}"
                    )
                refused[name] = tuple(reasons.values())
            chosen[name] = chosen[name] or [kind.card.published]
        if idle := [word for word in unused if word not in used]:
            raise UsageError(
                f"no task to run can use --model {idle[0]}; {unused[idle[0]]}{_what_fits(registry, idle[0])}"
            )
        return cls(chosen, refused)


def _refuse_models_of_no_task(models: Mapping[str | None, Sequence[str]], registry: Registry) -> None:
    """Refuse a model that is named for a group, or for a task, of which no task can use it.

    Raises:
        UsageError: there is one.
        UnknownName: there is no such group or task.
    """
    for group, words in models.items():
        if group is None:
            continue
        members = registry.named_tasks(group)
        for word in words:
            if not any(why_refused(registry, kind, word) == "" for kind in members):
                kinds_of_model = sorted({name for kind in members for name in kind.card.accepts})
                raise UsageError(
                    f"--model {group}={word}: no task of {group!r} accepts this model; "
                    f"they accept: {', '.join(kinds_of_model)}\n{why_refused(registry, members[0], word)}"
                    f"{_what_fits(registry, word)}"
                )


def why_refused(registry: Registry, kind: type[Task], word: str) -> str:
    """Why a task cannot use a model, in one sentence; empty if it can, or if the model cannot be read."""
    accepted = ", ".join(kind.card.accepts)
    if word in BUILT_MODELS:
        return (
            "" if word in kind.card.accepts else f"this task does not build {word!r}; it accepts: {accepted}"
        )
    kinds = registry.kinds_of(kind)
    if not kinds:
        return f"this task takes no checkpoint such as {word!r}; it accepts: {accepted}"
    return _why_of_other_kind(word, *kinds)


@cache
def _why_of_other_kind(word: str, *kinds: ModelKind) -> str:
    """Why a checkpoint is not of one of these kinds; empty if it is, or cannot be read."""
    # imported here, because it loads all tasks
    from smc_eval.tasks.backbone import find_backbone

    try:
        guarded(kinds[0], lambda: find_backbone(word, *kinds))
    except WrongKind as error:
        return str(error)
    except ModelError:
        return ""
    return ""


def _what_fits(registry: Registry, word: str) -> str:
    """A line with the kinds that a checkpoint is of, and tasks that take them; empty if there are none."""
    if word in BUILT_MODELS:
        return ""
    kinds = [kind() for kind in registry.kinds.values()]
    own = [kind.card.name for kind in kinds if _is_of(word, kind)]
    tasks = [name for name, task in registry.tasks.items() if set(own).intersection(task.card.accepts)]
    if not own:
        return ""
    for_tasks = (
        f"for {', '.join(tasks[:MOST_TASKS])}{', …' * (len(tasks) > MOST_TASKS)}" if tasks else "for no task"
    )
    return f"\nit is a model of the kind {' or '.join(own)}, {for_tasks}"


def _is_of(word: str, kind: ModelKind) -> bool:
    """Whether a checkpoint can be read, and is surely of a kind.

    An encoder of any type may be one of text or of proteins: only its vocabulary shows it.
    """
    # imported here, because they load all tasks
    from smc_eval.tasks.backbone import find_backbone
    from smc_eval.tasks.vocabulary import tokens_in

    try:
        found = guarded(kind, lambda: find_backbone(word, kind))
    except ModelError:
        return False
    claims_any_type = not reason_of_kind(kind, UNKNOWN_TYPE, None)
    return not claims_any_type or bool(found.folder and tokens_in(found.folder))


def _refuse_misspelled(word: str) -> None:
    """Refuse a model that cannot be read, if its name is nearly that of a model that tasks build.

    Raises:
        UnknownName: it is probably a typing error.
    """
    if word in BUILT_MODELS or not get_close_matches(word, BUILT_MODELS, n=1, cutoff=0.75):
        return
    from smc_eval.tasks.backbone import config_of  # imported here, because it loads all tasks

    try:
        config_of(word)
    except ModelError:
        raise UnknownName("model", word, BUILT_MODELS) from None
