"""Ranks without a second process: how they divide the work, communicate and fail."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributed, nn
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.engine import runner
from smc_eval.engine.batches import Batches, own_passes
from smc_eval.engine.device import Device
from smc_eval.engine.distributed import ranks as ranks_module
from smc_eval.engine.distributed.joint import JointNet
from smc_eval.engine.distributed.ranks import BUCKET, Ranks, buckets
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import RankLost, SparsityError, UsageError
from smc_eval.recipe import Recipe
from smc_eval.sparse.scope import in_scope
from smc_eval.store.store import Store
from smc_eval.testing import Example, Toy, ToyNet


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    """Rank 0 of two ranks, with the store for messages in this process."""
    monkeypatch.setattr(ranks_module, "on_sigterm", lambda act: None)
    monkeypatch.setattr(ranks_module, "FAILURE_TIMEOUT", timedelta(seconds=0.1))
    ranks = Device("cpu", threads=1).ranks
    ranks.size, ranks._messages = 2, distributed.HashStore()
    return ranks


def gradients(batches: Batches, net: ToyNet) -> dict[str, Tensor]:
    net.zero_grad()
    for batch, share in batches.step(0):
        (batches.task.loss(net, batch) * share).backward()  # type: ignore[no-untyped-call]
    return {name: w.grad.clone() for name, w in net.named_parameters() if w.grad is not None}


def test_the_gradients_of_two_ranks_add_up_to_those_of_one() -> None:
    task, device = Toy(recipe=Recipe(steps=1, batch_size=3, accumulation=3)), Device("cpu", threads=1)
    net = ToyNet().eval()
    batches = Batches(task, task.recipe, "a", device)
    alone = gradients(batches, net)
    parts = []
    for rank in (0, 1):
        device.ranks.rank, device.ranks.size = rank, 2
        parts.append(gradients(batches, net))
    for name, gradient in alone.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], gradient)


def test_an_error_of_another_rank_is_raised_on_this_one(pair: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "all_reduce", lambda failed: failed.fill_(1))
    monkeypatch.setattr(pair, "gather", lambda error: [error, RuntimeError("the moon is full")])
    with pytest.raises(RuntimeError, match="the moon is full"), pair.errors_shared():
        pass


def test_an_error_of_rank_0_is_raised_with_its_traceback(
    pair: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "broadcast_object_list", lambda outcome, **_: None)

    def fail() -> None:
        raise SparsityError("too sparse")

    with pytest.raises(SparsityError, match="too sparse") as raised:
        pair.on_rank_zero(fail)
    assert raised.value.__notes__[0].startswith("on rank 0:\nTraceback")
    assert pair.on_rank_zero(lambda: 7) == 7


def test_other_masks_on_a_rank_are_refused_with_rank_and_tensor(
    pair: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def received(tensor: Tensor, src: int) -> None:
        tensor[-1] ^= 1  # the last weight of the last mask differs on rank 0

    net = JointNet(ToyNet(), in_scope(ToyNet(), "body"), pair)
    monkeypatch.setattr(pair, "broadcast_tensors", lambda tensors: None)
    monkeypatch.setattr(distributed, "broadcast", received)
    monkeypatch.setattr(pair, "gather", lambda differing: [[], differing])
    with pytest.raises(SparsityError, match="rank 1 has other masks than rank 0, first of 'odd.weight'"):
        net.set_masks(net.full_masks)


def test_a_lost_connection_ends_the_rank_with_the_reason_of_the_first(pair: Ranks) -> None:
    for reported in (False, True):
        with pytest.raises(RankLost, match="another of 2 ranks has ended: no route") as raised:
            lose_connection(pair, "no route" if not reported else "no more")
        assert raised.value.reported == reported


def lose_connection(ranks: Ranks, why: str) -> Any:
    with ranks._communicating():
        raise RuntimeError(f"{why}\nand many more lines")


def test_a_rank_that_fails_alone_ends(pair: Ranks) -> None:
    with pytest.raises(RankLost, match="rank 0 of 2 failed: the moon is full; "):
        pair.all_failed("the moon is full", short=False)


def test_if_all_ranks_fail_they_agree_whether_memory_was_short(
    pair: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks_module, "_FAILURES", iter([1, 2]))
    for number, message in ((1, "short"), (2, "")):
        pair._messages.set(f"smc-eval: failure {number} of 1", message)
        assert pair.all_failed("no memory", short=False) == (message == "short")


def test_ranks_refuse_several_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--jobs 3 runs several cells at once, and 2 ranks"):
        run_cells([], RunOptions(tmp_path, device="cpu", jobs=3))
    result = CliRunner().invoke(app, ["work", "--tasks", "all", "--output", str(tmp_path / "new")])
    assert result.exit_code == 2 and "work runs several cells at once" in result.stderr
    assert not (tmp_path / "new").exists()


def test_several_ranks_refuse_a_single_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="--device cuda:1 is one device, and there are 2 ranks"):
        Device("cuda:1")


def test_other_verbs_than_run_happen_only_on_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = CliRunner().invoke(app, ["list"], env={"RANK": "0"})
    second = CliRunner().invoke(app, ["list"], env={"RANK": "1"})
    assert "csqa" in first.stdout and second.exit_code == 0 and second.stdout == ""


def test_an_error_of_another_rank_is_printed_by_that_rank(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["smc_eval.cli.program"], "RANK_ERROR_DELAY", 0.0)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    result = CliRunner().invoke(app, ["--tasks", "nosuch"], env={"WORLD_SIZE": "2", "RANK": "1"})
    assert result.exit_code == 2
    assert "error: on rank 1: no task or group is named 'nosuch'" in capfd.readouterr().err


def test_ranks_with_other_cells_are_refused(tmp_path: Path) -> None:
    device: Any = SimpleNamespace(ranks=SimpleNamespace(gather=lambda mine: [mine, ["others"]]))
    with pytest.raises(UsageError, match="rank 1 has other cells than rank 0"):
        runner._for_rank([], Store(tmp_path), device, RunOptions(tmp_path))


def test_gradients_are_added_up_and_norm_statistics_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.ModuleDict({"norm": nn.BatchNorm1d(2), "idle": nn.Linear(2, 2)})
    model["norm"](torch.tensor([[1.0, 2.0], [3.0, 6.0]])).square().sum().backward()
    mean, gradient = model["norm"].running_mean.clone(), model["norm"].bias.grad.clone()
    ranks = Device("cpu", threads=1).ranks
    ranks.size = 2
    # as if another rank had the same values
    monkeypatch.setattr(ranks, "all_reduce", lambda tensors: [tensor.mul_(2) for tensor in tensors])
    assert ranks.all_reduce_gradients(model, 0.25) == 0.5
    torch.testing.assert_close(model["norm"].bias.grad, 2 * gradient)
    torch.testing.assert_close(model["norm"].running_mean, mean)
    assert model["idle"].weight.grad is None


def rank_of(rank: int, ranks: int) -> Any:
    return SimpleNamespace(rank=rank, size=ranks)


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=9), max_size=9), st.integers(1, 5))
def test_every_example_is_in_one_pass_of_one_rank(parts: list[list[int]], ranks: int) -> None:
    parts = [[10 * number + place for place in range(len(part))] for number, part in enumerate(parts)]
    dealt = [list(own_passes(parts, rank_of(rank, ranks))) for rank in range(ranks)]
    assert sorted(i for passes in dealt for own, _ in passes for i in own) == [
        i for part in parts for i in part
    ]
    assert all(own and set(own) <= set(parts[number]) for passes in dealt for own, number in passes)
    counts = [len(passes) for passes in dealt]
    assert not parts or counts[0] == max(counts) > 0  # rank 0 is never idle


class Weighed(Toy):
    """Examples have different weights in the loss, and a batch is their list."""

    def loss_terms(self, example: Example) -> int:
        return 1 + sum(example[0]) % 7

    def collate(self, examples: Sequence[Example]) -> Any:
        return list(examples)


@given(st.integers(1, 4), st.integers(0, 5), st.integers(1, 3), st.sampled_from([None, 2]))
def test_the_share_of_an_example_in_a_step_does_not_depend_on_ranks_and_parts(
    ranks: int, step: int, parts: int, tokens: int | None
) -> None:
    recipe = Recipe(steps=1, batch_size=4, accumulation=2, tokens=tokens)

    def shares(batches: Batches) -> dict[Example, float]:
        by_example = dict[Example, float]()
        for batch, share in batches.step(step):
            terms = {example: batches.task.loss_terms(example) for example in batch}
            by_example |= {example: share * own / sum(terms.values()) for example, own in terms.items()}
        return by_example

    task, device = Weighed(), Device("cpu", threads=1)
    whole, cut = shares(Batches(task, recipe, "a", device)), Batches(task, recipe, "a", device, parts)
    together = dict[Example, float]()
    for rank in range(ranks):
        device.ranks.rank, device.ranks.size = rank, ranks
        together |= shares(cut)
    assert together == pytest.approx(whole) and sum(whole.values()) == pytest.approx(1)


def test_buckets_hold_tensors_of_one_type_in_order() -> None:
    small, large = torch.zeros(3), torch.empty(BUCKET // 4)
    parts = list(buckets([small, small, large, small, small.bool(), small.bool()]))
    assert [len(part) for part in parts] == [2, 1, 1, 2]
    assert list(buckets([])) == []


def test_ranks_have_different_random_streams_unless_they_are_to_be_equal() -> None:
    device, drawn = Device("cpu", threads=1), list[float]()
    for rank in (0, 1):
        device.ranks.rank = rank
        for same in (False, True):
            device.seed("a", same_on_all_ranks=same)
            drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1] == drawn[3] != drawn[2]
