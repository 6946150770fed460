"""A Subject: something installed whose contract can be checked, with the contract as a class."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import SkipTest

from smc_eval.engine.export.model_files import silenced
from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.grid import chosen_tasks, data_folder
from smc_eval.experiment.parsing import parse_named
from smc_eval.experiment.spec_text import amend_recipe, parse_spec
from smc_eval.files.user_path import is_folder, user_path
from smc_eval.kind import ModelKind
from smc_eval.registry import LISTED, Registry, guarded
from smc_eval.spec import Spec
from smc_eval.task import BUILT_MODELS, Task
from smc_eval.testing.kind_contract import TEXTS, KindContract
from smc_eval.testing.method_contract import MethodContract
from smc_eval.testing.optimizer_contract import OptimizerContract
from smc_eval.testing.promise import Promise, PromiseVerdict, check_promise, promises_of
from smc_eval.testing.task_contract import TaskContract
from smc_eval.testing.tracker_contract import TrackerContract

NEEDS_LOGGED = "write a test with TrackerContract, whose `logged` reads what the tracker wrote"
"""Why most promises of a tracker are not checked: no program can know where it writes."""

NEEDS_CHECKPOINT = "it builds no net that can be saved; name a checkpoint: --model DIR"
"""Why most promises of a kind are not checked."""

WHAT = "method, task, group, kind of model, optimizer, tracker or plugin"


@dataclass(frozen=True)
class Subject:
    """A method, task, kind of model, optimizer or tracker, and the contract that it must keep."""

    name: str
    """As users type it, with options."""
    noun: str
    identity: str
    contract: type[Any]

    @property
    def title(self) -> str:
        """Name and noun: `lth (method)`."""
        return f"{self.name} ({self.noun})"

    @property
    def promises(self) -> list[Promise]:
        """The promises of its contract."""
        return promises_of(self.contract)

    def verdict(self, promise: Promise) -> PromiseVerdict:
        """Check one promise."""
        return check_promise(self.contract(), promise)


@dataclass(frozen=True)
class Chooser:
    """Makes subjects of names, with the flags of the command line."""

    registry: Registry
    model: str | None = None
    """A model of a task, or the checkpoint of a kind."""
    data_dir: str | None = None
    quick: bool = False

    def subjects(self, text: str) -> list[Subject]:
        """The subjects of a name with options, or of an installed plugin.

        Raises:
            UnknownName: nothing has this name, or no option of it.
            UsageError: an option or a flag is wrong, or does not belong to it.
        """
        named = parse_named([text], "name")
        if len(named) != 1:
            raise UsageError(f"check takes one name, found {text!r}; write NAME or NAME:OPTION=VALUE")
        ((name, options),) = named
        registry = self.registry
        makers: Mapping[str, Callable[[str, Mapping[str, str]], Iterator[Subject]]] = {
            "methods": self._method,
            "tasks": self._tasks,
            "groups": self._tasks,
            "kinds": self._kind,
            "optimizers": self._optimizer,
            "trackers": self._tracker,
        }
        chosen = [
            one
            for noun, make in makers.items()
            if name in getattr(registry, noun)
            for one in make(name, options)
        ]
        if not chosen:
            brought = [plugin for plugin in registry.plugins if name in (plugin.package, plugin.name)]
            if options and brought:
                raise UsageError(f"the plugin {name!r} has no options; give them to a method or task by name")
            chosen = [
                subject
                for plugin in brought
                for noun, make in makers.items()
                for each in getattr(plugin, noun, ())
                for subject in make(each, {})
            ]
        if not chosen:
            known = [other for noun in makers for other in getattr(registry, noun)]
            raise UnknownName(
                WHAT, name, [*known, *(plugin.package for plugin in registry.plugins)], see=LISTED
            )
        self._check_flags(name, {subject.noun for subject in chosen})
        return chosen

    def _check_flags(self, name: str, nouns: set[str]) -> None:
        """Refuse a flag that none of the subjects uses.

        Raises:
            UsageError: there is one.
        """
        if self.model is not None and not nouns & {"task", "kind of model"}:
            raise UsageError(f"--model is for tasks and kinds of model, and {name!r} is none; leave it out")
        if self.data_dir is not None and "task" not in nouns:
            raise UsageError(f"--data-dir is for tasks, and {name!r} is none; leave it out")

    def _method(self, name: str, options: Mapping[str, str]) -> Iterator[Subject]:
        method = parse_spec(self.registry.methods[name], options, "option", f"method {name!r}")
        yield self._subject(method.label, "method", method, MethodContract)

    def _tasks(self, name: str, options: Mapping[str, str]) -> Iterator[Subject]:
        words = f"{name}:" + ",".join(f"{key}={value}" for key, value in options.items()) if options else name
        for kind, chosen in chosen_tasks([words], self.registry):
            task = self._task(kind, chosen)
            yield self._subject(task.label, "task", task, TaskContract)

    def _task(self, kind: type[Task], options: Mapping[str, str]) -> Task:
        """A task with a small net and its trial recipe, or with the model and data that were named.

        Raises:
            UsageError: it builds no net without a checkpoint, or the model or data is wrong.
        """
        card = kind.card
        built = next((form for form in BUILT_MODELS if form in card.accepts), None)
        model = self.model or built
        if model is None:
            raise UsageError(
                f"task {card.name!r} builds no net without a checkpoint; name one: --model MODEL"
            )
        recipe = kind.model_fields["recipe"].get_default(call_default_factory=True)
        values = {
            "backbone": model,
            "folder": data_folder(self.data_dir or "synthetic"),
            "fold": 0 if card.folds else None,
            "recipe": amend_recipe(recipe, kind.tiny, f"{kind.identity}.tiny") if model == "tiny" else recipe,
        }
        task = parse_spec(kind, {**options, **values}, "option", f"task {card.name!r}")
        if self.model or self.data_dir:
            guarded(task, task.sources)
        return task

    def _kind(self, name: str, options: Mapping[str, str]) -> Iterator[Subject]:
        kind = parse_spec(self.registry.kinds[name], options, "option", f"kind of model {name!r}")
        checkpoint = None
        if self.model is not None:
            if not is_folder(self.model):
                raise UsageError(
                    f"--model {self.model!r} is no folder; a kind is checked with a local checkpoint"
                )
            checkpoint = user_path(self.model)

        def save(_contract: KindContract, folder: Path) -> None:
            if checkpoint is not None:
                shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
            else:
                save_built(kind, folder)

        yield self._subject(name, "kind of model", kind, KindContract, save=save)

    def _optimizer(self, name: str, options: Mapping[str, str]) -> Iterator[Subject]:
        optimizer = parse_spec(self.registry.optimizers[name], options, "option", f"optimizer {name!r}")
        yield self._subject(optimizer.label, "optimizer", optimizer, OptimizerContract)

    def _tracker(self, name: str, options: Mapping[str, str]) -> Iterator[Subject]:
        tracker = parse_spec(self.registry.trackers[name], options, "option", f"tracker {name!r}")

        def store(_contract: TrackerContract, _tmp_path: Path) -> Path:
            raise SkipTest(NEEDS_LOGGED)

        yield self._subject(tracker.label, "tracker", tracker, TrackerContract, store=store)

    def _subject(self, name: str, noun: str, spec: Spec, contract: type[Any], **members: Any) -> Subject:
        field = noun.partition(" ")[0]
        members = {field: spec, "quick": self.quick, "__module__": __name__, **members}
        return Subject(name, noun, spec.identity, type(f"{contract.__name__}Of", (contract,), members))


def save_built(kind: ModelKind, folder: Path) -> None:
    """Write the net that a kind builds without a checkpoint, as transformers writes it.

    Raises:
        SkipTest: it builds none, or one that cannot be written so.
    """
    if not kind.card.builds:
        raise SkipTest(NEEDS_CHECKPOINT)
    form = kind.card.builds[0]
    tokenizer = kind.build_tokenizer(form, TEXTS)
    parts: tuple[Any, ...] = (tokenizer, kind.build(form, tokenizer))
    if not hasattr(parts[1], "save_pretrained"):
        raise SkipTest(NEEDS_CHECKPOINT)
    with silenced():
        for part in parts:
            if hasattr(part, "save_pretrained"):
                part.save_pretrained(folder)
