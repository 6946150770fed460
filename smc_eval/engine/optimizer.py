"""Optimizer: torch's optimizer for a recipe, and its state where weights are masked or sharded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.capabilities import backbone_weights
from smc_eval.errors import PluginError, named_value
from smc_eval.recipe import Recipe
from smc_eval.sparse.net import Net
from smc_eval.task import Task


def make_optimizer(task: Task, net: Net, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all trainable parameters, in up to four groups.

    Pretrained parameters take `backbone_lr`. Vectors (biases, norms) have no weight decay, except under an
    optimizer that decays them, such as `adam`, which decays everything as the paper's arithmetic code does.

    Raises:
        PluginError: the optimizer makes something else than an optimizer of torch over these parameters.
    """
    chosen = recipe.chosen_optimizer
    pretrained = set(backbone_weights(task, net.model))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in net.all_parameters.items():
        if not weight.requires_grad:
            continue
        rate = recipe.backbone_lr if name in pretrained and recipe.backbone_lr else recipe.lr
        decay = recipe.weight_decay if weight.ndim >= 2 or chosen.decays_vectors else 0.0
        groups.setdefault((rate, decay), []).append(weight)
    settings = [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]
    made: object = chosen.make(settings, recipe)
    if not isinstance(made, torch.optim.Optimizer):
        raise PluginError(f"{chosen.identity} made {named_value(made)}; wanted a torch.optim.Optimizer")
    return made


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set the learning rate of every group to a share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


@torch.no_grad()
def clear_state(optimizer: torch.optim.Optimizer, grown: Mapping[nn.Parameter, Tensor]) -> None:
    """Clear the optimizer's state of weights that grew back, because it belongs to earlier values."""
    for weight, back in grown.items():
        for values in optimizer.state.get(weight, {}).values():
            if isinstance(values, Tensor) and values.shape == weight.shape:
                values.masked_fill_(back, 0)


@torch.no_grad()
def reset_momentum(optimizer: torch.optim.Optimizer, momenta: AbstractSet[str]) -> None:
    """Set the running means of gradients to zero: the momentum of SGD, the first moment of Adam."""
    for values in optimizer.state.values():
        for kind in momenta & values.keys():
            if values[kind] is not None:
                values[kind].zero_()


def gathered_state(optimizer: torch.optim.Optimizer, net: Net) -> dict[str, Any]:
    """The optimizer's state for a checkpoint: whole tensors, also where this rank holds some rows."""
    return _changed_state(optimizer.state_dict(), optimizer, net, net.gathered)


def restore_state(optimizer: torch.optim.Optimizer, net: Net, saved: Mapping[str, Any]) -> None:
    """Continue from a `gathered_state`."""
    optimizer.load_state_dict(_changed_state(saved, optimizer, net, net.sharded))


def _changed_state(
    state: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    net: Net,
    change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> dict[str, Any]:
    """A state with every tensor that has as many dimensions as its weight changed as the weight is."""
    names = {id(weight): name for name, weight in net.all_parameters.items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    changed = {
        number: {
            kind: change({names[id(weights[number])]: value})[names[id(weights[number])]]
            if isinstance(value, Tensor) and value.ndim == weights[number].ndim
            else value
            for kind, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": changed}
