"""Many cells: what is shared is trained once, what fails fails alone, what is broken is redone."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from smc_eval.engine import cell_run, runner, train
from smc_eval.engine.cell_run import round_targets
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import shared_nets
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomAfter
from smc_eval.planning.plan import Plan
from smc_eval.store.store import Store
from smc_eval.target import SMC_GRID, Target
from smc_eval.task import Part, Task
from smc_eval.testing import Example, Toy, chain_of, without_time


class Half(Toy):
    """A task that reports a part of what it is trained for."""

    reported: ClassVar[slice] = slice(15)

    def trained_as(self) -> Task:
        return Toy(recipe=self.recipe)

    def data(self, part: Part) -> Sequence[Example]:
        return super().data(part)[self.reported] if part == "test" else super().data(part)


class OtherHalf(Half):
    reported: ClassVar[slice] = slice(15, None)


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each link was carried out."""
    seen = Counter[str]()
    carry_out = cell_run.CellRun._carry_out

    def counted(self: cell_run.CellRun, link: Any) -> None:
        seen[link.digest] += 1
        carry_out(self, link)

    monkeypatch.setattr(cell_run.CellRun, "_carry_out", counted)
    return seen


def test_dense_training_is_paid_once_for_all_methods_after_it(tmp_path: Path, carried: Counter[str]) -> None:
    methods = (MagnitudeAfter(), RandomAfter())
    chains = [chain_of(Dense(), Target())]
    chains += [chain_of(method, Target(sparsity=s)) for method in methods for s in (0.2, 0.5, 0.8)]
    results = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert all(result.sound for result in results)
    assert set(carried.values()) == {1}
    assert len(carried) == 1 + 2 * 3 * 2  # one dense training; a prune and a training for each cell
    assert results[0].cost.steps == 12 and results[1].cost.steps == 24  # each says what it would cost alone


def test_cells_that_are_trained_as_one_train_once_and_are_scored_apart(
    tmp_path: Path, carried: Counter[str]
) -> None:
    methods = ((Dense(), Target()), (MagnitudeAfter(), Target(sparsity=0.5)))
    chains = [chain_of(method, target, kind()) for kind in (Half, OtherHalf) for method, target in methods]
    results = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert all(result.sound for result in results)
    assert len({result.digest for result in results}) == 4
    assert set(carried.values()) == {1}
    assert len(carried) == 3  # one dense training, one prune, one training after it
    assert [result.score.n for result in results if result.score] == [15, 15, 5, 5]
    assert results[0].certificate == results[2].certificate


def test_a_plan_shows_the_training_of_two_reports_once() -> None:
    chains = [chain_of(Dense(), Target(), kind()) for kind in (Half, OtherHalf)]
    plan = Plan.of(chains, finished=lambda digest: False)
    assert len(plan.roots) == 1
    assert (plan.owed, plan.shared) == (12, 12)


def test_a_net_that_nobody_trains_is_scored_too(tmp_path: Path) -> None:
    untrained = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    (result,) = run_cells([chain_of(Dense(), Target(), untrained)], RunOptions(tmp_path, device="cpu"))
    assert result.sound and result.cost.steps == 0


def test_ten_lottery_targets_share_one_chain_of_rounds(tmp_path: Path, carried: Counter[str]) -> None:
    chains = [chain_of(LotteryTicket(), Target(sparsity=s)) for s in SMC_GRID]
    links = {link.digest for chain in chains for link in chain.links}
    assert len(links) == 1 + 10 * 3  # dense, then prune, rewind, train of each round
    run_cells(chains[:3], RunOptions(tmp_path, device="cpu"))
    assert len(carried) == 1 + 3 * 3


def test_a_second_run_reads_and_computes_nothing(tmp_path: Path, carried: Counter[str]) -> None:
    chains = [chain_of(MagnitudeBefore(), Target(sparsity=0.5))]
    first = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    carried.clear()
    assert run_cells(chains, RunOptions(tmp_path, device="cpu")) == first
    assert not carried


def test_only_nets_where_chains_fork_stay_on_disk(tmp_path: Path) -> None:
    chains = [
        chain_of(Dense(), Target()),
        *(chain_of(MagnitudeAfter(), Target(sparsity=s)) for s in (0.2, 0.5)),
    ]
    run_cells(chains, RunOptions(tmp_path, device="cpu"))
    dense = chains[0].links[0].digest
    assert shared_nets(chains) == {dense}
    assert [path.name for path in (tmp_path / "nets").iterdir()] == [dense]
    assert not list((tmp_path / "partial").iterdir())


def test_what_one_grid_keeps_no_smaller_one_deletes(tmp_path: Path, carried: Counter[str]) -> None:
    half, most = (chain_of(MagnitudeAfter(), Target(sparsity=sparsity)) for sparsity in (0.5, 0.8))
    dense = chain_of(Dense(), Target())
    run_cells([dense, half], RunOptions(tmp_path, device="cpu"))
    for alone in (half, most, most):  # finished, to do, finished
        run_cells([alone], RunOptions(tmp_path, device="cpu"))
        assert Store(tmp_path).nets() == {dense.links[0].digest}
    assert carried[dense.links[0].digest] == 1


