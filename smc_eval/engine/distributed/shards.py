"""Shards: a net of which each rank holds some rows of every parameter.

torch's fully_shard (FSDP2) gathers a layer before it computes, and adds up the gradients of the ranks
afterwards. Masks, optimizer and criteria see only the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    """The ranks, as the holders of the rows of a net."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.rank, self.size = ranks, ranks.rank, ranks.size

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        return self.ranks.gather(list(numbers))

    def add(self, counts: Tensor) -> None:
        self.ranks.all_reduce([counts])


class ShardedNet(Net):
    """A net of which this rank holds rows: of weights, masks, gradients and everything made of them.

    Of n rows each of R ranks holds ceil(n / R) consecutive ones; the last ranks hold the rest, or none.
    The rows share memory with those of fully_shard. They are plain tensors, under the same names.
    """

    def __init__(self, model: nn.Module, scope: Sequence[str], ranks: Ranks, device: str) -> None:
        """Shard a model in place. It is on the CPU, the same on all ranks.

        Its rows and its buffers move to this rank's device of the type `device`, layer by layer.

        Raises:
            SparsityError: it cannot be sharded.
        """
        super().__init__(model, scope)
        self.ranks, self.shards = ranks, RankShards(ranks)
        shard(model, _mesh(device, ranks.size))
        self._rows = {
            name: nn.Parameter(_local(weight).detach(), requires_grad=weight.requires_grad)
            for name, weight in model.named_parameters()
        }

    @property
    def all_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._rows)

    def forget_gradients(self) -> None:
        super().forget_gradients()
        for weight in self._rows.values():
            weight.grad = None

    def all_reduce(self, mean: float) -> float:
        self._take_gradients()
        total = torch.tensor([mean], dtype=torch.float64)
        self.ranks.all_reduce([total])
        self.ranks.average_norm_statistics(self.model)
        return float(total)

    def reduced_gradients(self) -> dict[str, Tensor]:
        self._take_gradients()
        return self.gradients

    def _take_gradients(self) -> None:
        """Give the rows their gradients, which fully_shard has added up over the ranks."""
        for name, weight in self.model.named_parameters():
            self._rows[name].grad = None if weight.grad is None else _local(weight.grad)

    def norm(self, tensors: Iterable[Tensor]) -> Tensor:
        squared = super().norm(tensors).double().square().cpu()
        self.ranks.all_reduce([squared])
        return squared.sqrt().float()

    @contextmanager
    def gathering(self, callback: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Within, `callback` gets the whole parameters of each layer, once they are gathered."""
        names = {id(module): name for name, module in self.model.named_modules()}

        def show(module: nn.Module, _args: Any) -> None:
            prefix = names[id(module)]
            for name, weight in module.named_parameters(prefix):
                if not isinstance(weight, DTensor) and name in self.scope:
                    callback(name, weight.detach())

        groups = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        hooks = [group.register_forward_pre_hook(show) for group in groups]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the CPU of rank 0; the other ranks get their own rows back."""
        return {
            name: self.ranks.gather_rows(tensor) if name in self._rows else tensor
            for name, tensor in tensors.items()
        }

    def sharded(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: rows_of(tensor, self.ranks.rank, self.ranks.size) if name in self._rows else tensor
            for name, tensor in tensors.items()
        }


def check_torch() -> None:
    """Check that this torch can add up the gradients of a sharded net on every backend.

    Raises:
        UsageError: torch is too old.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise UsageError(
            f"--shard cannot add up gradients with torch {torch.__version__}; install a newer one, "
            "such as 2.13"
        )


def rows_of(whole: Tensor, rank: int, size: int) -> Tensor:
    """A copy of a rank's rows of a whole tensor; `size` is the number of ranks."""
    each = -(-len(whole) // size)
    return whole[rank * each : (rank + 1) * each].clone()


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a model in place. Each layer gathers its parameters by itself, all other modules together.

    Raises:
        SparsityError: a parameter is a scalar, which has no rows.
    """
    for name, weight in model.named_parameters():
        if not weight.ndim:
            raise SparsityError(f"{name!r} is a scalar and has no rows to shard; leave out --shard")
    # nothing here changes the outputs of a net in place
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
    for layer in layers(model):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # the shares of a loss add up to 1 over all ranks, so gradients add up; gloo can only add
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a model's outermost stacks, without those that share a weight with other modules."""
    stacked, inside = list[nn.Module](), set[int]()
    for stack in model.modules():
        if isinstance(stack, nn.ModuleList) and id(stack) not in inside and len({*map(type, stack)}) == 1:
            stacked += stack
            inside |= {id(module) for layer in stack for module in layer.modules()}
    holders = dict[int, int]()
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            holders[id(weight)] = holders.get(id(weight), 0) + 1
    return [layer for layer in stacked if _shares_nothing(layer, holders)]


def _shares_nothing(layer: nn.Module, holders: Mapping[int, int]) -> bool:
    """Whether a layer has parameters, and no module outside the layer has one of them."""
    inside = dict[int, int]()
    for module in layer.modules():
        for weight in module.parameters(recurse=False):
            inside[id(weight)] = inside.get(id(weight), 0) + 1
    return bool(inside) and all(holders[weight] == count for weight, count in inside.items())


@cache
def _mesh(kind: str, size: int) -> DeviceMesh:
    return init_device_mesh(kind, (size,))


def _local(tensor: Tensor) -> Tensor:
    """This rank's rows of a tensor of fully_shard, in the same memory."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local()
