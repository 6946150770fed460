"""Many cells: shared stages run once, failures stay alone, and broken files are computed again."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from smc_eval.engine import runner
from smc_eval.engine.cell_run import CellOptions, CellRun
from smc_eval.engine.device import Device, is_cpu
from smc_eval.engine.executors.attempt import attempt
from smc_eval.engine.executors.dispatcher import Dispatcher
from smc_eval.engine.executors.jobs import Job
from smc_eval.engine.finished_run import finished_run
from smc_eval.engine.progress import Silent
from smc_eval.engine.prune_stage import round_targets
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import shared_nets
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomAfter
from smc_eval.methods.rigl import SensitivityRigL
from smc_eval.methods.snip import Sensitivity, Snip
from smc_eval.methods.wanda import Wanda
from smc_eval.planning.plan import Plan
from smc_eval.pruner import Pruner
from smc_eval.store.record import Record, failed_record
from smc_eval.store.record_line import LineReader
from smc_eval.store.store import Store
from smc_eval.target import SMC_GRID, Target
from smc_eval.task import Part, Source, Task
from smc_eval.testing import Example, Toy, ToyNet, chain_of, record_with, without_time


class Half(Toy):
    """A task that reports a part of the test split, and shares its trained nets."""

    reported: ClassVar[slice] = slice(15)

    def trained_as(self) -> Task:
        return Toy(recipe=self.recipe)

    def data(self, part: Part) -> Sequence[Example]:
        return super().data(part)[self.reported] if part == "test" else super().data(part)


class OtherHalf(Half):
    reported: ClassVar[slice] = slice(15, None)


def test_a_finished_run_reads_each_record_once_and_needs_no_worker(tmp_path: Path, monkeypatch) -> None:
    chains = [chain_of(RandomAfter(), Target(sparsity=sparsity)) for sparsity in (0.5, 0.8)]
    records = run_cells(chains, RunOptions(tmp_path, device="cpu", threads=1))
    lines, read = list[bytes](), LineReader.record
    monkeypatch.setattr(LineReader, "record", lambda self, line: lines.append(line) or read(self, line))
    assert finished_run(chains, Store(tmp_path), RunOptions(tmp_path)) == records
    assert len(lines) == 2
    more = [*chains, chain_of(RandomAfter(), Target(sparsity=0.9))]
    assert finished_run(more, Store(tmp_path), RunOptions(tmp_path)) is None
    Store(tmp_path).records.add(failed_record(records[0], "out of memory"))
    assert finished_run(chains, Store(tmp_path), RunOptions(tmp_path)) is None  # it runs again


class OneByOne:
    """Writes the record of each cell that it gets."""

    slots = 1

    def __init__(self, store: Store) -> None:
        self.store, self.jobs = store, list[Job]()

    def submit(self, job: Job, report: Any) -> Future[Record | None]:
        self.jobs.append(job)
        record = record_with(digest=job.chain.digest)
        self.store.records.add(record)
        future = Future[Record | None]()
        future.set_result(record)
        return future

    def shutdown(self) -> None:
        """Nothing runs."""


def test_a_job_says_how_much_of_the_records_file_was_searched_and_its_cell_reads_the_rest(
    tmp_path: Path, monkeypatch
) -> None:
    store = Store(tmp_path)
    store.open()
    for number in range(5):
        store.records.add(record_with(digest=f"{number}" * 64))
    sizes = [store.records.path.stat().st_size]
    chains = [chain_of(RandomAfter(), Target(sparsity=sparsity)) for sparsity in (0.5, 0.8)]
    executor = OneByOne(store)
    records = Dispatcher(chains, Store(tmp_path), executor, RunOptions(tmp_path)).run()
    assert [record.digest for record in records] == [chain.digest for chain in chains]
    assert executor.jobs[0].records_read == sizes[0] < executor.jobs[1].records_read

    lines, read = list[bytes](), LineReader.record
    monkeypatch.setattr(LineReader, "record", lambda self, line: lines.append(line) or read(self, line))
    job = executor.jobs[0]  # another process has finished its cell meanwhile
    options = CellOptions(records_read=job.records_read)
    again = attempt(CellRun(job.chain, Store(tmp_path), Device("cpu", 1), Silent(), options))
    assert again == record_with(digest=job.chain.digest)
    assert len(lines) == 1


class ScoredElsewhere(Toy):
    """A task that trains on synthetic data and is scored on other data."""

    def trained_as(self) -> Task:
        return Toy(recipe=self.recipe)

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "elsewhere", "1" * 64, trained=False), *super().sources())


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each stage ran."""
    counts = Counter[str]()
    run_stage = CellRun._run_stage

    def counted(self: CellRun, link: Any) -> None:
        counts[link.digest] += 1
        run_stage(self, link)

    monkeypatch.setattr(CellRun, "_run_stage", counted)
    return counts


