"""SynFlow empties no layer where one shot does; and what SNIP, GraSP and SynFlow have in common."""

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
    """A table and a chain of layers; the token that stands first is all it sees."""

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


def window(widths: Sequence[int]) -> tuple[NetProbe, Net, Usage]:
    task, device, usage = Toy(), Device("cpu", threads=1), Usage()
    model = Chain(widths)
    net = Net(model, in_scope(model, "body"))
    return NetProbe(net, Batches(task, task.recipe, "start", device), "name", usage, device), net, usage


def pruned(by: Pruner, widths: Sequence[int], target: Target, rounds: int = 1) -> dict[str, Tensor]:
    """Masks after rounds of equal ratio, as the walk makes them."""
    probe, net, _ = window(widths)
    for number in range(1, rounds + 1):
        level = target.at(1 - target.density ** (number / rounds)) if number < rounds else target
        masks = by.prune(probe, level)
        before = net.alive
        assert all(not bool((masks[name] & ~before[name]).any()) for name in masks)  # nothing revives
        assert sum(int(mask.sum()) for mask in masks.values()) == expected(
            {name: tuple(mask.shape) for name, mask in masks.items()}, level
        )
        net.set_masks(masks)
    return net.masks


DEEP = [16, 16, 16, 300, 300, 16, 16, 16]
"""Of the widest layer each weight carries little: one shot takes all of them."""


def emptied(masks: dict[str, Tensor]) -> list[str]:
    return [name for name, mask in masks.items() if not bool(mask.any())]


@pytest.mark.parametrize(
    ("sparsity", "others"),
    [
        (0.99, [Magnitude(), SynapticFlow()]),
        (0.998, [Magnitude(), SynapticFlow(), Sensitivity(batches=7)]),
    ],
)
def test_rounds_leave_no_layer_of_a_deep_net_empty_where_one_shot_does(
    sparsity: float, others: list[Pruner]
) -> None:
    target = Target(sparsity=sparsity)
    probe, net, _ = window(DEEP)
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
def test_any_sparsity_and_spread_is_met_exactly_and_nothing_revives(
    by: Pruner, widths: list[int], sparsity: float, distribution: Any, rounds: int
) -> None:
    if isinstance(by, GradientFlow) and distribution == "lamp":  # refused by the method's card
        distribution = "global"
    pruned(by, widths, Target(sparsity=sparsity, distribution=distribution), rounds)


@settings(max_examples=20)
@given(CRITERIA, WIDTHS, st.sampled_from(["2:4", "1:4", "4:8"]), st.integers(1, 3))
def test_of_every_group_of_a_pattern_as_many_stay_as_it_says(
    by: Pruner, widths: list[int], pattern: str, rounds: int
) -> None:
    target = Target.parse(pattern)
    n, m = target.group
    for mask in pruned(by, widths, target, rounds).values():
        for row in mask:
            assert all(int(group.sum()) == n for group in row.split(m) if len(group) == m)


class Fork(nn.Module):
    """Two layers of which an example uses the one or the other, by its first token."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.odd = nn.Linear(2, 12), nn.Linear(2, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        side = self.odd if int(tokens_NL[0, 0]) % 2 else self.even
        return cast("Tensor", side(tokens_NL[:, :2].float()))


def forked() -> tuple[NetProbe, Usage]:
    task, device, usage = Toy(), Device("cpu", threads=1), Usage()
    net, feed = Net(Fork(), ("even.weight", "odd.weight")), Batches(task, task.recipe, "start", device)
    return NetProbe(net, feed, "name", usage, device), usage


def test_batches_are_drawn_until_each_weight_was_asked_for_and_no_longer() -> None:
    probe, usage = forked()
    found = probe.flow(30)
    first = [int(batch["tokens"][0, 0]) % 2 for batch in probe._feed.sample(30, "name")]
    assert all(bool(values.all()) for values in found.values())
    assert usage.scoring_passes == 1 + first.index(1 - first[0])


def test_what_no_batch_asks_for_has_flow_zero() -> None:
    probe, usage = forked()
    found = probe.flow(1)
    assert sorted(bool(values.any()) for values in found.values()) == [False, True]
    assert usage.scoring_passes == 1


def test_a_round_costs_one_pass_where_every_batch_reaches_all() -> None:
    probe, _, usage = window([4, 4])
    SynapticFlow(batches=8).saliency(probe)
    assert usage.scoring_passes == 1


def test_the_plan_is_a_hundred_rounds_and_then_training() -> None:
    target = Target(sparsity=0.9)
    assert list(SynFlow().plan(target)) == [Prune(by=SynapticFlow(), to=target, rounds=100), Train()]


class Silent(Toy):
    """Tells its loss alone."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "silent"})
    loss_and_outputs: ClassVar[None] = None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return cast("Tensor", model(batch["tokens"]).sum())


def test_a_task_that_does_not_tell_its_outputs_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="'synflow' measures what flows .* task 'silent' does not tell"):
        chain_of(SynFlow(), Target(sparsity=0.5), Silent())
