"""sbatch options: the resources of a SLURM job, in sbatch's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Self

import submitit

from smc_eval.errors import UsageError
from smc_eval.experiment.parsing import split_list

MINUTES = 240
"""Default time limit of a job."""
RESERVED = frozenset(
    {
        "array",
        "error",
        "export-file",
        "input",
        "nodes",
        "ntasks",
        "ntasks-per-node",
        "open-mode",
        "output",
        "requeue",
        "no-requeue",
        "signal",
        "wrap",
    }
)
"""Options of sbatch that are set here: a cell is one task, and its output goes to a known file."""
KEY = re.compile(r"[a-z][a-z-]*")
TIME = re.compile(
    r"(?:(?P<days>\d{1,6})-(?P<hours>\d{1,6})(?::(?P<minutes>\d{1,6})(?::\d{1,6})?)?|(?P<clock>\d{1,6}(?::\d{1,6}){0,2}))"
)


@dataclass(frozen=True)
class SbatchOptions:
    """Options of sbatch by their long names; True for those without a value."""

    options: dict[str, str | bool]
    minutes: int = MINUTES
    threads: int = 1
    local: bool = False
    """Use submitit's local executor, processes on this machine, to try a command without SLURM."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Options from `KEY=VALUE,…`; a comma in brackets belongs to the value.

        Raises:
            UsageError: a key is no long option of sbatch, or is set here; a value cannot be read.
        """
        options = dict[str, str | bool]()
        for word in split_list([text]):
            key, equals, value = word.partition("=")
            if not KEY.fullmatch(key) or (equals and not value):
                raise UsageError(f"--executor slurm: {word!r} is not KEY=VALUE with a long option of sbatch")
            if not value.isprintable():  # a line of its own would be a command of the job
                raise UsageError(f"--executor slurm: {word!r} has a line break or another control character")
            if key in options:
                raise UsageError(f"--executor slurm: {key!r} is given twice")
            if key in RESERVED:
                raise UsageError(
                    f"--executor slurm: {key!r} cannot be set: each cell is one task of one job; leave it out"
                )
            options[key] = value if equals else True
        minutes = minutes_in(str(options.pop("time", MINUTES)))
        local = options.pop("cluster", None)
        if local not in {None, "local"}:
            raise UsageError(f"--executor slurm: cluster={local} is unknown; known: local, for this machine")
        sbatch = cls(options, minutes, local=local is not None)
        cpus = str(options.pop("cpus-per-task", "1"))
        if not cpus.isdecimal() or cpus == "0":
            raise UsageError(f"--executor slurm: cpus-per-task={cpus} is not a count; give a number from 1")
        return replace(sbatch, threads=int(cpus))

    def with_threads(self, threads: int | None) -> Self:
        """The same options, with as many CPUs for each job as `threads`, if that is given."""
        return replace(self, threads=threads or self.threads)

    def executor(self, folder: Any, slots: int, requeues: int) -> Any:
        """The executor of submitit with these options; `folder` is for its files.

        Raises:
            RuntimeError: submitit finds no SLURM here.
        """
        if self.local:
            executor = submitit.LocalExecutor(folder, max_num_timeout=requeues)
            executor.update_parameters(timeout_min=self.minutes)
            return executor
        executor = submitit.SlurmExecutor(folder, max_num_timeout=requeues)
        executor.update_parameters(
            job_name="smc-eval",
            time=self.minutes,
            cpus_per_task=self.threads,
            array_parallelism=slots,
            # since SLURM 22.05, srun does not take the number of CPUs from its job
            srun_args=[f"--cpus-per-task={self.threads}"],
            additional_parameters={"requeue": True, **self.options},
        )
        return executor


def minutes_in(time: str) -> int:
    """Minutes of a time limit, in any of sbatch's six forms.

    Raises:
        UsageError: the form is unknown, or the limit is less than 3 minutes.
    """
    match = TIME.fullmatch(time)
    if not match:
        raise UsageError(
            f"--executor slurm: time={time} is not a time limit; write minutes, H:MM:SS or D-HH:MM:SS"
        )
    if clock := match["clock"]:
        parts = [int(part) for part in clock.split(":")]
        minutes = parts[0] * 60 + parts[1] if len(parts) == 3 else parts[0]
    else:
        minutes = (int(match["days"]) * 24 + int(match["hours"])) * 60 + int(match["minutes"] or 0)
    if minutes < 3:
        raise UsageError(
            f"--executor slurm: time={time} is too short: jobs get a signal 90 s before their end; "
            "write 3 or more"
        )
    return minutes
