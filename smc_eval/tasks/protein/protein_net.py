"""The net: a protein encoder, the mean of its states, and the head of HotProtein and SMC-Bench.

Shapes: N proteins, L tokens, H features of a state, C outputs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval.tasks import backbone, pretrained
from smc_eval.tasks.protein.alphabet import ESM, esm_alphabet
from smc_eval.tasks.protein.batch import ProteinBatch

WIDTH = 512
"""Of the head's hidden layer."""


class Head(nn.Module):
    """Linear, LayerNorm, ReLU, Linear."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, outputs)

    def forward(self, feature_NH: Tensor) -> Tensor:
        """Outputs of shape [N, C]."""
        return cast("Tensor", self.out(torch.relu(self.norm(self.hidden(feature_NH)))))


class ProteinNet(nn.Module):
    """Reads proteins; answers `centre + scale * head`, by default the head's own outputs.

    Centre and scale are part of the net, and so of its checkpoint: a stored net answers in degrees.
    """

    def __init__(self, encoder: nn.Module, outputs: int, centre: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = Head(cast("Any", encoder).config.hidden_size, outputs)
        self.centre, self.scale = nn.Buffer(torch.tensor(centre)), nn.Buffer(torch.tensor(scale))

    def forward(self, batch: ProteinBatch) -> Tensor:
        """Answers of shape [N, C], in fp32."""
        states_NLH = self.encoder(input_ids=batch.ids_NL, attention_mask=batch.real_NL.long())[0]
        # half precision would round degrees to tenths, and the sum of a thousand states to less
        with torch.autocast(states_NLH.device.type, enabled=False):
            return self.centre + self.scale * cast(
                "Tensor", self.head(mean(states_NLH.float(), batch.read_NL))
            )


def mean(states_NLH: Tensor, read_NL: Tensor) -> Tensor:
    """The mean of the states that are read, of shape [N, H]; what padding holds does not matter."""
    kept_NLH = states_NLH.masked_fill(~read_NL[..., None], 0)
    return kept_NLH.sum(1) / read_NL.sum(1, keepdim=True)


def protein_encoder(word: str) -> nn.Module:
    """The encoder that `--model` names: a checkpoint's, or with `tiny` an ESM that nobody has trained.

    Raises:
        ModelError: the checkpoint cannot be had or is no protein encoder.
    """
    return (
        tiny() if word == "tiny" else pretrained.load_encoder(backbone.find_backbone(word, "protein-encoder"))
    )


def tiny() -> nn.Module:
    """An ESM of 2 layers and 64 features, with ESM-2's rotary positions and alphabet."""
    from transformers import EsmConfig, EsmModel

    config = EsmConfig(
        vocab_size=len(ESM),
        pad_token_id=esm_alphabet().padding,
        mask_token_id=ESM.index("<mask>"),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        position_embedding_type="rotary",
        token_dropout=True,
    )
    made = EsmModel(config, add_pooling_layer=False)
    made.contact_head = None  # type: ignore[assignment]  # nothing reads it
    return made
