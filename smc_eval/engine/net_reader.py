"""Net reader: the tensors of a net that pruners and updaters read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import ShardGroup
from smc_eval.sparse.unit_layers import Units


@dataclass
class NetReader:
    """`smc_eval.sparse.net_view.NetView` of a net, without its generator."""

    net: Net

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.net.weights

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self.net.full_masks

    @property
    def units(self) -> Units:
        return self.net.units

    @property
    def shards(self) -> ShardGroup:
        return self.net.shards
