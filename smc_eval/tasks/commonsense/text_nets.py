"""Nets that read text, with tokenizer and maximal length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone, pretrained, tiny
from smc_eval.tasks.text_encoder import TextEncoder


@dataclass(frozen=True)
class TextNet:
    """A tokenizer with its net."""

    name: str
    """The name that the user gave."""
    tokenizer: Any
    longest: int | None
    """Number of positions of the net, in tokens; None if it has no table of positions."""
    make: Callable[[], nn.Module]
    """Makes the net before training; random parts draw from torch's global generator."""

    @property
    def padding(self) -> int:
        """Id of the padding token.

        Raises:
            ModelError: the tokenizer has none.
        """
        return self._token("pad", "which pads batches")

    @property
    def mask(self) -> int:
        """Id of the mask token.

        Raises:
            ModelError: the tokenizer has none.
        """
        return self._token("mask", "which replaces the tokens to be predicted")

    def _token(self, kind: str, use: str) -> int:
        token: int | None = getattr(self.tokenizer, f"{kind}_token_id")
        if token in (None, self.tokenizer.unk_token_id):  # unknown: the vocabulary does not hold its name
            raise ModelError(
                f"the tokenizer of {self.name!r} has no {kind} token, {use}; "
                f"set {kind}_token in its tokenizer_config.json to the one of the model's training"
            )
        return token


def text_net(model_name: str, texts: Callable[[], Iterable[str]], *, masked: bool = False) -> TextNet:
    """The text encoder that `--model` names; `masked` adds its head for masked words.

    The tokenizer of `tiny` is trained on `texts`.

    Raises:
        ModelError: the checkpoint cannot be loaded, or has no suitable tokenizer or no such head.
    """
    kind = TextEncoder(masked=masked)
    if model_name == "tiny":
        tokenizer = kind.build_tokenizer("tiny", texts())
        return TextNet(model_name, tokenizer, tiny.POSITIONS, lambda: kind.build("tiny", tokenizer))
    checkpoint = backbone.find_backbone(model_name, kind)
    positions = pretrained.positions_of(checkpoint)
    return TextNet(model_name, checkpoint.load_tokenizer(), positions, checkpoint.load)


def check_states(states_MLH: Tensor, ids_ML: Tensor) -> None:
    """Refuse an encoder whose states are not one for each token, in their order.

    Raises:
        ModelError: it has more or fewer.
    """
    if states_MLH.shape[:2] != ids_ML.shape:
        raise ModelError(
            f"the encoder gives states of shape {tuple(states_MLH.shape)} for {tuple(ids_ML.shape)} tokens; "
            "this task reads one state for each token: give another model"
        )
