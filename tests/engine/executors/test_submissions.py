"""The SLURM executor on a made-up cluster: jobs run in this process, or end in a state that a test sets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("submitit", reason="needs smc-eval[slurm]")

from submitit.core.utils import JobPaths

from smc_eval.engine.executors import slurm
from smc_eval.engine.executors.sbatch import SbatchOptions
from smc_eval.errors import UsageError


class Job:
    """A job of the cluster. It is done at once: with a result, or in a state without one."""

    def __init__(self, folder: Path, number: int, task: Any, state: str) -> None:
        self.job_id, self.state, self.paths = str(number), state, JobPaths(folder, job_id=str(number))
        self.paths.submitted_pickle.touch()
        if state == "COMPLETED":
            self.paths.result_pickle.write_bytes(pickle.dumps(task()))
        else:
            self.paths.stderr.write_text("its last words")

    def result(self) -> Any:
        return pickle.loads(self.paths.result_pickle.read_bytes())

    def done(self) -> bool:
        return True

    def cancel(self) -> None: ...


class Cluster:
    """submitit's executor of a cluster. Its next jobs end in `states`; a state may be an error instead."""

    def __init__(self) -> None:
        self.folder, self.tasks = Path(), list[Any]()
        self.states = list[str | Exception]()

    def submit_array(self, tasks: list[Any]) -> list[Job]:
        if self.states and isinstance(self.states[0], Exception):
            raise self.states.pop(0)
        self.tasks += tasks
        first = len(self.tasks) - len(tasks) + 1
        states = [self.states.pop(0) if self.states else "COMPLETED" for _ in tasks]
        return [
            Job(self.folder, number, task, state)
            for number, (task, state) in enumerate(zip(tasks, states, strict=True), first)
        ]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that takes the place of submitit's local executor."""
    made = Cluster()

    def executor(options: SbatchOptions, folder: Path, slots: int, requeues: int) -> Cluster:
        made.folder = folder
        return made

    monkeypatch.setattr(SbatchOptions, "executor", executor)
    monkeypatch.setattr(slurm, "RESULT_SECONDS", 0.01)
    monkeypatch.setattr(slurm, "RETRY_SECONDS", 0.01)
    return made


def run(cells: Any, watcher: Any, count: int = 2) -> list[Any]:
    records: list[Any] = cells.run(
        "jobs", cells.chains[:count], executor="slurm:cluster=local", jobs=2, watcher=watcher
    )
    return records


def test_jobs_give_the_records_of_one_process(cells: Any, cluster: Cluster, watcher: Any) -> None:
    run(cells, watcher, 3)
    assert watcher.stages[0] == "local job 1 is pending"
    cells.assert_undisturbed("jobs")


def test_a_job_without_memory_is_tried_again_with_half_passes(
    cells: Any, cluster: Cluster, watcher: Any
) -> None:
    cluster.states = ["OUT_OF_MEMORY"]
    dense, after = run(cells, watcher)
    assert [task.job.parts for task in cluster.tasks] == [1, 2, 1]
    (note,) = watcher.notes
    assert note == (
        "its worker ended with its job 1 (OUT_OF_MEMORY) as memory ran short; "
        "trying again with forward passes of half the size"
    )
    assert (dense.cost.parts, after.cost.parts) == (2, 2) and dense.sound and after.sound


def test_a_preempted_job_is_submitted_again_without_a_note(
    cells: Any, cluster: Cluster, watcher: Any
) -> None:
    cluster.states = ["PREEMPTED"]
    run(cells, watcher)
    assert len(cluster.tasks) == 3 and watcher.notes == []
    cells.assert_undisturbed("jobs", cells.chains[:2])


def test_a_cancelled_job_fails_its_cell_and_its_output_is_kept(
    cells: Any, cluster: Cluster, watcher: Any
) -> None:
    cluster.states = ["CANCELLED"]
    (record,) = run(cells, watcher, 1)
    reason, _, log = record.reason.partition("\nits output is in ")
    assert reason == "its worker ended with its job 1 (CANCELLED)"
    assert Path(log).read_text(encoding="utf-8") == "its last words"


def test_jobs_that_slurm_does_not_accept_end_the_run_only_at_its_beginning(
    cells: Any, cluster: Cluster, watcher: Any
) -> None:
    cluster.states = [RuntimeError("no such partition")]
    with pytest.raises(UsageError, match="SLURM does not accept the jobs: no such partition"):
        run(cells, watcher)
    cluster.states = ["COMPLETED", RuntimeError("too many jobs")]
    dense, after = run(cells, watcher)
    assert dense.sound and after.sound
    assert watcher.notes == ["SLURM accepts no more jobs now; trying again in 0.01 s: too many jobs"]


def test_a_job_that_cannot_work_ends_the_run_with_the_reason(
    cells: Any, cluster: Cluster, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smc_eval.engine.executors.worker.open_settings", broken)
    with pytest.raises(UsageError, match="a worker cannot work: no cuda device"):
        run(cells, watcher)


def broken(settings: Any) -> Any:
    raise UsageError("no cuda device")
