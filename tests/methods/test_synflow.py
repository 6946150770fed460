"""SynFlow: it empties no layer where one-shot pruning does. Also properties of SNIP, GraSP and SynFlow."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
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
from smc_eval.sparse.allocate import allocate, expected
from smc_eval.sparse.flow import flow
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


def literal_scores(model: nn.Module, ones: Tensor) -> dict[str, Tensor]:
    """As the authors' code: absolute parameters, biases included, and inputs of 1, in the net as it is."""
    twin = copy.deepcopy(model).double().eval()
    for parameter in twin.parameters():
        parameter.data.abs_()
    result = twin(inputs_embeds=ones).logits if hasattr(twin, "roberta") else twin(ones)
    result.sum().backward()
    return {
        name: (parameter.detach() * parameter.grad).abs()
        for name, parameter in twin.named_parameters()
        if parameter.ndim >= 2 and parameter.grad is not None
    }


def test_biases_carry_no_flow_here_and_do_in_the_authors_code() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        model[0].bias.copy_(torch.tensor([-10.0, 1.0]))
        model[2].weight.copy_(torch.tensor([[-5.0, 6.0]]))
        model[2].bias.fill_(100.0)
    here = flow(model, ["0.weight", "2.weight"], lambda twin: twin(torch.zeros(1, 2)))
    # ones give (1 + 2, 3 + 4) = (3, 7) and R = 5 * 3 + 6 * 7; both layers have a total flow of 57
    assert here["0.weight"].tolist() == [[5.0, 10.0], [18.0, 24.0]]
    assert here["2.weight"].tolist() == [[15.0, 42.0]]
    # with biases the second layer has inputs (3 + 10, 7 + 1), so a total of 5 * 13 + 6 * 8 = 113
    there = literal_scores(model, torch.ones(1, 2).double())
    assert there["0.weight"].tolist() == [[5.0, 10.0], [18.0, 24.0]]
    assert there["2.weight"].tolist() == [[65.0, 48.0]]


def remaining(model: nn.Module, scores: Callable[[nn.Module], dict[str, Tensor]]) -> dict[str, int]:
    """Weights of each matrix after half are pruned in twenty rounds."""
    net, masks = copy.deepcopy(model), None
    for number in range(1, 21):
        masks = allocate(scores(net), Target(sparsity=1 - 0.5 ** (number / 20)), within=masks)
        for name, mask in masks.items():
            net.get_parameter(name).data.mul_(mask)
    assert masks is not None
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_queries_and_keys_of_a_transformer_stay_and_a_literal_port_prunes_them_all() -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(0)
    sizes: Any = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 40}
    config = RobertaConfig(num_hidden_layers=2, num_attention_heads=2, type_vocab_size=1, **sizes)
    config._attn_implementation = "eager"
    model = RobertaForSequenceClassification(config)
    ones = torch.ones(1, 7, 16, dtype=torch.float64)
    names = [name for name in literal_scores(model, ones) if "embeddings" not in name]
    ids = torch.arange(5, 12)[None]
    ours = remaining(model, lambda net: flow(net, names, lambda twin: twin(input_ids=ids).logits))
    port = remaining(
        model,
        lambda net: {name: values for name, values in literal_scores(net, ones).items() if name in names},
    )
    compared = [name for name in names if "query" in name or "key" in name]
    assert len(compared) == 4
    assert all(port[name] == 0 and ours[name] > 50 for name in compared)
    assert sum(port.values()) == sum(ours.values())
