"""The switch: within a block, the masked linear maps of a net run sparse where it pays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from smc_eval.sparse.counts import equal_masks
from smc_eval.sparse.kernels.choice import Choose
from smc_eval.sparse.kernels.layout import MaskLayout
from smc_eval.sparse.kernels.linear import KeptInput
from smc_eval.sparse.kernels.named import SPARSE_KERNELS
from smc_eval.sparse.kernels.packed import PackedMap, is_on_gpu, why_not_packed
from smc_eval.sparse.kernels.served import ServedMap, StandIn, is_turned, may_pay
from smc_eval.sparse.net import Net
from smc_eval.sparse.operations import Counting


class Switch:
    """Serves the maps of a net. Off, the net is as it was: no module is replaced, no name changes.

    A module that is asked for its outputs is served; a weight that is read in another way is the dense
    weight, as always. Layouts follow the masks.
    """

    def __init__(self, net: Net, choose: Choose) -> None:
        self.net, self._choose = net, choose
        self._modules, self.reasons = _linear_maps(net)
        """Why masked matrices are not served, by name."""
        self._served: dict[str, StandIn | None] = {}
        """The maps by name; None of those that cannot pay."""
        self._masks: dict[str, Tensor] = {}
        """The masks that they were made for."""
        self._shared = KeptInput()

    @contextmanager
    def on(self, counting: Counting | None = None) -> Iterator[set[str]]:
        """Within, maps are served. At the end the set gets the names of those that ran sparse.

        Without gradients they may run where operations are counted.
        """
        served, ran = self._current(), set[str]()
        try:
            for each in served:
                each.ran, each.counting = False, counting
                each.module.forward = each  # type: ignore[method-assign]
            yield ran
        finally:
            self._shared.forget()
            for each in served:
                each.module.__dict__.pop("forward", None)
                each.counting = None
                ran |= {each.name} if each.ran else set()

    def forget(self) -> None:
        """Free what maps keep of the present weights."""
        for each in self._served.values():
            if each:
                each.forget()

    def _current(self) -> list[StandIn]:
        """The maps to serve, with layouts of the present masks."""
        masks = self.net.masks
        for name, module in self._modules.items():
            mask, before = masks.get(name), self._masks.get(name)
            if mask is before:
                continue
            if mask is None:
                self._served.pop(name), self._masks.pop(name)
                continue
            if before is None or not equal_masks(mask, before):
                self._served[name] = self._made(name, module, mask)
            self._masks[name] = mask
        return [each for each in self._served.values() if each and "forward" not in vars(each.module)]

    def _made(self, name: str, module: nn.Linear, mask: Tensor) -> StandIn | None:
        if is_on_gpu(mask):
            self.reasons.pop(name, None)
            if why := why_not_packed(module, mask):
                self.reasons[name] = why
                return None
            return PackedMap(name, module, self._choose)
        if not may_pay(mask):
            return None
        layout = MaskLayout(mask, turned=bool(is_turned(module)))
        return ServedMap(name, module, layout, SPARSE_KERNELS, self._choose, self._shared)


def _linear_maps(net: Net) -> tuple[dict[str, nn.Linear], dict[str, str]]:
    """The linear modules by the names of their weights, and why other matrices in scope are never served."""
    names = {id(weight): name for name, weight in net.parameters.items() if weight.ndim == 2}
    owners = Counter(
        id(weight)
        for module in net.model.modules()
        for weight in module._parameters.values()  # noqa: SLF001  `parameters()` names tied ones once
        if weight is not None
    )
    maps: dict[str, nn.Linear] = {}
    for module in net.model.modules():
        weight = module._parameters.get("weight")  # noqa: SLF001
        if weight is not None and id(weight) in names and is_turned(module) is not None:
            maps[names[id(weight)]] = cast("nn.Linear", module)  # or a Conv1D, which has the same parts
    reasons = dict[str, str]()
    for key, name in names.items():
        if name not in maps:
            reasons[name] = "in no linear layer"
        elif owners[key] > 1:
            reasons[name] = "tied"
        elif maps[name].weight.dtype != torch.float32:
            reasons[name] = f"of type {str(maps[name].weight.dtype).removeprefix('torch.')}"
    return {name: module for name, module in maps.items() if name not in reasons}, reasons