def test_methods_share_one_dense_training(tmp_path: Path, runs: Counter[str]) -> None:
    methods = (MagnitudeAfter(), RandomAfter())
    chains = [chain_of(Dense(), Target())]
    chains += [chain_of(method, Target(sparsity=s)) for method in methods for s in (0.2, 0.5, 0.8)]
    results = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert all(result.sound for result in results)
    assert set(runs.values()) == {1}
    assert len(runs) == 1 + 2 * 3 * 2  # one dense training, then a pruning and a training for each cell
    assert (
        results[0].cost.steps == 12 and results[1].cost.steps == 24
    )  # each record has the cost of its whole chain


def test_tasks_that_share_their_nets_train_once_and_are_scored_separately(
    tmp_path: Path, runs: Counter[str]
) -> None:
    methods = ((Dense(), Target()), (MagnitudeAfter(), Target(sparsity=0.5)))
    chains = [chain_of(method, target, kind()) for kind in (Half, OtherHalf) for method, target in methods]
    results = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert all(result.sound for result in results)
    assert len({result.digest for result in results}) == 4
    assert set(runs.values()) == {1}
    assert len(runs) == 3  # one dense training, one pruning, one training after it
    assert [result.score.n for result in results if result.score] == [15, 15, 5, 5]
    assert results[0].certificate == results[2].certificate


def test_a_net_that_learned_from_synthetic_data_and_is_scored_on_other_data_is_noted(tmp_path: Path) -> None:
    untouched = Toy().recipe.model_copy(update={"steps": 0})
    cells = (
        (Dense(), ScoredElsewhere(), "trained on synthetic data, not a result"),
        (Dense(), ScoredElsewhere(recipe=untouched), ""),
        (Wanda(), ScoredElsewhere(recipe=untouched), "calibrated on synthetic data, not a result"),
        (MagnitudeAfter(), ScoredElsewhere(recipe=untouched), ""),
        (Wanda(), Toy(recipe=untouched), ""),  # the table says SYNTHETIC DATA
    )
    for method, task, words in cells:
        target = Target() if isinstance(method, Dense) else Target(sparsity=0.5)
        (result,) = run_cells([chain_of(method, target, task)], RunOptions(tmp_path, device="cpu"))
        notes = [note for note in result.notes if "synthetic" in note]
        assert [note.partition(";")[0] for note in notes] == ([words] if words else []), method


def test_a_plan_counts_a_shared_training_once() -> None:
    chains = [chain_of(Dense(), Target(), kind()) for kind in (Half, OtherHalf)]
    plan = Plan.of(chains, finished=lambda digest: False)
    assert len(plan.roots) == 1
    assert (plan.steps_to_run, plan.steps_shared) == (12, 12)


def test_an_untrained_net_is_scored_too(tmp_path: Path) -> None:
    untrained = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    (result,) = run_cells([chain_of(Dense(), Target(), untrained)], RunOptions(tmp_path, device="cpu"))
    assert result.sound and result.cost.steps == 0


def test_ten_lottery_targets_share_one_chain_of_rounds(tmp_path: Path, runs: Counter[str]) -> None:
    chains = [chain_of(LotteryTicket(), Target(sparsity=s)) for s in SMC_GRID]
    links = {link.digest for chain in chains for link in chain.links}
    assert len(links) == 1 + 10 * 3  # dense, then pruning, rewind and training of each round
    run_cells(chains[:3], RunOptions(tmp_path, device="cpu"))
    assert len(runs) == 1 + 3 * 3


def test_a_second_run_reads_the_records_and_computes_nothing(tmp_path: Path, runs: Counter[str]) -> None:
    chains = [chain_of(MagnitudeBefore(), Target(sparsity=0.5))]
    first = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    runs.clear()
    assert run_cells(chains, RunOptions(tmp_path, device="cpu")) == first
    assert not runs


def test_a_store_never_gives_a_net_the_mask_of_other_batches(tmp_path: Path) -> None:
    methods = (
        Snip(batches=1),
        SensitivityRigL(batches=1),
    )  # they share the pruned net, so it stays in the store

    def masks(folder: str, size: int) -> list[str]:
        task = Toy(recipe=Toy().recipe.model_copy(update={"batch_size": size}))
        chains = [chain_of(method, Target(sparsity=0.5), task) for method in methods]
        records = run_cells(chains, RunOptions(tmp_path / folder, device="cpu"))
        return [record.certificate.mask_digest for record in records if record.certificate]

    other, after, alone = masks("one", 8), masks("one", 2), masks("another", 2)
    assert after == alone != other


