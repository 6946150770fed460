"""Inputs that several weights read are added up once, and the sums are those of each weight alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smc_eval.sparse.input_stats import Grams, InputStats, Squares
from smc_eval.sparse.inputs import observing


class Reader(nn.Module):
    """Two maps that read the same tensor; the second reads another one in every second call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(5, 4)

    def forward(self, x: Tensor, other: Tensor | None = None, *, write: bool = False) -> None:
        self.first(x)
        if write:
            x.mul_(2)
        self.second(x if other is None else other)


class Counted(Squares):
    """Counts additions."""

    times = 0

    def add(self, total: Tensor, columns: slice, x_NI: Tensor) -> None:
        self.times += 1
        super().add(total, columns, x_NI)


def seen(stats: InputStats, model: Reader) -> dict[str, Tensor]:
    """Sums after calls with the same tensor, other tensors, the same again, and one that is written to."""
    source = torch.Generator().manual_seed(0)
    xs = [torch.randn(6, 5, generator=source) for _ in range(6)]
    with torch.no_grad(), observing(model, stats.weights, stats):
        model(xs[0])
        model(xs[1])
        model(xs[2], xs[3])
        model(xs[4])
        model(xs[5], write=True)
    return {name: total for name in stats.names for _, total in stats.bands(name) if total is not None}


def test_sums_of_shared_inputs_are_those_of_each_weight_alone() -> None:
    model = Reader()
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.ndim == 2}
    for kind in (Squares, Grams):
        together = seen(kind(weights, weights.keys()), model)
        for name in weights:
            alone = seen(kind(weights, [name]), model)
            assert torch.equal(together[name], alone[name])


def test_the_same_inputs_are_added_once_until_two_weights_read_others() -> None:
    model = Reader()
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.ndim == 2}
    stats = Counted(weights, weights.keys())
    seen(stats, model)
    assert stats.times == 1 + 1 + 2 + 2 + 2  # after the third call the two sums differ
