"""Engines by their word: which executor `local`, `slurm:partition=gpu` or `ray:HOST:PORT` asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from smc_eval.engine.executors.jobs import WorkerSettings
from smc_eval.engine.executors.local import Local
from smc_eval.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from smc_eval.engine.executors.jobs import Executor

PACKAGES = {"local": None, "ray": "ray", "slurm": "submitit"}
"""What each engine needs to be installed."""

Maker = Callable[[WorkerSettings, int | None], "Executor"]
"""Makes an executor for a setting and a number of jobs; None leaves that to the engine."""


def executor_for(word: str) -> Maker:
    """Who makes the executor of a word: `local`, `slurm[:KEY=VALUE,…]` or `ray[:ADDRESS]`.

    Raises:
        UnknownName: there is no such engine.
        UsageError: its package is not installed, or what is said behind it cannot be read.
    """
    name, colon, rest = word.partition(":")
    if name not in PACKAGES:
        raise UnknownName("executor", name, PACKAGES)
    package = PACKAGES[name]
    if package and find_spec(package) is None:
        raise UsageError(f"--executor {name} needs {package}: pip install 'smc-eval[{name}]'")
    match name:
        case "slurm":
            from smc_eval.engine.executors.sbatch import SbatchOptions
            from smc_eval.engine.executors.slurm import Slurm

            return partial(Slurm, sbatch=SbatchOptions.parse(rest))
        case "ray":
            from smc_eval.engine.executors.ray import Ray

            return partial(Ray, address=rest)
    if colon:
        raise UsageError(f"--executor {word!r}: local takes nothing behind its name")
    return _local


def _local(settings: WorkerSettings, jobs: int | None) -> Executor:
    jobs = jobs or max(1, len(settings.devices))
    return Local(replace(settings, threads=settings.threads or max(1, (os.cpu_count() or 1) // jobs)), jobs)
