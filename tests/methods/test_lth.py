"""The lottery ticket: published rounds, rewinding of weights or of the learning rate, nested masks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket, round_sparsities
from smc_eval.methods.omp import Magnitude
from smc_eval.pruner import Probe
from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain


def stages_of(method: LotteryTicket, sparsity: float) -> list[str]:
    return [_described(stage) for stage in method.plan(Target(sparsity=sparsity))]


def _described(stage: Stage) -> str:
    match stage:
        case Train(start=start, stop=stop):
            return f"train {start:g} to {stop:g}"
        case Prune(to=Target(sparsity=sparsity)):
            return f"prune {sparsity:.3g}"
        case Rewind(to=to):
            return f"rewind to {to}"
    raise AssertionError(stage)


def test_the_plan_of_each_kind_of_rewinding() -> None:
    assert stages_of(LotteryTicket(), 0.36) == [
        "train 0 to 1", "prune 0.2", "rewind to start",
        "train 0 to 1", "prune 0.36", "rewind to start",
        "train 0 to 1",
    ]  # fmt: skip
    assert stages_of(LotteryTicket(early=0.1), 0.2) == [
        "train 0 to 0.1", "train 0.1 to 1", "prune 0.2", "rewind to early", "train 0.1 to 1",
    ]  # fmt: skip
    assert stages_of(LotteryTicket(rewind="rate"), 0.36) == [
        "train 0 to 1", "prune 0.2", "train 0 to 1", "prune 0.36", "train 0 to 1",
    ]  # fmt: skip
    assert stages_of(LotteryTicket(rewind="rate", early=0.1), 0.2) == [
        "train 0 to 1",
        "prune 0.2",
        "train 0.1 to 1",
    ]
    assert stages_of(LotteryTicket(rewind="rate"), 0.0) == ["train 0 to 1"]


def test_rewinding_the_rate_shares_the_dense_training_and_the_first_pruning() -> None:
    target = Target(sparsity=0.36)
    dense = chain_of(Dense(), Target()).links
    for early in (0.0, 0.5):
        links = chain_of(LotteryTicket(rewind="rate", early=early), target).links
        assert links[0].digest == dense[0].digest
        assert links[1].digest == chain_of(LotteryTicket(), target).links[1].digest


def test_rewinding_the_rate_keeps_the_trained_weights(tmp_path: Path) -> None:
    target = Target(sparsity=0.2)
    weights, rate = (
        run_chain(chain_of(LotteryTicket(rewind=how, early=0.5), target), tmp_path / how)
        for how in ("weights", "rate")
    )
    assert weights[0].certificate.ok and rate[0].certificate.ok
    assert weights[0].cost.steps == 6 + 6 + 6 and rate[0].cost.steps == 12 + 6
    assert any(not torch.equal(tensor, rate[1][name]) for name, tensor in weights[1].items())


@given(st.floats(0.02, 0.9), st.floats(0.05, 0.97), st.integers(0, 2**30))
def test_masks_are_nested_over_the_rounds(share: float, sparsity: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (7, 5), "b": (4, 9)}
    masks = {name: torch.ones(shape).bool() for name, shape in shapes.items()}
    for level in round_sparsities(share, sparsity):
        weights = {
            name: torch.randn(shape, generator=generator) * masks[name] for name, shape in shapes.items()
        }
        probe = cast("Probe", SimpleNamespace(weights=weights, masks=masks, shards=UNSHARDED))
        new = Magnitude().prune(probe, Target(sparsity=level))
        assert not any((new[name] & ~mask).any() for name, mask in masks.items())
        masks = new
    assert sum(int(mask.sum()) for mask in masks.values()) == round(71 * (1 - sparsity))


@pytest.mark.parametrize("rewind", ["weights", "rate"])
def test_no_weight_returns_in_a_whole_run(
    rewind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask_log: list[dict[str, Tensor]] = []
    set_masks = Net.set_masks

    def recorded(net: Net, masks: Any) -> dict[str, Tensor]:
        mask_log.append(dict(masks))
        return set_masks(net, masks)

    monkeypatch.setattr(Net, "set_masks", recorded)
    record = run_chain(chain_of(LotteryTicket(share=0.5, rewind=rewind), Target(sparsity=0.875)), tmp_path)[0]
    assert record.certificate.ok and len(mask_log) == 3
    for before, after in pairwise(mask_log):
        assert not any((after[name] & ~mask).any() for name, mask in before.items())
