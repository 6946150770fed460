"""Synaptic flow: how much of what flows through a net's linear shadow passes each weight.

Tanaka et al. (2020), "Pruning neural networks without any data by iteratively conserving synaptic flow",
arXiv:2006.05467, equation 1 with the R of algorithm 1: R sums the outputs of the net in which
every weight has its absolute value and every input is 1, and the flow of a weight is w dR/dw.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from smc_eval.errors import SparsityError
from smc_eval.sparse.shadow import Shadowing, positive, shadow


def flow(
    model: nn.Module, names: Collection[str], outputs: Callable[[nn.Module], Tensor]
) -> dict[str, Tensor]:
    """w dR/dw of these weights by name, zero or more, in double precision; the model is not touched.

    A weight that the outputs never asked for is left out. Between two cuts that every path from
    inputs to outputs passes once, the flow of all weights in a cut is the same, R: so a layer's mean
    flow is the larger the fewer weights it has left, and none is emptied before the others.

    Costs a forward and a backward pass, and two copies of the parameters in double precision.

    Raises:
        SparsityError: the outputs do not depend on any of the weights.
    """
    dark = shadow(model)
    named = dict(dark.named_parameters())
    weights = [named[name] for name in names]
    with torch.enable_grad():
        with Shadowing():
            answers = outputs(dark)
        total = positive(answers).sum()
        if not total.requires_grad:
            raise SparsityError(
                f"nothing flows through {type(model).__name__}: its task's outputs depend on none of its weights"
            )
        slopes = torch.autograd.grad(total, weights, allow_unused=True)
    return {
        name: weight.detach().mul(slope).abs_()
        for name, weight, slope in zip(names, weights, slopes, strict=True)
        if slope is not None
    }
