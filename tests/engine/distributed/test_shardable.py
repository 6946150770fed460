"""Shards, without a second process: what is refused, and how nets and rows are divided."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.engine.batches import filler_passes, own_passes
from smc_eval.engine.distributed import shards
from smc_eval.engine.distributed.shardable import refuse_unshardable, unshardable_parts
from smc_eval.engine.distributed.shards import layers, rows_of, shard
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import SparsityError, UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.grasp import Grasp
from smc_eval.methods.obert import OptimalBertSurgeon
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.synflow import SynFlow
from smc_eval.methods.wanda import Wanda
from smc_eval.registry import load_registry
from smc_eval.target import Target
from smc_eval.testing import Toy, ToyNet, chain_of


def test_an_old_torch_is_refused_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "FSDPModule", object)
    with pytest.raises(UsageError, match=f"with torch {re.escape(torch.__version__)}; install a newer one"):
        shards.check_torch()


def test_one_rank_cannot_shard(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--shard needs several ranks, and there is one"):
        run_cells([], RunOptions(tmp_path, device="cpu", shard=True))


@pytest.mark.parametrize(
    "method", [OptimalBertSurgeon(), SparseGPT(), Wanda(), SynFlow(), Grasp()], ids=lambda m: m.card.name
)
def test_methods_that_need_whole_tensors_are_refused_by_name(method: Method) -> None:
    chain = chain_of(method, Target(sparsity=0.5).with_distribution(method.card.distribution))
    with pytest.raises(UsageError, match=f"toy {method.card.name}.* decides masks from whole"):
        refuse_unshardable([chain])


def test_the_manual_lists_the_methods_that_can_be_sharded() -> None:
    manual = Path(__file__).parents[3] / "docs" / "ranks.md"
    (line,) = re.findall(r"^\| methods \| (.*) \| (.*) \|$", manual.read_text(encoding="utf-8"), re.MULTILINE)
    accepted, refused = (set(re.findall("`([a-z-]+)`", cell)) for cell in line)
    shardable = {
        name: not list(unshardable_parts(chain_of(kind(), target(kind))))
        for name, kind in load_registry().checked().methods.items()
    }
    shardable.pop("hello", None)  # a plugin, if it is installed
    assert {name for name, able in shardable.items() if able} == accepted
    assert {name for name, able in shardable.items() if not able} == refused


def target(kind: type[Method]) -> Target:
    """A target that the method accepts."""
    dense = kind.card.when in {"none", "custom"}
    if "free" not in kind.card.patterns:
        return Target.parse("2:4" if "n:m" in kind.card.patterns else "heads:0.5")
    return Target() if dense else Target(sparsity=0.5).with_distribution(kind.card.distribution)


class UsesParts(Toy):
    """A task that uses parts of its net directly."""

    only_calls_model = False


HALF = Target(sparsity=0.5)


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        (chain_of(TunedGmp(), HALF), "learns from another net"),
        (chain_of(MagnitudeBefore(), HALF, UsesParts()), "task 'toy' uses parts of its net"),
        (
            chain_of(MagnitudeBefore(), Target(sparsity=0.5, distribution="lamp")),
            "distribution 'lamp' needs whole tensors",
        ),
        (
            chain_of(
                MagnitudeBefore(), HALF, Toy(recipe=Toy().recipe.model_copy(update={"precision": "fp16"}))
            ),
            "precision fp16",
        ),
    ],
)
def test_everything_else_that_needs_whole_tensors_is_refused(chain: Chain, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        refuse_unshardable([chain])


def test_cells_are_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="learns from another net"):
        run_cells([chain_of(TunedGmp(), HALF)], RunOptions(tmp_path / "new", device="cpu", shard=True))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 6, 7])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_rows_are_divided_as_torch_divides_them(rows: int, ranks: int) -> None:
    whole = torch.arange(rows * 2).view(rows, 2)
    parts = [rows_of(whole, rank, ranks) for rank in range(ranks)]
    chunks = list(torch.chunk(whole, ranks)) if rows else []
    assert torch.equal(torch.cat(parts), whole)
    assert [len(part) for part in parts] == [*map(len, chunks), *[0] * (ranks - len(chunks))]


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=9), max_size=9), st.integers(2, 5))
def test_all_ranks_make_the_same_number_of_passes(parts: list[list[int]], ranks: int) -> None:
    group: list[Any] = [SimpleNamespace(rank=rank, size=ranks, shard_nets=True) for rank in range(ranks)]
    made = [[*(own for own, _ in own_passes(parts, rank)), *filler_passes(parts, rank)] for rank in group]
    assert {len(passes) for passes in made} == {len(made[0])}
    assert all(passes and all(passes) for passes in made) == (len(parts) > 0)
    for rank in group:
        rank.shard_nets = False
        assert not list(filler_passes(parts, rank))


class Stacked(nn.Module):
    """A stack inside the first layer of a stack, whose second layer shares a weight with the head."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.stack = nn.ModuleList([nn.Sequential(inner), nn.Sequential(nn.Linear(3, 3))])
        self.head = nn.Linear(3, 3)
        self.head.weight = self.stack[1][0].weight
        self.mixed = nn.ModuleList([nn.Linear(3, 3), nn.Dropout()])


def test_layers_are_in_the_outermost_stacks_and_share_no_weight() -> None:
    net = Stacked()
    assert layers(net) == [net.stack[0]]
    assert layers(ToyNet()) == []


def test_a_scalar_parameter_is_refused() -> None:
    net = nn.Module()
    net.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(SparsityError, match="'scale' is a scalar and has no rows to shard"):
        shard(net, None)  # type: ignore[arg-type]


def test_the_help_lists_shard() -> None:
    assert "--shard" in CliRunner().invoke(app, ["run", "--help"]).stdout
