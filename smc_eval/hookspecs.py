"""The doors: two hooks through which methods and tasks come in, ours as anybody's."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from smc_eval.method import Method
from smc_eval.task import Task

PROJECT = "smc_eval"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def smc_eval_methods() -> Iterable[type[Method]]:  # type: ignore[empty-body]
    """Methods this plugin brings. Called once, when the registry is made."""


@hookspec
def smc_eval_tasks() -> Iterable[type[Task]]:  # type: ignore[empty-body]
    """Tasks this plugin brings. Called once, when the registry is made."""
