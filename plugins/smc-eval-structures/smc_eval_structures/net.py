"""The structure net: an encoder, the mean of its states, and the head of SMC-Bench.

Shapes: N proteins, L places, H features of a state, C outputs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from smc_eval.tasks.protein.protein_net import Head, masked_mean
from smc_eval_structures.batch import StructureBatch
from smc_eval_structures.encoder import StructureEncoder

HEAD_WIDTH = 128
"""Width of the head's hidden layer."""


class StructureNet(nn.Module):
    """Reads backbones and returns `centre + scale * head`, by default the outputs of the head.

    Centre and scale are buffers of the net, so its checkpoint also predicts in °C.
    """

    def __init__(
        self, encoder: StructureEncoder, outputs: int, centre: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = Head(encoder.config.width, outputs, HEAD_WIDTH)
        self.centre, self.scale = nn.Buffer(torch.tensor(centre)), nn.Buffer(torch.tensor(scale))

    def forward(self, batch: StructureBatch) -> Tensor:
        """Predictions of shape [N, C], in fp32."""
        states_NLH = self.encoder(batch.atoms_NL33, batch.present_NL, batch.real_NL)
        # half precision would round degrees to tenths, and a sum of a thousand states even more
        with torch.autocast(states_NLH.device.type, enabled=False):
            feature_NH = masked_mean(states_NLH.float(), batch.pooled_NL)
            return self.centre + self.scale * cast("Tensor", self.head(feature_NH))
