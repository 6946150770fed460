"""JointNet: each rank holds a copy of the net, and all copies have the masks of rank 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.sparse.net import Net


class JointNet(Net):
    """One rank's copy of a net. Rank 0 decides the masks, and all ranks check that theirs are equal."""

    def __init__(self, model: nn.Module, scope: Sequence[str], ranks: Ranks) -> None:
        super().__init__(model, scope)
        self.ranks = ranks

    def synchronized(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        self.ranks.broadcast_tensors(masks[name] for name in self.scope if name in masks)
        return masks

    def set_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set the masks of rank 0.

        Raises:
            SparsityError: a rank has other masks.
        """
        grown = super().set_masks(masks)
        self.ranks.check_equal("masks", self.masks)
        return grown

    def set_some_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`set_masks` for some of the weights in scope."""
        grown = super().set_some_masks(masks)
        self.ranks.check_equal("masks", {name: self.masks[name] for name in masks})
        return grown

    def all_reduce(self, mean: float) -> float:
        return self.ranks.all_reduce_gradients(self.model, mean)

    def reduced_gradients(self) -> dict[str, Tensor]:
        gradients = self.gradients
        self.ranks.all_reduce(gradients.values())
        return gradients
