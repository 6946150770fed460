"""Net units: the heads or neurons of a net, found by passes over a few training examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.net_use import undisturbed
from smc_eval.sparse.unit_layers import Units
from smc_eval.sparse.unit_search import UnitKind, find_units

EXAMPLES = 2
"""Training examples of the passes: those of middle length. The longest would need the most memory, and an
attention over one token has no queries."""


def find_net_units(model: nn.Module, names: Sequence[str], kind: UnitKind, batches: Batches) -> Units:
    """The units of some weights. The model and the random generators are not changed."""
    order = sorted(range(len(batches.examples)), key=batches.lengths.__getitem__)
    middle = order[len(order) // 2 :][:EXAMPLES]
    wanted = set(names)
    weights = {name: weight.detach() for name, weight in model.named_parameters() if name in wanted}

    def loss() -> Tensor:
        return batches.task.loss(model, batches.batch(middle))

    with undisturbed(model, batches), torch.enable_grad():
        model.eval()
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in wanted)
        return find_units(model, weights, kind, loss)