def test_what_a_task_uses_of_a_net_does_not_depend_on_the_examples_that_a_recipe_holds_out(
    tmp_path: Path,
) -> None:
    class Branch(ToyNet):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Linear(8, 12)

        def forward(self, tokens_NL: Tensor) -> Tensor:
            out = super().forward(tokens_NL)
            rare = (tokens_NL[:, 0] == 11) & (tokens_NL[:, 1] > 3)  # as an expert that one example reaches
            return out + 0.01 * self.extra(self.words(tokens_NL[:, 0])) if rare.any() else out

    class BranchToy(Toy):
        def model(self) -> nn.Module:
            return Branch()

    def scope(folder: str, validation: float) -> int:
        task = BranchToy(recipe=Toy().recipe.model_copy(update={"validation": validation}))
        [record] = run_cells(
            [chain_of(Snip(), Target(sparsity=0.5), task)], RunOptions(tmp_path / folder, device="cpu")
        )
        assert record.certificate is not None
        return record.certificate.in_scope

    alone = scope("alone", 0.0)
    assert [scope("shared", share) for share in (0.9, 0.0)] == [alone] * 2


def test_a_pruner_that_says_it_reads_no_batches_gets_none(tmp_path: Path) -> None:
    class Untrue(Sensitivity):
        reads_batches: ClassVar[bool] = False

    class UntrueSnip(Snip):
        def pruner(self) -> Pruner:
            return Untrue()

    [record] = run_cells([chain_of(UntrueSnip(), Target(sparsity=0.5))], RunOptions(tmp_path, device="cpu"))
    assert record.status == "failed" and "reads batches, and its `reads_batches` is False" in record.reason


def test_only_shared_nets_stay_on_disk(tmp_path: Path) -> None:
    chains = [
        chain_of(Dense(), Target()),
        *(chain_of(MagnitudeAfter(), Target(sparsity=s)) for s in (0.2, 0.5)),
    ]
    run_cells(chains, RunOptions(tmp_path, device="cpu"))
    dense = chains[0].links[0].digest
    assert shared_nets(chains) == {dense}
    assert [path.name for path in (tmp_path / "nets").iterdir()] == [dense]
    assert not list((tmp_path / "partial").iterdir())


def test_a_smaller_grid_deletes_no_net_of_a_larger_one(tmp_path: Path, runs: Counter[str]) -> None:
    half, most = (chain_of(MagnitudeAfter(), Target(sparsity=sparsity)) for sparsity in (0.5, 0.8))
    dense = chain_of(Dense(), Target())
    run_cells([dense, half], RunOptions(tmp_path, device="cpu"))
    for alone in (half, most, most):  # finished, to do, finished
        run_cells([alone], RunOptions(tmp_path, device="cpu"))
        assert Store(tmp_path).nets() == {dense.links[0].digest}
    assert runs[dense.links[0].digest] == 1


def test_a_broken_stored_net_is_noticed_and_computed_again(tmp_path: Path, runs: Counter[str]) -> None:
    chains = [chain_of(Dense(), Target()), chain_of(MagnitudeAfter(), Target(sparsity=0.5))]
    wanted = run_cells(chains, RunOptions(tmp_path / "whole", device="cpu"))
    run_cells(
        [*chains[:1], chain_of(MagnitudeAfter(), Target(sparsity=0.2))],
        RunOptions(tmp_path / "broken", device="cpu"),
    )
    dense = chains[0].links[0].digest
    path = tmp_path / "broken" / "nets" / dense / "net.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    runs.clear()
    notes: list[str] = []

    class Recording(Silent):
        def note(self, text: str, *, warning: bool = False) -> None:
            notes.append(text)

    records = run_cells(chains, RunOptions(tmp_path / "broken", device="cpu", watcher=Recording()))
    assert runs[dense] == 1 and any("broken" in note for note in notes)
    assert [without_time(record) for record in records] == [without_time(record) for record in wanted]


def test_a_broken_record_is_skipped_and_its_cell_runs_again(tmp_path: Path, runs: Counter[str]) -> None:
    chains = [chain_of(Dense(), Target())]
    first = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"value": ', '"value": 9'), encoding="utf-8")
    runs.clear()
    second = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert len(runs) == 1 and without_time(second[0]) == without_time(first[0])


