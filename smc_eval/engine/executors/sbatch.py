"""Terms: what a job asks of SLURM, in sbatch's own options."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Self

import submitit

from smc_eval.errors import UsageError
from smc_eval.experiment.parsing import split_list

MINUTES = 240
"""A job's time limit where none is said."""
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
"""Options of sbatch that are not the user's: a cell is one task, whose output goes where we read it."""
KEY = re.compile(r"[a-z][a-z-]*")
TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::\d+)?)?|(?P<clock>\d+(?::\d+){0,2}))"
)


@dataclass(frozen=True)
class SbatchOptions:
    """Options of sbatch by their long names; True for those without a value."""

    options: dict[str, str | bool]
    minutes: int = MINUTES
    threads: int = 1
    local: bool = False
    """submitit's stand-in for a cluster, processes on this machine: for trying it out."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """`KEY=VALUE,…`; a comma in brackets is the value's own.

        Raises:
            UsageError: a key is no option of sbatch's form, or not the user's to say; a value cannot be read.
        """
        options = dict[str, str | bool]()
        for word in split_list([text]):
            key, equals, value = word.partition("=")
            if not KEY.fullmatch(key) or (equals and not value):
                raise UsageError(f"--executor slurm: {word!r} is no KEY=VALUE with a long option of sbatch")
            if key in options:
                raise UsageError(f"--executor slurm: {key!r} is said twice")
            if key in RESERVED:
                raise UsageError(
                    f"--executor slurm: {key!r} is not for you to say: each cell is one task of one job"
                )
            options[key] = value if equals else True
        minutes = minutes_in(str(options.pop("time", MINUTES)))
        local = options.pop("cluster", None)
        if local not in {None, "local"}:
            raise UsageError(
                f"--executor slurm: cluster={local} is unknown; local tries it out without SLURM"
            )
        sbatch = cls(options, minutes, local=local is not None)
        cpus = str(options.pop("cpus-per-task", "1"))
        if not cpus.isdecimal() or cpus == "0":
            raise UsageError(f"--executor slurm: cpus-per-task={cpus} is no count")
        return replace(sbatch, threads=int(cpus))

    def with_threads(self, threads: int | None) -> Self:
        """These, with as many CPUs a job as the user wants threads, if that is said."""
        return replace(self, threads=threads or self.threads)

    def executor(self, folder: Any, slots: int, requeues: int) -> Any:
        """submitit's, for jobs on these terms whose files lie in a folder.

        Raises:
            UsageError: there is no SLURM here.
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
            # since SLURM 22.05 a step is not told by itself how many CPUs the job has
            srun_args=[f"--cpus-per-task={self.threads}"],
            additional_parameters={"requeue": True, **self.options},
        )
        return executor


def minutes_in(time: str) -> int:
    """Minutes, of a time limit in any of sbatch's six forms.

    Raises:
        UsageError: it is none of them, or less than a minute.
    """
    found = TIME.fullmatch(time)
    if not found:
        raise UsageError(
            f"--executor slurm: time={time} is no time limit; write minutes, H:MM:SS or D-HH:MM:SS"
        )
    if clock := found["clock"]:
        parts = [int(part) for part in clock.split(":")]
        minutes = parts[0] * 60 + parts[1] if len(parts) == 3 else parts[0]
    else:
        minutes = (int(found["days"]) * 24 + int(found["hours"])) * 60 + int(found["minutes"] or 0)
    if minutes < 3:
        raise UsageError(f"--executor slurm: time={time} is too short: jobs are told 90 s before their end")
    return minutes
