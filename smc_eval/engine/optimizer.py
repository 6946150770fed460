"""From a recipe to torch's optimizer, and what masks ask of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from smc_eval.recipe import Recipe
from smc_eval.task import Task


def optimizer(task: Task, model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all trainable parameters, in up to four groups.

    Pretrained parameters take `backbone_lr`. Vectors (biases, norms) have no weight decay,
    except under `adam`, which decays everything as the paper's arithmetic code does.
    """
    pretrained = set(task.backbone_weights(model))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
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
