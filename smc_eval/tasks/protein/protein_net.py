"""The protein net: an encoder, the mean of its states, and the head of HotProtein and SMC-Bench.

Shapes: N proteins, L tokens, H features of a state, C outputs.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone
from smc_eval.tasks.protein.batch import ProteinBatch
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder

HEAD_WIDTH = 512
"""Width of the head's hidden layer."""


class Head(nn.Module):
    """Linear, LayerNorm, ReLU, Linear."""

    def __init__(self, features: int, outputs: int, width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs)

    def forward(self, feature_NH: Tensor) -> Tensor:
        """Outputs of shape [N, C]."""
        return cast("Tensor", self.out(torch.relu(self.norm(self.hidden(feature_NH)))))


class ProteinNet(nn.Module):
    """Reads proteins and returns `centre + scale * head`, by default the outputs of the head.

    Centre and scale are buffers of the net, so its checkpoint also predicts in °C.
    """

    def __init__(self, encoder: nn.Module, outputs: int, centre: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        if "global_attention_mask" in inspect.signature(encoder.forward).parameters:
            raise ModelError(
                f"{type(encoder).__name__} has global attention for the tokens that are read, and this task "
                "reads the mean of all tokens; give a model without it"
            )
        self.encoder = encoder
        self.head = Head(cast("Any", encoder).config.hidden_size, outputs)
        self.centre, self.scale = nn.Buffer(torch.tensor(centre)), nn.Buffer(torch.tensor(scale))

    def forward(self, batch: ProteinBatch) -> Tensor:
        """Predictions of shape [N, C], in fp32."""
        states_NLH = self.encoder(input_ids=batch.ids_NL, attention_mask=batch.real_NL.long())[0]
        # half precision would round degrees to tenths, and a sum of a thousand states even more
        with torch.autocast(states_NLH.device.type, enabled=False):
            return self.centre + self.scale * cast(
                "Tensor", self.head(masked_mean(states_NLH.float(), batch.pooled_NL))
            )


def masked_mean(states_NLH: Tensor, pooled_NL: Tensor) -> Tensor:
    """The mean of the states that `pooled_NL` selects, of shape [N, H]; other states may hold any value."""
    selected_NLH = states_NLH.masked_fill(~pooled_NL[..., None], 0)
    return selected_NLH.sum(1) / pooled_NL.sum(1, keepdim=True)


def protein_encoder(model_name: str) -> nn.Module:
    """The encoder that `--model` names: that of a checkpoint, or with `tiny` a small untrained ESM.

    Raises:
        ModelError: the checkpoint cannot be loaded or is not a protein encoder.
    """
    kind = ProteinEncoder()
    if model_name == "tiny":
        return kind.build("tiny")
    return backbone.find_backbone(model_name, kind).load()
