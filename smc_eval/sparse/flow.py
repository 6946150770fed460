"""Synaptic flow per weight, in a linearised copy of the net.

Tanaka et al. (2020), "Pruning neural networks without any data by iteratively conserving synaptic flow",
arXiv:2006.05467, equation 1 with the R of algorithm 1: R sums the outputs of the net in which
every weight has its absolute value and every input is 1, and the flow of a weight is w dR/dw.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn

from smc_eval.errors import SparsityError
from smc_eval.sparse.shadow import Shadowing, positive, shadow


def flow(
    model: nn.Module, names: Collection[str], outputs: Callable[[nn.Module], Tensor]
) -> dict[str, Tensor]:
    """The flow through the named weights, zero or more, in double precision; the model is not changed.

    Weights that the outputs do not use are left out. Layers that every path from inputs to outputs
    passes once carry the same flow each, R; so do the layers of one branch. The mean flow of a layer
    therefore grows as it loses weights, so that over many rounds no layer is emptied before the others.

    Costs a forward and a backward pass, and two copies of the parameters in double precision.

    Raises:
        SparsityError: the outputs do not depend on any of the weights.
    """
    dark = shadow(model)
    named = dict(dark.named_parameters())
    weights = [named[name] for name in names]
    with torch.enable_grad():
        with Shadowing():
            result = outputs(dark)
        total = positive(result).sum()
        if not total.requires_grad:
            raise SparsityError(
                f"nothing flows through {type(model).__name__}: the outputs depend on none of its weights"
            )
        slopes = torch.autograd.grad(total, weights, allow_unused=True)
    flows: Iterable[tuple[str, Tensor, Tensor | None]] = zip(names, weights, slopes, strict=True)
    return {name: (weight.detach() * slope).abs_() for name, weight, slope in flows if slope is not None}
