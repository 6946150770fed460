"""Perturbed passes: the gradients of a step at weights that its optimizer has changed for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from smc_eval.errors import PluginError, named_value
from smc_eval.optimizer import Optimizer
from smc_eval.sparse.net import Net

if TYPE_CHECKING:
    from smc_eval.optimizer import JointNorm


def perturbation(optimizer: Optimizer, net: Net) -> dict[str, Tensor]:
    """What an optimizer adds to the weights, from the gradients of the pass before.

    Gradients of masked weights are zeroed here: the net has no such weights to perturb.

    Raises:
        PluginError: it gives something else than a change of each of some parameters, or writes into one.
    """
    net.mask_gradients()
    parameters = net.all_parameters
    weights = {name: weight.detach() for name, weight in parameters.items() if weight.grad is not None}
    gradients = {name: grad for name, weight in parameters.items() if (grad := weight.grad) is not None}
    return checked_changes(optimizer, weights, gradients, lambda tensors: net.norm(tensors.values()))


def checked_changes(
    optimizer: Optimizer, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], norm: JointNorm
) -> dict[str, Tensor]:
    """`optimizer.perturb`, checked.

    Raises:
        PluginError: it gives something else than a change of each of some parameters, or writes into one.
    """
    written = {name: weight._version for name, weight in weights.items()}  # noqa: SLF001  torch counts writes
    changes: object = optimizer.perturb(weights, gradients, norm)
    if touched := [name for name, weight in weights.items() if weight._version != written[name]]:  # noqa: SLF001
        raise PluginError(
            f"{optimizer.identity} wrote into the weight {touched[0]!r} in `perturb`; "
            "it returns what is to be added, and the engine adds it"
        )
    if not isinstance(changes, Mapping):
        raise PluginError(
            f"{optimizer.identity} gave {named_value(changes)} as its perturbation; wanted tensors by name"
        )
    for name, change in changes.items():
        if name not in weights or not isinstance(change, Tensor) or change.shape != weights[name].shape:
            wanted = f"a tensor {tuple(weights[name].shape)}" if name in weights else "names of weights alone"
            found = f"a tensor {tuple(change.shape)}" if isinstance(change, Tensor) else named_value(change)
            raise PluginError(
                f"{optimizer.identity} gave {found} as the perturbation of {name!r}; wanted {wanted}"
            )
    return dict(changes)
