"""The models of each task: those that were named and fit; a named model is never replaced in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from smc_eval.errors import ModelError, UnknownName, UsageError
from smc_eval.experiment import parsing
from smc_eval.experiment.config import RunConfig
from smc_eval.registry import ALL, Registry
from smc_eval.task import BUILT_MODELS, Task


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
            reasons = {word: why_refused(kind, word) for word in named}
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
                    )
                refused[name] = tuple(reasons.values())
            chosen[name] = chosen[name] or [kind.card.published]
        if idle := [word for word in unused if word not in used]:
            raise UsageError(f"no task to run can use --model {idle[0]}; {unused[idle[0]]}")
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
            if not any(why_refused(kind, word) == "" for kind in members):
                kinds_of_model = sorted({name for kind in members for name in kind.card.accepts})
                raise UsageError(
                    f"--model {group}={word}: no task of {group!r} accepts this model; "
                    f"they accept: {', '.join(kinds_of_model)}\n{why_refused(members[0], word)}"
                )


def why_refused(kind: type[Task], word: str) -> str:
    """Why a task cannot use a model, in one sentence; empty if it can, or if the model cannot be read."""
    accepted = ", ".join(kind.card.accepts)
    if word in BUILT_MODELS:
        return (
            "" if word in kind.card.accepts else f"this task does not build {word!r}; it accepts: {accepted}"
        )
    reasons = [_why_of_other_kind(word, wanted) for wanted in kind.card.accepts if wanted not in BUILT_MODELS]
    if not reasons:
        return f"this task takes no checkpoint such as {word!r}; it accepts: {accepted}"
    return "" if "" in reasons else reasons[0]


@cache
def _why_of_other_kind(word: str, wanted: Any) -> str:
    """Why a checkpoint is not of a kind; empty if it is, or cannot be read."""
    # imported here, because it loads all tasks
    from smc_eval.tasks.backbone import find_backbone
    from smc_eval.tasks.kinds import WrongKind

    try:
        find_backbone(word, wanted)
    except WrongKind as error:
        return str(error)
    except ModelError:
        return ""
    return ""


def _refuse_misspelled(word: str) -> None:
    """Refuse a model that cannot be read, if its name is nearly that of a model that tasks build.

    Raises:
        UnknownName: it is probably a typing error.
    """
    if word in BUILT_MODELS or not get_close_matches(word, BUILT_MODELS, n=1, cutoff=0.75):
        return
    # imported here, because it loads all tasks
    from smc_eval.tasks.backbone import find_backbone
    from smc_eval.tasks.kinds import WrongKind

    try:
        find_backbone(word, "text-encoder")
    except WrongKind:  # it can be read
        return
    except ModelError:
        raise UnknownName("model", word, BUILT_MODELS) from None
