"""A probe that reorders hidden units: the net computes the same, and the passes are counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import SparsityError
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.testing import Toy

READER, WRITER = "second.weight", "first.weight"


class Residual(nn.Module):
    """Words with attention, a feed-forward pair around a residual sum, and an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first, self.drop, self.second = nn.Linear(8, 12), nn.Dropout(0.1), nn.Linear(12, 8)
        self.out = nn.Linear(8, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        x = self.words(tokens_NL)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.second(self.drop(torch.nn.functional.gelu(self.first(x))))
        logits: Tensor = self.out(x.mean(1))
        return logits


class FeedForward(Toy):
    def model(self) -> nn.Module:
        return Residual()


def probed() -> tuple[Net, NetProbe, Batches, Usage]:
    device = Device("cpu", threads=1)
    device.seed("start")
    task = FeedForward()
    batches, usage = Batches(task, task.recipe, "start", device), Usage()
    model = task.model()
    net = Net(model, in_scope(model, "body"))
    return net, NetProbe(net, batches, "stage", usage, device, "reorderer"), batches, usage


def logits(net: Net, batches: Batches) -> Tensor:
    batch: Any = next(batches.sample(1, "other"))
    with torch.no_grad():
        outputs: Tensor = net.model.eval()(batch["tokens"])
    return outputs


def test_reordered_hidden_units_change_no_output() -> None:
    net, probe, batches, usage = probed()
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    outputs = logits(net, batches)
    assert probe.hidden_inputs() == (READER,)
    assert all(torch.equal(value, before[name]) for name, value in net.model.state_dict().items())
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    probe.reorder_hidden({READER: order})
    torch.testing.assert_close(logits(net, batches), outputs, rtol=1e-5, atol=1e-6)
    after = net.model.state_dict()
    assert torch.equal(after[READER], before[READER][:, order])
    assert torch.equal(after[WRITER], before[WRITER][order])
    assert torch.equal(after["first.bias"], before["first.bias"][order])
    moved = {READER, WRITER, "first.bias"}
    assert all(torch.equal(after[name], before[name]) for name in before.keys() - moved)
    probe.check_unwritten()  # the probe knows of the change
    # one pass as it is, and at most two for each of the weights that some matrix before could write
    assert 2 <= usage.scoring_passes <= 1 + 2 * len(net.weights)
    assert usage.scoring_passes == int(usage.scoring_passes)


def test_gradients_and_training_go_on_as_in_the_old_order() -> None:
    net, probe, _, _ = probed()
    net.model.drop.p = 0.0  # type: ignore[union-attr,assignment]
    gradients = probe.gradients(2, dropout=False)
    order = torch.arange(12).flip(0)
    probe.hidden_inputs()
    probe.reorder_hidden({READER: order})
    new = probe.gradients(2, dropout=False)
    torch.testing.assert_close(new[READER], gradients[READER][:, order])
    torch.testing.assert_close(new[WRITER], gradients[WRITER][order])


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (WRITER, torch.arange(8)),
        (READER, torch.zeros(12, dtype=torch.int64)),
        (READER, torch.arange(11)),
        (READER, torch.arange(12.0)),
    ],
)
def test_other_weights_and_orders_without_each_input_once_are_refused(name: str, order: Tensor) -> None:
    net, probe, _, _ = probed()
    probe.hidden_inputs()
    before = net.weights[READER].clone()
    with pytest.raises(SparsityError, match=f"reorderer gave a new order for the inputs of '{name}'"):
        probe.reorder_hidden({name: order})
    assert torch.equal(net.weights[READER], before)


def test_a_net_with_masks_has_no_units_to_reorder() -> None:
    net, probe, _, usage = probed()
    probe.set_masks(net.full_masks)
    assert probe.hidden_inputs() == ()
    assert usage.scoring_passes == 0
