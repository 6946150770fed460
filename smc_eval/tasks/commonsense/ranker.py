"""A text encoder with a head that gives each choice one score.

Shapes: N questions, C choices, L tokens, H features.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval.tasks.commonsense.pairs import PairBatch
from smc_eval.tasks.commonsense.text_nets import check_states


class Ranker(nn.Module):
    """Dropout, dense layer, tanh, dropout and one output, on the hidden state of the first token."""

    def __init__(self, encoder: nn.Module, dropout: float) -> None:
        super().__init__()
        config = cast("Any", encoder).config.get_text_config()
        self.encoder = encoder
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, 1)
        self.drop = nn.Dropout(dropout)
        takes = inspect.signature(encoder.forward).parameters
        self.typed = getattr(config, "type_vocab_size", 0) > 1 and "token_type_ids" in takes
        self.attends_globally = "global_attention_mask" in takes
        """Whether chosen tokens attend to all others: here the first, which is read."""

    def forward(self, batch: PairBatch) -> Tensor:
        """Scores [N, C]."""
        ids_ML, further = batch.ids_NCL.flatten(0, 1), dict[str, Tensor]()
        if self.typed:
            further["token_type_ids"] = batch.types_NCL.flatten(0, 1)
        if self.attends_globally:
            further["global_attention_mask"] = torch.zeros_like(ids_ML)
            further["global_attention_mask"][:, 0] = 1
        states_MLH = self.encoder(
            input_ids=ids_ML, attention_mask=batch.real_NCL.flatten(0, 1).long(), **further
        ).last_hidden_state
        check_states(states_MLH, ids_ML)
        hidden_MH = torch.tanh(self.dense(self.drop(states_MLH[:, 0])))
        return cast("Tensor", self.out(self.drop(hidden_MH)).view(batch.answers_N.shape[0], -1))
