"""From a recipe to torch's optimizer, and what masks ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.capabilities import backbone_weights
from smc_eval.recipe import Recipe
from smc_eval.sparse.net import Net
from smc_eval.task import Task


def optimizer(task: Task, net: Net, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all trainable parameters, in up to four groups.

    Pretrained parameters take `backbone_lr`. Vectors (biases, norms) have no weight decay,
    except under `adam`, which decays everything as the paper's arithmetic code does.
    """
    pretrained = set(backbone_weights(task, net.model))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in net.named.items():
        if not weight.requires_grad:
            continue
        rate = recipe.backbone_lr if name in pretrained and recipe.backbone_lr else recipe.lr
        decay = recipe.weight_decay if weight.ndim >= 2 or recipe.optimizer == "adam" else 0.0
        groups.setdefault((rate, decay), []).append(weight)
    settings = [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]
    match recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(settings, betas=recipe.betas, eps=recipe.eps, fused=True)
        case "adam":
            return torch.optim.Adam(settings, betas=recipe.betas, eps=recipe.eps, fused=True)
        case "sgd":
            return torch.optim.SGD(settings, momentum=recipe.momentum, fused=True)


def set_rate(chosen: torch.optim.Optimizer, share: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for group in chosen.param_groups:
        group["lr"] = group["peak"] * share


@torch.no_grad()
def forget(chosen: torch.optim.Optimizer, grown: Mapping[nn.Parameter, Tensor]) -> None:
    """Clear the optimizer's memory of weights that grew back: it is of another life."""
    for weight, back in grown.items():
        for memory in chosen.state.get(weight, {}).values():
            if isinstance(memory, Tensor) and memory.shape == weight.shape:
                memory.masked_fill_(back, 0)


def saved(chosen: torch.optim.Optimizer, net: Net) -> dict[str, Any]:
    """The optimizer's state as one rank alone has it, whatever rows of the net are held here."""
    return _with(chosen.state_dict(), chosen, net, net.gathered)


def restore(chosen: torch.optim.Optimizer, net: Net, told: Mapping[str, Any]) -> None:
    """Go on from what `saved` told."""
    chosen.load_state_dict(_with(told, chosen, net, net.cut))


def _with(
    told: Mapping[str, Any],
    chosen: torch.optim.Optimizer,
    net: Net,
    change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> dict[str, Any]:
    """A state whose memories of each weight, which have as many dimensions as it, are changed as it is."""
    names = {id(weight): name for name, weight in net.named.items()}
    weights = [weight for group in chosen.param_groups for weight in group["params"]]
    changed = {
        number: {
            kind: change({names[id(weights[number])]: value})[names[id(weights[number])]]
            if isinstance(value, Tensor) and value.ndim == weights[number].ndim
            else value
            for kind, value in memory.items()
        }
        for number, memory in told["state"].items()
    }
    return {**told, "state": changed}
