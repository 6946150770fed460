"""Select: the executor that `local`, `slurm:partition=gpu` or `ray:HOST:PORT` names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from smc_eval.engine.cores import usable_cores
from smc_eval.engine.executors.jobs import WorkerSettings
from smc_eval.engine.executors.local import Local
from smc_eval.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from smc_eval.engine.executors.jobs import Executor

PACKAGES = {"local": None, "ray": "ray", "slurm": "submitit"}
"""The package that each executor needs."""

Maker = Callable[[WorkerSettings, int | None], "Executor"]
"""Makes an executor from settings and a number of jobs; None takes the executor's default."""


def executor_for(word: str) -> Maker:
    """The maker of an executor: `local`, `slurm[:KEY=VALUE,…]` or `ray[:ADDRESS]`.

    Raises:
        UnknownName: there is no such executor.
        UsageError: its package is not installed, or its options cannot be read.
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
        raise UsageError(f"--executor {word!r}: local has no options")
    return _local


def _local(settings: WorkerSettings, jobs: int | None) -> Executor:
    jobs = jobs or max(1, len(settings.devices))
    return Local(replace(settings, threads=settings.threads or max(1, usable_cores() // jobs)), jobs)
