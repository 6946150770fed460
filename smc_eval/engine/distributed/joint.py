"""JointNet: each rank holds a copy of the net, and all copies have the masks of rank 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.sparse.net import Net


class JointNet(Net):
    """One rank's copy of a net. Rank 0 decides masks, and all ranks check that they have the same."""

    def __init__(self, model: nn.Module, scope: Sequence[str], ranks: Ranks) -> None:
        super().__init__(model, scope)
        self.ranks = ranks

    def agreed(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        self.ranks.share(masks[name] for name in self.scope)
        return masks

    def set_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set the masks of rank 0.

        Raises:
            SparsityError: a rank has other masks.
        """
        grown = super().set_masks(masks)
        self.ranks.same("masks", self.masks)
        return grown

    def all_reduce(self, mean: float) -> float:
        return self.ranks.reduce(self.model, mean)

    def summed(self) -> dict[str, Tensor]:
        gradients = self.gradients
        self.ranks.add(gradients.values())
        return gradients
