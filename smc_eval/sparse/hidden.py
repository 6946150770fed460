"""Hidden units: inputs of one map that other maps make one by one, so that their order is free.

Shapes: N rows, I inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from smc_eval.sparse.inputs import InputObserver, Region

CLOSE = 1e-4
"""Two sums are the same up to rounding if they differ by less than this share of their norm."""


RunNet = Callable[[InputObserver], float]
"""Runs the net on the same examples each time, shows the inputs of its weights, and gives the loss."""


@dataclass(frozen=True)
class HiddenUnits:
    """The inputs of the weight `reader`, which are the outputs of `writers`, shifted by `biases`."""

    reader: str
    writers: tuple[str, ...]
    biases: tuple[str, ...]

    @torch.no_grad()
    def reorder(self, parameters: Mapping[str, Tensor], order_I: Tensor) -> None:
        """Move the unit `order[j]` to place j, in all these parameters, in place."""
        reader = parameters[self.reader]
        reader.copy_(reader[:, order_I])
        for name in (*self.writers, *self.biases):
            parameters[name].copy_(parameters[name][order_I])


def candidates(model: nn.Module, reader: str) -> Iterator[HiddenUnits]:
    """What may make the inputs of a weight: the matrix before it with as many outputs; then the two before.

    Two make the units of a gated feed-forward map, as in T5. Whether they do is seen by `find_hidden`.
    """
    parameters = dict(model.named_parameters())
    wanted, names = parameters[reader], list(parameters)
    if wanted.ndim != 2:
        return
    before = [
        name
        for name in reversed(names[: names.index(reader)])
        if parameters[name].ndim == 2 and len(parameters[name]) == wanted.shape[1]
    ]
    for count in (1, 2):
        if len(writers := tuple(before[:count])) == count:
            biases = tuple(
                bias
                for writer in writers
                for bias in names
                if bias.rpartition(".")[0] == writer.rpartition(".")[0]
                and parameters[bias].shape == (wanted.shape[1],)
            )
            yield HiddenUnits(reader, writers, biases)


def mixed(size: int) -> Tensor:
    """An order of `size` inputs that looks random, always the same."""
    return wave(size).argsort(stable=True)


def wave(size: int) -> Tensor:
    """Numbers between -1 and 1 that look random, always the same; in double precision."""
    return torch.arange(1, size + 1, dtype=torch.float64).square().mul(0.7).cos()


@dataclass(frozen=True)
class InputTrace:
    """What is kept of the inputs of a weight in one call."""

    name: str
    usual_N: Tensor
    """Each row times `wave`."""
    expected_N: Tensor
    """The same, with the inputs back in the old order where a new one is expected."""
    norm: float
    """Of all inputs."""

    def is_close(self, other_N: Tensor, own_N: Tensor) -> bool:
        """Whether two sums are the same up to rounding."""
        return own_N.shape == other_N.shape and float((own_N - other_N).norm()) <= CLOSE * self.norm


@dataclass
class InputTraces:
    """An observer that keeps a number of each row of inputs of each weight."""

    orders: Mapping[str, Tensor] = field(default_factory=dict)
    """The new orders of inputs that are expected, by the name of the weight."""
    calls: list[InputTrace] = field(default_factory=list)

    def __call__(self, name: str, region: Region, x_NI: Tensor) -> None:
        self._add(name, region[1], x_NI)

    def transposed(self, name: str, region: Region, x_NI: Tensor) -> None:
        """The inputs of a weight whose rows are inputs."""
        self._add(name, region[0], x_NI)

    def _add(self, name: str, inputs: slice, x_NI: Tensor) -> None:
        x_NI, order_I = x_NI.double(), self.orders.get(name)
        usual_N = expected_N = x_NI @ wave(inputs.stop)[inputs].to(x_NI.device)
        if order_I is not None:
            expected_N = x_NI @ wave(len(order_I))[order_I.cpu()][inputs].to(x_NI.device)
        self.calls.append(InputTrace(name, usual_N, expected_N, float(x_NI.norm())))

    def as_expected(self, before: InputTraces) -> bool:
        """Whether all inputs are those of before in the expected orders, and were not so before."""
        pairs = list(zip(self.calls, before.calls, strict=False))
        return (
            [call.name for call in self.calls] == [call.name for call in before.calls]
            and all(own.is_close(other.usual_N, own.expected_N) for own, other in pairs)
            and any(not own.is_close(other.usual_N, own.usual_N) for own, other in pairs)
        )


def find_hidden(model: nn.Module, names: Iterable[str], run: RunNet) -> dict[str, HiddenUnits]:
    """The hidden units that weights read, by the name of the weight; weights that read none are left out.

    Units are hidden if another order of them changes nothing: the weight gets the same inputs in the new
    order, all other weights get the same inputs, and the loss is the same, up to rounding. This is tried on
    the net, which is as before afterwards. So functions of each unit alone (ReLU, GELU, dropout) may lie
    between the maps, and a norm, a head of attention or a residual sum may not.
    """
    usual = InputTraces()
    loss = run(usual)
    found = dict[str, HiddenUnits]()
    for name in names:
        for units in candidates(model, name):
            if _hidden(model, units, run, usual, loss):
                found[name] = units
                break
    return found


def _hidden(model: nn.Module, units: HiddenUnits, run: RunNet, usual: InputTraces, loss: float) -> bool:
    """Whether another order of these units changes nothing."""
    parameters = {name: weight.detach() for name, weight in model.named_parameters()}
    order_I = mixed(parameters[units.reader].shape[1]).to(parameters[units.reader].device)
    changed = (units.reader, *units.writers, *units.biases)
    before = {name: parameters[name].clone() for name in changed}
    traces = InputTraces({units.reader: order_I})
    try:
        units.reorder(parameters, order_I)
        other = run(traces)
    finally:
        for name, value in before.items():
            parameters[name].copy_(value)
    return traces.as_expected(usual) and abs(other - loss) <= CLOSE * max(1.0, abs(loss))
