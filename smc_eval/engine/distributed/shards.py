"""Shards: a net of which each rank holds some rows of every parameter, gathered as it computes.

torch's fully_shard (FSDP2) gathers a layer before it computes and adds up the ranks' gradients after;
masks, optimizer and criteria see the rows alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.errors import SparsityError, UsageError
from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import ShardGroup


class RankShards(ShardGroup):
    """The ranks, as those who hold the rows of a net."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.rank, self.size = ranks, ranks.rank, ranks.size

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        return self.ranks.gather(list(numbers))

    def add(self, counts: Tensor) -> None:
        self.ranks.add([counts])


class ShardedNet(Net):
    """A net of which this rank holds rows: weights, masks, gradients and all that is made of them.

    Of n rows each of R ranks holds ceil(n / R) that follow each other, the last ones what is left. They
    share memory with what fully_shard keeps, under the same names, as plain tensors.
    """

    def __init__(self, model: nn.Module, scope: Sequence[str], ranks: Ranks, device: str) -> None:
        """Cut a model that lies whole on the CPU, the same on all ranks; its rows and its buffers move to
        this rank's device of the type, a layer after the other.

        Raises:
            SparsityError: it cannot be cut.
        """
        super().__init__(model, scope)
        self.ranks, self.shards = ranks, RankShards(ranks)
        shard(model, _mesh(device, ranks.size))
        self._rows = {
            name: nn.Parameter(_local(weight).detach(), requires_grad=weight.requires_grad)
            for name, weight in model.named_parameters()
        }

    @property
    def named(self) -> dict[str, nn.Parameter]:
        return dict(self._rows)

    def forget_gradients(self) -> None:
        super().forget_gradients()
        for weight in self._rows.values():
            weight.grad = None

    def all_reduce(self, mean: float) -> float:
        self._take_gradients()
        told = torch.tensor([mean], dtype=torch.float64)
        self.ranks.add([told])
        self.ranks.average(self.model)
        return float(told)

    def summed(self) -> dict[str, Tensor]:
        self._take_gradients()
        return self.gradients

    def _take_gradients(self) -> None:
        """Give the rows the gradients that were added up as they came."""
        for name, weight in self.model.named_parameters():
            self._rows[name].grad = None if weight.grad is None else _local(weight.grad)

    def gradient_norm(self) -> Tensor:
        squared = super().gradient_norm().double().square().cpu()
        self.ranks.add([squared])
        return squared.sqrt().float()

    @contextmanager
    def gathering(self, seen: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Shown is each layer's whole parameters, as soon as it has them."""
        names = {id(module): name for name, module in self.model.named_modules()}

        def show(module: nn.Module, _args: Any) -> None:
            prefix = names[id(module)]
            for name, weight in module.named_parameters(prefix):
                if not isinstance(weight, DTensor) and name in self.scope:
                    seen(name, weight.detach())

        groups = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        watches = [group.register_forward_pre_hook(show) for group in groups]
        try:
            yield
        finally:
            for watch in watches:
                watch.remove()

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole on the first rank's CPU; the others have theirs back."""
        return {
            name: self.ranks.stacked(tensor) if name in self._rows else tensor
            for name, tensor in tensors.items()
        }

    def cut(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: own(tensor, self.ranks.rank, self.ranks.size) if name in self._rows else tensor
            for name, tensor in tensors.items()
        }


def check_torch() -> None:
    """Make sure that this torch can cut a net so that gradients add up on every backend.

    Raises:
        UsageError: it is too old.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise UsageError(
            f"--shard cannot add up gradients with torch {torch.__version__}; install a newer one, "
            "2.13 is known to do"
        )


def own(whole: Tensor, rank: int, size: int) -> Tensor:
    """A rank's rows of a whole tensor, a copy."""
    each = -(-len(whole) // size)
    return whole[rank * each : (rank + 1) * each].clone()


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut a model in place: each of its layers gathers its parameters by itself, what is left all at once.

    Raises:
        SparsityError: a parameter is a scalar, which has no rows.
    """
    for name, weight in model.named_parameters():
        if not weight.ndim:
            raise SparsityError(f"{name!r} is a scalar and has no rows to share out; leave out --shard")
    # what a net returns is changed in place by nobody here
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
    for layer in layers(model):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # shares of a loss are of all ranks' passes: gradients add up; and gloo can only add
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a model's stacks, outermost first met, but those that share a weight with the rest."""
    found, inside = list[nn.Module](), set[int]()
    for stack in model.modules():
        if isinstance(stack, nn.ModuleList) and id(stack) not in inside and len({*map(type, stack)}) == 1:
            found += stack
            inside |= {id(module) for layer in stack for module in layer.modules()}
    holders = dict[int, int]()
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            holders[id(weight)] = holders.get(id(weight), 0) + 1
    return [layer for layer in found if _apart(layer, holders)]


def _apart(layer: nn.Module, holders: Mapping[int, int]) -> bool:
    """Whether a layer has parameters, all of them its own."""
    held = dict[int, int]()
    for module in layer.modules():
        for weight in module.parameters(recurse=False):
            held[id(weight)] = held.get(id(weight), 0) + 1
    return bool(held) and all(holders[weight] == count for weight, count in held.items())


@cache
def _mesh(kind: str, size: int) -> DeviceMesh:
    return init_device_mesh(kind, (size,))


def _local(tensor: Tensor) -> Tensor:
    """This rank's rows of what fully_shard keeps, in the same memory."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local()
