"""Hidden reorder: another order of hidden units, in a net that computes the same afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from smc_eval.capabilities import real_tokens
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.input_passes import InputPasses
from smc_eval.errors import SparsityError
from smc_eval.sparse.hidden import HiddenUnits, find_hidden
from smc_eval.sparse.inputs import InputObserver, observing
from smc_eval.sparse.net import Net


class HiddenReorder:
    """Finds the hidden units of a net without masks on some examples, and gives them a new order."""

    def __init__(self, net: Net, batches: Batches, name: str, device: Device, meter: FlopMeter) -> None:
        """The examples are the first of those that `inputs` passes in the stage of this name."""
        self.net, self.device, self.meter = net, device, meter
        self.passes = InputPasses(net, batches, 1, name, device)
        self.runs = 0
        """Forward passes so far."""
        self.units: dict[str, HiddenUnits] = {}
        """What was found, by the name of the weight whose inputs are hidden units."""

    @torch.no_grad()
    def find(self) -> tuple[str, ...]:
        """Names of the weights whose inputs are hidden units. All ranks agree on them."""
        with self.passes.evaluating():
            found = find_hidden(self.net.model, self.net.weights, self._loss)
        agreed = set.intersection(*(set(names) for names in self.device.ranks.gather(tuple(found))))
        self.units = {name: units for name, units in found.items() if name in agreed}
        return tuple(self.units)

    def _loss(self, see: InputObserver) -> float:
        """The loss of the examples, in full precision, while `see` gets the inputs of all weights."""
        places, batches = self.passes.places[0], self.passes.batches
        batch, tokens = batches.batch(places), batches.tokens(places)
        with self.meter.over(tokens), observing(self.net.model, self.net.weights, see) as watch:
            watch.real = real_tokens(batches.task, batch)
            loss = batches.task.loss(self.net.model, batch)
        self.meter.dense_gradients(tokens)
        self.runs += 1
        return float(loss)

    @torch.no_grad()
    def reorder(self, orders: Mapping[str, Tensor], by: str) -> None:
        """Move the units of some weights; `by` names who asked for it.

        Raises:
            SparsityError: the inputs of a weight are no hidden units, or an order has not each input once.
        """
        parameters = self.net.all_parameters
        for name, order in orders.items():
            if name not in self.units or not _is_order(order, parameters[name].shape[1]):
                raise SparsityError(
                    f"{by} gave a new order for the inputs of {name!r}, which are no hidden units, or "
                    "not all in it; take names from probe.hidden_inputs() and give each input once"
                )
        for name, order in orders.items():
            units = self.units[name]
            units.reorder(parameters, order.to(parameters[name].device))
            changed = (name, *units.writers, *units.biases)
            self.device.ranks.broadcast_tensors(parameters[each] for each in changed)


def _is_order(order: Tensor, size: int) -> bool:
    """Whether it has each number below `size` once."""
    return order.dtype == torch.int64 and torch.equal(order.sort().values.cpu(), torch.arange(size))
