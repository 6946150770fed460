"""sbatch options: the resources of a SLURM job."""

from __future__ import annotations

import pytest

pytest.importorskip("submitit", reason="needs smc-eval[slurm]")

from smc_eval.engine.executors.sbatch import MINUTES, SbatchOptions, minutes_in
from smc_eval.errors import UsageError


def test_options_are_those_of_sbatch() -> None:
    sbatch = SbatchOptions.parse(
        "partition=gpu,gres=gpu:a100:1,exclude=node[1,7],exclusive,time=1-2,cpus-per-task=8"
    )
    assert sbatch.options == {
        "partition": "gpu",
        "gres": "gpu:a100:1",
        "exclude": "node[1,7]",
        "exclusive": True,
    }
    assert (sbatch.minutes, sbatch.threads, sbatch.local) == (26 * 60, 8, False)


def test_the_default_is_four_hours_and_one_cpu() -> None:
    assert SbatchOptions.parse("") == SbatchOptions({}, MINUTES, 1) and MINUTES == 240


def test_threads_replace_cpus_per_task() -> None:
    assert SbatchOptions.parse("cpus-per-task=8").with_threads(None).threads == 8
    assert SbatchOptions.parse("").with_threads(4).threads == 4
    assert SbatchOptions.parse("cpus-per-task=8").with_threads(4).threads == 4


@pytest.mark.parametrize(
    ("words", "minutes"),
    [("90", 90), ("90:59", 90), ("2:05:59", 125), ("1-0", 1440), ("1-2:03", 1563), ("1-2:03:04", 1563)],
)
def test_time_limits_have_all_forms_of_sbatch(words: str, minutes: int) -> None:
    assert minutes_in(words) == minutes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("time=soon", "time=soon is not a time limit; write minutes, H:MM:SS or D-HH:MM:SS"),
        ("time=2", "time=2 is too short: jobs get a signal 90 s before their end"),
        ("Partition=gpu", "'Partition=gpu' is not KEY=VALUE with a long option of sbatch"),
        ("partition=", "'partition=' is not KEY=VALUE"),
        ("partition=gpu,partition=cpu", "'partition' is given twice"),
        ("array=1-9", "'array' cannot be set: each cell is one task of one job"),
        ("ntasks=2", "'ntasks' cannot be set"),
        ("cpus-per-task=0", "cpus-per-task=0 is not a count"),
        ("cluster=moon", "cluster=moon is unknown; known: local"),
        ("comment=a\n#SBATCH --uid=0", "has a line break or another control character"),
        ("comment=a\rrm -r x", "has a line break or another control character"),
        ("comment=a\u2028b", "has a line break or another control character"),
        ("partition=gpu\x1b[2J", "has a line break or another control character"),
        ("time=" + "9" * 5000, "is not a time limit"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(words: str, message: str) -> None:
    with pytest.raises(UsageError, match="^--executor slurm: ") as refused:
        SbatchOptions.parse(words)
    assert message in str(refused.value)


def test_a_batch_script_has_the_options(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import submitit

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 1))  # as if srun existed
    executor = (
        SbatchOptions.parse("gres=gpu:1,exclusive,time=5:00:00").with_threads(3).executor(tmp_path, 7, 9)
    )
    script = executor._make_submission_file_text("python -m work", "x")
    options = {line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")}
    assert {"gres=gpu:1", "exclusive", "time=300", "cpus-per-task=3", "requeue", "signal=USR2@90"} <= options
    assert "--cpus-per-task=3 python -m work" in script
