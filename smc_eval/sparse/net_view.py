"""NetView: what pruners and updaters both see of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from smc_eval.sparse.shard_group import ShardGroup
    from smc_eval.sparse.tensors import Tensors
    from smc_eval.sparse.unit_layers import Units


class NetView(Protocol):
    """Weights and masks of a net.

    Tensors are keyed by parameter name, one for each weight in scope. They belong to the net: whoever
    reads them must not write to them.
    """

    @property
    def weights(self) -> Tensors:
        """Weights in scope. Pruned weights are zero; under a soft updater they keep their values."""

    @property
    def masks(self) -> Tensors:
        """Current masks, one bool tensor for each weight in scope; True means unpruned."""

    @property
    def shards(self) -> ShardGroup:
        """The ranks that hold the other rows of each tensor; usually there are none. It counts and draws
        over all rows."""

    @property
    def units(self) -> Units:
        """The heads or neurons, under a target that prunes these whole; else none."""

    @property
    def generator(self) -> torch.Generator:
        """Random generator of this stage, on the CPU. Its seed depends on all earlier stages, and
        checkpoints save its state."""
