"""SynFlow: it empties no layer where one-shot pruning does. Also properties of SNIP, GraSP and SynFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import UsageError
from smc_eval.methods.grasp import GradientFlow
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.snip import Sensitivity
from smc_eval.methods.synflow import SynapticFlow, SynFlow
from smc_eval.pruner import Pruner
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of


class Chain(nn.Module):
    """A lookup table and a chain of layers. It uses the first token only."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(sum(widths))
        self.table = nn.Embedding(12, widths[0])
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=False) for a, b in zip(widths, [*widths[1:], 12], strict=True)
        )

    def forward(self, tokens_NL: Tensor) -> Tensor:
        x = self.table(tokens_NL[:, 0])
        for layer in self.layers:
            x = torch.relu(layer(x))
        return cast("Tensor", x)


def probe_of(widths: Sequence[int]) -> tuple[NetProbe, Net, Usage]:
    task, device, usage = Toy(), Device("cpu", threads=1), Usage()
    model = Chain(widths)
    net = Net(model, in_scope(model, "body"))
    return NetProbe(net, Batches(task, task.recipe, "start", device), "name", usage, device), net, usage


def pruned(by: Pruner, widths: Sequence[int], target: Target, rounds: int = 1) -> dict[str, Tensor]:
    """Masks after rounds of equal ratio, as in a run of a cell."""
    probe, net, _ = probe_of(widths)
    for number in range(1, rounds + 1):
        level = target.at(1 - target.density ** (number / rounds)) if number < rounds else target
        masks = by.prune(probe, level)
        before = net.full_masks
        assert all(not bool((masks[name] & ~before[name]).any()) for name in masks)  # no weight returns
        assert sum(int(mask.sum()) for mask in masks.values()) == expected(
            {name: tuple(mask.shape) for name, mask in masks.items()}, level
        )
        net.set_masks(masks)
    return net.masks


DEEP = [16, 16, 16, 300, 300, 16, 16, 16]
"""The flow through each weight of the widest layer is small: one-shot pruning removes all of them."""


def emptied(masks: dict[str, Tensor]) -> list[str]:
    return [name for name, mask in masks.items() if not bool(mask.any())]


@pytest.mark.parametrize(
    ("sparsity", "others"),
    [
        (0.99, [Magnitude(), SynapticFlow()]),
        (0.998, [Magnitude(), SynapticFlow(), Sensitivity(batches=7)]),
    ],
)
def test_rounds_empty_no_layer_of_a_deep_net_but_one_shot_does(sparsity: float, others: list[Pruner]) -> None:
    target = Target(sparsity=sparsity)
    probe, net, _ = probe_of(DEEP)
    net.set_masks(pruned(SynapticFlow(), DEEP, target, rounds=100))
    assert emptied(net.masks) == []
    assert all(float(values.sum()) > 0 for values in probe.flow(1).values())
    for by in others:
        assert "layers.3.weight" in emptied(pruned(by, DEEP, target)), by.identity


CRITERIA = st.sampled_from([Sensitivity(batches=2), GradientFlow(batches=2), SynapticFlow()])
WIDTHS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(max_examples=40)
@given(
    CRITERIA,
    WIDTHS,
    st.floats(0, 0.95),
    st.sampled_from(["global", "uniform", "erk", "lamp"]),
    st.integers(1, 4),
)
def test_every_sparsity_and_distribution_is_met_exactly_and_no_weight_returns(
    by: Pruner, widths: list[int], sparsity: float, distribution: Any, rounds: int
) -> None:
    if isinstance(by, GradientFlow) and distribution == "lamp":  # refused by the method's card
        distribution = "global"
    pruned(by, widths, Target(sparsity=sparsity, distribution=distribution), rounds)


@settings(max_examples=20)
@given(CRITERIA, WIDTHS, st.sampled_from(["2:4", "1:4", "4:8"]), st.integers(1, 3))
def test_every_group_meets_its_pattern(by: Pruner, widths: list[int], pattern: str, rounds: int) -> None:
    target = Target.parse(pattern)
    n, m = target.group
    for mask in pruned(by, widths, target, rounds).values():
        for row in mask:
            assert all(int(group.sum()) == n for group in row.split(m) if len(group) == m)


class Fork(nn.Module):
    """Two layers. The first token decides which of them an example uses."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.odd = nn.Linear(2, 12), nn.Linear(2, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        side = self.odd if int(tokens_NL[0, 0]) % 2 else self.even
        return cast("Tensor", side(tokens_NL[:, :2].float()))


def forked() -> tuple[NetProbe, Batches, Usage]:
    task, device, usage = Toy(), Device("cpu", threads=1), Usage()
    net, batches = Net(Fork(), ("even.weight", "odd.weight")), Batches(task, task.recipe, "start", device)
    return NetProbe(net, batches, "name", usage, device), batches, usage


def test_batches_are_drawn_until_each_weight_is_used() -> None:
    probe, batches, usage = forked()
    flow = probe.flow(30)
    first = [int(batch["tokens"][0, 0]) % 2 for batch in batches.sample(30, "name")]
    assert all(bool(values.all()) for values in flow.values())
    assert usage.scoring_passes == 1 + first.index(1 - first[0])


def test_the_flow_of_an_unused_weight_is_zero() -> None:
    probe, _, usage = forked()
    flow = probe.flow(1)
    assert sorted(bool(values.any()) for values in flow.values()) == [False, True]
    assert usage.scoring_passes == 1


def test_a_round_costs_one_pass_if_one_batch_uses_all_weights() -> None:
    probe, _, usage = probe_of([4, 4])
    SynapticFlow(batches=8).saliency(probe)
    assert usage.scoring_passes == 1


def test_the_plan_prunes_in_a_hundred_rounds_and_trains() -> None:
    target = Target(sparsity=0.9)
    assert list(SynFlow().plan(target)) == [Prune(by=SynapticFlow(), to=target, rounds=100), Train()]


class LossOnly(Toy):
    """A task without outputs."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "loss-only"})
    loss_and_outputs: ClassVar[None] = None  # type: ignore[assignment]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return cast("Tensor", model(batch["tokens"]).sum())


def test_a_task_without_outputs_is_refused_before_anything_runs() -> None:
    with pytest.raises(
        UsageError, match="'synflow' needs the outputs of the task, and task 'loss-only' has no"
    ):
        chain_of(SynFlow(), Target(sparsity=0.5), LossOnly())
