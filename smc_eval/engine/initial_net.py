"""Initial net: the model and its scope before any training, as the start digest seeds them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from smc_eval.capabilities import excluded, excluded_in_paper
from smc_eval.engine.device import Device
from smc_eval.engine.distributed.joint import JointNet
from smc_eval.engine.stored_head import load_head
from smc_eval.errors import PluginError, named_value
from smc_eval.sparse.derived import refuse_lost_zeros, scale_parameters
from smc_eval.sparse.net import Net, state
from smc_eval.sparse.scope import in_scope
from smc_eval.sparse.unit_layers import Units
from smc_eval.sparse.units import expected_units, within_scope
from smc_eval.store.net_uses import NetUse
from smc_eval.target import Target
from smc_eval.task import Task

REMOTE_PACKAGE = "transformers_modules"
"""The package under which transformers imports the code of checkpoints."""


def initial_net(
    task: Task,
    target: Target,
    start: str,
    device: Device,
    use_of: Callable[[nn.Module], NetUse],
    units_of: Callable[[nn.Module, tuple[str, ...]], Units] | None = None,
    *,
    pruned: bool = True,
) -> Net:
    """The net before any training. It is sharded if the ranks shard nets.

    `use_of` finds what the task uses of the model; it is called on all ranks. So is `units_of`, which finds
    the heads or neurons of some weights, if the target prunes these: then only their weights are in scope.

    Raises:
        SparsityError: no weight is in scope, or the net is to be `pruned` and cannot hold zeros.
    """
    model, ranks = initial_model(task, start, device), device.ranks
    left_out = excluded(task, model) if target.scope == "body" else excluded_in_paper(task, model)
    use = use_of(model)
    scope = partial(
        in_scope,
        model,
        target.scope,
        {*left_out, *scale_parameters(model)},
        unused=use.unused,
        tables=use.tables,
    )
    names = scope(include=target.include, exclude=target.exclude)
    units: Units = ()
    if units_of:
        units = within_scope(units_of(model, scope()), names)  # the same heads, whatever is excluded
        expected_units(units, target)  # or there are none
        own = {part.name for layer in units for part in layer.parts}
        names = tuple(name for name in names if name in own)
    if pruned:
        refuse_lost_zeros(model, names)
    if ranks.shard_nets:
        from smc_eval.engine.distributed.shards import ShardedNet  # FSDP takes seconds to import

        device.empty_cache()  # only the garbage collector frees what FSDP attaches to a net
        return ShardedNet(model, names, ranks, device.torch_device.type)
    net = Net(model, names) if ranks.size == 1 else JointNet(model, names, ranks)
    net.units = units
    return net


def initial_model(task: Task, start: str, device: Device) -> nn.Module:
    """The model of that net, with the values of rank 0: on the device, or on the CPU to be sharded.

    Raises:
        PluginError: the task gives no model, or one that runs code of its checkpoint.
        ModelError: its checkpoint is an exported folder whose head does not fit, or was altered.
    """
    device.seed(start, same_on_all_ranks=True)
    ranks = device.ranks
    model = task.model()
    if not isinstance(model, nn.Module):
        raise PluginError(f"{task.identity} gave {named_value(model)} as its model; wanted a torch.nn.Module")
    _refuse_remote_code(task, model)
    load_head(task, model)
    model = model.to("cpu" if ranks.shard_nets else device.torch_device)
    ranks.broadcast_tensors(state(model).values())
    return model


def _refuse_remote_code(task: Task, model: nn.Module) -> None:
    """Refuse a model with a class that came with its checkpoint: no other run would be sure to have it.

    Raises:
        PluginError: it has one.
    """
    for module in model.modules():
        if type(module).__module__.partition(".")[0] == REMOTE_PACKAGE:
            raise PluginError(
                f"{task.identity} made a net with {type(module).__name__}, Python code of its checkpoint; "
                "load checkpoints by find_backbone(...).load(), and never with trust_remote_code"
            )
