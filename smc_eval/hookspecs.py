"""The hooks of a plugin. All that is built in is registered by them too."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from smc_eval.kind import ModelKind
from smc_eval.method import Method
from smc_eval.optimizer import Optimizer
from smc_eval.task import Task
from smc_eval.trackers.tracker import Tracker

PROJECT = "smc_eval"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def smc_eval_methods() -> Iterable[type[Method]]:  # type: ignore[empty-body]
    """The methods of this plugin. Called once, when the registry is built."""


@hookspec
def smc_eval_tasks() -> Iterable[type[Task]]:  # type: ignore[empty-body]
    """The tasks of this plugin. Called once, when the registry is built."""


@hookspec
def smc_eval_kinds() -> Iterable[type[ModelKind]]:  # type: ignore[empty-body]
    """The kinds of model of this plugin. Called once, when the registry is built."""


@hookspec
def smc_eval_optimizers() -> Iterable[type[Optimizer]]:  # type: ignore[empty-body]
    """The optimizers of this plugin. Called once, when the registry is built."""


@hookspec
def smc_eval_trackers() -> Iterable[type[Tracker]]:  # type: ignore[empty-body]
    """The trackers of this plugin. Called once, when the registry is built."""