def test_a_broken_stored_net_is_noticed_and_computed_again(tmp_path: Path, carried: Counter[str]) -> None:
    chains = [chain_of(Dense(), Target()), chain_of(MagnitudeAfter(), Target(sparsity=0.5))]
    wanted = run_cells(chains, RunOptions(tmp_path / "whole", device="cpu"))
    run_cells(
        [*chains[:1], chain_of(MagnitudeAfter(), Target(sparsity=0.2))],
        RunOptions(tmp_path / "hurt", device="cpu"),
    )
    dense = chains[0].links[0].digest
    path = tmp_path / "hurt" / "nets" / dense / "net.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    carried.clear()
    notes: list[str] = []

    class Listening(Silent):
        def note(self, text: str, *, warning: bool = False) -> None:
            notes.append(text)

    found = run_cells(chains, RunOptions(tmp_path / "hurt", device="cpu", watcher=Listening()))
    assert carried[dense] == 1 and any("broken" in note for note in notes)
    assert [without_time(result) for result in found] == [without_time(result) for result in wanted]


def test_a_broken_record_is_passed_over_and_its_cell_runs_again(
    tmp_path: Path, carried: Counter[str]
) -> None:
    chains = [chain_of(Dense(), Target())]
    first = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    book = tmp_path / "results.jsonl"
    book.write_text(book.read_text(encoding="utf-8").replace('"value": ', '"value": 9'), encoding="utf-8")
    carried.clear()
    again = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert len(carried) == 1 and without_time(again[0]) == without_time(first[0])


def test_a_cell_that_fails_fails_alone_and_says_why(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            raise RuntimeError("the moon is full")

    chains = [chain_of(Dense(), Target(), Broken()), chain_of(Dense(), Target())]
    failed, done = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert failed.status == "failed" and failed.reason.startswith(
        "RuntimeError: the moon is full\nfull story in "
    )
    assert "the moon is full" in Path(failed.reason.rsplit(" ", 1)[1]).read_text(encoding="utf-8")
    assert done.sound
    assert Store(tmp_path).records.latest()[failed.digest].status == "failed"


def test_an_interrupt_goes_through_and_the_next_run_ends_as_if_there_had_been_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)

    class Pressing(Silent):
        def step(self, done: int, loss: float) -> None:
            if done == 5:
                raise KeyboardInterrupt

    chains = [chain_of(Dense(), Target())]
    with pytest.raises(KeyboardInterrupt):
        run_cells(chains, RunOptions(tmp_path / "hurt", device="cpu", watcher=Pressing()))
    assert len(list((tmp_path / "hurt" / "partial").iterdir())) == 1
    again, whole = (
        run_cells(chains, RunOptions(tmp_path / name, device="cpu")) for name in ("hurt", "whole")
    )
    assert again[0].sound and without_time(again[0]) == without_time(whole[0])


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cuda device"):
        run_cells([], RunOptions(tmp_path, device="cuda"))
    with pytest.raises(UsageError, match="no device is called 'gpu'"):
        run_cells([], RunOptions(tmp_path, device="gpu"))


def test_nothing_of_the_runner_knows_tasks_or_methods() -> None:
    assert not {name for name in vars(runner) if name in ("registry", "methods", "tasks")}


def test_rounds_lead_from_where_the_net_stands_in_equal_ratios() -> None:
    goal = Target(sparsity=0.875)
    assert [to.sparsity for to in round_targets(goal, 1.0, 3)] == pytest.approx([0.5, 0.75, 0.875])
    assert [to.sparsity for to in round_targets(goal, 0.5, 2)] == pytest.approx([0.75, 0.875])
    assert round_targets(goal, 1.0, 1) == [goal]


def test_a_pattern_is_reached_in_no_more_rounds_than_there_are_patterns_between() -> None:
    assert [to.pattern for to in round_targets(Target.parse("2:4"), 1.0, 100)] == ["3:4", "2:4"]


def test_a_full_disk_fails_cells_with_a_reason_and_once_there_is_room_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = [chain_of(Dense(), Target()), chain_of(MagnitudeAfter(), Target(sparsity=0.5))]
    (wanted, _) = run_cells(chains, RunOptions(tmp_path / "whole", device="cpu"))
    run_cells(chains[:1], RunOptions(tmp_path / "full", device="cpu"))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    first, second = run_cells(chains, RunOptions(tmp_path / "full", device="cpu"))
    assert first.sound  # it was there before
    assert second.status == "failed" and second.reason.endswith("No space left on device")
    monkeypatch.undo()
    first, second = run_cells(chains, RunOptions(tmp_path / "full", device="cpu"))
    assert without_time(first) == without_time(wanted) and second.sound
    assert not list((tmp_path / "full").glob("**/.*"))