def test_a_failed_cell_has_its_reason_and_the_others_run(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            raise RuntimeError("the moon is full")

    chains = [chain_of(Dense(), Target(), Broken()), chain_of(Dense(), Target())]
    failed, done = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert failed.status == "failed"
    error, place = failed.reason.split("\n")
    assert error == "RuntimeError: the moon is full"
    names = f"task {Broken.identity} and method {Dense.identity}"  # either may be at fault
    assert place.startswith(f"in a cell of {names}; the traceback is in ")
    assert "the moon is full" in Path(failed.reason.rsplit(" ", 1)[1]).read_text(encoding="utf-8")
    assert done.sound
    assert Store(tmp_path).records.latest()[failed.digest].status == "failed"


def test_a_run_after_an_interrupt_ends_like_one_without(tmp_path: Path) -> None:
    class Interrupting(Silent):
        def step(self, done: int, loss: float) -> None:
            if done == 5:
                raise KeyboardInterrupt

    chains = [chain_of(Dense(), Target())]
    with pytest.raises(KeyboardInterrupt):
        run_cells(
            chains,
            RunOptions(
                tmp_path / "interrupted", device="cpu", checkpoint_seconds=0.0, watcher=Interrupting()
            ),
        )
    assert len(list((tmp_path / "interrupted" / "partial").iterdir())) == 1
    resumed, whole = (
        run_cells(chains, RunOptions(tmp_path / name, device="cpu")) for name in ("interrupted", "whole")
    )
    assert resumed[0].sound and without_time(resumed[0]) == without_time(whole[0])


def test_a_missing_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cuda device"):
        run_cells([], RunOptions(tmp_path, device="cuda"))
    with pytest.raises(UsageError, match="no device is named 'gpu'"):
        run_cells([], RunOptions(tmp_path, device="gpu"))


def test_the_runner_imports_no_tasks_or_methods() -> None:
    assert not {name for name in vars(runner) if name in ("registry", "methods", "tasks")}


def test_rounds_have_equal_ratios_from_the_current_density() -> None:
    goal = Target(sparsity=0.875)
    assert [to.sparsity for to in round_targets(goal, 1.0, 3)] == pytest.approx([0.5, 0.75, 0.875])
    assert [to.sparsity for to in round_targets(goal, 0.5, 2)] == pytest.approx([0.75, 0.875])
    assert round_targets(goal, 1.0, 1) == [goal]


def test_a_pattern_has_at_most_one_round_for_each_pattern_between() -> None:
    assert [to.pattern for to in round_targets(Target.parse("2:4"), 1.0, 100)] == ["3:4", "2:4"]


def test_a_full_disk_fails_cells_with_a_reason_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = [chain_of(Dense(), Target()), chain_of(MagnitudeAfter(), Target(sparsity=0.5))]
    (wanted, _) = run_cells(chains, RunOptions(tmp_path / "whole", device="cpu"))
    run_cells(chains[:1], RunOptions(tmp_path / "full", device="cpu"))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    first, second = run_cells(chains, RunOptions(tmp_path / "full", device="cpu"))
    assert first.sound  # its record existed before
    assert second.status == "failed" and second.reason.endswith("No space left on device")
    monkeypatch.undo()
    first, second = run_cells(chains, RunOptions(tmp_path / "full", device="cpu"))
    assert without_time(first) == without_time(wanted) and second.sound
    assert not list((tmp_path / "full").glob("**/.*"))


@pytest.mark.parametrize(
    ("done", "change", "jobs"),
    [
        (0, {}, 3),
        (16, {}, 2),
        (33, {}, 1),
        (0, {"threads": 2}, 2),
        (0, {"tiny": False}, 1),
        (0, {"isolated": False}, 1),
        (0, {"alone": False}, 1),
        (0, {"jobs": 7}, 7),
        (0, {"executor": "slurm"}, None),
    ],
)
def test_many_tiny_cells_take_the_cores_of_a_cpu(
    done: int, change: dict[str, Any], jobs: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "usable_cores", lambda: 4)
    chains = [chain_of(RandomAfter(), Target(sparsity=0.5), seed=seed) for seed in range(49)]
    store = Store(tmp_path)
    store.open()
    for chain in chains[:done]:
        store.records.add(record_with(digest=chain.digest))
    options = RunOptions(
        tmp_path, **{"device": "cpu", "threads": 1, "tiny": True, "isolated": True, **change}
    )
    assert runner._jobs(chains, store, options, []) == jobs
    if "jobs" not in change and "executor" not in change:
        with monkeypatch.context() as patch:
            patch.setattr(runner.launch, "world_size", lambda: 2)  # ranks run each cell together
            assert runner._jobs(chains, store, options, []) == 1
    assert runner._jobs(chains, store, options, ["0", "1"]) == (
        jobs if change.keys() & {"jobs", "executor"} else 2
    )


@pytest.mark.parametrize(
    ("device", "found", "cpu"),
    [("cpu", True, True), ("auto", False, True), ("auto", True, False), ("cuda", False, False)],
)
def test_auto_is_the_cpu_where_torch_finds_no_accelerator(
    device: str, *, found: bool, cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: found)
    assert is_cpu(device) == cpu
